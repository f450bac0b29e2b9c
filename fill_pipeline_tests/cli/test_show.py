"""``fill status`` and ``fill report``: the same figures for people and programs, and an exit status for scripts."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fill_pipeline.cli.app import app
from fill_pipeline.cli.show import BELOW_TARGET
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.figures import FIGURES
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.cycle.report import write_cycle_report
from fill_pipeline.cycle.summary import write_summaries
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, conn: Connection, database_url: str, tmp_path: Path) -> Settings:
    monkeypatch.setenv("FILL_HOME", str(tmp_path))
    monkeypatch.setenv("FILL_DATABASE_URL", database_url)
    return Settings()


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words])
    return result.exit_code, result.output


def cycle(conn: Connection, world: Settings, vehicles: int) -> tuple[str, datetime]:
    """This window's cycle, closed, with so many vehicles of its own; the day began with it."""
    now = utc_now()
    conn.execute("DELETE FROM fill_cycles")
    opened = ensure_open(conn, world, now=now)
    conn.execute(
        "INSERT INTO vehicles (created_at, created_cycle, updated_at, updated_cycle, completeness) "
        "SELECT now(), %(c)s, now(), %(c)s, 0.95 FROM generate_series(1, %(n)s)",
        {"c": opened.cycle_id, "n": vehicles},
    )
    write_cycle_report(conn, world, opened.cycle_id, now=now)
    write_summaries(conn, world, window_at(now).start.date(), now=now)
    return opened.cycle_id, now


def test_status_exits_with_3_below_target_and_0_otherwise(conn: Connection, world: Settings) -> None:
    assert run("status")[0] == 1  # nothing has run yet
    cycle_id, _ = cycle(conn, world, 7)
    code, said = run("status")
    assert code == BELOW_TARGET == 3
    assert "BELOW_TARGET: at this rate" in " ".join(said.replace("│", " ").split())
    conn.execute("UPDATE fill_cycles SET vehicles_added = 24000 WHERE cycle_id = %s", (cycle_id,))
    assert run("status")[0] == 0


def test_status_as_json_has_every_figure_and_the_criteria(conn: Connection, world: Settings) -> None:
    cycle_id, _ = cycle(conn, world, 7)
    code, said = run("status", "--json")
    assert code == BELOW_TARGET
    figures = json.loads(said)
    assert set(FIGURES) <= set(figures)
    assert (figures["cycle_id"], figures["vehicles_added"], figures["data_quality"]) == (cycle_id, 7, 0.95)
    assert figures["today_status"] == figures["criteria"]["day"]["vehicles"]["status"] == "BELOW_TARGET"
    assert figures["today_forecast_says"] == figures["criteria"]["day"]["vehicles"]["says"]


def test_report_is_printed_listed_and_written_as_a_page(conn: Connection, world: Settings, tmp_path: Path) -> None:
    assert run("report")[0] == 1
    cycle_id, now = cycle(conn, world, 7)
    code, said = run("report", cycle_id)
    assert (code, json.loads(said)["vehicles_added"]) == (0, 7)
    page = tmp_path / "page.html"
    assert run("report", "--html", str(page)) == (0, "")
    assert f"<h1>Cycle {cycle_id}</h1>" in page.read_text()
    assert run("report", "--kind", "daily", "--html", str(page))[0] == 0
    assert f"<h1>Day {now:%Y-%m-%d}</h1>" in page.read_text()
    assert "| vehicles_added | 7 |" in run("report", "--markdown")[1]
    (line,) = json.loads(run("report", "--list", "--json")[1])
    assert line == {"cycle": cycle_id, "vehicles_added": 7, "status": "BELOW_TARGET", "quality": 0.95}
    code, said = run("report", "2020-01-01", "--kind", "daily")
    assert code == 1
    assert run("report", "--html", str(tmp_path / "none" / "page.html"))[0] == 1
