"""A car and what it is worth: realistic facts drawn from a seeded generator."""

from __future__ import annotations

import math
from bisect import bisect
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from random import Random

from .catalog import Pattern, load_catalog
from .places import Market

WORLD_YEAR = 2026
MILES_PER_YEAR = 11_500  # about what the US FHWA counts for a car
FIRST_YEAR_LOSS = 0.18  # share of the new price lost at once
YEARLY_LOSS = 0.125  # share of the rest lost every later year
SCRAP_VALUE = 1_400  # dollars; nothing that runs is cheaper

# How often a make is for sale, against 1 for all others.
_POPULARITY = {"Toyota": 3.0, "Ford": 3.0, "Honda": 2.6, "Chevrolet": 2.4, "Nissan": 1.8, "Jeep": 1.6, "Hyundai": 1.5}
_EUROPEAN = {"Audi", "BMW", "Mercedes-Benz", "MINI", "Porsche", "Volkswagen", "Volvo", "Saab", "Jaguar", "Land Rover"}
_COLOURS = ["Black", "White", "Silver", "Gray", "Blue", "Red", "Green", "Beige", "Brown", "Orange", "Gold", "Burgundy"]
_COLOUR_WEIGHTS = list(accumulate((22, 24, 14, 17, 11, 9, 3, 2, 2, 1, 1, 1)))
_INTERIORS = ["Black", "Gray", "Beige", "Tan", "Brown", "Ivory", "Charcoal"]


@dataclass(slots=True)
class Car:
    """One real car; ``miles`` on the odometer, ``value`` in US dollars, ``key`` names it in the truth."""

    key: str
    pattern: Pattern
    vin: str
    colour: str
    interior: str
    miles: int
    value: int


def draw_car(rng: Random, key: str, market: Market) -> Car:
    """A car of that market; the same generator state gives the same car."""
    patterns, weights = _choices(market)
    pattern = patterns[bisect(weights, rng.random() * weights[-1])]
    age = WORLD_YEAR - pattern.year
    usual = MILES_PER_YEAR * (age - 0.4)
    miles = max(60, int(usual * math.exp(rng.gauss(-0.06, 0.32))))
    value = pattern.new_price * (1 - FIRST_YEAR_LOSS) * (1 - YEARLY_LOSS) ** (age - 1)
    value *= math.exp((usual - miles) / 190_000) * math.exp(rng.gauss(0, 0.07))
    return Car(
        key=key,
        pattern=pattern,
        vin=pattern.vin(rng.randrange(1_000_000)),
        colour=rng.choices(_COLOURS, cum_weights=_COLOUR_WEIGHTS)[0],
        interior=rng.choice(_INTERIORS),
        miles=miles,
        value=max(SCRAP_VALUE, int(value)),
    )


@cache
def _choices(market: Market) -> tuple[tuple[Pattern, ...], tuple[float, ...]]:
    """Patterns sold in a market with their cumulated weights: newer years and popular makes more often."""
    patterns = tuple(p for p in load_catalog() if market is not Market.DE or p.make in _EUROPEAN)
    weights = (
        _POPULARITY.get(p.make, 1.0) * (1.0 if p.year >= 2012 else 0.5 if p.year >= 2005 else 0.25) for p in patterns
    )
    return patterns, tuple(accumulate(weights))
