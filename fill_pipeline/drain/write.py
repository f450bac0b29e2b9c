"""One transaction per batch: archive index, listings, vehicles, accounts and queue rows, together or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import psycopg

from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db import archive, cycles, holds, ledger, queue
from fill_pipeline.db import vehicles as vehicles_db
from fill_pipeline.db.archive import PageRow
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.ledger import SourceStats, Tally
from fill_pipeline.db.queue import Completion, QueueStatus
from fill_pipeline.drain.page import WRITTEN
from fill_pipeline.drain.read import ReadPage, SkipReason
from fill_pipeline.quality.gate import Gate, HeldPart
from fill_pipeline.quality.hits import rule_hits
from fill_pipeline.vehicles.assignment import WriteConflict
from fill_pipeline.vehicles.merge import derive
from fill_pipeline.vehicles.store import ListingToWrite, write_listings
from fill_pipeline.vehicles.tally import Outcome, WriteResult, WrittenListing

TRANSIENT = (
    WriteConflict,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
)
ATTEMPTS = 5
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Commit:
    """For which cycle a batch is written, under whose lease, and when (UTC).

    ``gate`` judges what may become vehicles. ``tallied`` false leaves the cycle's completeness and accuracy as they
    are: a replay reads nothing new.
    """

    cycle_id: str
    owner: str
    now: datetime
    core_fields: tuple[str, ...]
    gate: Gate
    tallied: bool = True


def in_transaction(conn: Connection, deed: Callable[[], T]) -> T:
    """Do it in one transaction, again where another writer was in the way."""
    for attempt in range(ATTEMPTS):
        try:
            with conn.transaction():
                return deed()
        except TRANSIENT:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def in_open_cycle(conn: Connection, cycle_id: str, deed: Callable[[], T]) -> T:
    """As ``in_transaction``, of a deed that writes into a cycle, which stays open until that is committed.

    A replay goes without: it writes into cycles long closed.

    Raises:
        CycleClosedError: the cycle was closed before; nothing is written.
    """

    def write() -> T:
        cycles.keep_open(conn, cycle_id)
        return deed()

    return in_transaction(conn, write)


def write_pages(conn: Connection, read: Sequence[ReadPage], commit: Commit) -> dict[UUID, SourceStats]:
    """Write what pages gave and finish their queue rows, inside the caller's transaction.

    What the gate holds back is stored as listings and does not reach ``vehicles``; what it held back before and now
    finds good does. Returns what each source's account must be raised by; the caller adds it in the same transaction.
    """
    fresh = [one for one in read if one.page.archive_id is None]
    for one, archive_id in zip(fresh, archive.insert_pages(conn, [_page_row(o, commit) for o in fresh]), strict=True):
        one.page.archive_id = archive_id
    rows = []
    for one in read:
        for row in one.rows:
            row.archive_id = one.page.archive_id
            rows.append(row)
    held = commit.gate.screen(rows)
    freed = holds.free_advertisements(conn, _keys(rows), now=commit.now)
    result = write_listings(conn, rows, cycle_id=commit.cycle_id, now=commit.now, core_fields=commit.core_fields)
    _catch_up(conn, freed, result, commit)
    stats = _stats(read, result)
    for part in held:
        _hold(conn, part, rows, result, commit)
        _account_held(stats[part.source_id], part, rows, result)
    if commit.tallied:
        ledger.add_tallies(conn, commit.cycle_id, _tallies(result, read))
        ledger.add_hits(conn, commit.cycle_id, rule_hits(rows, result))
    queue.complete(conn, _completions(read, result), owner=commit.owner, now=commit.now)
    return stats


def _keys(rows: Sequence[ListingToWrite]) -> list[tuple[UUID, str]]:
    """The advertisements that may be promoted."""
    return sorted({(row.source_id, row.listing.remote_id or "") for row in rows if row.promote})


def _catch_up(conn: Connection, freed: set[int], result: WriteResult, commit: Commit) -> None:
    """Derive the vehicles of listings that changed while they were held and say the same now."""
    stale = {
        row.vehicle_id
        for row in result.rows
        if row.listing_id in freed and row.outcome is Outcome.UNCHANGED and row.vehicle_id is not None
    }
    if stale:
        alive = vehicles_db.lock_vehicles(conn, sorted(stale))
        derive(conn, alive, now=commit.now, cycle_id=commit.cycle_id, core_fields=commit.core_fields)


def _kept_back(part: HeldPart, rows: Sequence[ListingToWrite], result: WriteResult) -> list[WrittenListing]:
    """Every listing of a held part that this kept from its vehicle."""
    return [
        written
        for row, written in zip(rows, result.rows, strict=True)
        if row.source_id == part.source_id and (written.outcome is Outcome.QUARANTINED or written.vehicle_id is None)
    ]


def _account_held(stats: SourceStats, part: HeldPart, rows: Sequence[ListingToWrite], result: WriteResult) -> None:
    """What is held back once more counts as held back, also where it says nothing new."""
    again = sum(written.outcome is Outcome.UNCHANGED for written in _kept_back(part, rows, result))
    stats.skipped -= again
    stats.quarantined += again
    stats.notes.append(f"held back: {part.expectation.name}")


def _hold(
    conn: Connection, part: HeldPart, rows: Sequence[ListingToWrite], result: WriteResult, commit: Commit
) -> None:
    """Record what was held back."""
    ids = {written.listing_id for written in _kept_back(part, rows, result)}
    holds.hold(
        conn,
        sorted(ids),
        source_id=part.source_id,
        cycle_id=commit.cycle_id,
        expectation=part.expectation.name,
        field_name=part.expectation.field,
        reason=part.reason,
        checked=part.considered,
        unexpected=part.unexpected,
        now=commit.now,
    )


def _page_row(one: ReadPage, commit: Commit) -> PageRow:
    page = one.page
    return PageRow(
        source_id=page.source_id,
        cycle_id=commit.cycle_id,
        kind=page.kind,
        url=page.url,
        url_hash=url_hash(page.url),
        fetched_at=page.fetched_at,
        http_status=page.http_status,
        file=page.file,
        offset=page.offset,
        length=page.length,
        content_type=page.content_type or None,
        etag=page.etag,
        last_modified=page.last_modified,
        listings=len(one.rows),
        card_number=page.hint.get("remote_id") if page.hint else None,
        card_written=bool(page.hint and WRITTEN in page.hint),
    )


def _completions(read: Sequence[ReadPage], result: WriteResult) -> list[Completion]:
    listing_of: dict[int, int] = {}
    for written in result.rows:
        if written.queue_id is not None:
            listing_of.setdefault(written.queue_id, written.listing_id)
    ends = []
    for one in read:
        queue_id = one.page.queue_id
        if queue_id is None:
            continue
        if queue_id in listing_of:
            ends.append(Completion(queue_id, QueueStatus.COMPLETE, listing_of[queue_id]))
        elif one.skipped is SkipReason.DECODE:
            ends.append(Completion(queue_id, QueueStatus.FAILED, None, one.skipped, one.reason))
        else:
            ends.append(Completion(queue_id, QueueStatus.SKIPPED, None, one.skipped, one.reason))
    return ends


def _stats(read: Sequence[ReadPage], result: WriteResult) -> dict[UUID, SourceStats]:
    stats: defaultdict[UUID, SourceStats] = defaultdict(SourceStats)
    for source_id, sums in result.sources.items():
        stats[source_id].add(
            SourceStats(
                found=sums.found,
                new=sums.new,
                updated=sums.updated,
                skipped=sums.skipped,
                quarantined=sums.quarantined,
                vehicles_added=sums.vehicles_added,
                quality_sum=sums.quality_sum,
                quality_count=sums.quality_count,
            )
        )
    for one in read:
        if one.page.queue_id is None:
            continue
        of_source = stats[one.page.source_id]
        if one.skipped is SkipReason.DECODE:
            of_source.fail(one.skipped)
            continue
        of_source.pages_fetched += 1
        if one.page.hint and WRITTEN in one.page.hint:
            of_source.found -= len(one.rows)  # found on the index page already, and only completed here
        if one.skipped is not None:
            of_source.pages_empty += 1
            of_source.notes.append(f"{one.page.url}: {one.reason}"[:300])
    return dict(stats)


def _tallies(result: WriteResult, read: Sequence[ReadPage]) -> list[Tally]:
    slugs = {row.source_id: row.source for one in read for row in one.rows}
    return [
        Tally(name, source_id, slugs[source_id], t.knowable, t.filled, t.compared, t.agreed, t.quarantined)
        for source_id, tallies in result.tallies.items()
        for name, t in tallies.items()
    ]
