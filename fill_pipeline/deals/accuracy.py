"""How right the oracle is, measured in every run: its value of each listing against what the listing asks."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any

BANDS = (5_000, 10_000, 20_000, 40_000)
"""Bounds of the price bands, in whole units of the listing's currency."""
_FEWEST = 5
_MOST_SEGMENTS = 20


class Accuracy:
    """Absolute percentage errors by price band and by segment; each value leaves its own listing out."""

    def __init__(self) -> None:
        self._by_band: defaultdict[str, list[float]] = defaultdict(list)
        self._by_segment: defaultdict[str, list[float]] = defaultdict(list)

    def __len__(self) -> int:
        return sum(map(len, self._by_band.values()))

    def add(self, *, segment: str, price: int, value: int) -> None:
        """Count one asking price and the value given without it."""
        error = abs(value - price) / price
        self._by_band[band_of(price)].append(error)
        self._by_segment[segment].append(error)

    def as_json(self) -> dict[str, Any]:
        """Median absolute percentage error overall, by band, and of the segments with most listings."""
        errors = [e for band in self._by_band.values() for e in band]
        largest = sorted(self._by_segment.items(), key=lambda item: (-len(item[1]), item[0]))[:_MOST_SEGMENTS]
        return {
            "mdape": _summary(errors),
            "n": len(errors),
            "by_band": {name: {"n": len(e), "mdape": _summary(e)} for name, e in sorted(self._by_band.items())},
            "by_segment": {name: {"n": len(e), "mdape": _summary(e)} for name, e in largest if len(e) >= _FEWEST},
        }


def band_of(price: int) -> str:
    """The price band's name, which sorts by price: ``1: under 5000`` … ``5: from 40000``."""
    for place, bound in enumerate(BANDS):
        if price < bound:
            return f"{place + 1}: under {bound}"
    return f"{len(BANDS) + 1}: from {BANDS[-1]}"


def _summary(errors: list[float]) -> float | None:
    return round(median(errors), 4) if errors else None
