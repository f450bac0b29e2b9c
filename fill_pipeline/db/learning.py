"""What use has taught: how levers did, how often sources change, what lost sources were worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fill_pipeline.db.connect import Connection, queries

_sql = queries("learning")


@dataclass(frozen=True, slots=True)
class LeverUseRow:
    """A finished action that turned a lever; ``expected`` is vehicles, or pages a minute for a dial of the drain."""

    lever: str
    step: int
    finished_at: datetime
    vehicles: int
    requests: int
    cpu_seconds: float
    pacing_minutes: float
    minutes: float
    expected: float | None


@dataclass(frozen=True, slots=True)
class Harvested:
    """One harvest of a source: how many listings it found, and how many were new, changed or gone."""

    at: datetime
    found: int
    changed: int


@dataclass(frozen=True, slots=True)
class HealthyTime:
    """What a source gave over its latest cycles: vehicles, their completeness (0 to 1), and between which times."""

    vehicles: int
    quality: float
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class Loss:
    """A source given up; ``worth`` and ``covered`` are vehicles a day times quality."""

    source_id: UUID
    slug: str
    cycle_id: str
    retired_at: datetime
    reason: str
    healthy_days: float
    vehicles_per_day: float
    quality: float
    worth: float
    covered: float


def lever_uses(conn: Connection, levers: Sequence[str], *, since: datetime, n: int) -> list[LeverUseRow]:
    """The latest ``n`` finished uses of each lever, those after ``since``."""
    return [LeverUseRow(*row) for row in _sql.lever_uses(conn, levers=list(levers), since=since, n=n)]


def harvest_histories(conn: Connection, cycle_id: str, n: int) -> dict[UUID, list[Harvested]]:
    """By source harvested in this cycle: its latest ``n`` cycles with a harvest, newest first."""
    found: dict[UUID, list[Harvested]] = {}
    for source_id, *rest in _sql.harvest_histories(conn, cycle_id=cycle_id, n=n):
        found.setdefault(source_id, []).append(Harvested(*rest))
    return found


def set_harvest_hours(conn: Connection, hours: Mapping[UUID, float]) -> None:
    """How long each source may be left alone between two harvests."""
    if hours:
        _sql.set_harvest_hours(conn, source_ids=list(hours), hours=list(hours.values()))


def note_failing(conn: Connection, cycle_id: str, *, now: datetime) -> None:
    """Take over from a cycle's health since when each source fails."""
    _sql.note_failing(conn, cycle_id=cycle_id, now=now)


def failing(conn: Connection, source_ids: Sequence[UUID]) -> set[UUID]:
    """Those of these sources that failed when they were last judged."""
    return {row[0] for row in _sql.failing(conn, source_ids=list(source_ids))}


def healthy_time(conn: Connection, source_id: UUID, n: int) -> HealthyTime:
    """What a source gave over its latest ``n`` cycles; its time ends when it last gave anything."""
    return HealthyTime(*next(iter(_sql.healthy_time(conn, source_id=source_id, n=n))))


def answered_since(conn: Connection, source_id: UUID, since: datetime) -> bool:
    """Whether a source gave any page since then."""
    return bool(_sql.answered_since(conn, source_id=source_id, since=since))


def add_loss(
    conn: Connection,
    source_id: UUID,
    *,
    cycle_id: str,
    reason: str,
    healthy_days: float,
    vehicles_per_day: float,
    quality: float,
    worth: float,
    now: datetime,
) -> None:
    """Write down that a source was given up, and what it was worth."""
    _sql.add_loss(
        conn,
        source_id=source_id,
        cycle_id=cycle_id,
        reason=reason,
        healthy_days=healthy_days,
        vehicles_per_day=vehicles_per_day,
        quality=quality,
        worth=worth,
        now=now,
    )


def losses(conn: Connection, since: datetime) -> list[Loss]:
    """The sources given up since then, oldest first."""
    return [Loss(*row) for row in _sql.losses(conn, since=since)]


def uncovered(conn: Connection, since: datetime) -> float:
    """How much of the worth of the sources given up since then nothing has replaced."""
    return float(_sql.uncovered(conn, since=since))


def set_covered(conn: Connection, covered: Mapping[UUID, float]) -> None:
    """How much of each loss is replaced."""
    if covered:
        _sql.set_covered(conn, source_ids=list(covered), covered=list(covered.values()))


def found_since(conn: Connection, since: datetime) -> list[tuple[UUID, datetime]]:
    """The sources discovered since then that are in work, with when they were, oldest first."""
    return [(row[0], row[1]) for row in _sql.found_since(conn, since=since)]


def usual(
    conn: Connection, field: str, make: str | None, model: str | None, year: int | None, *, but: UUID
) -> float | None:
    """The median price or mileage that other sources give for such a vehicle; None where fewer than three do."""
    if make is None or model is None or year is None:
        return None
    value, n = next(iter(_sql.usual(conn, field=field, make=make, model=model, year=year, but=but)))
    return float(value) if n >= 3 else None
