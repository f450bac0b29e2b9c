"""The success criteria of document 1, each with its target, where it stands, and what that means, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from fill_pipeline.cycle.forecast import AT_RISK, DAILY_STRETCH, Forecast, Period, Status, forecast, standing
from fill_pipeline.cycle.window import LENGTH, window_at
from fill_pipeline.db.cycles import ClosedCycle

CYCLE_SUCCESS = 0.95  # document 1: daily uptime
WEEKLY_NEW_SOURCES = 10  # document 1: new sources a week
SOURCE_UPTIME = 0.95  # document 1: weekly reliability
NEARLY = 0.05  # so little below a share's target, it can still be made good in the rest of the period
STEADY = 0.95  # a later half not smaller than this share of the earlier one has not shrunk
SLOWER = 0.75  # ... and below this it has
LEAST_CYCLES = 4  # fewer have no trend


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion; ``status`` and ``actual`` are None while it cannot be measured."""

    name: str
    target: float
    actual: float | None
    status: Status | None
    says: str

    def as_json(self) -> dict[str, Any]:
        """Its keys in a report."""
        return {
            "target": self.target,
            "actual": None if self.actual is None else round(self.actual, 4),
            "status": None if self.status is None else str(self.status),
            "says": self.says,
        }


def vehicles(ahead: Forecast, name: str = "vehicles") -> Criterion:
    """Vehicles added against the period's target."""
    return Criterion(name, ahead.target, ahead.vehicles_added, ahead.status, ahead.says)


def stretch(period: Period, done: Sequence[ClosedCycle], now: datetime) -> Criterion:
    """Vehicles added against the day's stretch goal."""
    return vehicles(forecast(period, done, DAILY_STRETCH, now), "stretch")


def quality(average: float | None, target: float, period: Period, now: datetime) -> Criterion:
    """The average quality of the period's cycles."""
    if average is None:
        return Criterion("quality", target, None, None, "no cycle measured quality yet")
    over = now >= period.end
    status = standing(average, target, not over and average >= target - NEARLY)
    words = f"{average:.1%} on average, {abs(average - target) * 100:.1f} points {_side(average, target)} the target"
    return Criterion("quality", target, average, status, words)


def cycle_success(period: Period, done: Sequence[ClosedCycle], now: datetime) -> Criterion:
    """The share of the period's windows whose cycle was run to its end; windows before the first cycle do not count."""
    closed = {cycle.window_start for cycle in done if cycle.status == "closed"}
    missed = {cycle.window_start for cycle in done} - closed
    tried = len(closed) + len(missed)
    if not tried:
        return Criterion("cycle_success", CYCLE_SUCCESS, None, None, "no cycle is over yet")
    seen = max([window_at(now).start, *(start + LENGTH for start in closed | missed)])
    left = max(0, (period.end - seen) // LENGTH)
    share, best = len(closed) / tried, (len(closed) + left) / (tried + left)
    words = f"{len(closed)} of {tried} cycles were run to their end"
    if share < CYCLE_SUCCESS and left:
        words += f"; {best:.1%} at best when the period ends"
    return Criterion(
        "cycle_success", CYCLE_SUCCESS, share, standing(share, CYCLE_SUCCESS, best >= CYCLE_SUCCESS), words
    )


def new_sources(found: int, period: Period, now: datetime) -> Criterion:
    """Sources discovered and taken into work in a week."""
    passed = period.passed(now)
    ahead = found / passed if passed else float(found)
    over = passed >= 1
    status = standing(found if over else ahead, WEEKLY_NEW_SOURCES, not over and ahead >= AT_RISK * WEEKLY_NEW_SOURCES)
    if found >= WEEKLY_NEW_SOURCES:
        status, words = Status.ON_TARGET, f"{found} new sources"
    elif over:
        words = f"{found} new sources, {WEEKLY_NEW_SOURCES - found} short"
    else:
        words = f"{found} new sources; at this rate {ahead:.0f} by {period.ends}"
    return Criterion("new_sources", WEEKLY_NEW_SOURCES, found, status, words)


def source_uptime(up: int, checks: int, period: Period, now: datetime) -> Criterion:
    """Of the health checks of a period, the share that did not find the source failing."""
    if not checks:
        return Criterion("source_uptime", SOURCE_UPTIME, None, None, "no source was checked yet")
    share = up / checks
    status = standing(share, SOURCE_UPTIME, now < period.end and share >= SOURCE_UPTIME - NEARLY)
    return Criterion(
        "source_uptime", SOURCE_UPTIME, share, status, f"{checks - up:,} of {checks:,} checks found a failing source"
    )


def growth(done: Sequence[ClosedCycle]) -> Criterion:
    """Vehicles a cycle in the later half of the period so far, as a change against the earlier half."""
    halves = _halves([float(cycle.vehicles_added) for cycle in done])
    if halves is None or not halves[0]:
        return Criterion("growth", 0.0, None, None, "too few cycles to see a trend")
    before, after = halves
    ratio = after / before
    words = f"{after:,.0f} vehicles a cycle in the later half, {before:,.0f} in the earlier"
    return Criterion("growth", 0.0, ratio - 1, standing(ratio, STEADY, ratio >= SLOWER), words)


def quality_trend(done: Sequence[ClosedCycle], target: float) -> Criterion:
    """The change of quality from the earlier half to the later; good where it rises, or stays above the target."""
    halves = _halves([cycle.data_quality_score for cycle in done if cycle.data_quality_score is not None])
    if halves is None:
        return Criterion("quality_trend", 0.0, None, None, "too few cycles to see a trend")
    before, after = halves
    good = after >= target or after >= before
    status = Status.ON_TARGET if good else standing(after, before, after >= target - NEARLY)
    return Criterion(
        "quality_trend", 0.0, after - before, status, f"{after:.1%} in the later half, {before:.1%} in the earlier"
    )


def no_degradation(done: Sequence[ClosedCycle]) -> Criterion:
    """Pages processed an hour (the median cycle) in the later half of the period, as a change against the earlier."""
    rates = [cycle.queue_per_hour for cycle in done if cycle.queue_per_hour]
    half = len(rates) // 2
    if len(rates) < LEAST_CYCLES:
        return Criterion("no_degradation", 0.0, None, None, "too few cycles to see a trend")
    before, after = median(rates[:half]), median(rates[half:])
    ratio = after / before
    words = f"{after:,.0f} pages an hour in the later half, {before:,.0f} in the earlier"
    return Criterion("no_degradation", 0.0, ratio - 1, standing(ratio, STEADY, ratio >= SLOWER), words)


def _halves(values: Sequence[float]) -> tuple[float, float] | None:
    """The means of the earlier and the later half; None for too few."""
    half = len(values) // 2
    if len(values) < LEAST_CYCLES:
        return None
    return sum(values[:half]) / half, sum(values[half:]) / (len(values) - half)


def _side(value: float, target: float) -> str:
    return "above" if value >= target else "below"
