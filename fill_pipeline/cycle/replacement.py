"""Sources beyond repair: given up with their reason, what they were worth, and how much of it others have replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from fill_pipeline.db import cycles, improvement, learning, ledger, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import RepairRow
from fill_pipeline.db.learning import HealthyTime, Loss
from fill_pipeline.db.ledger import SourceStateRow
from fill_pipeline.repair.cause import Cause

HOPELESS_AFTER = timedelta(days=3)
"""How long a source may fail without a break; in that time it was repaired or waited for, cycle after cycle."""
LOSS_MEMORY = timedelta(days=30)
LOOKED = timedelta(days=1)
SILENT = frozenset({Cause.GONE, Cause.UNREACHABLE})
WORKING = frozenset({Cause.WELL, Cause.EMPTY})
NOT_ITS_FAULT = WORKING | {Cause.OURS, Cause.UNKNOWN}
"""Findings after which a source is kept: it works, or the fault may be ours."""
JUDGED_CYCLES = 360  # a month of cycles says what a source was worth


@dataclass(frozen=True, slots=True)
class Worth:
    """What a source gives: vehicles a day over the days it was healthy, and their quality (0 to 1)."""

    days: float
    vehicles_per_day: float
    quality: float

    @property
    def value(self) -> float:
        """Vehicles a day times quality."""
        return self.vehicles_per_day * self.quality


@dataclass(slots=True)
class Replaced:
    """What a round gave up, by source, and how the month's losses stand, in vehicles a day times quality."""

    retired: dict[str, str] = field(default_factory=dict)
    lost: float = 0.0
    covered: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain data for metadata and reports."""
        return {"retired": self.retired, "worth_lost": round(self.lost, 2), "worth_covered": round(self.covered, 2)}


def is_hopeless(source: SourceStateRow, now: datetime) -> bool:
    """Whether a source has failed for so long, with repair at work on it, that it is to be given up."""
    if not source.active or source.status not in ("live", "quarantined"):
        return False
    return source.failing_since is not None and source.failing_since + HOPELESS_AFTER <= now


def worth(gave: HealthyTime) -> Worth:
    """What that comes to a day; a source that never gave anything is worth nothing. A day is the shortest time."""
    if gave.first_at is None or gave.last_at is None:
        return Worth(0.0, 0.0, 0.0)
    days = max(1.0, (gave.last_at - gave.first_at) / timedelta(days=1))
    return Worth(round(days, 2), round(gave.vehicles / days, 2), round(gave.quality, 4))


def cover(losses: Sequence[Loss], gains: Sequence[tuple[datetime, float]]) -> dict[UUID, float]:
    """How much of each loss is replaced: a source covers the losses that began before it was found, oldest first.

    ``gains`` are when each new source was found and what it is worth; nothing is counted twice.
    """
    open_worth = {loss.source_id: loss.worth for loss in losses}
    for found_at, value in gains:
        left = value
        for loss in losses:
            if loss.retired_at - HOPELESS_AFTER > found_at:
                continue  # it was in work before that source failed, and replaces nothing of it
            taken = min(left, open_worth[loss.source_id])
            open_worth[loss.source_id] -= taken
            left -= taken
    return {loss.source_id: round(loss.worth - open_worth[loss.source_id], 4) for loss in losses}


def retire(conn: Connection, cycle_id: str, slugs: Sequence[str], *, now: datetime) -> Replaced:
    """Give these sources up, those that are still hopeless now, and write down what each was worth.

    A source is given up only where repair looked at it lately and found a trouble of the site's own.
    """
    done = Replaced()
    wanted = set(slugs)
    for row in ledger.source_states(conn, cycle_id, _last_judged(conn)):
        if row.slug not in wanted or not is_hopeless(row, now):
            continue
        looked = next(iter(improvement.repairs(conn, row.id, 1)), None)
        if looked is None or looked.created_at < now - LOOKED or looked.diagnosis in NOT_ITS_FAULT:
            continue
        if looked.diagnosis in SILENT and (_answers(looked) or learning.answered_since(conn, row.id, now - LOOKED)):
            continue  # its index answers: what is gone is what was sold
        assert row.failing_since is not None
        was = worth(learning.healthy_time(conn, row.id, JUDGED_CYCLES))
        reason = f"{looked.diagnosis} since {row.failing_since:%Y-%m-%d %H:%M} UTC: {looked.reason}"
        with conn.transaction():
            registry.set_status(conn, row.id, "retired", reason)
            learning.add_loss(
                conn,
                row.id,
                cycle_id=cycle_id,
                reason=reason,
                healthy_days=was.days,
                vehicles_per_day=was.vehicles_per_day,
                quality=was.quality,
                worth=was.value,
                now=now,
            )
        done.retired[row.slug] = f"{reason}; it gave {was.vehicles_per_day:.0f} vehicles a day"
    balance(conn, done, now=now)
    return done


def recover(conn: Connection, slugs: Sequence[str]) -> list[str]:
    """Put back to work what was set aside and, as repair has just found, is well again; returns which."""
    back = []
    for row in registry.sources(conn):
        if row.slug not in slugs or row.status != "quarantined":
            continue
        looked = next(iter(improvement.repairs(conn, row.id, 1)), None)
        if looked is not None and looked.diagnosis in WORKING:
            registry.set_status(conn, row.id, "live", f"works again: {looked.reason}")
            back.append(row.slug)
    return back


def balance(conn: Connection, done: Replaced, *, now: datetime) -> None:
    """Work out how much of the month's losses the sources found since have replaced."""
    losses = learning.losses(conn, now - LOSS_MEMORY)
    if not losses:
        return
    found = learning.found_since(conn, min(loss.retired_at for loss in losses) - HOPELESS_AFTER)
    gains = [(at, worth(learning.healthy_time(conn, source_id, JUDGED_CYCLES)).value) for source_id, at in found]
    covered = cover(losses, gains)
    learning.set_covered(conn, covered)
    done.lost, done.covered = sum(loss.worth for loss in losses), sum(covered.values())


def _answers(looked: RepairRow) -> bool:
    """Whether any page came when repair looked."""
    return any(page["failure"] is None for page in looked.evidence.get("asked", ()))


def _last_judged(conn: Connection) -> str | None:
    return next((row.cycle_id for row in cycles.last_ended(conn)), None)
