"""The vehicle its listings describe: the best value per field, and where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fill_pipeline.db.listings import ListingRow
from fill_pipeline.db.vehicles import VehicleRow
from fill_pipeline.extract.listing import ListingStatus, PriceKind
from fill_pipeline.vehicles.completeness import CORE_FIELDS, completeness
from fill_pipeline.vehicles.identity import block_of
from fill_pipeline.vehicles.odometer import is_outvoted
from fill_pipeline.vehicles.vin import IDENTIFYING

STABLE = (
    "year",
    "make",
    "model",
    "trim",
    "body_style",
    "engine",
    "fuel_type",
    "transmission",
    "drivetrain",
    "exterior_color",
    "interior_color",
    "doors",
    "seats",
)
"""Fields that a vehicle keeps: the listings vote, weighted by confidence."""

TOGETHER = (
    ("price", "currency", "price_kind"),
    ("mileage", "mileage_unit"),
    ("place", "city", "region", "postal_code", "country", "latitude", "longitude"),
    ("condition",),
    ("title",),
)
"""Fields that change with time, in groups that come from one listing: the newest that has the first."""

_UNSTATED_CONFIDENCE = 0.5


def survive(
    listings: Sequence[ListingRow],
    *,
    vehicle_id: int,
    now: datetime,
    cycle_id: str,
    core_fields: Sequence[str] = CORE_FIELDS,
) -> VehicleRow:
    """Derive a vehicle from all its listings (at least one). The order of the listings does not matter.

    Stable fields go to the value with the greatest sum of confidences; equals to the one read with
    most confidence, then to the newest, then to the lowest listing id. Changing fields come from the
    newest active listing that has them (asking before sold, sold before bid),
    the mileage not from one that the others show to be mistyped. A listing that is held
    back says nothing as long as another one is not. ``created_*`` are set as for a new vehicle.
    """
    vehicle = VehicleRow(id=vehicle_id, created_at=now, created_cycle=cycle_id, updated_at=now, updated_cycle=cycle_id)
    vehicle.listing_count = len(listings)
    listings = [row for row in listings if not row.held] or listings
    newest = sorted(listings, key=_freshness, reverse=True) if len(listings) > 1 else listings
    if len(newest) == 1:
        _take_all(vehicle, newest[0])
    else:
        for name in STABLE:
            _vote(vehicle, name, newest)
        _vote(vehicle, "vin", [r for r in newest if r.vin_status in IDENTIFYING])
    for group in TOGETHER:
        candidates = newest
        if len(newest) > 1 and group[0] == "price":
            candidates = sorted(newest, key=_price_rank)
        elif len(newest) > 1 and group[0] == "mileage":
            candidates = sorted(newest, key=lambda row: is_outvoted(row, newest))
        _take_together(vehicle, group, candidates)
    for row in newest:
        if row.images:
            vehicle.image = row.images[0]
            vehicle.provenance["image"] = (row.id, _confidence(row, "images"))
            break
    vehicle.status = _status(listings)
    vehicle.completeness = completeness(vehicle, core_fields)
    known = [vehicle.provenance[f][1] for f in core_fields if f in vehicle.provenance]
    vehicle.confidence = sum(known) / len(known) if known else 0.0
    block = block_of(vehicle)
    if block is not None:
        vehicle.block_key, vehicle.block_km = block
    return vehicle


def _freshness(row: ListingRow) -> tuple[bool, datetime, int]:
    return row.status == ListingStatus.ACTIVE, row.changed_at, -row.id


def _price_rank(row: ListingRow) -> tuple[bool, int]:
    kinds = (PriceKind.ASKING, PriceKind.SOLD, PriceKind.BID, PriceKind.RESERVE, None)
    return row.status != ListingStatus.ACTIVE, next(i for i, k in enumerate(kinds) if k == row.price_kind or k is None)


def _confidence(row: ListingRow, name: str) -> float:
    evidence = row.provenance.get(name)
    return float(evidence[2]) if evidence else _UNSTATED_CONFIDENCE


def _take_all(vehicle: VehicleRow, row: ListingRow) -> None:
    """The stable fields of the only listing."""
    for name in ("vin", *STABLE) if row.vin_status in IDENTIFYING else STABLE:
        value = getattr(row, name)
        if value is not None:
            setattr(vehicle, name, value)
            vehicle.provenance[name] = (row.id, _confidence(row, name))


def _vote(vehicle: VehicleRow, name: str, newest: Sequence[ListingRow]) -> None:
    ballots: dict[Any, list[tuple[float, int, int]]] = {}
    for age, row in enumerate(newest):
        value = getattr(row, name)
        if value is not None:
            ballots.setdefault(value, []).append((_confidence(row, name), -age, row.id))
    if ballots:
        # Sums are rounded: the order of addition must not decide between equals.
        value, votes = max(ballots.items(), key=lambda item: (round(sum(v[0] for v in item[1]), 6), max(item[1])))
        best = max(votes)
        setattr(vehicle, name, value)
        vehicle.provenance[name] = (best[2], best[0])


def _take_together(vehicle: VehicleRow, group: tuple[str, ...], candidates: Sequence[ListingRow]) -> None:
    for row in candidates:
        if getattr(row, group[0]) is not None:
            for name in group:
                setattr(vehicle, name, getattr(row, name))
            vehicle.provenance[group[0]] = (row.id, _confidence(row, group[0]))
            return


def _status(listings: Sequence[ListingRow]) -> str:
    if any(row.status == ListingStatus.ACTIVE for row in listings):
        return ListingStatus.ACTIVE
    if any(row.status == ListingStatus.SOLD for row in listings):
        return ListingStatus.SOLD
    return ListingStatus.DELISTED
