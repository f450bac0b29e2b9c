"""Reads behind the asset checks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fill_pipeline.db.connect import Connection, queries

_sql = queries("checks")


@dataclass(frozen=True, slots=True)
class SampledVehicle:
    """What the checks look at of a vehicle."""

    id: int
    vin: str | None
    year: int | None
    make: str | None
    model: str | None
    price: int | None
    currency: str | None
    price_kind: str | None
    mileage: int | None
    mileage_unit: str | None
    body_style: str | None
    fuel_type: str | None
    transmission: str | None
    drivetrain: str | None
    condition: str | None
    place: str | None
    city: str | None
    region: str | None
    postal_code: str | None
    latitude: float | None
    image: str | None


def sample_vehicles(conn: Connection, cycle_id: str, *, touched: int, most: int) -> list[SampledVehicle]:
    """About ``most`` of the ``touched`` vehicles of a cycle, never more, evenly spread; all where there are no more."""
    step = -(-touched // most) or 1
    return [SampledVehicle(*row) for row in _sql.sample_vehicles(conn, cycle_id=cycle_id, step=step, most=most)]


def silences(conn: Connection, *, now: datetime) -> list[tuple[str, float]]:
    """Each source in work and the hours since it last answered."""
    return [(row[0], row[1]) for row in _sql.silences(conn, now=now)]
