"""Replay: read a window's archived pages again with today's rules. No network is needed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from fill_pipeline.crawl.archive import ArchivedPage, ArchiveError, ArchiveReader, ArchiveRef
from fill_pipeline.db import archive, cycles, ledger
from fill_pipeline.db.archive import ArchivedKind, PageRow
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.ledger import SourceStats
from fill_pipeline.drain.read import RawPage, Reading, ReadPage, read_cards, read_page
from fill_pipeline.drain.work import Source, Work
from fill_pipeline.drain.write import Commit, in_transaction, reading_of, write_pages

PAGES_PER_BATCH = 200
SOON_AFTER = timedelta(minutes=1)
"""A page is first written some seconds after it was fetched, and an observation counts as of then. Reading it again
must not count as older than that, or it could only fill gaps and never correct what was misread."""


def replay_window(work: Work, sources: Sequence[Source], windows: Sequence[str]) -> None:
    """Read these sources' pages of all cycles of these windows (keys) again; counts go to ``work.totals``.

    A replay with better rules changes values, one without changes nothing. Vehicles that come of it are
    added to the cycle whose page showed them.
    """
    with work.connect("replay") as conn, ArchiveReader(work.settings.archive_root) as archived:
        for window in windows:
            for cycle_id in cycles.cycles_of_window(conn, window):
                for source in sources:
                    for pages in archive.pages_of_cycle(conn, source.id, cycle_id, batch=PAGES_PER_BATCH):
                        if work.stopping():
                            return
                        _replay_pages(conn, archived, work, source, cycle_id, pages)


def _replay_pages(
    conn: Connection, archived: ArchiveReader, work: Work, source: Source, cycle_id: str, rows: Sequence[PageRow]
) -> None:
    reading = reading_of(source, work.settings)
    stats = SourceStats()
    read = []
    for row in rows:
        try:
            page = archived.read(ArchiveRef(row.file, row.offset, row.length))
        except (ArchiveError, OSError) as error:
            stats.fail("archive")
            stats.notes.append(f"{row.url}: {error}"[:200])
            continue
        read.append(_read(raw_of(row, page), source, reading))
    observed = min(work.now_fn(), max(row.fetched_at for row in rows) + SOON_AFTER)
    commit = Commit(cycle_id, work.owner, observed, work.settings.core_fields, tallied=False)

    def write() -> SourceStats:
        done = write_pages(conn, read, commit).get(source.id, SourceStats())
        kept = SourceStats(vehicles_added=done.vehicles_added)
        ledger.add_stats(conn, source.id, cycle_id, kept, now=work.now_fn())
        return done

    stats.add(in_transaction(conn, write))
    stats.pages_fetched = len(read)
    work.totals.add(source.id, stats)


def raw_of(row: PageRow, page: ArchivedPage) -> RawPage:
    """An archived page as it was when it came."""
    return RawPage(
        source_id=row.source_id,
        url=row.url,
        body=page.body_received,
        content_encoding=page.content_encoding,
        content_type=page.content_type,
        http_status=row.http_status,
        fetched_at=row.fetched_at,
        kind=row.kind,
        file=row.file,
        offset=row.offset,
        length=row.length,
        archive_id=row.id,
    )


def _read(page: RawPage, source: Source, reading: Reading) -> ReadPage:
    if page.kind == ArchivedKind.INDEX:
        return read_cards(page, source.config.detail, reading)
    return read_page(page, reading, now=page.fetched_at)
