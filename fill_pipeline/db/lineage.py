"""From a figure to the rows behind it, and from a vehicle's value to the page it was read from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fill_pipeline.db.connect import Connection, queries

_sql = queries("lineage")


@dataclass(frozen=True, slots=True)
class CycleFigures:
    """What a cycle's report says; quality 0 to 1, None where there is no report yet."""

    cycle_id: str
    status: str
    vehicles_added: int
    vehicles_queued: int
    quality: float | None
    vehicles_touched: int | None
    sources_active: int | None


@dataclass(frozen=True, slots=True)
class SourceShare:
    """A source's vehicles behind a figure ("" when no advertisement is left), and their mean completeness."""

    source: str
    vehicles: int
    completeness: float


@dataclass(frozen=True, slots=True)
class VehicleRef:
    """A vehicle behind a figure, with its oldest advertisement."""

    id: int
    year: int | None
    make: str | None
    model: str | None
    title: str | None
    price: int | None
    currency: str | None
    completeness: float
    created_at: datetime
    source: str | None
    url: str | None


@dataclass(frozen=True, slots=True)
class PageRef:
    """A queue row behind a figure."""

    id: int
    source: str
    url: str
    status: str
    attempts: int
    failure_category: str | None
    error_message: str | None
    discovered_at: datetime
    processed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ArchivedPage:
    """Where the archive holds a page: ``length`` bytes at ``offset`` of ``file``."""

    id: int
    kind: str
    url: str
    fetched_at: datetime
    http_status: int
    file: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ListingRef:
    """An advertisement; ``provenance``: field → [layer, locator, confidence]; ``page``: last read from there."""

    id: int
    source: str
    remote_id: str
    url: str
    status: str
    first_seen_at: datetime
    first_cycle: str
    changed_at: datetime
    changed_cycle: str
    provenance: dict[str, Any]
    quarantine: dict[str, Any]
    page: ArchivedPage | None


@dataclass(frozen=True, slots=True)
class RepairRef:
    """Something mended in a vehicle; of a merge or its undoing ``other`` is the vehicle taken in or given back."""

    field: str
    kind: str
    reason: str
    repaired_at: datetime
    cycle_id: str | None
    before: Any
    after: Any
    other: int | None


@dataclass(frozen=True, slots=True)
class Merged:
    """The merge that took a vehicle into another."""

    into: int
    reason: str
    merged_at: datetime
    cycle_id: str | None


@dataclass(frozen=True, slots=True)
class ProposalRef:
    """Another vehicle that may be, or was decided to be, the same one."""

    other: int
    score: float
    reasons: Any
    status: str
    created_at: datetime
    decided_at: datetime | None
    decided_by: str | None


def cycle(conn: Connection, cycle_id: str) -> CycleFigures | None:
    """A cycle's figures as they were accounted for."""
    return next((CycleFigures(*row) for row in _sql.cycle(conn, cycle_id=cycle_id)), None)


def added_by_source(conn: Connection, cycle_id: str) -> list[SourceShare]:
    """The vehicles a cycle added, by the source that showed each first; they sum to all of them."""
    return [SourceShare(*row) for row in _sql.added_by_source(conn, cycle_id=cycle_id)]


def touched_by_source(conn: Connection, cycle_id: str) -> list[SourceShare]:
    """The vehicles no cycle after this one has written, by the source that showed each first."""
    return [SourceShare(*row) for row in _sql.touched_by_source(conn, cycle_id=cycle_id)]


def added_vehicles(conn: Connection, cycle_id: str, n: int) -> list[VehicleRef]:
    """The last ``n`` vehicles of a cycle."""
    return [VehicleRef(*row) for row in _sql.added_vehicles(conn, cycle_id=cycle_id, n=n)]


def least_complete(conn: Connection, cycle_id: str, n: int) -> list[VehicleRef]:
    """The ``n`` least complete vehicles that a cycle was the last to write."""
    return [VehicleRef(*row) for row in _sql.least_complete(conn, cycle_id=cycle_id, n=n)]


def queued_by_source(conn: Connection, cycle_id: str) -> list[tuple[str, str, int]]:
    """(source, status, pages) of the pages newly queued in a cycle."""
    return [(row[0], row[1], row[2]) for row in _sql.queued_by_source(conn, cycle_id=cycle_id)]


def queued_pages(conn: Connection, cycle_id: str, n: int) -> list[PageRef]:
    """The last ``n`` pages newly queued in a cycle."""
    return [PageRef(*row) for row in _sql.queued_pages(conn, cycle_id=cycle_id, n=n)]


def dead_by_source(conn: Connection) -> list[tuple[str, int]]:
    """(source, dead pages) now."""
    return [(row[0], row[1]) for row in _sql.dead_by_source(conn)]


def dead_pages(conn: Connection, n: int) -> list[PageRef]:
    """The ``n`` pages that were given up last."""
    return [PageRef(*row) for row in _sql.dead_pages(conn, n=n)]


def vehicle(conn: Connection, vehicle_id: int) -> dict[str, Any] | None:
    """A vehicle whole, by column."""
    return next((dict(row[0]) for row in _sql.vehicle(conn, id=vehicle_id)), None)


def listings_of_vehicle(conn: Connection, vehicle_id: int, n: int) -> list[ListingRef]:
    """A vehicle's first ``n`` advertisements."""
    rows = _sql.listings_of_vehicle(conn, id=vehicle_id, n=n)
    return [ListingRef(*(*row[:11], ArchivedPage(*row[11:]) if row[11] is not None else None)) for row in rows]


def repairs_of_vehicle(conn: Connection, vehicle_id: int, n: int) -> list[RepairRef]:
    """The last ``n`` things mended in a vehicle."""
    return [RepairRef(*row) for row in _sql.repairs_of_vehicle(conn, id=vehicle_id, n=n)]


def merged_into(conn: Connection, vehicle_id: int) -> Merged | None:
    """The last merge that took this vehicle in; it may have been undone since."""
    row = _sql.merged_into(conn, id=vehicle_id)
    return Merged(*row) if row else None


def proposals_of_vehicle(conn: Connection, vehicle_id: int, n: int) -> list[ProposalRef]:
    """The last ``n`` proposals that name a vehicle."""
    return [ProposalRef(*row) for row in _sql.proposals_of_vehicle(conn, id=vehicle_id, n=n)]
