"""Cycles, their actions, the sources' accounts in them, and the reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from fill_pipeline.db.connect import Connection, queries

_sql = queries("cycles")


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
class SourceStateRow:
    """A source as a cycle sees it: what it did so far and how it was when last judged."""

    id: UUID
    slug: str
    kind: str
    active: bool
    status: str
    config_error: str | None
    asset_group: str | None
    expected_count: int | None
    last_harvest_at: datetime | None
    breaker: str
    breaker_until: datetime | None
    harvests: int
    harvest_complete: bool | None
    found: int
    vehicles_added: int
    queued: int
    last_health: str | None
    last_diagnosis: str | None
    revisit_hours: float


@dataclass(slots=True)
class SourceStats:
    """What a batch, or a cycle, of one source did; adds up. ``failures`` counts by category."""

    index_pages: int = 0
    cards_seen: int = 0
    expected_count: int | None = None
    queued: int = 0
    pages_fetched: int = 0
    pages_unchanged: int = 0
    pages_failed: int = 0
    pages_empty: int = 0
    bytes_received: int = 0
    found: int = 0
    new: int = 0
    updated: int = 0
    skipped: int = 0
    quarantined: int = 0
    delisted: int = 0
    vehicles_added: int = 0
    quality_sum: float = 0.0
    quality_count: int = 0
    harvests: int = 0
    harvest_complete: bool | None = None
    failures: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def fail(self, category: str, n: int = 1) -> None:
        """Count failed pages."""
        self.pages_failed += n
        self.failures[category] = self.failures.get(category, 0) + n

    def add(self, part: SourceStats) -> None:
        """Add what another batch did."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(part, name))
        for category, n in part.failures.items():
            self.failures[category] = self.failures.get(category, 0) + n
        self.notes += [note for note in part.notes if note not in self.notes]
        if part.expected_count is not None:
            self.expected_count = part.expected_count
        if part.harvest_complete is not None:
            self.harvest_complete = part.harvest_complete

    @property
    def quality(self) -> float | None:
        """Mean completeness (0 to 1) of the listings read; None when none was."""
        return self.quality_sum / self.quality_count if self.quality_count else None


_SUMS = tuple(
    name
    for name in SourceStats.__dataclass_fields__
    if name not in ("failures", "notes", "expected_count", "harvest_complete")
)


@dataclass(frozen=True, slots=True)
class SourceAccount:
    """One source's account of one cycle."""

    source_id: UUID
    slug: str
    kind: str
    status: str
    active: bool
    config_error: str | None
    stats: SourceStats
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class PastRun:
    """One earlier cycle of a source."""

    cycle_id: str
    found: int
    pages_fetched: int
    pages_failed: int
    index_pages: int
    cards_seen: int
    quality_sum: float
    quality_count: int
    harvests: int
    harvest_complete: bool | None


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts behind a field's completeness (filled / knowable) and accuracy (agreed / compared)."""

    field_name: str
    source_id: UUID
    slug: str
    knowable: int = 0
    filled: int = 0
    compared: int = 0
    agreed: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class HealthRow:
    """A row of ``source_health``: status healthy, degraded or failing, and why."""

    source_id: UUID
    slug: str
    status: str
    reason: str
    diagnosis: str | None
    vehicles_extracted: int
    success_rate: float | None
    error_rate: float | None
    avg_quality_score: float | None
    last_checked: datetime


@dataclass(frozen=True, slots=True)
class QualityRow:
    """A row of ``quality_metrics``; rates 0 to 1, None where nothing could be measured."""

    field_name: str
    completeness: float | None
    accuracy: float | None
    sample_size: int
    issues: list[str]
    source_id: UUID | None


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


def latest(conn: Connection, n: int, statuses: Iterable[str] = ("closed",)) -> list[CycleRow]:
    """The last ``n`` cycles, newest first."""
    return [CycleRow(*row) for row in _sql.latest(conn, n=n, statuses=list(statuses))]


def latest_window_end(conn: Connection) -> datetime | None:
    """Where the last recorded window ends."""
    value: datetime | None = _sql.latest_window_end(conn)
    return value


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


def beat(conn: Connection, action_id: int, *, now: datetime, outcome: dict[str, Any]) -> None:
    """A running action's sign of life, with what it has done so far."""
    _sql.beat(conn, id=action_id, now=now, outcome=orjson.dumps(outcome).decode())


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


def source_states(conn: Connection, cycle_id: str, previous_cycle: str | None) -> list[SourceStateRow]:
    """Every source as this cycle sees it."""
    return [
        SourceStateRow(*row) for row in _sql.source_states(conn, cycle_id=cycle_id, previous_cycle=previous_cycle or "")
    ]


def add_stats(conn: Connection, source_id: UUID, cycle_id: str, stats: SourceStats, *, now: datetime) -> None:
    """Add what one batch of one source did to its account of the cycle."""
    values = {name: getattr(stats, name) for name in SourceStats.__dataclass_fields__}
    values["failures"] = orjson.dumps(stats.failures).decode()
    _sql.add_stats(conn, source_id=source_id, cycle_id=cycle_id, now=now, **values)


def add_tallies(conn: Connection, cycle_id: str, tallies: Sequence[Tally]) -> None:
    """Add one batch's counts behind completeness and accuracy."""
    if not tallies:
        return
    _sql.add_tallies(
        conn,
        cycle_id=cycle_id,
        source_ids=[t.source_id for t in tallies],
        fields=[t.field_name for t in tallies],
        knowable=[t.knowable for t in tallies],
        filled=[t.filled for t in tallies],
        compared=[t.compared for t in tallies],
        agreed=[t.agreed for t in tallies],
        quarantined=[t.quarantined for t in tallies],
    )


def tallies(conn: Connection, cycle_id: str) -> list[Tally]:
    """A cycle's counts by field and source."""
    return [Tally(*row) for row in _sql.tallies(conn, cycle_id=cycle_id)]


def accounts(conn: Connection, cycle_id: str) -> list[SourceAccount]:
    """Every source's account of a cycle, by slug."""
    names = list(SourceStats.__dataclass_fields__)
    found = []
    for row in _sql.stats(conn, cycle_id=cycle_id):
        *head, first_at, last_at = row
        stats = SourceStats(**dict(zip(names, head[6:], strict=True)))
        found.append(SourceAccount(*head[:6], stats, first_at, last_at))  # type: ignore[call-arg]
    return found


def history(conn: Connection, cycle_id: str, *, before: datetime, n: int = 24) -> dict[UUID, list[PastRun]]:
    """Each source's last ``n`` cycles before this one, newest first."""
    runs: dict[UUID, list[PastRun]] = {}
    for row in _sql.history(conn, cycle_id=cycle_id, before=before, n=n):
        runs.setdefault(row[0], []).append(PastRun(*row[1:]))
    return runs


def save_health(conn: Connection, cycle_id: str, rows: Iterable[HealthRow]) -> None:
    """Write each source's health in this cycle."""
    for h in rows:
        _sql.save_health(
            conn,
            cycle_id=cycle_id,
            **{name: getattr(h, name) for name in HealthRow.__dataclass_fields__ if name != "slug"},
        )


def health(conn: Connection, cycle_id: str) -> list[HealthRow]:
    """Each source's health in a cycle, by slug."""
    return [HealthRow(*row) for row in _sql.health_of_cycle(conn, cycle_id=cycle_id)]


def save_quality(conn: Connection, cycle_id: str, rows: Iterable[QualityRow], *, now: datetime) -> None:
    """Write the quality of a cycle by field, overall and by source."""
    for q in rows:
        _sql.save_quality(
            conn,
            cycle_id=cycle_id,
            measured_at=now,
            **{name: getattr(q, name) for name in QualityRow.__dataclass_fields__},
        )


def quality(conn: Connection, cycle_id: str, *, overall: bool = True) -> list[QualityRow]:
    """The quality of a cycle by field: over all sources, or of each."""
    return [QualityRow(*row) for row in _sql.quality_of_cycle(conn, cycle_id=cycle_id, overall=overall)]


def vehicles_of_cycle(conn: Connection, cycle_id: str) -> tuple[int, int, float | None]:
    """Vehicles added in a cycle, touched in it, and the mean completeness (0 to 1) of the touched."""
    row = next(iter(_sql.vehicles_of_cycle(conn, cycle_id=cycle_id)))
    return int(row[0]), int(row[1]), None if row[2] is None else float(row[2])


def queued_of_cycle(conn: Connection, cycle_id: str) -> int:
    """Queue rows put in by a cycle, counted row by row."""
    return int(_sql.queued_of_cycle(conn, cycle_id=cycle_id))


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


def uptime(conn: Connection, start: datetime, end: datetime) -> tuple[int, int]:
    """(checks that found a source not failing, checks) in a period."""
    row = next(iter(_sql.uptime(conn, start=start, end=end)))
    return int(row[0]), int(row[1])


def discovered_between(conn: Connection, start: datetime, end: datetime) -> int:
    """Sources discovered and taken into work in a period."""
    return int(_sql.discovered_between(conn, start=start, end=end))


def discovered_in_cycle(conn: Connection, cycle_id: str) -> int:
    """Candidates that a cycle took into work."""
    return int(_sql.discovered_in_cycle(conn, cycle_id=cycle_id))
