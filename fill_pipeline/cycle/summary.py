"""The summaries of document 1: a day, a week, a month, each against its success criteria."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from fill_pipeline.cycle import criteria
from fill_pipeline.cycle.criteria import Criterion
from fill_pipeline.cycle.forecast import CYCLES_PER_DAY, DAILY_STRETCH, day_of, forecast, month_of, week_of
from fill_pipeline.cycle.report import keep
from fill_pipeline.db import cycles, ledger
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import ClosedCycle
from fill_pipeline.settings import Settings


def write_daily(conn: Connection, settings: Settings, day: date, *, now: datetime) -> dict[str, Any]:
    """The summary of a UTC day so far (document 1's keys first, then pace, forecast and criteria)."""
    period = day_of(day)
    done = cycles.period_cycles(conn, period.start, period.end)
    ahead = forecast(period, done, period.target(settings.target), now)
    sums = _sums(done)
    success = criteria.cycle_success(period, done, now)
    report: dict[str, Any] = {
        "date": period.name,
        "vehicles_added": sums["vehicles_added"],
        "vehicles_queued": sums["vehicles_queued"],
        "cycles_completed": sums["cycles_completed"],
        "cycles_on_target": sums["cycles_on_target"],
        "avg_quality": sums["avg_quality"],
        "sources_active": sums["sources_active"],
        "sources_discovered": sums["sources_discovered"],
        "status": str(ahead.status),
        **ahead.as_json(),
        "stretch_target": DAILY_STRETCH,
        "stretch_reached": ahead.vehicles_added >= DAILY_STRETCH,
        "cycles_missed": sums["cycles_missed"],
        "cycle_success_rate": success.as_json()["actual"],
        "cycle_success_target": success.target,
        "quality_target": settings.quality_target,
        "criteria": _criteria(
            criteria.vehicles(ahead),
            criteria.stretch(period, done, now),
            criteria.quality(sums["avg_quality"], settings.quality_target, period, now),
            success,
        ),
        "series": [_bar(c.cycle_id[11:], [c], c.target) for c in done],
    }
    keep(conn, settings, "daily", period.name, report, now)
    return report


def write_weekly(conn: Connection, settings: Settings, day: date, *, now: datetime) -> dict[str, Any]:
    """The summary of the ISO week (Monday to Sunday, UTC) that holds ``day``, against document 1's weekly targets."""
    period = week_of(day)
    done = cycles.period_cycles(conn, period.start, period.end)
    ahead = forecast(period, done, period.target(settings.target), now)
    sums = _sums(done)
    found = cycles.discovered_between(conn, period.start, period.end)
    uptime = criteria.source_uptime(*ledger.uptime(conn, period.start, period.end), period, now)
    report: dict[str, Any] = {
        "week": period.name,
        "first_day": period.start.date().isoformat(),
        **sums,
        "quality_target": settings.quality_target,
        "status": str(ahead.status),
        **ahead.as_json(),
        "new_sources": found,
        "new_sources_target": criteria.WEEKLY_NEW_SOURCES,
        "source_uptime": uptime.as_json()["actual"],
        "source_uptime_target": uptime.target,
        "criteria": _criteria(
            criteria.vehicles(ahead),
            criteria.new_sources(found, period, now),
            criteria.quality(sums["avg_quality"], settings.quality_target, period, now),
            uptime,
        ),
        "series": _days(done, settings),
    }
    keep(conn, settings, "weekly", period.name, report, now)
    return report


def write_monthly(conn: Connection, settings: Settings, day: date, *, now: datetime) -> dict[str, Any]:
    """The summary of the calendar month (UTC) that holds ``day``, against document 1's monthly targets."""
    period = month_of(day)
    done = cycles.period_cycles(conn, period.start, period.end)
    ahead = forecast(period, done, period.target(settings.target), now)
    sums = _sums(done)
    growth, trend = criteria.growth(done), criteria.quality_trend(done, settings.quality_target)
    report: dict[str, Any] = {
        "month": period.name,
        **sums,
        "quality_target": settings.quality_target,
        "status": str(ahead.status),
        **ahead.as_json(),
        "growth": growth.as_json()["actual"],
        "quality_trend": trend.as_json()["actual"],
        "criteria": _criteria(
            criteria.vehicles(ahead),
            growth,
            criteria.quality(sums["avg_quality"], settings.quality_target, period, now),
            trend,
            criteria.no_degradation(done),
        ),
        "series": _days(done, settings),
    }
    keep(conn, settings, "monthly", period.name, report, now)
    return report


def write_summaries(conn: Connection, settings: Settings, day: date, *, now: datetime) -> None:
    """Bring the day's, week's and month's summaries up to date, and once more those of the day before.

    A period's last word is written by the first cycle after it.
    """
    before = day - timedelta(days=1)
    if cycles.report(conn, "daily", day.isoformat()) is None and cycles.report(conn, "daily", before.isoformat()):
        write_daily(conn, settings, before, now=now)
        if week_of(before).name != week_of(day).name:
            write_weekly(conn, settings, before, now=now)
        if month_of(before).name != month_of(day).name:
            write_monthly(conn, settings, before, now=now)
    write_daily(conn, settings, day, now=now)
    write_weekly(conn, settings, day, now=now)
    write_monthly(conn, settings, day, now=now)


def _sums(done: Sequence[ClosedCycle]) -> dict[str, Any]:
    return {
        "vehicles_added": sum(c.vehicles_added for c in done),
        "vehicles_queued": sum(c.vehicles_queued for c in done),
        "cycles_completed": sum(c.status == "closed" for c in done),
        "cycles_on_target": sum(c.on_target for c in done),
        "cycles_missed": sum(c.status == "missed" for c in done),
        "avg_quality": _mean([c.data_quality_score for c in done]),
        "sources_active": max((c.sources_active for c in done), default=0),
        "sources_discovered": sum(c.sources_discovered for c in done),
    }


def _criteria(*found: Criterion) -> dict[str, Any]:
    return {criterion.name: criterion.as_json() for criterion in found}


def _days(done: Sequence[ClosedCycle], settings: Settings) -> list[dict[str, Any]]:
    by_day = groupby(done, key=lambda c: c.window_start.date())
    return [_bar(f"{day:%a %d}", list(cycles_), CYCLES_PER_DAY * settings.target) for day, cycles_ in by_day]


def _bar(label: str, done: Sequence[ClosedCycle], target: int) -> dict[str, Any]:
    """One bar of a period's chart."""
    return {
        "label": label,
        "vehicles_added": sum(c.vehicles_added for c in done),
        "target": target,
        "quality": _mean([c.data_quality_score for c in done]),
        "missed": sum(c.status == "missed" for c in done),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(sum(known) / len(known), 4) if known else None
