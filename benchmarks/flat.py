"""Whether reads and writes cost the same at ten million rows as at ten thousand.

``python benchmarks/flat.py [--listings 10000000] [--rounds 15] [--home DIR] [--through 1000000]`` makes two databases,
a small one (10,000 listings, 5,000 vehicles, 10,000 pending pages) and a large one (so many listings, half as many
vehicles, a tenth as many pending pages), then does the same work in both by turns: claim, write a batch of new and of
unchanged listings, assess, evaluate every sensor. It prints medians, their ratios and the plan of every statement
in the large one, sends ``--through`` rows through the queue and claims again. Ten million listings take about 20 GB
under ``--home`` and half an hour to make. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.conninfo import make_conninfo

from fill_pipeline.cycle.assess import assess
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.db import queue
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.queue import ClaimedPage, Completion, PageToQueue, QueueStatus
from fill_pipeline.db.server import database_url, stop_embedded
from fill_pipeline.extract.listing import Evidence, Layer, Listing
from fill_pipeline.settings import Settings
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.store import ListingToWrite, write_listings

SMALL = 10_000
SOURCES = 100
BATCH = 500
CLAIMERS = 4
LEASE = timedelta(minutes=5)
MAKES = ("Ford", "Toyota", "Honda", "Chevrolet", "Nissan", "BMW", "Subaru", "Jeep", "Audi", "Kia")

_SOURCES = """
INSERT INTO scrape_sources (name, base_url)
SELECT 'bench ' || n, 'https://bench' || n || '.example' FROM generate_series(1, %(sources)s) n
"""
_STATE = "UPDATE source_state SET delay_ms = 0, daily_requests = 1000000000"
_VEHICLES = """
INSERT INTO vehicles (vin, year, make, model, price, currency, price_kind, mileage, mileage_unit, city, region, country,
                      title, completeness, confidence, block_key, block_km, created_at, created_cycle, updated_at,
                      updated_cycle)
SELECT CASE WHEN n %% 5 < 3 THEN 'BENCH' || lpad(n::text, 12, '0') END, 2000 + n %% 25, make, 'Model ' || n %% 40,
       5000 + n %% 40000, 'USD', 'asking', n * 7919 %% 150000, 'mi', 'Dayton', 'OH', 'US', 'A car', 0.9, 0.8,
       lower(make) || '|model ' || n %% 40 || '|' || 2000 + n %% 25, (n * 7919 %% 150000 * 1.609)::int,
       at, 'c' || n / 2000, at, 'c' || n / 2000
FROM (SELECT n, (%(makes)s::text[])[1 + n %% 10] AS make,
             now() - interval '90 days' + n %% 7000000 * interval '1 second' AS at
      FROM generate_series(%(low)s::bigint, %(high)s::bigint) n) x
"""
_LISTINGS = """
INSERT INTO listing_records (source_id, source, remote_id, url, title, price, currency, price_kind, mileage,
                             mileage_unit, year, make, model, city, region, country, first_seen_at, first_cycle,
                             changed_at, changed_cycle, completeness, content_hash, vehicle_id, status)
SELECT s.ids[1 + n %% %(sources)s], 'bench_' || 1 + n %% %(sources)s, 'r' || n, 'https://bench.example/' || n, 'A car',
       5000 + n %% 40000, 'USD', 'asking', n %% 150000, 'mi', 2000 + n %% 25, 'Ford', 'Model ' || n %% 40, 'Dayton',
       'OH', 'US', now() - interval '90 days', 'c' || n / 4000, now() - interval '90 days', 'c' || n / 4000, 0.9,
       md5(n::text)::uuid, 1 + n / 2, CASE WHEN n %% 3 = 0 THEN 'delisted' ELSE 'active' END
FROM generate_series(%(low)s::bigint, %(high)s::bigint) n,
     (SELECT array_agg(id ORDER BY name) AS ids FROM scrape_sources) s
"""
_SIGHTINGS = """
INSERT INTO listing_sightings (listing_id, source_id, last_seen_at, last_cycle)
SELECT id, source_id, first_seen_at, first_cycle FROM listing_records WHERE id BETWEEN %(low)s AND %(high)s
"""
_HISTORY = """
INSERT INTO listing_history (listing_id, observed_at, cycle_id, price, currency, price_kind, mileage, mileage_unit,
                             status)
SELECT id, first_seen_at, first_cycle, price, 'USD', 'asking', mileage, 'mi', status
FROM listing_records WHERE id BETWEEN %(low)s AND %(high)s
"""
_QUEUE = """
INSERT INTO import_queue (source_id, listing_url, url_hash, status, cycle_id, processed_at, processed_cycle)
SELECT s.ids[1 + n %% %(sources)s], 'https://bench.example/q/' || n, md5('q' || n)::uuid,
       CASE WHEN n <= %(pending)s THEN 'pending' ELSE 'complete' END, 'c' || n / 4000,
       CASE WHEN n > %(pending)s THEN now() - interval '2 days' END,
       CASE WHEN n > %(pending)s THEN 'c' || n / 4000 END
FROM generate_series(%(low)s::bigint, %(high)s::bigint) n,
     (SELECT array_agg(id ORDER BY name) AS ids FROM scrape_sources) s
"""
_COUNTERS = (
    "INSERT INTO counters SELECT 'vehicles', '', count(*) FROM vehicles",
    "INSERT INTO counters SELECT 'listings.' || status, source_id::text, count(*) FROM listing_records GROUP BY 1, 2",
    "INSERT INTO counters SELECT 'queue.' || status, source_id::text, count(*) FROM import_queue GROUP BY 1, 2",
)
CHUNK = 500_000


def main() -> None:
    """Makes, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--listings", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--through", type=int, default=1_000_000)
    parser.add_argument("--home", type=Path, help="where the databases are made and kept; default: a folder that goes")
    arguments = parser.parse_args()
    with home_folder(arguments.home) as home:
        settings = Settings(home=home)
        try:
            base = database_url(settings)
            small = filled_database(base, "small", SMALL, SMALL)
            large = filled_database(base, f"large_{arguments.listings}", arguments.listings, arguments.listings // 10)
            figures = measure(small, large, arguments.rounds)
            figures |= measure_queue(large, arguments.through)
        finally:
            stop_embedded(settings)
    print(json.dumps({"benchmark": "flat", "listings": [SMALL, arguments.listings], **figures}))


@contextmanager
def home_folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="bench-flat-") as made:
        yield Path(made)


def filled_database(base: str, name: str, listings: int, pending: int) -> str:
    """A database of that many rows, made unless it is there already."""
    url = make_conninfo(base, dbname=name)
    with psycopg.connect(make_conninfo(base, dbname="postgres"), autocommit=True) as admin:
        if admin.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None:
            migrate(url)
            with connect(url, name="bench") as conn:
                wait_again(conn)
                conn.execute("VACUUM ANALYZE import_queue")
            return url
        admin.execute(f'CREATE DATABASE "{name}"')
    migrate(url)
    began = time.perf_counter()
    with connect(url, name="bench") as conn:
        conn.execute(_SOURCES % {"sources": SOURCES})
        conn.execute(_STATE)
        conn.execute("SET session_replication_role = replica; SET synchronous_commit = off")
        common = {"sources": SOURCES, "makes": list(MAKES), "pending": pending}
        for statement, rows in (
            (_VEHICLES, listings // 2),
            (_LISTINGS, listings),
            (_SIGHTINGS, listings),
            (_HISTORY, listings),
            (_QUEUE, 2 * pending),
        ):
            for low in range(1, rows + 1, CHUNK):
                conn.execute(statement, common | {"low": low, "high": min(low + CHUNK - 1, rows)})
        for statement in _COUNTERS:
            conn.execute(statement)
        conn.execute("SET session_replication_role = origin")
        conn.execute("VACUUM ANALYZE")
        conn.execute("CHECKPOINT")
        size = conn.execute("SELECT pg_size_pretty(pg_database_size(current_database()))").fetchone()
    print(
        f"{name}: {listings:,} listings, {pending:,} pending, {size and size[0]}, {time.perf_counter() - began:.0f} s"
    )
    return url


def wait_again(conn: Connection) -> None:
    """Puts every page that was claimed here back into the queue."""
    conn.execute(
        "UPDATE import_queue SET status = 'pending', attempts = 0, lease_owner = NULL, lease_expires_at = NULL, "
        "priority = 0, processed_at = NULL, processed_cycle = NULL WHERE 'bench' IN (processed_cycle, cycle_id)"
    )


class Side:
    """One of the two databases and the works done in it."""

    def __init__(self, name: str, url: str) -> None:
        self.name, self.url = name, url
        self.conn = connect(url, name=f"bench {name}")
        self.settings = Settings(database_url=url)  # type: ignore[arg-type]
        self.cycle = ensure_open(self.conn, self.settings, now=_now())
        row = self.conn.execute("SELECT id FROM scrape_sources ORDER BY name LIMIT 1").fetchone()
        assert row is not None
        self.source_id: UUID = row[0]
        self.round = 0
        self.rows: list[ListingToWrite] = []

    def works(self) -> dict[str, Callable[[], object]]:
        """Each work by its name, in the order in which they are done."""
        return {
            f"claim {BATCH}": lambda: claim_all(self.conn),
            f"write {BATCH} new": self.write_new,
            f"write {BATCH} unchanged": self.write,
            "assess": lambda: assess(self.conn, self.settings, self.cycle, _now()),
        }

    def cpu_ms(self) -> float:
        """Milliseconds that this process and its backend in the server have computed so far."""
        return _cpu_ms(self.conn)

    def write_new(self) -> None:
        """A batch of listings nobody knows."""
        self.round += 1
        first = self.round * BATCH + int(time.time()) % 1_000_000 * 1000
        now = _now()
        self.rows = [
            ListingToWrite.of(clean(_listing(first + n), now=now), source_id=self.source_id, source="bench_1")
            for n in range(BATCH)
        ]
        self.write()

    def write(self) -> None:
        """The last batch, in one transaction."""
        with self.conn.transaction():
            write_listings(self.conn, self.rows, cycle_id=self.cycle.cycle_id, now=_now())


def _listing(n: int) -> Listing:
    values: dict[str, Any] = {
        "title": "A car",
        "year": 2000 + n % 25,
        "make": MAKES[n % 10],
        "model": f"Model {n % 40}",
        "price": 5_000 + n % 40_000,
        "mileage": n * 7919 % 150_000,
        "city": "Dayton",
    }
    return Listing(
        url=f"https://bench.example/new/{n}",
        remote_id=f"new-{n}",
        currency="USD",
        mileage_unit="mi",
        region="OH",
        country="US",
        provenance={name: Evidence(Layer.STRUCTURED, "ld+json", 0.9) for name in values},
        **values,
    )


def claim(conn: Connection, owner: str) -> list[ClaimedPage]:
    """A batch of pages, leased."""
    return queue.claim(
        conn,
        owner=owner,
        cycle_id="bench",
        now=_now(),
        batch=BATCH,
        lease=LEASE,
        horizon=timedelta(seconds=20),
        per_source=BATCH // 25,
    )


def claim_all(conn: Connection) -> None:
    """A claim that must give the whole batch."""
    pages = claim(conn, "bench")
    if len(pages) != BATCH:
        raise SystemExit(f"{len(pages)} rows were claimed instead of {BATCH}")


def measure(small: str, large: str, rounds: int) -> dict[str, Any]:
    """Median milliseconds of every work in both databases, rounds by turns, and the ratio."""
    sides = [Side("small", small), Side("large", large)]
    spent: dict[str, dict[str, list[float]]] = {}
    sensors = {side.name: _sensors(side) for side in sides}
    for turn in range(rounds + 2):  # the first two warm up
        for side in sides if turn % 2 else reversed(sides):
            for works, clock in ((side.works(), side.cpu_ms), (sensors[side.name], _wall_ms)):
                for name, work in works.items():
                    began = clock()
                    work()
                    if turn >= 2:
                        spent.setdefault(name, {}).setdefault(side.name, []).append(clock() - began)
    print(f"\nmedian of {rounds}, ms: CPU of client and server for the works, wall for a sensor with its connection")
    print(f"{'':34} {'small':>9} {'large':>9} {'ratio':>6}")
    result: dict[str, Any] = {}
    for name, by_side in spent.items():
        low, high = (statistics.median(by_side[side.name]) for side in sides)
        result[name] = {"small_ms": round(low, 2), "large_ms": round(high, 2), "ratio": round(high / low, 2)}
        print(f"{name:34} {low:9.2f} {high:9.2f} {high / low:6.2f}")
    _explain(sides[1])
    for side in sides:
        side.conn.close()
    return {"cost": result}


def _sensors(side: Side) -> dict[str, Callable[[], object]]:
    """The evaluation of every sensor on this database, through Dagster, its connection included."""
    from dagster import DagsterInstance, build_sensor_context

    from fill_pipeline.definitions import defs
    from fill_pipeline.resources import Fill

    os.environ["FILL_DATABASE_URL"] = side.url
    repository = defs().get_repository_def()
    instance = DagsterInstance.ephemeral()

    def evaluation(sensor: Any) -> Callable[[], object]:
        def evaluate() -> object:
            os.environ["FILL_DATABASE_URL"] = side.url
            with build_sensor_context(instance, repository_def=repository, resources={"fill": Fill()}) as context:
                return sensor.evaluate_tick(context)

        return evaluate

    return {s.name: evaluation(s) for s in repository.sensor_defs if s.name != "run_failure_sensor"}


def _explain(side: Side) -> None:
    """Prints the plan of every statement that one round of the works sends."""
    sent: dict[str, Any] = {}

    class Recorder(psycopg.ClientCursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            sent.setdefault(str(query), params)
            return super().execute(query, params, **options)

    side.conn.cursor_factory = Recorder
    for work in side.works().values():
        work()
    side.conn.cursor_factory = psycopg.ClientCursor
    print("\nplans in the large database")
    for query, params in sent.items():
        with side.conn.transaction(force_rollback=True):
            try:
                with side.conn.transaction():
                    plan = side.conn.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {query}", params)
                    lines = [str(row[0]) for row in plan.fetchall()]
            except psycopg.Error:
                continue  # no statement that has a plan, or its temporary table is gone
        print("\n-- " + " ".join(query.split())[:110])
        print("\n".join(lines[:40]))


def measure_queue(url: str, through: int) -> dict[str, Any]:
    """Rows a second that several workers claim together, and a claim's cost before and after many rows went through."""
    with connect(url, name="bench queue") as conn:
        before = _claim_ms(conn)
        rate = _claim_rate(url, 8)
        wait_again(conn)
        began = time.perf_counter()
        done = 0
        while done < through:
            pages = claim(conn, "bench")
            ends = [Completion(page.queue_id, QueueStatus.COMPLETE) for page in pages]
            queue.complete(conn, ends, owner="bench", now=_now())
            again = [PageToQueue(page.source_id, page.url, page.url_hash) for page in pages]
            queue.enqueue(conn, again, cycle_id="bench", now=_now(), revisit=timedelta(0))
            done += len(pages)
        seconds = time.perf_counter() - began
        after = _claim_ms(conn)
        dead = conn.execute("SELECT n_dead_tup, n_live_tup FROM pg_stat_user_tables WHERE relname = 'import_queue'")
        bloat = dead.fetchone()
    print(f"\nclaim: {rate:,.0f} rows/s with {CLAIMERS} workers; a batch of {BATCH}: {before:.1f} CPU ms before and")
    print(
        f"{after:.1f} CPU ms after {done:,} rows went through ({done / seconds:,.0f} rows/s claimed, completed and "
        f"queued again); dead and live rows: {bloat}"
    )
    return {
        "claim_rows_per_second": round(rate),
        "claim_ms_before": round(before, 2),
        "claim_ms_after": round(after, 2),
        "rows_through": done,
    }


def _claim_ms(conn: Connection) -> float:
    spent = []
    for _ in range(15):
        began = _cpu_ms(conn)
        claim_all(conn)
        spent.append(_cpu_ms(conn) - began)
    return statistics.median(spent)


def _claim_rate(url: str, seconds: float) -> float:
    with ProcessPoolExecutor(CLAIMERS, multiprocessing.get_context("spawn")) as pool:
        return sum(pool.map(_claim_for, [url] * CLAIMERS, range(CLAIMERS), [seconds] * CLAIMERS))


def _claim_for(url: str, number: int, seconds: float) -> float:
    """Rows a second in so many seconds, or until nothing waits any more."""
    with connect(url, name=f"bench claimer {number}") as conn:
        claim(conn, f"bench{number}")
        began, rows, spent = time.perf_counter(), 0, 0.0
        while spent < seconds and (pages := claim(conn, f"bench{number}")):
            rows, spent = rows + len(pages), time.perf_counter() - began
        return rows / spent if rows else 0.0


def _cpu_ms(conn: Connection) -> float:
    on_cpu, _, _ = Path(f"/proc/{conn.info.backend_pid}/schedstat").read_text().split()
    return time.process_time() * 1e3 + int(on_cpu) / 1e6


def _wall_ms() -> float:
    return time.perf_counter() * 1e3


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
