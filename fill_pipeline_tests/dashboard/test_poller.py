"""The one reader all viewers share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fill_pipeline.dashboard.links import Dagster
from fill_pipeline.dashboard.metrics import exposition
from fill_pipeline.dashboard.poller import INTERVAL, MAX_INTERVAL, Poller, Reading, pause_after
from fill_pipeline.dashboard.render import Renderer, Sort, share
from fill_pipeline.dashboard.snapshot import snapshot
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

NOW = datetime(2026, 3, 4, 13, 30, tzinfo=UTC)
BIG_TABLES = ("vehicles", "listing_records", "listing_sightings", "import_queue", "listing_history", "archive_pages")


def test_viewers_share_a_reading(conn: Connection, database_url: str, town: Callable[..., Any]) -> None:
    town()
    poller = Poller(Settings(database_url=database_url))  # type: ignore[arg-type]
    first = poller.read()
    assert first.overview is not None
    assert poller.read(max_age=60) is first
    assert poller.read() is not first
    poller.close()


def test_a_lost_database_is_said_and_found_again(conn: Connection, database_url: str, town: Callable[..., Any]) -> None:
    town()
    poller = Poller(Settings(database_url=database_url))  # type: ignore[arg-type]
    known = poller.read().overview
    conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fill dashboard'")
    lost = poller.read()
    assert lost.error is not None
    assert lost.overview is known  # the page goes on showing the last figures, and says how old they are
    assert exposition(lost).splitlines()[-1] == "fill_up 0"
    assert poller.read().error is None
    poller.close()


def test_the_present_rate_is_measured_within_a_cycle(
    conn: Connection, database_url: str, town: Callable[..., Any]
) -> None:
    rows = town()
    now = NOW
    poller = Poller(Settings(database_url=database_url), lambda: now)  # type: ignore[arg-type]
    assert poller.read().rate_per_hour("vehicles_added") is None
    rows.add_vehicles(50)
    now += timedelta(seconds=10)
    assert poller.read().rate_per_hour("vehicles_added") == 50 * 360
    poller.close()


def test_slow_readings_come_more_rarely() -> None:
    assert pause_after([]) == INTERVAL
    for seconds, pause in ((0.001, INTERVAL), (0.1, 2.0), (5.0, MAX_INTERVAL)):
        assert pause_after([seconds]) == pytest.approx(pause, abs=0.01)


def test_a_busy_machine_does_not_make_the_page_slow() -> None:
    assert pause_after([0.5, 0.01, 0.9, 0.3]) == INTERVAL  # one of them shows what a reading costs


def test_a_reading_scans_no_table_that_grows(conn: Connection, settings: Settings, town: Callable[..., Any]) -> None:
    rows = town()
    rows.add_vehicles(10_000)
    conn.execute("UPDATE vehicles SET created_cycle = 'old', updated_cycle = 'old'")
    rows.add_vehicles(20)
    rows.queue("dealer_000", 10_000)
    conn.execute(
        """INSERT INTO listing_records (source_id, source, remote_id, url, first_seen_at, first_cycle, changed_at,
               changed_cycle, content_hash, vehicle_id)
           SELECT %s, 'dealer_000', id, 'https://example.com/' || id, %s, 'old', %s, 'old', gen_random_uuid(), id
           FROM vehicles""",
        (rows.sources["dealer_000"], NOW, NOW),
    )
    conn.execute("ANALYZE")
    before = _scans(conn)
    snapshot(conn, settings, NOW)
    assert _scans(conn) == before


def _scans(conn: Connection) -> dict[str, int]:
    """How often each table that grows was read from end to end."""
    conn.execute("SELECT pg_stat_force_next_flush()")
    query = "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY(%s)"
    return dict(conn.execute(query, (list(BIG_TABLES),)).fetchall())


def test_every_text_of_the_web_is_escaped(conn: Connection, settings: Settings, town: Callable[..., Any]) -> None:
    rows = town()
    rows.add_vehicles(1, title='"><script>', image="https://example.com/'><script>.png")
    conn.execute("UPDATE vehicles SET make = NULL, city = '<script>', region = '<b>'")
    conn.execute("UPDATE scrape_sources SET config_error = '<script>'")
    overview = snapshot(conn, settings, NOW)
    renderer = Renderer(settings, Dagster("http://dagster"), can_act=True)
    panels = renderer.shared(Reading(overview, 0.01, (), "<script>", NOW))
    panels["sources"] = renderer.sources(overview, Sort(search=""))
    text = "".join(panels.values())
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 8


def test_actions_are_offered_only_where_there_is_a_token(
    conn: Connection, settings: Settings, town: Callable[..., Any]
) -> None:
    rows = town()
    rows.queue("dealer_000", 3, "dead")
    overview = snapshot(conn, settings, NOW)
    for can_act in (True, False):
        renderer = Renderer(settings, Dagster(None), can_act=can_act)
        reading = Reading(overview, 0.01, (), None, None)
        html = renderer.panel("top", reading=reading, title="x") + "".join(renderer.shared(reading).values())
        html += renderer.sources(overview, Sort())
        for deed in ("pause", "requeue", "run_cycle"):
            assert (f'data-do="{deed}"' in html) is can_act


def test_a_rate_below_the_mark_never_reads_as_the_mark() -> None:
    assert share(0.8999) == "89\N{NO-BREAK SPACE}%"
    assert share(0.9) == "90\N{NO-BREAK SPACE}%"
    assert share(0.29) == "29\N{NO-BREAK SPACE}%"
    assert share(None) == "–"
