"""The expectation suites: what is asked of a batch before it is promoted, and of a cycle's vehicles after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fill_pipeline.extract.listing import PriceKind
from fill_pipeline.quality.expectations import Expectation, Kind, Severity, Suite
from fill_pipeline.vehicles.validate import FIRST_YEAR, YEARS_AHEAD
from fill_pipeline.vehicles.vocabulary import terms_of

if TYPE_CHECKING:
    from fill_pipeline.settings import Settings

DEAREST = 5_000_000
"""A price in the order of dollars (see ``columns.price_like_dollars``) that one car in many thousands has."""
FARTHEST_KM = 1_500_000
MODERN_VIN = r"[A-HJ-NPR-Z0-9]{17}$"
"""ISO 3779: seventeen characters, without I, O and Q; since model year 1981."""
_MOST = 0.99
"""Share of stored vehicles that must keep to a rule which single odd cars may break."""
_FRESH = 0.95
"""Share of the sources that must have answered lately; document 1's weekly reliability."""
_TERMS = ("body_style", "fuel_type", "transmission", "drivetrain", "condition")
_DECODED = ("year", "make", "model")


def batch_suite(settings: Settings, year: int) -> Suite:
    """What one source's part of a batch must be for its promotion; every expectation blocks. ``year`` is today's.

    Single wrong values are the validator's business and were set aside before. These expectations tell a page
    that is read wrongly throughout: most values set aside, or out of all measure, or the same for every car.
    """
    mostly = 1 - settings.gate_tolerance
    blocks = Severity.ERROR
    return Suite(
        "batch",
        (
            *(
                Expectation(f"{name}_read", f"The {name} is read.", Kind.FILLED, name, blocks, mostly)
                for name in ("make", "model", "year")
            ),
            *(
                Expectation(
                    f"{name}_passes",
                    f"The {name} passes validation.",
                    Kind.EMPTY,
                    f"{name}_rule",
                    blocks,
                    mostly,
                    about=name,
                )
                for name in ("price", "mileage", "year")
            ),
            *_ranges(year, blocks, mostly),
            Expectation("vin_differs", "No two cars have one VIN.", Kind.UNIQUE, "vin", blocks, mostly),
            Expectation(
                "offer_differs",
                "No two used cars have one description, price and odometer.",
                Kind.UNIQUE,
                "offer",
                blocks,
                mostly,
                about="title",
            ),
            *_decoded(blocks, mostly),
        ),
    )


@dataclass(frozen=True, slots=True)
class GateRules:
    """What the gate asks, fit to be sent to another process; ``least`` unexpected values are needed to hold back."""

    suite: Suite
    least: int

    @classmethod
    def of(cls, settings: Settings, year: int) -> GateRules:
        """The rules of the settings; ``year`` is today's."""
        return cls(batch_suite(settings, year), settings.gate_least)


def vehicles_suite(settings: Settings, year: int) -> Suite:
    """What a cycle's vehicles must be. ``year`` is today's."""
    return Suite(
        "vehicles",
        (
            *(
                Expectation(
                    f"completeness_{name}",
                    f"Of the vehicles that could have a {name}, the share that has one.",
                    Kind.IN_SET,
                    f"has_{name}",
                    Severity.WARN,
                    settings.quality_target,
                    allowed=(True,),
                    about=name,
                )
                for name in settings.core_fields
            ),
            *_ranges(year, Severity.ERROR, _MOST),
            Expectation(
                "vin_format",
                "A VIN since 1981 has 17 characters without I, O and Q.",
                Kind.MATCHES,
                "modern_vin",
                Severity.ERROR,
                pattern=MODERN_VIN,
                about="vin",
            ),
            Expectation("no_duplicate_vin", "No two vehicles have the same VIN.", Kind.UNIQUE, "vin", Severity.ERROR),
            *(
                Expectation(
                    f"{name}_terms",
                    f"The {name} is a term of the vocabulary.",
                    Kind.IN_SET,
                    name,
                    Severity.ERROR,
                    allowed=terms_of(name),
                )
                for name in _TERMS
            ),
            Expectation(
                "price_kinds",
                "A price is asked, bid, paid or a reserve.",
                Kind.IN_SET,
                "price_kind",
                Severity.ERROR,
                allowed=tuple(kind.value for kind in PriceKind),
                about="price",
            ),
            *_decoded(Severity.WARN, settings.accuracy_target),
        ),
    )


def fields_suite(settings: Settings) -> Suite:
    """What the cycle's accounts by field must be: one row per field with its ``accuracy`` (0 to 1)."""
    accuracy = Expectation(
        "accuracy",
        "Every field agrees with the decoded VIN and the page's other evidence.",
        Kind.BETWEEN,
        "accuracy",
        Severity.WARN,
        low=settings.accuracy_target,
        high=1,
    )
    return Suite("fields", (accuracy,))


def sources_suite(settings: Settings) -> Suite:
    """What the sources must be: one row per source in work with the ``hours_silent`` since it last answered."""
    freshness = Expectation(
        "freshness",
        "Of the sources in work, the share that answered lately.",
        Kind.BETWEEN,
        "hours_silent",
        Severity.WARN,
        _FRESH,
        high=settings.freshness_hours,
    )
    return Suite("sources", (freshness,))


def figures_suite(settings: Settings) -> Suite:
    """What a cycle's own figures must be: one row with ``data_quality`` (0 to 1), ``gap``, ``mismatches``, ``held``."""
    return Suite(
        "figures",
        (
            Expectation(
                "data_quality_score",
                "Mean completeness of the vehicles touched in this cycle.",
                Kind.BETWEEN,
                "data_quality",
                Severity.ERROR,
                low=settings.quality_target,
                high=1,
            ),
            Expectation(
                "counters_reconcile",
                "Rows, counters and the sources' accounts give the same sum.",
                Kind.BETWEEN,
                "mismatches",
                Severity.ERROR,
                high=0,
            ),
            Expectation(
                "on_target", "This cycle's new vehicles reach its target.", Kind.BETWEEN, "gap", Severity.WARN, high=0
            ),
            Expectation(
                "nothing_held_back",
                "No listings of this cycle wait at the quality gate.",
                Kind.BETWEEN,
                "held",
                Severity.WARN,
                high=0,
            ),
        ),
    )


def _ranges(year: int, severity: Severity, mostly: float) -> tuple[Expectation, ...]:
    return (
        Expectation(
            "year_range",
            f"The year is from {FIRST_YEAR} to {year + YEARS_AHEAD}.",
            Kind.BETWEEN,
            "year",
            severity,
            mostly,
            low=FIRST_YEAR,
            high=year + YEARS_AHEAD,
        ),
        Expectation(
            "price_range",
            f"The price is from 1 to {DEAREST:,} in the order of dollars.",
            Kind.BETWEEN,
            "price_like_dollars",
            severity,
            mostly,
            low=1,
            high=DEAREST,
            about="price",
        ),
        Expectation(
            "mileage_range",
            f"The odometer reads from 0 to {FARTHEST_KM:,} km.",
            Kind.BETWEEN,
            "odometer_km",
            severity,
            mostly,
            low=0,
            high=FARTHEST_KM,
            about="mileage",
        ),
    )


def _decoded(severity: Severity, mostly: float) -> tuple[Expectation, ...]:
    return tuple(
        Expectation(
            f"{name}_as_vin",
            f"The {name} is what the VIN decodes to.",
            Kind.IN_SET,
            f"{name}_agrees",
            severity,
            mostly,
            allowed=(True,),
            about=name,
        )
        for name in _DECODED
    )
