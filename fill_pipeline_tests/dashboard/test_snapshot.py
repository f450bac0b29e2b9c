"""The reading behind the dashboard, /metrics and ``fill status``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from fill_pipeline.cycle.figures import FIGURES
from fill_pipeline.cycle.forecast import Status
from fill_pipeline.cycle.report import write_cycle_report
from fill_pipeline.cycle.state import ActionKind
from fill_pipeline.cycle.summary import write_summaries
from fill_pipeline.dashboard.metrics import exposition
from fill_pipeline.dashboard.poller import Reading
from fill_pipeline.dashboard.snapshot import snapshot
from fill_pipeline.dashboard.source_view import SourceHealth
from fill_pipeline.db import cycles, language_model, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

NOW = datetime(2026, 3, 4, 13, 30, tzinfo=UTC)


def test_an_empty_database_has_an_overview(conn: Connection, settings: Settings) -> None:
    seen = snapshot(conn, settings, NOW)
    assert seen.cycle is None
    assert seen.totals["vehicles"] == 0
    assert seen.sources == ()
    assert seen.today.vehicles_added == 0
    assert seen.today.forecast is not None  # six windows passed without a vehicle
    assert seen.today.status is Status.BELOW_TARGET


def test_figures_equal_the_rows_they_count(conn: Connection, settings: Settings, town: Callable[..., Any]) -> None:
    rows = town()
    rows.add_vehicles(640)
    rows.queue("dealer_000", 35)
    rows.queue("dealer_003", 4, "dead")
    seen = snapshot(conn, settings, NOW)
    assert seen.cycle is not None
    assert seen.cycle.cycle_id == rows.cycle_id
    assert (seen.cycle.vehicles_added, seen.cycle.gap, seen.cycle.on_target) == (640, 1360, False)
    assert seen.cycle.vehicles_queued == 39
    assert (seen.totals["vehicles"], seen.totals["queue.pending"], seen.totals["queue.dead"]) == (640, 35, 4)
    assert {s.line.slug: (s.pending, s.dead) for s in seen.sources}["dealer_003"] == (0, 4)
    today = conn.execute("SELECT sum(vehicles_added) FROM fill_cycles WHERE window_start >= '2026-03-04'").fetchone()
    assert today is not None
    assert seen.today.vehicles_added == today[0] + 640
    assert seen.today.expected == 6 * settings.target
    assert seen.cycle.pages_fetched == sum(s.line.pages_fetched for s in seen.sources)


def test_what_the_language_model_was_asked_is_served_where_it_was(
    conn: Connection, settings: Settings, town: Callable[..., Any]
) -> None:
    rows = town()
    assert "fill_cycle_model" not in exposition(Reading(snapshot(conn, settings, NOW), 0.01, (), None, None))
    language_model.reserve(conn, rows.cycle_id, 700, language_model.Limits(9, 9_000, 5))
    served = exposition(Reading(snapshot(conn, settings, NOW), 0.01, (), None, None))
    assert "fill_cycle_model_requests 1\n" in served
    assert "fill_cycle_model_tokens 700\n" in served


def test_figures_move_when_rows_change(conn: Connection, settings: Settings, town: Callable[..., Any]) -> None:
    rows = town()
    before = snapshot(conn, settings, NOW)
    rows.add_vehicles(3)
    after = snapshot(conn, settings, NOW + timedelta(seconds=1), before)
    assert before.cycle is not None
    assert after.cycle is not None
    assert after.cycle.vehicles_added == before.cycle.vehicles_added + 3
    assert after.past is before.past  # what only a cycle's end changes is not read again


def test_the_past_is_read_again_when_a_cycle_ends(
    conn: Connection, settings: Settings, town: Callable[..., Any]
) -> None:
    rows = town()
    before = snapshot(conn, settings, NOW)
    conn.execute("UPDATE fill_cycles SET status = 'closed', completed_at = %s WHERE status = 'open'", (NOW,))
    after = snapshot(conn, settings, NOW, before)
    assert after.past is not before.past
    assert after.cycle is not None
    assert not after.cycle.open
    assert after.cycle.cycle_id == rows.cycle_id


def test_the_ladder_says_what_runs_and_what_comes_next(
    conn: Connection, settings: Settings, town: Callable[..., Any]
) -> None:
    rows = town()
    rows.act("drain", "done")
    rows.act("harvest", "running", run_id="run-1")
    seen = snapshot(conn, settings, NOW)
    assert seen.cycle is not None
    rungs = {rung.kind: rung for rung in seen.cycle.rungs}
    assert rungs[ActionKind.DRAIN].last is not None
    assert rungs[ActionKind.DRAIN].last.status == "done"
    assert rungs[ActionKind.HARVEST].last is not None
    assert rungs[ActionKind.HARVEST].last.run_id == "run-1"
    assert rungs[ActionKind.DISCOVER].last is None
    assert seen.cycle.next_steps
    assert seen.cycle.next_steps[0].startswith("discover: 2000 below target")


def test_a_cycle_that_only_drains_promises_nothing_else(
    conn: Connection, settings: Settings, town: Callable[..., Any]
) -> None:
    town()
    conn.execute("UPDATE fill_cycles SET metadata = metadata || '{\"limited\": true}' WHERE status = 'open'")
    seen = snapshot(conn, settings, NOW)
    assert seen.cycle is not None
    assert [step.partition(":")[0] for step in seen.cycle.next_steps] == ["close"]


def test_a_source_says_how_it_is_and_why(conn: Connection, settings: Settings, town: Callable[..., Any]) -> None:
    town()
    registry.set_active(conn, "dealer_000", False)
    sources = {s.line.slug: s for s in snapshot(conn, settings, NOW).sources}
    assert sources["dealer_000"].health is SourceHealth.PAUSED
    assert (sources["dealer_003"].health, sources["dealer_003"].reason) == (
        SourceHealth.FAILING,
        "dealer_003 is failing",
    )
    assert sources["dealer_003"].reliability == (0.0, 0.0)
    assert sources["dealer_001"].reliability == (1.0, 1.0)
    assert len(sources["dealer_001"].yields) == 13


def test_a_window_is_due_when_it_ends(conn: Connection, settings: Settings, town: Callable[..., Any]) -> None:
    town(closed=6)
    seen = snapshot(conn, settings, NOW).today
    assert seen.expected == 12_000
    assert seen.vehicles_added == sum(c.vehicles_added for c in seen.cycles)
    assert seen.forecast == round(seen.vehicles_added / 6 * 12)


def test_no_day_has_more_than_its_week_or_month(conn: Connection, settings: Settings, town: Callable[..., Any]) -> None:
    rows = town(closed=3)
    write_summaries(conn, settings, NOW.date(), now=NOW)
    rows.add_vehicles(700)
    seen = snapshot(conn, settings, NOW)
    assert seen.today.vehicles_added == sum(c.vehicles_added for c in seen.today.cycles) + 700
    assert seen.added_in(seen.past.week) == seen.added_in(seen.past.month) == seen.today.vehicles_added
    assert seen.added_in(seen.past.week | {"week": "2026-W09"}) == seen.past.week["vehicles_added"]


def test_an_open_cycle_shows_what_its_report_would_say_at_that_moment(
    conn: Connection, settings: Settings, town: Callable[..., Any]
) -> None:
    rows = town()
    rows.add_vehicles(640)
    rows.queue("dealer_000", 35)
    rows.queue("dealer_003", 4, "dead")
    conn.execute("UPDATE scrape_sources SET active = false WHERE slug = 'dealer_004'")
    seen = snapshot(conn, settings, NOW)
    report = write_cycle_report(conn, settings, rows.cycle_id, now=NOW)
    write_summaries(conn, settings, NOW.date(), now=NOW)
    at_the_end = {"quality_issues", "quality_by_field", "source_reliability", "reliability_7d", "reliability_30d"}
    at_the_end |= {f"sources_{health}" for health in ("healthy", "degraded", "failing")}  # judged anew
    live = seen.measured.as_json()
    for name in set(FIGURES) - at_the_end:
        assert live[name] == report[name], name
    assert (live["sources_active"], live["sources_paused"]) == (4, 1)
    after = snapshot(conn, settings, NOW, seen)
    assert {name: after.measured.as_json()[name] for name in FIGURES} == {name: report[name] for name in FIGURES}
    day = cycles.report(conn, "daily", "2026-03-04")
    assert day is not None
    assert (
        after.today.vehicles_added,
        after.today.forecast,
        after.today.expected,
        after.today.says,
        after.today.status,
    ) == ((day["vehicles_added"], day["forecast"], day["expected_by_now"], day["forecast_says"], day["status"]))
