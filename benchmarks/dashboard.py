"""What the dashboard costs while twenty people look at it: the database, and the process that serves the page.

``python benchmarks/dashboard.py [--listings 1000000] [--viewers 20] [--seconds 60] [--rate 500] [--home DIR]`` makes
the large database of ``flat.py`` with a week of cycles, 100 sources and an open cycle, starts ``fill dashboard`` on it,
and opens the page as often as there are viewers (each a web socket that takes every update, as a browser does).
Meanwhile ``--rate`` new listings a second are written in batches, so that every figure moves. CPU is what the kernel
counted for the dashboard's backends and for its process; 1 % of a core is the goal for the database. Without
``--home`` the database is made anew, which takes three minutes for a million listings. Last comes one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import socketio
from flat import BATCH, Side, filled_database, home_folder

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.server import database_url, stop_embedded
from fill_pipeline.settings import Settings

CYCLES = 84  # a week
FIELDS = ("year", "make", "model", "price", "mileage", "place", "image", "vin", "trim", "engine", "drivetrain", "doors")
GOAL = 1.0  # per cent of a core
_PAST = """
INSERT INTO fill_cycles (cycle_id, started_at, completed_at, window_start, window_end, target, status, vehicles_added,
                         vehicles_queued, sources_active, data_quality_score, on_target, report)
VALUES (%(id)s, %(at)s, %(at)s + interval '40 minutes', %(at)s, %(at)s + interval '2 hours', 2000, 'closed', 2150, 3500,
        100, 0.93, true, %(report)s)
ON CONFLICT DO NOTHING
"""
_PAST_PARTS = (
    """
    INSERT INTO source_cycle_stats (source_id, cycle_id, index_pages, pages_fetched, pages_failed, found, new,
                                    vehicles_added, quality_sum, quality_count, harvests, harvest_complete, failures,
                                    first_at, last_at)
    SELECT id, %(id)s, 10, 60, 3, 50, 25, 21, 46, 50, 1, true, '{"timeout": 3}', %(at)s, %(at)s FROM scrape_sources
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO source_health (source_id, cycle_id, status, reason, success_rate, error_rate, last_checked,
                               reliability_7d, reliability_30d)
    SELECT id, %(id)s, 'healthy', 'as usual', 0.95, 0.05, %(at)s, 1, 1 FROM scrape_sources
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO quality_metrics (cycle_id, field_name, completeness, accuracy, sample_size, measured_at)
    SELECT %(id)s, f, 0.93, 0.98, 2000, %(at)s FROM unnest(%(fields)s::text[]) f
    """,
)


def main() -> None:
    """Makes, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--listings", type=int, default=1_000_000)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=500, help="new listings written a second; 0: nothing moves")
    parser.add_argument("--home", type=Path, help="where the database is made and kept; default: a folder that goes")
    arguments = parser.parse_args()
    with home_folder(arguments.home) as home:
        settings = Settings(home=home)
        try:
            base = database_url(settings)
            url = filled_database(base, f"large_{arguments.listings}", arguments.listings, arguments.listings // 10)
            figures = measure(url, home, arguments.viewers, arguments.seconds, arguments.rate)
        finally:
            stop_embedded(settings)
    print(json.dumps({"benchmark": "dashboard", "listings": arguments.listings, **figures}))


def measure(url: str, home: Path, viewers: int, seconds: float, rate: int) -> dict[str, Any]:
    """The figures of one run, printed in words."""
    side = Side("large", url)
    _remember_a_week(side.conn)
    with _dashboard(url, home) as (process, address), _Writer(url, rate) as writer, _Audience(address, viewers) as seen:
        time.sleep(10)  # the first readings also read the past
        before, began = _spent(side.conn, process.pid), time.monotonic()
        updates, size, written = seen.updates, seen.bytes, writer.written
        readings = []
        while time.monotonic() - began < seconds:
            time.sleep(15)  # as often as Prometheus does
            with urllib.request.urlopen(f"{address}/metrics") as answer:
                found = re.search(r"^fill_reading_seconds (\S+)", answer.read().decode(), re.M)
            readings.append(float(found.group(1)) if found else float("nan"))
        after, elapsed = _spent(side.conn, process.pid), time.monotonic() - began
        figures = {
            "viewers": seen.connected,
            "seconds": round(elapsed, 1),
            "listings_written_per_second": round((writer.written - written) / elapsed),
            "database_percent_of_a_core": round(100 * (after.database - before.database) / elapsed, 2),
            "server_percent_of_a_core": round(100 * (after.server - before.server) / elapsed, 2),
            "reading_ms": round(1e3 * sorted(readings)[len(readings) // 2], 1),
            "updates_per_viewer_per_second": round((seen.updates - updates) / elapsed / max(1, seen.connected), 2),
            "kilobytes_per_viewer_per_second": round((seen.bytes - size) / 1e3 / elapsed / max(1, seen.connected), 1),
            "load": round(os.getloadavg()[0], 1),
        }
    side.conn.close()
    if figures["viewers"] != viewers:
        raise SystemExit(f"{figures['viewers']} of {viewers} viewers were connected")
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):36} {value:>10}")
    return figures | {"goal_met": figures["database_percent_of_a_core"] <= GOAL}


@dataclass(frozen=True)
class Spent:
    """CPU seconds so far: of the dashboard's backends in the server, and of its own process."""

    database: float
    server: float


def _spent(conn: Connection, pid: int) -> Spent:
    query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'fill dashboard%'"
    backends = [row[0] for row in conn.execute(query).fetchall()]
    if not backends:
        raise SystemExit("the dashboard has no connection to the database")
    return Spent(sum(map(_cpu, backends)), _cpu(pid))


def _cpu(pid: int) -> float:
    """Seconds that all threads of a process were on a CPU."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _remember_a_week(conn: Connection) -> None:
    start = window_at(utc_now()).start
    report = json.dumps({"cycle_id": "", "vehicles_added": 2150, "target": 2000, "filler": "x" * 60_000})
    for back in range(CYCLES, 0, -1):
        at = start - back * timedelta(hours=2)
        values = {"id": f"{at:%Y-%m-%d-%H:%M}", "at": at, "fields": list(FIELDS), "report": report}
        if conn.execute(_PAST, values).rowcount:
            for statement in _PAST_PARTS:
                conn.execute(statement, values)
    conn.execute("ANALYZE fill_cycles, source_cycle_stats, source_health, quality_metrics")


@contextmanager
def _dashboard(url: str, home: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """``fill dashboard`` as a process, and where it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"FILL_HOME": str(home), "FILL_DATABASE_URL": url}
    command = [sys.executable, "-m", "fill_pipeline.cli", "dashboard", "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/healthz", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield process, address
    finally:
        process.terminate()
        process.wait(20)


class _Writer:
    """Writes batches of new listings into the open cycle, so many listings a second."""

    def __init__(self, url: str, rate: int) -> None:
        self._url, self._pause, self.written = url, BATCH / rate if rate else 0.0, 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Writer:
        if self._pause:
            self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._done.set()
        if self._pause:
            self._thread.join()

    def _run(self) -> None:
        side = Side("writer", self._url)
        while not self._done.wait(self._pause):
            side.write_new()
            self.written += BATCH
        side.conn.close()


class _Audience:
    """Viewers, each with the page open: what they were sent so far."""

    def __init__(self, address: str, viewers: int) -> None:
        self._address, self._viewers = address, viewers
        self.updates = self.bytes = self.connected = 0
        self._loop = asyncio.new_event_loop()
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run()), daemon=True)

    def __enter__(self) -> _Audience:
        self._thread.start()
        self._ready.wait(60)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _run(self) -> None:
        clients = [await self._viewer() for _ in range(self._viewers)]
        self._ready.set()
        await self._end.wait()
        for client in clients:
            await client.disconnect()

    async def _viewer(self) -> socketio.AsyncClient:
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(self._address).read().decode())
        found = re.search(r"'client_id': '([0-9a-f-]+)'", page)
        if found is None:
            raise SystemExit("the page names no client")
        client = socketio.AsyncClient(reconnection=False)
        taken = 0

        async def update(message: Any) -> None:
            nonlocal taken
            self.updates += 1
            self.bytes += len(json.dumps(message))
            taken += 1
            if taken % 10 == 0:  # as the page does, so that the server forgets what arrived
                await client.emit("ack", {"client_id": found.group(1), "next_message_id": taken})

        client.on("update", update)
        who = f"client_id={found.group(1)}&tab_id={uuid4()}&document_id={uuid4()}"
        query = f"{who}&next_message_id=0&implicit_handshake=true"
        await client.connect(
            f"{self._address}?{query}", socketio_path="/_nicegui_ws/socket.io", transports=["websocket"]
        )
        self.connected += 1
        return client


if __name__ == "__main__":
    main()
