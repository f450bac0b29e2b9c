"""A database with a few days of cycles in it, written with plain SQL; the page over it in a real browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

CHROMIUM = Path("/usr/bin/chromium")
TOKEN = "a token for tests"
SERVE = """
from fill_pipeline.dashboard.app import serve
from fill_pipeline.settings import Settings
import sys
settings = Settings()
serve(settings, port=int(sys.argv[1]), token=settings.dashboard_token.get_secret_value(), dagster_url="http://127.0.0.1:3000")
"""


NOW = datetime(2026, 3, 4, 13, 30, tzinfo=UTC)
WINDOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
FIELDS = ("year", "make", "model", "price", "mileage", "place", "image", "vin")


@dataclass
class Town:
    """Names of what :func:`town` wrote."""

    conn: Connection
    cycle_id: str
    past: list[str]
    sources: dict[str, UUID]

    def add_vehicles(
        self, n: int, *, title: str = "2019 Honda Civic EX", image: str | None = None, price: int | None = 15_000
    ) -> None:
        """Insert ``n`` vehicles of the open cycle; the counters follow by themselves."""
        self.conn.execute(
            """INSERT INTO vehicles (title, year, make, model, price, currency, mileage, mileage_unit, city, region,
                   image, completeness, created_at, created_cycle, updated_at, updated_cycle)
               SELECT %(title)s, 2019, 'Honda', 'Civic', %(price)s, 'USD', 42000 + i, 'mi', 'Reno', 'NV', %(image)s,
                   0.93, %(at)s, %(cycle)s, %(at)s, %(cycle)s
               FROM generate_series(1, %(n)s) i""",
            {"title": title, "price": price, "image": image, "at": NOW, "cycle": self.cycle_id, "n": n},
        )

    def queue(self, slug: str, n: int, status: str = "pending") -> None:
        """Queue ``n`` pages of a source."""
        self.conn.execute(
            """INSERT INTO import_queue (source_id, listing_url, url_hash, status, cycle_id, processed_at)
               SELECT %s, 'https://example.com/' || i, gen_random_uuid(), %s, %s,
                   CASE WHEN %s = 'dead' THEN %s::timestamptz END
               FROM generate_series(1, %s) i""",
            (self.sources[slug], status, self.cycle_id, status, NOW, n),
        )

    def act(self, action: str, status: str, *, level: int = 0, attempt: int = 1, run_id: str | None = None) -> None:
        """Record an action of the open cycle."""
        self.conn.execute(
            """INSERT INTO cycle_actions (cycle_id, action, level, attempt, reason, status, run_id, requested_at,
                   started_at, heartbeat_at, finished_at, outcome)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, '{"gained": 640}')""",
            (self.cycle_id, action, level, attempt, f"reason of {action}", status, run_id, WINDOW, WINDOW, NOW,
             NOW if status in ("done", "failed") else None),
        )  # fmt: skip


@pytest.fixture
def town(conn: Connection) -> Callable[..., Town]:
    """Writes sources, closed cycles with their health and quality, and one open cycle."""

    def write(slugs: int = 5, closed: int = 12, *, now: datetime = NOW, target: int = 2000) -> Town:
        start = now.replace(hour=now.hour - now.hour % 2, minute=0, second=0, microsecond=0)
        sources = {}
        for i in range(slugs):
            row = conn.execute(
                "INSERT INTO scrape_sources (name, base_url, kind) VALUES (%s, %s, %s) RETURNING slug, id",
                (f"Dealer {i:03d}", f"https://dealer{i:03d}.example", "dealer" if i % 2 else "marketplace"),
            ).fetchone()
            assert row is not None
            sources[row[0]] = row[1]
        conn.execute("UPDATE source_state SET next_slot_at = %s", (now,))
        past = []
        for back in range(closed, 0, -1):
            begun = start - timedelta(hours=2 * back)
            cycle_id = begun.strftime("%Y-%m-%d-%H:%M")
            past.append(cycle_id)
            conn.execute(
                """INSERT INTO fill_cycles (cycle_id, started_at, completed_at, window_start, window_end, target,
                       status, vehicles_added, vehicles_queued, sources_active, data_quality_score, on_target,
                       next_actions)
                   VALUES (%s, %s, %s, %s, %s, %s, 'closed', %s, %s, %s, 0.9312, %s, '{harvest what is due}')""",
                (cycle_id, begun, begun + timedelta(minutes=40), begun, begun + timedelta(hours=2), target,
                 target + 100 - 40 * (back % 5), 3000, slugs, back % 5 < 3),
            )  # fmt: skip
            conn.execute(
                """INSERT INTO quality_metrics (cycle_id, field_name, completeness, accuracy, sample_size, measured_at)
                   SELECT %s, f, greatest(0.3, 1 - 0.06 * i - 0.01 * %s), 0.97, 2000, %s
                   FROM unnest(%s::text[]) WITH ORDINALITY AS u (f, i)""",
                (cycle_id, back, begun, list(FIELDS)),
            )
            for i, (slug, source_id) in enumerate(sources.items()):
                status = ("healthy", "healthy", "degraded", "failing", "healthy")[i % 5]
                _stats(conn, source_id, cycle_id, begun + timedelta(minutes=20), 200 + 37 * ((i + back) % 7))
                conn.execute(
                    """INSERT INTO source_health (source_id, cycle_id, status, reason, success_rate, error_rate,
                           last_checked, reliability_7d, reliability_30d)
                       VALUES (%s, %s, %s, %s, 0.9, 0.1, %s, %s, %s)""",
                    (
                        source_id,
                        cycle_id,
                        status,
                        f"{slug} is {status}",
                        begun + timedelta(minutes=40),
                        *[{"healthy": 1.0, "degraded": 0.5, "failing": 0.0}[status]] * 2,
                    ),
                )
        cycle_id = start.strftime("%Y-%m-%d-%H:%M")
        conn.execute(
            """INSERT INTO fill_cycles (cycle_id, started_at, window_start, window_end, target)
               VALUES (%s, %s, %s, %s, %s)""",
            (cycle_id, start, start, start + timedelta(hours=2), target),
        )
        for i, source_id in enumerate(sources.values()):
            _stats(conn, source_id, cycle_id, now, 180 + 20 * (i % 9), failed=7 * (i % 3))
        return Town(conn, cycle_id, past, sources)

    return write


def _stats(conn: Connection, source_id: UUID, cycle_id: str, at: datetime, found: int, failed: int = 0) -> None:
    conn.execute(
        """INSERT INTO source_cycle_stats (source_id, cycle_id, index_pages, cards_seen, queued, pages_fetched,
               pages_failed, pages_empty, found, new, vehicles_added, quality_sum, quality_count, harvests,
               harvest_complete, failures, first_at, last_at)
           VALUES (%(source)s, %(cycle)s, 10, %(found)s, %(found)s, %(found)s + 10, %(failed)s, 3, %(found)s,
               %(found)s / 2, %(found)s / 3, %(found)s * 0.91, %(found)s, 1, true, %(failures)s, %(at)s, %(at)s)""",
        {"source": source_id, "cycle": cycle_id, "found": found, "failed": failed, "at": at,
         "failures": f'{{"timeout": {failed}, "blocked": {failed // 7}}}' if failed else "{}"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def address(settings: Settings, database_url: str) -> Iterator[str]:
    """Where a dashboard of the test database answers."""
    with serve_dashboard(settings.home, database_url) as url:
        yield url


@contextmanager
def serve_dashboard(home: Path, database_url: str) -> Iterator[str]:
    """A dashboard of a database as a process of its own; where it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"FILL_HOME": str(home), "FILL_DATABASE_URL": database_url, "FILL_DASHBOARD_TOKEN": TOKEN}
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(port)], env=env)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, "the dashboard did not start"
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, its cache shared by all pages."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield browser.new_context(viewport={"width": 1300, "height": 900})
        browser.close()


@pytest.fixture
def rows(town: Callable[..., Any], request: pytest.FixtureRequest) -> Any:
    """Sources and cycles up to the present window; a test's own number of them, since the server remembers."""
    return town(closed=3 + sum(map(ord, request.node.name)) % 40, now=datetime.now(UTC))


@pytest.fixture
def page(browser: Any, address: str, rows: Any) -> Iterator[Any]:
    """The dashboard, opened."""
    page = browser.new_page()
    page.set_default_timeout(20_000)
    page.errors, page.token = [], TOKEN
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address)
    page.wait_for_function("cycle => document.body.innerText.includes(cycle)", arg=f"Cycle {rows.cycle_id}")
    yield page
    page.close()
