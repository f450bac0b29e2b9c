"""What becomes of listings that are, or are no longer, on their site."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from fill_pipeline.db import listings as db
from fill_pipeline.db import vehicles as vehicles_db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.listings import HistoryRow
from fill_pipeline.extract.listing import ListingStatus
from fill_pipeline.vehicles.completeness import CORE_FIELDS
from fill_pipeline.vehicles.merge import derive


def mark_absent(
    conn: Connection,
    source_id: UUID,
    *,
    cycle_id: str,
    now: datetime,
    complete: bool,
    delist_after: int = 2,
    core_fields: Sequence[str] = CORE_FIELDS,
) -> int:
    """Count an absence for each active listing that this cycle has not seen; returns how many are delisted now.

    Call it once the source's harvest of this cycle has ended and its listings are written (seen
    ones by ``write_listings`` or ``mark_seen``). An incomplete harvest proves nothing and changes
    nothing. Calling it again in the same cycle counts nothing twice. A delisted listing is not
    assumed sold.
    """
    if not complete:
        return 0
    missed = db.missed_listings(conn, source_id, cycle_id=cycle_id, now=now)
    if not missed:
        return 0
    gone = [listing_id for listing_id, absences in missed if absences >= delist_after]
    delisted = _change_status(
        conn,
        gone,
        old=ListingStatus.ACTIVE,
        new=ListingStatus.DELISTED,
        cycle_id=cycle_id,
        now=now,
        core_fields=core_fields,
    )
    db.count_absences(conn, [listing_id for listing_id, _ in missed], cycle_id=cycle_id)
    return delisted


def mark_seen(
    conn: Connection,
    source_id: UUID,
    url_hashes: Sequence[UUID],
    *,
    cycle_id: str,
    now: datetime,
    core_fields: Sequence[str] = CORE_FIELDS,
) -> int:
    """An index page still shows these listing URLs (hashes as in ``import_queue``); returns how many are known.

    For listings whose detail page is not fetched again. A delisted one is active again.
    """
    known = db.listings_of_urls(conn, source_id, url_hashes) if url_hashes else []
    back = [listing_id for listing_id, status in known if status == ListingStatus.DELISTED]
    _change_status(
        conn,
        back,
        old=ListingStatus.DELISTED,
        new=ListingStatus.ACTIVE,
        cycle_id=cycle_id,
        now=now,
        core_fields=core_fields,
    )
    if known:
        db.touch_sightings(conn, [listing_id for listing_id, _ in known], cycle_id=cycle_id, now=now)
    return len(known)


def days_on_market(history: Sequence[HistoryRow], *, until: datetime) -> float:
    """For how many days a vehicle was offered by at least one of its listings, gaps left out.

    ``history`` is that of all its listings in order of time (``db.listings.history_of_vehicle``).
    """
    offered: set[int] = set()
    since: datetime | None = None
    total = timedelta()
    for row in history:
        if row.status == ListingStatus.ACTIVE:
            offered.add(row.listing_id)
            since = since or row.observed_at
        else:
            offered.discard(row.listing_id)
            if since is not None and not offered:
                total += row.observed_at - since
                since = None
    if since is not None:
        total += until - since
    return total / timedelta(days=1)


def _change_status(
    conn: Connection,
    ids: Sequence[int],
    *,
    old: str,
    new: str,
    cycle_id: str,
    now: datetime,
    core_fields: Sequence[str],
) -> int:
    if not ids:
        return 0
    changed = db.set_status(conn, ids, old=old, new=new, cycle_id=cycle_id, now=now)
    vehicles = {vehicle_id for _, vehicle_id in changed if vehicle_id is not None}
    locked = vehicles_db.lock_vehicles(conn, sorted(vehicles)) if vehicles else set()
    db.add_history(conn, [listing_id for listing_id, _ in changed], cycle_id=cycle_id, now=now)
    if locked:
        derive(conn, locked, now=now, cycle_id=cycle_id, core_fields=core_fields)
    return len(changed)
