"""Cycles back to back under faults: `python benchmarks/soak.py [--minutes 60] [--seed 1] [--scale 0.15]`.

Fills an embedded database of its own from the simulated web, whose time and ours go on by two hours a cycle. At random
moments (seeded) the server is restarted, crashes or is killed outright, connections are cut, workers and whole cycles
are killed, the disk is full, names do not resolve, the clock jumps. Prints a line per cycle. The promises: every cycle
closes reconciled or stops with one clear line and the next goes on; in the end, after cycles left in peace, all
tables agree with each other and with the archive, no row is stuck, and memory has grown by less than 5 % (median of
the last quarter against the first, after a warm-up, over cycles that wrote some hundred vehicles: an idle one needs
little). The last line is one JSON object; the exit status is 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from fill_pipeline.cli.output import explain
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.run import run_cycle
from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection, connect_again
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url, stop, stop_embedded
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb, start_simweb

sys.path.insert(0, str(Path(__file__).parent.parent))

from fill_pipeline_tests.end_to_end.reconcile import disagreements, in_tables

WINDOW = timedelta(hours=2)
PEACEFUL = 2  # cycles without a fault at the end
WARM_UP = 0.25  # of the cycles
MOST_GROWTH = 0.05
HANGS_AFTER = 420.0  # seconds; an action that nobody finished is given up after five minutes
BUSY = 100  # vehicles
LEAST_MEASURED = 8  # cycles; fewer say nothing about growth
RETRY_SECONDS = 1.0  # so that a cycle which fails is through in some seconds
CALM_SECONDS = 4.0  # between two faults of a cycle, on average


@dataclass
class Cycle:
    """A line of the table."""

    number: int
    seconds: float = 0.0
    vehicles: int = 0
    pending: int = 0
    faults: list[str] = field(default_factory=list)
    recoveries: int = 0
    stopped: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    parent_mb: float = 0.0
    backend_mb: float = 0.0


class Recoveries(logging.Handler):
    """Counts what the pipeline says it recovered from."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen = 0

    def emit(self, record: logging.LogRecord) -> None:
        """One warning."""
        self.seen += "lost" in record.getMessage()


class Running:
    """A cycle at work in a thread of its own."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        self.stop = threading.Event()
        self.report: dict[str, Any] | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(settings, clock), daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; whether it has ended."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _run(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        try:
            self.report = run_cycle(settings, now_fn=clock, should_stop=self.stop.is_set)
        except Exception as error:
            self.error = error


class Soak:
    """The world, its clock, and the faults."""

    def __init__(self, settings: Settings, web: SimWeb, seed: int) -> None:
        self.settings, self.web = settings, web
        self.chance = random.Random(seed)
        self.later = timedelta(0)
        self.recoveries = Recoveries()
        self.data = settings.home / "postgres"
        self._faults: dict[str, Callable[[], object]] = {
            "restart": self._restart,
            "crash": self._crash,
            "kill": self._kill_server,
            "cut": self._cut,
            "worker": self._kill_worker,
            "disk": self._fill_disk,
            "forward": lambda: self._jump(timedelta(hours=1)),
            "back": lambda: self._jump(timedelta(minutes=-10)),
        }

    def now(self) -> datetime:
        """The time the pipeline is told."""
        return utc_now() + self.later

    def db(self) -> Connection:
        """A connection that no fault of ours cuts on purpose."""
        return connect_again(database_url(self.settings), name="soak")

    def cycle(self, number: int, *, peaceful: bool) -> Cycle:
        """Run one cycle to its end, under faults unless left in peace."""
        line = Cycle(number)
        self.later += WINDOW
        self.web.post("clock", advance_seconds=WINDOW.total_seconds())
        began, seen = time.monotonic(), self.recoveries.seen
        if not peaceful:
            self._begin_badly(line)
        while True:
            running = Running(self.settings, self.now)
            self._disturb(running, line, peaceful)
            if not running.wait(0):
                line.broken.append("the cycle hangs")
                return line
            if running.error is None:
                break
            told = explain(running.error)
            line.stopped.append(told or repr(running.error))
            if told is None or "\n" in told:
                line.broken.append(f"stopped without a clear line: {running.error!r}")
            if len(line.stopped) > 3:
                line.broken.append("the cycle does not go on")
                return line
        if running.report is None or not running.report["reconciled"]:
            line.broken.append(f"not reconciled: {running.report and running.report['errors']}")
        line.seconds = time.monotonic() - began
        line.recoveries = self.recoveries.seen - seen
        line.vehicles = running.report["vehicles_added"] if running.report else 0
        line.pending = running.report["queue_pending"] if running.report else 0
        line.parent_mb = psutil.Process().memory_info().rss / 1e6
        with self.db() as conn:
            line.broken += in_tables_now(conn, self.now())
        return line

    def _begin_badly(self, line: Cycle) -> None:
        """Now and then a cycle of another process is killed first, or names do not resolve for its first seconds."""
        kind = self.chance.choice(("", "", "parent", "dns"))
        seconds = self.chance.uniform(2.0, 8.0)
        if kind:
            line.faults.append(kind)
        if kind == "parent":
            command = [sys.executable, __file__, "--one-cycle", str(self.later.total_seconds())]
            environment = os.environ | {"FILL_HOME": str(self.settings.home), "FILL_ALLOW_NETS": "127.0.0.0/8"}
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
            time.sleep(seconds)
            process.kill()
            process.wait()
        elif kind == "dns":
            running = Running(self.settings.model_copy(update={"connect_to": ("*::names.invalid:80",)}), self.now)
            running.wait(seconds)
            running.stop.set()
            running.wait(HANGS_AFTER)

    def _disturb(self, running: Running, line: Cycle, peaceful: bool) -> None:
        deadline = time.monotonic() + HANGS_AFTER
        fault_at = time.monotonic() + self.chance.expovariate(1 / CALM_SECONDS)
        while not running.wait(0.5) and time.monotonic() < deadline:
            line.backend_mb = max(line.backend_mb, self._backend_mb())
            if not peaceful and time.monotonic() >= fault_at and len(line.faults) < 5:
                name = self.chance.choice(sorted(self._faults))
                line.faults.append(name)
                self._faults[name]()
                fault_at = time.monotonic() + self.chance.expovariate(1 / CALM_SECONDS)

    # ── Faults ──

    def _restart(self) -> None:
        stop(self.data)
        time.sleep(self.chance.uniform(0.0, 3.0))
        database_url(self.settings)

    def _crash(self) -> None:
        backends = self._backends()
        if backends:
            self.chance.choice(backends).send_signal(signal.SIGKILL)

    def _kill_server(self) -> None:
        """All of the server at once; whoever waits for it starts it again."""
        with suppress(OSError, ValueError, psutil.Error):
            postmaster = psutil.Process(int((self.data / "postmaster.pid").read_text().split("\n", 1)[0]))
            for process in (postmaster, *postmaster.children()):
                process.kill()

    def _cut(self) -> None:
        with self.db() as conn:
            conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'fill %'")

    def _kill_worker(self) -> None:
        for child in psutil.Process().children(recursive=True):
            if child.name() == "fill worker":
                child.kill()
                return

    def _fill_disk(self) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
        try:
            time.sleep(self.chance.uniform(0.5, 3.0))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def _jump(self, by: timedelta) -> None:
        self.later += by

    # ── Memory ──

    def _backends(self) -> list[psutil.Process]:
        try:
            postmaster = psutil.Process(int((self.data / "postmaster.pid").read_text().split("\n", 1)[0]))
            return [child for child in postmaster.children() if "fill" in _words(child).split()]
        except (OSError, ValueError, psutil.Error):
            return []

    def _backend_mb(self) -> float:
        """The most memory of its own a backend has; the shared buffers, which only fill up, are not in it."""
        most = 0.0
        for backend in self._backends():
            try:
                status = Path(f"/proc/{backend.pid}/status").read_text()
                most = max(most, int(status.split("RssAnon:", 1)[1].split(None, 1)[0]) / 1e3)
            except (OSError, IndexError):
                continue
        return most


def in_tables_now(conn: Connection, now: datetime) -> list[str]:
    """What does not agree after a cycle, where rows may still be in work until their lease is over."""
    found = [words for words in in_tables(conn) if "in work after the end" not in words]
    row = conn.execute(
        "SELECT count(*) FROM import_queue WHERE status = 'processing' AND lease_expires_at < %s", [now]
    ).fetchone()
    if row is None or row[0]:
        found.append(f"{row[0] if row else '?'} rows are stuck in work")
    return found


def growth(values: list[float]) -> float:
    """The median of the last quarter against that of the first, after the warm-up: 0.05 is 5 % more.

    0 where there are too few to say.
    """
    after = values[int(len(values) * WARM_UP) :] if len(values) >= LEAST_MEASURED else []
    quarter = max(1, len(after) // 4)
    return median(after[-quarter:]) / median(after[:quarter]) - 1 if after and after[0] else 0.0


def declare(settings: Settings, web: SimWeb) -> None:
    """Every open site as a source, at a pace at which a cycle takes some seconds."""
    url = database_url(settings)
    migrate(url)
    with connect_again(url, name="soak") as conn:
        for site in web.get("/sites"):
            if site["open"]:
                config = site["suggested_config"] | {"rate_limit": {"requests_per_minute": 1200}}
                registry.declare_source(
                    conn, name=site["slug"], base_url=site["base_url"], config=config, kind=site["kind"]
                )


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def main() -> int:
    """Runs the cycles and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=0.15)
    parser.add_argument("--one-cycle", type=float, metavar="SECONDS", help="run one cycle, so much later, and end")
    arguments = parser.parse_args()
    if arguments.one_cycle is not None:
        later = timedelta(seconds=arguments.one_cycle)
        run_cycle(Settings(workers=2, target=1, retry_seconds=RETRY_SECONDS), now_fn=lambda: utc_now() + later)
        return 0
    home = Path(tempfile.mkdtemp(prefix="soak-"))
    home.chmod(0o755)  # as root the embedded server is another user
    nets: Any = "127.0.0.0/8"
    settings = Settings(home=home, allow_nets=nets, workers=2, target=1, retry_seconds=RETRY_SECONDS)
    try:
        with start_simweb(seed=arguments.seed, scale=arguments.scale) as web:
            return _soak(Soak(settings, web, arguments.seed), arguments)
    finally:
        stop_embedded(settings)
        shutil.rmtree(home, ignore_errors=True)


def _soak(soak: Soak, arguments: argparse.Namespace) -> int:
    logging.getLogger("fill_pipeline").addHandler(soak.recoveries)
    logging.getLogger("fill_pipeline").propagate = False
    declare(soak.settings, soak.web)
    lines: list[Cycle] = []
    until = time.monotonic() + arguments.minutes * 60
    left = PEACEFUL
    print(f"{'cycle':>5} {'s':>6} {'added':>6} {'pend.':>6} {'recov.':>6} {'parent MB':>9} {'backend MB':>10}  faults")
    while left:
        peaceful = time.monotonic() >= until
        left -= peaceful
        line = soak.cycle(len(lines) + 1, peaceful=peaceful)
        lines.append(line)
        print(
            f"{line.number:>5} {line.seconds:>6.1f} {line.vehicles:>6} {line.pending:>6} {line.recoveries:>6}"
            f" {line.parent_mb:>9.1f} {line.backend_mb:>10.1f}  {' '.join(line.faults)}",
            *[f"\n      stopped: {told}" for told in line.stopped],
            *[f"\n      BROKEN: {what}" for what in line.broken],
            flush=True,
        )
        if "the cycle hangs" in line.broken:
            break
    return _account(soak, lines, arguments)


def _account(soak: Soak, lines: list[Cycle], arguments: argparse.Namespace) -> int:
    broken = [f"cycle {line.number}: {what}" for line in lines for what in line.broken]
    with soak.db() as conn:
        broken += disagreements(conn, soak.settings.archive_root)
        queue: dict[str, int] = dict(conn.execute("SELECT status, count(*) FROM import_queue GROUP BY 1").fetchall())
        row = conn.execute("SELECT (SELECT count(*) FROM vehicles), (SELECT count(*) FROM archive_pages)").fetchone()
    assert row is not None
    busy = [line for line in lines if line.vehicles >= BUSY]
    parent = growth([line.parent_mb for line in busy])
    backend = growth([line.backend_mb for line in busy if line.backend_mb])
    broken += [
        f"{name} grew by {by:.1%}" for name, by in (("parent", parent), ("backends", backend)) if by >= MOST_GROWTH
    ]
    figures = {
        "minutes": arguments.minutes,
        "seed": arguments.seed,
        "scale": arguments.scale,
        "cycles": len(lines),
        "measured_cycles": len(busy),
        "vehicles": row[0],
        "archive_pages": row[1],
        "queue": queue,
        "faults": dict(Counter(fault for line in lines for fault in line.faults)),
        "recoveries": sum(line.recoveries for line in lines),
        "stopped": sum(len(line.stopped) for line in lines),
        "slowest_seconds": round(max(line.seconds for line in lines), 1),
        "parent_growth": round(parent, 4),
        "backend_growth": round(backend, 4),
        "broken": broken,
    }
    for what in broken:
        print(f"BROKEN: {what}")
    print(json.dumps(figures))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
