"""Listings in the database: find, lock, insert, change, with their sightings and histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from fill_pipeline.db.connect import Connection, queries
from fill_pipeline.db.copying import RowCopy, encode

_sql = queries("listings")


@dataclass(slots=True, kw_only=True)
class ListingRow:
    """A row of ``listing_records``, fields in column order. ``provenance``: field → [layer, locator, confidence].

    ``last_seen_at`` and ``last_cycle`` are its sighting's and ``held`` tells that a quality gate holds it back: filled
    by ``observations`` alone.
    """

    id: int
    source_id: UUID
    source: str
    remote_id: str
    remote_slug: str | None = None
    url: str
    title: str | None = None
    price: int | None = None
    currency: str | None = None
    price_kind: str | None = None
    mileage: int | None = None
    mileage_unit: str | None = None
    year: int | None = None
    make: str | None = None
    model: str | None = None
    trim: str | None = None
    vin: str | None = None
    vin_status: str | None = None
    condition: str | None = None
    body_style: str | None = None
    engine: str | None = None
    fuel_type: str | None = None
    fuel_economy: str | None = None
    transmission: str | None = None
    drivetrain: str | None = None
    exterior_color: str | None = None
    interior_color: str | None = None
    doors: int | None = None
    seats: int | None = None
    place: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    seller_name: str | None = None
    seller_type: str | None = None
    seller_phone: str | None = None
    images: list[str] = field(default_factory=list)
    description: str | None = None
    posted_at: datetime | None = None
    status: str
    first_seen_at: datetime
    first_cycle: str = ""
    changed_at: datetime
    changed_cycle: str = ""
    raw: dict[str, str] = field(default_factory=dict)
    raw_payload: dict[str, Any] | msgspec.Raw | None = None
    provenance: dict[str, Sequence[Any]] = field(default_factory=dict)
    quarantine: dict[str, Any] = field(default_factory=dict)
    completeness: float = 0.0
    content_hash: UUID | None = None
    archive_id: int | None = None
    vehicle_id: int | None = None
    last_seen_at: datetime | None = None
    last_cycle: str | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class KnownListing:
    """What decides whether an observation is news."""

    id: int
    content_hash: UUID
    status: str
    vehicle_id: int | None
    changed_at: datetime


_LISTING_COLUMNS = tuple(f.name for f in fields(ListingRow) if f.name not in ("last_seen_at", "last_cycle", "held"))
_NOT_OBSERVED = frozenset(
    [
        "remote_slug",
        "fuel_economy",
        "description",
        "posted_at",
        "first_cycle",
        "changed_cycle",
        "raw",
        "raw_payload",
        "completeness",
        "content_hash",
        "archive_id",
    ]
)
_OBSERVED = tuple(f.name for f in fields(ListingRow) if f.name not in _NOT_OBSERVED)
_JSON = frozenset(("raw", "raw_payload", "provenance", "quarantine"))
_LISTINGS = RowCopy("listing_records", _LISTING_COLUMNS)
_CHANGED = RowCopy("incoming_listings", _LISTING_COLUMNS)
_SIGHTINGS = RowCopy(
    "listing_sightings",
    ("listing_id", "source_id", "last_seen_at", "last_cycle"),
    {"listing_id": "id", "last_seen_at": "first_seen_at", "last_cycle": "first_cycle"},
)
_HISTORY = RowCopy(
    "listing_history",
    (
        "listing_id",
        "observed_at",
        "cycle_id",
        "price",
        "currency",
        "price_kind",
        "mileage",
        "mileage_unit",
        "status",
        "archive_id",
    ),
    {"listing_id": "id", "observed_at": "first_seen_at", "cycle_id": "first_cycle"},
)


def _listing(columns: Sequence[str], row: Sequence[Any]) -> ListingRow:
    values = dict(zip(columns, row, strict=True))
    for name in _JSON & values.keys():  # selected as text: psycopg's own reading of JSON is several times slower
        if values[name] is not None:
            values[name] = msgspec.json.decode(values[name]) if name != "raw_payload" else msgspec.Raw(values[name])
    return ListingRow(**values)


def find_known(conn: Connection, keys: Sequence[tuple[UUID, str]]) -> dict[tuple[UUID, str], KnownListing]:
    """What is stored of these (source id, remote id), unlocked."""
    rows = _sql.find_known(conn, source_ids=[k[0] for k in keys], remote_ids=[k[1] for k in keys])
    return {keys[row[0] - 1]: KnownListing(*row[1:]) for row in rows}


def lock_listings(conn: Connection, ids: Sequence[int]) -> dict[int, ListingRow]:
    """The stored listings in full, by id, locked until the transaction ends."""
    rows = _sql.lock_listings(conn, ids=list(ids))
    return {row[0]: _listing(_LISTING_COLUMNS, row) for row in rows}


def next_ids(conn: Connection, *, listings: int, vehicles: int) -> tuple[list[int], list[int]]:
    """So many fresh listing ids and vehicle ids."""
    [row] = _sql.next_ids(conn, listings=listings, vehicles=vehicles)
    return row[0], row[1]


def observations(conn: Connection, vehicle_ids: Sequence[int]) -> dict[int, list[ListingRow]]:
    """What the listings of these vehicles say, by vehicle, without descriptions and payloads."""
    found: dict[int, list[ListingRow]] = {}
    for row in _sql.observations(conn, vehicle_ids=list(vehicle_ids)):
        listing = _listing(_OBSERVED, row)
        found.setdefault(listing.vehicle_id or 0, []).append(listing)
    return found


def insert_listings(conn: Connection, rows: Sequence[ListingRow]) -> None:
    """Insert new listings, each with its first sighting and history row.

    Raises UniqueViolation where another writer inserted one of these advertisements meanwhile.
    """
    ordered = sorted(rows, key=lambda row: (row.source_id, row.remote_id))  # as all writers, lest two wait in a circle
    _LISTINGS.write(conn, ordered)
    _SIGHTINGS.write(conn, ordered)
    _HISTORY.write(conn, ordered)


def update_listings(conn: Connection, rows: Sequence[ListingRow]) -> None:
    """Write listings over the stored ones of their ids (locked before)."""
    _sql.create_incoming(conn)
    _sql.clear_incoming(conn)
    _CHANGED.write(conn, rows)
    _sql.update_listings(conn)


def touch_sightings(conn: Connection, ids: Sequence[int], *, cycle_id: str, now: datetime) -> None:
    """These listings were seen again."""
    _sql.touch_sightings(conn, ids=list(ids), cycle_id=cycle_id, now=now)


@dataclass(frozen=True, slots=True)
class QuarantinedValue:
    """A value that a rule set aside: whose, which, and why."""

    listing_id: int
    field_name: str
    value: Any
    rule: str
    reason: str


def add_quarantined(conn: Connection, rows: Sequence[QuarantinedValue], *, cycle_id: str, now: datetime) -> None:
    """Remember values that rules set aside; they are kept for good, also when the page is mended later."""
    _sql.add_quarantined(
        conn,
        listing_ids=[row.listing_id for row in rows],
        fields=[row.field_name for row in rows],
        values=[encode(row.value).decode() for row in rows],
        rules=[row.rule for row in rows],
        reasons=[row.reason for row in rows],
        cycle_id=cycle_id,
        now=now,
    )


def add_history(conn: Connection, ids: Sequence[int], *, cycle_id: str, now: datetime) -> int:
    """A history row for each listing whose price, mileage or status changed; returns how many."""
    return int(_sql.add_history(conn, ids=list(ids), cycle_id=cycle_id, now=now))


def missed_listings(conn: Connection, source_id: UUID, *, cycle_id: str, now: datetime) -> list[tuple[int, int]]:
    """Active listings not seen in this cycle: (listing id, absences in a row with this one)."""
    return [tuple(row) for row in _sql.missed_listings(conn, source_id=source_id, cycle_id=cycle_id, now=now)]


def count_absences(conn: Connection, ids: Sequence[int], *, cycle_id: str) -> None:
    """One more absence for each of these listings, in this cycle."""
    _sql.count_absences(conn, ids=list(ids), cycle_id=cycle_id)


def set_status(
    conn: Connection, ids: Sequence[int], *, old: str, new: str, cycle_id: str, now: datetime
) -> list[tuple[int, int | None]]:
    """Change the status of those listings that have the old one; returns (listing id, vehicle id) of each."""
    rows = _sql.set_status(conn, ids=list(ids), old_status=old, new_status=new, cycle_id=cycle_id, now=now)
    return [tuple(row) for row in rows]


def listings_of_urls(conn: Connection, source_id: UUID, url_hashes: Sequence[UUID]) -> list[tuple[int, str]]:
    """(listing id, status) of the listings that these queued URLs led to."""
    return [tuple(row) for row in _sql.listings_of_urls(conn, source_id=source_id, url_hashes=list(url_hashes))]


def move_listings(conn: Connection, ids: Sequence[int], *, origin: int, target: int) -> int:
    """Put those of the listings that belong to vehicle ``origin`` under ``target``; returns how many."""
    return int(_sql.move_listings(conn, ids=list(ids), origin=origin, target=target))


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A listing as it was from ``observed_at`` (UTC) on."""

    listing_id: int
    observed_at: datetime
    status: str
    price: int | None
    currency: str | None
    mileage: int | None
    mileage_unit: str | None


def history_of_vehicle(conn: Connection, vehicle_id: int) -> list[HistoryRow]:
    """Every change of price, mileage or status of a vehicle's listings, in order of time."""
    return [HistoryRow(*row) for row in _sql.history_of_vehicle(conn, vehicle_id=vehicle_id)]
