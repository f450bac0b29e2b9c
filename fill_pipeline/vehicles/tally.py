"""What a batch did, counted as the accounts want it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID


class Outcome(StrEnum):
    """What became of one observation."""

    NEW = "new"  # an advertisement not known before
    UPDATED = "updated"  # a known one that says something else now, or is back
    UNCHANGED = "unchanged"  # a known one that says the same, or the same one again in one batch
    QUARANTINED = "quarantined"  # stored, but it says too little to be a vehicle, or its batch was held back


@dataclass(slots=True)
class WrittenListing:
    """What became of one input row."""

    listing_id: int
    outcome: Outcome
    vehicle_id: int | None
    queue_id: int | None


@dataclass(slots=True)
class SourceSums:
    """One source's part of a batch, named as in ``source_cycle_stats``; ``quality_*`` sum completeness."""

    found: int = 0
    new: int = 0
    updated: int = 0
    skipped: int = 0
    quarantined: int = 0
    vehicles_added: int = 0
    quality_sum: float = 0.0
    quality_count: int = 0


@dataclass(slots=True)
class FieldTally:
    """One field of one source in a batch, named as in ``field_tallies``."""

    knowable: int = 0
    filled: int = 0
    compared: int = 0
    agreed: int = 0
    quarantined: int = 0


@dataclass(slots=True)
class WriteResult:
    """A batch's work: ``rows`` in input order, ``tallies`` by source and field, ``issues`` by (source, field, rule)."""

    rows: list[WrittenListing] = field(default_factory=list)
    vehicles_added: int = 0
    vehicles_updated: int = 0
    sources: dict[UUID, SourceSums] = field(default_factory=dict)
    tallies: dict[UUID, dict[str, FieldTally]] = field(default_factory=dict)
    issues: Counter[tuple[UUID, str, str]] = field(default_factory=Counter)
