"""What the dashboard and ``fill status`` show, read at a cost that does not grow with the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from fill_pipeline.db.connect import Connection, queries

_sql = queries("overview")


@dataclass(frozen=True, slots=True)
class CycleLine:
    """A cycle without its report; times in UTC, quality 0 to 1. A ``limited`` one only drains and closes."""

    cycle_id: str
    status: str
    started_at: datetime
    completed_at: datetime | None
    window_start: datetime
    window_end: datetime
    target: int
    vehicles_added: int
    vehicles_queued: int
    sources_active: int
    sources_discovered: int
    quality: float | None
    on_target: bool
    next_actions: list[str]
    errors: list[str]
    revised_at: str | None
    limited: bool


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A source and what it did in one cycle; ``failures`` counts pages by category."""

    id: UUID
    slug: str
    name: str
    kind: str
    base_url: str
    active: bool
    status: str
    status_reason: str | None
    config_error: str | None
    asset_group: str | None
    config_version: int
    last_harvest_at: datetime | None
    breaker: str
    breaker_until: datetime | None
    pages_fetched: int
    index_pages: int
    pages_failed: int
    pages_empty: int
    found: int
    vehicles_added: int
    queued: int
    quality_sum: float
    quality_count: int
    failures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FailureSum:
    """Pages that failed for one reason, at how many sources, and where most."""

    category: str
    pages: int
    sources: int
    worst: str


@dataclass(frozen=True, slots=True)
class FieldQuality:
    """One field in one cycle; rates 0 to 1, None where nothing could be measured."""

    cycle_id: str
    field_name: str
    completeness: float | None
    accuracy: float | None
    sample_size: int


@dataclass(frozen=True, slots=True)
class VehicleLine:
    """A vehicle and one advertisement of it; the price in whole units of its currency."""

    id: int
    title: str | None
    year: int | None
    make: str | None
    model: str | None
    trim: str | None
    price: int | None
    currency: str | None
    price_kind: str | None
    mileage: int | None
    mileage_unit: str | None
    place: str | None
    city: str | None
    region: str | None
    country: str | None
    image: str | None
    completeness: float
    created_at: datetime
    created_cycle: str
    source: str | None
    url: str | None


@dataclass(frozen=True, slots=True)
class RepairLine:
    """A repair of a source's configuration; scores 0 to 1."""

    id: int
    slug: str
    diagnosis: str
    reason: str
    status: str
    from_version: int | None
    to_version: int | None
    score_before: float | None
    score_after: float | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class CandidateLine:
    """A site that may become a source; ``at`` is when it last moved on."""

    domain: str
    channel: str
    status: str
    reason: str | None
    score: float | None
    evidence_count: int
    at: datetime


def recent_cycles(conn: Connection, *, midnight: datetime, n: int) -> list[CycleLine]:
    """The open cycle, those whose window began since ``midnight``, and the last ``n``; newest first."""
    return [CycleLine(*row) for row in _sql.recent_cycles(conn, midnight=midnight, n=n)]


def sources(conn: Connection, cycle_id: str | None) -> list[SourceLine]:
    """Every source that is not retired, by slug, with what it did in that cycle."""
    return [SourceLine(*row) for row in _sql.sources(conn, cycle_id=cycle_id or "")]


def queue_by_source(conn: Connection) -> dict[UUID, tuple[int, int]]:
    """Each source's waiting and dead queue rows."""
    return {UUID(row[0]): (row[1], row[2]) for row in _sql.queue_by_source(conn)}


def failures(conn: Connection, cycle_ids: Sequence[str], n: int) -> list[FailureSum]:
    """The ``n`` most frequent reasons for which pages failed in these cycles."""
    return [FailureSum(*row) for row in _sql.failures_of_cycles(conn, cycle_ids=list(cycle_ids), n=n)]


def quality_of(conn: Connection, cycle_ids: Sequence[str]) -> list[FieldQuality]:
    """Every field's quality in these closed cycles."""
    return [FieldQuality(*row) for row in _sql.quality_of_cycles(conn, cycle_ids=list(cycle_ids))]


def quality_so_far(conn: Connection, cycle_id: str) -> list[FieldQuality]:
    """Every field's quality in a cycle still open."""
    return [FieldQuality(*row) for row in _sql.quality_so_far(conn, cycle_id=cycle_id)]


def quality(conn: Connection, cycle_id: str) -> float | None:
    """The mean completeness (0 to 1) of the vehicles last written in a cycle; costs what they are many."""
    score: float | None = _sql.quality(conn, cycle_id=cycle_id)
    return score


def latest_vehicles(conn: Connection, n: int) -> list[VehicleLine]:
    """The ``n`` vehicles that came last."""
    return [VehicleLine(*row) for row in _sql.latest_vehicles(conn, n=n)]


def latest_repairs(conn: Connection, n: int) -> list[RepairLine]:
    """The last ``n`` repairs."""
    return [RepairLine(*row) for row in _sql.latest_repairs(conn, n=n)]


def latest_candidates(conn: Connection, n: int) -> list[CandidateLine]:
    """The ``n`` candidates that moved last."""
    return [CandidateLine(*row) for row in _sql.latest_candidates(conn, n=n)]
