"""How complete a record is, counting only what can be known about its vehicle."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

CORE_FIELDS = ("year", "make", "model", "price", "mileage", "place", "image")
"""The fields whose completeness is the quality score (settings may name others)."""

_FIRST_VIN_YEAR = 1981
_HORSELESS = frozenset(("electric", "hydrogen"))


def filled(record: Any, field: str) -> bool:
    """Whether the record (a listing or a vehicle) has a value for the field."""
    if getattr(record, field, None) is not None:
        return True
    if field == "image":
        return bool(getattr(record, "images", None))
    if field == "place":
        return any(getattr(record, name, None) is not None for name in ("city", "region", "postal_code", "latitude"))
    return False


def knowable(record: Any, field: str) -> bool:
    """Whether a perfect page about this vehicle could state the field.

    - a 17-character VIN did not exist before model year 1981;
    - a new car's odometer reads next to nothing and dealers do not state it, so its mileage is not
      missing (stated, it counts as filled);
    - the engine size of an electric car does not exist;
    - a price withheld ("Call for price", an auction without a bid) is a price missing: the buyer
      needs it and the seller knows it.
    """
    if field == "vin":
        year = getattr(record, "year", None)
        return year is None or year >= _FIRST_VIN_YEAR
    if field == "mileage":
        return getattr(record, "condition", None) != "new"
    if field in ("engine", "fuel_economy"):
        return getattr(record, "fuel_type", None) not in _HORSELESS
    return True


def completeness(record: Any, fields: Collection[str] = CORE_FIELDS) -> float:
    """The share of knowable fields that have a value, 0 to 1; 1 where nothing is knowable."""
    empty = [f for f in fields if getattr(record, f, None) is None and not filled(record, f)]
    if not empty:
        return 1.0
    have = len(fields) - len(empty)
    known = have + sum(knowable(record, f) for f in empty)
    return have / known if known else 1.0
