"""``fill status`` and ``fill report``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fill_pipeline.cli.database import open_database
from fill_pipeline.cli.output import fail, print_json, print_table, say
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.forecast import Status
from fill_pipeline.cycle.report import CHARTED, recent_reports
from fill_pipeline.cycle.report_html import number, report_html, share
from fill_pipeline.cycle.report_markdown import report_markdown
from fill_pipeline.dashboard.snapshot import Overview, snapshot
from fill_pipeline.db import cycles
from fill_pipeline.settings import Settings

BELOW_TARGET = 3  # the exit status; 1 is an error, 2 wrong usage
MOST_ISSUES = 8


class ReportKind(StrEnum):
    """Which report."""

    CYCLE = "cycle"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


def status(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say how the fill stands: the open cycle, or the last one, and today. Exits with 3 when today is below target."""
    with open_database("status") as conn:
        seen = snapshot(conn, Settings(), utc_now())
    if seen.cycle is None:
        fail("no cycle has run yet; `fill cycle` runs one, `fill up` runs them every two hours")
    if json:
        print_json(_as_json(seen))
    else:
        title = f"cycle {seen.cycle.cycle_id}, {'running' if seen.cycle.open else 'ended'}"
        print_table(title, ("figure", "value", ""), _figures(seen))
        for issue in seen.measured.quality_issues[:MOST_ISSUES]:
            say(issue, bold="quality: ")
        for error in seen.cycle.errors:
            say(error, bold="error: ")
        for step in seen.cycle.next_steps:
            say(step, bold="next: ")
    if seen.today.status is Status.BELOW_TARGET:
        raise typer.Exit(BELOW_TARGET)


def _as_json(seen: Overview) -> dict[str, Any]:
    """Everything by the names it has in the reports; the criteria as the last summaries have them."""
    periods = {"day": seen.past.day, "week": seen.past.week, "month": seen.past.month}
    return {
        **seen.as_line(),
        **seen.measured.as_json(),
        "today_expected_by_now": seen.today.expected,
        "today_forecast_says": seen.today.says,
        "errors": list(seen.cycle.errors) if seen.cycle else [],
        "criteria": {name: report.get("criteria", {}) for name, report in periods.items()},
    }


def _figures(seen: Overview) -> list[Sequence[str]]:
    """Document 1's figures in its order, each with what it is measured against."""
    m, today = seen.measured, seen.today
    rows: list[Sequence[str]] = [
        ("vehicles added", number(m.vehicles_added), f"target {m.target:,}, " + _gap(m.vehicles_added, m.target)),
        (
            "vehicles queued",
            number(m.vehicles_queued),
            f"{m.queue_pending:,} wait, the next cycle needs {m.queue_needed:,}",
        ),
        ("data quality", share(m.data_quality), f"target {share(m.quality_target, 0)}"),
        (
            "active sources",
            number(m.sources_active),
            f"{m.sources_healthy} healthy, {m.sources_degraded} degraded, {m.sources_failing} failing",
        ),
        ("paused sources", number(m.sources_paused), "by a person, or in quarantine"),
        ("vehicles an hour", number(m.vehicles_per_hour), ""),
        ("pages an hour", number(m.queue_per_hour), ""),
        ("extraction success", share(m.extraction_success), "listing pages that showed a vehicle"),
        ("source reliability", share(m.reliability_7d), f"over 7 days; {share(m.reliability_30d)} over 30"),
        ("total vehicles", number(m.total_vehicles), ""),
        ("queue", number(m.queue_pending), f"{m.queue_processing:,} in work, {m.queue_dead:,} dead"),
        ("today", number(today.vehicles_added), f"{today.status.value}: {today.says}"),
    ]
    for name, report in (("this week", seen.past.week), ("this month", seen.past.month)):
        if report:
            rows.append((name, number(seen.added_in(report)), f"{report['status']}: {report['forecast_says']}"))
    if seen.incidents_open:
        rows.append(("open incidents", str(seen.incidents_open), "`fill incidents` lists them"))
    return rows


def _gap(added: int, target: int) -> str:
    return f"{target - added:,} to go" if added < target else f"{added - target:,} over"


def report(
    period: Annotated[
        str, typer.Argument(help="Which: a cycle id, 2025-12-24, 2025-W52, 2025-12; default: the last.")
    ] = "",
    kind: Annotated[ReportKind, typer.Option(help="Which sort of report.")] = ReportKind.CYCLE,
    list_: Annotated[bool, typer.Option("--list", help="Name the reports there are.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; a single report always is.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it for people.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write it as a page for people to this file.")] = None,
) -> None:
    """Print a report as it was written."""
    with open_database("report") as conn:
        known = cycles.reports(conn, kind, 100 if list_ else 1)
        if list_:
            rows = [_listed(kind, name, r) for name, r in known]
            if json:
                print_json(rows)
            else:
                print_table(
                    f"{kind} reports", (kind, "vehicles added", "status", "quality"), [[*r.values()] for r in rows]
                )
            return
        if not known:
            fail(f"there is no {kind} report yet; `fill cycle` writes one")
        found = cycles.report(conn, kind, period) if period else known[0][1]
        if found is None:
            fail(f"there is no {kind} report {period!r}; `fill report --kind {kind} --list` names those there are")
        recent = recent_reports(conn, CHARTED) if kind is ReportKind.CYCLE else []
    if html is not None:
        try:
            html.write_text(report_html(found, recent, written_at=utc_now()), encoding="utf-8")
        except OSError as error:
            fail(f"{html} could not be written: {error.strerror}")
    elif markdown:
        say(report_markdown(found, recent))
    else:
        print_json(found)


def _listed(kind: ReportKind, name: str, report: dict[str, Any]) -> dict[str, Any]:
    reached = Status.ON_TARGET if report.get("on_target") else Status.BELOW_TARGET
    return {
        kind.value: name,
        "vehicles_added": report["vehicles_added"],
        "status": report.get("status", reached.value),
        "quality": report.get("data_quality", report.get("avg_quality")),
    }
