"""What a cycle did: figures from the rows themselves, checked against the counters before they are reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fill_pipeline.cycle.figures import Figures, reliability, throughput
from fill_pipeline.db import counters, cycles, ledger, queue
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import CycleRow
from fill_pipeline.db.ledger import HealthRow, SourceAccount, SourceStateRow
from fill_pipeline.quality.health import HealthStatus, health_row, is_in_work
from fill_pipeline.quality.metrics import evidence_of, issues, quality_rows
from fill_pipeline.settings import Settings

HISTORY_CYCLES = 84  # a week: what is usual at an hour of day needs several days
LEAST_LISTINGS = 5  # fewer say nothing about what a source states
QUEUE_METRICS = ("queue.pending", "queue.processing", "queue.dead")
OWN_METRICS = ("cycle.vehicles_added", "cycle.vehicles_merged", "cycle.queued")


@dataclass(frozen=True, slots=True)
class Account:
    """A cycle's figures and what they rest on.

    ``vehicles_merged`` of this cycle's vehicles turned out to be others we had; they are not in ``vehicles_added``.
    """

    cycle: CycleRow
    figures: Figures
    vehicles_merged: int
    vehicles_touched: int
    sources_discovered: int
    sources: tuple[SourceAccount, ...]
    health: tuple[HealthRow, ...]
    failures: tuple[tuple[str, str, int], ...]
    mismatches: tuple[str, ...]


def settle(conn: Connection, settings: Settings, cycle: CycleRow, now: datetime) -> Account:
    """Judge every source, measure quality, write both, and return the reconciled account of a cycle."""
    accounts = ledger.accounts(conn, cycle.cycle_id)
    states = ledger.source_states(conn, cycle.cycle_id, _previous_health(conn, cycle))
    judged = judge_sources(conn, settings, cycle, states, accounts, now)
    quality = quality_rows(evidence_of(conn, cycle.cycle_id), settings)
    with conn.transaction():
        health = ledger.save_health(conn, cycle.cycle_id, judged, until=cycle.window_start)
        ledger.save_quality(conn, cycle.cycle_id, quality, now=now)
    added, touched, score = ledger.vehicles_of_cycle(conn, cycle.cycle_id)
    own = counters.of_scope(conn, OWN_METRICS, cycle.cycle_id)
    totals = counters.totals(conn, ("vehicles", *QUEUE_METRICS))
    rates = throughput(
        [account.stats for account in accounts],
        added=added,
        target=cycle.target,
        started_at=cycle.started_at,
        until=cycle.completed_at or now,
    )
    in_work = {row.id for row in states if is_in_work(row)}
    standing = Counter(row.status for row in health if row.source_id in in_work)
    figures = Figures(
        vehicles_added=added,
        target=cycle.target,
        gap=max(0, cycle.target - added),
        on_target=added >= cycle.target,
        vehicles_queued=own["cycle.queued"],
        queue_needed=rates.queue_needed,
        queued_for_next_target=totals["queue.pending"] >= rates.queue_needed,
        data_quality=None if score is None else round(score, 4),
        quality_target=settings.quality_target,
        quality_issues=tuple(issues(quality)),
        sources_active=len(in_work),
        sources_healthy=standing[HealthStatus.HEALTHY],
        sources_degraded=standing[HealthStatus.DEGRADED],
        sources_failing=standing[HealthStatus.FAILING],
        sources_paused=sum(row.status != "retired" for row in states) - len(in_work),
        vehicles_per_hour=rates.vehicles_per_hour,
        queue_per_hour=rates.queue_per_hour,
        total_vehicles=totals["vehicles"],
        queue_pending=totals["queue.pending"],
        queue_processing=totals["queue.processing"],
        queue_dead=totals["queue.dead"],
        extraction_success=rates.extraction_success,
        quality_by_field={
            row.field_name: {"completeness": row.completeness, "accuracy": row.accuracy, "sample_size": row.sample_size}
            for row in quality
            if row.source_id is None
        },
        **reliability({h.slug: (h.reliability_7d, h.reliability_30d) for h in health if h.source_id in in_work}),
    )
    return Account(
        cycle=cycle,
        figures=figures,
        vehicles_merged=own["cycle.vehicles_merged"],
        vehicles_touched=touched,
        sources_discovered=cycles.discovered_in_cycle(conn, cycle.cycle_id),
        sources=tuple(accounts),
        health=tuple(health),
        failures=tuple(queue.failures_by_category(conn, cycle.cycle_id)),
        mismatches=tuple(mismatches(conn, cycle.cycle_id)),
    )


def mismatches(conn: Connection, cycle_id: str) -> list[str]:
    """Where two ways of counting the same thing differ; each is an error of ours, said in the report."""
    own = counters.of_scope(conn, OWN_METRICS, cycle_id)
    found = []
    added = ledger.vehicles_of_cycle(conn, cycle_id)[0]
    if own["cycle.vehicles_added"] != added:
        found.append(f"vehicles added: {added} rows, but the counter says {own['cycle.vehicles_added']}")
    queued = ledger.queued_of_cycle(conn, cycle_id)
    if own["cycle.queued"] != queued:
        found.append(f"vehicles queued: {queued} rows, but the counter says {own['cycle.queued']}")
    claimed = sum(a.stats.vehicles_added for a in ledger.accounts(conn, cycle_id))
    merged = own["cycle.vehicles_merged"]
    if claimed != added + merged:
        found.append(
            f"vehicles added: {added} rows and {merged} merged into others, but the sources' accounts sum to {claimed}"
        )
    return found


def _previous_health(conn: Connection, cycle: CycleRow) -> str | None:
    return next((c.cycle_id for c in cycles.last_ended(conn, 2) if c.cycle_id != cycle.cycle_id), None)


def judge_sources(
    conn: Connection,
    settings: Settings,
    cycle: CycleRow,
    states: Sequence[SourceStateRow],
    accounts: Sequence[SourceAccount],
    now: datetime,
) -> list[HealthRow]:
    """Every active source's health, by what it did in this cycle and before it."""
    by_source = {account.source_id: account for account in accounts}
    before = cycle.completed_at or now
    past = ledger.history(conn, cycle.cycle_id, before=before, n=HISTORY_CYCLES)
    falls = ledger.field_falls(conn, cycle.cycle_id, before=before, least=LEAST_LISTINGS)
    return [
        health_row(
            row,
            by_source.get(row.id),
            past.get(row.id, ()),
            hour=cycle.window_start.astimezone(UTC).hour,
            now=now,
            freshness=timedelta(hours=settings.freshness_hours),
            falls=falls.get(row.id, ()),
        )
        for row in states
        if row.active and row.status != "retired"
    ]
