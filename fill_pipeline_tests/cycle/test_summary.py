"""Days, weeks and months from the rows of their cycles; rows, files and pages of each."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from fill_pipeline.cycle.summary import write_daily, write_monthly, write_summaries, write_weekly
from fill_pipeline.db import cycles
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

START = datetime(2025, 12, 1, tzinfo=UTC)  # a Monday


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"home": tmp_path})


def fill(conn: Connection, n: int, added: str = "2000 + i", *, status: str = "'closed'") -> None:
    """Write the cycles of the first ``n`` windows; ``added`` and ``status`` are SQL over the window's number ``i``."""
    conn.execute(
        f"""INSERT INTO fill_cycles (cycle_id, started_at, completed_at, window_start, window_end, target, status,
                vehicles_added, vehicles_queued, data_quality_score, on_target, metadata, sources_active)
            SELECT to_char(w AT TIME ZONE 'UTC', 'YYYY-MM-DD-HH24:MI'), w, w + interval '50 minutes', w,
                w + interval '2 hours', 2000, {status}, {added}, 3000, 0.93, {added} >= 2000,
                '{{"queue_per_hour": 5000}}', 15
            FROM generate_series(0, %s - 1) i, LATERAL (SELECT %s + i * interval '2 hours') t (w)""",  # noqa: S608
        (n, START),
    )


def test_a_months_summaries_sum_to_the_rows_of_its_cycles(conn: Connection, world: Settings) -> None:
    fill(conn, 12 * 31)
    end = START + timedelta(days=31)
    month = write_monthly(conn, world, date(2025, 12, 31), now=end)
    days = [write_daily(conn, world, date(2025, 12, d), now=end) for d in range(1, 32)]
    row = conn.execute("SELECT sum(vehicles_added), sum(vehicles_queued), count(*) FROM fill_cycles").fetchone()
    assert row is not None
    assert (month["vehicles_added"], month["vehicles_queued"], month["cycles_completed"]) == row
    assert sum(day["vehicles_added"] for day in days) == row[0] == sum(b["vehicles_added"] for b in month["series"])
    assert (month["target"], month["status"]) == (720_000, "ON_TARGET")
    assert {name: c["status"] for name, c in month["criteria"].items()} == dict.fromkeys(
        ("vehicles", "growth", "quality", "quality_trend", "no_degradation"), "ON_TARGET"
    )
    week = write_weekly(conn, world, date(2025, 12, 3), now=end)
    assert week["vehicles_added"] == sum(day["vehicles_added"] for day in days[:7])
    assert (week["target"], week["criteria"]["new_sources"]["status"]) == (168_000, "BELOW_TARGET")
    assert set(week["criteria"]) == {"vehicles", "new_sources", "quality", "source_uptime"}


def test_what_searches_bring_between_cycles_counts_for_its_window_and_makes_no_cycle_more(
    conn: Connection, world: Settings
) -> None:
    fill(conn, 6, "1900")
    for n in (2, 3):
        conn.execute(
            "INSERT INTO fill_cycles (cycle_id, started_at, completed_at, window_start, window_end, target, status, "
            "vehicles_added, vehicles_queued, on_target, metadata) "
            "SELECT cycle_id || %s, started_at, completed_at, window_start, window_end, target, 'closed', "
            "60, 5, false, '{\"limited\": true}' FROM fill_cycles WHERE window_start = %s "
            "AND metadata ->> 'limited' IS NULL",
            [f"+{n}", START],
        )
    day = write_daily(conn, world, date(2025, 12, 1), now=START + timedelta(hours=12))
    assert (day["vehicles_added"], day["vehicles_queued"]) == (6 * 1900 + 120, 6 * 3000 + 10)
    assert (day["cycles_completed"], day["cycles_on_target"], len(day["series"])) == (6, 1, 6)


def test_a_day_short_of_its_pace_says_so_with_its_forecast(conn: Connection, world: Settings) -> None:
    fill(conn, 6, "1925")
    day = write_daily(conn, world, date(2025, 12, 1), now=START + timedelta(hours=11, minutes=55))
    assert (day["status"], day["forecast"]) == ("AT_RISK", 23_100)
    assert day["forecast_says"] == "at this rate 23,100 by midnight UTC, 900 short"
    assert day["criteria"]["stretch"]["status"] == "BELOW_TARGET"
    assert day["criteria"]["cycle_success"]["actual"] == 1.0


def test_the_first_cycle_of_a_day_writes_the_last_word_on_the_day_before(conn: Connection, world: Settings) -> None:
    fill(
        conn,
        14,
        status="CASE WHEN i = 11 THEN 'missed' ELSE 'closed' END",
        added="CASE WHEN i = 11 THEN 0 ELSE 2000 END",
    )
    write_daily(conn, world, date(2025, 12, 1), now=START + timedelta(hours=21))
    write_summaries(conn, world, date(2025, 12, 2), now=START + timedelta(hours=25))
    day = cycles.report(conn, "daily", "2025-12-01")
    assert day is not None
    assert (day["cycles_missed"], day["status"]) == (1, "BELOW_TARGET")
    assert day["forecast_says"] == "22,000 in the end, 2,000 short"
    assert day["criteria"]["cycle_success"]["status"] == "BELOW_TARGET"


def test_every_summary_is_a_row_a_file_and_a_page(conn: Connection, world: Settings) -> None:
    fill(conn, 3)
    write_summaries(conn, world, START.date(), now=START + timedelta(hours=6))
    for kind, period in (("daily", "2025-12-01"), ("weekly", "2025-W49"), ("monthly", "2025-12")):
        stored = cycles.report(conn, kind, period)
        assert stored is not None
        path = world.reports_folder / kind / f"{period}.json"
        assert json.loads(path.read_text()) == stored
        assert f"{stored['vehicles_added']:,} of" in path.with_suffix(".html").read_text()


def test_a_full_disk_costs_the_files_and_not_the_report(conn: Connection, world: Settings) -> None:
    (world.home / "reports").write_text("in the way")
    fill(conn, 3)
    write_daily(conn, world, START.date(), now=START + timedelta(hours=6))
    assert cycles.report(conn, "daily", "2025-12-01") is not None
