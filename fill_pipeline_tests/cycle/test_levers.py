"""Levers: within their bounds, chosen by what they gave, and left alone where they do not help."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fill_pipeline.cycle.levers import (
    DIALS,
    LONGEST_REST,
    MEMORY,
    Bounds,
    Lever,
    LeverUse,
    Record,
    drain_parameters,
)
from fill_pipeline.cycle.plan import LIMITS, plan
from fill_pipeline.cycle.state import ActionKind, ActionStatus, CycleState, PastAction, Policy, SourceState

NOW = datetime(2025, 12, 24, 18, 10, tzinfo=UTC)
CYCLE = timedelta(hours=2)
BOUNDS = Bounds.around(batch=500, workers=2, cores=2)
HARVESTED = PastAction(ActionKind.HARVEST, 0, 1, ActionStatus.DONE, 5, NOW - timedelta(minutes=40))

uses = st.builds(
    LeverUse,
    lever=st.sampled_from(Lever),
    step=st.integers(0, 6),
    at=st.timedeltas(timedelta(0), timedelta(days=10)).map(lambda ago: NOW - ago),
    vehicles=st.integers(0, 2000),
    requests=st.integers(0, 5000),
    cpu_seconds=st.floats(0, 1000),
    pacing_minutes=st.floats(0, 1000),
    minutes=st.floats(0, 100),
    expected=st.one_of(st.none(), st.floats(0, 1e4)),
)
records = st.lists(uses, max_size=40).map(lambda some: Record.of(some, NOW))
states = st.builds(
    CycleState,
    cycle_id=st.just("c"),
    open=st.just(True),
    deadline=st.just(NOW + timedelta(minutes=90)),
    target=st.just(2000),
    vehicles_added=st.sampled_from([0, 100, 2000]),
    pending=st.sampled_from([0, 10, 50_000]),
    next_ready_at=st.just(NOW),
    untried_candidates=st.integers(0, 3),
    sources=st.lists(
        st.builds(
            SourceState,
            slug=st.text("abc", min_size=3, max_size=5),
            crawlable=st.booleans(),
            failing=st.booleans(),
            due=st.booleans(),
            harvests=st.integers(0, 3),
            complete=st.booleans(),
            vehicles_added=st.integers(0, 5),
            cut_short=st.booleans(),
            hopeless=st.booleans(),
        ),
        max_size=5,
    ).map(tuple),
    actions=st.sampled_from([(), (HARVESTED,)]),
    record=records,
    loss=st.sampled_from([0.0, 40.0]),
)


def use(lever: Lever, hours_ago: float, vehicles: int = 0, requests: int = 100, **more: float | None) -> LeverUse:
    one = LeverUse(lever, 1, NOW - timedelta(hours=hours_ago), vehicles, requests)
    return replace(one, **more)  # type: ignore[arg-type]


def drained(lever: Lever, hours_ago: float, rate: float, step: int = 1, expected: float | None = 100.0) -> LeverUse:
    return use(lever, hours_ago, 1, round(10 * rate), step=step, minutes=10.0, expected=expected)


@settings(max_examples=300, deadline=None)
@given(states, st.booleans())
def test_no_lever_is_turned_beyond_its_bounds_and_each_use_says_what_it_expects(state: CycleState, wait: bool) -> None:
    for action in plan(state, NOW, Policy(bounds=BOUNDS, wait=wait, shards=3)):
        parameters = action.parameters
        assert parameters.get("batch", 500) in (500, *BOUNDS.batch)
        assert parameters.get("workers", 2) in (2, *BOUNDS.workers)
        assert parameters.get("limit_factor", 1) in (1, *BOUNDS.limits)
        assert parameters.get("probes", BOUNDS.probes[0]) in BOUNDS.probes
        if parameters.get("lever", Lever.DRAIN) != Lever.DRAIN:
            assert 1 <= parameters["step"] <= max(1, len(BOUNDS.values(Lever(parameters["lever"]))))
            assert "expects" in parameters


@settings(max_examples=300, deadline=None)
@given(states)
def test_on_target_no_lever_is_turned_but_to_replace_a_loss(state: CycleState) -> None:
    state = replace(state, vehicles_added=state.target)
    for action in plan(state, NOW, Policy(bounds=BOUNDS, wait=True)):
        levers = {*action.parameters} & {"lever", "batch", "workers", "limit_factor", "probes"}
        assert not levers or (action.kind is ActionKind.DISCOVER and state.loss)


@settings(max_examples=300, deadline=None)
@given(records, st.sampled_from(Lever))
def test_no_lever_rests_for_ever(record: Record, lever: Lever) -> None:
    assert not record.rests(lever, NOW + LONGEST_REST, CYCLE)
    assert Record.of(record.uses, NOW + MEMORY).uses == ()


@pytest.mark.parametrize(("misses", "hours"), [(0, 0), (1, 2), (2, 6), (3, 14), (4, 24), (9, 24)])
def test_what_does_not_help_is_used_less_and_less(misses: int, hours: float) -> None:
    record = Record.of([use(Lever.SOURCES, n) for n in range(misses)] + [use(Lever.SOURCES, 10, 50)], NOW)
    if hours:
        assert record.rests(Lever.SOURCES, NOW + timedelta(hours=hours, seconds=-1), CYCLE)
    assert not record.rests(Lever.SOURCES, NOW + timedelta(hours=hours), CYCLE)


def test_what_helped_again_is_used_again() -> None:
    record = Record.of([use(Lever.LIMITS, 0, 50)] + [use(Lever.LIMITS, n) for n in range(1, 6)], NOW)
    assert not record.rests(Lever.LIMITS, NOW, CYCLE)


def test_the_lever_that_gave_most_for_its_cost_comes_first_and_untried_ones_before_all() -> None:
    levers = (Lever.SOURCES, Lever.LIMITS, Lever.FREQUENCY, Lever.DISCOVERY)
    record = Record.of(
        [
            use(Lever.SOURCES, 1, 10, 1000, pacing_minutes=100.0),
            use(Lever.FREQUENCY, 1, 100, 200, cpu_seconds=10.0),
            use(Lever.DISCOVERY, 1, 60, 200, cpu_seconds=10.0),
        ],
        NOW,
    )
    assert record.order(levers) == [Lever.LIMITS, Lever.FREQUENCY, Lever.DISCOVERY, Lever.SOURCES]
    assert Record().order(levers) == list(levers)
    expected = record.expects(Lever.FREQUENCY)
    assert (expected["vehicles"], expected["per_request"], expected["per_cpu_second"]) == (100.0, 0.5, 10.0)


def test_a_deep_queue_is_first_drained_as_set_and_then_one_dial_is_turned() -> None:
    assert drain_parameters(Record(), BOUNDS, NOW, CYCLE) == {"lever": Lever.DRAIN, "step": 0}
    base = drained(Lever.DRAIN, 5, 100.0, step=0, expected=None)
    first = drain_parameters(Record.of([base], NOW), BOUNDS, NOW, CYCLE)
    assert (first["lever"], first["batch"], first["expects"]) == (Lever.BATCH, 1000, {"pages_per_minute": 100.0})
    # It helped: it stays, and the other one is tried beside it.
    second = drain_parameters(Record.of([base, drained(Lever.BATCH, 4, 140.0)], NOW), BOUNDS, NOW, CYCLE)
    assert (second["lever"], second["batch"], second["workers"]) == (Lever.WORKERS, 1000, 3)
    # It did not: it goes back to what it was and rests.
    third = drain_parameters(Record.of([base, drained(Lever.BATCH, 1, 90.0)], NOW), BOUNDS, NOW, CYCLE)
    assert (third["lever"], third.get("batch"), third["workers"]) == (Lever.WORKERS, None, 3)


@pytest.mark.parametrize("best", [0, 1, 2, 3])
def test_turning_converges_on_the_best_setting(best: int) -> None:
    """A machine that gets faster by 20 % with each step up to ``best`` and no faster beyond, over a week of cycles."""
    bounds = BOUNDS
    record: list[LeverUse] = []
    seen: list[int] = []
    for n in range(60):
        now = NOW + n * CYCLE
        chosen = drain_parameters(Record.of(record, now), bounds, now, CYCLE)
        batch = chosen.get("batch", 500)
        step = (500, *bounds.batch).index(batch)
        rate = 100.0 * 1.2 ** min(step, best) * (0.8 if step > best else 1.0)
        expected = chosen.get("expects", {}).get("pages_per_minute")
        record.append(
            LeverUse(Lever(chosen["lever"]), chosen["step"], now, 1, round(rate * 10), minutes=10.0, expected=expected)
            if "lever" in chosen
            else LeverUse(Lever.DRAIN, 0, now - MEMORY * 2, 0, 0)
        )
        seen.append(step)
    assert max(seen) <= len(bounds.batch)
    assert sum(step == best for step in seen[12:]) >= 0.5 * len(seen[12:])


def test_limits_are_raised_step_by_step_for_those_that_ended_at_them_while_that_helps() -> None:
    short = SourceState("short", True, due=False, harvests=1, cut_short=True)
    whole = SourceState("whole", True, due=False, harvests=1, complete=True)
    state = CycleState("c", True, NOW + timedelta(minutes=90), 2000, sources=(short, whole), actions=(HARVESTED,))
    factors = []
    for _ in range(10):
        (action,) = plan(state, NOW, Policy(bounds=BOUNDS))
        if action.parameters.get("lever") != Lever.LIMITS:
            break
        assert action.parameters["slugs"] == ["short"]
        factors.append(action.parameters["limit_factor"])
        vehicles = 50 if len(factors) < 3 else 0
        done = PastAction(action.kind, action.level, 1, ActionStatus.DONE, 5, NOW, vehicles, Lever.LIMITS)
        state = replace(state, actions=(*state.actions, done))
    assert factors == [2, 4, 8]
    assert all(a.level == 0 or a.level > LIMITS for a in state.actions)


def test_hopeless_sources_are_given_up_and_the_loss_is_looked_for_even_on_target() -> None:
    lost = SourceState("lost", crawlable=True, failing=True, due=False, hopeless=True)
    state = CycleState("c", True, NOW + timedelta(minutes=90), 2000, vehicles_added=2500, sources=(lost,))
    (action,) = plan(state, NOW, Policy())
    assert (action.kind, action.level, action.parameters) == (ActionKind.REPAIR, 1, {"retire": ["lost"]})
    (action,) = plan(replace(state, loss=30.0), NOW, Policy())
    assert action.kind is ActionKind.DISCOVER
    assert "30 vehicles a day" in action.reason
    done = tuple(
        PastAction(kind, level, 1, ActionStatus.DONE, 0, NOW)
        for kind, level in ((ActionKind.DISCOVER, 0), (ActionKind.REPAIR, 1), (ActionKind.IMPROVE, 0))
    )
    (action,) = plan(replace(state, loss=30.0, actions=done), NOW, Policy())
    assert action.kind is ActionKind.CLOSE


def test_dials_are_levers_of_the_drain() -> None:
    assert all(BOUNDS.values(dial) for dial in DIALS)
    assert Bounds.around(batch=5000, workers=8, cores=2).batch == ()
    assert Bounds.around(batch=5000, workers=8, cores=2).workers == ()
