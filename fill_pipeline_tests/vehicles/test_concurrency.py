"""Several writers at once: no error, no vehicle twice, nothing lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg

from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.drain.write import in_transaction
from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.vin import check_digit
from fill_pipeline.vehicles.merge import merge_vehicles
from fill_pipeline.vehicles.store import ListingToWrite, write_listings
from fill_pipeline.vehicles.tally import Outcome, WriteResult

Make = Callable[..., Listing]
ToWrite = Callable[..., ListingToWrite]
Select = Callable[..., list[tuple[Any, ...]]]


def _vin(serial: int) -> str:
    vin = f"1HGCV1F30KA{serial:06d}"
    return vin[:8] + str(check_digit(vin)) + vin[9:]


def _together(*tasks: Callable[[], object]) -> None:
    """Run the tasks in threads of their own; raise the first error."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(tasks))

    def run(task: Callable[[], object]) -> None:
        barrier.wait()
        try:
            task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    if errors:
        raise errors[0]


def test_two_writers_of_the_same_vins_make_each_vehicle_once(
    database_url: str,
    add_source: Callable[[str], UUID],
    to_write: ToWrite,
    listing: Make,
    select: Select,
    now: datetime,
) -> None:
    sources = [add_source("one"), add_source("two")]
    results: list[WriteResult] = []

    def writer(source_id: UUID, seed: int) -> None:
        numbers = list(range(100, 340))
        random.Random(seed).shuffle(numbers)
        with connect(database_url) as conn:
            for start in range(0, len(numbers), 60):
                rows = [
                    to_write(source_id, listing(remote_id=str(n), vin=_vin(n), mileage=20_000 + n * 37))
                    for n in numbers[start : start + 60]
                ]
                # As every caller does: of writers that hold up each other the server sends one back, now and then.
                write = partial(write_listings, conn, rows, cycle_id="c", now=now)
                results.append(in_transaction(conn, write))

    _together(*(lambda s=s, i=i: writer(s, i) for i, s in enumerate(sources * 2)))
    assert select("SELECT count(*), count(DISTINCT vin) FROM vehicles") == [(240, 240)]
    assert select("SELECT count(*) FROM listing_records WHERE vehicle_id IS NULL") == [(0,)]
    assert select("SELECT count(*) FROM listing_records") == [(480,)]
    assert select("SELECT count(*) FROM vehicles WHERE listing_count <> 2") == [(0,)]
    assert sum(r.vehicles_added for r in results) == 240
    outcomes = [row.outcome for r in results for row in r.rows]
    assert outcomes.count(Outcome.NEW) == 480, "of two writers of one advertisement one is first"
    claimed = sum(s.vehicles_added for r in results for s in r.sources.values())
    for metric in ("vehicles", "cycle.vehicles_added"):
        assert select("SELECT sum(n) FROM counters WHERE metric = %s", metric) == [(claimed,)]


def test_a_writer_that_comes_second_waits_and_joins(
    database_url: str, conn: Connection, source: UUID, add_source: Callable[[str], UUID], to_write: ToWrite,
    listing: Make, select: Select, accord_vin: str, now: datetime,
) -> None:  # fmt: skip
    other = add_source("other")
    second: list[WriteResult] = []

    def write_second() -> None:
        with connect(database_url) as own, own.transaction():
            second.append(write_listings(own, [to_write(other, listing(vin=accord_vin))], cycle_id="c", now=now))

    with conn.transaction():
        first = write_listings(conn, [to_write(source, listing(vin=accord_vin))], cycle_id="c", now=now)
        thread = threading.Thread(target=write_second)
        thread.start()
        thread.join(timeout=0.3)
        assert thread.is_alive(), "it waits for the VIN's first writer"
    thread.join(timeout=30)
    assert (first.vehicles_added, second[0].vehicles_added) == (1, 0)
    assert select("SELECT listing_count FROM vehicles") == [(2,)]


def test_a_writer_whose_rival_rolled_back_makes_the_vehicle_itself(
    database_url: str, conn: Connection, source: UUID, to_write: ToWrite, listing: Make, select: Select,
    accord_vin: str, now: datetime,
) -> None:  # fmt: skip
    second: list[WriteResult] = []
    rows = [to_write(source, listing(vin=accord_vin))]

    def write_second() -> None:
        with connect(database_url) as own, own.transaction():
            second.append(write_listings(own, rows, cycle_id="c", now=now))

    thread = threading.Thread(target=write_second)

    def write_and_roll_back() -> None:
        with conn.transaction() as transaction:
            write_listings(conn, rows, cycle_id="c", now=now)
            thread.start()
            thread.join(timeout=0.3)
            raise psycopg.Rollback(transaction)

    write_and_roll_back()
    thread.join(timeout=30)
    assert second[0].vehicles_added == 1
    assert select("SELECT count(*) FROM vehicles") == [(1,)]


def test_two_writers_of_one_car_without_vin_make_it_once(
    database_url: str,
    add_source: Callable[[str], UUID],
    to_write: ToWrite,
    listing: Make,
    select: Select,
    now: datetime,
) -> None:
    sources = [add_source("one"), add_source("two")]

    def writer(source_id: UUID, place: int) -> None:
        cars = [
            listing(
                remote_id=f"{place}-{n}",
                mileage=30_123 + n * 5_000,
                price=10_000 + n * 1_000,
                images=[f"https://x.example/{n}"],
            )
            for n in range(20)
        ]
        with connect(database_url) as own, own.transaction():
            write_listings(own, [to_write(source_id, car) for car in cars], cycle_id="c", now=now)

    _together(*(lambda s=s, i=i: writer(s, i) for i, s in enumerate(sources)))
    assert select("SELECT count(*) FROM vehicles") == [(20,)]
    assert select("SELECT count(*) FROM listing_records") == [(40,)]


def test_many_writers_changing_the_same_listings_neither_fail_nor_lose_a_price(
    database_url: str,
    add_source: Callable[[str], UUID],
    to_write: ToWrite,
    listing: Make,
    select: Select,
    now: datetime,
) -> None:
    source_id = add_source("one")

    def writer(worker: int) -> None:
        with connect(database_url) as own:
            for turn in range(4):
                at = now + timedelta(minutes=turn)
                cars = [
                    listing(remote_id=str(n), vin=_vin(n), mileage=9_000 + n * 911, price=20_000 - turn * 100 + n)
                    for n in range(30)
                ]
                random.Random(worker * 10 + turn).shuffle(cars)
                for attempt in range(5):
                    try:
                        with own.transaction():
                            write_listings(own, [to_write(source_id, car) for car in cars], cycle_id="c", now=at)
                        break
                    except psycopg.errors.DeadlockDetected:
                        assert attempt < 4

    _together(*(lambda w=w: writer(w) for w in range(3)))
    assert select("SELECT count(*) FROM listing_records") == [(30,)]
    assert select("SELECT count(*) FROM vehicles") == [(30,)]
    assert select("SELECT count(*) FROM listing_records WHERE price <> 19700 + remote_id::int") == [(0,)]
    assert select("SELECT min(seen_count), max(seen_count) FROM listing_sightings") == [(1, 1)]  # once a cycle


def test_a_listing_whose_vehicle_is_merged_meanwhile_follows_it(
    conn: Connection, database_url: str, source: UUID, to_write: ToWrite, listing: Make, select: Select, now: datetime
) -> None:
    cars = [listing(), listing(remote_id="2", mileage=5_000, price=30_000)]
    with conn.transaction():
        first = write_listings(conn, [to_write(source, car) for car in cars], cycle_id="c", now=now)
    keep, absorb = (row.vehicle_id or 0 for row in first.rows)

    def write_second() -> None:
        with connect(database_url) as own, own.transaction():
            rows = [to_write(source, listing(remote_id="2", mileage=5_000, price=29_000))]
            write_listings(own, rows, cycle_id="c2", now=now + timedelta(hours=1))

    thread = threading.Thread(target=write_second)
    with conn.transaction():
        merge_vehicles(conn, keep, absorb, reason="test", evidence={}, now=now, cycle_id="c")
        thread.start()
        thread.join(timeout=0.3)
        assert thread.is_alive()
    thread.join(timeout=30)
    assert select("SELECT id, listing_count, price FROM vehicles") == [(keep, 2, 29_000)]
    assert select("SELECT DISTINCT vehicle_id FROM listing_records") == [(keep,)]
