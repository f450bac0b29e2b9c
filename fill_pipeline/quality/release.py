"""What the gate held back is judged again, and promoted once it is found good. Nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from fill_pipeline.db import cycles, holds, ledger
from fill_pipeline.db import listings as listings_db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.holds import Waiting
from fill_pipeline.db.ledger import SourceStats
from fill_pipeline.db.listings import ListingRow
from fill_pipeline.quality.columns import agreement_of, listing_columns
from fill_pipeline.quality.expectations import evaluate
from fill_pipeline.quality.gate import unmet
from fill_pipeline.quality.suites import GateRules
from fill_pipeline.settings import Settings
from fill_pipeline.vehicles.assignment import WriteConflict
from fill_pipeline.vehicles.promotion import promote

MOST = 1_000
"""Held listings of a source that one call judges."""
_BUSY = (WriteConflict, psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable)


@dataclass(slots=True)
class Released:
    """What became of held listings that were judged again."""

    judged: int = 0
    released: int = 0
    vehicles_added: int = 0

    def as_json(self) -> dict[str, int]:
        """The counts, for reports."""
        return {
            "held_judged": self.judged,
            "held_released": self.released,
            "vehicles_of_released": self.vehicles_added,
        }


def release_held(conn: Connection, settings: Settings, *, cycle_id: str, now: datetime) -> Released:
    """Judge held listings again, source by source; ``conn`` must be in autocommit.

    A source's held listings are promoted all if together they meet every expectation of today. Otherwise, if the
    source gives sound listings in this cycle, those that break no rule by themselves are. The others wait for the
    next call, or for their page to be read again, by a harvest or a replay. Vehicles that come of it count for this
    cycle. A second call finds nothing new to promote. What other writers keep busy is left for the next call.

    Raises:
        CycleClosedError: the cycle was closed meanwhile; what is still held is the next one's.
    """
    done = Released()
    rules = GateRules.of(settings, now.year)
    for waiting in holds.waiting(conn, cycle_id, now=now, most=MOST, least=settings.gate_least):
        try:
            with conn.transaction():
                cycles.keep_open(conn, cycle_id)
                part = _release(conn, waiting, rules, settings, cycle_id, now)
        except _BUSY:
            continue
        done.judged += part.judged
        done.released += part.released
        done.vehicles_added += part.vehicles_added
    return done


def _release(
    conn: Connection, waiting: Waiting, rules: GateRules, settings: Settings, cycle_id: str, now: datetime
) -> Released:
    held = holds.lock_held(conn, waiting.listing_ids)
    rows = list(listings_db.lock_listings(conn, held).values())
    good = _good(rows, rules, sound=waiting.sound)
    ids = {row.id for row in good}
    holds.judged_again(conn, [i for i in held if i not in ids], now=now)
    if not good:
        return Released(len(rows))
    holds.free_listings(conn, sorted(ids), now=now)
    added = promote(conn, good, cycle_id=cycle_id, now=now, core_fields=settings.core_fields)
    ledger.add_stats(conn, waiting.source_id, cycle_id, SourceStats(vehicles_added=added), now=now)
    return Released(len(rows), len(good), added)


def _good(rows: Sequence[ListingRow], rules: GateRules, *, sound: bool) -> list[ListingRow]:
    columns = listing_columns(rows, [row.quarantine for row in rows], [agreement_of(row) for row in rows])
    results = evaluate(rules.suite, columns)
    if not unmet(results, rules.least):
        return list(rows)
    bad = {i for result in results for i in result.unexpected}
    return [row for i, row in enumerate(rows) if i not in bad] if sound else []
