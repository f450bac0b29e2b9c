"""The import queue: enqueue, claim under lease and pace, complete, fail, reap."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from fill_pipeline.db.connect import Connection, queries

_sql = queries("queue")
SOURCES_PER_CLAIM = 25  # enough to keep every connection busy, few enough that several drains claim side by side


class QueueStatus(StrEnum):
    """Where a queued page stands."""

    PENDING = "pending"  # waits for its turn
    PROCESSING = "processing"  # leased to a worker
    COMPLETE = "complete"  # has its listing
    FAILED = "failed"  # tried, and trying again cannot help
    SKIPPED = "skipped"  # fetched, and no vehicle was for sale there
    DEAD = "dead"  # every attempt used up


@dataclass(frozen=True, slots=True)
class PageToQueue:
    """A listing page found on an index page. ``hint`` is what the card already said."""

    source_id: UUID
    url: str
    url_hash: UUID
    hint: dict[str, Any] | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ClaimedPage:
    """A page leased to us; fetch it at ``slot_at`` (UTC), not earlier. ``listing_id`` is what it gave before."""

    queue_id: int
    source_id: UUID
    url: str
    url_hash: UUID
    listing_id: int | None
    hint: dict[str, Any] | None
    attempts: int
    max_attempts: int
    slot_at: datetime


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of a claimed page: complete with a listing, or skipped with a reason."""

    queue_id: int
    status: QueueStatus
    listing_id: int | None = None
    category: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt. ``delay`` is in seconds; ``retryable`` false ends the row at once."""

    queue_id: int
    category: str
    error: str
    delay: float = 0.0
    retryable: bool = True


def enqueue(conn: Connection, pages: Sequence[PageToQueue], *, cycle_id: str, now: datetime, revisit: timedelta) -> int:
    """Queue pages and return how many are newly pending; what already waits or was finished lately is left alone.

    ``revisit`` is how long a young advertisement is left alone; others are for shorter or longer, by price and age.
    """
    if not pages:
        return 0
    rows = _sql.enqueue(
        conn,
        source_ids=[p.source_id for p in pages],
        urls=[p.url for p in pages],
        hashes=[p.url_hash for p in pages],
        hints=[None if p.hint is None else orjson.dumps(p.hint).decode() for p in pages],
        priorities=[p.priority for p in pages],
        cycle_id=cycle_id,
        now=now,
        revisit=revisit,
    )
    return len(list(rows))


def claim(
    conn: Connection,
    *,
    owner: str,
    cycle_id: str,
    now: datetime,
    batch: int,
    lease: timedelta,
    horizon: timedelta,
    per_source: int,
) -> list[ClaimedPage]:
    """Lease up to ``batch`` pages whose slots fall before ``now + horizon``, sorted by slot.

    Of ``SOURCES_PER_CLAIM`` sources at most: fewer pages than ``batch`` do not mean that there are no more. The commit
    does not wait for the disk: claim in no transaction that writes anything else.
    """
    rows = _sql.claim(
        conn,
        owner=owner,
        now=now,
        horizon=now + horizon,
        per_source=per_source,
        batch=batch,
        sources=SOURCES_PER_CLAIM,
        lease_seconds=lease.total_seconds(),
        cycle_id=cycle_id,
    )
    return sorted((ClaimedPage(*row) for row in rows), key=lambda page: page.slot_at)


def extend_leases(conn: Connection, ids: Collection[int], *, owner: str, now: datetime, lease: timedelta) -> set[int]:
    """Say that these rows are still being worked on; returns the ids that are still ours."""
    if not ids:
        return set()
    rows = _sql.extend_leases(conn, ids=list(ids), owner=owner, now=now, lease_seconds=lease.total_seconds())
    return {row[0] for row in rows}


def complete(conn: Connection, ends: Sequence[Completion], *, owner: str, now: datetime) -> set[int]:
    """Finish rows; returns the ids that were still ours. Others were taken over and must not be counted."""
    if not ends:
        return set()
    rows = _sql.complete(
        conn,
        ids=[e.queue_id for e in ends],
        outcomes=[e.status for e in ends],
        listing_ids=[e.listing_id for e in ends],
        categories=[e.category for e in ends],
        errors=[e.error for e in ends],
        owner=owner,
        now=now,
    )
    return {row[0] for row in rows}


def fail(conn: Connection, failures: Sequence[Failure], *, owner: str, now: datetime) -> dict[int, QueueStatus]:
    """Give rows back after a failure; returns what became of each row that was still ours."""
    if not failures:
        return {}
    rows = _sql.fail(
        conn,
        ids=[f.queue_id for f in failures],
        categories=[f.category for f in failures],
        errors=[f.error for f in failures],
        delays=[f.delay for f in failures],
        retryable=[f.retryable for f in failures],
        owner=owner,
        now=now,
    )
    return {row[0]: QueueStatus(row[1]) for row in rows}


def release(
    conn: Connection,
    ids: Collection[int],
    *,
    owner: str,
    asked: Collection[int] = (),
    not_before: datetime | None = None,
) -> None:
    """Give untried rows back, their attempt not counted, nor a request of today but for the pages ``asked`` for.

    They wait until ``not_before`` (UTC), if that is given.
    """
    if ids:
        _sql.release(conn, ids=list(ids), asked=list(asked), owner=owner, not_before=not_before)


def held_by(conn: Connection, owner: str) -> set[int]:
    """The rows leased to this owner."""
    return {row[0] for row in _sql.held_by(conn, owner=owner)}


def owners(conn: Connection) -> list[str]:
    """Who holds pages now."""
    return [row[0] for row in _sql.owners(conn)]


def release_owner(conn: Connection, owner: str, *, now: datetime) -> int:
    """Take back everything held by an owner known to be dead; returns how many pages."""
    return len(list(_sql.release_owner(conn, owner=owner, now=now)))


def reap(conn: Connection, *, now: datetime, max_rows: int = 5000) -> dict[int, QueueStatus]:
    """Take back rows whose lease ran out; returns what became of each."""
    return {row[0]: QueueStatus(row[1]) for row in _sql.reap(conn, now=now, max_rows=max_rows)}


def requeue_dead(conn: Connection, *, source_id: UUID | None, now: datetime, max_rows: int = 10_000) -> int:
    """Give dead rows another life; returns how many."""
    return len(list(_sql.requeue_dead(conn, source_id=source_id, now=now, max_rows=max_rows)))


def next_ready(conn: Connection, *, now: datetime) -> datetime | None:
    """When the earliest waiting page may be fetched (UTC): ``now`` where one is ready; None when nothing waits."""
    rows = list(_sql.next_ready(conn, now=now))
    value: datetime | None = rows[0][0] if rows else None
    return value


def failures_by_category(conn: Connection, cycle_id: str) -> list[tuple[str, str, int]]:
    """(source slug, category, count) of this cycle's failures, most first."""
    return [tuple(row) for row in _sql.failures_by_category(conn, cycle_id=cycle_id)]
