"""Opening cycles, and asking the brain for the next actions of the open one."""

from __future__ import annotations

from datetime import datetime, timedelta

from fill_pipeline.cycle.assess import LIMITED, assess
from fill_pipeline.cycle.levers import Bounds
from fill_pipeline.cycle.plan import plan
from fill_pipeline.cycle.state import Action, ActionKind, ActionStatus, Policy
from fill_pipeline.cycle.window import Window, window_at, windows_between
from fill_pipeline.db import counters, cycles, pace, queue
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import CycleRow
from fill_pipeline.drain.owner import cores, take_back
from fill_pipeline.settings import Settings

SILENT_AFTER = timedelta(minutes=5)  # a running action beats every few seconds
UNSTARTED_AFTER = timedelta(hours=1)  # a requested run may wait long in Dagster's queue, and is asked for again
MISSED_LOOK_BACK = timedelta(days=31)


def policy_of(settings: Settings, *, wait: bool) -> Policy:
    """The bounds of the brain from the settings; ``wait`` keeps a cycle below target open for later chances."""
    bounds = Bounds.around(batch=settings.batch_size, workers=settings.workers or cores(), cores=cores())
    pause = timedelta(seconds=settings.retry_seconds)
    return Policy(shards=settings.shards, wait=wait, retry_pause=pause, bounds=bounds)


def ensure_open(conn: Connection, settings: Settings, *, now: datetime) -> CycleRow:
    """The cycle to work on: the one still open (an older one is closed by the plan first), or this window's, opened.

    Windows that passed without a cycle get a row that says so. When this window's cycle is already
    closed it is returned as it is: a window has one scheduled cycle.
    """
    still_open = cycles.open_one(conn)
    if still_open is not None:
        return still_open
    window = window_at(now)
    _record_missed(conn, settings, window, now)
    return _open(conn, settings, window, window.key, now)


def open_by_hand(conn: Connection, settings: Settings, *, now: datetime, limited: bool = False) -> CycleRow:
    """The open cycle, or this window's, or an extra one (``<key>+2`` …) when this window's is over.

    A ``limited`` extra cycle only takes account of what a person asked for: it drains and closes.
    """
    cycle = ensure_open(conn, settings, now=now)
    if cycle.status == "open":
        return cycle
    window = window_at(now)
    taken = len(cycles.cycles_of_window(conn, window.key))
    cycle = _open(conn, settings, window, f"{window.key}+{taken + 1}", now)
    if limited:
        cycles.note_state(conn, cycle.cycle_id, {LIMITED: True})
    return cycle


def tick(
    conn: Connection,
    settings: Settings,
    *,
    now: datetime,
    policy: Policy,
    kinds: frozenset[ActionKind] | None = None,
) -> list[tuple[str, Action]]:
    """Assess, plan, and record the actions (of these kinds) that are newly wanted; returns (cycle id, action) of each.

    Calling it twice, or from two processes at once, asks for nothing twice.
    """
    cycle = cycles.open_one(conn)
    if cycle is None:
        return []
    take_back(conn, now=now)
    queue.reap(conn, now=now)
    pace.forget_far_slots(conn, now=now)
    counters.fold(conn)
    cycles.fail_stale(
        conn, cycle.cycle_id, now=now, running_before=now - SILENT_AFTER, requested_before=now - UNSTARTED_AFTER
    )
    state = assess(conn, settings, cycle, now)
    wanted = [action for action in plan(state, now, policy) if kinds is None or action.kind in kinds]
    return [(cycle.cycle_id, action) for action in wanted if _request(conn, cycle.cycle_id, action, now)]


def requested(conn: Connection, cycle_id: str) -> list[Action]:
    """What this cycle was asked for and nobody has begun, also by a process that died before it could begin."""
    return [
        Action(ActionKind(row.action), row.level, row.attempt, row.reason, row.parameters)
        for row in cycles.actions(conn, cycle_id)
        if row.status == ActionStatus.REQUESTED
    ]


def _request(conn: Connection, cycle_id: str, action: Action, now: datetime) -> bool:
    return cycles.request_action(
        conn,
        cycle_id,
        action.kind,
        level=action.level,
        attempt=action.attempt,
        reason=action.reason,
        parameters=action.parameters,
        now=now,
    )


def _record_missed(conn: Connection, settings: Settings, current: Window, now: datetime) -> None:
    last_end = cycles.latest_window_end(conn)
    if last_end is None or last_end >= current.start:
        return
    missed = windows_between(max(last_end, current.start - MISSED_LOOK_BACK), current.start)
    cycles.record_missed(conn, [(w.key, w.start, w.end) for w in missed], now=now, target=settings.target)


def _open(conn: Connection, settings: Settings, window: Window, cycle_id: str, now: datetime) -> CycleRow:
    cycles.open_cycle(conn, cycle_id, now=now, window_start=window.start, window_end=window.end, target=settings.target)
    cycle = cycles.open_one(conn) or cycles.cycle(conn, cycle_id)
    assert cycle is not None
    return cycle
