"""A week of 84 cycles with planted incidents: each is told once and closed, none is invented, every report adds up."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from fill_pipeline.db import cycles, vitals
from fill_pipeline_tests.alerts.receivers import Receiver
from fill_pipeline_tests.alerts.rows import Rows
from fill_pipeline_tests.alerts.test_delivery import hooked

CYCLES = 84
FAILS = {"alpha": range(10, 16), "beta": range(40, 42)}  # by source, the cycles in which it fails
ONCE = {"gamma": (5, 50, 70)}  # single failures: nobody is told
POOR = range(60, 64)
SHORT = range(25, 29)
MISSED = range(33, 36)
WRONG = range(75, 77)
SILENT = 55
DEAD = range(20, 23)


def test_every_planted_incident_of_a_week_is_told_once_and_closed_and_none_is_invented(
    rows: Rows, receiver: Receiver, tmp_path: Path
) -> None:
    for name in ("alpha", "beta", "gamma", "delta"):
        rows.source(name)
    rows.settings = hooked(rows.settings, receiver, target=rows.target, home=tmp_path)
    for number in range(CYCLES):
        receiver.status = 503 if 41 <= number < 44 else 200  # the receiver is away for six hours
        if number in MISSED:
            rows.look(rows.after(number - 1, 30))  # the sensor notices while nothing runs
            continue
        if number in (DEAD.start, DEAD.stop):
            rows.conn.execute("INSERT INTO counters VALUES ('queue.dead', '', %s)", [3000 if number in DEAD else -3000])
        failing = [s for s, when in (*FAILS.items(), *ONCE.items()) if number in when]
        noise = number * 7 % 5 / 500
        key = rows.worked(
            number,
            added=60 if number in SHORT else 100 + number % 9,
            quality=(0.8 if number in POOR else 0.955) + noise,
            failing=failing,
        )
        for name in ("price_range", "counters_reconcile"):
            passed = number not in WRONG or name != "price_range"
            vitals.save_check(
                rows.conn, key, name, passed=passed, severity="critical", words="", now=rows.after(number)
            )
        error = "no sign of life since then" if number == SILENT else None
        rows.action(key, "harvest", status="failed" if error else "done", at=rows.after(number, -60), error=error)
        rows.look(rows.after(number, -10))  # the cycle's close
        for minutes in (-8, 5):  # the sensor
            rows.look(rows.after(number, minutes))
    rows.look(rows.after(CYCLES - 1, 10) + timedelta(seconds=1))
    planted = {
        ("source_failing", "alpha"), ("source_failing", "beta"), ("quality_falling", ""), ("below_target", ""),
        ("missed_cycle", ""), ("check_failed", "price_range"), ("silent_job", "harvest"), ("dead_rows", ""),
    }  # fmt: skip
    assert sorted(rows.alerts()) == sorted((event, *what) for what in planted for event in ("opened", "resolved"))
    assert rows.open() == []
    got = [(one["event"], one["incident"]["kind"], one["incident"]["subject"]) for one in receiver.got]
    assert sorted(got) == sorted(rows.alerts())
    [missed_for] = [one["incident"]["seconds"] for one in receiver.got if one["incident"]["kind"] == "missed_cycle"
                    and one["event"] == "resolved"]  # fmt: skip
    assert 6 * 3600 <= missed_for <= 8 * 3600
    _adds_up(rows)


def _adds_up(rows: Rows) -> None:
    """Every report of the week says what the tables say."""
    written = dict(cycles.reports(rows.conn, "cycle", 100))
    assert len(written) == CYCLES - len(MISSED)
    by_cycle = dict(rows.conn.execute("SELECT created_cycle, count(*) FROM vehicles GROUP BY 1").fetchall())
    assert {name: report["vehicles_added"] for name, report in written.items()} == by_cycle
    assert [name for name, report in written.items() if not report["reconciled"]] == []
    judged = "SELECT cycle_id, count(*) FILTER (WHERE status = 'failing') FROM source_health GROUP BY 1"
    health = dict(rows.conn.execute(judged).fetchall())
    assert {name: report["sources_failing"] for name, report in written.items()} == health
    sums = "SELECT to_char(window_start AT TIME ZONE 'UTC', %s), sum(vehicles_added) FROM fill_cycles GROUP BY 1"
    for kind, name in (("daily", "YYYY-MM-DD"), ("weekly", 'IYYY-"W"IW'), ("monthly", "YYYY-MM")):
        summaries = {name: report["vehicles_added"] for name, report in cycles.reports(rows.conn, kind, 100)}
        assert summaries == dict(rows.conn.execute(sums, [name]).fetchall()), kind
