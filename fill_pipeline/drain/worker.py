"""Worker processes as the process that fetches sees them: started, given batches, heard, ended.

A process per core, because reading is pure computing. A worker that dies takes nothing with it but its
own batch, whose rows go back to the queue. Workers are forked from one process that has imported all they need
(see ``service``), and nothing else: no thread, no connection. This module loads none of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import signal
from datetime import datetime
from multiprocessing import forkserver
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import TYPE_CHECKING

from fill_pipeline.drain.arenas import bound_arenas, collect_rarely
from fill_pipeline.drain.batch import Batch, BatchDone
from fill_pipeline.quality.suites import GateRules

if TYPE_CHECKING:
    from fill_pipeline.settings import Settings

END_SECONDS = 5.0  # what a worker may take to finish what it is at


class Worker:
    """A worker process and the batches it holds."""

    def __init__(self, url: str, settings: Settings, now: datetime) -> None:
        context = forks()
        self.pipe, child = context.Pipe()
        asking = settings if settings.model_url is not None else None
        work = (child, url, GateRules.of(settings, now.year), asking)
        self.process: ForkServerProcess = context.Process(target=_serve, args=work, daemon=True)
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

    def stop(self, patience: float = END_SECONDS) -> None:
        """End the process, after so many seconds with the transaction it is in; what it holds must be given up."""
        with contextlib.suppress(OSError):
            self.pipe.close()
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(END_SECONDS)


def _serve(pipe: Pipe, url: str, rules: GateRules, asking: Settings | None) -> None:
    begin_process("fill worker")
    from fill_pipeline.drain.service import serve

    serve(pipe, url, rules, asking)


def forks() -> ForkServerContext:
    """How processes that read pages are made: what loads, most of what starting one costs, is loaded once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fill_pipeline.drain.service", "fill_pipeline.drain.preload"])
    return context


def prepare() -> None:
    """Let the process that workers are forked from begin its imports, beside what else we do."""
    forks()
    forkserver.ensure_running()


def begin_process(name: str) -> None:
    """Begin the life of a process made by ``forks``: give it a name of at most 15 letters, and no life of its own."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
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
