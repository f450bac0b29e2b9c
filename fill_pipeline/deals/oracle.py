"""Oracles: who says what a vehicle is worth. The default one asks our own listings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from fill_pipeline.db.deals import ListingToValue

if TYPE_CHECKING:
    from fill_pipeline.deals.market import Market


@dataclass(frozen=True, slots=True)
class OracleValue:
    """What a vehicle is worth, in whole units of ``currency``, and how well that is known.

    ``count`` comparables spread by ``spread`` (mean absolute deviation of their adjusted prices, as a
    share of the value); ``confidence`` is the probability that such a vehicle is priced within 15 % of
    the value. ``comparables`` are ids of the most similar vehicles. None where an oracle does not say.
    """

    value: int
    currency: str
    confidence: float
    count: int | None = None
    spread: float | None = None
    comparables: tuple[int, ...] = ()


class Oracle(Protocol):
    """Values vehicles. It never guesses: what it cannot value is None."""

    name: str
    calls: int
    """How often it was asked so far."""
    errors: int
    """How many of those failed; the listings stay unvalued and are tried again in the next run."""

    def value(self, listings: Sequence[ListingToValue]) -> list[OracleValue | None]:
        """The value of each listing's vehicle, in the order given; never from the listing itself."""
        ...


class ComparablesOracle:
    """Values a vehicle by others of its make and model in its currency; needs at least three.

    Each comparable's price is adjusted to the vehicle's year and mileage by robust slopes, and counts the
    more the more alike it is; the vehicle's own listings never take part. See ``deals/segment.py``.
    """

    name = "comparables"

    def __init__(self, market: Market) -> None:
        self.calls = 0
        self.errors = 0
        self._market = market

    def value(self, listings: Sequence[ListingToValue]) -> list[OracleValue | None]:
        """The value of each; fastest where the listings of a segment stand together."""
        self.calls += len(listings)
        values: list[OracleValue | None] = []
        for segment, group in groupby(listings, key=lambda listing: listing.segment):
            values += self._of_segment(segment, list(group))
        return values

    def measured(self, segments: int, each: int) -> list[tuple[int, int, int]]:
        """(vehicle, its price, its value without itself) of so many vehicles of each of the largest segments."""
        import numpy as np

        from fill_pipeline.deals.segment import FEWEST, value_subjects

        found: list[tuple[int, int, int]] = []
        for segment in self._market.shelf.largest(segments):
            vehicles, ids = self._market.segment(segment)
            if len(vehicles) < FEWEST:
                continue
            own = np.unique(np.linspace(0, len(vehicles) - 1, each).astype(np.int64))
            fit = self._market.fit(segment, vehicles)
            worth = value_subjects(vehicles.take(own), own, vehicles, fit, self._market.reference_year)
            values, prices = np.exp(worth.log_value), np.exp(vehicles.log_price[own])
            found += [
                (int(ids[place]), round(float(price)), round(float(value)))
                for place, price, value in zip(own, prices, values, strict=True)
                if value == value
            ]
        return found

    def _of_segment(self, segment: int, listings: list[ListingToValue]) -> list[OracleValue | None]:
        import numpy as np

        from fill_pipeline.deals.segment import FEWEST, Vehicles, value_subjects

        comparables, ids = self._market.segment(segment)
        if len(comparables) < FEWEST:
            return [None] * len(listings)
        subjects = Vehicles(
            np.array([one.year for one in listings], np.float64),
            np.array([_km(one) for one in listings], np.float64),
            np.log([float(one.price) for one in listings]),
            np.array([one.traits for one in listings], np.int64),
        )
        order = np.argsort(ids)
        own = np.full(len(listings), -1, np.int64)
        vehicles = np.array([one.vehicle_id or 0 for one in listings], np.int64)
        place = np.minimum(np.searchsorted(ids, vehicles, sorter=order), len(ids) - 1)
        found = ids[order[place]] == vehicles
        own[found] = order[place[found]]
        fit = self._market.fit(segment, comparables)
        worth = value_subjects(subjects, own, comparables, fit, self._market.reference_year)
        prices = np.exp(worth.log_value)
        return [
            OracleValue(
                value=round(float(price)),
                currency=one.currency,
                confidence=round(float(confidence), 3),
                count=int(count),
                spread=round(float(spread), 4),
                comparables=tuple(int(ids[i]) for i in best if i >= 0),
            )
            if price == price
            else None
            for one, price, confidence, count, spread, best in zip(
                listings, prices, worth.confidence, worth.count, worth.spread, worth.best, strict=True
            )
        ]


def _km(listing: ListingToValue) -> float:
    if listing.km is not None:
        return listing.km
    return 0.0 if listing.condition == "new" else float("nan")
