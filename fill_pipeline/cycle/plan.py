"""The one brain: a pure function from an assessed state to the next actions.

The ladder is document 1's: drain the queue, check the target, activate all healthy sources, discover
new ones, mind the quality, close. Each rung is a function that returns the action it wants or None;
the first that wants something is heard. What scales up is a lever (``cycle.levers``), and of these the one
that has given most for its cost comes first. Nothing here reads a clock, a database or a network.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from fill_pipeline.cycle.levers import Lever, drain_parameters, proven_dials
from fill_pipeline.cycle.state import Action, ActionKind, ActionStatus, CycleState, PastAction, Policy, SourceState

BY_HAND, DUE, ALL, AGAIN, LIMITS = -1, 0, 1, 2, 100  # levels of a harvest; AGAIN and LIMITS count on from there
MEND, REPLACE = 0, 1  # levels of a repair
RETRY_GROWTH = 4
LONGEST_PAUSE = timedelta(minutes=10)


def plan(state: CycleState, now: datetime, policy: Policy) -> list[Action]:
    """Return the actions to start now; none for a closed cycle, or while the last ones still run.

    Drains may run side by side up to ``policy.shards``; everything else runs alone, so that each
    decision is taken on settled figures. What failed is tried again after a pause, and nothing after it in the ladder
    before.
    """
    if not state.open:
        return []
    in_flight = [a for a in state.actions if a.in_flight]
    if any(a.kind is not ActionKind.DRAIN for a in in_flight):
        return []
    if now >= state.deadline - policy.closing_time:
        return [] if in_flight else _rested(_close(state, "the cycle's time is up"), state, now, policy)
    drains = _drain(state, now, policy, len(in_flight))
    if drains or in_flight:
        return _rested(drains, state, now, policy)
    for rung in () if state.limited else _ladder(state):
        action = rung(state, now, policy)
        if action is not None:
            return _rested([action], state, now, policy)
    if not state.limited and _worth_waiting(state, now, policy):
        return []
    if state.limited:
        return _rested(_close(state, "what was asked for is done"), state, now, policy)
    why = "on target" if state.on_target else "nothing left to try in this cycle"
    return _rested(_close(state, why), state, now, policy)


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
    deep = not state.on_target and state.pending >= policy.deep_queue
    turned = drain_parameters(state.record, policy.bounds, now, policy.cycle) if deep else {}
    actions: list[Action] = []
    for shard in range(policy.shards):
        past = state.past(ActionKind.DRAIN, shard)
        if len(actions) + running >= wanted:
            break
        if any(a.in_flight for a in past) or _spent(past, policy):
            continue
        reason = f"{state.pending} pages wait in the queue{_turned(turned)}"
        parameters = {"shard": shard, "shards": wanted, **turned}
        actions.append(Action(ActionKind.DRAIN, shard, len(past) + 1, reason, parameters))
    return actions


def _harvest_due(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    due = [s.slug for s in state.sources if s.crawlable and not s.breaker_open and s.due and not s.harvests]
    return _harvest(state, policy, DUE, due, f"{len(due)} sources are due")


def _harvest_all(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    if state.on_target or state.record.rests(Lever.SOURCES, now, policy.cycle):
        return None
    rest = [s.slug for s in _workable(state) if not s.harvests]
    reason = f"{state.gap} below target: activate {len(rest)} healthy sources that are not due"
    return _harvest(state, policy, ALL, rest, reason, **_use(state, policy, Lever.SOURCES, 1))


def _harvest_deeper(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    """Raise the limits of those whose harvest ended at them, step by step while it helps."""
    factors = policy.bounds.limits
    used = [a for a in state.past(ActionKind.HARVEST) if a.level >= LIMITS]
    if state.on_target or not factors or (not used and state.record.rests(Lever.LIMITS, now, policy.cycle)):
        return None
    if used and not used[-1].vehicles:
        return None
    step = max(a.level for a in used) - LIMITS + 1 if used else state.record.step(Lever.LIMITS, len(factors))
    if step > len(factors):
        return None
    short = [s.slug for s in _workable(state) if s.harvests and s.cut_short and not s.complete]
    reason = f"{state.gap} below target: limits of {len(short)} sources raised {factors[step - 1]} times"
    use = _use(state, policy, Lever.LIMITS, step) | {"limit_factor": factors[step - 1]}
    return _harvest(state, policy, LIMITS + step, short, reason, **use)


def _harvest_again(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    """Run sources once more, without those that gave nothing when they were asked a second time."""
    if state.on_target or not policy.wait or state.record.rests(Lever.FREQUENCY, now, policy.cycle):
        return None
    step = state.record.step(Lever.FREQUENCY, len(policy.bounds.rest_minutes))
    if not _has_rested(state, now, policy, step):
        return None
    again = [s.slug for s in _workable(state) if s.vehicles_added or s.harvests < 2]
    level = AGAIN + len({a.level for a in state.past(ActionKind.HARVEST) if AGAIN <= a.level < LIMITS})
    reason = f"{state.gap} below target: run {len(again)} sources once more"
    return _harvest(state, policy, level, again, reason, **_use(state, policy, Lever.FREQUENCY, step))


def _repair(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    broken = [s.slug for s in state.sources if s.broken]
    return _once(state, policy, ActionKind.REPAIR, MEND, f"{len(broken)} sources are broken", broken, slugs=broken)


def _replace(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    """Give up what could not be repaired for days; what it was worth is looked for elsewhere."""
    lost = [s.slug for s in state.sources if s.hopeless]
    reason = f"{len(lost)} sources are beyond repair: retire them and find others"
    return _once(state, policy, ActionKind.REPAIR, REPLACE, reason, lost, retire=lost)


def _discover(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    past = state.past(ActionKind.DISCOVER)
    lost = state.loss >= policy.least_loss
    if state.on_target and not lost:
        return None
    if not past and not state.untried_candidates and state.record.rests(Lever.DISCOVERY, now, policy.cycle):
        return None
    if len({a.level for a in past}) >= policy.max_discoveries and not _unfinished(past, policy):
        return None
    if past and past[-1].status is ActionStatus.DONE and not past[-1].gained:
        return None
    level = past[-1].level + (past[-1].status is ActionStatus.DONE) if past else 0
    why = f"{state.gap} below target" if not state.on_target else f"lost sources gave {state.loss:.0f} vehicles a day"
    reason = f"{why}: look for new sources ({state.untried_candidates} candidates untried)"
    probes = policy.bounds.probes
    step = min(len(probes), state.record.step(Lever.DISCOVERY, len(probes)) + level)
    use = _use(state, policy, Lever.DISCOVERY, step) | {"probes": probes[step - 1]}
    return _once(state, policy, ActionKind.DISCOVER, level, reason, True, **use)


def _improve(state: CycleState, now: datetime, policy: Policy) -> Action | None:
    touched = state.vehicles_added or any(a.gained for a in state.actions)
    low = state.quality is not None and state.quality < state.quality_target
    more = {"learn": policy.learners} if low else {}
    return _once(state, policy, ActionKind.IMPROVE, 0, "measure quality and fix data", touched, **more)


_Rung = Callable[[CycleState, datetime, Policy], Action | None]
_LEVERS: dict[Lever, _Rung] = {
    Lever.SOURCES: _harvest_all,
    Lever.LIMITS: _harvest_deeper,
    Lever.FREQUENCY: _harvest_again,
    Lever.DISCOVERY: _discover,
}


def _ladder(state: CycleState) -> list[_Rung]:
    """What is due, then the levers (the most yielding first; document 1's order while none was tried), the rest."""
    levers = [_LEVERS[lever] for lever in state.record.order(tuple(_LEVERS))]
    return [_harvest_due, *levers, _repair, _replace, _improve]


def _workable(state: CycleState) -> list[SourceState]:
    return [s for s in state.sources if s.crawlable and not s.failing and not s.breaker_open]


def _use(state: CycleState, policy: Policy, lever: Lever, step: int) -> dict[str, Any]:
    """The parameters of an action that turns a lever: how far, and what it may be expected to give."""
    use: dict[str, Any] = {"lever": lever, "step": step, "expects": state.record.expects(lever)}
    return use if lever is Lever.DISCOVERY else proven_dials(state.record, policy.bounds) | use


def _turned(parameters: dict[str, Any]) -> str:
    dials = [f"{name} {parameters[name]}" for name in (Lever.BATCH, Lever.WORKERS) if name in parameters]
    return f", {', '.join(dials)}" if dials else ""


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


def _rested(actions: list[Action], state: CycleState, now: datetime, policy: Policy) -> list[Action]:
    """Without those that failed so lately that what made them fail will hardly have passed; their turn comes."""
    return [a for a in actions if not _pauses(state.past(a.kind, a.level), state, now, policy)]


def _pauses(past: list[PastAction], state: CycleState, now: datetime, policy: Policy) -> bool:
    """Each pause in a row is longer than the one before, none longer than half of what the cycle then had left."""
    failures = list(takewhile(lambda a: a.status is ActionStatus.FAILED, reversed(past)))
    failed_at = failures[0].finished_at if failures else None
    if failed_at is None or failed_at > now:  # by a clock that was set back since
        return False
    growth: int = RETRY_GROWTH ** (len(failures) - 1)
    pause = min(policy.retry_pause * growth, LONGEST_PAUSE)
    left = state.deadline - policy.closing_time - failed_at
    # A cycle whose time is up has nothing left to do but to be closed, however long that takes.
    return now < failed_at + (min(pause, left / 2) if left > timedelta(0) else pause)


def _has_rested(state: CycleState, now: datetime, policy: Policy, step: int) -> bool:
    ends = [a.finished_at for a in state.past(ActionKind.HARVEST) if a.finished_at is not None]
    return bool(ends) and now >= max(ends) + timedelta(minutes=policy.bounds.rest_minutes[step - 1])


def _worth_waiting(state: CycleState, now: datetime, policy: Policy) -> bool:
    """Whether a later moment of this cycle offers something that now does not."""
    if state.on_target or not policy.wait:
        return False
    later = state.pending > 0 and state.next_ready_at is not None and state.next_ready_at < state.deadline
    again = bool(_workable(state)) and bool(state.past(ActionKind.HARVEST))
    return later or (again and not state.record.rests(Lever.FREQUENCY, now, policy.cycle))
