"""One pace for each source, whoever asks it: slots, holds, slowing down, the circuit breaker, the day's budget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db import pace, queue, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.pace import Breaker
from fill_pipeline.db.queue import ClaimedPage, PageToQueue

NOW = datetime(2025, 12, 24, 18, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def source(conn: Connection) -> UUID:
    row = registry.declare_source(conn, name="s", base_url="https://s.example", config={}, kind="dealer")
    pace.set_pace(conn, row.id, delay_ms=500, max_concurrency=4, daily_requests=1000)
    pages = [PageToQueue(row.id, f"https://s.example/{i}", url_hash(f"https://s.example/{i}")) for i in range(100)]
    queue.enqueue(conn, pages, cycle_id="c", now=NOW, revisit=timedelta(hours=1))
    return row.id


def claim(conn: Connection, now: datetime, batch: int = 500) -> list[ClaimedPage]:
    return queue.claim(
        conn,
        owner="w",
        cycle_id="c",
        now=now,
        batch=batch,
        lease=timedelta(minutes=5),
        horizon=timedelta(seconds=20),
        per_source=500,
    )


def how(conn: Connection, source: UUID, now: datetime = NOW) -> pace.Pace:
    return pace.paces(conn, [source], now=now)[source]


def test_reserved_slots_follow_each_other_at_the_sources_pace(conn: Connection, source: UUID) -> None:
    pace.set_pace(conn, source, delay_ms=500, max_concurrency=4, daily_requests=5)
    pace.set_robots_delay(conn, source, 2000)
    first = pace.reserve_slots(conn, source, 2, now=NOW)
    second = pace.reserve_slots(conn, source, 1, now=NOW)
    assert (first.first, first.delay_ms) == (NOW, 2000)
    assert second.first == NOW + timedelta(seconds=4)
    assert second.within_budget
    assert not pace.reserve_slots(conn, source, 3, now=NOW).within_budget
    assert pace.reserve_slots(conn, source, 3, now=NOW + timedelta(days=1)).within_budget


def test_a_budget_that_does_not_hold_is_not_spent(conn: Connection, source: UUID) -> None:
    pace.set_pace(conn, source, delay_ms=0, max_concurrency=4, daily_requests=5)
    assert not pace.reserve_slots(conn, source, 6, now=NOW).within_budget
    assert pace.reserve_slots(conn, source, 5, now=NOW).within_budget


def test_with_todays_budget_spent_the_next_page_is_ready_tomorrow(conn: Connection, source: UUID) -> None:
    pace.set_pace(conn, source, delay_ms=0, max_concurrency=4, daily_requests=5)
    assert len(claim(conn, NOW)) == 5
    assert claim(conn, NOW) == []
    assert queue.next_ready(conn, now=NOW) == datetime(2025, 12, 25, tzinfo=UTC)


def test_of_pages_given_back_those_cost_budget_that_were_asked_for(conn: Connection, source: UUID) -> None:
    ids = [page.queue_id for page in claim(conn, NOW)]
    assert how(conn, source).budget_used == len(ids) == 40
    queue.release(conn, ids[:30], owner="w", asked=ids[20:])
    assert how(conn, source).budget_used == 20


def test_moved_slots_come_after_all_others_and_cost_no_budget(conn: Connection, source: UUID) -> None:
    assert len(claim(conn, NOW)) == 40
    moved = pace.move_slots(conn, source, 3, now=NOW + 5 * SECOND)
    assert moved.first == NOW + 20 * SECOND
    assert how(conn, source).budget_used == 40


def test_a_held_source_gives_no_page_and_no_slot_until_then(conn: Connection, source: UUID) -> None:
    until = NOW + timedelta(minutes=2)
    pace.hold(conn, source, until, "it asked us to slow down")
    pace.hold(conn, source, NOW + SECOND, "a shorter one")
    assert claim(conn, NOW) == []
    assert queue.next_ready(conn, now=NOW) == until
    assert how(conn, source).silent_until == until
    assert pace.reserve_slots(conn, source, 1, now=NOW).first == until
    assert how(conn, source, until + SECOND).silent_until is None
    assert claim(conn, until + SECOND)[0].slot_at == until + SECOND


def test_a_throttling_halves_the_rate_once_and_is_forgotten_by_and_by(conn: Connection, source: UUID) -> None:
    assert how(conn, source).pace_ms == 500
    for _ in range(4):  # the answers to requests sent together
        pace.slow_down(conn, source, NOW)
    assert how(conn, source).pace_ms == 1000
    assert len(claim(conn, NOW)) == 20
    pace.slow_down(conn, source, NOW + 10 * SECOND)
    assert how(conn, source, NOW + 10 * SECOND).pace_ms == pytest.approx(2000, rel=0.02)
    later = [how(conn, source, NOW + timedelta(minutes=minutes)).pace_ms for minutes in (10, 20, 30, 600, 600_000)]
    assert later == sorted(later, reverse=True)
    assert later[0] == pytest.approx(1000, rel=0.02)
    assert later[-2:] == [500, 500]


@pytest.mark.parametrize("days", [1, 8, 40, 4000])
def test_a_throttling_of_long_ago_is_nothing(conn: Connection, source: UUID, days: int) -> None:
    pace.slow_down(conn, source, NOW)
    later = NOW + timedelta(days=days)
    assert how(conn, source, later).pace_ms == 500
    assert pace.forget_far_slots(conn, now=later) == []
    pace.slow_down(conn, source, later)
    assert how(conn, source, later).pace_ms == 1000


def test_a_source_without_a_delay_of_its_own_gets_one_when_it_throttles(conn: Connection, source: UUID) -> None:
    pace.set_pace(conn, source, delay_ms=0, max_concurrency=4, daily_requests=1000)
    assert how(conn, source).pace_ms == 0
    pace.slow_down(conn, source, NOW)
    assert how(conn, source).pace_ms == 20


def test_however_often_it_throttles_there_is_a_slowest_pace(conn: Connection, source: UUID) -> None:
    for n in range(20):
        pace.slow_down(conn, source, NOW + n * 6 * SECOND)
    assert how(conn, source, NOW + 114 * SECOND).pace_ms == 500 * pace.MOST_SLOWDOWN


def test_the_breaker_opens_half_opens_and_closes_for_every_host_to_see(conn: Connection, source: UUID) -> None:
    assert pace.note_failures(conn, source, 9, NOW) is Breaker.CLOSED
    assert pace.note_failures(conn, source, 1, NOW) is Breaker.OPEN
    assert how(conn, source).breaker_until == NOW + 30 * SECOND
    assert how(conn, source).silent_until == NOW + 30 * SECOND
    # What was under way when it opened and fails now makes the pause no longer.
    assert pace.note_failures(conn, source, 3, NOW) is Breaker.OPEN
    assert how(conn, source).breaker_until == NOW + 30 * SECOND
    assert claim(conn, NOW + 29 * SECOND) == []

    (probe,) = claim(conn, NOW + 31 * SECOND)
    assert how(conn, source).breaker == Breaker.HALF_OPEN
    assert claim(conn, NOW + 31 * SECOND) == [], "one page finds out, not one for each claimer"
    assert pace.note_failures(conn, source, 1, NOW + 32 * SECOND) is Breaker.OPEN
    assert how(conn, source).breaker_until == NOW + 92 * SECOND, "each opening doubles the pause"

    queue.release(conn, [probe.queue_id], owner="w")
    assert len(claim(conn, NOW + 93 * SECOND)) == 1
    pace.note_success(conn, source, NOW + 94 * SECOND)
    assert how(conn, source).breaker == Breaker.CLOSED
    assert len(claim(conn, NOW + 95 * SECOND)) > 1


def test_failures_after_the_pause_open_the_breaker_anew_where_nobody_claims(conn: Connection, source: UUID) -> None:
    assert pace.note_failures(conn, source, 10, NOW) is Breaker.OPEN
    first = pace.reserve_slots(conn, source, 1, now=NOW).first
    assert first >= NOW + 30 * SECOND
    assert pace.note_failures(conn, source, 1, first) is Breaker.OPEN
    assert how(conn, source).breaker_until == first + 60 * SECOND
    assert pace.reserve_slots(conn, source, 1, now=first).first >= first + 60 * SECOND


def test_what_a_source_takes_at_once_is_kept(conn: Connection, source: UUID) -> None:
    assert how(conn, source).concurrency is None
    pace.save_concurrency(conn, source, concurrency=2.5, latency_ms=140.0)
    assert (how(conn, source).concurrency, how(conn, source).latency_ms) == (2.5, 140.0)


def test_how_a_source_may_be_asked_is_told_in_words(conn: Connection, source: UUID) -> None:
    assert how(conn, source).in_words == "a request every 0.5 s; 0 of 1,000 requests today"
    pace.save_concurrency(conn, source, concurrency=2.5, latency_ms=140.0)
    pace.slow_down(conn, source, NOW)
    pace.hold(conn, source, NOW + SECOND, "it asked us to slow down")
    pace.note_failures(conn, source, 10, NOW)
    assert how(conn, source).in_words == (
        "a request every 1 s (slowed from 0.5 s, since it throttled us); 2 of 4 at once, 140 ms each; "
        "0 of 1,000 requests today; left alone until 2025-12-24 18:00 UTC: it asked us to slow down; "
        "circuit breaker open until 18:00:30 UTC"
    )


def test_a_robots_file_outlives_the_failure_to_have_it_again(conn: Connection) -> None:
    origin = "https://s.example:443"
    registry.save_robots_failure(conn, origin, status=0, failed_at=NOW)
    row = registry.robots_of(conn, origin)
    assert row is not None
    assert (row.fetched_at, row.failed_status, row.failed_at) == (None, 0, NOW)
    registry.save_robots(conn, origin, status=200, body="User-agent: *", fetched_at=NOW)
    registry.save_robots_failure(conn, origin, status=503, failed_at=NOW + SECOND)
    row = registry.robots_of(conn, origin)
    assert row is not None
    assert (row.body, row.fetched_at, row.failed_status) == ("User-agent: *", NOW, 503)


def test_slots_reserved_by_a_clock_set_back_since_are_forgotten_others_and_holds_are_kept(
    conn: Connection, source: UUID
) -> None:
    ahead = NOW + timedelta(minutes=10)
    pace.reserve_slots(conn, source, 2, now=ahead)
    assert pace.move_slots(conn, source, 1, now=NOW).first == NOW
    assert pace.reserve_slots(conn, source, 1, now=NOW).first == NOW + timedelta(milliseconds=500)
    assert pace.forget_far_slots(conn, now=NOW) == []

    pace.hold(conn, source, ahead, "asked to")
    assert pace.reserve_slots(conn, source, 1, now=NOW).first == ahead
    assert pace.forget_far_slots(conn, now=NOW) == []
    assert pace.forget_far_slots(conn, now=ahead - timedelta(hours=1)) == []
    pace.reserve_slots(conn, source, 1, now=ahead + timedelta(hours=1))
    assert pace.forget_far_slots(conn, now=NOW) == [source]
    assert claim(conn, NOW) == []
