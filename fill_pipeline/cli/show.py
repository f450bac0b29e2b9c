"""``fill status`` and ``fill report``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from fill_pipeline.cli.database import open_database
from fill_pipeline.cli.output import fail, print_json, print_table, stdout
from fill_pipeline.cycle.assess import assess
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.report import recent_reports, report_markdown
from fill_pipeline.db import cycles, ledger
from fill_pipeline.quality.metrics import evidence_of, issues, quality_rows
from fill_pipeline.settings import Settings


class ReportKind(StrEnum):
    """Which report."""

    CYCLE = "cycle"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


def status(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say how the fill stands: the open cycle, or the last one, and the totals."""
    settings = Settings()
    now = utc_now()
    with open_database("status") as conn:
        cycle = cycles.open_one(conn) or next(iter(cycles.latest(conn, 1)), None)
        if cycle is None:
            fail("no cycle has run yet; `fill cycle` runs one, `fill up` runs them every two hours")
        state = assess(conn, settings, cycle, now)
        rows = ledger.health(conn, cycle.cycle_id)
        wrong = issues(quality_rows(evidence_of(conn, cycle.cycle_id), settings))
        health = {s: sum(h.status == s for h in rows) for s in ("healthy", "degraded", "failing")}
    figures = {
        "cycle_id": state.cycle_id,
        "status": cycle.status,
        "vehicles_added": state.vehicles_added,
        "target": state.target,
        "gap": state.gap,
        "on_target": state.on_target,
        "vehicles_queued": state.vehicles_queued,
        "queue_pending": state.pending,
        "queue_processing": state.processing,
        "queue_dead": state.dead,
        "data_quality": (cycle.report or {}).get("data_quality", state.quality),
        "total_vehicles": state.total_vehicles,
        "sources_active": sum(s.crawlable for s in state.sources),
        **{f"sources_{name}": n for name, n in health.items()},
    }
    if json:
        print_json(figures | {"quality_issues": wrong})
    else:
        print_table(f"cycle {state.cycle_id}", ("figure", "value"), list(figures.items()))


def report(
    period: Annotated[
        str, typer.Argument(help="Which: a cycle id, 2025-12-24, 2025-W52, 2025-12; default: the last.")
    ] = "",
    kind: Annotated[ReportKind, typer.Option(help="Which sort of report.")] = ReportKind.CYCLE,
    list_: Annotated[bool, typer.Option("--list", help="Name the reports there are.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it for people.")] = False,
) -> None:
    """Print a report as it was written."""
    with open_database("report") as conn:
        known = cycles.reports(conn, kind, 100 if list_ else 1)
        if list_:
            rows = [
                (
                    name,
                    r["vehicles_added"],
                    r.get("on_target", r.get("status")),
                    r.get("data_quality", r.get("avg_quality")),
                )
                for name, r in known
            ]
            print_table(f"{kind} reports", (kind, "vehicles added", "on target", "quality"), rows)
            return
        if not known:
            fail(f"there is no {kind} report yet; `fill cycle` writes one")
        found = cycles.report(conn, kind, period) if period else known[0][1]
        if found is None:
            fail(f"there is no {kind} report {period!r}; `fill report --kind {kind} --list` names those there are")
        if markdown:
            stdout.print(
                report_markdown(found, recent_reports(conn, 12)), markup=False, highlight=False, soft_wrap=True
            )
        else:
            print_json(found)
