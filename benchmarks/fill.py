"""Vehicles a second and CPU a vehicle of the whole line, beside a Scrapy spider and a floor of stock parts.

    python benchmarks/fill.py [--pages 20000] [--rounds 5] [--layout cards] [--workers 2] [--shards]

Detail pages of a simulated site come from a server process on loopback that made every answer beforehand. The drain
is the real one: queue claim, robots.txt and pace, fetch with all limits, archive, extraction with all default layers,
validation, identity, one transaction per batch, queue completion. Scrapy does the plain job: parsel, an item pipeline
with executemany of 500 rows. The floor is pycurl multi, a parse with lexbor, a map with orjson, COPY and merge.
Rounds are interleaved. CPU counts everything from a process' start to its end, children included; PostgreSQL's is
apart, the page server's counts for nobody. Start-up is what one page costs. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import psutil
from fill_contenders import TABLE
from fill_server import LAYOUTS
from fill_stages import STAGES

from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.db import queue, registry
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.queue import Completion, PageToQueue, QueueStatus
from fill_pipeline.db.server import database_url, stop_embedded
from fill_pipeline.drain.work import load_sources
from fill_pipeline.settings import Settings

HERE = Path(__file__).parent
CONFIG = {
    "rate_limit": {"requests_per_minute": 1_000_000, "delay_between_requests_ms": 0, "max_concurrency": 64},
    "limits": {"daily_requests": 10_000_000},
}
START_TIMEOUT = 120.0  # seconds until the server has made its pages
LEASE = timedelta(minutes=5)
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Contender:
    """Who runs: its name in ``fill_contenders``, in how many processes, each with so many workers."""

    title: str
    run: str
    processes: int = 1
    workers: int = 0
    needs: str = ""
    cores: int = 0  # it and PostgreSQL are kept to so many; 0: to none


ONE_CORE = Contender("drain, 1 shard, 1 core", "drain", workers=1, cores=1)
ONE_SHARD = Contender("drain, 1 worker", "drain", workers=1)
TWO_SHARDS = Contender("drain, 2 shards of 1", "drain", processes=2, workers=1)
READING = Contender("reading, 1 process", "reading")
READING_TWICE = Contender("reading, 2 processes", "reading", processes=2)


@dataclass
class Spent:
    """What one run took: wall and CPU seconds, the clients' and PostgreSQL's."""

    wall: float
    cpu: float
    postgres: float
    server: float


@dataclass
class Bench:
    """A database, a site, and the figures by contender."""

    settings: Settings
    url: str
    conn: Connection
    site: dict[str, Any]
    folder: Path
    runs: defaultdict[str, list[Spent]] = field(default_factory=lambda: defaultdict(list))
    idle: defaultdict[str, list[Spent]] = field(default_factory=lambda: defaultdict(list))

    def run(self, contender: Contender, urls: Sequence[str], environment: dict[str, str] | None = None) -> Spent:
        """Empty the database, let the contender fill it, check that it did."""
        job = self._prepare(contender, urls)
        commands = []
        for part in range(contender.processes):
            file = self.folder / f"job-{part}.json"
            own = urls[part :: contender.processes]
            file.write_text(json.dumps(job | {"urls": [] if contender.run == "drain" else own, "shard": f"s{part}"}))
            commands.append([sys.executable, str(HERE / "fill_contenders.py"), contender.run, str(file)])
        postgres, server, began = self._postgres_cpu(), self._server_cpu(), time.perf_counter()
        others = {child.pid for child in psutil.Process().children()}
        with self._kept_to(contender.cores):
            processes = [subprocess.Popen(command, env={**os.environ, **(environment or {})}) for command in commands]
        cpu = 0.0
        for process in processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0, f"{contender.title} ended with {process.returncode}"
            cpu += usage.ru_utime + usage.ru_stime
        wall = time.perf_counter() - began
        for orphan in psutil.Process().children():  # what it had started and not waited for came to us
            if orphan.pid not in others:
                usage = os.wait4(orphan.pid, 0)[2]
                cpu += usage.ru_utime + usage.ru_stime
        spent = Spent(wall, cpu, self._postgres_cpu() - postgres, self._server_cpu() - server)
        self._check(contender, len(urls))
        return spent

    def queue_alone(self, urls: Sequence[str]) -> Spent:
        """Claim and complete as many rows, and nothing else."""
        cycle_id = self._prepare(Contender("queue", "drain"), urls)["cycle_id"]
        load_sources(self.conn)  # sets the pace, as a drain does
        claimed = 0
        postgres, wall, cpu = self._postgres_cpu(), time.perf_counter(), time.process_time()
        with connect(self.url, name="bench queue") as conn:
            while True:
                now = datetime.now(UTC)
                pages = queue.claim(conn, owner="bench", cycle_id=cycle_id, now=now, batch=500, lease=LEASE,
                                    horizon=timedelta(seconds=20), per_source=500)  # fmt: skip
                if not pages:
                    break
                claimed += len(pages)
                for at in range(0, len(pages), 100):
                    ends = [Completion(page.queue_id, QueueStatus.SKIPPED) for page in pages[at : at + 100]]
                    queue.complete(conn, ends, owner="bench", now=now)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert claimed == len(urls), f"only {claimed} of {len(urls)} rows could be claimed"
        return Spent(wall, cpu, self._postgres_cpu() - postgres, 0.0)

    def _prepare(self, contender: Contender, urls: Sequence[str]) -> dict[str, Any]:
        names = self.conn.execute(
            "SELECT string_agg(format('%I', tablename), ', ') FROM pg_tables "
            "WHERE schemaname = 'public' AND tablename <> 'fill_schema_version'"
        ).fetchone()
        assert names is not None
        self.conn.execute(f"TRUNCATE {names[0]} RESTART IDENTITY CASCADE")
        now = datetime.now(UTC)
        job: dict[str, Any] = {
            "home": str(self.settings.home),
            "database": self.url,
            "site": {**self.site, "urls": []},
            "workers": contender.workers,
            "uvloop": importlib.util.find_spec("uvloop") is not None,
            "cycle_id": "",
        }
        if contender.run == "drain":
            base_url = self.site["base_url"]
            source = registry.declare_source(
                self.conn, name="bench", base_url=base_url, config=CONFIG, kind="marketplace"
            )
            job["cycle_id"] = ensure_open(self.conn, self.settings, now=now).cycle_id
            pages = [PageToQueue(source.id, url, url_hash(url)) for url in urls]
            queue.enqueue(self.conn, pages, cycle_id=job["cycle_id"], now=now, revisit=timedelta(days=1))
        self.conn.execute("VACUUM ANALYZE import_queue")
        self.conn.execute("CHECKPOINT")
        return job

    def _check(self, contender: Contender, pages: int) -> None:
        if contender.run == "reading":
            return  # it stores nothing
        if contender.run == "drain":
            question = (
                "SELECT (SELECT count(*) FROM listing_records WHERE vin IS NOT NULL AND year IS NOT NULL), "
                "(SELECT count(*) FROM import_queue WHERE status = 'complete')"
            )
        else:
            question = "SELECT count(*), count(*) FROM plain_vehicles WHERE vin IS NOT NULL AND year IS NOT NULL"
        found = self.conn.execute(question).fetchone()
        assert found == (pages, pages), f"{contender.title} stored {found} of {pages}"

    @contextmanager
    def _kept_to(self, cores: int) -> Iterator[None]:
        """What is started here, and PostgreSQL until the next run, has the first so many cores."""
        every = os.sched_getaffinity(0)
        first = set(sorted(every)[:cores]) or every
        postmaster = self._postmaster()
        for process in (postmaster, *postmaster.children()):  # what it forks from now on takes after it
            with suppress(ProcessLookupError):
                os.sched_setaffinity(process.pid, first)
        os.sched_setaffinity(0, first)
        try:
            yield
        finally:
            os.sched_setaffinity(0, every)

    def _postmaster(self) -> psutil.Process:
        return psutil.Process(int((self.settings.home / "postgres" / "postmaster.pid").read_text().split()[0]))

    def _postgres_cpu(self) -> float:
        """CPU seconds of the whole server: its living processes and those it has seen end."""
        postmaster = self._postmaster()
        while True:  # until none was born or buried between the two looks, which would count it twice or not at all
            children = postmaster.children()
            try:
                total = sum(sum(child.cpu_times()[:2]) for child in children) + sum(postmaster.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
            if set(children) == set(postmaster.children()):
                return total

    def _server_cpu(self) -> float:
        with urllib.request.urlopen(f"{self.site['base_url']}/cpu") as answer:
            return float(answer.read())


@contextmanager
def serving(layout: str, pages: int, folder: Path) -> Iterator[dict[str, Any]]:
    """The page server in its own process; yields what is known of its site."""
    ready = folder / "server.json"
    command = [sys.executable, str(HERE / "fill_server.py"), "--layout", layout, "--pages", str(pages)]
    process = subprocess.Popen([*command, "--ready-file", str(ready)])
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the page server did not start")
            time.sleep(0.05)
        yield json.loads(ready.read_text())
    finally:
        process.kill()
        process.wait()


def contenders(workers: int, shards: bool) -> list[Contender]:
    """Who takes part, as far as what they need is installed."""
    everyone = [
        Contender("drain", "drain", workers=workers),
        ONE_SHARD,
        Contender("floor", "floor", workers=workers),
        Contender("scrapy, 1 process", "scrapy", needs="scrapy"),
        Contender("scrapy, 2 processes", "scrapy", processes=2, needs="scrapy"),
    ]
    if shards:
        everyone += [ONE_CORE, TWO_SHARDS, READING, READING_TWICE]
    there = [c for c in everyone if not c.needs or importlib.util.find_spec(c.needs) is not None]
    for left_out in {c.needs for c in everyone if c not in there}:
        print(f"{left_out} is not installed and left out")
    return there


def stages(bench: Bench, contender: Contender, urls: Sequence[str]) -> dict[str, float]:
    """CPU milliseconds a vehicle by stage, from one more run with every stage timed."""
    with tempfile.TemporaryDirectory() as folder:
        bench.run(contender, urls, {"FILL_BENCH_STAGES": folder})
        sums: defaultdict[str, float] = defaultdict(float)
        for file in Path(folder).iterdir():
            for stage, seconds in json.loads(file.read_text()).items():
                sums[stage] += seconds / len(urls) * 1e3
    order = [*STAGES, *sorted(sums.keys() - STAGES.keys())]
    return {stage: round(sums[stage], 4) for stage in order if stage in sums}


def report(bench: Bench, pages: int) -> dict[str, dict[str, float]]:
    """Print and return the figures of each contender: medians, worst, ratios to the drain."""
    print(f"\n{'':24}{'vehicles/s':>18}{'CPU ms/vehicle':>20}{'+ PostgreSQL':>20}{'start-up CPU s':>16}")
    print(f"{'':24}{'median    worst':>18}" + f"{'median    worst':>20}" * 2)
    figures: dict[str, dict[str, float]] = {}
    for title, runs in bench.runs.items():
        speeds = [pages / run.wall for run in runs]
        own = [run.cpu / pages * 1e3 for run in runs]
        both = [(run.cpu + run.postgres) / pages * 1e3 for run in runs]
        started = statistics.median(run.cpu for run in bench.idle[title])
        started_wall = statistics.median(run.wall for run in bench.idle[title])
        figures[title] = {
            "vehicles_per_second": round(statistics.median(speeds), 1),
            "cpu_ms": round(statistics.median(own), 3),
            "cpu_ms_with_postgres": round(statistics.median(both), 3),
            "start_cpu_seconds": round(started, 2),
            "cpu_ms_without_start": round(statistics.median(own) - started / pages * 1e3, 3),
            "vehicles_per_second_without_start": round(
                pages / (statistics.median(run.wall for run in runs) - started_wall), 1
            ),
        }
        print(
            f"{title:24}{statistics.median(speeds):9.0f}{min(speeds):9.0f}{statistics.median(own):11.3f}{max(own):9.3f}"
            f"{statistics.median(both):11.3f}{max(both):9.3f}{started:16.2f}"
        )
    print(
        "\nratios, median and worst of rounds: speed of the drain to theirs, their CPU to the drain's (with PostgreSQL)"
    )
    ours = bench.runs["drain"]
    for title, runs in bench.runs.items():
        if title == "drain":
            continue
        speed = [theirs.wall / mine.wall for mine, theirs in zip(ours, runs, strict=True)]
        cpu = [theirs.cpu / mine.cpu for mine, theirs in zip(ours, runs, strict=True)]
        both = [(b.cpu + b.postgres) / (a.cpu + a.postgres) for a, b in zip(ours, runs, strict=True)]
        net = figures[title]["cpu_ms_without_start"] / figures["drain"]["cpu_ms_without_start"]
        figures[title] |= {
            "speed_ratio": round(statistics.median(speed), 2),
            "cpu_ratio": round(statistics.median(cpu), 2),
            "cpu_ratio_with_postgres": round(statistics.median(both), 2),
            "cpu_ratio_without_start": round(net, 2),
        }
        print(
            f"  {title:22} speed {statistics.median(speed):6.2f} {min(speed):6.2f}   CPU {statistics.median(cpu):6.2f} "
            f"{min(cpu):6.2f}   with PostgreSQL {statistics.median(both):6.2f} {min(both):6.2f}   "
            f"without start {net:6.2f}"
        )
    return figures


def scaling(bench: Bench) -> dict[str, float]:
    """Print and return how two shards on two cores compare with one on one.

    A shard is a process that fetches, its worker and PostgreSQL's processes for both, so that alone it keeps more than
    one core busy: left to run on two, it leaves less than a core for the second. Told beside: the cores one keeps busy,
    the most that two can gain then, and what two processes gain that only read pages, share nothing and wait for
    nobody: where cores are threads of one, or share caches, that is less than twice. The page server runs where there
    is room, and takes from both.
    """

    def seconds(title: str) -> list[float]:
        return [run.wall for run in bench.runs[title]]

    def net(title: str) -> float:
        return statistics.median(seconds(title)) - statistics.median(run.wall for run in bench.idle[title])

    def busy(run: Spent) -> float:
        return (run.cpu + run.postgres + run.server) / run.wall

    two = seconds(TWO_SHARDS.title)
    to_core = [one / both for one, both in zip(seconds(ONE_CORE.title), two, strict=True)]
    to_shard = [one / both for one, both in zip(seconds(ONE_SHARD.title), two, strict=True)]
    alone = bench.runs[ONE_SHARD.title]
    figures = {
        "two_shards_to_one_core": statistics.median(to_core),
        "two_shards_to_one_core_worst": min(to_core),
        "two_shards_to_one_core_without_start": net(ONE_CORE.title) / net(TWO_SHARDS.title),
        "two_shards_to_one_shard": statistics.median(to_shard),
        "two_readers_to_one": net(READING.title) / net(READING_TWICE.title),
        "cores_of_one_shard": statistics.median(busy(run) for run in alone),
        "postgres_cores_of_one_shard": statistics.median(run.postgres / run.wall for run in alone),
        "server_cores_of_one_shard": statistics.median(run.server / run.wall for run in alone),
        "cores_of_two_shards": statistics.median(busy(run) for run in bench.runs[TWO_SHARDS.title]),
    }
    figures = {name: round(value, 2) for name, value in figures.items()}
    print(
        f"\ntwo shards of one worker on {len(os.sched_getaffinity(0))} cores, medians of rounds:\n"
        f"  {figures['two_shards_to_one_core']} times one shard that shares one core with PostgreSQL"
        f" (worst {figures['two_shards_to_one_core_worst']},"
        f" without start-up {figures['two_shards_to_one_core_without_start']})\n"
        f"  {figures['two_shards_to_one_shard']} times one shard that has all cores: alone it keeps"
        f" {figures['cores_of_one_shard']} busy (PostgreSQL {figures['postgres_cores_of_one_shard']},"
        f" page server {figures['server_cores_of_one_shard']}), two keep {figures['cores_of_two_shards']}\n"
        f"  the machine's own: two processes that only read pages are {figures['two_readers_to_one']} times one"
    )
    return figures


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layout", choices=[str(layout) for layout in LAYOUTS], default="cards")
    parser.add_argument("--workers", type=int, default=2, help="reading processes of the drain and of the floor")
    parser.add_argument("--shards", action="store_true", help="also two drains of one worker against one, of two cores")
    parser.add_argument("--only", default="*", help="only contenders of this name, such as 'drain*'")
    wanted = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory(prefix="bench-fill-") as home:
        Path(home).chmod(0o755)
        settings = Settings(home=Path(home), allow_nets="127.0.0.0/8")  # type: ignore[arg-type]
        url = database_url(settings)
        migrate(url)
        try:
            with serving(wanted.layout, wanted.pages, Path(home)) as site, connect(url, name="bench") as conn:
                conn.execute(TABLE)
                measure(Bench(settings, url, conn, site, Path(home)), wanted)
        finally:
            stop_embedded(settings)


def measure(bench: Bench, wanted: argparse.Namespace) -> None:
    """All rounds, then the stages."""
    urls = bench.site["urls"]
    taking_part = [c for c in contenders(wanted.workers, wanted.shards) if fnmatch(c.title, wanted.only)]
    for number in range(1, wanted.rounds + 1):
        for contender in taking_part:
            bench.idle[contender.title].append(bench.run(contender, urls[: contender.processes]))
            spent = bench.run(contender, urls)
            bench.runs[contender.title].append(spent)
            each = [seconds / len(urls) * 1e3 for seconds in (spent.cpu, spent.postgres, spent.server)]
            print(
                f"round {number} {contender.title:24} {len(urls) / spent.wall:7.0f}/s  CPU {each[0]:6.3f} ms"
                f"  PostgreSQL {each[1]:6.3f} ms  page server {each[2]:.3f} ms",
                flush=True,
            )
    figures = report(bench, len(urls))
    result: dict[str, Any] = {"benchmark": "fill", "pages": len(urls), "rounds": wanted.rounds, "layout": wanted.layout}
    if {ONE_CORE, ONE_SHARD, TWO_SHARDS, READING, READING_TWICE} <= set(taking_part):
        result["scaling"] = scaling(bench)
    by_stage = stages(bench, taking_part[0], urls)
    total = sum(by_stage.values())
    print(f"\nwhere the drain's CPU goes: ms a vehicle, per cent (all timers on: {total:.3f} ms)")
    for stage, ms in sorted(by_stage.items(), key=lambda item: -item[1]):
        print(f"  {stage:24} {ms:8.4f} {ms / total:7.1%}")
    alone = bench.queue_alone(urls)
    whole = statistics.median((run.cpu + run.postgres) for run in bench.runs["drain"])
    queue_ms = (alone.cpu + alone.postgres) / len(urls) * 1e3
    print(
        f"\nqueue alone, claim and completion: {queue_ms:.4f} ms a row with PostgreSQL, "
        f"{(alone.cpu + alone.postgres) / whole:.1%} of a vehicle's CPU; {len(urls) / alone.wall:.0f} rows a second"
    )
    result |= {"contenders": figures, "stages_ms": by_stage, "queue_ms": round(queue_ms, 4)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
