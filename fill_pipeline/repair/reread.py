"""Read what was fetched while a source was broken once more, from the archive, with the rules that now hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from fill_pipeline.crawl.archive import ArchiveError, ArchiveRef, read_record
from fill_pipeline.db import archive, cycles
from fill_pipeline.db.archive import ArchivedKind, PageRow
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import SourceStats
from fill_pipeline.drain.read import ReadPage, read_cards, read_page
from fill_pipeline.drain.replay import raw_of
from fill_pipeline.drain.work import Source, Work
from fill_pipeline.drain.write import Commit, in_transaction, reading_of, write_pages

PAGES_PER_BATCH = 200
SOON_AFTER = timedelta(minutes=1)
"""A page is first written some seconds after it was fetched, and an observation counts as of then. Reading it again
must not count as older than that, or it could only fill gaps and never correct what was misread."""


def read_again(conn: Connection, work: Work, source: Source, windows: Sequence[str]) -> int:
    """Read the source's pages of these windows again; returns their number. Vehicles found are of their own cycle."""
    pages = 0
    for window in windows:
        for cycle_id in cycles.cycles_of_window(conn, window):
            for rows in archive.pages_of_cycle(conn, source.id, cycle_id, batch=PAGES_PER_BATCH):
                if work.stopping():
                    return pages
                pages += _read_batch(conn, work, source, cycle_id, rows)
    return pages


def _read_batch(conn: Connection, work: Work, source: Source, cycle_id: str, rows: Sequence[PageRow]) -> int:
    read = [page for row in rows if (page := _read(work, source, row)) is not None]
    observed = min(work.now_fn(), max(row.fetched_at for row in rows) + SOON_AFTER)
    commit = Commit(cycle_id, work.owner, observed, work.settings.core_fields)

    def write() -> None:
        done = write_pages(conn, read, commit).get(source.id, SourceStats())
        added = SourceStats(vehicles_added=done.vehicles_added)
        cycles.add_stats(conn, source.id, cycle_id, added, now=work.now_fn())

    in_transaction(conn, write)
    return len(read)


def _read(work: Work, source: Source, row: PageRow) -> ReadPage | None:
    reading = reading_of(source, work.settings)
    try:
        page = raw_of(row, read_record(work.settings.archive_root, ArchiveRef(row.file, row.offset, row.length)))
    except (ArchiveError, OSError):
        return None
    if row.kind == ArchivedKind.INDEX:
        return read_cards(page, source.config.detail, reading)
    return read_page(page, reading, now=row.fetched_at)
