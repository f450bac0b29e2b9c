"""From what a page says to what may be stored: normalise, decode, validate, fill, weigh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fill_pipeline.extract.listing import Listing
from fill_pipeline.vehicles import vin, vin_decoder
from fill_pipeline.vehicles.completeness import CORE_FIELDS, completeness
from fill_pipeline.vehicles.normalise import normalise, unknown_terms
from fill_pipeline.vehicles.validate import validate


@dataclass(slots=True)
class Cleaned:
    """A listing fit to store, and what cleaning learned about it.

    ``quarantine`` is what ``listing_records.quarantine`` holds (field → value, rule, reason);
    ``agreement`` says for each field that page and VIN both state whether they agree; ``issues``
    are (field, rule) pairs to count: mended and quarantined values and unknown terms.
    """

    listing: Listing
    quarantine: dict[str, dict[str, Any]]
    vin_status: vin.VinStatus | None
    agreement: dict[str, bool]
    issues: list[tuple[str, str]]
    completeness: float


def clean(
    listing: Listing, *, now: datetime, min_confidence: float = 0.0, core_fields: Sequence[str] = CORE_FIELDS
) -> Cleaned:
    """Clean one extracted listing. Pure, bounded, never raises on what a page may contain."""
    normal = normalise(listing)
    issues = [(field, "unknown_term") for field in unknown_terms(normal)]
    facts = vin_decoder.decode(normal.vin) if normal.vin else None
    checked = validate(normal, now=now, facts=facts, min_confidence=min_confidence)
    result, compared = checked.listing, checked.agreement
    if facts is not None:
        if result.vin is not None:
            vin.fill_from_vin(result, facts)
        else:  # what a wrong VIN says is no measure
            compared = {}
    issues += [(finding.field, finding.rule) for finding in checked.fixes]
    issues += [(field, finding.rule) for field, finding in checked.quarantined.items()]
    return Cleaned(
        listing=result,
        quarantine={field: finding.as_json() for field, finding in checked.quarantined.items()},
        vin_status=checked.vin_status,
        agreement=compared,
        issues=issues,
        completeness=completeness(result, core_fields),
    )
