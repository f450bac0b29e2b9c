"""What a cycle did: figures from the rows themselves, checked against the counters before they are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fill_pipeline.db import counters, cycles, ledger, queue
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import CycleRow
from fill_pipeline.db.ledger import HealthRow, QualityRow, SourceAccount
from fill_pipeline.quality.health import HealthStatus, health_row
from fill_pipeline.quality.metrics import evidence_of, quality_rows
from fill_pipeline.settings import Settings

HISTORY_CYCLES = 24
OWN_METRICS = ("cycle.vehicles_added", "cycle.vehicles_merged", "cycle.queued")


@dataclass(frozen=True, slots=True)
class Account:
    """A cycle's figures. Rates are per hour of the cycle's own running time; quality is 0 to 1.

    ``vehicles_merged`` of this cycle's vehicles turned out to be others we had; they are not in ``vehicles_added``.
    """

    cycle: CycleRow
    vehicles_added: int
    vehicles_merged: int
    vehicles_touched: int
    vehicles_queued: int
    quality: float | None
    total_vehicles: int
    pending: int
    dead: int
    sources_active: int
    sources_healthy: int
    sources_failing: int
    sources_discovered: int
    vehicles_per_hour: float
    queue_per_hour: float
    extraction_success: float | None
    sources: tuple[SourceAccount, ...]
    health: tuple[HealthRow, ...]
    quality_by_field: tuple[QualityRow, ...]
    failures: tuple[tuple[str, str, int], ...]
    mismatches: tuple[str, ...]

    @property
    def on_target(self) -> bool:
        """Whether the vehicles added, and nothing else, reach the target."""
        return self.vehicles_added >= self.cycle.target


def settle(conn: Connection, settings: Settings, cycle: CycleRow, now: datetime) -> Account:
    """Judge every source, measure quality, write both, and return the reconciled account of a cycle."""
    accounts = ledger.accounts(conn, cycle.cycle_id)
    by_source = {account.source_id: account for account in accounts}
    past = ledger.history(conn, cycle.cycle_id, before=now, n=HISTORY_CYCLES)
    previous = _previous_health(conn, cycle)
    rows = [
        row for row in ledger.source_states(conn, cycle.cycle_id, previous) if row.active and row.status != "retired"
    ]
    health = [health_row(row, by_source.get(row.id), past.get(row.id, ()), now) for row in rows]
    quality = quality_rows(evidence_of(conn, cycle.cycle_id), settings)
    with conn.transaction():
        ledger.save_health(conn, cycle.cycle_id, health)
        ledger.save_quality(conn, cycle.cycle_id, quality, now=now)
    added, touched, score = ledger.vehicles_of_cycle(conn, cycle.cycle_id)
    own = counters.of_scope(conn, OWN_METRICS, cycle.cycle_id)
    totals = counters.totals(conn, ("vehicles", "queue.pending", "queue.dead"))
    hours = max(((cycle.completed_at or now) - cycle.started_at).total_seconds(), 1.0) / 3600
    fetched = sum(a.stats.pages_fetched for a in accounts)
    return Account(
        cycle=cycle,
        vehicles_added=added,
        vehicles_merged=own["cycle.vehicles_merged"],
        vehicles_touched=touched,
        vehicles_queued=own["cycle.queued"],
        quality=score,
        total_vehicles=totals["vehicles"],
        pending=totals["queue.pending"],
        dead=totals["queue.dead"],
        sources_active=len(rows),
        sources_healthy=sum(h.status == HealthStatus.HEALTHY for h in health),
        sources_failing=sum(h.status == HealthStatus.FAILING for h in health),
        sources_discovered=cycles.discovered_in_cycle(conn, cycle.cycle_id),
        vehicles_per_hour=round(added / hours, 1),
        queue_per_hour=round(fetched / hours, 1),
        extraction_success=_success_rate(accounts),
        sources=tuple(accounts),
        health=tuple(health),
        quality_by_field=tuple(row for row in quality if row.source_id is None),
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
    return next((c.cycle_id for c in cycles.latest(conn, 2) if c.cycle_id != cycle.cycle_id), None)


def _success_rate(accounts: Sequence[SourceAccount]) -> float | None:
    """Of the listing pages that came, the share that showed a vehicle."""
    fetched = sum(a.stats.pages_fetched - a.stats.index_pages for a in accounts)
    empty = sum(a.stats.pages_empty for a in accounts)
    return round(1 - empty / fetched, 4) if fetched > 0 else None
