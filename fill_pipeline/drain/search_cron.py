"""Cron lines in a time zone: what is one, and when it last named a moment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

EXAMPLE = "0 */2 * * *"
_TICKS_BACK = 60  # ticks looked through for one that really happened
_DAYS_BACK = 40 * 366  # the rarest day, 29 February on a certain weekday, comes every 28 to 40 years
_MOST_DAYS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_STEP = re.compile(r"(\*|[^-/*]+-[^-/*]+)(?:/([1-9]\d{0,3}))?|([^-/*]+)")


class ScheduleError(ValueError):
    """A search's schedule or time zone cannot be read; the message says what is allowed."""


@dataclass(frozen=True)
class _Field:
    """One of the five fields of a line."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """What its values may be called, the first for ``low``."""

    def values(self, text: str) -> set[int]:
        """The values a field names, which are ``*``, numbers, ranges, steps of these, and lists; raises ValueError."""
        found: set[int] = set()
        for part in text.split(","):
            match = _STEP.fullmatch(part)
            if match is None:
                raise ValueError(part)
            span, step, single = match.groups()
            first, _, last = "-".join((single, single)).partition("-") if single else span.partition("-")
            low, high = (self.low, self.high) if span == "*" else (self._number(first), self._number(last))
            if low > high:
                raise ValueError(part)
            found.update(range(low, high + 1, int(step or 1)))
        return found

    def _number(self, text: str) -> int:
        if text.lower() in self.names:
            return self.low + self.names.index(text.lower())
        if not (text.isascii() and text.isdigit() and len(text) <= 2) or not self.low <= int(text) <= self.high:
            raise ValueError(text)
        return int(text)


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    _Field("weekday", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


@dataclass(frozen=True)
class _Line:
    """The values each field names; ``either`` is whether a day or a weekday is enough."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    steady: bool
    """Whether it goes on by the clock, hour after hour, rather than naming an hour of the day."""

    def before(self, moment: datetime) -> Iterator[datetime]:
        """The moments named at or before this one (without zones), the latest first."""
        for back in range(_DAYS_BACK):
            day = moment.date() - timedelta(days=back)
            if self._on(day):
                for hour in self.hours:
                    for minute in self.minutes:
                        named = datetime.combine(day, clock(hour, minute))
                        if named <= moment:
                            yield named

    def _on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either else of_month and of_week


def check_schedule(schedule: str, time_zone: str) -> None:
    """Raise ScheduleError unless the schedule is a cron line that happens and the zone an IANA name."""
    _read(schedule)
    _zone(time_zone)


def latest_tick(schedule: str, time_zone: str, now: datetime) -> datetime | None:
    """The last time (UTC) at or before ``now`` that the schedule names in its zone; None if there was none.

    As cron does it: a fixed hour runs once in the night the clocks go back and an hour later in the night
    they go forward; a schedule of every hour or every few minutes simply goes on. Where day and weekday are
    both given either is enough, unless one begins with ``*``. Raises ScheduleError.
    """
    line, zone = _read(schedule), _zone(time_zone)
    local = now.astimezone(zone).replace(tzinfo=None)
    ticks: list[datetime] = []
    for start in (local, local + timedelta(hours=1)):  # as clocks go back, what reads later may have been before
        for named in islice(line.before(start), _TICKS_BACK):
            found = [t for t in _instants(named, zone, line.steady) if t <= now]
            if found:
                ticks += found
                break
    return max(ticks, default=None)


@lru_cache(maxsize=1_000)
def _read(schedule: str) -> _Line:
    fields = schedule.split()
    told = f"schedule {schedule!r}"
    if len(fields) != len(_FIELDS):
        raise ScheduleError(
            f"{told} is not a cron line of five fields (minute, hour, day, month, weekday), such as {EXAMPLE!r}"
        )
    values = []
    for field, text in zip(_FIELDS, fields, strict=True):
        try:
            values.append(field.values(text))
        except ValueError:
            raise ScheduleError(
                f"{told}: {field.name} {text!r} is not a number from {field.low} to {field.high}, a range such as "
                f"'{field.low}-{field.low + 4}', a step such as '*/2', '*', or several of these with commas"
            ) from None
    minutes, hours, days, months, weekdays = values
    either = not (fields[2].startswith("*") or fields[4].startswith("*"))
    if min(days) > max(_MOST_DAYS.get(month, 31) for month in months) and not either:
        raise ScheduleError(f"{told}: day {fields[2]!r} is in no month {fields[3]!r}, so that it would never run")
    return _Line(
        tuple(sorted(minutes, reverse=True)),
        tuple(sorted(hours, reverse=True)),
        frozenset(days),
        frozenset(months),
        frozenset(day % 7 for day in weekdays),
        either,
        steady=fields[0].startswith("*") or fields[1].startswith("*"),
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ScheduleError(f"time zone {name!r} is not an IANA name, such as 'America/Los_Angeles'") from None


def _instants(naive: datetime, zone: ZoneInfo, steady: bool) -> list[datetime]:
    """When a local time happens: once; twice as clocks go back (for steady schedules); never as they go forward."""
    first, second = (naive.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if not steady:
        return [first]
    return [t for t in (first, second) if t.astimezone(zone).replace(tzinfo=None) == naive]
