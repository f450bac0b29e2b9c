"""Batches of pages between the process that fetches and those that read and write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from fill_pipeline.db.ledger import SourceStats
from fill_pipeline.drain.page import RawPage, Reading


@dataclass(frozen=True, slots=True)
class Batch:
    """Pages to read and write, with how each source's pages are read."""

    number: int
    cycle_id: str
    owner: str
    now: datetime
    pages: list[RawPage]
    readings: dict[UUID, Reading]
    core_fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchBegun:
    """A worker's word that it reads this batch from now on; what it dies of meanwhile may be in there."""

    number: int


@dataclass(frozen=True, slots=True)
class LastWords:
    """Why a worker ends, in one line, where it can still say so."""

    why: str


@dataclass(slots=True)
class BatchDone:
    """What became of a batch: sums by source, and pages that could not be written with the reason."""

    number: int
    queue_ids: list[int] = field(default_factory=list)
    stats: dict[UUID, SourceStats] = field(default_factory=dict)
    unwritten: list[tuple[int, str]] = field(default_factory=list)
    too_late: bool = False
    """The cycle was closed meanwhile: what is not written yet is still held, and the next one's."""
