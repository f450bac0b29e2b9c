"""Cycles, their actions, and the reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from fill_pipeline.db.connect import Connection, queries

_sql = queries("cycles")


class CycleClosedError(RuntimeError):
    """A cycle was closed before all was written that was meant for it; the message says which."""


@dataclass(frozen=True, slots=True)
class CycleRow:
    """A row of ``fill_cycles``; times in UTC."""

    cycle_id: str
    status: str
    started_at: datetime
    completed_at: datetime | None
    window_start: datetime
    window_end: datetime
    target: int
    report: dict[str, Any] | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ActionRow:
    """A row of ``cycle_actions``."""

    id: int
    action: str
    level: int
    attempt: int
    status: str
    reason: str
    parameters: dict[str, Any]
    outcome: dict[str, Any]
    error: str | None
    run_id: str | None
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A finished cycle by its id, with its quality (0 to 1; None where nothing was measured)."""

    cycle_id: str
    data_quality_score: float | None


@dataclass(frozen=True, slots=True)
class ClosedCycle:
    """A finished cycle as summaries read it."""

    cycle_id: str
    status: str
    vehicles_added: int
    vehicles_queued: int
    sources_active: int
    sources_discovered: int
    data_quality_score: float | None
    on_target: bool
    window_start: datetime
    completed_at: datetime | None
    target: int
    queue_per_hour: float | None


def open_cycle(
    conn: Connection, cycle_id: str, *, now: datetime, window_start: datetime, window_end: datetime, target: int
) -> bool:
    """Open a cycle; False when it exists or another one is open."""
    rows = _sql.open_cycle(
        conn, cycle_id=cycle_id, now=now, window_start=window_start, window_end=window_end, target=target
    )
    return bool(list(rows))


def record_missed(
    conn: Connection, windows: Sequence[tuple[str, datetime, datetime]], *, now: datetime, target: int
) -> list[str]:
    """Write a row for each window (key, start, end) that has none; returns the keys written."""
    if not windows:
        return []
    rows = _sql.record_missed(
        conn,
        keys=[w[0] for w in windows],
        starts=[w[1] for w in windows],
        ends=[w[2] for w in windows],
        now=now,
        target=target,
    )
    return [row[0] for row in rows]


def cycle(conn: Connection, cycle_id: str) -> CycleRow | None:
    """That cycle."""
    rows = [CycleRow(*row) for row in _sql.cycle(conn, cycle_id=cycle_id)]
    return rows[0] if rows else None


def open_one(conn: Connection) -> CycleRow | None:
    """The cycle now open."""
    rows = [CycleRow(*row) for row in _sql.open_one(conn)]
    return rows[0] if rows else None


def cycles_of_window(conn: Connection, key: str) -> list[str]:
    """The ids of a window's cycles, in order: the scheduled one and those run by hand after it."""
    return [row[0] for row in _sql.cycles_of_window(conn, key=key)]


def closed_of_window(conn: Connection, key: str) -> list[CycleRow]:
    """A window's closed cycles, in order."""
    rows = [cycle(conn, cycle_id) for cycle_id in cycles_of_window(conn, key)]
    return [row for row in rows if row is not None and row.status == "closed"]


def latest(conn: Connection, n: int, statuses: Iterable[str] = ("closed",)) -> list[CycleRow]:
    """The last ``n`` cycles, newest first."""
    return [CycleRow(*row) for row in _sql.latest(conn, n=n, statuses=list(statuses))]


def last_ended(conn: Connection, n: int = 1) -> list[Ended]:
    """The last ``n`` finished cycles, newest first, without their reports: what is read every second stays short."""
    return [Ended(*row) for row in _sql.last_ended(conn, n=n)]


def latest_window_end(conn: Connection) -> datetime | None:
    """Where the last recorded window ends."""
    value: datetime | None = _sql.latest_window_end(conn)
    return value


def keep_open(conn: Connection, cycle_id: str) -> None:
    """Let nobody close a cycle until the transaction ends that writes into it; the first thing such a transaction does.

    Raises:
        CycleClosedError: it is closed already, and what was to be written is the next one's.
    """
    _sql.share_cycle(conn, cycle_id=cycle_id)
    if _sql.status(conn, cycle_id=cycle_id) == "closed":
        raise CycleClosedError(f"cycle {cycle_id} was closed meanwhile; what is left is the next one's")


def shut_out_writers(conn: Connection, cycle_id: str) -> None:
    """Wait for the transactions that write into a cycle, and let no other begin until this one ends.

    The first thing a closing transaction does: who still waits holds nothing that others may wait for.
    """
    _sql.shut_out_writers(conn, cycle_id=cycle_id)


def close_cycle(
    conn: Connection,
    cycle_id: str,
    *,
    now: datetime,
    vehicles_added: int,
    vehicles_queued: int,
    sources_active: int,
    sources_discovered: int,
    quality: float | None,
    on_target: bool,
    next_actions: Sequence[str],
    errors: Sequence[str],
    report: dict[str, Any],
    metadata: dict[str, Any],
) -> None:
    """Write the final account and close; a closed cycle's account may be written again (backfill)."""
    list(
        _sql.close_cycle(
            conn,
            cycle_id=cycle_id,
            now=now,
            vehicles_added=vehicles_added,
            vehicles_queued=vehicles_queued,
            sources_active=sources_active,
            sources_discovered=sources_discovered,
            quality=None if quality is None else Decimal(str(round(quality, 4))),
            on_target=on_target,
            next_actions=list(next_actions),
            errors=list(errors),
            report=orjson.dumps(report).decode(),
            metadata=orjson.dumps(metadata).decode(),
        )
    )


def note_state(conn: Connection, cycle_id: str, metadata: dict[str, Any]) -> None:
    """Keep what was last assessed on the open cycle."""
    _sql.note_state(conn, cycle_id=cycle_id, metadata=orjson.dumps(metadata).decode())


def request_action(
    conn: Connection,
    cycle_id: str,
    action: str,
    *,
    level: int,
    attempt: int,
    reason: str,
    parameters: dict[str, Any],
    now: datetime,
) -> bool:
    """Record that an action is wanted; False when it already is, or the cycle is not open."""
    rows = _sql.request_action(
        conn,
        cycle_id=cycle_id,
        action=action,
        level=level,
        attempt=attempt,
        reason=reason,
        parameters=orjson.dumps(parameters).decode(),
        now=now,
    )
    return bool(list(rows))


def start_action(
    conn: Connection, cycle_id: str, action: str, *, level: int, attempt: int, run_id: str | None, now: datetime
) -> int | None:
    """Take a requested action into work and return its id; None when somebody else has it."""
    rows = list(
        _sql.start_action(conn, cycle_id=cycle_id, action=action, level=level, attempt=attempt, run_id=run_id, now=now)
    )
    return int(rows[0][0]) if rows else None


def beat(conn: Connection, action_id: int, *, now: datetime, outcome: dict[str, Any]) -> bool:
    """A running action's sign of life, with what it has done so far; False where it was given up as dead."""
    return bool(list(_sql.beat(conn, id=action_id, now=now, outcome=orjson.dumps(outcome).decode())))


def finish_action(
    conn: Connection, action_id: int, *, now: datetime, outcome: dict[str, Any], error: str | None = None
) -> None:
    """End a running action, well or with an error."""
    _sql.finish_action(
        conn,
        id=action_id,
        now=now,
        status="failed" if error else "done",
        outcome=orjson.dumps(outcome).decode(),
        error=error,
    )


def fail_run(conn: Connection, run_id: str, *, now: datetime, error: str) -> int:
    """End the actions of a run that died; returns how many."""
    return int(_sql.fail_run(conn, run_id=run_id, now=now, error=error))


def running_runs(conn: Connection) -> list[str]:
    """Which runs have actions at work in the open cycle."""
    return [row[0] for row in _sql.running_runs(conn)]


def fail_stale(
    conn: Connection, cycle_id: str, *, now: datetime, running_before: datetime, requested_before: datetime
) -> list[str]:
    """End actions without a sign of life; returns their names."""
    rows = _sql.fail_stale(
        conn, cycle_id=cycle_id, now=now, running_before=running_before, requested_before=requested_before
    )
    return [f"{row[1]}/{row[2]}/{row[3]}" for row in rows]


def actions(conn: Connection, cycle_id: str) -> list[ActionRow]:
    """Everything this cycle did or is doing, in order."""
    return [ActionRow(*row) for row in _sql.actions(conn, cycle_id=cycle_id)]


def save_report(conn: Connection, kind: str, period: str, report: dict[str, Any], *, now: datetime) -> None:
    """Keep a report; a later one of the same period replaces it."""
    _sql.save_report(conn, kind=kind, period=period, report=orjson.dumps(report).decode(), written_at=now)


def report(conn: Connection, kind: str, period: str) -> dict[str, Any] | None:
    """The report of that kind (cycle, daily, weekly, monthly) and period."""
    value: dict[str, Any] | None = _sql.report(conn, kind=kind, period=period)
    return value


def reports(conn: Connection, kind: str, n: int) -> list[tuple[str, dict[str, Any]]]:
    """The last ``n`` reports of a kind, newest first, each with its period."""
    return [(row[0], row[1]) for row in _sql.reports(conn, kind=kind, n=n)]


def period_cycles(conn: Connection, start: datetime, end: datetime) -> list[ClosedCycle]:
    """The finished and the missed cycles whose window began in ``[start, end)``."""
    return [ClosedCycle(*row) for row in _sql.period_cycles(conn, start=start, end=end)]


def discovered_between(conn: Connection, start: datetime, end: datetime) -> int:
    """Sources discovered and taken into work in a period."""
    return int(_sql.discovered_between(conn, start=start, end=end))


def discovered_in_cycle(conn: Connection, cycle_id: str) -> int:
    """Candidates that a cycle took into work."""
    return int(_sql.discovered_in_cycle(conn, cycle_id=cycle_id))
