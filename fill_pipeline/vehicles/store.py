"""The one way into listings and vehicles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from psycopg.errors import UniqueViolation

from fill_pipeline.db import listings as db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.listings import KnownListing, ListingRow
from fill_pipeline.extract.listing import Listing
from fill_pipeline.vehicles import identity, revision
from fill_pipeline.vehicles.assignment import Assignment, Pending, WriteConflict
from fill_pipeline.vehicles.clean import Cleaned
from fill_pipeline.vehicles.completeness import CORE_FIELDS, completeness, filled, knowable
from fill_pipeline.vehicles.tally import FieldTally, Outcome, SourceSums, WriteResult, WrittenListing
from fill_pipeline.vehicles.vin import VinStatus

TALLIED = (
    *CORE_FIELDS,
    "vin",
    "trim",
    "body_style",
    "engine",
    "fuel_type",
    "transmission",
    "drivetrain",
    "exterior_color",
)
"""The fields whose completeness is tallied for every listing written."""


@dataclass(slots=True, kw_only=True)
class ListingToWrite:
    """One cleaned observation. ``listing.remote_id`` and ``listing.url`` must be set.

    ``promote`` false keeps the listing from becoming or changing a vehicle (a batch held back by a
    quality gate).
    ``judged`` false leaves it out of completeness and accuracy (a card whose own page is still to be read).
    """

    source_id: UUID
    source: str
    listing: Listing
    quarantine: dict[str, dict[str, Any]] = field(default_factory=dict)
    vin_status: VinStatus | None = None
    completeness: float = 0.0
    agreement: dict[str, bool] = field(default_factory=dict)
    issues: list[tuple[str, str]] = field(default_factory=list)
    archive_id: int | None = None
    queue_id: int | None = None
    promote: bool = True
    judged: bool = True

    @classmethod
    def of(
        cls,
        cleaned: Cleaned,
        *,
        source_id: UUID,
        source: str,
        archive_id: int | None = None,
        queue_id: int | None = None,
    ) -> ListingToWrite:
        """A row from the result of ``clean``."""
        return cls(
            source_id=source_id,
            source=source,
            listing=cleaned.listing,
            quarantine=cleaned.quarantine,
            vin_status=cleaned.vin_status,
            completeness=cleaned.completeness,
            agreement=cleaned.agreement,
            issues=cleaned.issues,
            archive_id=archive_id,
            queue_id=queue_id,
        )


_ATTEMPTS = 5
_Key = tuple[UUID, str]
_COPIED = tuple(
    f.name for f in fields(ListingRow) if f.name in Listing.__struct_fields__ and f.name not in ("provenance", "status")
)
_copied_values = attrgetter(*_COPIED)


def write_listings(
    conn: Connection,
    rows: Sequence[ListingToWrite],
    *,
    cycle_id: str,
    now: datetime,
    core_fields: Sequence[str] = CORE_FIELDS,
) -> WriteResult:
    """Write a batch of observations made at ``now`` (UTC) inside the caller's transaction.

    Call it once in a transaction and before other locks are taken. Several writers may hold the same
    advertisements and the same VINs: none fails and no vehicle is made twice. Where two writers
    lock across each other all the same, PostgreSQL ends one with DeadlockDetected: roll back and
    write the batch again.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with conn.transaction():
                return _write(conn, rows, cycle_id=cycle_id, now=now, core_fields=core_fields)
        except WriteConflict:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _write(
    conn: Connection, rows: Sequence[ListingToWrite], *, cycle_id: str, now: datetime, core_fields: Sequence[str]
) -> WriteResult:
    result = WriteResult()
    if not rows:
        return result
    chosen = _best_of_each(rows)
    known = db.find_known(conn, list(chosen))
    pending: dict[_Key, Pending] = {}
    unchanged: dict[_Key, KnownListing] = {}
    for key, to_write in chosen.items():
        row = _row_of(to_write, now, cycle_id)
        promote = to_write.promote and identity.is_identifiable(row)
        before = known.get(key)
        if before is not None and _says_the_same(before, row, promote):
            unchanged[key] = before
        else:
            row.provenance = {n: (e.layer, e.locator, e.confidence) for n, e in to_write.listing.provenance.items()}
            pending[key] = Pending(row, None, promote)
    _revise_known(conn, result, pending, known, unchanged, core_fields)
    assignment = Assignment(conn, list(pending.values()), now=now, cycle_id=cycle_id, core_fields=core_fields)
    assignment.find_vehicles()
    _store(conn, pending, unchanged, cycle_id, now)
    assignment.derive_vehicles()
    result.vehicles_added, result.vehicles_updated = len(assignment.added), assignment.updated
    _account(result, rows, chosen, pending, unchanged, assignment.added)
    return result


def _best_of_each(rows: Sequence[ListingToWrite]) -> dict[_Key, ListingToWrite]:
    """One observation per advertisement: the most complete, the later of equals."""
    chosen: dict[_Key, ListingToWrite] = {}
    for row in rows:
        if not row.listing.remote_id or not row.listing.url:
            raise ValueError(f"listing of {row.source} without remote_id or url: {row.listing.url!r}")
        key = (row.source_id, row.listing.remote_id)
        if key not in chosen or row.completeness >= chosen[key].completeness:
            chosen[key] = row
    return chosen


def _says_the_same(before: KnownListing, row: ListingRow, promote: bool) -> bool:
    return (
        before.content_hash == row.content_hash
        and before.status == row.status
        and (before.vehicle_id is not None or not promote)
    )


def _row_of(to_write: ListingToWrite, now: datetime, cycle_id: str) -> ListingRow:
    copied = dict(zip(_COPIED, _copied_values(to_write.listing), strict=True))
    row = ListingRow(
        **copied,
        id=0,
        source_id=to_write.source_id,
        source=to_write.source,
        vin_status=to_write.vin_status,
        status=revision.status_of(to_write.listing.status),
        first_seen_at=now,
        first_cycle=cycle_id,
        changed_at=now,
        changed_cycle=cycle_id,
        quarantine=to_write.quarantine,
        completeness=to_write.completeness,
        archive_id=to_write.archive_id,
    )
    row.content_hash = revision.content_hash(row)
    return row


def _revise_known(
    conn: Connection,
    result: WriteResult,
    pending: dict[_Key, Pending],
    known: dict[_Key, KnownListing],
    unchanged: dict[_Key, KnownListing],
    core_fields: Sequence[str],
) -> None:
    """Merge each changed observation into its stored row; what then says nothing new is unchanged after all."""
    to_lock = {known[key].id: key for key in pending if key in known}
    if not to_lock:
        return
    for listing_id, old in db.lock_listings(conn, list(to_lock)).items():
        key = to_lock[listing_id]
        item = pending[key]
        row = revision.revise(old, item.row)
        for name in row.quarantine.keys() - item.row.quarantine.keys() - old.quarantine.keys():
            result.issues[row.source_id, name, row.quarantine[name]["rule"]] += 1
            result.tallies.setdefault(row.source_id, {}).setdefault(name, FieldTally()).quarantined += 1
        row.completeness = completeness(row, core_fields)
        row.content_hash = revision.content_hash(row)
        says_more = row.content_hash != old.content_hash or row.status != old.status
        if not says_more and (old.vehicle_id is not None or not item.promote):
            unchanged[key] = known[key]
            del pending[key]
        else:
            item.row, item.known = row, old


def _store(
    conn: Connection,
    pending: dict[_Key, Pending],
    unchanged: dict[_Key, KnownListing],
    cycle_id: str,
    now: datetime,
) -> None:
    fresh = [item.row for item in pending.values() if item.known is None]
    changed = [item.row for item in pending.values() if item.known is not None]
    if fresh:
        try:
            db.insert_listings(conn, fresh)
        except UniqueViolation as error:
            raise WriteConflict("another writer inserted one of these advertisements meanwhile") from error
    if changed:
        db.update_listings(conn, changed)
    seen_again = [row.id for row in changed] + [known.id for known in unchanged.values()]
    if seen_again:
        db.touch_sightings(conn, seen_again, cycle_id=cycle_id, now=now)
    if changed:
        db.add_history(conn, [row.id for row in changed], cycle_id=cycle_id, now=now)
    set_aside = [found for item in pending.values() for found in revision.newly_quarantined(item.row, item.known)]
    if set_aside:
        db.add_quarantined(conn, set_aside, cycle_id=cycle_id, now=now)


def _account(
    result: WriteResult,
    rows: Sequence[ListingToWrite],
    chosen: dict[_Key, ListingToWrite],
    pending: dict[_Key, Pending],
    unchanged: dict[_Key, KnownListing],
    added: set[int],
) -> None:
    counted: set[int] = set()
    for to_write in rows:
        key = (to_write.source_id, to_write.listing.remote_id or "")
        sums = result.sources.setdefault(to_write.source_id, SourceSums())
        sums.found += 1
        first = chosen[key] is to_write
        item = pending.get(key)
        if item is None:
            known = unchanged[key]
            result.rows.append(WrittenListing(known.id, Outcome.UNCHANGED, known.vehicle_id, to_write.queue_id))
            sums.skipped += 1
        else:
            outcome = _outcome(item) if first else Outcome.UNCHANGED
            vehicle_id = item.row.vehicle_id
            result.rows.append(WrittenListing(item.row.id, outcome, vehicle_id, to_write.queue_id))
            sums.new += outcome is Outcome.NEW
            sums.updated += outcome is Outcome.UPDATED
            sums.quarantined += outcome is Outcome.QUARANTINED
            sums.skipped += outcome is Outcome.UNCHANGED
            if vehicle_id in added and vehicle_id not in counted:
                counted.add(vehicle_id)
                sums.vehicles_added += 1
        if first and to_write.judged:
            sums.quality_sum += to_write.completeness
            sums.quality_count += 1
            _tally(result, to_write)


def _outcome(item: Pending) -> Outcome:
    if not item.promote:
        return Outcome.QUARANTINED
    return Outcome.NEW if item.known is None else Outcome.UPDATED


def _tally(result: WriteResult, to_write: ListingToWrite) -> None:
    source_id, listing = to_write.source_id, to_write.listing
    tallies = result.tallies.setdefault(source_id, {})
    for name in TALLIED:
        tally = tallies.get(name) or tallies.setdefault(name, FieldTally())
        if filled(listing, name):
            tally.filled += 1
            tally.knowable += 1
        elif knowable(listing, name):
            tally.knowable += 1
    for name, agrees in to_write.agreement.items():
        tally = tallies.setdefault(name, FieldTally())
        tally.compared += 1
        tally.agreed += agrees
    for name in to_write.quarantine:
        tallies.setdefault(name, FieldTally()).quarantined += 1
    for name, rule in to_write.issues:
        result.issues[source_id, name, rule] += 1
