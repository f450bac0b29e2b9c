"""Fixes to stored data: what to look at, and the record of what was mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from fill_pipeline.db.archive import PageRow
from fill_pipeline.db.connect import Connection, queries

_sql = queries("fixes")

_PAGE = (
    "id",
    "source_id",
    "cycle_id",
    "kind",
    "url",
    "url_hash",
    "fetched_at",
    "http_status",
    "content_type",
    "file",
    "offset",
    "length",
    "card_number",
    "card_written",
)

Seller = tuple[UUID, str]
"""A seller on a source: source id and the seller's name, empty for a dealer's own site."""


class RepairKind(StrEnum):
    """What was done to a vehicle; the column ``vehicle_repairs.kind``."""

    BACKFILL = "backfill"  # a missing field got a value
    CORRECT = "correct"  # a wrong value was replaced or taken out
    MERGE = "merge"  # two rows for one vehicle became one
    UNMERGE = "unmerge"  # a merge was undone


@dataclass(frozen=True, slots=True)
class Repair:
    """One mended field of one vehicle: before, after and why."""

    vehicle_id: int
    field_name: str
    before: Any
    after: Any
    kind: RepairKind
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SellerPlace:
    """Where all of a seller's listings say their vehicles stand, and how many say so."""

    place: str
    city: str | None
    region: str | None
    postal_code: str | None
    country: str | None
    count: int


@dataclass(frozen=True, slots=True)
class ListingPage:
    """An archived page that shows a listing; ``is_newest`` whether the listing's present values come from it."""

    listing_id: int
    is_newest: bool
    row: PageRow


def pages_of_listings(conn: Connection, listings: Sequence[tuple[int, UUID, UUID | None]]) -> list[ListingPage]:
    """The archived pages that show these listings (id, source id, hash of the URL), at most two of each: its own
    page archived last, and the page it was last read from. Its own page comes first."""
    if not listings:
        return []
    rows = _sql.pages_of_listings(
        conn,
        listing_ids=[one[0] for one in listings],
        source_ids=[one[1] for one in listings],
        hashes=[one[2] for one in listings],
    )
    return [ListingPage(row[0], row[1], PageRow(**dict(zip(_PAGE, row[2:], strict=True)))) for row in rows]


def touched_vehicles(conn: Connection, cycle_id: str, *, most: int) -> list[int]:
    """The vehicles this cycle touched, at most so many, the least complete first."""
    return [row[0] for row in _sql.touched_vehicles(conn, cycle_id=cycle_id, most=most)]


def same_vin(conn: Connection, cycle_id: str, identifying: Sequence[str], *, most: int) -> list[tuple[int, int, str]]:
    """(vehicle without VIN, vehicle with the VIN that a listing of the first states, VIN)."""
    return [tuple(row) for row in _sql.same_vin(conn, cycle_id=cycle_id, identifying=list(identifying), most=most)]


def sure_proposals(conn: Connection, score: float, *, most: int) -> list[tuple[int, int, float]]:
    """Open and unambiguous merge proposals of at least ``score``: (vehicle, vehicle, score)."""
    return [tuple(row) for row in _sql.sure_proposals(conn, score=score, most=most)]


def seller_places(conn: Connection, cycle_id: str, sellers: Sequence[Seller]) -> dict[Seller, SellerPlace]:
    """The one place of each of these sellers that has one, by seller."""
    rows = _sql.seller_places(
        conn, cycle_id=cycle_id, source_ids=[s for s, _ in sellers], sellers=[name for _, name in sellers]
    )
    return {(row[0], row[1]): SellerPlace(*row[2:]) for row in rows}


def add_repairs(conn: Connection, repairs: Sequence[Repair], *, cycle_id: str, now: datetime) -> None:
    """Remember these repairs."""
    _sql.add_repairs(
        conn,
        vehicle_ids=[r.vehicle_id for r in repairs],
        fields=[r.field_name for r in repairs],
        befores=[orjson.dumps(r.before).decode() for r in repairs],
        afters=[orjson.dumps(r.after).decode() for r in repairs],
        kinds=[r.kind.value for r in repairs],
        reasons=[r.reason for r in repairs],
        evidence=[orjson.dumps(r.evidence).decode() for r in repairs],
        cycle_id=cycle_id,
        now=now,
    )
