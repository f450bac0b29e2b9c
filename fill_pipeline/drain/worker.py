"""Worker processes as the process that fetches sees them: started, given batches, heard, ended.

A process per core, because reading is pure computing. A worker that dies takes nothing with it but its
own batch, whose rows go back to the queue, and another one takes its place: later and later where they die one after
another, and in the end none does. Workers are forked from one process that has imported all they need
(see ``service``), and nothing else: no thread, no connection. This module loads none of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import forkserver
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import TYPE_CHECKING

from fill_pipeline.drain.arenas import bound_arenas, collect_rarely
from fill_pipeline.drain.batch import Batch, BatchBegun, BatchDone, LastWords
from fill_pipeline.drain.page import RawPage
from fill_pipeline.quality.suites import GateRules

if TYPE_CHECKING:
    from fill_pipeline.settings import Settings

log = logging.getLogger(__name__)
END_SECONDS = 5.0  # what a worker may take to finish what it is at
HELD_PER_WORKER = 2
MOST_DEATHS = 6  # in a row, without a batch finished between them: one more than a page has attempts
PAUSE_SECONDS = 0.1  # before the next worker is started, doubled by each death
MAX_PAUSE_SECONDS = 5.0


class WorkersDieError(RuntimeError):
    """Worker processes die whatever they are given; the message says of what, as far as it is known."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a worker that died leaves behind: pages it was reading, and pages it never looked at."""

    why: str
    begun: list[RawPage]
    unread: list[RawPage]


class Worker:
    """A worker process and the batches it holds.

    Raises:
        OSError, EOFError: the process cannot be started.
    """

    def __init__(self, url: str, settings: Settings, now: datetime) -> None:
        context = forks()
        self.pipe, child = context.Pipe()
        asking = settings if settings.model_url is not None else None
        work = (child, url, GateRules.of(settings, now.year), asking, settings.decoded_vins, now.year)
        self.process: ForkServerProcess = context.Process(target=_serve, args=work, daemon=True)
        try:
            self.process.start()
        finally:
            child.close()
        self.held: dict[int, Batch] = {}
        self._begun: int | None = None
        self._last_words = ""

    def send(self, batch: Batch) -> None:
        """Hand over a batch."""
        self.held[batch.number] = batch
        with contextlib.suppress(OSError):  # a dead worker is noticed when its answer is read
            self.pipe.send(batch)

    def receive(self) -> BatchDone | None:
        """The next answer that is there, or None; raises EOFError when the worker died."""
        try:
            while self.pipe.poll():
                said: BatchBegun | BatchDone | LastWords = self.pipe.recv()
                if isinstance(said, BatchDone):
                    self.held.pop(said.number, None)
                    return said
                if isinstance(said, BatchBegun):
                    self._begun = said.number
                else:
                    self._last_words = said.why
        except (OSError, EOFError) as error:
            raise EOFError("the worker died") from error
        return None

    def bury(self) -> Loss:
        """End what is left of a worker that died."""
        self.stop()
        begun = [page for number, batch in self.held.items() if number == self._begun for page in batch.pages]
        unread = [page for number, batch in self.held.items() if number != self._begun for page in batch.pages]
        return Loss(self._last_words or _end_in_words(self.process.exitcode), begun, unread)

    def stop(self, patience: float = END_SECONDS) -> None:
        """End the process, after so many seconds with the transaction it is in; what it holds must be given up."""
        with contextlib.suppress(OSError):
            self.pipe.close()
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(END_SECONDS)


def _end_in_words(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"it ended with status {exit_code}"
    name = signal.Signals(-exit_code).name
    return f"killed by {name}" + (", as the system does where memory runs out" if name == "SIGKILL" else "")


class Workers:
    """The workers of a drain, started with the first page to read: a web that has not changed needs none."""

    def __init__(self, start: Callable[[], Worker], wanted: int) -> None:
        self.wanted = wanted
        self._start = start
        self._living: list[Worker] = []
        self._deaths = 0
        self._start_at = 0.0

    @property
    def pipes(self) -> list[Pipe]:
        """Where they are heard, as ``wait`` takes it."""
        return [worker.pipe for worker in self._living]

    def free(self) -> Worker | None:
        """The one with the least to do that takes another batch, or None. Those that are missing are started before.

        Raises:
            WorkersDieError: they die one after another.
        """
        while len(self._living) < self.wanted and time.monotonic() >= self._start_at:
            try:
                self._living.append(self._start())
            except (OSError, EOFError) as error:
                self._count_death(f"it could not be started ({type(error).__name__}: {error})")
            if self._deaths:  # one by one, until a batch is finished
                self._start_at = time.monotonic() + self._pause()
        worker = min(self._living, key=lambda w: len(w.held), default=None)
        return worker if worker is not None and len(worker.held) < HELD_PER_WORKER else None

    def heard(self) -> Iterator[BatchDone | Loss]:
        """What they finished since, and what those left that died.

        Raises:
            WorkersDieError: they die one after another; what the last one left was told before.
        """
        ready = set(wait(self.pipes, 0))
        for worker in [worker for worker in self._living if worker.pipe in ready]:
            try:
                while (done := worker.receive()) is not None:
                    self._deaths = 0
                    yield done
            except EOFError:
                self._living.remove(worker)
                loss = worker.bury()
                yield loss
                self._count_death(loss.why)

    def stop(self, patience: float) -> None:
        """End them all, after so many seconds with the transactions they are in."""
        for pipe in self.pipes:
            pipe.close()  # all of them first, that they end side by side
        for worker in self._living:
            worker.stop(patience)

    def _count_death(self, why: str) -> None:
        self._deaths += 1
        self._start_at = time.monotonic() + self._pause()
        log.warning("a worker process died: %s", why)
        if self._deaths >= MOST_DEATHS:
            raise WorkersDieError(
                f"{self._deaths} worker processes died one after another and finished nothing; the last one: {why}"
            )

    def _pause(self) -> float:
        return min(PAUSE_SECONDS * 2.0 ** (self._deaths - 1), MAX_PAUSE_SECONDS)


def _serve(pipe: Pipe, url: str, rules: GateRules, asking: Settings | None, decoded_vins: Path, year: int) -> None:
    begin_process("fill worker")
    try:
        from fill_pipeline.drain.service import serve

        serve(pipe, url, rules, asking, decoded_vins, year)
    except Exception as error:
        with contextlib.suppress(OSError):
            pipe.send(LastWords(" ".join(f"{type(error).__name__}: {error}".split())[:300]))
        raise


def forks() -> ForkServerContext:
    """How processes that read pages are made: what loads, most of what starting one costs, is loaded once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fill_pipeline.drain.service", "fill_pipeline.drain.preload"])
    return context


def prepare() -> None:
    """Let the process that workers are forked from begin its imports, beside what else we do."""
    forks()
    with contextlib.suppress(OSError):  # what is wrong is told where a worker is started
        forkserver.ensure_running()


def begin_process(name: str) -> None:
    """Begin the life of a process made by ``forks``: give it a name of at most 15 letters, and no life of its own."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # started in a shell's background, Dagster would have us ignore it
    collect_rarely()  # also that what was imported is not copied for it
    bound_arenas()
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
