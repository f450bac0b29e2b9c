"""What a worker process does: takes batches of fetched pages, reads them, commits them on its own connection."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from fill_pipeline.db import ledger, queue
from fill_pipeline.db.connect import Connection, connect_again
from fill_pipeline.db.cycles import CycleClosedError
from fill_pipeline.db.ledger import SourceStats
from fill_pipeline.drain.batch import Batch, BatchBegun, BatchDone
from fill_pipeline.drain.read import ReadPage, read_page, read_pages
from fill_pipeline.drain.write import Commit, in_open_cycle, write_pages
from fill_pipeline.quality.gate import Gate
from fill_pipeline.vehicles import vin_decoder

if TYPE_CHECKING:
    from pathlib import Path

    from fill_pipeline.drain.ask import Asker
    from fill_pipeline.quality.suites import GateRules
    from fill_pipeline.settings import Settings

log = logging.getLogger(__name__)


def work_batch(conn: Connection, batch: Batch, gate: Gate, asker: Asker | None = None) -> BatchDone:
    """Read and write one batch, unless its cycle was closed meanwhile."""
    try:
        return _work(conn, batch, gate, asker)
    except CycleClosedError:
        return BatchDone(batch.number, too_late=True)


def _work(conn: Connection, batch: Batch, gate: Gate, asker: Asker | None) -> BatchDone:
    """Read and write; pages that break the transaction are found by writing one at a time."""
    done = BatchDone(batch.number, [page.queue_id for page in batch.pages if page.queue_id is not None])
    if asker is None:
        read = read_pages(batch.pages, batch.readings, now=batch.now)
    else:
        with asker.batch(batch.cycle_id, batch.now):
            read = [read_page(page, batch.readings[page.source_id], now=batch.now, ask=asker) for page in batch.pages]
    try:
        done.stats = _write(conn, read, batch, gate)
    except (psycopg.OperationalError, CycleClosedError):
        raise
    except Exception as error:
        if len(read) == 1:
            done.unwritten.append((batch.pages[0].queue_id or 0, f"{type(error).__name__}: {error}"[:500]))
            return done
        log.warning("a batch of %d pages could not be written (%s); writing them one by one", len(read), error)
        for one in batch.pages:
            part = _work(conn, replace(batch, pages=[one]), gate, asker)
            done.unwritten += part.unwritten
            for source_id, stats in part.stats.items():
                _merge(done.stats, source_id, stats)
    return done


def _write(conn: Connection, read: list[ReadPage], batch: Batch, gate: Gate) -> dict[UUID, SourceStats]:
    commit = Commit(batch.cycle_id, batch.owner, batch.now, batch.core_fields, gate)

    def write() -> dict[UUID, SourceStats]:
        stats = write_pages(conn, read, commit)
        for source_id, part in sorted(stats.items()):
            ledger.add_stats(conn, source_id, batch.cycle_id, part, now=batch.now)
        return stats

    return in_open_cycle(conn, batch.cycle_id, write)


def _merge(sums: dict[UUID, SourceStats], source_id: UUID, part: SourceStats) -> None:
    sums.setdefault(source_id, SourceStats()).add(part)


def _asker(conn: Connection, asking: Settings | None) -> Asker | None:
    if asking is None:
        return None
    from fill_pipeline.drain.ask import Asker

    return Asker(conn, asking)


def serve(pipe: Pipe, url: str, rules: GateRules, asking: Settings | None, decoded_vins: Path, year: int) -> None:
    """The worker's life: batches in, answers out, until the pipe closes or the parent is gone.

    ``asking`` are the settings of a language model to ask, if one is named; ``year`` is today's.
    """
    vin_decoder.remember_in(decoded_vins, year)
    conn = connect_again(url, name="fill worker")
    asker, gate = _asker(conn, asking), Gate(rules)
    try:
        for batch in _arriving(pipe):
            if not _told(pipe, BatchBegun(batch.number)):
                return
            try:
                done = work_batch(conn, batch, gate, asker)
            except psycopg.OperationalError as error:
                if not conn.broken:
                    raise
                log.warning("the connection to the database was lost (%s); a batch is written again", error)
                conn = connect_again(url, name="fill worker")
                asker = _asker(conn, asking)
                done = _work_again(conn, batch, gate, asker)
            if not _told(pipe, done):
                return
            vin_decoder.keep()
    finally:
        conn.close()


def _told(pipe: Pipe, answer: BatchBegun | BatchDone) -> bool:
    """Tell the process that fetches; False where it is gone."""
    try:
        pipe.send(answer)
    except OSError:
        return False
    return True


def _arriving(pipe: Pipe) -> Iterator[Batch]:
    """Batches until the pipe closes. The next is taken in while one is worked on, so that its sender need not wait."""
    arrived: SimpleQueue[bytes | None] = SimpleQueue()

    def take_in() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                arrived.put(pipe.recv_bytes())
        arrived.put(None)

    Thread(target=take_in, daemon=True).start()
    while (data := arrived.get()) is not None:
        yield ForkingPickler.loads(data)


def _work_again(conn: Connection, batch: Batch, gate: Gate, asker: Asker | None) -> BatchDone:
    """What of a batch was not committed when the connection was lost; once, lest a page that breaks it goes round."""
    held = queue.held_by(conn, batch.owner)
    left = replace(batch, pages=[page for page in batch.pages if page.queue_id in held])
    done = work_batch(conn, left, gate, asker) if left.pages else BatchDone(batch.number)
    return replace(done, queue_ids=[page.queue_id for page in batch.pages if page.queue_id is not None])
