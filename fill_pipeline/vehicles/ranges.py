"""A source's own ranges: values far from everything it ever gave are set aside, as general rules set aside others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import exp, log
from statistics import median

from fill_pipeline.vehicles.clean import Cleaned
from fill_pipeline.vehicles.completeness import CORE_FIELDS, completeness
from fill_pipeline.vehicles.validate import Finding, Verdict

Ranges = Mapping[str, tuple[int, int]]
"""By field the least and the greatest value that a source is believed."""

RULE = "source_range"
RANGED = ("price", "mileage")
LEAST_VALUES = 100
SPREADS = (
    6.0  # robust deviations from the median within which values are usual: of a normal one 2 in a thousand million
)
LEAST_SPREAD = 0.25  # of the logarithm, where nearly all values are alike
_MAD = 1.4826  # the standard deviation of a normal distribution, in median absolute deviations


def learn_range(values: Iterable[int]) -> tuple[int, int] | None:
    """What is usual among positive values, by the median and its absolute deviation on a log scale; None of too few.

    Both stand firm while fewer than half of the values are wrong.
    """
    logs = [log(value) for value in values if value > 0]
    if len(logs) < LEAST_VALUES:
        return None
    middle = median(logs)
    spread = max(LEAST_SPREAD, _MAD * median(abs(one - middle) for one in logs))
    return int(exp(middle - SPREADS * spread)), int(exp(middle + SPREADS * spread)) + 1


def objections(cleaned: Cleaned, ranges: Ranges) -> list[Finding]:
    """The values of a cleaned listing that lie outside; a zero is another rule's business."""
    found = []
    for name, (low, high) in ranges.items():
        value = getattr(cleaned.listing, name, None)
        if value and not low <= value <= high:
            reason = f"this source's lie between {low} and {high}"
            found.append(Finding(RULE, Verdict.QUARANTINE, name, value, reason))
    return found


def set_aside(cleaned: Cleaned, ranges: Ranges, core_fields: Sequence[str] = CORE_FIELDS) -> None:
    """Take values outside a source's ranges out of their fields, each with its reason; changes the listing in place."""
    found = objections(cleaned, ranges)
    for one in found:
        setattr(cleaned.listing, one.field, None)
        cleaned.listing.provenance.pop(one.field, None)
        cleaned.quarantine[one.field] = one.as_json()
        cleaned.issues.append((one.field, RULE))
    if found:
        cleaned.completeness = completeness(cleaned.listing, core_fields)
