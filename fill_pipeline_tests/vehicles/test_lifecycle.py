"""Seen, missed, delisted, back, sold: as observed, never assumed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from fill_pipeline.db.connect import Connection
from fill_pipeline.db.listings import history_of_vehicle
from fill_pipeline.extract.listing import Listing
from fill_pipeline.vehicles.lifecycle import days_on_market, mark_absent, mark_seen
from fill_pipeline.vehicles.tally import Outcome, WriteResult

Make = Callable[..., Listing]
Write = Callable[..., WriteResult]
Select = Callable[..., list[tuple[Any, ...]]]


def _statuses(select: Select) -> list[tuple[Any, ...]]:
    return select("SELECT remote_id, status, absences FROM listings ORDER BY 1")


def test_a_listing_missed_by_two_complete_harvests_is_delisted(
    conn: Connection, source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    write(source, listing(), listing(remote_id="2", mileage=5_000))
    for turn, expected in ((2, "active"), (3, "delisted")):
        at = now + timedelta(hours=2 * turn)
        write(source, listing(), now=at, cycle_id=f"c{turn}")
        with conn.transaction():
            delisted = mark_absent(conn, source, cycle_id=f"c{turn}", now=at, complete=True)
        assert delisted == (expected == "delisted")
        assert _statuses(select) == [("1", "active", 0), ("2", expected, turn - 1)]
    assert select("SELECT status FROM vehicles ORDER BY id") == [("active",), ("delisted",)]
    assert select("SELECT status, price FROM listing_history ORDER BY id DESC LIMIT 1") == [("delisted", 18_995)]


def test_an_incomplete_harvest_delists_nothing(
    conn: Connection, source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    write(source, listing())
    for turn in range(2, 6):
        with conn.transaction():
            assert mark_absent(conn, source, cycle_id=f"c{turn}", now=now + timedelta(hours=turn), complete=False) == 0
    assert _statuses(select) == [("1", "active", 0)]


def test_one_cycle_counts_one_absence(
    conn: Connection, source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    write(source, listing())
    for _ in range(3):
        with conn.transaction():
            assert mark_absent(conn, source, cycle_id="c2", now=now + timedelta(hours=2), complete=True) == 0
    assert _statuses(select) == [("1", "active", 1)]


def test_being_seen_again_forgives_absences(
    conn: Connection, source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    write(source, listing())
    with conn.transaction():
        mark_absent(conn, source, cycle_id="c2", now=now + timedelta(hours=2), complete=True)
    write(source, listing(), now=now + timedelta(hours=4), cycle_id="c3")
    with conn.transaction():
        assert mark_absent(conn, source, cycle_id="c4", now=now + timedelta(hours=6), complete=True) == 0
    assert _statuses(select) == [("1", "active", 1)]


def test_a_relisted_car_is_the_same_vehicle(
    conn: Connection, source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    first = write(source, listing())
    for turn in (2, 3):
        with conn.transaction():
            mark_absent(conn, source, cycle_id=f"c{turn}", now=now + timedelta(days=turn), complete=True)
    assert select("SELECT status FROM vehicles") == [("delisted",)]
    same_id = write(source, listing(), now=now + timedelta(days=9), cycle_id="c9")
    assert [row.outcome for row in same_id.rows] == [Outcome.UPDATED]
    assert select("SELECT status FROM vehicles") == [("active",)]
    for turn in (12, 13):
        with conn.transaction():
            mark_absent(conn, source, cycle_id=f"c{turn}", now=now + timedelta(days=turn), complete=True)
    new_id = write(
        source, listing(remote_id="77", mileage=61_250, price=18_500), now=now + timedelta(days=20), cycle_id="c20"
    )
    assert new_id.vehicles_added == 0
    assert new_id.rows[0].vehicle_id == first.rows[0].vehicle_id
    assert select("SELECT status, listing_count, price FROM vehicles") == [("active", 2, 18_500)]
    assert select("SELECT status FROM listing_history ORDER BY id") == [
        (s,) for s in ("active", "delisted") * 2 + ("active",)
    ]


def test_twins_at_one_dealer_are_two_vehicles(source: UUID, write: Write, listing: Make, select: Select) -> None:
    new = {"mileage": 8, "condition": "New", "price": 27_340, "seller_name": "Dayton Honda"}
    result = write(source, listing(**new), listing(**new, remote_id="2"), listing(**new, remote_id="3"))
    assert result.vehicles_added == 3
    used = {"mileage": 40_000, "seller_name": "Dayton Honda"}
    assert write(source, listing(**used, remote_id="4"), listing(**used, remote_id="5")).vehicles_added == 2


def test_sold_is_what_the_page_says(source: UUID, write: Write, listing: Make, select: Select, now: datetime) -> None:
    write(source, listing())
    write(source, listing(status="sold", price_kind="sold", price=18_000), now=now + timedelta(hours=2))
    assert select("SELECT status, price, price_kind FROM vehicles") == [("sold", 18_000, "sold")]
    assert select("SELECT status, price FROM listing_history ORDER BY id") == [("active", 18_995), ("sold", 18_000)]


def test_an_index_page_that_still_shows_a_listing_keeps_it_alive(
    conn: Connection, source: UUID, write: Write, listing: Make, select: Select, now: datetime
) -> None:
    result = write(source, listing())
    url_hash = uuid4()
    conn.execute(
        "INSERT INTO import_queue (source_id, listing_url, url_hash, cycle_id, status, listing_id) "
        "VALUES (%s, 'u', %s, 'c', 'complete', %s)",
        (source, url_hash, result.rows[0].listing_id),
    )
    for turn in (2, 3, 4):
        at = now + timedelta(hours=turn)
        with conn.transaction():
            assert mark_seen(conn, source, [url_hash, uuid4()], cycle_id=f"c{turn}", now=at) == 1
            assert mark_absent(conn, source, cycle_id=f"c{turn}", now=at, complete=True) == 0
    for turn in (5, 6):
        with conn.transaction():
            mark_absent(conn, source, cycle_id=f"c{turn}", now=now + timedelta(hours=turn), complete=True)
    assert _statuses(select) == [("1", "delisted", 2)]
    with conn.transaction():
        mark_seen(conn, source, [url_hash], cycle_id="c7", now=now + timedelta(hours=7))
    assert _statuses(select) == [("1", "active", 0)]
    assert select("SELECT status FROM vehicles") == [("active",)]


def test_days_on_market_leave_out_the_days_nobody_offered_the_car(
    conn: Connection,
    add_source: Callable[[str], UUID],
    write: Write,
    listing: Make,
    accord_vin: str,
    now: datetime,
) -> None:
    one, two = add_source("one"), add_source("two")
    car = listing(vin=accord_vin)
    vehicle_id = write(one, car).rows[0].vehicle_id or 0
    write(two, car, now=now + timedelta(days=2), cycle_id="c2")
    for source_id, days in ((one, 4), (two, 6)):
        with conn.transaction():
            at = now + timedelta(days=days)
            assert mark_absent(conn, source_id, cycle_id=f"c{days}", now=at, complete=True, delist_after=1) == 1
    write(one, car, now=now + timedelta(days=20), cycle_id="c20")
    history = history_of_vehicle(conn, vehicle_id)
    assert days_on_market(history, until=now + timedelta(days=23)) == 6 + 3
    assert days_on_market(history[:1], until=now + timedelta(days=1)) == 1
    assert days_on_market([], until=now) == 0
