"""The archive keeps what the settings say: once a day, what is too old or too much goes."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from fill_pipeline.crawl.retention import Pruned, prune
from fill_pipeline.cycle.window import window_at, window_of_key
from fill_pipeline.db import cycles
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

log = logging.getLogger(__name__)
_NO_LEAP = timedelta(days=2)


def prune_archive(conn: Connection, settings: Settings, *, now: datetime) -> Pruned:
    """Delete the pages of all sources that need not be kept; returns what went.

    By age this costs what is deleted and a listing of the store's folders. A bound on size reads the archive's index
    of pages. A store that cannot be reached is tried again the next day.
    """
    keep_for = timedelta(days=settings.archive_days)
    keep_bytes = None if settings.archive_source_mb is None else settings.archive_source_mb * 1_000_000
    first_kept = window_at(now - keep_for).key
    try:
        gone = prune(
            conn, settings.archive_root, now=now, keep_for=keep_for, first_kept=first_kept, keep_bytes=keep_bytes
        )
    except OSError as error:
        log.warning("the archive %s could not be pruned: %s", settings.archive_root, error)
        return Pruned()
    if gone.files or gone.unknown:
        log.info("%d archive files with %d pages were deleted, %d unknown", gone.files, gone.pages, gone.unknown)
    return gone


def prunes(conn: Connection, cycle_id: str) -> bool:
    """Whether the archive is pruned after this closed cycle: the latest, and the first of its day (UTC).

    Not after one that comes days after the one before it: a clock that is wrong must not cost the archive. One that
    is right still is so a day later.
    """
    starts = [window_of_key(row.cycle_id).start for row in cycles.last_ended(conn, 2)]
    if not starts or window_of_key(cycle_id).start.date() != starts[0].date():
        return False
    if len(starts) == 1:
        return True
    return starts[0].date() != starts[1].date() and starts[0] - starts[1] <= _NO_LEAP
