"""Writing: each advertisement once, each vehicle once, each change in the history, every figure true."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from fill_pipeline.db.connect import Connection
from fill_pipeline.extract.listing import Evidence, Layer, Listing
from fill_pipeline.vehicles.store import ListingToWrite, write_listings
from fill_pipeline.vehicles.tally import Outcome, WriteResult

Make = Callable[..., Listing]
Write = Callable[..., WriteResult]
Select = Callable[..., list[tuple[Any, ...]]]


def _outcomes(result: WriteResult) -> list[Outcome]:
    return [row.outcome for row in result.rows]


def test_a_new_listing_becomes_a_vehicle_with_its_history(
    source: UUID, write: Write, listing: Make, select: Select, accord_vin: str, now: datetime
) -> None:
    result = write(source, listing(vin=accord_vin))
    assert _outcomes(result) == [Outcome.NEW]
    assert (result.vehicles_added, result.vehicles_updated) == (1, 0)
    [(vin, make, price, place, image, status, created, completeness)] = select(
        "SELECT vin, make, price, place, image, status, created_cycle, completeness FROM vehicles"
    )
    assert (vin, make, price, place, status, created) == (
        accord_vin,
        "Honda",
        18_995,
        "Dayton, OH",
        "active",
        "cycle-1",
    )
    assert image == "https://cars.example/p/1.jpg"
    assert completeness == 1.0
    assert select("SELECT price, mileage, status, observed_at FROM listing_history") == [
        (18_995, 61_234, "active", now)
    ]
    [(seen, is_new, vehicle)] = select("SELECT seen_count, is_new, vehicle_id FROM listings")
    assert (seen, is_new, vehicle) == (1, True, result.rows[0].vehicle_id)
    [(provenance,)] = select("SELECT provenance FROM vehicles")
    assert provenance["price"] == [result.rows[0].listing_id, 0.9]


def test_the_evidence_of_listings_can_be_asked_in_sql(
    source: UUID, write: Write, listing: Make, select: Select
) -> None:
    locator = Evidence(Layer.STATE, "props.\x00 price", 0.9)  # keys are the page's own words
    write(source, listing(provenance={"price": locator}, raw={"price": "$18,995"}, raw_payload={"sku": "A17"}))
    [row] = select(
        "SELECT provenance #>> '{price,1}', raw @> '{\"price\": \"$18,995\"}', raw_payload ? 'sku', quarantine = '{}' "
        "FROM listings"
    )
    assert row == ("props.\ufffd price", True, True, True)


def test_an_unchanged_listing_touches_no_wide_row(
    source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    write(source, listing())
    before = select("SELECT xmin, ctid, * FROM listing_records")
    result = write(source, listing(), now=now + timedelta(hours=2), cycle_id="cycle-2")
    assert _outcomes(result) == [Outcome.UNCHANGED]
    assert select("SELECT xmin, ctid, * FROM listing_records") == before
    assert select("SELECT seen_count, last_cycle, last_seen_at FROM listing_sightings") == [
        (2, "cycle-2", now + timedelta(hours=2))
    ]
    assert select("SELECT count(*) FROM listing_history") == [(1,)]


def test_a_changed_price_is_written_everywhere_and_remembered(
    source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    write(source, listing())
    result = write(source, listing(price=17_500), now=now + timedelta(hours=2), cycle_id="cycle-2")
    assert _outcomes(result) == [Outcome.UPDATED]
    assert (result.vehicles_added, result.vehicles_updated) == (0, 1)
    assert select("SELECT price, updated_cycle, created_cycle FROM vehicles") == [(17_500, "cycle-2", "cycle-1")]
    assert select("SELECT price FROM listing_history ORDER BY id") == [(18_995,), (17_500,)]


def test_other_changes_leave_no_history_row(
    source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    write(source, listing())
    assert _outcomes(write(source, listing(title="Now with new tires"), now=now + timedelta(hours=2))) == [
        Outcome.UPDATED
    ]
    assert select("SELECT count(*) FROM listing_history") == [(1,)]


def test_one_vin_on_two_sites_is_one_vehicle(
    add_source: Callable[[str], UUID], write: Write, listing: Make, select: Select, accord_vin: str
) -> None:
    first = write(add_source("one"), listing(vin=accord_vin))
    second = write(add_source("two"), listing(vin=accord_vin, price=18_500, remote_id="x9", city="Toledo"))
    assert (first.vehicles_added, second.vehicles_added, second.vehicles_updated) == (1, 0, 1)
    assert select("SELECT count(*), max(listing_count) FROM vehicles") == [(1, 2)]


def test_duplicates_inside_one_batch_are_one_listing_and_one_vehicle(
    source: UUID, write: Write, listing: Make, select: Select, accord_vin: str
) -> None:
    result = write(
        source,
        listing(vin=accord_vin, price=None),
        listing(vin=accord_vin),
        listing(vin=accord_vin, remote_id="2"),
        listing(vin=accord_vin, remote_id="3", mileage=61_300),
    )
    assert result.vehicles_added == 1
    assert _outcomes(result) == [Outcome.UNCHANGED, Outcome.NEW, Outcome.NEW, Outcome.NEW]
    assert len({row.listing_id for row in result.rows}) == 3
    assert result.rows[0].listing_id == result.rows[1].listing_id
    assert select("SELECT count(*), max(listing_count) FROM vehicles") == [(1, 3)]
    assert select("SELECT price FROM listing_records WHERE remote_id = '1'") == [(18_995,)], (
        "the more complete one counts"
    )
    sums = result.sources[source]
    assert (sums.found, sums.new, sums.skipped, sums.vehicles_added) == (4, 3, 1, 1)


def test_a_vin_shared_by_different_cars_glues_nothing(
    source: UUID, write: Write, listing: Make, select: Select
) -> None:
    european = "WVWZZZ1KZ8W123450"
    shared = {"vin": european, "currency": "EUR"}
    write(source, listing(**shared, make="Volkswagen", model="Golf", year=2008))
    result = write(
        source,
        listing(**shared, make="Volkswagen", model="Passat", year=2015, remote_id="2"),
        listing(**shared, make="Audi", model="A4", year=2008, remote_id="3"),
    )
    assert result.vehicles_added == 2
    assert select("SELECT model, vin FROM vehicles ORDER BY model") == [
        ("A4", None),
        ("Golf", european),
        ("Passat", None),
    ]
    assert select("SELECT vin_status FROM listing_records WHERE remote_id IN ('2', '3')") == [("shared",), ("shared",)]


def test_a_listing_that_says_too_little_is_kept_but_is_no_vehicle(
    source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    bare = {"vin": None, "make": None, "model": None, "year": None, "title": "Nice thing"}
    result = write(source, listing(**bare))
    assert _outcomes(result) == [Outcome.QUARANTINED]
    assert select("SELECT count(*) FROM vehicles") == [(0,)]
    assert select("SELECT vehicle_id FROM listing_records") == [(None,)]
    assert _outcomes(write(source, listing(**bare), now=now + timedelta(hours=2))) == [Outcome.UNCHANGED]
    later = write(source, listing(), now=now + timedelta(hours=4))
    assert later.vehicles_added == 1


def test_a_batch_held_back_changes_no_vehicle_until_it_is_promoted(
    source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    held = write(source, listing(), listing(remote_id="2", price=5_000, mileage=99_000), promote=False)
    assert _outcomes(held) == [Outcome.QUARANTINED] * 2
    assert select("SELECT count(*) FROM vehicles") == [(0,)]
    promoted = write(
        source, listing(), listing(remote_id="2", price=5_000, mileage=99_000), now=now + timedelta(hours=1)
    )
    assert promoted.vehicles_added == 2
    assert select("SELECT count(*) FROM listing_records WHERE vehicle_id IS NOT NULL") == [(2,)]


def test_a_quarantined_value_overwrites_nothing_and_is_kept(
    source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    write(source, listing())
    result = write(source, listing(price=1, mileage=12_000), now=now + timedelta(hours=2))
    [(price, mileage, quarantine)] = select("SELECT price, mileage, quarantine FROM listing_records")
    assert (price, mileage) == (18_995, 61_234)
    assert quarantine["price"]["value"] == 1
    assert quarantine["mileage"]["rule"] == "mileage_falling"
    assert quarantine["mileage"]["value"] == 12_000
    assert select("SELECT price, mileage FROM vehicles") == [(18_995, 61_234)]
    assert select("SELECT count(*) FROM listing_history") == [(1,)]
    assert result.issues[source, "mileage", "mileage_falling"] == 1
    assert result.tallies[source]["price"].quarantined == 1
    write(source, listing(price=18_500), now=now + timedelta(hours=4))
    assert select("SELECT price, quarantine FROM listing_records") == [(18_500, {})]
    kept = select("SELECT field_name, value, rule FROM quarantined_values ORDER BY field_name")
    assert kept == [("mileage", 12_000, "mileage_falling"), ("price", 1, "price_range")], "kept for good"


def test_a_page_that_says_less_erases_nothing(
    source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    write(source, listing(description="One owner, all records.", trim="Sport"))
    card = listing(mileage=None, exterior_color=None, body_style=None, city=None, region=None, images=[], price=18_000)
    write(source, card, now=now + timedelta(hours=2))
    assert select(
        "SELECT price, mileage, exterior_color, trim, place, description, cardinality(images) FROM listing_records"
    ) == [(18_000, 61_234, "blue", "Sport", "Dayton, OH", "One owner, all records.", 1)]
    again = write(source, card, now=now + timedelta(hours=4))
    assert _outcomes(again) == [Outcome.UNCHANGED]


def test_a_price_is_taken_back_only_in_words(
    source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    write(source, listing())
    write(source, listing(price=None, currency=None), now=now + timedelta(hours=2))
    assert select("SELECT price FROM listing_records") == [(18_995,)]
    write(source, listing(price=None, currency=None, raw={"price": "Call for price"}), now=now + timedelta(hours=4))
    assert select("SELECT price, currency FROM listing_records") == [(None, None)]
    assert select("SELECT price FROM listing_history ORDER BY id") == [(18_995,), (None,)]
    assert select("SELECT price FROM vehicles") == [(None,)]


def test_an_older_observation_only_fills_gaps(
    source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    write(source, listing(exterior_color=None), now=now)
    write(source, listing(price=25_000, trim="Touring"), now=now - timedelta(days=30), cycle_id="cycle-0")
    assert select("SELECT price, exterior_color, trim, changed_at, first_seen_at FROM listing_records") == [
        (18_995, "blue", "Touring", now, now - timedelta(days=30))
    ]


def test_a_listing_that_states_its_vin_later_joins_the_vehicle_of_that_vin(
    add_source: Callable[[str], UUID], write: Write, listing: Make, select: Select, accord_vin: str, now: datetime
) -> None:
    one, two = add_source("one"), add_source("two")
    write(one, listing(vin=accord_vin))
    write(two, listing(remote_id="9", mileage=88_000, price=9_000, exterior_color="Red", city="Reno", region="NV"))
    assert select("SELECT count(*) FROM vehicles") == [(2,)]
    write(
        two,
        listing(remote_id="9", mileage=88_000, price=9_000, exterior_color="Red", vin=accord_vin),
        now=now + timedelta(hours=2),
    )
    assert select("SELECT vin, listing_count FROM vehicles") == [(accord_vin, 2)]
    assert select("SELECT kind, reason FROM vehicle_repairs") == [("merge", "one VIN")]


def test_a_listing_that_states_its_vin_later_gives_it_to_its_vehicle(
    source: UUID, write: Write, listing: Make, select: Select, accord_vin: str, now: datetime
) -> None:
    first = write(source, listing())
    write(source, listing(vin=accord_vin), now=now + timedelta(hours=2))
    assert select("SELECT id, vin FROM vehicles") == [(first.rows[0].vehicle_id, accord_vin)]


def test_an_advertisement_given_to_another_car_is_another_vehicle(
    source: UUID, write: Write, listing: Make, select: Select, accord_vin: str, now: datetime
) -> None:
    write(source, listing(vin=accord_vin, trim="Sport"))
    civic = {"vin": "2HGFC2F54JH500032", "model": "Civic", "year": 2018, "mileage": 20_000, "title": "2018 Honda Civic"}
    result = write(source, listing(**civic), now=now + timedelta(hours=2), cycle_id="cycle-2")
    assert result.vehicles_added == 1
    assert select("SELECT model, status, listing_count FROM vehicles ORDER BY id") == [
        ("Accord", "delisted", 0),
        ("Civic", "active", 1),
    ]
    assert select("SELECT model, trim = 'Sport', mileage FROM listing_records") == [("Civic", False, 20_000)]


def test_a_corrected_vin_keeps_the_vehicle(
    source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    wrong, right = "WVWZZZ1KZ8W123450", "WVWZZZ1KZ8W123459"
    golf = {"make": "Volkswagen", "model": "Golf", "year": 2008, "currency": "EUR"}
    first = write(source, listing(vin=wrong, **golf))
    write(source, listing(vin=right, **golf), now=now + timedelta(hours=2))
    assert select("SELECT id, vin FROM vehicles") == [(first.rows[0].vehicle_id, right)]


def test_tallies_count_what_was_knowable_filled_and_agreed(
    source: UUID, write: Write, listing: Make, accord_vin: str
) -> None:
    result = write(
        source,
        listing(vin=accord_vin),
        listing(remote_id="2", price=None, mileage=30_000),
        listing(remote_id="3", vin=accord_vin, body_style="Pickup", mileage=61_300),
    )
    tallies = result.tallies[source]
    assert (tallies["price"].knowable, tallies["price"].filled) == (3, 2)
    assert (tallies["vin"].knowable, tallies["vin"].filled) == (3, 2)
    assert (tallies["make"].compared, tallies["make"].agreed) == (2, 2)
    assert (tallies["body_style"].compared, tallies["body_style"].agreed) == (2, 1)
    sums = result.sources[source]
    assert sums.quality_count == 3
    assert sums.quality_sum == pytest.approx(1 + 6 / 7 + 1)


def test_counters_agree_with_the_tables(
    source: UUID, write: Write, listing: Make, select: Select, accord_vin: str
) -> None:
    write(source, listing(vin=accord_vin), listing(remote_id="2", mileage=10_000))
    assert select("SELECT sum(n) FROM counters WHERE metric = 'vehicles'") == select("SELECT count(*) FROM vehicles")
    assert select("SELECT sum(n) FROM counters WHERE metric = 'cycle.vehicles_added' AND scope = 'cycle-1'") == [(2,)]
    assert select("SELECT sum(n) FROM counters WHERE metric = 'listings.active'") == [(2,)]


def test_a_crash_inside_the_transaction_leaves_nothing(
    conn: Connection,
    source: UUID,
    to_write: Callable[..., ListingToWrite],
    listing: Make,
    select: Select,
    now: datetime,
) -> None:
    class Crash(Exception):
        pass

    def write_and_crash() -> None:
        with conn.transaction():
            assert write_listings(conn, [to_write(source, listing())], cycle_id="c", now=now).vehicles_added == 1
            raise Crash

    with pytest.raises(Crash):
        write_and_crash()
    for table in ("vehicles", "listing_records", "listing_sightings", "listing_history", "counters"):
        assert select(f"SELECT count(*) FROM {table}") == [(0,)], table  # noqa: S608
    with conn.transaction():
        assert write_listings(conn, [to_write(source, listing())], cycle_id="c", now=now).vehicles_added == 1


def test_a_row_without_an_id_of_its_own_is_refused(
    conn: Connection, source: UUID, to_write: Callable[..., ListingToWrite], listing: Make, now: datetime
) -> None:
    with pytest.raises(ValueError, match="remote_id"):
        write_listings(conn, [to_write(source, listing(remote_id=None))], cycle_id="c", now=now)
