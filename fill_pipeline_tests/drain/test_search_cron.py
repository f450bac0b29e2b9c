"""Promises of cron lines: what is one, in words that help, and which moments it names in its zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fill_pipeline.drain.search_cron import ScheduleError, check_schedule, latest_tick
from fill_pipeline_tests.drain.search_week import named_minutes

NOW = datetime(2026, 3, 2, 9, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "zone", "now", "tick"),
    [
        ("0 */2 * * *", "UTC", "2026-03-02T09:07", "2026-03-02T08:00"),
        ("0 8 * * *", "America/Los_Angeles", "2026-01-10T17:00", "2026-01-10T16:00"),
        ("0 8 * * *", "America/Los_Angeles", "2026-01-10T15:59", "2026-01-09T16:00"),
        ("0 */15 * * *", "UTC", "2026-03-02T14:59", "2026-03-02T00:00"),  # hours 0 and 15, whatever its author meant
        ("*/15 * * * *", "UTC", "2026-03-02T14:59", "2026-03-02T14:45"),
        ("0 8 * * *", "UTC", "2026-03-02T08:00", "2026-03-02T08:00"),
    ],
)
def test_a_tick_is_what_cron_says_in_the_searchs_zone(schedule: str, zone: str, now: str, tick: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert latest_tick(schedule, zone, at) == datetime.fromisoformat(tick).replace(tzinfo=UTC)


def _ticks(schedule: str, zone: str, start: datetime, minutes: int) -> list[datetime]:
    found = {latest_tick(schedule, zone, start + timedelta(minutes=m)) for m in range(minutes)}
    return sorted(t for t in found if t is not None and t >= start)


def test_a_fixed_hour_runs_once_in_the_night_the_clocks_go_back() -> None:
    # New York, 1 November 2026: 01:30 happens at 05:30 and at 06:30 UTC.
    night = datetime(2026, 11, 1, 0, 0, tzinfo=UTC)
    assert _ticks("30 1 * * *", "America/New_York", night, 24 * 60) == [datetime(2026, 11, 1, 5, 30, tzinfo=UTC)]


def test_every_quarter_of_an_hour_goes_on_through_the_night_the_clocks_go_back() -> None:
    night = datetime(2026, 11, 1, 4, 0, tzinfo=UTC)
    assert len(_ticks("*/15 * * * *", "America/New_York", night, 4 * 60)) == 16


def test_an_hour_that_does_not_happen_runs_once_an_hour_later() -> None:
    # New York, 8 March 2026: the clocks go from 02:00 to 03:00 at 07:00 UTC.
    night = datetime(2026, 3, 8, 4, 0, tzinfo=UTC)
    assert _ticks("30 2 * * *", "America/New_York", night, 12 * 60) == [datetime(2026, 3, 8, 7, 30, tzinfo=UTC)]


@settings(max_examples=60, deadline=None)
@given(
    schedule=st.sampled_from(["0 */2 * * *", "*/15 * * * *", "30 1 * * *", "0 8 * * 1-5", "5 0 1 * *", "0 0 29 2 *"]),
    zone=st.sampled_from(["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    now=st.integers(0, 4 * 366 * 24 * 60).map(lambda minutes: NOW + timedelta(minutes=minutes - 1_000_000)),
)
def test_ticks_never_lie_ahead_and_never_go_back(schedule: str, zone: str, now: datetime) -> None:
    at = now
    tick = latest_tick(schedule, zone, at)
    assert tick is not None
    assert tick <= at
    assert latest_tick(schedule, zone, tick) == tick
    later = latest_tick(schedule, zone, at + timedelta(minutes=37))
    assert later is not None
    assert later >= tick


@pytest.mark.parametrize("schedule", ["", "every two hours", "0 25 * *", "0 0 * * * *", "@daily"])
def test_what_has_not_five_fields_is_no_schedule(schedule: str) -> None:
    with pytest.raises(ScheduleError, match="five fields"):
        check_schedule(schedule, "UTC")


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ("61 * * * *", "minute '61' is not a number from 0 to 59"),
        ("0 25 * * *", "hour '25'"),
        ("0 22-2 * * *", "hour '22-2'"),
        ("*/0 * * * *", "minute '*/0'"),
        ("1/5 * * * *", "minute '1/5'"),
        ("0 0 L * *", "day 'L'"),  # what other schedulers add to cron
        ("0 0 ? * *", "day '?'"),
        ("R R * * *", "minute 'R'"),
        ("0 0 * 13 *", "month '13'"),
        ("0 0 * * 8", "weekday '8'"),
        ("0 0 * * 5#2", "weekday '5#2'"),
        ("0 0 30 2 *", "would never run"),
        ("0 0 31 4,jun,9 *", "would never run"),
    ],
)
def test_a_field_cron_does_not_know_is_named_with_what_it_may_be(schedule: str, told: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        check_schedule(schedule, "UTC")
    assert told in str(refused.value)
    assert repr(schedule) in str(refused.value)


@pytest.mark.parametrize("schedule", ["0 0 29 2 *", "0 0 31 2 1", "0 0 * jan-MAR mon", "0-30/10,45 8 * * 7"])
def test_whatever_cron_knows_is_a_schedule(schedule: str) -> None:
    check_schedule(schedule, "UTC")


def test_a_zone_that_is_none_is_refused() -> None:
    for zone in ("Mars/Olympus", "PST8", "", "../../etc/passwd", "America"):
        with pytest.raises(ScheduleError, match="IANA"):
            check_schedule("0 8 * * *", zone)


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    spans = st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}")
    stepped = st.tuples(st.one_of(st.just("*"), spans), st.integers(1, 9)).map(lambda s: f"{s[0]}/{s[1]}")
    parts = st.lists(st.one_of(number.map(str), spans, stepped), min_size=1, max_size=2).map(",".join)
    return st.one_of(st.just("*"), parts)


@settings(max_examples=25, deadline=None)
@given(
    schedule=st.tuples(_field(0, 59), _field(0, 23), _field(1, 28), st.just("*"), _field(0, 7)).map(" ".join),
    zone=st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe"]),
    start=st.sampled_from([datetime(2026, 3, 7, 20, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC), NOW]),
)
def test_every_tick_is_a_minute_the_line_names(schedule: str, zone: str, start: datetime) -> None:
    named = named_minutes(schedule, zone, start, start + timedelta(hours=12))
    for at in (start + timedelta(minutes=53 * n) for n in range(1, 13)):
        tick = latest_tick(schedule, zone, at)
        expected = [t for t in named if t <= at]
        if expected:
            assert tick == expected[-1]
        else:
            assert tick is None or tick <= start


def test_the_zone_database_is_there() -> None:
    assert ZoneInfo("America/Los_Angeles").key == "America/Los_Angeles"
