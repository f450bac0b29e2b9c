"""The reports of document 1: every cycle, day, week and month; as rows, as files, and as Markdown."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from fill_pipeline.cycle.accounting import Account, settle
from fill_pipeline.cycle.assess import assess
from fill_pipeline.cycle.plan import next_actions
from fill_pipeline.cycle.window import LENGTH, window_at
from fill_pipeline.db import cycles, language_model, ledger
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import ClosedCycle
from fill_pipeline.quality.metrics import issues
from fill_pipeline.settings import Settings

log = logging.getLogger(__name__)

CYCLES_PER_DAY = timedelta(days=1) // LENGTH
DAILY_STRETCH = 50_000  # document 1: stretch goal, vehicles a day
WEEKLY_NEW_SOURCES = 10  # document 1: new sources a week
CYCLE_SUCCESS = 0.95  # document 1: daily uptime
SOURCE_UPTIME = 0.95  # document 1: weekly reliability
MONTH_DAYS = 30  # document 1: 720,000 a month is 30 days of 24,000
AT_RISK = 0.8  # of the pace needed


class Status(StrEnum):
    """How a period stands against its target."""

    ON_TARGET = "ON_TARGET"  # reached, or at the pace to reach it
    AT_RISK = "AT_RISK"  # a little behind the pace
    BELOW_TARGET = "BELOW_TARGET"  # missed, or far behind the pace


def write_cycle_report(conn: Connection, settings: Settings, cycle_id: str, *, now: datetime) -> dict[str, Any]:
    """Settle a cycle's account, close it, and return its report (the keys of document 1 first, then ours).

    Raises:
        LookupError: there is no such cycle.
    """
    cycle = cycles.cycle(conn, cycle_id)
    if cycle is None:
        raise LookupError(f"cycle {cycle_id!r} does not exist; `fill report --list` names those that do")
    account = settle(conn, settings, cycle, now)
    state = assess(conn, settings, cycle, now)
    actions = cycles.actions(conn, cycle_id)
    errors = [f"does not reconcile: {mismatch}" for mismatch in account.mismatches]
    errors += [f"{a.action}/{a.level}/{a.attempt} failed: {a.error}" for a in actions if a.status == "failed"]
    todo = next_actions(state)
    completed_at = cycle.completed_at or now
    report = _cycle_report(account, completed_at)
    report |= {
        "gap": max(0, cycle.target - account.vehicles_added),
        "vehicles_touched": account.vehicles_touched,
        "vehicles_merged": account.vehicles_merged,
        "vehicles_per_hour": account.vehicles_per_hour,
        "queue_per_hour": account.queue_per_hour,
        "queued_for_next_target": account.pending >= cycle.target,
        "total_vehicles": account.total_vehicles,
        "queue_pending": account.pending,
        "queue_dead": account.dead,
        "sources_healthy": account.sources_healthy,
        "sources_failing": account.sources_failing,
        "extraction_success": account.extraction_success,
        "quality_by_field": {
            row.field_name: {"completeness": row.completeness, "accuracy": row.accuracy, "sample_size": row.sample_size}
            for row in account.quality_by_field
        },
        "quality_issues": issues(account.quality_by_field),
        "sources": [_source_line(account, slug) for slug in _slugs(account)],
        "language_model": _language_model(conn, cycle_id),
        "failures": [{"source": s, "category": c, "pages": n} for s, c, n in account.failures],
        "actions": [{"action": f"{a.action}/{a.level}", "status": a.status, "reason": a.reason} for a in actions],
        "next_actions": todo,
        "errors": errors,
        "reconciled": not account.mismatches,
    }
    cycles.close_cycle(
        conn,
        cycle_id,
        now=now,
        vehicles_added=account.vehicles_added,
        vehicles_queued=account.vehicles_queued,
        sources_active=account.sources_active,
        sources_discovered=account.sources_discovered,
        quality=account.quality,
        on_target=account.on_target,
        next_actions=todo,
        errors=errors,
        report=report,
        metadata={"revised_at": _iso(now)} if cycle.status == "closed" else {},
    )
    _keep(conn, settings, "cycle", cycle_id, report, now)
    return report


def write_daily(conn: Connection, settings: Settings, day: date, *, now: datetime) -> dict[str, Any]:
    """The summary of a UTC day so far (document 1's keys first, then pace and forecast)."""
    start, end = _day_bounds(day)
    done = cycles.period_cycles(conn, start, end)
    target = CYCLES_PER_DAY * settings.target
    report: dict[str, Any] = {
        "date": day.isoformat(),
        **_sums(done),
        "cycles_completed": sum(c.status == "closed" for c in done),
        "cycles_on_target": sum(c.on_target for c in done),
        "avg_quality": _mean([c.data_quality_score for c in done]),
        "sources_active": max((c.sources_active for c in done), default=0),
        "sources_discovered": sum(c.sources_discovered for c in done),
        "status": "",
    }
    added = int(report["vehicles_added"])
    passed = _passed(done, start, end, now)
    report["status"] = _status(added, target, passed)
    report |= _pace(added, target, passed)
    report |= {
        "stretch_target": DAILY_STRETCH,
        "stretch_reached": added >= DAILY_STRETCH,
        "cycles_missed": sum(c.status == "missed" for c in done),
        "cycle_success_rate": _share(sum(c.status == "closed" for c in done), len(done)),
        "cycle_success_target": CYCLE_SUCCESS,
        "quality_target": settings.quality_target,
    }
    _keep(conn, settings, "daily", day.isoformat(), report, now)
    return report


def write_weekly(conn: Connection, settings: Settings, day: date, *, now: datetime) -> dict[str, Any]:
    """The summary of the ISO week (Monday to Sunday, UTC) that holds ``day``, against document 1's weekly targets."""
    first = day - timedelta(days=day.weekday())
    start, end = _day_bounds(first)[0], _day_bounds(first + timedelta(days=6))[1]
    report: dict[str, Any] = {
        "week": f"{first.isocalendar().year}-W{first.isocalendar().week:02d}",
        "first_day": first.isoformat(),
    }
    report |= _period(conn, settings, start, end, 7 * CYCLES_PER_DAY * settings.target, now)
    up, checks = ledger.uptime(conn, start, end)
    report |= {
        "new_sources": cycles.discovered_between(conn, start, end),
        "new_sources_target": WEEKLY_NEW_SOURCES,
        "source_uptime": _share(up, checks),
        "source_uptime_target": SOURCE_UPTIME,
    }
    _keep(conn, settings, "weekly", report["week"], report, now)
    return report


def write_monthly(conn: Connection, settings: Settings, day: date, *, now: datetime) -> dict[str, Any]:
    """The summary of the calendar month (UTC) that holds ``day``, against document 1's monthly targets."""
    start = datetime(day.year, day.month, 1, tzinfo=UTC)
    end = datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=UTC)
    report: dict[str, Any] = {"month": f"{day:%Y-%m}"}
    report |= _period(conn, settings, start, end, MONTH_DAYS * CYCLES_PER_DAY * settings.target, now)
    report |= _growth(cycles.period_cycles(conn, start, end))
    _keep(conn, settings, "monthly", report["month"], report, now)
    return report


def write_summaries(conn: Connection, settings: Settings, day: date, *, now: datetime) -> None:
    """Bring the day's, week's and month's summaries up to date."""
    write_daily(conn, settings, day, now=now)
    write_weekly(conn, settings, day, now=now)
    write_monthly(conn, settings, day, now=now)


def report_markdown(report: dict[str, Any], recent: Sequence[dict[str, Any]]) -> str:
    """A report for people: its figures as a table, and the last cycles as a bar chart, newest last."""
    scalars = [(key, value) for key, value in report.items() if not isinstance(value, dict | list)]
    lines = ["| figure | value |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in scalars)]
    if recent:
        top = max([int(r["vehicles_added"]) for r in recent] + [int(r["target"]) for r in recent] + [1])
        lines += ["", "Vehicles added, last cycles (`|` marks the target):", "", "```"]
        for r in recent:
            bar = "█" * round(30 * int(r["vehicles_added"]) / top)
            mark = round(30 * int(r["target"]) / top)
            lines.append(
                f"{r['cycle_id']:<20} {bar:<30.30}"[: 21 + mark] + "|" + f"{bar:<30}"[mark:] + f" {r['vehicles_added']}"
            )
        lines.append("```")
    for title, key in (("Errors", "errors"), ("Quality issues", "quality_issues"), ("Next", "next_actions")):
        if report.get(key):
            lines += ["", f"**{title}**", "", *(f"- {_cell(line)}" for line in report[key])]
    return "\n".join(lines)


def _language_model(conn: Connection, cycle_id: str) -> dict[str, Any] | None:
    """What the language model was asked in a cycle and what came of it; None where it was not asked."""
    usage = language_model.usage(conn, cycle_id)
    if usage is None:
        return None
    return {"requests": usage.requests, "tokens": usage.tokens, "counts": usage.counts}


def recent_reports(conn: Connection, n: int) -> list[dict[str, Any]]:
    """The last cycle reports, oldest first."""
    return [row.report for row in reversed(cycles.latest(conn, n)) if row.report]


def _cycle_report(account: Account, completed_at: datetime) -> dict[str, Any]:
    """Exactly the keys of document 1's example."""
    cycle = account.cycle
    return {
        "cycle_id": cycle.cycle_id,
        "started_at": _iso(cycle.started_at),
        "completed_at": _iso(completed_at),
        "vehicles_added": account.vehicles_added,
        "vehicles_queued": account.vehicles_queued,
        "total_progress": account.vehicles_added + account.vehicles_queued,
        "target": cycle.target,
        "on_target": account.on_target,
        "data_quality": None if account.quality is None else round(account.quality, 4),
        "sources_active": account.sources_active,
        "sources_discovered": account.sources_discovered,
        "next_cycle": _iso(window_at(completed_at).end),
    }


def _source_line(account: Account, slug: str) -> dict[str, Any]:
    health = next((h for h in account.health if h.slug == slug), None)
    stats = next((a.stats for a in account.sources if a.slug == slug), None)
    line: dict[str, Any] = {"source": slug}
    if stats is not None:
        line |= {
            "pages": stats.pages_fetched,
            "failed": stats.pages_failed,
            "found": stats.found,
            "new": stats.new,
            "updated": stats.updated,
            "skipped": stats.skipped,
            "vehicles_added": stats.vehicles_added,
            "queued": stats.queued,
            "quality": None if stats.quality is None else round(stats.quality, 3),
        }
    if health is not None:
        line |= {"health": health.status, "reason": health.reason}
    if stats is not None and stats.notes:
        line["notes"] = stats.notes
    return line


def _slugs(account: Account) -> list[str]:
    return sorted({a.slug for a in account.sources} | {h.slug for h in account.health})


def _period(
    conn: Connection, settings: Settings, start: datetime, end: datetime, target: int, now: datetime
) -> dict[str, Any]:
    done = cycles.period_cycles(conn, start, end)
    sums, passed = _sums(done), _passed(done, start, end, now)
    return {
        **sums,
        "cycles_completed": sum(c.status == "closed" for c in done),
        "cycles_on_target": sum(c.on_target for c in done),
        "cycles_missed": sum(c.status == "missed" for c in done),
        "avg_quality": _mean([c.data_quality_score for c in done]),
        "quality_target": settings.quality_target,
        "sources_active": max((c.sources_active for c in done), default=0),
        "sources_discovered": sum(c.sources_discovered for c in done),
        "status": _status(sums["vehicles_added"], target, passed),
        **_pace(sums["vehicles_added"], target, passed),
    }


def _sums(done: Sequence[ClosedCycle]) -> dict[str, int]:
    return {
        "vehicles_added": sum(c.vehicles_added for c in done),
        "vehicles_queued": sum(c.vehicles_queued for c in done),
    }


def _pace(added: int, target: int, passed: float) -> dict[str, Any]:
    """Where the period will end if it goes on as it went so far."""
    forecast = round(added / passed) if passed > 0 else 0
    short = target - forecast
    words = f"{-short} over" if short <= 0 else f"{short} short"
    return {"target": target, "expected_by_now": round(target * passed), "forecast": forecast, "forecast_says": words}


def _status(added: int, target: int, passed: float) -> Status:
    if added >= target * passed:
        return Status.ON_TARGET
    return Status.AT_RISK if passed < 1 and added >= AT_RISK * target * passed else Status.BELOW_TARGET


def _passed(done: Sequence[ClosedCycle], start: datetime, end: datetime, now: datetime) -> float:
    """The share of a period that is accounted for, in windows: those that are over, and this one once it is closed."""
    current = window_at(now).start
    windows = (min(current, end) - start) // LENGTH + any(c.window_start == current for c in done)
    return min(1.0, windows / ((end - start) // LENGTH))


def _growth(done: Sequence[ClosedCycle]) -> dict[str, Any]:
    """How the second half of the month so far compares with the first."""
    half = len(done) // 2
    if half == 0:
        return {"growth": None, "quality_trend": None}
    first, second = done[:half], done[half:]
    before, after = _mean([float(c.vehicles_added) for c in first]), _mean([float(c.vehicles_added) for c in second])
    quality = [_mean([c.data_quality_score for c in part]) for part in (first, second)]
    return {
        "growth": None if not before or after is None else round(after / before - 1, 4),
        "quality_trend": None if None in quality else round((quality[1] or 0) - (quality[0] or 0), 4),
    }


def _day_bounds(day: date) -> tuple[datetime, datetime]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + timedelta(days=1)


def _keep(conn: Connection, settings: Settings, kind: str, period: str, report: dict[str, Any], now: datetime) -> None:
    cycles.save_report(conn, kind, period, report, now=now)
    folder: Path = settings.reports_folder / kind
    path = folder / f"{period.replace(':', '')}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    except OSError as error:  # a full disk: the row in the database is the report, the file a copy
        log.warning("the report %s could not be written: %s", path, error)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(sum(known) / len(known), 4) if known else None


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
