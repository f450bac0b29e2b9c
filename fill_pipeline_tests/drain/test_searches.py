"""Promises of saved searches: their ticks, their queries, and their jobs against a loopback site."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fill_pipeline.db import cycles, registry
from fill_pipeline.db import searches as db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.searches import Search, run_now
from fill_pipeline.drain.search_schedule import add_search, create_jobs
from fill_pipeline.drain.searches import run_next_job, run_search_job
from fill_pipeline.drain.work import Work
from fill_pipeline.settings import Settings

NOW = datetime(2026, 3, 2, 9, 7, tzinfo=UTC)
CYCLE = "2026-03-02T08:00"
DOCUMENTED = {
    "listings_found",
    "new_listings",
    "updated_listings",
    "skipped_listings",
    "pages_scraped",
    "duration_ms",
}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"schedule": "0 25 * * *"}, "hour '25'"),
        ({"time_zone": "Mars/Olympus"}, "IANA"),
        ({"params": {"min_year": "abc"}}, "min_year 'abc'"),
        ({"name": " "}, "name ' ' is empty"),
    ],
)
def test_a_search_that_cannot_do_what_it_says_is_not_saved(conn: Connection, said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        _search(conn, **said)
    assert db.searches(conn) == []


def _search(conn: Connection, **said: Any) -> Search:
    facts: dict[str, Any] = {"name": "Civics", "params": {}, "schedule": "0 */2 * * *", "source": "alpha", "now": NOW}
    return add_search(conn, **{**facts, **said})


def test_a_tick_makes_one_job_however_often_and_wherever_it_is_asked_for(conn: Connection, database_url: str) -> None:
    _search(conn)
    assert create_jobs(conn, NOW) == []  # its first tick is still to come
    at = datetime(2026, 3, 2, 10, 0, 5, tzinfo=UTC)
    from fill_pipeline.db.connect import connect

    made: list[int] = []

    def tick() -> None:
        with connect(database_url) as own:
            made.append(len(create_jobs(own, at)))

    threads = [threading.Thread(target=tick) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(made) == 1
    assert create_jobs(conn, at + timedelta(minutes=30)) == []
    assert len(create_jobs(conn, at + timedelta(hours=2))) == 1


def test_after_downtime_a_search_catches_up_once(conn: Connection) -> None:
    _search(conn)
    create_jobs(conn, NOW + timedelta(hours=1))
    [job] = create_jobs(conn, NOW + timedelta(days=3))
    assert job.scheduled_for == datetime(2026, 3, 5, 8, 0, tzinfo=UTC)


def test_a_week_of_ticks_makes_as_many_jobs_as_cron_says(conn: Connection) -> None:
    _search(conn, schedule="0 8,20 * * 1-5", time_zone="America/New_York", name="weekdays")
    _search(conn, schedule="0 */2 * * *", name="two-hourly")
    for minute in range(0, 7 * 24 * 60, 60):
        create_jobs(conn, NOW + timedelta(minutes=minute))
        create_jobs(conn, NOW + timedelta(minutes=minute))  # a duplicate sensor tick
    counts = dict(
        conn.execute(
            "SELECT s.name, count(*) FROM offerup_jobs j JOIN offerup_searches s ON s.id = j.search_id GROUP BY 1"
        ).fetchall()
    )
    assert counts == {"weekdays": 10, "two-hourly": 84}


def test_a_paused_search_makes_no_job(conn: Connection) -> None:
    search = _search(conn)
    db.set_active(conn, search.id, False)
    assert create_jobs(conn, NOW + timedelta(days=1)) == []


def test_a_schedule_broken_by_hand_opens_an_incident_and_stops_nobody_else(conn: Connection) -> None:
    broken = _search(conn, name="broken")
    _search(conn, name="sound")
    conn.execute("UPDATE offerup_searches SET schedule = 'whenever' WHERE id = %s", [broken.id])
    assert len(create_jobs(conn, NOW + timedelta(hours=2))) == 1
    assert conn.execute("SELECT kind, subject FROM incidents").fetchall() == [("search_schedule", str(broken.id))]


class Site:
    """A site with a JSON search of two pages and a cursor; what was asked is in ``asked``."""

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.cars = [self._car(i) for i in range(8)]
        self.status = 200
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if parts.path == "/robots.txt":
                    self.send_error(404)
                    return
                query = parse_qs(parts.query)
                site.asked.append(query)
                start = int(query.get("cursor", ["0"])[0])
                page = site.cars[start : start + 5]
                after = str(start + 5) if start + 5 < len(site.cars) else None
                body = json.dumps({"items": page, "next_cursor": after}).encode()
                self.send_response(site.status)
                if site.status == 429:
                    self.send_header("Retry-After", "900")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _car(self, i: int) -> dict[str, Any]:
        return {
            "id": f"a{i}",
            "url": f"/listing/a{i}",
            "title": f"{2014 + i} Honda Civic LX",
            "year": 2014 + i,
            "make": "Honda",
            "model": "Civic",
            "price": 6_000 + 700 * i,
            "currency": "USD",
            "mileage": {"value": 90_000 - 5_000 * i, "unitCode": "mi"},
            "city": "Salem",
            "region": "OR",
            "image": f"http://127.0.0.1/{i}.jpg",
        }


@pytest.fixture
def site() -> Iterator[Site]:
    """A running site."""
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture
def work(conn: Connection, site: Site, database_url: str, tmp_path: Path) -> Work:
    """Work in an open cycle, with the site declared as source ``alpha``."""
    config = {
        "rate_limit": {"delay_between_requests_ms": 0},
        "pagination": {"type": "cursor", "cursor_param": "cursor", "cursor_path": "next_cursor"},
        "index": {"items_path": "items"},
        "detail": "never",
        "extra": {"search": {"url": "/api", "query": {"make": "make", "max_price": "most"}}},
    }
    registry.declare_source(conn, name="alpha", base_url=site.url, config=config, kind="marketplace")
    window = NOW.replace(hour=8, minute=0)
    cycles.open_cycle(conn, CYCLE, now=NOW, window_start=window, window_end=window + timedelta(hours=2), target=2000)
    own = Settings(home=tmp_path, allow_nets="127.0.0.0/8")  # type: ignore[arg-type]
    return Work(own, database_url, CYCLE, "test", lambda: NOW, NOW + timedelta(hours=1))


def _status(conn: Connection) -> list[tuple[Any, ...]]:
    return conn.execute("SELECT status, error_message, attempts FROM offerup_jobs ORDER BY created_at").fetchall()


def test_a_search_asks_its_source_and_stores_what_matches(conn: Connection, work: Work, site: Site) -> None:
    search = _search(conn, params={"make": "Honda", "max_price": 9_000, "min_year": 2015, "zip_code": "97301"})
    run_now(conn, search.id, now=NOW)
    result = run_next_job(work)
    assert result is not None
    assert result["error"] is None
    assert set(result) >= DOCUMENTED
    assert site.asked[0] == {"make": ["Honda"], "most": ["9000"]}
    assert len(site.asked) == 2  # the cursor is followed
    assert (result["listings_found"], result["new_listings"], result["filtered_out"]) == (4, 4, 4)
    assert result["unused_params"] == ["zip_code"]
    assert result["pages_scraped"] == 2
    assert conn.execute("SELECT min(year), max(price), count(*) FROM listings").fetchone() == (2015, 8_800, 4)


def test_a_second_run_finds_the_same_listings_and_none_new(conn: Connection, work: Work, site: Site) -> None:
    search = _search(conn)
    for _ in range(2):
        run_now(conn, search.id, now=NOW)
        result = run_next_job(work)
    assert result is not None
    assert (result["listings_found"], result["new_listings"], result["skipped_listings"]) == (8, 0, 8)
    site.cars[0]["price"] = 5_000
    run_now(conn, search.id, now=NOW)
    changed = run_next_job(work)
    assert changed is not None
    assert (changed["updated_listings"], changed["skipped_listings"]) == (1, 7)


def test_a_search_delists_nothing(conn: Connection, work: Work, site: Site) -> None:
    search = _search(conn)
    run_now(conn, search.id, now=NOW)
    run_next_job(work)
    del site.cars[4:]
    for _ in range(3):
        run_now(conn, search.id, now=NOW)
        run_next_job(work)
    assert conn.execute("SELECT count(*) FROM listings WHERE status = 'active'").fetchone() == (8,)


def test_the_job_row_tells_the_whole_story(conn: Connection, work: Work) -> None:
    search = _search(conn)
    job_id = run_now(conn, search.id, now=NOW - timedelta(minutes=1))
    run_next_job(work, run_id="run-7")
    row = conn.execute(
        "SELECT id, status, error_message, run_now, created_at <= started_at, started_at <= finished_at, run_id, "
        "result->>'listings_found', lease_owner FROM offerup_jobs"
    ).fetchone()
    assert row == (job_id, "finished", None, True, True, True, "run-7", "8", None)


def test_a_site_that_fails_ends_the_job_in_error_with_the_reason(conn: Connection, work: Work, site: Site) -> None:
    site.status = 404
    search = _search(conn)
    run_now(conn, search.id, now=NOW)
    run_next_job(work)
    [(status, message, _)] = _status(conn)
    assert status == "error"
    assert "404" in message or "gone" in message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE offerup_searches SET source = 'nowhere'", "no source 'nowhere'"),
        ("UPDATE scrape_sources SET active = false", "not active"),
        ('UPDATE offerup_searches SET params = \'{"min_year": "abc"}\'', "min_year 'abc' is not a number"),
        ('UPDATE scrape_sources SET config = \'{"extra": {"search": {"urk": 1}}}\'', "config.extra.search.urk"),
    ],
)
def test_a_search_that_cannot_run_says_why(conn: Connection, work: Work, change: str, told: str) -> None:
    search = _search(conn)
    run_now(conn, search.id, now=NOW)
    conn.execute(change)  # type: ignore[arg-type]
    run_next_job(work)
    [(status, message, _)] = _status(conn)
    assert status == "error"
    assert told in message


def test_two_workers_never_run_one_job(conn: Connection, work: Work) -> None:
    search = _search(conn)
    run_now(conn, search.id, now=NOW)
    [job] = db.waiting_jobs(conn, now=NOW)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(run_search_job(work, job))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r is None for r in results) == [False, True]
    assert _status(conn) == [("finished", None, 1)]


def test_a_killed_workers_job_is_taken_up_again_and_given_up_the_third_time(conn: Connection, work: Work) -> None:
    search = _search(conn)
    run_now(conn, search.id, now=NOW)
    for attempt in range(1, 4):
        later = NOW + timedelta(minutes=10 * attempt)
        claimed = db.claim_job(conn, None, owner="doomed", now=later, lease_until=later + timedelta(minutes=5))
        assert claimed is not None
        assert claimed.attempts == attempt
    late = NOW + timedelta(hours=1)
    assert db.claim_job(conn, None, owner="next", now=late, lease_until=late) is None
    [(status, message, _)] = _status(conn)
    assert status == "error"
    assert "silent 3 times" in message


def test_a_flood_of_run_now_makes_one_job(conn: Connection, work: Work) -> None:
    search = _search(conn)
    jobs = {run_now(conn, search.id, now=NOW) for _ in range(50)}
    assert len(jobs) == 1
    assert run_next_job(work) is not None
    assert run_next_job(work) is None


def test_run_now_goes_before_what_waits_longer(conn: Connection, work: Work) -> None:
    patient, urgent = _search(conn, name="patient"), _search(conn, name="urgent")
    db.create_job(conn, patient.id, tick=NOW - timedelta(hours=1), now=NOW - timedelta(hours=1))
    run_now(conn, urgent.id, now=NOW)
    first = run_next_job(work)
    assert first is not None
    assert first["search"] == "urgent"


def test_finding_nothing_where_there_usually_is_something_opens_an_incident(
    conn: Connection, work: Work, site: Site
) -> None:
    search = _search(conn)
    cars = site.cars
    for stock in (cars, [], cars):
        site.cars = stock
        run_now(conn, search.id, now=NOW)
        run_next_job(work)
        if not stock:
            [(kind, message)] = conn.execute("SELECT kind, message FROM incidents WHERE closed_at IS NULL").fetchall()
            assert kind == "search_empty"
            assert "usually about 8" in message
    assert conn.execute("SELECT count(*) FROM incidents WHERE closed_at IS NULL").fetchone() == (0,)


def test_a_search_heeds_what_the_site_says_of_its_pace(conn: Connection, work: Work, site: Site) -> None:
    site.status = 429
    search = _search(conn)
    run_now(conn, search.id, now=NOW)
    run_next_job(work)
    asked = len(site.asked)
    run_now(conn, search.id, now=NOW)
    held = run_next_job(work)
    assert held is not None
    assert "held" in held["error"]
    assert len(site.asked) == asked  # left alone from now on, by whoever


def test_work_without_time_left_gives_the_job_back(conn: Connection, work: Work, database_url: str) -> None:
    search = _search(conn)
    run_now(conn, search.id, now=NOW)
    late = Work(work.settings, database_url, CYCLE, "late", lambda: NOW, NOW - timedelta(minutes=1))
    run_next_job(late)
    assert _status(conn) == [("pending", None, 0)]


def test_a_search_whose_cycle_was_closed_is_given_back_and_writes_nothing_into_it(conn: Connection, work: Work) -> None:
    search = _search(conn)
    run_now(conn, search.id, now=NOW)
    conn.execute("UPDATE fill_cycles SET status = 'closed' WHERE cycle_id = %s", [CYCLE])
    result = run_next_job(work)
    assert result is not None
    assert CYCLE in result["error"]
    assert _status(conn) == [("pending", None, 0)]
    assert conn.execute("SELECT count(*) FROM listings").fetchone() == (0,)
