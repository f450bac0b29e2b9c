"""A merge can be undone, and then nothing shows that it ever was."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from fill_pipeline.db.connect import Connection
from fill_pipeline.extract.listing import Listing
from fill_pipeline.vehicles.merge import MergeError, merge_vehicles, unmerge
from fill_pipeline.vehicles.tally import WriteResult

Make = Callable[..., Listing]
Write = Callable[..., WriteResult]
Select = Callable[..., list[tuple[Any, ...]]]

STATE = (
    "SELECT to_jsonb(v) FROM vehicles v ORDER BY id",
    "SELECT id, vehicle_id, to_jsonb(r) FROM listing_records r ORDER BY id",
    "SELECT to_jsonb(h) FROM listing_history h ORDER BY id",
    "SELECT to_jsonb(s) FROM listing_sightings s ORDER BY listing_id",
    "SELECT metric, scope, sum(n) FROM counters GROUP BY 1, 2 HAVING sum(n) <> 0 ORDER BY 1, 2",
)


def _two_cars(write: Write, add_source: Callable[[str], UUID], listing: Make, vin: str | None) -> tuple[int, int]:
    one = write(add_source("one"), listing(mileage=30_000, trim="Sport"))
    two = write(
        add_source("two"), listing(mileage=90_000, price=9_000, exterior_color="Red", city="Reno", region="NV", vin=vin)
    )
    return one.rows[0].vehicle_id or 0, two.rows[0].vehicle_id or 0


@pytest.mark.parametrize("vin", [None, "1HGCV1F30KA000018"])
def test_unmerge_restores_the_former_state_exactly(
    conn: Connection,
    add_source: Callable[[str], UUID],
    write: Write,
    listing: Make,
    select: Select,
    now: datetime,
    vin: str | None,
) -> None:
    keep, absorb = _two_cars(write, add_source, listing, vin)
    before = [select(query) for query in STATE]
    with conn.transaction():
        merge = merge_vehicles(
            conn,
            keep,
            absorb,
            reason="looks alike",
            evidence={"odometer": 9.5},
            now=now + timedelta(hours=1),
            cycle_id="c2",
        )
    assert select("SELECT id, listing_count, vin FROM vehicles") == [(keep, 2, vin)]
    assert select("SELECT sum(n) FROM counters WHERE metric = 'vehicles'") == [(1,)]
    with conn.transaction():
        assert unmerge(conn, merge, reason="two cars", now=now + timedelta(hours=2), cycle_id="c3") == (keep, absorb)
    assert [select(query) for query in STATE] == before
    assert select("SELECT kind FROM vehicle_repairs ORDER BY id") == [("merge",), ("unmerge",)]


@pytest.mark.parametrize("seed", range(8))
def test_any_merges_undone_in_any_order_leave_no_trace(
    conn: Connection,
    add_source: Callable[[str], UUID],
    write: Write,
    listing: Make,
    select: Select,
    now: datetime,
    seed: int,
) -> None:
    rng = random.Random(seed)
    vehicles = _many_cars(write, add_source, listing, rng)
    before = [select(query) for query in STATE]
    merges: list[int] = []
    for hour in range(1, 12):
        keep, absorb = rng.sample(vehicles, 2)
        with suppress(MergeError), conn.transaction():
            merged = merge_vehicles(
                conn, keep, absorb, reason="r", evidence={}, now=now + timedelta(hours=hour), cycle_id=f"c{hour}"
            )
            merges.append(merged)
    assert len(merges) >= 3
    assert [select(query) for query in STATE] != before
    rng.shuffle(merges)
    while merges:
        in_force = list(merges)
        for merge in in_force:
            # One whose kept vehicle was itself merged waits for that merge to be undone.
            with suppress(MergeError), conn.transaction():
                unmerge(conn, merge, reason="u", now=now + timedelta(days=1), cycle_id="later")
                merges.remove(merge)
        assert merges != in_force
    assert [select(query) for query in STATE] == before


def _many_cars(write: Write, add_source: Callable[[str], UUID], listing: Make, rng: random.Random) -> list[int]:
    """Seven vehicles, some with a VIN, some with two listings."""
    vins = ["1HGCV1F30KA000018", "1HGCV1F39KA100019", None, None, None, None, None]
    one, two = add_source("one"), add_source("two")
    vehicles = []
    for at, vin in enumerate(rng.sample(vins, len(vins))):
        said = {
            "mileage": 10_000 + 20_000 * at,
            "price": 5_000 + 1_000 * at,
            "exterior_color": rng.choice(["Red", "Blue", None]),
            "city": rng.choice(["Dayton", "Reno"]),
            "vin": vin,
        }
        vehicles.append(write(one, listing(remote_id=f"a{at}", **said)).rows[0].vehicle_id or 0)
        if vin and rng.random() < 0.7:
            write(two, listing(remote_id=f"b{at}", **said | {"price": 4_900}))
    assert len(set(vehicles)) == len(vins)
    return vehicles


def test_a_merge_is_undone_once(
    conn: Connection, add_source: Callable[[str], UUID], write: Write, listing: Make, now: datetime
) -> None:
    keep, absorb = _two_cars(write, add_source, listing, None)
    with conn.transaction():
        merge = merge_vehicles(conn, keep, absorb, reason="r", evidence={}, now=now, cycle_id="c2")
        unmerge(conn, merge, reason="r", now=now, cycle_id="c2")
        with pytest.raises(MergeError, match="no merge"):
            unmerge(conn, merge, reason="r", now=now, cycle_id="c2")


def test_unmerge_after_further_changes_keeps_the_changes(
    conn: Connection, add_source: Callable[[str], UUID], write: Write, listing: Make, select: Select, now: datetime
) -> None:
    keep, absorb = _two_cars(write, add_source, listing, None)
    [(second_source,)] = select("SELECT source_id FROM listing_records WHERE vehicle_id = %s", absorb)
    with conn.transaction():
        merge = merge_vehicles(conn, keep, absorb, reason="r", evidence={}, now=now, cycle_id="c2")
    write(
        second_source,
        listing(mileage=90_000, price=8_000, exterior_color="Red", city="Reno", region="NV"),
        now=now + timedelta(hours=3),
    )
    with conn.transaction():
        unmerge(conn, merge, reason="r", now=now + timedelta(hours=4), cycle_id="c3")
    assert select("SELECT id, price, listing_count FROM vehicles ORDER BY id") == [
        (keep, 18_995, 1),
        (absorb, 8_000, 1),
    ]


def test_two_vehicles_with_vins_of_their_own_are_never_merged(
    conn: Connection, source: UUID, write: Write, listing: Make, now: datetime
) -> None:
    rows = write(source, listing(vin="1HGCV1F30KA000018"), listing(remote_id="2", vin="1HGCV1F39KA100019")).rows
    with pytest.raises(MergeError, match="VINs of their own"), conn.transaction():
        merge_vehicles(
            conn, rows[0].vehicle_id or 0, rows[1].vehicle_id or 0, reason="r", evidence={}, now=now, cycle_id="c"
        )


def test_a_near_match_becomes_a_proposal_and_merging_it_closes_it(
    conn: Connection, add_source: Callable[[str], UUID], write: Write, listing: Make, select: Select, now: datetime
) -> None:
    bare = {"price": None, "exterior_color": None, "images": [], "city": None, "body_style": None}
    write(add_source("one"), listing(**bare))
    result = write(add_source("two"), listing(**bare, remote_id="2"))
    assert result.vehicles_added == 1
    [(a, b, score, status)] = select("SELECT vehicle_a, vehicle_b, score, status FROM merge_proposals")
    assert 0.8 <= score < 0.95
    assert status == "open"
    with conn.transaction():
        merge_vehicles(conn, a, b, reason="asked", evidence={}, now=now, cycle_id="c", decided_by="operator")
    assert select("SELECT status, decided_by FROM merge_proposals") == [("merged", "operator")]
