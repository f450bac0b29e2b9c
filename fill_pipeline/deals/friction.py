"""Friction: what stands between a vehicle's value and the profit of whoever buys and sells it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fill_pipeline.db.deals import ListingToValue
from fill_pipeline.deals.config import Costs, DealConfig

EARTH_RADIUS_KM = 6_371.0
ROAD_FACTOR = 1.25
"""Roads are about a quarter longer than the great circle.

Ballou, Rahardja, Sakai 2002, "Selected country circuity factors for road travel distance estimation"."""
_MOST_YEARS = 20
_MOST_KM = 300_000.0


@dataclass(frozen=True, slots=True)
class Friction:
    """Each cost, in whole units of the listing's currency."""

    transport: int
    transport_km: int | None
    auction_fees: int
    reconditioning: int
    holding: int
    holding_days: int
    selling: int

    @property
    def total(self) -> int:
        """The sum of the costs."""
        return self.transport + self.auction_fees + self.reconditioning + self.holding + self.selling

    def as_json(self) -> dict[str, int | None]:
        """The costs by name with their total."""
        return {
            "transport": self.transport,
            "transport_km": self.transport_km,
            "auction_fees": self.auction_fees,
            "reconditioning": self.reconditioning,
            "holding": self.holding,
            "holding_days": self.holding_days,
            "selling": self.selling,
            "total": self.total,
        }


def friction_of(
    listing: ListingToValue, value: int, costs: Costs, config: DealConfig, *, year_now: int, days_supply: float | None
) -> Friction:
    """What it costs to bring this listing's vehicle home, put it right, keep it and sell it for about ``value``.

    Held for as many days as its segment's supply lasts on average (half the days' supply, at least a
    week), or ``config.holding_days`` where that is not known.
    """
    km = distance_km(listing, config)
    days = config.holding_days if days_supply is None else min(max(days_supply / 2, 7.0), 365.0)
    holding = days * (costs.holding_per_day + listing.price * costs.holding_interest / 365)
    return Friction(
        transport=round(costs.transport_unknown if km is None else costs.transport_base + costs.transport_per_km * km),
        transport_km=None if km is None else round(km),
        auction_fees=_auction_fees(listing, costs),
        reconditioning=_reconditioning(listing, costs, year_now),
        holding=round(holding),
        holding_days=round(days),
        selling=round(costs.selling_base + costs.selling_share * value),
    )


def distance_km(listing: ListingToValue, config: DealConfig) -> float | None:
    """Kilometres by road from the listing to home; None where one of the two has no coordinates."""
    ends = (listing.latitude, listing.longitude, config.home_latitude, config.home_longitude)
    if any(end is None for end in ends):
        return None
    a, b, c, d = (math.radians(float(end)) for end in ends if end is not None)
    # Haversine formula.
    h = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, h))) * ROAD_FACTOR


def _auction_fees(listing: ListingToValue, costs: Costs) -> int:
    if listing.source_kind != "auction_house" and listing.price_kind != "bid":
        return 0
    return round(min(max(costs.auction_fee_share * listing.price, costs.auction_fee_least), costs.auction_fee_most))


def _reconditioning(listing: ListingToValue, costs: Costs, year_now: int) -> int:
    if listing.condition == "new":
        return 0
    years = min(max(year_now - listing.year, 0), _MOST_YEARS)
    km = min(max(listing.km or 15_000.0 * years, 0.0), _MOST_KM)
    return round(
        costs.reconditioning_base
        + costs.reconditioning_per_year * years
        + costs.reconditioning_per_10000_km * km / 10_000
    )
