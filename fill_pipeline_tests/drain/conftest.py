"""The simulated web as sources, and work on it at any time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db import cycles, queue, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.ledger import SourceStats
from fill_pipeline.db.queue import PageToQueue
from fill_pipeline.drain.drain import drain_queue
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.work import Source, Work, load_sources
from fill_pipeline.settings import Settings
from fill_pipeline.simweb.handle import SimWeb, start_simweb

FAST = {"requests_per_minute": 60_000}
DEALER = "valley-auto-center"  # counts its index pages
OTHER_DEALER = "pinecrest-auto-sales"  # has a sitemap


@pytest.fixture(scope="session")
def simweb() -> Iterator[SimWeb]:
    """A small simulated web."""
    with start_simweb(scale=0.06, seed=3) as web:
        yield web


@dataclass
class Crawl:
    """Harvests and drains sites of the simulated web, ``later`` than now if told so."""

    conn: Connection
    web: SimWeb
    url: str
    settings: Settings
    later: timedelta = timedelta(0)
    stop: threading.Event = field(default_factory=threading.Event)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.later

    def declare(self, slug: str, **config: Any) -> Source:
        """A site as a source: its suggested configuration, no delay, changed by ``config``."""
        site = next(site for site in self.web.get("/sites") if site["slug"] == slug)
        registry.declare_source(
            self.conn,
            name=slug,
            base_url=site["base_url"],
            config=site["suggested_config"] | {"rate_limit": FAST} | config,
            kind=site["kind"],
        )
        return next(source for source in load_sources(self.conn).values() if source.row.name == slug)

    def work(self, owner: str = "test", cycle: str = "c1") -> Work:
        now = self.now()
        self.conn.execute("UPDATE fill_cycles SET status = 'closed' WHERE cycle_id <> %s", (cycle,))
        cycles.open_cycle(self.conn, cycle, now=now, window_start=now, window_end=now + timedelta(hours=2), target=2000)
        deadline = now + timedelta(minutes=10)
        return Work(self.settings, self.url, cycle, owner, self.now, deadline, self.stop.is_set)

    def put(self, source: Source, n: int, path: str = "/no-such-page/{}") -> None:
        """Queue ``n`` pages of a source (that are not there, unless ``path`` says otherwise)."""
        urls = [source.row.base_url + path.format(i) for i in range(n)]
        pages = [PageToQueue(source.id, url, url_hash(url)) for url in urls]
        assert queue.enqueue(self.conn, pages, cycle_id="c1", now=self.now(), revisit=timedelta(hours=1)) == n

    def fill(self, cycle: str, *sources: Source) -> list[SourceStats]:
        """Harvest and drain sources; what each did."""
        work = self.work(cycle=cycle)
        harvest_sources(work, sources)
        drain_queue(work)
        return [work.totals.by_source()[source.id] for source in sources]

    def log(self, slug: str, since: float = 0.0) -> list[tuple[float, str, int]]:
        """(monotonic seconds, path, status) of the requests a site had, its robots.txt left out."""
        entries = self.web.get(f"/log?slug={slug}&since={since}")
        found = [(entry["monotonic"], entry["path"], entry["status"]) for entry in entries]
        return [entry for entry in found if entry[1] != "/robots.txt"]

    def rows(self) -> dict[str, int]:
        """How many queue rows have each status."""
        return dict(self.conn.execute("SELECT status, count(*) FROM import_queue GROUP BY 1").fetchall())


@pytest.fixture
def crawl(conn: Connection, simweb: SimWeb, database_url: str, tmp_path: Path) -> Crawl:
    """A crawl of a simulated web as it was at its start."""
    simweb.post("reset")
    settings = Settings(home=tmp_path, allow_nets="127.0.0.0/8", workers=1, batch_size=100)  # type: ignore[arg-type]
    return Crawl(conn, simweb, database_url, settings)


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something to become true; fails when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
