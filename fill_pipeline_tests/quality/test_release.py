"""What is held back stays out of vehicles, is on record, and gets in once it is found good. Nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from fill_pipeline.cycle.accounting import mismatches
from fill_pipeline.db import cycles, holds, ledger
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import CycleClosedError
from fill_pipeline.quality.health import Diagnosis, HealthStatus, judge
from fill_pipeline.quality.metrics import evidence_of, issues, quality_rows
from fill_pipeline.quality.release import release_held
from fill_pipeline.settings import Settings
from fill_pipeline_tests.quality.cars import CYCLE, NOW, car

LATER, NEXT = NOW + timedelta(hours=2), "2025-06-01-14:00"
Drain = Callable[..., None]


@pytest.fixture
def vehicles(conn: Connection) -> Callable[..., list[tuple[Any, ...]]]:
    """Price and created cycle of the vehicles of one source's listings, in the listings' order."""

    def of(source_id: UUID) -> list[tuple[Any, ...]]:
        return conn.execute(
            "SELECT v.price, v.created_cycle FROM listing_records r JOIN vehicles v ON v.id = r.vehicle_id "
            "WHERE r.source_id = %s ORDER BY r.remote_id::int",
            (source_id,),
        ).fetchall()

    return of


def held(conn: Connection) -> int:
    return int(conn.execute("SELECT count(*) FROM held_listings").fetchone()[0])  # type: ignore[index]


def listings(conn: Connection) -> int:
    return int(conn.execute("SELECT count(*) FROM listing_records").fetchone()[0])  # type: ignore[index]


def bad(numbers: Sequence[int]) -> list[Any]:
    return [car(n, price=55_512_345) for n in numbers]


def good(numbers: Sequence[int], site: str = "a") -> list[Any]:
    return [car(n, site) for n in numbers]


def test_a_held_back_source_is_on_record_while_the_others_go_on(
    conn: Connection, settings: Settings, drain: Drain, add_source: Callable[[str], UUID], vehicles: Any
) -> None:
    broken, sound = add_source("broken"), add_source("sound")
    drain({broken: bad(range(12)), sound: good(range(12), "sound")})
    assert vehicles(broken) == []
    assert len(vehicles(sound)) == 12
    assert (listings(conn), held(conn)) == (24, 12)
    (batch,) = holds.held_of_cycle(conn, CYCLE)
    assert (batch.slug, batch.expectation, batch.listings, batch.unexpected, batch.released) == (
        ("broken", "price_range", 12, 12, 0)
    )
    rows = quality_rows(evidence_of(conn, CYCLE), settings)
    told = [one for one in issues(rows) if "held back" in one]
    assert len(told) == 1
    assert told[0].startswith("12 listings of broken held back (price_range): ")
    of_source = [r for r in rows if r.source_id == broken and r.issues]
    assert [(r.field_name, r.issues) for r in of_source] == [("price", told)]
    assert mismatches(conn, CYCLE) == []


def test_a_held_back_source_is_failing_and_looks_redesigned_as_long_as_it_gives_the_same(
    conn: Connection, drain: Drain, add_source: Callable[[str], UUID]
) -> None:
    source = add_source("broken")
    for cycle_id, now in ((CYCLE, NOW), (NEXT, LATER)):
        drain({source: bad(range(12))}, cycle_id=cycle_id, now=now)
        (account,) = ledger.accounts(conn, cycle_id)
        account.stats.pages_fetched = 12
        (state,) = ledger.source_states(conn, cycle_id, None)
        verdict = judge(state, account, (), hour=12, now=now, freshness=timedelta(days=1))
        assert (verdict.status, verdict.diagnosis) == (HealthStatus.FAILING, Diagnosis.REDESIGNED)
        assert account.stats.notes == ["held back: price_range"]
    assert (held(conn), listings(conn)) == (12, 12)


def test_listings_read_rightly_the_next_time_become_vehicles_and_are_no_longer_held(
    conn: Connection, drain: Drain, add_source: Callable[[str], UUID], vehicles: Any
) -> None:
    source = add_source("a")
    drain({source: bad(range(12))})
    drain({source: good(range(12))}, cycle_id=NEXT, now=LATER)
    assert vehicles(source) == [(9_000 + 137 * n, NEXT) for n in range(12)]
    assert held(conn) == 0
    (batch,) = holds.held_of_cycle(conn, CYCLE)
    assert batch.released == batch.listings == 12
    assert mismatches(conn, NEXT) == []


def test_what_todays_rules_find_good_is_released_once(
    conn: Connection, settings: Settings, drain: Drain, add_source: Callable[[str], UUID], vehicles: Any
) -> None:
    """The knob was too strict, or a rule wrong: without a look at the site all of it is promoted."""
    source = add_source("a")
    dear = [car(n, price=6_000_000 + n) for n in range(12)]
    drain({source: [*dear, *good(range(20, 30))]})
    assert (vehicles(source), held(conn)) == ([], 22)
    assert release_held(conn, settings, cycle_id=NEXT, now=LATER).released == 0
    lenient = settings.model_copy(update={"gate_tolerance": 0.7})
    done = release_held(conn, lenient, cycle_id=NEXT, now=LATER + timedelta(minutes=1))
    assert (done.judged, done.released, done.vehicles_added) == (22, 22, 22)
    assert len(vehicles(source)) == 22
    assert {cycle for _, cycle in vehicles(source)} == {NEXT}
    again = release_held(conn, lenient, cycle_id=NEXT, now=LATER + timedelta(minutes=2))
    assert (again.judged, again.released, again.vehicles_added) == (0, 0, 0)
    assert mismatches(conn, NEXT) == []
    sightings = conn.execute("SELECT DISTINCT seen_count, last_cycle FROM listing_sightings").fetchall()
    assert sightings == [(1, CYCLE)]  # a release is no sighting


def test_nothing_is_released_into_a_cycle_that_was_closed(
    conn: Connection, settings: Settings, drain: Drain, add_source: Callable[[str], UUID], vehicles: Any
) -> None:
    source = add_source("a")
    drain({source: [car(n, price=6_000_000 + n) for n in range(22)]})
    lenient = settings.model_copy(update={"gate_tolerance": 1.0})
    cycles.record_missed(conn, [(NEXT, LATER, LATER + timedelta(hours=2))], now=LATER, target=0)
    conn.execute("UPDATE fill_cycles SET status = 'closed'")
    with pytest.raises(CycleClosedError, match=NEXT):
        release_held(conn, lenient, cycle_id=NEXT, now=LATER)
    assert (vehicles(source), held(conn)) == ([], 22)
    assert release_held(conn, lenient, cycle_id="2025-06-01-16:00", now=LATER).released == 22


def test_once_a_source_is_sound_its_held_listings_that_break_no_rule_are_released_and_the_wrong_ones_wait(
    conn: Connection, settings: Settings, drain: Drain, add_source: Callable[[str], UUID], vehicles: Any
) -> None:
    source = add_source("a")
    drain({source: [*bad(range(12)), *good(range(20, 24))]})
    assert release_held(conn, settings, cycle_id=CYCLE, now=NOW + timedelta(minutes=5)).released == 0
    drain({source: good(range(40, 50))}, cycle_id=NEXT, now=LATER)
    done = release_held(conn, settings, cycle_id=NEXT, now=LATER)
    assert (done.judged, done.released, done.vehicles_added) == (16, 4, 4)
    assert held(conn) == 12
    assert release_held(conn, settings, cycle_id=NEXT, now=LATER + timedelta(minutes=1)).released == 0
    assert mismatches(conn, NEXT) == []


def test_a_held_back_observation_does_not_reach_a_vehicle_by_way_of_another_listing_of_it(
    conn: Connection, drain: Drain, settings: Settings, add_source: Callable[[str], UUID]
) -> None:
    """The vehicle has a listing on each of two sites; one of them breaks, and the other one brings news."""
    broken, sound = add_source("broken"), add_source("sound")
    vin = "1HGCV1F30KA000018"
    shared = {"vin": vin, "year": 2019, "model": "Accord", "mileage": 61_000}
    drain({broken: [car(0, **shared, price=15_000), *good(range(1, 8))], sound: [car(0, "b", **shared, price=15_000)]})

    def price() -> int:
        return int(conn.execute("SELECT price FROM vehicles WHERE vin = %s", (vin,)).fetchone()[0])  # type: ignore[index]

    assert price() == 15_000
    wrong = [car(0, **shared, price=55_512_345), *bad(range(1, 8))]
    drain({broken: wrong}, cycle_id=NEXT, now=LATER)
    assert held(conn) == 8
    assert price() == 15_000
    drain({sound: [car(0, "b", **shared, price=14_500)]}, cycle_id=NEXT, now=LATER + timedelta(minutes=1))
    assert price() == 14_500
    right = [car(0, **shared, price=14_000), *good(range(1, 8))]
    drain({broken: right}, cycle_id=NEXT, now=LATER + timedelta(minutes=2))
    assert (held(conn), price()) == (0, 14_000)
    assert conn.execute("SELECT listing_count FROM vehicles WHERE vin = %s", (vin,)).fetchone() == (2,)


def test_news_that_were_held_back_and_are_confirmed_unchanged_reach_their_vehicle(
    conn: Connection, settings: Settings, drain: Drain, add_source: Callable[[str], UUID], vehicles: Any
) -> None:
    """A right change came in a bad batch; the next good batch says the very same."""
    source = add_source("a")
    drain({source: good(range(12))})
    mixed = [car(0, price=8_500), *bad(range(1, 12))]
    drain({source: mixed}, cycle_id=NEXT, now=LATER)
    assert vehicles(source)[0][0] == 9_000
    after = LATER + timedelta(hours=2)
    drain({source: [car(0, price=8_500), *good(range(1, 12))]}, cycle_id="third", now=after)
    assert vehicles(source)[0][0] == 8_500
    assert held(conn) == 0


def test_a_release_gives_a_listing_whose_advertisement_went_to_another_car_a_vehicle_of_its_own(
    conn: Connection, settings: Settings, drain: Drain, add_source: Callable[[str], UUID]
) -> None:
    source = add_source("a")
    drain({source: [car(0, vin="1HGCV1F30KA000018", year=2019, model="Accord"), *good(range(1, 8))]})
    other = car(0, make="Toyota", model="Corolla", year=2020, title="2020 Toyota Corolla")
    drain({source: [other, *bad(range(1, 8))]}, cycle_id=NEXT, now=LATER)
    drain({source: good(range(30, 40))}, cycle_id="third", now=LATER + timedelta(hours=2))
    release_held(conn, settings, cycle_id="third", now=LATER + timedelta(hours=2))
    rows = conn.execute(
        "SELECT v.make, v.vin, v.listing_count, v.status FROM vehicles v "
        "WHERE v.make = 'Toyota' OR v.vin IS NOT NULL ORDER BY v.make"
    ).fetchall()
    assert rows == [("Honda", "1HGCV1F30KA000018", 0, "delisted"), ("Toyota", None, 1, "active")]


def test_unknown_words_and_rules_are_told_with_their_samples_and_bounded(
    conn: Connection, settings: Settings, drain: Drain, add_source: Callable[[str], UUID]
) -> None:
    a, b = add_source("a"), add_source("b")
    drain(
        {
            a: [car(n, fuel_type="Zauber <b>Trank</b>" if n < 7 else "gasoline", price=123456 if n < 3 else 9_000 + n)
                for n in range(20)],
            b: [car(n, "b", fuel_type=f"word {n}") for n in range(60)],
        }
    )  # fmt: skip
    rows = {(r.field_name, r.source_id): r for r in quality_rows(evidence_of(conn, CYCLE), settings)}
    assert "7 of 20 listings: fuel_type 'Zauber ‹b›Trank‹/b›' is not in the vocabulary" in rows["fuel_type", a].issues
    assert rows["price", a].issues == ["3 of 20 listings: price quarantined by rule price_placeholder"]
    assert "3 of 20 listings: price quarantined by rule price_placeholder" in rows["price", None].issues
    assert len(rows["fuel_type", b].issues) == 5
    assert "40 of 60 listings: further words for fuel_type are unknown" in rows["fuel_type", b].issues
    for n in range(6):
        odd = [car(100 * n + i, "b", body_style=f"odd {n} {i}", drivetrain=f"odd {n} {i}") for i in range(60)]
        drain({b: odd}, now=NOW + timedelta(minutes=n + 1))
    hits = [hit for hit in ledger.hits(conn, CYCLE) if hit.source_id == b]
    assert len(hits) <= ledger.MOST_HITS + 40
    assert sum(hit.hits for hit in hits if hit.rule == "unknown_term") == 60 + 6 * 120
