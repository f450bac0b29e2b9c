"""Today against its pace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from fill_pipeline.cycle.forecast import DAILY_STRETCH, Status, day_of, forecast
from fill_pipeline.db.overview import CycleLine
from fill_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Today:
    """The UTC day so far. ``forecast`` is where it ends if the windows to come give what the past ones gave.

    ``says`` is the forecast in words.
    """

    day: date
    vehicles_added: int
    target: int
    stretch: int
    expected: int
    forecast: int | None
    status: Status
    says: str
    cycles: tuple[CycleLine, ...]


def today(settings: Settings, lines: Sequence[CycleLine], unfinished: int, now: datetime) -> Today:
    """The day against its pace, as in the daily report; ``unfinished`` is what the open cycle added so far."""
    period = day_of(now.astimezone(UTC).date())
    own = [line for line in lines if period.start <= line.window_start < period.end]
    begun = next((line for line in own if line.status == "open"), None)
    ahead = forecast(
        period,
        [line for line in own if line.status != "open"],
        period.target(settings.target),
        now,
        unfinished=unfinished if begun is not None else 0,
        open_since=begun.window_start if begun else None,
    )
    return Today(
        day=period.start.date(),
        vehicles_added=ahead.vehicles_added,
        target=ahead.target,
        stretch=DAILY_STRETCH,
        expected=ahead.expected_by_now,
        forecast=ahead.forecast,
        status=ahead.status,
        says=ahead.says,
        cycles=tuple(reversed(own)),
    )
