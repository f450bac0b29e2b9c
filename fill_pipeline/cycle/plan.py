"""The one brain: a pure function from an assessed state to the next actions.

The ladder is document 1's: drain the queue, check the target, activate all healthy sources, discover
new ones, mind the quality, close. Each rung is a function that returns the action it wants or None;
the first that wants something is heard. Nothing here reads a clock, a database or a network.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fill_pipeline.cycle.state import Action, ActionKind, ActionStatus, CycleState, Policy

BY_HAND, DUE, ALL, AGAIN = -1, 0, 1, 2


def plan(state: CycleState, now: datetime, policy: Policy) -> list[Action]:
    """Return the actions to start now; none for a closed cycle, or while the last ones still run.

    Drains may run side by side up to ``policy.shards``; everything else runs alone, so that each
    decision is taken on settled figures.
    """
    if not state.open:
        return []
    in_flight = [a for a in state.actions if a.in_flight]
    if any(a.kind is not ActionKind.DRAIN for a in in_flight):
        return []
    if now >= state.deadline - policy.closing_time:
        return [] if in_flight else _close(state, "the cycle's time is up")
    drains = _drain(state, now, policy, len(in_flight))
    if drains or in_flight:
        return drains
    for rung in () if state.limited else _LADDER:
        action = rung(state, now, policy)
        if action is not None:
            return [action]
    if not state.limited and _worth_waiting(state, now, policy):
        return []
    if state.limited:
        return _close(state, "what was asked for is done")
    return _close(state, "on target" if state.on_target else "nothing left to try in this cycle")


def next_actions(state: CycleState) -> list[str]:
    """In words, what the next cycle should begin with, given how this one ended."""
    words = []
    if state.pending:
        words.append(f"drain {state.pending} pages left in the queue")
    if state.gap:
        words.append(f"{state.gap} vehicles short: harvest every healthy source, then discover new ones")
    failing = [s.slug for s in state.sources if s.failing and s.crawlable]
    if failing:
        words.append(f"repair {len(failing)} failing sources: {', '.join(failing[:5])}")
    if state.quality is not None and state.quality < state.quality_target:
        words.append(f"raise quality from {state.quality:.2f} to {state.quality_target:.2f}")
    if state.dead:
        words.append(f"look into {state.dead} dead queue rows")
    return words or ["harvest what is due"]


def _drain(state: CycleState, now: datetime, policy: Policy, running: int) -> list[Action]:
    ready = state.next_ready_at is not None and state.next_ready_at <= now + policy.patience
    if not state.pending or not ready:
        return []
    wanted = min(policy.shards, 1 + state.pending // policy.pages_per_shard)
    actions: list[Action] = []
    for shard in range(policy.shards):
        past = state.past(ActionKind.DRAIN, shard)
        if len(actions) + running >= wanted:
            break
        if any(a.in_flight for a in past) or _spent(past, policy):
            continue
        reason = f"{state.pending} pages wait in the queue"
        actions.append(Action(ActionKind.DRAIN, shard, len(past) + 1, reason, {"shard": shard, "shards": wanted}))
    return actions


def _harvest_due(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    due = [s.slug for s in state.sources if s.crawlable and not s.breaker_open and s.due and not s.harvests]
    return _harvest(state, policy, DUE, due, f"{len(due)} sources are due")


def _harvest_all(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    if state.on_target:
        return None
    rest = [
        s.slug
        for s in state.sources
        if s.crawlable and not s.failing and not s.breaker_open and (not s.harvests or not s.complete)
    ]
    reason = f"{state.gap} below target: activate {len(rest)} healthy sources, limits raised"
    return _harvest(state, policy, ALL, rest, reason, limit_factor=4)


def _harvest_again(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    if state.on_target or not policy.wait or not _rested(state, now, policy):
        return None
    again = [s.slug for s in state.sources if s.crawlable and not s.failing and not s.breaker_open]
    level = AGAIN + len({a.level for a in state.past(ActionKind.HARVEST) if a.level >= AGAIN})
    return _harvest(state, policy, level, again, f"{state.gap} below target: run {len(again)} sources once more")


def _repair(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    broken = [s.slug for s in state.sources if s.broken]
    return _once(state, policy, ActionKind.REPAIR, 0, f"{len(broken)} sources are broken", broken, slugs=broken)


def _discover(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    if state.on_target:
        return None
    past = state.past(ActionKind.DISCOVER)
    if len({a.level for a in past}) >= policy.max_discoveries and not _unfinished(past, policy):
        return None
    if past and past[-1].status is ActionStatus.DONE and not past[-1].gained:
        return None
    level = past[-1].level + (past[-1].status is ActionStatus.DONE) if past else 0
    reason = f"{state.gap} below target: look for new sources ({state.untried_candidates} candidates untried)"
    return _once(state, policy, ActionKind.DISCOVER, level, reason, True)


def _improve(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    touched = state.vehicles_added or any(a.gained for a in state.actions)
    return _once(state, policy, ActionKind.IMPROVE, 0, "measure quality and fix data", touched)


_LADDER: tuple[Callable[[CycleState, datetime, Policy], Action | None], ...] = (
    _harvest_due,
    _harvest_all,
    _harvest_again,
    _discover,
    _repair,
    _improve,
)


def _harvest(
    state: CycleState, policy: Policy, level: int, slugs: list[str], reason: str, **parameters: Any
) -> Action | None:
    if not slugs:
        return None
    past = state.past(ActionKind.HARVEST, level)
    # New sources may have come since this level last ran well, so the due ones are asked again; the
    # bound keeps a source that cannot be harvested from being asked for ever.
    if len(past) >= policy.max_attempts or (level != DUE and past and past[-1].status is ActionStatus.DONE):
        return None
    return Action(ActionKind.HARVEST, level, len(past) + 1, reason, {"slugs": slugs, **parameters})


def _once(
    state: CycleState, policy: Policy, kind: ActionKind, level: int, reason: str, wanted: object, **parameters: Any
) -> Action | None:
    past = state.past(kind, level)
    if not wanted or any(a.status is ActionStatus.DONE for a in past) or len(past) >= policy.max_attempts:
        return None
    return Action(kind, level, len(past) + 1, reason, parameters)


def _close(state: CycleState, reason: str) -> list[Action]:
    past = state.past(ActionKind.CLOSE)
    return [Action(ActionKind.CLOSE, 0, len(past) + 1, reason)]


def _spent(past: list[Any], policy: Policy) -> bool:
    """Whether the last attempts all moved nothing: trying the same again would turn in circles."""
    last = past[-policy.max_attempts :]
    return len(last) == policy.max_attempts and not any(a.gained for a in last)


def _unfinished(past: list[Any], policy: Policy) -> bool:
    level = past[-1].level
    same = [a for a in past if a.level == level]
    return same[-1].status is ActionStatus.FAILED and len(same) < policy.max_attempts


def _rested(state: CycleState, now: datetime, policy: Policy) -> bool:
    ends = [a.finished_at for a in state.past(ActionKind.HARVEST) if a.finished_at is not None]
    return bool(ends) and now >= max(ends) + policy.rest


def _worth_waiting(state: CycleState, now: datetime, policy: Policy) -> bool:
    """Whether a later moment of this cycle offers something that now does not."""
    if state.on_target or not policy.wait:
        return False
    later = state.pending > 0 and state.next_ready_at is not None and state.next_ready_at < state.deadline
    again = any(s.crawlable and not s.failing for s in state.sources) and bool(state.past(ActionKind.HARVEST))
    return later or again
