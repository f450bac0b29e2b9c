"""Everything the dashboard, ``/metrics`` and ``fill status`` show, read in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from fill_pipeline.cycle.assess import LIMITED, assess
from fill_pipeline.cycle.figures import FIGURES, Figures, reliability, throughput
from fill_pipeline.cycle.forecast import month_of, week_of
from fill_pipeline.cycle.lifecycle import policy_of
from fill_pipeline.cycle.plan import plan
from fill_pipeline.cycle.state import ActionKind, ActionStatus, CycleState
from fill_pipeline.cycle.window import window_at
from fill_pipeline.dashboard.source_view import SourceHealth, SourceView, view_source
from fill_pipeline.dashboard.today import Today, today
from fill_pipeline.db import counters, cycles, incidents, language_model, ledger, overview
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import ActionRow, CycleRow
from fill_pipeline.db.incidents import IncidentRow
from fill_pipeline.db.language_model import Usage
from fill_pipeline.db.ledger import HealthRow
from fill_pipeline.db.overview import (
    CandidateLine,
    CycleLine,
    FailureSum,
    FieldQuality,
    RepairLine,
    SourceLine,
    VehicleLine,
)
from fill_pipeline.quality.health import is_in_work
from fill_pipeline.settings import Settings

RECENT_CYCLES = 24  # two days
HEAT_CYCLES = 12
SPARK_CYCLES = 12
LATEST = 12
MOST_INCIDENTS = 100
QUALITY_AGE = timedelta(seconds=10)  # the mean over a cycle's vehicles costs the more, the more they are
LADDER = (
    ActionKind.DRAIN,
    ActionKind.HARVEST,
    ActionKind.DISCOVER,
    ActionKind.REPAIR,
    ActionKind.IMPROVE,
    ActionKind.CLOSE,
)
"""The rungs in the order the plan tries them."""

QUEUE_METRICS = tuple(f"queue.{s}" for s in ("pending", "processing", "complete", "failed", "skipped", "dead"))
LISTING_METRICS = tuple(f"listings.{s}" for s in ("active", "delisted", "sold"))
CANDIDATE_METRICS = tuple(f"candidates.{s}" for s in ("found", "probed", "trial", "active", "rejected"))


@dataclass(frozen=True, slots=True)
class Rung:
    """A rung of the ladder in one cycle; ``last`` is its latest action, None when not tried yet."""

    kind: ActionKind
    tries: int
    last: ActionRow | None


@dataclass(frozen=True, slots=True)
class CycleNow:
    """The open cycle as it stands, or the last one as it ended. Rates are per hour, quality 0 to 1, as it was then."""

    cycle_id: str
    open: bool
    started_at: datetime
    ends_at: datetime
    completed_at: datetime | None
    target: int
    vehicles_added: int
    vehicles_queued: int
    quality: float | None
    quality_at: datetime
    pages_fetched: int
    pages_failed: int
    vehicles_per_hour: float
    queue_per_hour: float
    extraction_success: float | None
    rungs: tuple[Rung, ...]
    actions: tuple[ActionRow, ...]
    next_steps: tuple[str, ...]
    errors: tuple[str, ...]
    model: Usage | None

    @property
    def gap(self) -> int:
        """Vehicles still to add; 0 on target."""
        return max(0, self.target - self.vehicles_added)

    @property
    def running(self) -> tuple[str, ...]:
        """The rungs of the ladder that are at work."""
        return tuple(rung.kind.value for rung in self.rungs if rung.last and rung.last.status == ActionStatus.RUNNING)

    @property
    def on_target(self) -> bool:
        """Whether the vehicles added alone reach the target."""
        return self.vehicles_added >= self.target


@dataclass(frozen=True, slots=True)
class Heat:
    """Quality by field (rows) and cycle (columns, oldest first; the last may still be open)."""

    cycle_ids: tuple[str, ...]
    fields: tuple[str, ...]
    cells: Mapping[tuple[str, str], FieldQuality]

    def latest_accuracy(self, field: str) -> float | None:
        """How often the field agreed with other evidence in the last cycle that could compare it."""
        rates = (self.cells[field, c].accuracy for c in reversed(self.cycle_ids) if (field, c) in self.cells)
        return next((rate for rate in rates if rate is not None), None)


@dataclass(frozen=True, slots=True)
class Past:
    """What only changes when a cycle ends; read once for each ending."""

    key: tuple[tuple[str, str | None], ...]
    health: Mapping[UUID, HealthRow]
    yields: Mapping[UUID, tuple[int, ...]]
    quality: tuple[FieldQuality, ...]
    report: Mapping[str, Any]
    day: Mapping[str, Any]
    week: Mapping[str, Any]
    month: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Overview:
    """One reading. ``totals`` are counters by name: vehicles, queue.*, listings.*, candidates.*.

    ``measured`` are document 1's figures: of an open cycle as they stand, of a closed one as its report has them, with
    today's totals. What is only measured when a cycle ends (quality issues, reliability) is the last one's.
    """

    taken_at: datetime
    quality_target: float
    cycle: CycleNow | None
    today: Today
    totals: Mapping[str, int]
    sources: tuple[SourceView, ...]
    heat: Heat
    failures: tuple[FailureSum, ...]
    incidents: tuple[IncidentRow, ...]
    repairs: tuple[RepairLine, ...]
    candidates: tuple[CandidateLine, ...]
    vehicles: tuple[VehicleLine, ...]
    past: Past
    measured: Figures

    def added_in(self, report: Mapping[str, Any]) -> int:
        """Vehicles added in the week or month of a summary: as it was last written, and by the open cycle since."""
        added: int = report["vehicles_added"]
        if self.cycle is None or not self.cycle.open:
            return added
        day = window_at(self.cycle.started_at).start.date()
        now_in = (week_of(day).name, month_of(day).name)
        return added + (self.cycle.vehicles_added if (report.get("week") or report.get("month")) in now_in else 0)

    @property
    def incidents_open(self) -> int:
        """How many incidents are neither over nor dismissed."""
        return sum(incident.is_open for incident in self.incidents)

    @property
    def sources_active(self) -> int:
        """Sources in work: neither paused, in quarantine nor retired."""
        return self.measured.sources_active

    def sources_by_health(self) -> dict[SourceHealth, int]:
        """How many sources stand how."""
        return {health: sum(s.health is health for s in self.sources) for health in SourceHealth}

    def as_line(self) -> dict[str, Any]:
        """The figures with where the cycle and the day stand, as plain data; by source and by field is left out."""
        c = self.cycle
        figures = {k: v for k, v in self.measured.as_json().items() if not isinstance(v, Mapping)}
        return {
            "taken_at": self.taken_at,
            "cycle_id": c and c.cycle_id,
            "open": c is not None and c.open,
            "running": list(c.running) if c else [],
            **figures,
            "next_actions": list(c.next_steps) if c else [],
            "today_vehicles_added": self.today.vehicles_added,
            "today_target": self.today.target,
            "today_forecast": self.today.forecast,
            "today_status": self.today.status.value,
            "incidents": self.incidents_open,
        }


def snapshot(conn: Connection, settings: Settings, now: datetime, last: Overview | None = None) -> Overview:
    """Read how everything stands at ``now``; what has hardly changed since ``last`` is taken from there.

    That is what only changes when a cycle ends, and for ten seconds the open cycle's quality.

    The connection must be in autocommit; the reading is one short read-only transaction, so its figures agree.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        lines = overview.recent_cycles(conn, midnight=midnight, n=RECENT_CYCLES)
        closed = [line for line in lines if line.status == "closed"]
        open_line = next((line for line in lines if line.status == "open"), None)
        key = tuple((line.cycle_id, line.revised_at) for line in closed[:HEAT_CYCLES])
        past = last.past if last else None
        if past is None or past.key != key:
            past = _past(conn, key, open_line, now)
        line = open_line or next(iter(closed), None)
        rows = overview.sources(conn, line.cycle_id if line else None)
        waiting = overview.queue_by_source(conn)
        cycle, so_far = None, []
        if open_line is not None:
            cycle = _open_cycle(conn, settings, open_line, rows, now, last.cycle if last else None)
            so_far = overview.quality_so_far(conn, open_line.cycle_id)
        elif line is not None:
            cycle = _closed_cycle(conn, line, rows, now)
        recent = [line.cycle_id for line in lines if line.status != "missed"][:2]
        totals = counters.totals(conn, ("vehicles", *QUEUE_METRICS, *LISTING_METRICS, *CANDIDATE_METRICS))
        sources = tuple(
            view_source(
                row,
                past.health.get(row.id),
                past.yields.get(row.id, ()) + ((row.found,) if open_line is not None and row.pages_fetched else ()),
                waiting.get(row.id, (0, 0)),
                now,
            )
            for row in rows
        )
        return Overview(
            taken_at=now,
            quality_target=settings.quality_target,
            cycle=cycle,
            today=today(settings, lines, cycle.vehicles_added if cycle is not None and cycle.open else 0, now),
            totals=totals,
            sources=sources,
            heat=_heat(settings, [*reversed(closed[:HEAT_CYCLES])], open_line, [*past.quality, *so_far]),
            failures=tuple(overview.failures(conn, recent, LATEST)),
            incidents=tuple(incidents.open_incidents(conn, MOST_INCIDENTS)),
            repairs=tuple(overview.latest_repairs(conn, LATEST)),
            candidates=tuple(overview.latest_candidates(conn, LATEST)),
            vehicles=tuple(overview.latest_vehicles(conn, LATEST)),
            past=past,
            measured=_measured(settings, cycle, rows, sources, totals, so_far, past, now),
        )


def _measured(
    settings: Settings,
    cycle: CycleNow | None,
    rows: Sequence[SourceLine],
    sources: Sequence[SourceView],
    totals: Mapping[str, int],
    so_far: Sequence[FieldQuality],
    past: Past,
    now: datetime,
) -> Figures:
    """Document 1's figures of the cycle shown."""
    of_now: dict[str, Any] = {
        "total_vehicles": totals["vehicles"],
        "queue_pending": totals["queue.pending"],
        "queue_processing": totals["queue.processing"],
        "queue_dead": totals["queue.dead"],
    }
    if cycle is not None and not cycle.open and set(FIGURES) <= set(past.report):
        known = {name: past.report[name] for name in FIGURES} | of_now
        known["quality_issues"] = tuple(known["quality_issues"])
        known["queued_for_next_target"] = totals["queue.pending"] >= known["queue_needed"]
        return Figures(**known)
    target = cycle.target if cycle else settings.target
    added = cycle.vehicles_added if cycle else 0
    rates = throughput(rows, added=added, target=target, started_at=cycle.started_at if cycle else now, until=now)
    in_work = [s for s in sources if is_in_work(s.line)]
    standing = Counter(s.health for s in in_work)
    return Figures(
        vehicles_added=added,
        target=target,
        gap=max(0, target - added),
        on_target=added >= target,
        vehicles_queued=cycle.vehicles_queued if cycle else 0,
        queue_needed=rates.queue_needed,
        queued_for_next_target=totals["queue.pending"] >= rates.queue_needed,
        data_quality=None if cycle is None or cycle.quality is None else round(cycle.quality, 4),
        quality_target=settings.quality_target,
        quality_issues=tuple(past.report.get("quality_issues", ())),
        sources_active=len(in_work),
        sources_healthy=standing[SourceHealth.HEALTHY],
        sources_degraded=standing[SourceHealth.DEGRADED],
        sources_failing=standing[SourceHealth.FAILING],
        sources_paused=len(sources) - len(in_work),
        vehicles_per_hour=rates.vehicles_per_hour,
        queue_per_hour=rates.queue_per_hour,
        extraction_success=rates.extraction_success,
        quality_by_field={
            cell.field_name: {
                "completeness": cell.completeness,
                "accuracy": cell.accuracy,
                "sample_size": cell.sample_size,
            }
            for cell in so_far
        },
        **of_now,
        **reliability({s.line.slug: s.reliability for s in in_work if s.reliability != (None, None)}),
    )


def _past(
    conn: Connection, key: tuple[tuple[str, str | None], ...], open_line: CycleLine | None, now: datetime
) -> Past:
    history = ledger.history(conn, open_line.cycle_id if open_line else "", before=now, n=SPARK_CYCLES)
    closed = [cycle_id for cycle_id, _ in key]
    return Past(
        key=key,
        health={row.source_id: row for row in ledger.health(conn, closed[0])} if closed else {},
        yields={source: tuple(run.found for run in reversed(runs)) for source, runs in history.items()},
        quality=tuple(overview.quality_of(conn, closed)),
        report=next((row.report for row in cycles.latest(conn, 1) if row.report), {}),
        day=next((report for _, report in cycles.reports(conn, "daily", 1)), {}),
        week=next((report for _, report in cycles.reports(conn, "weekly", 1)), {}),
        month=next((report for _, report in cycles.reports(conn, "monthly", 1)), {}),
    )


def _open_cycle(
    conn: Connection,
    settings: Settings,
    line: CycleLine,
    rows: Sequence[SourceLine],
    now: datetime,
    last: CycleNow | None,
) -> CycleNow:
    row = CycleRow(
        cycle_id=line.cycle_id,
        status=line.status,
        started_at=line.started_at,
        completed_at=None,
        window_start=line.window_start,
        window_end=line.window_end,
        target=line.target,
        report=None,
        metadata={LIMITED: line.limited},
    )
    state = assess(conn, settings, row, now)
    if last is not None and last.open and last.cycle_id == line.cycle_id and now - last.quality_at < QUALITY_AGE:
        quality, quality_at = last.quality, last.quality_at
    else:
        quality, quality_at = overview.quality(conn, line.cycle_id), now
    waiting = _next_steps(state, settings, now)
    return _cycle(
        conn, line, rows, now, state.vehicles_added, state.vehicles_queued, quality, quality_at, state.deadline, waiting
    )


def _closed_cycle(conn: Connection, line: CycleLine, rows: Sequence[SourceLine], now: datetime) -> CycleNow:
    return _cycle(
        conn,
        line,
        rows,
        now,
        line.vehicles_added,
        line.vehicles_queued,
        line.quality,
        now,
        line.completed_at or line.window_end,
        tuple(line.next_actions),
    )


def _cycle(
    conn: Connection,
    line: CycleLine,
    rows: Sequence[SourceLine],
    now: datetime,
    added: int,
    queued: int,
    quality: float | None,
    quality_at: datetime,
    ends_at: datetime,
    next_steps: tuple[str, ...],
) -> CycleNow:
    actions = tuple(cycles.actions(conn, line.cycle_id))
    rates = throughput(
        rows, added=added, target=line.target, started_at=line.started_at, until=line.completed_at or now
    )
    return CycleNow(
        cycle_id=line.cycle_id,
        open=line.status == "open",
        started_at=line.started_at,
        ends_at=ends_at,
        completed_at=line.completed_at,
        target=line.target,
        vehicles_added=added,
        vehicles_queued=queued,
        quality=quality,
        quality_at=quality_at,
        pages_fetched=sum(row.pages_fetched for row in rows),
        pages_failed=sum(row.pages_failed for row in rows),
        vehicles_per_hour=rates.vehicles_per_hour,
        queue_per_hour=rates.queue_per_hour,
        extraction_success=rates.extraction_success,
        rungs=tuple(_rung(kind, actions) for kind in LADDER),
        actions=actions,
        next_steps=next_steps,
        errors=tuple(line.errors)
        or tuple(f"{a.action}/{a.level}/{a.attempt} failed: {a.error}" for a in actions if a.status == "failed"),
        model=language_model.usage(conn, line.cycle_id),
    )


def _rung(kind: ActionKind, actions: Iterable[ActionRow]) -> Rung:
    own = [action for action in actions if action.action == kind]
    busy = [action for action in own if action.status in (ActionStatus.RUNNING, ActionStatus.REQUESTED)]
    return Rung(kind, len(own), next(reversed(busy or own), None))


def _next_steps(state: CycleState, settings: Settings, now: datetime) -> tuple[str, ...]:
    """What the plan would ask for if everything now running ended well at this moment."""
    after = tuple(
        replace(action, status=ActionStatus.DONE, gained=max(action.gained, 1), finished_at=now)
        if action.in_flight
        else action
        for action in state.actions
    )
    wanted = plan(replace(state, actions=after), now, policy_of(settings, wait=True))
    if wanted:
        return tuple(dict.fromkeys(str(action) for action in wanted))
    if state.pending and state.next_ready_at is not None and state.next_ready_at > now:
        return (f"wait: the next page may be fetched at {state.next_ready_at:%H:%M:%S} UTC",)
    return (f"wait: rest the sources, then try them again, until {state.deadline:%H:%M} UTC",)


def _heat(
    settings: Settings, closed: Sequence[CycleLine], open_line: CycleLine | None, cells: Sequence[FieldQuality]
) -> Heat:
    """The core fields first, then the others by name."""
    names = {cell.field_name for cell in cells}
    core = [name for name in settings.core_fields if name in names]
    return Heat(
        cycle_ids=tuple(line.cycle_id for line in closed) + ((open_line.cycle_id,) if open_line else ()),
        fields=(*core, *sorted(names - set(core))),
        cells={(cell.field_name, cell.cycle_id): cell for cell in cells},
    )
