"""The ladder of document 1 as promises over generated states."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fill_pipeline.cycle.plan import next_actions, plan
from fill_pipeline.cycle.state import Action, ActionKind, ActionStatus, CycleState, PastAction, Policy, SourceState

NOW = datetime(2025, 12, 24, 18, 10, tzinfo=UTC)
DEADLINE = NOW + timedelta(minutes=100)

sources = st.builds(
    SourceState,
    slug=st.text("abcdefgh", min_size=3, max_size=8),
    crawlable=st.booleans(),
    failing=st.booleans(),
    due=st.booleans(),
    harvests=st.integers(0, 3),
    complete=st.booleans(),
    breaker_open=st.booleans(),
)
past_actions = st.builds(
    PastAction,
    kind=st.sampled_from(ActionKind),
    level=st.integers(0, 3),
    attempt=st.integers(1, 4),
    status=st.sampled_from(ActionStatus),
    gained=st.integers(0, 500),
    finished_at=st.one_of(st.none(), st.just(NOW - timedelta(minutes=5))),
)
policies = st.builds(Policy, shards=st.integers(1, 4), wait=st.booleans(), pages_per_shard=st.sampled_from([100, 5000]))


@st.composite
def states(draw: st.DrawFn) -> CycleState:
    pending = draw(st.sampled_from([0, 0, 1, 700, 60_000]))
    ready = draw(st.one_of(st.none(), st.timedeltas(timedelta(minutes=-5), timedelta(minutes=30))))
    return CycleState(
        cycle_id="2025-12-24-18:00",
        open=draw(st.booleans()),
        deadline=NOW + draw(st.timedeltas(timedelta(minutes=-20), timedelta(minutes=110))),
        target=2000,
        vehicles_added=draw(st.sampled_from([0, 1999, 2000, 5000])),
        pending=pending,
        next_ready_at=None if not pending or ready is None else NOW + ready,
        quality=draw(st.one_of(st.none(), st.floats(0, 1))),
        untried_candidates=draw(st.integers(0, 20)),
        sources=tuple(draw(st.lists(sources, max_size=6, unique_by=lambda s: s.slug))),
        actions=tuple(draw(st.lists(past_actions, max_size=8, unique_by=lambda a: (a.kind, a.level, a.attempt)))),
    )


@settings(max_examples=300, deadline=None)
@given(states(), policies)
def test_a_closed_cycle_asks_for_nothing(state: CycleState, policy: Policy) -> None:
    assert plan(replace(state, open=False), NOW, policy) == []


@settings(max_examples=300, deadline=None)
@given(states(), policies)
def test_drains_never_exceed_the_limit_and_nothing_else_runs_beside_another(state: CycleState, policy: Policy) -> None:
    actions = plan(replace(state, open=True), NOW, policy)
    flying = [a for a in state.actions if a.in_flight]
    drains = [a for a in actions if a.kind is ActionKind.DRAIN]
    assert len(drains) + sum(a.kind is ActionKind.DRAIN for a in flying) <= max(
        policy.shards, sum(a.kind is ActionKind.DRAIN for a in flying)
    )
    if len(drains) != len(actions):
        assert len(actions) == 1
        assert not flying
    if any(a.kind is not ActionKind.DRAIN for a in flying):
        assert actions == []


@settings(max_examples=300, deadline=None)
@given(states(), policies)
def test_no_action_is_asked_for_that_was_asked_for_before(state: CycleState, policy: Policy) -> None:
    state = _with_counted_attempts(state)
    known = {(a.kind, a.level, a.attempt) for a in state.actions}
    asked = [(a.kind, a.level, a.attempt) for a in plan(state, NOW, policy)]
    assert not known & set(asked)
    assert len(asked) == len(set(asked))


@settings(max_examples=300, deadline=None)
@given(states(), policies, st.data())
def test_every_cycle_ends_in_a_report_whatever_its_actions_come_to(
    state: CycleState, policy: Policy, data: st.DataObject
) -> None:
    """Run the plan against a world that answers at random: it closes, in a bounded number of steps."""
    state = replace(state, open=True, actions=(), deadline=DEADLINE)
    now = NOW
    for _ in range(200):
        actions = plan(state, now, policy)
        if any(a.kind is ActionKind.CLOSE for a in actions):
            return
        if not actions:
            now += timedelta(minutes=5)
        for action in actions:
            state = _world_answers(state, action, now, data)
    raise AssertionError("the cycle never closed")


@settings(max_examples=300, deadline=None)
@given(states(), policies)
def test_below_target_with_something_left_to_try_there_is_progress(state: CycleState, policy: Policy) -> None:
    fresh = replace(state, open=True, actions=(), vehicles_added=0, deadline=DEADLINE)
    untouched = any(s.crawlable and s.due and not s.harvests and not s.breaker_open for s in fresh.sources)
    ready = fresh.pending and fresh.next_ready_at is not None and fresh.next_ready_at <= NOW + policy.patience
    actions = plan(fresh, NOW, policy)
    if ready:
        assert actions[0].kind is ActionKind.DRAIN
    elif untouched:
        assert actions[0].kind is ActionKind.HARVEST
    else:
        assert actions
        assert actions[0].kind is not ActionKind.CLOSE  # discovery at least was not tried yet


def test_the_ladder_is_climbed_in_document_order() -> None:
    """Drain, harvest what is due, activate all, discover, repair, improve, close."""
    good = SourceState("good", crawlable=True, due=False, harvests=0)
    bad = SourceState("bad", crawlable=True, failing=True, broken=True, due=False, harvests=1)
    new = SourceState("new", crawlable=True, due=True)
    state = CycleState(
        "c", True, DEADLINE, 2000, pending=10, next_ready_at=NOW, vehicles_added=5, sources=(good, bad, new)
    )
    seen: list[str] = []
    for _ in range(20):
        (action,) = plan(state, NOW, Policy())
        seen.append(f"{action.kind}/{action.level}")
        if action.kind is ActionKind.CLOSE:
            break
        done = PastAction(action.kind, action.level, action.attempt, ActionStatus.DONE, gained=0, finished_at=NOW)
        state = replace(state, actions=(*state.actions, done))
        if action.kind is ActionKind.DRAIN:
            state = replace(state, pending=0, next_ready_at=None)
        if action.kind is ActionKind.HARVEST:
            touched = tuple(
                replace(s, harvests=s.harvests + 1, complete=True) if s.slug in action.parameters["slugs"] else s
                for s in state.sources
            )
            state = replace(state, sources=touched)
    assert seen == ["drain/0", "harvest/0", "harvest/1", "discover/0", "repair/0", "improve/0", "close/0"]


def test_on_target_no_new_source_is_looked_for() -> None:
    state = CycleState("c", True, DEADLINE, 2000, vehicles_added=2000, sources=(SourceState("a", True, due=False),))
    assert [a.kind for a in plan(state, NOW, Policy())] == [ActionKind.IMPROVE]


def test_a_scheduled_cycle_below_target_runs_its_sources_more_often() -> None:
    harvested = PastAction(ActionKind.HARVEST, 0, 1, ActionStatus.DONE, 5, NOW - timedelta(minutes=31))
    rest = tuple(
        PastAction(kind, 0, 1, ActionStatus.DONE, 0, NOW) for kind in (ActionKind.DISCOVER, ActionKind.IMPROVE)
    )
    source = SourceState("a", crawlable=True, due=False, harvests=1, complete=True)
    state = CycleState("c", True, DEADLINE, 2000, sources=(source,), actions=(harvested, *rest))
    (again,) = plan(state, NOW, Policy(wait=True))
    assert (again.kind, again.level, again.parameters["slugs"]) == (ActionKind.HARVEST, 2, ["a"])
    assert [a.kind for a in plan(state, NOW, Policy(wait=False))] == [ActionKind.CLOSE]


def test_a_cycle_opened_for_one_thing_does_that_and_closes() -> None:
    """Materializing one source in the UI must not set every other source to work."""
    state = CycleState(
        "c+2", True, DEADLINE, 2000, pending=3, next_ready_at=NOW, limited=True, sources=(SourceState("other", True),)
    )
    assert [a.kind for a in plan(state, NOW, Policy(wait=True))] == [ActionKind.DRAIN]
    drained = replace(state, pending=0, next_ready_at=None)
    assert [a.kind for a in plan(drained, NOW, Policy(wait=True))] == [ActionKind.CLOSE]


def test_a_drain_that_moves_nothing_is_not_repeated_for_ever() -> None:
    idle = tuple(PastAction(ActionKind.DRAIN, 0, n, ActionStatus.FAILED, 0, NOW) for n in (1, 2, 3))
    state = CycleState("c", True, DEADLINE, 2000, pending=10, next_ready_at=NOW, actions=idle)
    assert plan(state, NOW, Policy())[0].kind is not ActionKind.DRAIN


def failed(kind: ActionKind, *ends: timedelta) -> tuple[PastAction, ...]:
    """Attempts that failed, so long ago each."""
    return tuple(PastAction(kind, 0, n, ActionStatus.FAILED, 0, NOW - ago) for n, ago in enumerate(ends, 1))


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (ActionKind.DRAIN, CycleState("c", True, DEADLINE, 2000, pending=10, next_ready_at=NOW)),
        (ActionKind.HARVEST, CycleState("c", True, DEADLINE, 2000, sources=(SourceState("a", True),))),
        (ActionKind.DISCOVER, CycleState("c", True, DEADLINE, 2000)),
        (ActionKind.CLOSE, CycleState("c", True, DEADLINE, 2000, vehicles_added=2000, limited=True)),
        (ActionKind.CLOSE, CycleState("c", True, NOW - timedelta(hours=1), 2000)),
    ],
)
def test_what_failed_is_tried_again_after_pauses_that_grow(kind: ActionKind, state: CycleState) -> None:
    def asked(*ends: timedelta) -> list[ActionKind]:
        return [a.kind for a in plan(replace(state, actions=failed(kind, *ends)), NOW, Policy())]

    assert asked(timedelta(seconds=9)) == [], "and nothing after it in the ladder meanwhile"
    assert asked(timedelta(seconds=10)) == [kind]
    assert asked(timedelta(seconds=60), timedelta(seconds=39)) == []
    assert asked(timedelta(seconds=60), timedelta(seconds=40)) == [kind]


@given(st.timedeltas(timedelta(seconds=1), timedelta(minutes=110)), st.integers(1, 2))
def test_a_pause_always_leaves_time_to_try_again_in_this_cycle(left: timedelta, failures: int) -> None:
    policy = Policy(retry_pause=timedelta(minutes=5))
    deadline = NOW + policy.closing_time + left
    state = CycleState("c", True, deadline, 2000, pending=10, next_ready_at=NOW)
    state = replace(state, actions=failed(ActionKind.DRAIN, *[timedelta(0)] * failures))
    assert plan(state, NOW, policy) == []
    assert [a.kind for a in plan(state, NOW + left / 2, policy)] == [ActionKind.DRAIN]


def test_a_clock_set_back_makes_no_pause_longer() -> None:
    state = CycleState("c", True, DEADLINE, 2000, pending=10, next_ready_at=NOW)
    later = replace(state, actions=failed(ActionKind.DRAIN, timedelta(minutes=-10)))
    assert [a.kind for a in plan(later, NOW, Policy())] == [ActionKind.DRAIN]


def test_one_failing_drain_does_not_hold_up_the_others() -> None:
    state = CycleState("c", True, DEADLINE, 2000, pending=12_000, next_ready_at=NOW)
    state = replace(state, actions=failed(ActionKind.DRAIN, timedelta(0)))
    assert [a.level for a in plan(state, NOW, Policy(shards=3))] == [1, 2]


def test_more_shards_are_asked_for_when_the_queue_is_deep() -> None:
    state = CycleState("c", True, DEADLINE, 2000, pending=12_000, next_ready_at=NOW)
    assert len(plan(state, NOW, Policy(shards=8, pages_per_shard=5000))) == 3
    assert len(plan(state, NOW, Policy(shards=2, pages_per_shard=5000))) == 2


def test_next_actions_say_what_is_left() -> None:
    state = CycleState(
        "c", True, DEADLINE, 2000, 500, pending=7, dead=2, quality=0.5, sources=(SourceState("x", True, failing=True),)
    )
    words = " | ".join(next_actions(state))
    for part in ("drain 7 pages", "1500 vehicles short", "repair 1 failing sources: x", "raise quality", "2 dead"):
        assert part in words


def _with_counted_attempts(state: CycleState) -> CycleState:
    """Attempts numbered as the database numbers them: 1, 2, 3 within kind and level."""
    counted: dict[tuple[ActionKind, int], int] = {}
    actions = []
    for a in state.actions:
        counted[a.kind, a.level] = counted.get((a.kind, a.level), 0) + 1
        actions.append(replace(a, attempt=counted[a.kind, a.level]))
    return replace(state, open=True, actions=tuple(actions))


def _world_answers(state: CycleState, action: Action, now: datetime, data: st.DataObject) -> CycleState:
    status = data.draw(st.sampled_from([ActionStatus.DONE, ActionStatus.DONE, ActionStatus.FAILED]))
    gained = data.draw(st.integers(0, 50))
    done = PastAction(action.kind, action.level, action.attempt, status, gained, now)
    sources = state.sources
    if action.kind is ActionKind.HARVEST and status is ActionStatus.DONE:
        sources = tuple(
            replace(s, harvests=s.harvests + 1) if s.slug in action.parameters["slugs"] else s for s in sources
        )
    pending = data.draw(st.sampled_from([0, state.pending]))
    return replace(
        state,
        actions=(*state.actions, done),
        sources=sources,
        pending=pending,
        vehicles_added=state.vehicles_added + gained,
        next_ready_at=state.next_ready_at if pending else None,
    )
