"""Listings that a quality gate keeps from becoming vehicles, and the record of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fill_pipeline.db.connect import Connection, queries

_sql = queries("holds")


@dataclass(frozen=True, slots=True)
class HeldBatch:
    """What a cycle held back of a source for one unmet expectation; ``released`` of its ``listings`` were let go since.

    ``checked`` values were considered in the decisions, ``unexpected`` of them were not as expected.
    """

    source_id: UUID
    slug: str
    expectation: str
    field_name: str
    reason: str
    batches: int
    listings: int
    checked: int
    unexpected: int
    released: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A source's held listings, and whether what it gives in this cycle is sound."""

    source_id: UUID
    listing_ids: list[int]
    sound: bool


def hold(
    conn: Connection,
    listing_ids: Sequence[int],
    *,
    source_id: UUID,
    cycle_id: str,
    expectation: str,
    field_name: str,
    reason: str,
    checked: int,
    unexpected: int,
    now: datetime,
) -> None:
    """Keep a source's listings back and record why."""
    of_batch = {"source_id": source_id, "cycle_id": cycle_id, "expectation": expectation, "now": now}
    new = int(_sql.hold_listings(conn, ids=list(listing_ids), **of_batch))
    _sql.add_held_batch(
        conn,
        field_name=field_name,
        reason=reason[:500],
        listings=new,
        checked=checked,
        unexpected=unexpected,
        **of_batch,
    )


def free_advertisements(conn: Connection, keys: Sequence[tuple[UUID, str]], *, now: datetime) -> set[int]:
    """Let go those of these (source id, remote id) that are held; returns their listing ids."""
    holding = {row[0] for row in _sql.holding_sources(conn, source_ids=sorted({source_id for source_id, _ in keys}))}
    held = [key for key in keys if key[0] in holding]
    if not held:
        return set()
    rows = _sql.free_advertisements(
        conn, source_ids=[source_id for source_id, _ in held], remote_ids=[remote_id for _, remote_id in held], now=now
    )
    return {row[0] for row in rows}


def free_listings(conn: Connection, ids: Sequence[int], *, now: datetime) -> None:
    """Let these listings go."""
    _sql.free_listings(conn, ids=list(ids), now=now)


def lock_held(conn: Connection, ids: Sequence[int]) -> list[int]:
    """Those of these listings that are still held, locked until the transaction ends."""
    return [row[0] for row in _sql.lock_held(conn, ids=list(ids))]


def judged_again(conn: Connection, ids: Sequence[int], *, now: datetime) -> None:
    """These listings were judged again and stay held."""
    _sql.judged_again(conn, ids=list(ids), now=now)


def waiting(conn: Connection, cycle_id: str, *, now: datetime, most: int, least: int) -> list[Waiting]:
    """The sources with held listings, at most ``most`` of each; ``least`` is how many listings tell a source sound."""
    return [Waiting(*row) for row in _sql.waiting(conn, cycle_id=cycle_id, now=now, most=most, least=least)]


def held_of_cycle(conn: Connection, cycle_id: str) -> list[HeldBatch]:
    """What a cycle held back, by source and expectation."""
    return [HeldBatch(*row) for row in _sql.held_of_cycle(conn, cycle_id=cycle_id)]
