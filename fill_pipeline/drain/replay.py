"""Replay: read a window's archived pages again with today's rules. No network is needed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from fill_pipeline.crawl.archive import ArchivedPage, ArchiveError, ArchiveReader, ArchiveRef
from fill_pipeline.db import archive, cycles, ledger
from fill_pipeline.db.archive import ArchivedKind, PageRow
from fill_pipeline.db.connect import Connection, connect_again
from fill_pipeline.db.ledger import SourceStats
from fill_pipeline.drain.owner import cores
from fill_pipeline.drain.page import WRITTEN, RawPage, Reading, reading_of
from fill_pipeline.drain.read import ReadPage, read_cards, read_page
from fill_pipeline.drain.work import Source, Work
from fill_pipeline.drain.worker import MOST_DEATHS, WorkersDieError, begin_process, forks
from fill_pipeline.drain.write import Commit, in_transaction, write_pages
from fill_pipeline.quality.gate import Gate
from fill_pipeline.vehicles import vin_decoder

log = logging.getLogger(__name__)
T = TypeVar("T")
_NAME = "fill replay"
_TRIES = 3

PAGES_PER_BATCH = 200
SOON_AFTER = timedelta(minutes=1)
"""A page is first written some seconds after it was fetched, and an observation counts as of then. Reading it again
must not count as older than that, or it could only fill gaps and never correct what was misread."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Archived pages of one source and cycle, how they are read, and when (UTC)."""

    source: Source
    rows: list[PageRow]
    reading: Reading
    commit: Commit
    now: datetime


def replay_window(work: Work, sources: Sequence[Source], windows: Sequence[str]) -> None:
    """Read these sources' pages of all cycles of these windows (keys) again; counts go to ``work.totals``.

    A replay with better rules changes values, one without changes nothing. Vehicles that come of it are
    added to the cycle whose page showed them. A process per core reads, but for a window of one batch.
    """
    with closing(_Line(work.url)) as line:
        batches = _batches(line, work, sources, windows)
        first = list(islice(batches, 2))
        if len(first) < 2:
            with ArchiveReader(work.settings.archive_root) as archived:
                for batch in first:
                    work.totals.add(batch.source.id, line.ask(partial(_replay, archived=archived, batch=batch)))
            return
        _replay_in_processes(work, chain(first, batches))


class _Line:
    """A connection that is opened again when it is cut. What it is asked may be asked several times."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._conn = connect_again(url, name=_NAME)

    def ask(self, question: Callable[[Connection], T]) -> T:
        """The answer, of another connection where one is lost; the third loss is raised: the question may be why."""
        for _ in range(_TRIES - 1):
            try:
                return question(self._conn)
            except psycopg.OperationalError as error:
                if not self._conn.broken:
                    raise
                log.warning("the connection to the database was lost (%s); it is opened again", error)
                self._conn = connect_again(self._url, name=_NAME)
        return question(self._conn)

    def close(self) -> None:
        """Hang up."""
        self._conn.close()


def _batches(line: _Line, work: Work, sources: Sequence[Source], windows: Sequence[str]) -> Iterator[_Batch]:
    for window in windows:
        for cycle_id in line.ask(partial(cycles.cycles_of_window, key=window)):
            for source in sources:
                reading = reading_of(source, work.settings)
                for rows in _pages(line, source, cycle_id):
                    if work.stopping():
                        return
                    now = work.now_fn()
                    observed = min(now, max(row.fetched_at for row in rows) + SOON_AFTER)
                    gate = Gate.of(work.settings, now.year)
                    commit = Commit(cycle_id, work.owner, observed, work.settings.core_fields, gate, tallied=False)
                    yield _Batch(source, rows, reading, commit, now)


def _pages(line: _Line, source: Source, cycle_id: str) -> Iterator[list[PageRow]]:
    last: int | None = 0
    while last is not None:
        of_cycle = partial(archive.pages_after, source_id=source.id, cycle_id=cycle_id, most=PAGES_PER_BATCH)
        rows = line.ask(partial(of_cycle, after_id=last))
        if rows:
            yield rows
        last = rows[-1].id if len(rows) == PAGES_PER_BATCH else None


def _replay_in_processes(work: Work, batches: Iterator[_Batch]) -> None:
    """Let processes read; one that is killed takes nothing with it, as what it was at is read by the next.

    Raises:
        WorkersDieError: they are killed one after another, and none finishes anything.
    """
    workers = work.settings.workers or cores()
    begin = (work.url, work.settings.archive_root, work.settings.decoded_vins, work.now_fn().year)
    to_do: deque[_Batch] = deque()
    killed = 0
    while True:
        under_way: dict[Future[SourceStats], _Batch] = {}
        try:
            with ProcessPoolExecutor(workers, forks(), initializer=_begin, initargs=begin) as pool:
                while True:
                    to_do.extend(islice(batches, 2 * workers - len(under_way) - len(to_do)))
                    while to_do:
                        begun = pool.submit(_replay_here, to_do[0])
                        under_way[begun] = to_do.popleft()
                    if not under_way:
                        return
                    for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                        stats = done.result()
                        work.totals.add(under_way.pop(done).source.id, stats)
                        killed = 0
        except BrokenProcessPool as error:
            to_do.extendleft(under_way.values())
            killed += 1
            at = ", ".join(sorted({f"{batch.source.slug} of {batch.commit.cycle_id}" for batch in to_do}))
            if killed == MOST_DEATHS:
                raise WorkersDieError(f"processes are killed that read pages again: {at}") from error
            log.warning("a process was killed that reads pages again (%s); another one takes its place", at)
            if work.stopping():
                return


_line: _Line
_archived: ArchiveReader


def _begin(url: str, archive_root: str, decoded_vins: Path, year: int) -> None:
    global _line, _archived
    begin_process(_NAME)
    vin_decoder.remember_in(decoded_vins, year)
    _line, _archived = _Line(url), ArchiveReader(archive_root)


def _replay_here(batch: _Batch) -> SourceStats:
    stats = _line.ask(partial(_replay, archived=_archived, batch=batch))
    vin_decoder.keep()
    return stats


def _replay(conn: Connection, archived: ArchiveReader, batch: _Batch) -> SourceStats:
    stats = SourceStats()
    read = []
    for row in batch.rows:
        try:
            page = archived.read(ArchiveRef(row.file, row.offset, row.length))
        except (ArchiveError, OSError) as error:
            stats.fail("archive")
            stats.notes.append(f"{row.url}: {error}"[:200])
            continue
        read.append(_read(raw_of(row, page), batch.source, batch.reading))
    source_id, commit = batch.source.id, batch.commit

    def write() -> SourceStats:
        done = write_pages(conn, read, commit).get(source_id, SourceStats())
        kept = SourceStats(vehicles_added=done.vehicles_added)
        ledger.add_stats(conn, source_id, commit.cycle_id, kept, now=batch.now)
        return done

    try:
        stats.add(in_transaction(conn, write))
        stats.pages_fetched = len(read)
    except psycopg.OperationalError:
        raise
    except Exception as error:
        if len(batch.rows) == 1:
            stats.fail("write")
            stats.notes.append(f"{batch.rows[0].url}: {type(error).__name__}: {error}"[:200])
            return stats
        log.warning("%d pages could not be written at once (%s); writing them one by one", len(batch.rows), error)
        stats = SourceStats()
        for row in batch.rows:
            stats.add(_replay(conn, archived, replace(batch, rows=[row])))
    return stats


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
        hint=_hint(row),
    )


def _hint(row: PageRow) -> dict[str, Any] | None:
    """Of what the card had said only whose page this is: its values may be withdrawn since."""
    if row.card_number is None:
        return None
    return {"remote_id": row.card_number} | ({WRITTEN: True} if row.card_written else {})


def _read(page: RawPage, source: Source, reading: Reading) -> ReadPage:
    if page.kind == ArchivedKind.INDEX:
        return read_cards(page, source.config.detail, reading)
    return read_page(page, reading, now=page.fetched_at)
