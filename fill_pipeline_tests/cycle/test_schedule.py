"""A source is harvested as often as it changes, and one that is given up is replaced."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.cycle import replacement
from fill_pipeline.cycle.replacement import HOPELESS_AFTER, cover, is_hopeless, recover, retire, worth
from fill_pipeline.cycle.schedule import LONGEST, SHORTEST, harvest_interval, learn
from fill_pipeline.db import cycles, improvement, learning, ledger, pace, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import RepairStatus
from fill_pipeline.db.learning import Harvested, HealthyTime, Loss
from fill_pipeline.db.ledger import HealthRow, SourceStats

NOW = datetime(2025, 12, 24, 18, 10, tzinfo=UTC)
DAY = timedelta(days=1)
CYCLE = "2025-12-24-18:00"


def past(changed: int, *, found: int = 100, hours: float = 2.0, n: int = 12) -> list[Harvested]:
    return [Harvested(NOW - i * timedelta(hours=hours), found, changed) for i in range(n)]


@pytest.mark.parametrize(
    ("changed", "hours", "least", "most"),
    [
        (30, 2.0, 2.0, 2.0),  # a third of it changes between two looks
        (5, 2.0, 2.0, 2.2),  # just what a look is worth
        (1, 2.0, 8.0, 12.0),
        (0, 2.0, 12.0, 12.0),
        (5, 12.0, 11.0, 12.0),  # seldom looked at, and still not much changed
        (60, 12.0, 2.0, 2.0),  # looked at too seldom
    ],
)
def test_a_source_is_harvested_as_often_as_it_changes(changed: int, hours: float, least: float, most: float) -> None:
    interval = harvest_interval(past(changed, hours=hours))
    assert interval is not None
    assert least <= interval / timedelta(hours=1) <= most


def test_too_few_harvests_say_nothing() -> None:
    assert harvest_interval([]) is None
    assert harvest_interval(past(0, n=3)) is None


harvests = st.builds(
    Harvested,
    st.integers(0, 9000).map(lambda h: NOW - timedelta(hours=h)),
    st.integers(0, 10_000),
    st.integers(0, 20_000),
)


@given(st.lists(harvests, max_size=24))
def test_the_interval_keeps_its_bounds_whatever_the_history(some: list[Harvested]) -> None:
    interval = harvest_interval(sorted(some, key=lambda one: one.at, reverse=True))
    assert interval is None or SHORTEST <= interval <= LONGEST


def test_worth_is_vehicles_a_day_while_it_gave_anything_times_quality() -> None:
    was = worth(HealthyTime(300, 0.9, NOW - 4 * DAY, NOW - DAY))
    assert (was.days, was.vehicles_per_day, was.quality, was.value) == (3.0, 100.0, 0.9, 90.0)
    assert worth(HealthyTime(0, 0.0, None, None)).value == 0.0


losses = st.lists(
    st.builds(
        lambda days, value: Loss(uuid4(), "s", "c", NOW - days * DAY, "r", 1.0, value, 1.0, value, 0.0),
        st.integers(0, 30),
        st.floats(0, 500),
    ),
    max_size=6,
)


@given(losses, st.lists(st.tuples(st.integers(0, 40).map(lambda d: NOW - d * DAY), st.floats(0, 500)), max_size=6))
def test_what_new_sources_bring_covers_losses_once(some: list[Loss], gains: list[tuple[datetime, float]]) -> None:
    covered = cover(some, gains)
    for loss in some:
        assert -1e-3 <= covered[loss.source_id] <= loss.worth + 1e-3
        if all(at < loss.retired_at - HOPELESS_AFTER for at, _ in gains):
            assert covered[loss.source_id] == 0
    assert sum(covered.values()) <= sum(value for _, value in gains) + 1e-2


@pytest.fixture
def source(conn: Connection) -> UUID:
    row = registry.declare_source(conn, name="s", base_url="http://s.test", config={}, kind="dealer")
    window = datetime(2025, 12, 24, 18, tzinfo=UTC)
    cycles.open_cycle(conn, CYCLE, now=NOW, window_start=window, window_end=window + timedelta(hours=2), target=1)
    return row.id


def judged(conn: Connection, source: UUID, status: str, now: datetime) -> None:
    row = HealthRow(source, "s", status, "connections are reset", "dead", 0, 0.0, 1.0, None, now)
    ledger.save_health(conn, CYCLE, [row], until=now)
    learn(conn, CYCLE, now=now)


def looked_at(conn: Connection, source: UUID, diagnosis: str, now: datetime, *asked: str | None) -> None:
    """Repair looked: ``asked`` are how its pages failed, None for one that came."""
    improvement.add_repair(
        conn,
        source,
        cycle_id=CYCLE,
        diagnosis=diagnosis,
        reason="as seen",
        status=RepairStatus.DIAGNOSED,
        now=now,
        evidence={"asked": [{"failure": failure} for failure in asked]},
    )


def hopeless(conn: Connection, now: datetime) -> bool:
    (row,) = ledger.source_states(conn, CYCLE, CYCLE)
    return is_hopeless(row, now)


def test_a_source_that_fails_for_days_is_given_up_with_its_reason_and_its_worth(conn: Connection, source: UUID) -> None:
    for day in range(3):
        gave = SourceStats(found=40, new=40, vehicles_added=40, quality_sum=36.0, quality_count=40, harvests=1)
        ledger.add_stats(conn, source, f"c{day}", gave, now=NOW - (8 - day) * DAY)
    judged(conn, source, "failing", NOW - 4 * DAY)
    assert not hopeless(conn, NOW - 2 * DAY)
    assert hopeless(conn, NOW - DAY)
    assert retire(conn, CYCLE, ["s"], now=NOW).retired == {}  # repair has not looked
    looked_at(conn, source, "well", NOW - timedelta(hours=2))
    assert retire(conn, CYCLE, ["s"], now=NOW).retired == {}
    looked_at(conn, source, "gone", NOW - timedelta(hours=1), None, "gone", "gone")
    assert retire(conn, CYCLE, ["s"], now=NOW).retired == {}  # its index came: what is gone was sold
    looked_at(conn, source, "unreachable", NOW, "connect", "connect")
    pace.note_success(conn, source, NOW - timedelta(hours=3))
    assert retire(conn, CYCLE, ["s"], now=NOW).retired == {}  # it answered
    conn.execute("UPDATE source_state SET last_success_at = %s", [NOW - 2 * DAY])
    cycles.close_cycle(
        conn, CYCLE, now=NOW, vehicles_added=0, vehicles_queued=0, sources_active=1, sources_discovered=0, quality=None,
        on_target=False, next_actions=[], errors=[], report={}, metadata={},
    )  # fmt: skip
    done = retire(conn, CYCLE, ["s", "unknown"], now=NOW)
    row = registry.find_source(conn, "s")
    assert row is not None
    assert row.status == "retired"
    assert "unreachable since 2025-12-20" in (row.status_reason or "")
    (loss,) = learning.losses(conn, NOW - DAY)
    assert (loss.healthy_days, loss.vehicles_per_day, round(loss.worth)) == (2.0, 60.0, 54)
    assert done.lost == pytest.approx(54)
    assert learning.uncovered(conn, NOW - DAY) == pytest.approx(54)
    # A source found afterwards covers it with what it gives.
    new = registry.declare_source(
        conn, name="n", base_url="http://n.test", config={}, kind="dealer", discovered_at=NOW, discovered_via="links"
    )
    gave = SourceStats(found=30, new=30, vehicles_added=30, quality_sum=30.0, quality_count=30, harvests=1)
    ledger.add_stats(conn, new.id, "later", gave, now=NOW + DAY)
    replacement.balance(conn, done, now=NOW + DAY)
    assert learning.uncovered(conn, NOW - DAY) == pytest.approx(24)


@pytest.mark.parametrize("works", ["well", "empty"])
def test_what_was_set_aside_and_works_again_goes_back_to_work(conn: Connection, source: UUID, works: str) -> None:
    registry.set_status(conn, source, "quarantined", "redesigned")
    looked_at(conn, source, "redesigned", NOW)
    assert recover(conn, ["s"]) == []
    looked_at(conn, source, works, NOW + timedelta(hours=2))
    assert recover(conn, []) == []
    assert recover(conn, ["s"]) == ["s"]
    row = registry.find_source(conn, "s")
    assert row is not None
    assert row.status == "live"


def test_one_good_cycle_ends_the_count(conn: Connection, source: UUID) -> None:
    judged(conn, source, "failing", NOW - 4 * DAY)
    assert learning.failing(conn, [source]) == {source}
    judged(conn, source, "degraded", NOW - 3 * DAY)
    assert learning.failing(conn, [source]) == set()
    judged(conn, source, "failing", NOW - 2 * DAY)
    assert not hopeless(conn, NOW)
    assert retire(conn, CYCLE, ["s"], now=NOW).retired == {}


def test_what_was_learned_is_when_a_source_is_due(conn: Connection, source: UUID) -> None:
    for n in range(6):
        ledger.add_stats(
            conn, source, f"c{n}", SourceStats(found=200, harvests=1), now=NOW - (6 - n) * timedelta(hours=2)
        )
    ledger.add_stats(conn, source, CYCLE, SourceStats(found=200, harvests=1), now=NOW)
    learn(conn, CYCLE, now=NOW)
    (row,) = ledger.source_states(conn, CYCLE, None)
    assert row.harvest_hours == LONGEST / timedelta(hours=1)
