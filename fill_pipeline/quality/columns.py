"""Records as the columns that expectations are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fill_pipeline.db.checks import SampledVehicle
from fill_pipeline.quality.expectations import Columns
from fill_pipeline.vehicles import vin, vin_decoder
from fill_pipeline.vehicles.completeness import filled, knowable
from fill_pipeline.vehicles.identity import odometer_km
from fill_pipeline.vehicles.source_rules import RuleKind
from fill_pipeline.vehicles.validate import HIGHEST_PRICE, HIGHEST_PRICE_OTHERWISE

HABITS = frozenset({"confidence", str(RuleKind.CONFIDENCE), "mileage_zero", "price_per_month"})
"""Rules that set a value aside for what the site says and means so, or since nobody vouches for it: none says that the
page was misread."""
_FIRST_MODERN_VIN = 1981
_DELIVERY_KM = 300
_DECODED = ("year", "make", "model")


def listing_columns(
    records: Sequence[Any], quarantines: Sequence[Mapping[str, Any]], agreements: Sequence[Mapping[str, bool]]
) -> Columns:
    """Listings (of any form) with their quarantine and what their VIN agrees with, as ``batch_suite`` sees them."""
    columns: dict[str, Sequence[Any]] = {
        name: [getattr(record, name) for record in records] for name in ("make", "model", "year", "vin")
    }
    for name in ("price", "mileage", "year"):
        columns[f"{name}_rule"] = [_rule(quarantine, name) for quarantine in quarantines]
    for name in _DECODED:
        columns[f"{name}_agrees"] = [agreement.get(name) for agreement in agreements]
    columns["price_like_dollars"] = [price_like_dollars(record) for record in records]
    columns["odometer_km"] = [odometer_km(record) for record in records]
    columns["offer"] = [_offer(record) for record in records]
    return columns


def vehicle_columns(vehicles: Sequence[SampledVehicle], core_fields: Sequence[str]) -> Columns:
    """A cycle's vehicles as ``vehicles_suite`` sees them."""
    columns: dict[str, Sequence[Any]] = {
        name: [getattr(vehicle, name) for vehicle in vehicles]
        for name in (
            "id",
            "year",
            "vin",
            "price_kind",
            "body_style",
            "fuel_type",
            "transmission",
            "drivetrain",
            "condition",
        )
    }
    for name in core_fields:
        columns[f"has_{name}"] = [
            True if filled(vehicle, name) else False if knowable(vehicle, name) else None for vehicle in vehicles
        ]
    columns["price_like_dollars"] = [price_like_dollars(vehicle) for vehicle in vehicles]
    columns["odometer_km"] = [odometer_km(vehicle) for vehicle in vehicles]
    columns["modern_vin"] = [
        vehicle.vin if vehicle.year is None or vehicle.year >= _FIRST_MODERN_VIN else None for vehicle in vehicles
    ]
    agreements = [agreement_of(vehicle) for vehicle in vehicles]
    for name in _DECODED:
        columns[f"{name}_agrees"] = [agreement.get(name) for agreement in agreements]
    return columns


def agreement_of(record: Any) -> dict[str, bool]:
    """Whether the fields of a stored record are what its VIN decodes to, for those that both state."""
    facts = vin_decoder.decode(record.vin) if record.vin else None
    if facts is None:
        return {}
    stated = [(name, getattr(record, name), getattr(facts, name)) for name in _DECODED]
    return {
        name: vin.same_value(name, said, decoded)
        for name, said, decoded in stated
        if said is not None and decoded is not None
    }


def price_like_dollars(record: Any) -> float | None:
    """The price in the order of dollars: scaled by how high prices of its currency run, never by a rate."""
    if record.price is None:
        return None
    highest = HIGHEST_PRICE.get(record.currency or "")
    return float(record.price) if highest is None else record.price * HIGHEST_PRICE_OTHERWISE / highest


def _rule(quarantine: Mapping[str, Any], name: str) -> str | None:
    finding = quarantine.get(name) if quarantine else None
    rule = finding["rule"] if finding else None
    return None if rule in HABITS else rule


def _offer(record: Any) -> tuple[Any, ...] | None:
    """What two used cars for sale never have in common."""
    if record.price is None or (odometer_km(record) or 0) < _DELIVERY_KM:
        return None
    return record.make, record.model, record.year, record.price, record.mileage
