"""Worker processes: each takes batches of fetched pages, reads them and commits them on its own connection.

A process per core, because reading is pure computing. A worker that dies takes nothing with it but its
own batch, whose rows go back to the queue. Workers are forked from one process that has imported all they need,
and nothing else: no thread, no connection.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from fill_pipeline.db import ledger, queue
from fill_pipeline.db.connect import Connection, connect_again
from fill_pipeline.db.ledger import SourceStats
from fill_pipeline.drain.read import RawPage, Reading, ReadPage, read_page
from fill_pipeline.drain.write import Commit, in_transaction, write_pages
from fill_pipeline.quality.gate import Gate
from fill_pipeline.settings import Settings

if TYPE_CHECKING:
    from fill_pipeline.drain.ask import Asker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Pages to read and write, with how each source's pages are read."""

    number: int
    cycle_id: str
    owner: str
    now: datetime
    pages: list[RawPage]
    readings: dict[UUID, Reading]
    core_fields: tuple[str, ...]


@dataclass(slots=True)
class BatchDone:
    """What became of a batch: sums by source, and pages that could not be written with the reason."""

    number: int
    queue_ids: list[int] = field(default_factory=list)
    stats: dict[UUID, SourceStats] = field(default_factory=dict)
    unwritten: list[tuple[int, str]] = field(default_factory=list)


class Worker:
    """A worker process and the batches it holds."""

    def __init__(self, url: str, settings: Settings) -> None:
        context = forks()
        self.pipe, child = context.Pipe()
        self.process: ForkServerProcess = context.Process(target=_serve, args=(child, url, settings), daemon=True)
        self.process.start()
        child.close()
        self.held: dict[int, Batch] = {}

    def send(self, batch: Batch) -> None:
        """Hand over a batch."""
        self.held[batch.number] = batch
        with contextlib.suppress(OSError):  # a dead worker is noticed when its answer is read
            self.pipe.send(batch)

    def receive(self) -> BatchDone | None:
        """The next answer that is there, or None; raises EOFError when the worker died."""
        try:
            if not self.pipe.poll():
                return None
            done: BatchDone = self.pipe.recv()
        except (OSError, EOFError) as error:
            raise EOFError("the worker died") from error
        self.held.pop(done.number, None)
        return done

    def stop(self) -> None:
        """End the process; what it holds must have been answered or given up."""
        with contextlib.suppress(OSError):
            self.pipe.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(5)


def work_batch(conn: Connection, batch: Batch, gate: Gate, asker: Asker | None = None) -> BatchDone:
    """Read and write one batch; pages that break the transaction are found by writing one at a time."""
    done = BatchDone(batch.number, [page.queue_id for page in batch.pages if page.queue_id is not None])
    with asker.batch(batch.cycle_id, batch.now) if asker is not None else contextlib.nullcontext():
        read = [read_page(page, batch.readings[page.source_id], now=batch.now, ask=asker) for page in batch.pages]
    try:
        done.stats = _write(conn, read, batch, gate)
    except psycopg.OperationalError:
        raise
    except Exception as error:
        if len(read) == 1:
            done.unwritten.append((batch.pages[0].queue_id or 0, f"{type(error).__name__}: {error}"[:500]))
            return done
        log.warning("a batch of %d pages could not be written (%s); writing them one by one", len(read), error)
        for one in batch.pages:
            part = work_batch(conn, replace(batch, pages=[one]), gate, asker)
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

    return in_transaction(conn, write)


def _merge(sums: dict[UUID, SourceStats], source_id: UUID, part: SourceStats) -> None:
    sums.setdefault(source_id, SourceStats()).add(part)


def _asker(conn: Connection, settings: Settings) -> Asker | None:
    if settings.model_url is None:
        return None
    from fill_pipeline.drain.ask import Asker

    return Asker(conn, settings)


def _serve(pipe: Pipe, url: str, settings: Settings) -> None:
    """The worker's life: batches in, answers out, until the pipe closes or the parent is gone."""
    begin_process("fill worker")
    conn = connect_again(url, name="fill worker")
    asker = _asker(conn, settings)
    gate: Gate | None = None
    try:
        for batch in _arriving(pipe):
            gate = gate or Gate.of(settings, batch.now.year)
            try:
                done = work_batch(conn, batch, gate, asker)
            except psycopg.OperationalError as error:
                if not conn.broken:
                    raise
                log.warning("the connection to the database was lost (%s); a batch is written again", error)
                conn = connect_again(url, name="fill worker")
                asker = _asker(conn, settings)
                done = _work_again(conn, batch, gate, asker)
            pipe.send(done)
    except OSError:
        return
    finally:
        conn.close()


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


def forks() -> ForkServerContext:
    """How processes that read pages are made: the imports, most of what starting one costs, are done once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def begin_process(name: str) -> None:
    """Begin the life of a process made by ``forks``: give it a name of at most 15 letters, and no life of its own."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    gc.freeze()  # what was imported stays: not worth looking at in every collection, nor copying for it
    _die_with_parent()


def _die_with_parent() -> None:
    """Ask the kernel (Linux) to end this process with the one that started it, also when that is killed outright."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    if hasattr(fcntl, "F_SETSIG"):  # the sentinel is a pipe, and its other end being closed is an event
        fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(parent.sentinel, fcntl.F_SETSIG, signal.SIGTERM)
        fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    if wait([parent.sentinel], 0):
        raise SystemExit
