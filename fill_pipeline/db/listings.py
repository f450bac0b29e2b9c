"""Listings and vehicles in the database: find, lock, insert, change, and their histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
from psycopg import sql

from fill_pipeline.db.connect import Connection, queries

_sql = queries("listings")
_BLOCK_LOCKS = 1667851624
"""The name space of the advisory locks on blocks of look-alikes."""


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


@dataclass(slots=True, kw_only=True)
class VehicleRow:
    """A row of ``vehicles``, fields in column order. ``provenance``: field → [listing id, confidence]."""

    id: int
    vin: str | None = None
    year: int | None = None
    make: str | None = None
    model: str | None = None
    trim: str | None = None
    body_style: str | None = None
    engine: str | None = None
    fuel_type: str | None = None
    transmission: str | None = None
    drivetrain: str | None = None
    exterior_color: str | None = None
    interior_color: str | None = None
    doors: int | None = None
    seats: int | None = None
    condition: str | None = None
    price: int | None = None
    currency: str | None = None
    price_kind: str | None = None
    mileage: int | None = None
    mileage_unit: str | None = None
    place: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    image: str | None = None
    title: str | None = None
    status: str = "active"
    listing_count: int = 1
    completeness: float = 0.0
    confidence: float = 0.0
    provenance: dict[str, Sequence[Any]] = field(default_factory=dict)
    block_key: str | None = None
    block_km: int | None = None
    created_at: datetime
    created_cycle: str
    updated_at: datetime
    updated_cycle: str


@dataclass(frozen=True, slots=True)
class KnownListing:
    """What decides whether an observation is news."""

    id: int
    content_hash: UUID
    status: str
    vehicle_id: int | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class VinVehicle:
    """The vehicle a VIN belongs to, with what another of the same VIN must agree on."""

    id: int
    vin: str
    year: int | None
    make: str | None
    model: str | None


@dataclass(frozen=True, slots=True)
class BlockQuery:
    """Where to look for the same vehicle: a block, its odometer and a window around it in kilometres.

    Without an odometer the city and the price tell where in the block.
    """

    block_key: str
    km: int | None
    low_km: int
    high_km: int
    with_vin: bool
    city: str | None
    price: int | None


_LISTING_COLUMNS = tuple(f.name for f in fields(ListingRow) if f.name not in ("last_seen_at", "last_cycle", "held"))
_VEHICLE_COLUMNS = tuple(f.name for f in fields(VehicleRow))
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
_TYPES = {
    "int8": {"id", "price", "archive_id", "vehicle_id"},
    "int4": {"mileage", "listing_count", "block_km"},
    "int2": {"year", "doors", "seats"},
    "uuid": {"source_id", "content_hash"},
    "float8": {"latitude", "longitude"},
    "float4": {"completeness", "confidence"},
    "timestamptz": {"posted_at", "first_seen_at", "changed_at", "created_at", "updated_at"},
}
_encode = msgspec.json.Encoder().encode


def _types(columns: tuple[str, ...]) -> list[str]:
    return [next((t for t, names in _TYPES.items() if c in names), "text") for c in columns]


@dataclass(frozen=True, slots=True)
class _Incoming:
    """How rows of one kind are copied to their temporary table."""

    statement: sql.Composed
    types: list[str]
    values: attrgetter[tuple[Any, ...]]
    json_at: tuple[int, ...]
    lines_at: tuple[int, ...]


def _incoming(table: str, columns: tuple[str, ...]) -> _Incoming:
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    json_at = tuple(i for i, c in enumerate(columns) if c in _JSON)
    lines_at = tuple(i for i, c in enumerate(columns) if c == "images")  # URLs hold no line breaks
    return _Incoming(statement, _types(columns), attrgetter(*columns), json_at, lines_at)


_INCOMING_LISTINGS = _incoming("incoming_listings", _LISTING_COLUMNS)
_INCOMING_VEHICLES = _incoming("incoming_vehicles", _VEHICLE_COLUMNS)


def _copy(conn: Connection, incoming: _Incoming, rows: Sequence[ListingRow] | Sequence[VehicleRow]) -> None:
    with conn.cursor() as cursor, cursor.copy(incoming.statement) as copy:
        copy.set_types(incoming.types)
        for row in rows:
            values = list(incoming.values(row))
            for at in incoming.json_at:
                if values[at] is not None:
                    values[at] = _encode(values[at]).decode()
            for at in incoming.lines_at:
                values[at] = "\n".join(values[at])
            copy.write_row(values)


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


def lock_blocks(conn: Connection, keys: Sequence[int]) -> None:
    """Take the locks of blocks (32-bit keys), each held until the transaction ends."""
    list(_sql.lock_blocks(conn, space=_BLOCK_LOCKS, keys=list(keys)))


def vehicles_by_vin(conn: Connection, vins: Sequence[str]) -> dict[str, VinVehicle]:
    """The vehicles that have these VINs, by VIN."""
    return {row[1]: VinVehicle(*row) for row in _sql.vehicles_by_vin(conn, vins=list(vins))}


def lock_vehicles(conn: Connection, ids: Sequence[int]) -> dict[int, int]:
    """Lock vehicles until the transaction ends; returns how many listings each has, for those that still exist."""
    return {row[0]: row[1] for row in _sql.lock_vehicles(conn, ids=list(ids))}


def block_candidates(conn: Connection, wanted: Sequence[BlockQuery]) -> list[list[int]]:
    """For each query the ids of vehicles that may be the same one, at most eighty."""
    found: list[list[int]] = [[] for _ in wanted]
    rows = _sql.block_candidates(
        conn,
        keys=[q.block_key for q in wanted],
        odometers=[q.km for q in wanted],
        lows=[q.low_km for q in wanted],
        highs=[q.high_km for q in wanted],
        with_vin=[q.with_vin for q in wanted],
        cities=[q.city for q in wanted],
        prices=[q.price for q in wanted],
    )
    for place, vehicle_id in rows:
        found[place - 1].append(vehicle_id)
    return found


def observations(conn: Connection, vehicle_ids: Sequence[int]) -> dict[int, list[ListingRow]]:
    """What the listings of these vehicles say, by vehicle, without descriptions and payloads."""
    found: dict[int, list[ListingRow]] = {}
    for row in _sql.observations(conn, vehicle_ids=list(vehicle_ids)):
        listing = _listing(_OBSERVED, row)
        found.setdefault(listing.vehicle_id or 0, []).append(listing)
    return found


def insert_vehicles(conn: Connection, rows: Sequence[VehicleRow]) -> set[int]:
    """Insert vehicles; returns the ids inserted. One is left out where its VIN already has a vehicle."""
    _sql.create_incoming(conn)
    _sql.clear_incoming_vehicles(conn)
    _copy(conn, _INCOMING_VEHICLES, rows)
    return {row[0] for row in _sql.insert_vehicles(conn)}


def update_vehicles(conn: Connection, rows: Sequence[VehicleRow]) -> int:
    """Write derived values over existing vehicles (``created_*`` stay); returns how many."""
    _sql.create_incoming(conn)
    _sql.clear_incoming_vehicles(conn)
    _copy(conn, _INCOMING_VEHICLES, rows)
    return int(_sql.update_vehicles(conn))


def claim_vin(conn: Connection, vehicle_id: int, vin: str) -> None:
    """Give a vehicle a VIN; raises UniqueViolation where another has it."""
    _sql.claim_vin(conn, id=vehicle_id, vin=vin)


def upsert_listings(conn: Connection, rows: Sequence[ListingRow]) -> int:
    """Insert new and write changed listings; returns how many.

    Fewer than given means that another writer inserted one of the new advertisements meanwhile.
    """
    _sql.create_incoming(conn)
    _sql.clear_incoming_listings(conn)
    _copy(conn, _INCOMING_LISTINGS, rows)
    return int(_sql.upsert_listings(conn))


def touch_sightings(conn: Connection, ids: Sequence[int], *, cycle_id: str, now: datetime) -> None:
    """These listings were seen again."""
    _sql.touch_sightings(conn, ids=list(ids), cycle_id=cycle_id, now=now)


def add_sightings(conn: Connection, ids: Sequence[int], *, cycle_id: str, now: datetime) -> None:
    """The first sighting of listings that ``upsert_listings`` has just inserted."""
    _sql.add_sightings(conn, ids=list(ids), cycle_id=cycle_id, now=now)


def add_first_history(conn: Connection, ids: Sequence[int], *, cycle_id: str, now: datetime) -> None:
    """The first history row of listings that ``upsert_listings`` has just inserted."""
    _sql.add_first_history(conn, ids=list(ids), cycle_id=cycle_id, now=now)


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
        values=[_encode(row.value).decode() for row in rows],
        rules=[row.rule for row in rows],
        reasons=[row.reason for row in rows],
        cycle_id=cycle_id,
        now=now,
    )


def add_history(conn: Connection, ids: Sequence[int], *, cycle_id: str, now: datetime) -> int:
    """A history row for each listing whose price, mileage or status changed; returns how many."""
    return int(_sql.add_history(conn, ids=list(ids), cycle_id=cycle_id, now=now))


def delete_vehicle(conn: Connection, vehicle_id: int) -> None:
    """Delete a vehicle whose listings all went to another."""
    _sql.delete_vehicle(conn, id=vehicle_id)


def unlist_vehicles(conn: Connection, ids: Sequence[int], *, cycle_id: str, now: datetime) -> int:
    """Vehicles without any listing left: kept, delisted; returns how many."""
    return int(_sql.unlist_vehicles(conn, ids=list(ids), cycle_id=cycle_id, now=now))


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


@dataclass(frozen=True, slots=True)
class VehicleSnapshot:
    """A vehicle whole: its row as JSON and the ids of its listings."""

    row: dict[str, Any]
    listings: list[int]


def vehicle_snapshots(conn: Connection, ids: Sequence[int]) -> dict[int, VehicleSnapshot]:
    """Snapshots of these vehicles, by id."""
    return {row[0]: VehicleSnapshot(row[1], row[2]) for row in _sql.vehicle_snapshots(conn, ids=list(ids))}


def move_listings(conn: Connection, ids: Sequence[int], *, origin: int, target: int) -> int:
    """Put those of the listings that belong to vehicle ``origin`` under ``target``; returns how many."""
    return int(_sql.move_listings(conn, ids=list(ids), origin=origin, target=target))


def write_vehicle(conn: Connection, row: dict[str, Any]) -> None:
    """Set an existing vehicle back to a snapshot's row."""
    _sql.write_vehicle(conn, snapshot=_encode(row).decode())


def restore_vehicle(conn: Connection, row: dict[str, Any]) -> None:
    """Insert a deleted vehicle again, as a snapshot's row says."""
    _sql.restore_vehicle(conn, snapshot=_encode(row).decode())


def record_repair(
    conn: Connection,
    *,
    vehicle_id: int,
    kind: str,
    before: dict[str, Any],
    after: dict[str, Any],
    reason: str,
    evidence: dict[str, Any],
    cycle_id: str | None,
    now: datetime,
) -> int:
    """Remember a merge or an unmerge; returns the id of the record."""
    row_id: int = _sql.record_repair(
        conn,
        vehicle_id=vehicle_id,
        kind=kind,
        before=_encode(before).decode(),
        after=_encode(after).decode(),
        reason=reason,
        evidence=_encode(evidence).decode(),
        cycle_id=cycle_id,
        now=now,
    )
    return row_id


def merge_record(conn: Connection, repair_id: int) -> tuple[int, dict[str, Any], dict[str, Any]] | None:
    """(kept vehicle id, before, after) of a merge still in force, or None."""
    rows = list(_sql.merge_record(conn, id=repair_id))
    return tuple(rows[0]) if rows else None


def merges_into(conn: Connection, ids: Sequence[int]) -> list[dict[str, Any]]:
    """What every merge into these vehicles found before it, the latest first: rows and listings, kept and absorbed."""
    return [row[0] for row in _sql.merges_into(conn, ids=list(ids))]


def decide_proposal(conn: Connection, a: int, b: int, *, status: str, decided_by: str, now: datetime) -> None:
    """Close the proposal of a pair of vehicles, if there is one."""
    _sql.decide_proposal(conn, a=a, b=b, status=status, decided_by=decided_by, now=now)


def propose_merges(
    conn: Connection, pairs: Sequence[tuple[int, int, float, dict[str, float]]], *, now: datetime
) -> None:
    """Propose (vehicle, vehicle, score, reasons) for merging."""
    _sql.propose_merges(
        conn,
        vehicles_a=[p[0] for p in pairs],
        vehicles_b=[p[1] for p in pairs],
        scores=[p[2] for p in pairs],
        reasons=[_encode(p[3]).decode() for p in pairs],
        now=now,
    )


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
