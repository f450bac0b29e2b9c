"""Reading archived pages again changes what is known of vehicles, never how many there are."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from fill_pipeline.crawl.archive import ArchiveWriter
from fill_pipeline.crawl.fetch import FetchRequest
from fill_pipeline.crawl.response import FetchResponse
from fill_pipeline.db import cycles, registry
from fill_pipeline.db.archive import ArchivedKind
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain import replay
from fill_pipeline.drain.page import WRITTEN, RawPage, reading_of
from fill_pipeline.drain.read import read_page
from fill_pipeline.drain.replay import replay_window
from fill_pipeline.drain.work import Source, Totals, Work, load_sources
from fill_pipeline.drain.worker import WorkersDieError
from fill_pipeline.drain.write import Commit, in_transaction, write_pages
from fill_pipeline.quality.gate import Gate
from fill_pipeline.settings import Settings

NOW = datetime(2026, 3, 2, 9, 7, tzinfo=UTC)
CYCLE = "2026-03-02-08:00"
HOUR = timedelta(hours=1)
CARS = 8
PAGE = """<!doctype html><html><head><title>2014 Honda Civic EX</title></head><body><h1>2014 Honda Civic EX</h1>
<img src="/1.jpg" width="800"><table><tr><th>Stock number</th><td>ST-77{n}</td></tr>
<tr><th>Price</th><td>$8,75{n}</td></tr>
<tr><th>Location</th><td>Salem, OR</td></tr><tr><th>Transmission</th><td>Automatic</td></tr></table></body></html>"""


def crawled(conn: Connection, work: Work, source: Source, **of_the_card: Any) -> None:
    """Some cars' pages, read, written and archived, each found by a card with a number and mileage of its own."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    read = []
    with ArchiveWriter(work.settings.archive_root, source.slug, CYCLE, "w1") as writer:
        for n in range(CARS):
            response = FetchResponse(
                request=FetchRequest(url=f"http://alpha.example/cars/civic-{chr(97 + n)}"),
                final_url=f"http://alpha.example/cars/civic-{chr(97 + n)}",
                status=200,
                head=head,
                body_received=PAGE.format(n=n).encode(),
                content_type="text/html",
            )
            ref = writer.append(response, NOW)
            hint = {"remote_id": f"card-{n}", "mileage": 61_000 + n, "mileage_unit": "mi"} | of_the_card
            kind = ArchivedKind.DETAIL
            raw = RawPage.of(response, ref, source_id=source.id, kind=kind, fetched_at=NOW, hint=hint)
            read.append(read_page(raw, reading_of(source, work.settings), now=NOW))
    commit = Commit(CYCLE, "test", NOW, work.settings.core_fields, Gate.of(work.settings, NOW.year))
    in_transaction(conn, lambda: write_pages(conn, read, commit))


def stored(conn: Connection) -> tuple[list[tuple[Any, ...]], ...]:
    """The listings and the vehicles there are."""
    listings = conn.execute("SELECT remote_id, price, mileage, status FROM listings ORDER BY 1").fetchall()
    return listings, conn.execute("SELECT id, price, mileage FROM vehicles ORDER BY 1").fetchall()


@pytest.fixture
def work(conn: Connection, database_url: str, tmp_path: Path) -> Work:
    """A replay of the window in which ``crawled`` fetches."""
    start, end = NOW.replace(hour=8, minute=0), NOW.replace(hour=10, minute=0)
    cycles.open_cycle(conn, CYCLE, now=start, window_start=start, window_end=end, target=10)
    return Work(Settings(home=tmp_path, workers=2), database_url, CYCLE, "replay", lambda: end, end + HOUR, bool)


@pytest.fixture
def source(conn: Connection) -> Source:
    row = registry.declare_source(conn, name="Alpha", base_url="http://alpha.example", config={}, kind="dealer")
    return load_sources(conn)[row.id]


@pytest.mark.parametrize("of_the_card", [{WRITTEN: True}, {}], ids=["stored from its card", "read from its page only"])
def test_a_replay_finds_the_listings_that_their_cards_numbered_and_no_others(
    conn: Connection, work: Work, source: Source, of_the_card: dict[str, Any]
) -> None:
    crawled(conn, work, source, **of_the_card)
    before = stored(conn)
    assert [row[:3] for row in before[0]] == [(f"card-{n}", 8750 + n, 61_000 + n) for n in range(CARS)]
    replay_window(work, [source], [CYCLE])
    assert work.totals.sum("pages_fetched") == CARS
    assert stored(conn) == before


def hit(work: Work, blow: Callable[[], bool], times: int) -> Work:
    """The same work, which ``blow`` hits so often while it goes on, once it can (it says whether it could)."""
    left = [times]

    def now() -> datetime:
        if left[0] and blow():
            left[0] -= 1
        return work.now_fn()

    return replace(work, now_fn=now, totals=Totals())


@pytest.fixture
def a_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PAGES_PER_BATCH", 1)


def replayed_under(blow: Callable[[], bool], conn: Connection, work: Work, source: Source) -> None:
    """What was crawled is replayed whole and changes nothing, though it is hit twice."""
    crawled(conn, work, source)
    before = stored(conn)
    hurt = hit(work, blow, times=2)
    replay_window(hurt, [source], [CYCLE])
    assert hurt.totals.sum("pages_fetched") == CARS
    assert hurt.totals.sum("found") == CARS
    assert stored(conn) == before


def kill_a_reader() -> bool:
    for process in psutil.Process().children(recursive=True):
        if process.name() == "fill replay":
            process.kill()
            return True
    return False


@pytest.mark.usefixtures("a_page_at_a_time")
def test_connections_that_are_cut_cost_a_replay_nothing(conn: Connection, work: Work, source: Source) -> None:
    def cut() -> bool:
        return (
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'fill replay' AND datname = current_database()"
            ).rowcount
            > 1
        )

    replayed_under(cut, conn, work, source)


@pytest.mark.usefixtures("a_page_at_a_time")
@pytest.mark.skipif(sys.platform != "linux", reason="knows a process by the name Linux keeps")
def test_a_killed_reader_costs_a_replay_nothing(conn: Connection, work: Work, source: Source) -> None:
    replayed_under(kill_a_reader, conn, work, source)


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("a_page_at_a_time")
def test_readers_that_are_killed_one_after_another_end_a_replay_with_a_line(
    conn: Connection, work: Work, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    crawled(conn, work, source)
    monkeypatch.setattr(replay, "_begin", _die)
    with pytest.raises(WorkersDieError, match=f"{source.slug} of {CYCLE}"):
        replay_window(work, [source], [CYCLE])
