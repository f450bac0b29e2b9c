"""Vehicles in the database: find, lock, insert, derive anew, merge and take apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from psycopg.errors import UniqueViolation

from fill_pipeline.db.connect import Connection, queries
from fill_pipeline.db.copying import RowCopy, encode

_sql = queries("vehicles")
_BLOCK_LOCKS = 1667851624
"""The name space of the advisory locks on blocks of look-alikes."""


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


@dataclass(frozen=True, slots=True)
class VehicleSnapshot:
    """A vehicle whole: its row as JSON and the ids of its listings."""

    row: dict[str, Any]
    listings: list[int]


_COLUMNS = [f.name for f in fields(VehicleRow)]
_VEHICLES = RowCopy("vehicles", _COLUMNS)
_INCOMING = RowCopy("incoming_vehicles", _COLUMNS)


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


def insert_vehicles(conn: Connection, rows: Sequence[VehicleRow]) -> set[int]:
    """Insert vehicles; returns the ids inserted. One is left out where its VIN already has a vehicle."""
    ordered = sorted(rows, key=lambda row: (row.vin is None, row.vin, row.id))  # as all writers, see the statement
    try:
        with conn.transaction():
            _VEHICLES.write(conn, ordered)
        return {row.id for row in rows}
    except UniqueViolation:  # another writer was first with one of these VINs
        pass
    _sql.create_incoming(conn)
    _sql.clear_incoming(conn)
    _INCOMING.write(conn, rows)
    return {row[0] for row in _sql.insert_vehicles(conn)}


def update_vehicles(conn: Connection, rows: Sequence[VehicleRow]) -> int:
    """Write derived values over existing vehicles (``created_*`` stay); returns how many."""
    _sql.create_incoming(conn)
    _sql.clear_incoming(conn)
    _INCOMING.write(conn, rows)
    return int(_sql.update_vehicles(conn))


def claim_vin(conn: Connection, vehicle_id: int, vin: str) -> None:
    """Give a vehicle a VIN; raises UniqueViolation where another has it."""
    _sql.claim_vin(conn, id=vehicle_id, vin=vin)


def delete_vehicle(conn: Connection, vehicle_id: int) -> None:
    """Delete a vehicle whose listings all went to another."""
    _sql.delete_vehicle(conn, id=vehicle_id)


def unlist_vehicles(conn: Connection, ids: Sequence[int], *, cycle_id: str, now: datetime) -> int:
    """Vehicles without any listing left: kept, delisted; returns how many."""
    return int(_sql.unlist_vehicles(conn, ids=list(ids), cycle_id=cycle_id, now=now))


def vehicle_snapshots(conn: Connection, ids: Sequence[int]) -> dict[int, VehicleSnapshot]:
    """Snapshots of these vehicles, by id."""
    return {row[0]: VehicleSnapshot(row[1], row[2]) for row in _sql.vehicle_snapshots(conn, ids=list(ids))}


def write_vehicle(conn: Connection, row: dict[str, Any]) -> None:
    """Set an existing vehicle back to a snapshot's row."""
    _sql.write_vehicle(conn, snapshot=encode(row).decode())


def restore_vehicle(conn: Connection, row: dict[str, Any]) -> None:
    """Insert a deleted vehicle again, as a snapshot's row says."""
    _sql.restore_vehicle(conn, snapshot=encode(row).decode())


def propose_merges(
    conn: Connection, pairs: Sequence[tuple[int, int, float, dict[str, float]]], *, now: datetime
) -> None:
    """Propose (vehicle, vehicle, score, reasons) for merging."""
    _sql.propose_merges(
        conn,
        vehicles_a=[p[0] for p in pairs],
        vehicles_b=[p[1] for p in pairs],
        scores=[p[2] for p in pairs],
        reasons=[encode(p[3]).decode() for p in pairs],
        now=now,
    )


def decide_proposal(conn: Connection, a: int, b: int, *, status: str, decided_by: str, now: datetime) -> None:
    """Close the proposal of a pair of vehicles, if there is one."""
    _sql.decide_proposal(conn, a=a, b=b, status=status, decided_by=decided_by, now=now)


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
        before=encode(before).decode(),
        after=encode(after).decode(),
        reason=reason,
        evidence=encode(evidence).decode(),
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
