"""Deal finder jobs, the market as numbers, listings to value, and valuations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from fill_pipeline.db.connect import Connection, queries

_sql = queries("deals")

MARKET_COLUMNS = (
    ("id", "i8"),
    ("segment", "i8"),
    ("currency", "i4"),
    ("year", "f4"),
    ("km", "f4"),
    ("log_price", "f4"),
    ("trim", "i4"),
    ("engine", "i4"),
    ("drivetrain", "i4"),
    ("condition", "i4"),
    ("body_style", "i4"),
    ("fuel_type", "i4"),
    ("transmission", "i4"),
    ("gone_day", "i4"),
    ("created_day", "i4"),
    ("usable", "i1"),
)
"""The columns of ``market_vehicles`` with their types; days count from 1970, ``gone_day`` is 0 while for sale."""

_FACTS = ("year", "make", "model", "trim", "price", "currency", "mileage", "mileage_unit", "status")
_LISTING_FACTS = ("id", "source", "url", "title", *_FACTS)
_VEHICLE_FACTS = ("vehicle_id", *_FACTS)


class JobStatus(StrEnum):
    """Where a job stands."""

    PENDING = "pending"  # queued, not begun
    RUNNING = "running"  # at work, with a lease
    FINISHED = "finished"  # ended well
    ERROR = "error"  # ended badly, or its worker died


@dataclass(slots=True)
class ListingToValue:
    """What a valuation needs of a listing; ``km`` is the odometer in kilometres, ``traits`` codes as in the market."""

    id: int
    vehicle_id: int | None
    segment: int
    currency_code: int
    source: str
    make: str
    model: str
    year: int
    trim: str | None
    price: int
    currency: str
    price_kind: str
    km: float | None
    traits: list[int]
    condition: str | None
    body_style: str | None
    vin: str | None
    vin_status: str | None
    title: str | None
    description: str | None
    images: int
    seller_type: str | None
    has_phone: bool
    latitude: float | None
    longitude: float | None
    posted_at: datetime | None
    first_seen_at: datetime
    content_hash: str
    price_drops: int
    price_dropped: int
    source_kind: str


@dataclass(frozen=True, slots=True)
class DealRow:
    """A current valuation with its listing, as a list of deals shows it."""

    listing_id: int
    source: str
    url: str
    title: str | None
    year: int | None
    make: str | None
    model: str | None
    valuation: dict[str, Any]
    valued_at: datetime


@dataclass(frozen=True, slots=True)
class ValuationRow:
    """One valuation a listing had."""

    valuation: dict[str, Any]
    valued_at: datetime
    current: bool
    closed_at: datetime | None
    close_reason: str | None
    job_id: UUID | None


def start_job(
    conn: Connection, *, cycle_id: str, owner: str, now: datetime, lease_until: datetime, run_id: str | None = None
) -> UUID | None:
    """Begin a job (one that was asked for, or a new one); None while another is running. The silent are ended first."""
    with conn.transaction():
        list(_sql.lock_jobs(conn))
        _sql.reap_jobs(conn, now=now)
        rows = list(
            _sql.start_job(conn, cycle_id=cycle_id, run_id=run_id, owner=owner, now=now, lease_until=lease_until)
        )
    return rows[0][0] if rows else None


def extend_job(conn: Connection, job_id: UUID, *, owner: str, lease_until: datetime) -> bool:
    """Say that the job's worker is alive; False where the job was taken from it."""
    return int(_sql.extend_job(conn, job_id=job_id, owner=owner, lease_until=lease_until)) > 0


def finish_job(
    conn: Connection, job_id: UUID, *, owner: str, now: datetime, result: dict[str, Any] | None, error: str | None
) -> None:
    """End a job well (``error`` is None) or badly."""
    text = None if result is None else orjson.dumps(result).decode()
    _sql.finish_job(conn, job_id=job_id, owner=owner, now=now, result=text, error=error)


def finished_since(conn: Connection, job_id: UUID | None = None) -> datetime | None:
    """When the cycle of this finished job (or of the latest one) began; None where there is no such job."""
    rows = list(_sql.finished_jobs(conn, job_id=job_id))
    return rows[0][1] if rows else None


def cycles_since(conn: Connection, since: datetime) -> list[str]:
    """The cycles begun at or after ``since``."""
    return [row[0] for row in _sql.cycles_since(conn, since=since)]


def next_pending(conn: Connection, *, now: datetime) -> UUID | None:
    """The job asked for and not yet begun that comes next (``run_now`` first), or None; the silent are ended first."""
    _sql.reap_jobs(conn, now=now)
    found: UUID | None = _sql.next_pending(conn)
    return found


def oracle_calls_since(conn: Connection, since: datetime) -> int:
    """How often the oracle was asked by jobs begun at or after ``since``."""
    return int(_sql.oracle_calls_since(conn, since=since))


def market_vehicles(conn: Connection, *, cycles: Sequence[str] | None, since: datetime) -> tuple[int, list[bytes]]:
    """Vehicles of these cycles (all if None): their number, and each of ``MARKET_COLUMNS`` as big-endian values."""
    parameters = {"cycles": None if cycles is None else list(cycles), "since": since}
    with conn.cursor(binary=True) as cursor:
        cursor.execute(_sql.market_vehicles.sql, parameters)
        row = cursor.fetchone()
    assert row is not None
    return row[0], [bytes(column or b"") for column in row[1:]]


def changed_listings(conn: Connection, cycles: Sequence[str] | None) -> list[tuple[int, int]]:
    """(listing, segment) of the listings to value, of these cycles or of all, those of a segment together."""
    return [tuple(row) for row in _sql.changed_listings(conn, cycles=None if cycles is None else list(cycles))]


def listings_to_value(conn: Connection, ids: Sequence[int]) -> list[ListingToValue]:
    """These listings in full, in the order given; those deleted meanwhile are missing."""
    return [ListingToValue(*row) for row in _sql.listings_to_value(conn, ids=list(ids))]


def write_valuations(
    conn: Connection, rows: Iterable[tuple[int, dict[str, Any]]], *, job_id: UUID, now: datetime
) -> None:
    """Make these (listing, valuation) the current ones, inside the caller's transaction; former ones become history."""
    _sql.create_incoming(conn)
    with conn.cursor() as cursor, cursor.copy("COPY incoming_valuations FROM STDIN") as copy:
        for listing_id, valuation in rows:
            copy.write_row((listing_id, orjson.dumps(valuation).decode()))
    _sql.supersede(conn, now=now)
    _sql.insert_valuations(conn, job_id=job_id, now=now)


def close_valuations(conn: Connection, ids: Sequence[int], *, reason: str, now: datetime) -> int:
    """Close the current valuations of these listings; returns how many."""
    return int(_sql.close_valuations(conn, ids=list(ids), reason=reason, now=now))


def close_gone(conn: Connection, cycles: Sequence[str] | None, *, now: datetime) -> int:
    """Close the valuations of listings that went in these cycles (any if None); returns how many."""
    return int(_sql.close_gone(conn, cycles=None if cycles is None else list(cycles), now=now))


def top_deals(conn: Connection, n: int, *, min_confidence: float, max_scam: float) -> list[DealRow]:
    """The most profitable current deals of at least this confidence and at most this scam probability."""
    return [DealRow(*row) for row in _sql.top_deals(conn, n=n, min_confidence=min_confidence, max_scam=max_scam)]


def valuations_of(conn: Connection, listing_id: int) -> list[ValuationRow]:
    """Every valuation of a listing, the latest first."""
    return [ValuationRow(*row) for row in _sql.valuations_of(conn, listing_id=listing_id)]


def listing_facts(conn: Connection, listing_id: int) -> dict[str, Any] | None:
    """What a listing says in short, or None where there is none."""
    rows = list(_sql.listing_facts(conn, listing_id=listing_id))
    return dict(zip(_LISTING_FACTS, rows[0], strict=True)) if rows else None


def comparables_of(conn: Connection, ids: Sequence[int]) -> list[dict[str, Any]]:
    """These vehicles in short, in the order given."""
    return [dict(zip(_VEHICLE_FACTS, row, strict=True)) for row in _sql.comparables_of(conn, ids=list(ids))]
