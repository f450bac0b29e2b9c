"""Pace, forecast and status of days, weeks and months; time is an input."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from fill_pipeline.cycle import criteria
from fill_pipeline.cycle.forecast import Status, day_of, forecast, month_of, week_of
from fill_pipeline.db.cycles import ClosedCycle

DAY = day_of(date(2025, 12, 24))


def cycle(
    window: int, added: int = 2000, *, status: str = "closed", quality: float | None = 0.92, rate: float | None = 5000.0
) -> ClosedCycle:
    """The cycle of the window so many windows after the day's first."""
    start = DAY.start + timedelta(hours=2 * window)
    return ClosedCycle(
        start.strftime("%Y-%m-%d-%H:%M"), status, added, 3000, 15, 0, quality, added >= 2000, start,
        start + timedelta(hours=1), 2000, rate,
    )  # fmt: skip


def at(hours: float) -> datetime:
    return DAY.start + timedelta(hours=hours)


@pytest.mark.parametrize(
    ("added", "status", "says"),
    [
        (2000, Status.ON_TARGET, "at this rate 24,000 by midnight UTC, 0 over"),
        (1925, Status.AT_RISK, "at this rate 23,100 by midnight UTC, 900 short"),
        (1500, Status.BELOW_TARGET, "at this rate 18,000 by midnight UTC, 6,000 short"),
    ],
)
def test_a_day_is_forecast_from_its_pace(added: int, status: Status, says: str) -> None:
    ahead = forecast(DAY, [cycle(i, added) for i in range(6)], 24_000, at(12.5))
    assert (ahead.status, ahead.says, ahead.expected_by_now) == (status, says, 12_000)


def test_a_missed_cycle_lowers_the_pace_and_what_an_open_one_added_counts_without_raising_it() -> None:
    done = [cycle(i) for i in range(5)] + [cycle(5, 0, status="missed", quality=None)]
    ahead = forecast(DAY, done, 24_000, at(12.5), unfinished=700, open_since=at(12))
    assert (ahead.vehicles_added, ahead.forecast, ahead.status) == (10_700, 20_000, Status.AT_RISK)


def test_a_day_that_is_over_says_how_it_ended() -> None:
    done = [cycle(i, 1990) for i in range(12)]
    ahead = forecast(DAY, done, 24_000, at(24))
    assert (ahead.status, ahead.says) == (Status.BELOW_TARGET, "23,880 in the end, 120 short")


def test_before_a_window_is_over_nothing_is_due_and_a_closed_cycle_counts_at_once() -> None:
    begun = forecast(DAY, [], 24_000, at(0.5), unfinished=300, open_since=at(0))
    assert (begun.status, begun.forecast, begun.expected_by_now) == (Status.ON_TARGET, None, 0)
    closed = forecast(DAY, [cycle(0, 2100)], 24_000, at(0.7))
    assert (closed.forecast, closed.expected_by_now) == (25_200, 2000)


def test_a_first_day_is_forecast_from_the_first_cycle_and_judged_by_the_whole_target() -> None:
    ahead = forecast(DAY, [cycle(9, 2100)], 24_000, at(20.5))
    assert (ahead.forecast, ahead.status) == (6300, Status.BELOW_TARGET)  # 18:00, 20:00 and 22:00


def test_a_silent_morning_counts_as_nothing() -> None:
    ahead = forecast(DAY, [], 24_000, at(12))
    assert (ahead.forecast, ahead.status) == (0, Status.BELOW_TARGET)


def test_weeks_begin_on_monday_and_months_have_thirty_days_of_target() -> None:
    week, month = week_of(date(2025, 12, 31)), month_of(date(2025, 12, 31))
    assert (week.name, week.start.date(), week.target(2000)) == ("2026-W01", date(2025, 12, 29), 168_000)
    assert (month.name, month.end, month.target(2000)) == ("2025-12", datetime(2026, 1, 1, tzinfo=UTC), 720_000)


def test_cycle_success_counts_windows_and_says_whether_the_day_can_still_reach_it() -> None:
    good = [cycle(i) for i in range(6)]
    missed = cycle(3, 0, status="missed", quality=None)
    assert criteria.cycle_success(DAY, good, at(12)).status is Status.ON_TARGET
    extra = [*good, cycle(3)]  # a second cycle in a window, by hand, makes no success of a missed one
    assert criteria.cycle_success(DAY, extra, at(12)).says == "6 of 6 cycles were run to their end"
    late = [missed if i == 3 else cycle(i) for i in range(6)]
    found = criteria.cycle_success(DAY, late, at(12))
    assert (found.status, found.says) == (
        Status.BELOW_TARGET,
        "5 of 6 cycles were run to their end; 91.7% at best when the period ends",
    )
    week = week_of(date(2025, 12, 24))
    assert criteria.cycle_success(week, late, at(12)).status is Status.AT_RISK  # five of six, with 45 to come


def test_quality_is_at_risk_while_it_can_be_made_good() -> None:
    assert criteria.quality(0.91, 0.9, DAY, at(5)).status is Status.ON_TARGET
    assert criteria.quality(0.87, 0.9, DAY, at(5)).status is Status.AT_RISK
    assert criteria.quality(0.87, 0.9, DAY, at(24)).status is Status.BELOW_TARGET
    assert criteria.quality(None, 0.9, DAY, at(5)).status is None


def test_new_sources_and_uptime_of_a_week() -> None:
    week = week_of(date(2025, 12, 24))
    midweek = week.start + timedelta(days=3.5)
    assert criteria.new_sources(5, week, midweek).status is Status.ON_TARGET
    assert criteria.new_sources(4, week, midweek).says == "4 new sources; at this rate 8 by the end of Sunday UTC"
    assert criteria.new_sources(4, week, midweek).status is Status.AT_RISK
    assert criteria.new_sources(9, week, week.end).status is Status.BELOW_TARGET
    assert criteria.source_uptime(96, 100, week, midweek).status is Status.ON_TARGET
    assert criteria.source_uptime(92, 100, week, midweek).status is Status.AT_RISK
    assert criteria.source_uptime(80, 100, week, midweek).status is Status.BELOW_TARGET


def test_a_month_tells_growth_quality_and_degradation_from_its_halves() -> None:
    rising = [cycle(i, 2000 + 20 * i, quality=0.90 + 0.001 * i, rate=5000) for i in range(20)]
    assert criteria.growth(rising).status is Status.ON_TARGET
    assert criteria.quality_trend(rising, 0.9).status is Status.ON_TARGET
    assert criteria.no_degradation(rising).status is Status.ON_TARGET
    falling = [cycle(i, 2000 - 80 * i, quality=0.95 - 0.01 * i, rate=5000 - 240 * i) for i in range(20)]
    assert criteria.growth(falling).status is Status.BELOW_TARGET
    assert criteria.quality_trend(falling, 0.9).status is Status.BELOW_TARGET
    assert criteria.no_degradation(falling).status is Status.BELOW_TARGET
    assert criteria.growth(falling[:3]).status is None
