"""The reports: what each cycle did, and the day, week and month it belongs to as they stand after it."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Protocol

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult, MetadataValue, asset

from fill_pipeline.assets.action import ActionConfig, carry_out
from fill_pipeline.assets.vehicles import VEHICLES, figures
from fill_pipeline.assets.windows import WINDOWS, cycle_of
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.report import CHARTED, recent_reports
from fill_pipeline.cycle.report_markdown import report_markdown
from fill_pipeline.cycle.state import ActionKind
from fill_pipeline.cycle.summary import write_daily, write_monthly, write_weekly
from fill_pipeline.cycle.window import window_of_key
from fill_pipeline.db import cycles
from fill_pipeline.db.connect import Connection
from fill_pipeline.resources import Fill
from fill_pipeline.settings import Settings

GROUP = "reports"


class Summary(Protocol):
    """Writes the summary of the period that holds ``day`` and returns it."""

    def __call__(self, conn: Connection, settings: Settings, day: date, *, now: datetime) -> dict[str, Any]: ...


@asset(
    deps=[VEHICLES],
    partitions_def=WINDOWS,
    group_name=GROUP,
    kinds={"json"},
    description="What a cycle did, reconciled against the tables. The plan asks for it to close the cycle. By hand, "
    "the report of a closed cycle is written again; of one still running it only shows how it stands.",
)
def fill_cycle_report(context: AssetExecutionContext, config: ActionConfig, fill: Fill) -> MaterializeResult[None]:
    if config.planned:
        return _shown(fill, carry_out(context, config, fill, ActionKind.CLOSE).report)
    with fill.connect("report") as conn:
        cycle = cycles.cycle(conn, cycle_of(context, conn))
        if cycle is None or cycle.status != "closed":
            return MaterializeResult(metadata=figures(conn, cycle.cycle_id if cycle else context.partition_key))
    from fill_pipeline.cycle.perform import close

    return _shown(fill, close(cycle.cycle_id, settings=fill.settings))


def _summary(name: str, write: Summary, upstream: AssetsDefinition, words: str) -> AssetsDefinition:
    @asset(name=name, deps=[upstream], partitions_def=WINDOWS, group_name=GROUP, kinds={"json"}, description=words)
    def summary(context: AssetExecutionContext, fill: Fill) -> MaterializeResult[None]:
        day = window_of_key(context.partition_key).start.date()
        with fill.connect(name) as conn:
            return _shown(fill, write(conn, fill.settings, day, now=utc_now()))

    return summary


daily_summary = _summary("daily_summary", write_daily, fill_cycle_report, "The day of a window, as it stands after it.")
weekly_summary = _summary("weekly_summary", write_weekly, daily_summary, "Its week, against the weekly targets.")
monthly_summary = _summary("monthly_summary", write_monthly, weekly_summary, "Its month, against the monthly targets.")
REPORTS = (fill_cycle_report, daily_summary, weekly_summary, monthly_summary)


def _shown(fill: Fill, report: dict[str, Any] | None) -> MaterializeResult[None]:
    """A report as metadata: its figures, and a page with tables and a chart."""
    if report is None:
        return MaterializeResult(metadata={"note": "another run writes it"})
    with fill.connect("report") as conn:
        page = report_markdown(report, recent_reports(conn, CHARTED) if "cycle_id" in report else ())
    words = {name: value for name, value in report.items() if isinstance(value, str)}
    return MaterializeResult(metadata={"report": MetadataValue.md(page), **words, **numbers(report)})


def numbers(report: Mapping[str, Any]) -> dict[str, int | float | bool]:
    """Every number of a report by name, one level deep, so that the UI plots each over time.

    A field's completeness is ``completeness price``, a criterion's value ``criterion quality``. Sources have assets
    of their own, and their figures there.
    """
    found = {name: value for name, value in report.items() if isinstance(value, int | float)}
    for name, quality in (report.get("quality_by_field") or {}).items():
        found |= {f"{kind} {name}": quality[kind] for kind in ("completeness", "accuracy") if quality[kind] is not None}
    for name, criterion in (report.get("criteria") or {}).items():
        if criterion["actual"] is not None:
            found[f"criterion {name}"] = criterion["actual"]
    return found
