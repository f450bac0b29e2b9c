"""Which of several odometer readings of one vehicle was mistyped."""

from __future__ import annotations

from collections.abc import Sequence

from fill_pipeline.db.listings import ListingRow
from fill_pipeline.vehicles.identity import odometer_km

MOST_KM_A_YEAR = 60_000
"""More than next to any car is driven, year after year; the mean is about 18,000 (US FHWA)."""
USUAL_KM_A_YEAR = 40_000
FAR_ABOVE = 3.0
"""From this ratio on two readings cannot be the same car's a while apart."""


def km_a_year(row: ListingRow) -> float | None:
    """Kilometres a year of its life, the model year counted whole; None where year or odometer is missing."""
    km = odometer_km(row)
    if km is None or row.year is None:
        return None
    return km / max(1, row.changed_at.year - row.year + 1)


def is_typo_beside(row: ListingRow, other: ListingRow) -> bool:
    """Whether a reading is far above another of the same vehicle, and impossible for its age where that is usual."""
    km, there = odometer_km(row), odometer_km(other)
    own, usual = km_a_year(row), km_a_year(other)
    if km is None or there is None or own is None or usual is None:
        return False
    return km >= FAR_ABOVE * there and own > MOST_KM_A_YEAR and usual <= USUAL_KM_A_YEAR


def is_outvoted(row: ListingRow, listings: Sequence[ListingRow]) -> bool:
    """Whether a listing's reading is a typing error, told by the other listings of its vehicle.

    One usual reading outweighs an impossible one; a possible one only gives way to two that are far
    below it and more than those that are not.
    """
    km = odometer_km(row)
    if km is None:
        return False
    others = [o for o in listings if o.id != row.id and o.mileage is not None]
    if any(is_typo_beside(row, other) for other in others):
        return True
    below = sum(km >= FAR_ABOVE * max(1, odometer_km(other) or 0) for other in others)
    return below >= 2 and below > len(others) - below + 1
