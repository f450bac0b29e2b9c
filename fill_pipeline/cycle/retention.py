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


def is_first_of_its_day(conn: Connection, cycle_id: str) -> bool:
    """Whether a closed cycle is the latest, and the one before it was of another day (UTC)."""
    days = [window_of_key(row.cycle_id).start.date() for row in cycles.last_ended(conn, 2)]
    return window_of_key(cycle_id).start.date() == days[0] and len(set(days)) == len(days) if days else False
