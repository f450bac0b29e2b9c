"""Pacing at the server: drains on one host, and on two, never ask a source faster than its rate or for a page twice.

    python benchmarks/pacing.py [--seconds 20] [--drains 4] [--hosts 2]

Two hosts are two network namespaces with names, addresses and routes of their own (Linux, as root), which reach the
simulated web and one PostgreSQL over TCP. Where that is not permitted they are left out, and the output says so.
The simulated web's own log is the judge. Prints figures for people; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.db import queue, registry
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.queue import PageToQueue
from fill_pipeline.db.server import database_url, stop_embedded
from fill_pipeline.drain.drain import drain_queue
from fill_pipeline.drain.owner import owner
from fill_pipeline.drain.work import Work
from fill_pipeline.settings import Settings
from fill_pipeline.simweb.handle import SimWeb, start_simweb

RATES = (20.0, 10.0, 2.0)  # requests a second, of a source each
WINDOWS = (1.0, 5.0, 10.0)  # seconds
SUBNET = "10.213"


def now() -> datetime:
    """The present moment (UTC)."""
    return datetime.now(UTC)


def drain() -> None:
    """One drain, its settings in the environment."""
    settings = Settings()
    cycle = os.environ["PACING_CYCLE"]
    drain_queue(Work(settings, database_url(settings), cycle, owner("drain"), now, now() + timedelta(minutes=10)))


class Host:
    """Where drains run: this machine as it is, or a network namespace with a link to it."""

    def __init__(self, number: int | None) -> None:
        self.number = number
        self.name = "this machine" if number is None else f"fillhost{number}"
        self.address = "127.0.0.1" if number is None else f"{SUBNET}.{number}.1"

    def open(self) -> None:
        """Make the namespace; raises CalledProcessError where that is not permitted."""
        if self.number is None:
            return
        inner, outer = f"fp{self.number}in", f"fp{self.number}out"
        for command in (
            f"ip netns add {self.name}",
            f"ip link add {outer} type veth peer name {inner}",
            f"ip link set {inner} netns {self.name}",
            f"ip addr add {self.address}/24 dev {outer}",
            f"ip link set {outer} up",
            f"ip netns exec {self.name} ip addr add {SUBNET}.{self.number}.2/24 dev {inner}",
            f"ip netns exec {self.name} ip link set {inner} up",
            f"ip netns exec {self.name} ip link set lo up",
        ):
            subprocess.run(command.split(), check=True, capture_output=True)

    def close(self) -> None:
        """Take the namespace away, its link with it."""
        if self.number is not None:
            subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)

    def start(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """A drain on this host."""
        command = [sys.executable, str(Path(__file__).resolve()), "--drain"]
        if self.number is not None:
            named = ["unshare", "--uts", "sh", "-c", f'hostname {self.name} && exec "$@"', "sh"]
            command = ["ip", "netns", "exec", self.name, *named, *command]
        return subprocess.Popen(command, env=os.environ | environment)


@contextmanager
def hosts(n: int) -> Iterator[list[Host]]:
    """``n`` hosts; none where this machine does not permit them."""
    made = [Host(number) for number in range(1, n + 1)]
    try:
        for host in made:
            host.open()
        yield made
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"no network namespaces here ({error}); only one host is measured")
        yield []
    finally:
        for host in made:
            host.close()


@contextmanager
def relayed(made: list[Host], database_port: int, url: str) -> Iterator[None]:
    """The database, which listens on a socket file, on the hosts' links."""
    parts = conninfo_to_dict(url)
    socket_path = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
    loop = asyncio.new_event_loop()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def to_database(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(socket_path)
        await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer), return_exceptions=True)

    async def listen() -> None:
        for host in made:
            await asyncio.start_server(to_database, host.address, database_port)

    loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def fill_queue(conn: Connection, web: SimWeb, cycle: str, seconds: float) -> dict[str, float]:
    """Sites as sources with these rates and enough pages for so long; the rate by slug."""
    sites = sorted((s for s in web.get("/sites") if s["open"]), key=lambda site: -site["live_count"])
    rates = {}
    for site, rate in zip(sites, RATES, strict=False):
        config = site["suggested_config"] | {"rate_limit": {"requests_per_minute": rate * 60, "max_concurrency": 8}}
        source = registry.declare_source(
            conn, name=site["slug"], base_url=site["base_url"], config=config, kind=site["kind"]
        )
        urls = [ad["url"] for ad in web.get(f"/truth?slug={site['slug']}")][: int(rate * seconds)]
        urls += [f"{site['base_url']}/no-such-page/{i}" for i in range(int(rate * seconds) - len(urls))]
        pages = [PageToQueue(source.id, url, url_hash(url)) for url in urls]
        queue.enqueue(conn, pages, cycle_id=cycle, now=now(), revisit=timedelta(0))
        rates[site["slug"]] = rate
    return rates


def judge(log: list[dict[str, Any]], rate: float, pages: int) -> dict[str, Any]:
    """What the server saw of one source: the fullest window of each length against the rate, and how much was used."""
    asked = [entry for entry in log if entry["path"] != "/robots.txt"]
    times = sorted(entry["monotonic"] for entry in asked)
    seen = Counter(entry["path"] for entry in asked)
    fullest = {
        f"{window:g}s": round(
            max(sum(start <= at < start + window for at in times) for start in times) / (rate * window), 3
        )
        for window in WINDOWS
    }
    return {
        "rate": rate,
        "requests": len(times),
        "pages": pages,
        "twice": sum(n - 1 for n in seen.values()),
        "fullest_window": fullest,
        "used": round((len(times) - 1) / (times[-1] - times[0]) / rate, 3),
    }


def measure(name: str, on: list[Host], drains: int, seconds: float, web: SimWeb, home: Path) -> dict[str, Any]:
    """One run on these hosts with a database of its own."""
    settings = Settings(home=home / name.replace(" ", "_"), allow_nets="127.0.0.0/8")  # type: ignore[arg-type]
    settings.home.mkdir(parents=True)
    settings.home.chmod(0o755)
    url = database_url(settings)
    migrate(url)
    web.post("reset")
    with connect(url, name="pacing") as conn:
        cycle = ensure_open(conn, settings, now=now()).cycle_id
        rates = fill_queue(conn, web, cycle, seconds)
        pages: dict[str, int] = dict(
            conn.execute(
                "SELECT s.name, count(*) FROM import_queue q JOIN scrape_sources s ON s.id = q.source_id GROUP BY 1"
            ).fetchall()
        )
    environment = {
        "FILL_HOME": str(settings.home),
        "FILL_WORKERS": "1",
        "FILL_BATCH_SIZE": "200",
        "PACING_CYCLE": cycle,
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    }
    away = [host for host in on if host.number is not None]
    database_port = web.port + 1
    with relayed(away, database_port, url):
        processes = []
        for n in range(drains):
            host = on[n % len(on)]
            if host.number is None:
                own = {"FILL_DATABASE_URL": url, "FILL_ALLOW_NETS": "127.0.0.0/8"}
            else:
                own = {
                    "FILL_DATABASE_URL": make_conninfo(url, host=host.address, port=database_port),
                    "FILL_CONNECT_TO": f"*.localhost:{web.port}:{host.address}:{web.port}",
                    "FILL_ALLOW_NETS": f"{SUBNET}.0.0/16",
                }
            processes.append(host.start(environment | own))
        began = time.monotonic()
        for process in processes:
            process.wait(seconds * 3 + 60)
        took = time.monotonic() - began
    result = {slug: judge(web.get(f"/log?slug={slug}"), rate, pages[slug]) for slug, rate in rates.items()}
    with connect(url, name="pacing") as conn:
        owners = conn.execute("SELECT count(DISTINCT split_part(file, '/', 3)) FROM archive_pages").fetchone()
        left: dict[str, int] = dict(conn.execute("SELECT status, count(*) FROM import_queue GROUP BY 1").fetchall())
    stop_embedded(settings)
    print(f"\n{name}: {drains} drains on {', '.join(host.name for host in on)}; {took:.1f} s; queue {left}")
    print(f"{'source':28}{'rate/s':>8}{'requests':>10}{'twice':>7}{'used':>8}   fullest window / rate")
    for slug, one in result.items():
        windows = "  ".join(f"{window}: {share:.2f}" for window, share in one["fullest_window"].items())
        print(f"{slug:28}{one['rate']:8.1f}{one['requests']:10}{one['twice']:7}{one['used']:8.1%}   {windows}")
    return {"sources": result, "queue": left, "archive_writers": owners[0] if owners else 0}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--drains", type=int, default=4)
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--drain", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.drain:
        drain()
        return
    home = Path(tempfile.mkdtemp(prefix="fill-pacing-"))
    home.chmod(0o755)
    try:
        with hosts(arguments.hosts) as others, start_simweb(scale=0.3, also=[h.address for h in others]) as web:
            results = {}
            for name, on in (("one host", [Host(None)]), ("separate hosts", others)):
                if on:
                    results[name] = measure(name, on, arguments.drains, arguments.seconds, web, home)
        print(orjson.dumps(results).decode())
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
