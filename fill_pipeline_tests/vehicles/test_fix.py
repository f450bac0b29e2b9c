"""Promises of fixing data, on a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.extract.listing import Listing
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.fix import fix_data
from fill_pipeline.vehicles.store import ListingToWrite, write_listings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=30)
CYCLE = "2026-03-01T12:00"
CIVIC_VIN = "19XFC2F52GE012345"


def _source(conn: Connection, name: str = "Alpha Motors", kind: str = "dealer") -> UUID:
    return registry.declare_source(conn, name=name, base_url="http://alpha.example", config={}, kind=kind).id


def _car(number: int, **said: Any) -> Listing:
    facts: dict[str, Any] = {
        "url": f"http://alpha.example/car/{number}",
        "remote_id": str(number),
        "title": "2016 Honda Civic LX",
        "year": 2016,
        "make": "Honda",
        "model": "Civic",
        "price": 15_000 + number,
        "currency": "USD",
        "mileage": 40_000 + 5_000 * number,
        "mileage_unit": "mi",
        "place": "Salem, OR",
        "city": "Salem",
        "region": "OR",
        "images": [f"http://alpha.example/{number}.jpg"],
    }
    return Listing(**{**facts, **said})


def _write(conn: Connection, source: UUID, *listings: Listing) -> list[int]:
    with conn.transaction():
        rows = [ListingToWrite.of(clean(li, now=NOW), source_id=source, source="alpha_motors") for li in listings]
        result = write_listings(conn, rows, cycle_id=CYCLE, now=NOW)
    return [row.vehicle_id or 0 for row in result.rows]


def _fix(conn: Connection, **options: Any) -> Any:
    return fix_data(conn, cycle_id=CYCLE, now=LATER, **options)


def _value(conn: Connection, vehicle: int, field: str) -> Any:
    row = conn.execute(f"SELECT {field} FROM vehicles WHERE id = %s", [vehicle]).fetchone()  # noqa: S608
    return row[0] if row else None


def test_clean_data_needs_no_fix(conn: Connection) -> None:
    _write(conn, _source(conn), _car(1), _car(2), _car(3, vin=CIVIC_VIN))
    fixes = _fix(conn)
    assert fixes.checked == 3
    assert fixes.repairs == []


def test_a_vehicle_that_lost_what_its_listing_states_gets_it_back_with_a_record(conn: Connection) -> None:
    [vehicle] = _write(conn, _source(conn), _car(1))
    conn.execute("UPDATE vehicles SET model = NULL, mileage = 1 WHERE id = %s", [vehicle])
    fixes = _fix(conn)
    assert (_value(conn, vehicle, "model"), _value(conn, vehicle, "mileage")) == ("Civic", 45_000)
    rows = conn.execute(
        "SELECT field_name, before_value, after_value, kind, cycle_id FROM vehicle_repairs ORDER BY field_name"
    ).fetchall()
    assert rows == [
        ("mileage", 1, 45_000, "correct", CYCLE),
        ("model", None, "Civic", "backfill", CYCLE),
    ]
    assert fixes.as_json()["fields"] == {"mileage": 1, "model": 1}


def test_a_missing_field_is_filled_from_the_vin(conn: Connection) -> None:
    [vehicle] = _write(conn, _source(conn), _car(1, vin=CIVIC_VIN))
    decoded = _value(conn, vehicle, "body_style")
    assert decoded is not None
    conn.execute("UPDATE listing_records SET body_style = NULL, provenance = provenance::jsonb - 'body_style'")
    conn.execute("UPDATE vehicles SET body_style = NULL")
    _fix(conn)
    assert _value(conn, vehicle, "body_style") == decoded
    [(reason, evidence)] = conn.execute(
        "SELECT reason, evidence FROM vehicle_repairs WHERE field_name = 'body_style'"
    ).fetchall()
    assert CIVIC_VIN in reason
    assert 0 < evidence["confidence"] < 1


def test_an_invalid_value_is_taken_out_and_kept_in_quarantine(conn: Connection) -> None:
    [vehicle] = _write(conn, _source(conn), _car(1))
    conn.execute("UPDATE listing_records SET price = 123456")
    conn.execute("UPDATE vehicles SET price = 123456")
    _fix(conn)
    assert _value(conn, vehicle, "price") is None
    [(before, after, reason)] = conn.execute(
        "SELECT before_value, after_value, reason FROM vehicle_repairs WHERE field_name = 'price'"
    ).fetchall()
    assert (before, after) == (123456, None)
    assert "price_placeholder" in reason
    [(quarantined,)] = conn.execute("SELECT quarantine -> 'price' ->> 'value' FROM listing_records").fetchall()
    assert quarantined == "123456"


def test_a_payload_of_many_parts_is_kept_as_it_is_while_its_listing_is_mended(conn: Connection) -> None:
    payload = {"offers": [{"price": n, "seller": {"name": "Alpha"}} for n in range(20)]}
    [vehicle] = _write(conn, _source(conn), _car(1, raw_payload=payload))
    conn.execute("UPDATE vehicles SET model = NULL")
    _fix(conn)
    assert _value(conn, vehicle, "model") == "Civic"
    assert conn.execute("SELECT raw_payload FROM listing_records").fetchone() == (payload,)


def test_words_the_vocabulary_has_learned_since_are_read_again(conn: Connection) -> None:
    [vehicle] = _write(conn, _source(conn), _car(1, fuel_type="Diesel"))
    conn.execute('UPDATE listing_records SET fuel_type = NULL, raw = raw::jsonb || \'{"fuel_type": "Diesel"}\'')
    conn.execute("UPDATE vehicles SET fuel_type = NULL")
    _fix(conn)
    assert _value(conn, vehicle, "fuel_type") == "diesel"


def test_a_place_all_other_listings_of_the_seller_agree_on_is_taken_over(conn: Connection) -> None:
    nowhere = {"place": None, "city": None, "region": None}
    source = _source(conn)
    *_, vehicle = _write(conn, source, _car(1), _car(2), _car(3), _car(4, **nowhere))
    _fix(conn)
    assert _value(conn, vehicle, "city") == "Salem"
    assert _value(conn, vehicle, "completeness") == 1.0


def test_a_place_is_not_guessed_where_the_seller_has_several(conn: Connection) -> None:
    nowhere = {"place": None, "city": None, "region": None}
    bend = {"place": "Bend, OR", "city": "Bend"}
    *_, vehicle = _write(conn, _source(conn), _car(1), _car(2), _car(3), _car(4, **bend), _car(5, **nowhere))
    assert _fix(conn).total == 0
    assert _value(conn, vehicle, "city") is None


def test_a_place_is_not_taken_from_other_sellers_of_a_marketplace(conn: Connection) -> None:
    nowhere = {"place": None, "city": None, "region": None}
    source = _source(conn, kind="marketplace")
    *_, vehicle = _write(conn, source, _car(1), _car(2), _car(3), _car(4, **nowhere))
    assert _fix(conn).total == 0
    assert _value(conn, vehicle, "city") is None


def test_a_vehicle_whose_listing_states_another_ones_vin_is_merged_into_it(conn: Connection) -> None:
    source = _source(conn)
    with_vin, without = _write(conn, source, _car(1, vin=CIVIC_VIN), _car(2))
    conn.execute(
        "UPDATE listing_records SET vin = %s, vin_status = 'valid' WHERE vehicle_id = %s", [CIVIC_VIN, without]
    )
    fixes = _fix(conn)
    assert conn.execute("SELECT array_agg(id) FROM vehicles").fetchone() == ([with_vin],)
    assert fixes.as_json()["merged"] == 1
    assert conn.execute("SELECT count(*) FROM vehicle_repairs WHERE kind = 'merge'").fetchone() == (1,)


def _propose(conn: Connection, one: int, other: int) -> None:
    conn.execute(
        "INSERT INTO merge_proposals (vehicle_a, vehicle_b, score, created_at) VALUES (%s, %s, 0.97, %s)",
        [min(one, other), max(one, other), NOW],
    )


def _same_car_twice(conn: Connection) -> tuple[int, int]:
    said = {"mileage": 41_237, "price": 14_950, "exterior_color": "red", "seller_phone": "5035550134"}
    one = _write(conn, _source(conn), _car(1, **said))[0]
    conn.execute("UPDATE vehicles SET block_key = NULL")  # so that identity does not find it at once
    other = _write(conn, _source(conn, "Beta Cars", "marketplace"), _car(2, **said))[0]
    assert one != other
    return one, other


def test_a_sure_proposal_is_carried_out(conn: Connection) -> None:
    one, other = _same_car_twice(conn)
    _propose(conn, one, other)
    assert _fix(conn).as_json()["merged"] == 1
    assert conn.execute("SELECT status, decided_by FROM merge_proposals").fetchall() == [("merged", "fix")]


def test_a_proposal_naming_one_of_twins_waits_for_a_person(conn: Connection) -> None:
    one, other = _same_car_twice(conn)
    third = _write(conn, _source(conn, "Gamma"), _car(3, mileage=90_000, year=2012))[0]
    _propose(conn, one, other)
    _propose(conn, one, third)
    assert _fix(conn).as_json()["merged"] == 0


def test_a_proposal_that_no_longer_scores_is_not_carried_out(conn: Connection) -> None:
    one, other = _write(conn, _source(conn), _car(1), _car(2))
    _propose(conn, one, other)
    assert _fix(conn).as_json()["merged"] == 0


def test_a_dry_run_tells_and_changes_nothing(conn: Connection) -> None:
    [vehicle] = _write(conn, _source(conn), _car(1))
    conn.execute("UPDATE vehicles SET model = NULL WHERE id = %s", [vehicle])
    assert _fix(conn, dry_run=True).total == 1
    assert _value(conn, vehicle, "model") is None
    assert conn.execute("SELECT count(*) FROM vehicle_repairs").fetchone() == (0,)


def test_a_second_run_finds_nothing_to_do(conn: Connection) -> None:
    nowhere = {"place": None, "city": None, "region": None}
    _write(conn, _source(conn), _car(1), _car(2), _car(3, vin=CIVIC_VIN), _car(4, **nowhere))
    conn.execute("UPDATE listing_records SET price = 123456 WHERE remote_id = '2'")
    conn.execute("UPDATE vehicles SET model = NULL")
    assert _fix(conn).total > 0
    assert _fix(conn).total == 0


def test_only_vehicles_of_the_cycle_are_touched(conn: Connection) -> None:
    [vehicle] = _write(conn, _source(conn), _car(1))
    conn.execute("UPDATE vehicles SET model = NULL, updated_cycle = 'earlier'")
    assert _fix(conn).checked == 0
    assert _value(conn, vehicle, "model") is None


def test_a_mended_listing_seen_again_unchanged_is_still_unchanged(conn: Connection) -> None:
    nowhere = {"place": None, "city": None, "region": None}
    source = _source(conn)
    _write(conn, source, _car(1), _car(2), _car(3), _car(4, **nowhere))
    _fix(conn)
    before = conn.execute("SELECT city, changed_at FROM listing_records WHERE remote_id = '4'").fetchone()
    _write(conn, source, _car(4, **nowhere))
    assert conn.execute("SELECT city, changed_at FROM listing_records WHERE remote_id = '4'").fetchone() == before
