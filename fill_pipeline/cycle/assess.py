"""Assess: what stands where, read at a cost that does not grow with the tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from fill_pipeline.cycle.accounting import judge_sources
from fill_pipeline.cycle.levers import MEMORY, REMEMBERED, Lever, LeverUse, Record
from fill_pipeline.cycle.replacement import LOSS_MEMORY, is_hopeless
from fill_pipeline.cycle.state import ActionKind, ActionStatus, CycleState, PastAction, SourceState
from fill_pipeline.db import counters, cycles, learning, ledger, queue
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import CycleRow
from fill_pipeline.db.ledger import HealthRow, SourceStateRow
from fill_pipeline.quality.health import Diagnosis, HealthStatus, Verdict, wants_repair
from fill_pipeline.settings import Settings

LEAST_TIME = timedelta(minutes=30)
LIMITED = "limited"
QUEUE_METRICS = ("queue.pending", "queue.processing", "queue.dead")
CYCLE_METRICS = ("cycle.vehicles_added", "cycle.queued")


def assess(conn: Connection, settings: Settings, cycle: CycleRow, now: datetime) -> CycleState:
    """Return the state that the next decision depends on."""
    totals = counters.totals(conn, (*QUEUE_METRICS, "vehicles", "candidates.found"))
    own = counters.of_scope(conn, CYCLE_METRICS, cycle.cycle_id)
    previous = next(iter(cycles.last_ended(conn)), None)
    rows = ledger.source_states(conn, cycle.cycle_id, previous.cycle_id if previous else None)
    judged = _judged_now(conn, settings, cycle, rows, now)
    return CycleState(
        cycle_id=cycle.cycle_id,
        open=cycle.status == "open",
        deadline=deadline(cycle, settings),
        target=cycle.target,
        vehicles_added=own["cycle.vehicles_added"],
        vehicles_queued=own["cycle.queued"],
        pending=totals["queue.pending"],
        processing=totals["queue.processing"],
        dead=totals["queue.dead"],
        next_ready_at=queue.next_ready(conn, now=now) if totals["queue.pending"] else None,
        quality=previous.data_quality_score if previous else None,
        quality_target=settings.quality_target,
        total_vehicles=totals["vehicles"],
        limited=bool(cycle.metadata.get(LIMITED)),
        untried_candidates=totals["candidates.found"],
        sources=tuple(_source(row, judged.get(row.id), now) for row in rows),
        actions=tuple(_action(row) for row in cycles.actions(conn, cycle.cycle_id)),
        record=_record(conn, now),
        loss=learning.uncovered(conn, now - LOSS_MEMORY),
    )


def _record(conn: Connection, now: datetime) -> Record:
    """How the levers did lately."""
    rows = learning.lever_uses(conn, [*Lever], since=now - MEMORY, n=REMEMBERED)
    uses = [
        LeverUse(
            lever=Lever(row.lever),
            step=row.step,
            at=row.finished_at,
            vehicles=row.vehicles,
            requests=row.requests,
            cpu_seconds=row.cpu_seconds,
            pacing_minutes=row.pacing_minutes,
            minutes=row.minutes,
            expected=row.expected,
        )
        for row in rows
    ]
    return Record.of(uses, now)


def deadline(cycle: CycleRow, settings: Settings) -> datetime:
    """When a cycle must end (UTC): with its window, but never so soon that it could do nothing.

    One opened late runs into the next window, whose own cycle then opens after it.
    """
    ends = min(cycle.window_end, cycle.started_at + timedelta(minutes=settings.cycle_minutes))
    return max(ends, cycle.started_at + min(LEAST_TIME, timedelta(minutes=settings.cycle_minutes)))


def _judged_now(
    conn: Connection, settings: Settings, cycle: CycleRow, rows: Sequence[SourceStateRow], now: datetime
) -> dict[UUID, HealthRow]:
    """How the sources did in this cycle so far, once harvests have settled and none was repaired yet.

    So that one which broke since the last cycle is mended in this one.
    """
    past = cycles.actions(conn, cycle.cycle_id)
    settled = not any(a.status in (ActionStatus.REQUESTED, ActionStatus.RUNNING) for a in past)
    kinds = {a.action for a in past}
    if not settled or ActionKind.HARVEST not in kinds or ActionKind.REPAIR in kinds:
        return {}
    asked = {row.id for row in rows if row.harvests or row.found}
    return {
        h.source_id: h
        for h in judge_sources(conn, settings, cycle, rows, ledger.accounts(conn, cycle.cycle_id), now)
        if h.source_id in asked
    }


def _source(row: SourceStateRow, judged: HealthRow | None, now: datetime) -> SourceState:
    failing = row.last_health == HealthStatus.FAILING or row.config_error is not None
    usual = row.harvest_hours if row.harvest_hours is not None else min(row.revisit_hours, 2.0)
    # Whether one that fails is back is asked in every cycle, however seldom it used to change.
    rest = timedelta(hours=min(usual, 2.0) if failing else usual) - timedelta(minutes=5)
    wanted = row.active and row.status in ("live", "trial")
    quarantined = row.active and row.status == "quarantined"
    last = Verdict(
        HealthStatus(row.last_health or "healthy"),
        "",
        Diagnosis(row.last_diagnosis) if row.last_diagnosis in set(Diagnosis) else None,
    )
    unwell = row.config_error is not None or wants_repair(judged or last)
    return SourceState(
        slug=row.slug,
        crawlable=wanted and row.config_error is None,
        failing=failing,
        broken=(wanted or quarantined) and unwell,
        due=row.last_harvest_at is None or row.last_harvest_at + rest <= now,
        harvests=row.harvests,
        complete=bool(row.harvest_complete),
        breaker_open=row.breaker == "open" and row.breaker_until is not None and row.breaker_until > now,
        vehicles_added=row.vehicles_added,
        cut_short=row.cut_short,
        hopeless=is_hopeless(row, now),
    )


def _action(row: cycles.ActionRow) -> PastAction:
    return PastAction(
        kind=ActionKind(row.action),
        level=row.level,
        attempt=row.attempt,
        status=ActionStatus(row.status),
        gained=int(row.outcome.get("gained", 0)),
        finished_at=row.finished_at,
        vehicles=int(row.outcome.get("vehicles_added", 0)),
        lever=Lever(row.parameters["lever"]) if row.parameters.get("lever") in set(Lever) else None,
    )
