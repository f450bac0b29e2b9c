"""Where a day, week or month will end: the pace so far, the forecast, and how that stands against the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from fill_pipeline.cycle.window import LENGTH, window_at

CYCLES_PER_DAY = timedelta(days=1) // LENGTH
DAILY_STRETCH = 50_000  # document 1: stretch goal, vehicles a day
MONTH_DAYS = 30  # document 1: 720,000 a month is 30 days of 24,000
AT_RISK = 0.8  # of the target, by the forecast


class Status(StrEnum):
    """How a period stands against its target."""

    ON_TARGET = "ON_TARGET"  # reached, or at the pace to reach it
    AT_RISK = "AT_RISK"  # a little behind the pace
    BELOW_TARGET = "BELOW_TARGET"  # missed, or far behind the pace


class Counted(Protocol):
    """A finished or missed cycle."""

    @property
    def window_start(self) -> datetime: ...
    @property
    def vehicles_added(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Period:
    """A day, week or month ``[start, end)`` in UTC; ``ends`` is its end in words."""

    name: str
    start: datetime
    end: datetime
    ends: str

    def target(self, per_cycle: int) -> int:
        """Vehicles to add in it; a month counts as thirty days."""
        days = MONTH_DAYS if self.end - self.start > timedelta(days=7) else (self.end - self.start).days
        return days * CYCLES_PER_DAY * per_cycle

    def passed(self, now: datetime) -> float:
        """How much of it is over, 0 to 1."""
        return min(1.0, max(0.0, (now - self.start) / (self.end - self.start)))


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where a period ends if the windows to come give what those in service gave; None before one is over."""

    vehicles_added: int
    target: int
    expected_by_now: int
    forecast: int | None
    status: Status
    says: str

    def as_json(self) -> dict[str, Any]:
        """The keys that reports have."""
        return {
            "target": self.target,
            "expected_by_now": self.expected_by_now,
            "forecast": self.forecast,
            "forecast_says": self.says,
        }


def day_of(day: date) -> Period:
    """That UTC day."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return Period(day.isoformat(), start, start + timedelta(days=1), "midnight UTC")


def week_of(day: date) -> Period:
    """The ISO week (Monday to Sunday, UTC) that holds ``day``."""
    start = day_of(day - timedelta(days=day.weekday())).start
    year, week, _ = day.isocalendar()
    return Period(f"{year}-W{week:02d}", start, start + timedelta(days=7), "the end of Sunday UTC")


def month_of(day: date) -> Period:
    """The calendar month (UTC) that holds ``day``."""
    start = datetime(day.year, day.month, 1, tzinfo=UTC)
    end = datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=UTC)
    return Period(f"{day:%Y-%m}", start, end, f"the end of {day:%B}")


def forecast(
    period: Period,
    finished: Sequence[Counted],
    target: int,
    now: datetime,
    *,
    unfinished: int = 0,
    open_since: datetime | None = None,
) -> Forecast:
    """Forecast a period from its finished and missed cycles, and what the open one has so far.

    A window's vehicles are due when it ends, or when its cycle is closed. The rate is taken over the windows since
    the first cycle of the period, so that a system's first day is not counted from before it existed; whether the
    target will be met is judged by the forecast all the same.
    """
    now = now.astimezone(UTC)
    added = sum(cycle.vehicles_added for cycle in finished)
    starts = {cycle.window_start for cycle in finished}
    total = (period.end - period.start) // LENGTH
    current = min(window_at(now).start, period.end)
    passed = {period.start + i * LENGTH for i in range(max(0, (current - period.start) // LENGTH))} | starts
    since = min([*starts, *([open_since] if open_since else [])], default=period.start)
    served = sum(start >= since for start in passed)
    left = total - len(passed)
    so_far = added + unfinished
    ahead = max(round(added + added / served * left), so_far) if served else None
    over = now >= period.end
    return Forecast(
        vehicles_added=so_far,
        target=target,
        expected_by_now=round(target * len(passed) / total),
        forecast=ahead,
        status=_status(so_far, ahead, target, over),
        says=_says(so_far, ahead, target, over, period.ends),
    )


def standing(actual: float, expected: float, reachable: bool) -> Status:
    """A figure against what it should be by now; ``reachable``: it can still become so."""
    if actual >= expected:
        return Status.ON_TARGET
    return Status.AT_RISK if reachable else Status.BELOW_TARGET


def _status(so_far: int, ahead: int | None, target: int, over: bool) -> Status:
    expected = so_far if over or ahead is None else ahead
    if expected >= target or (ahead is None and not over):
        return Status.ON_TARGET
    return standing(expected, target, not over and expected >= AT_RISK * target)


def _says(so_far: int, ahead: int | None, target: int, over: bool, ends: str) -> str:
    if over:
        return f"{so_far:,} in the end, {_against(so_far, target)}"
    if ahead is None:
        return f"{so_far:,} so far; no window is over yet"
    return f"at this rate {ahead:,} by {ends}, {_against(ahead, target)}"


def _against(value: int, target: int) -> str:
    return f"{target - value:,} short" if value < target else f"{value - target:,} over"
