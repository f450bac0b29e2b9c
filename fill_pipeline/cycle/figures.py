"""The figures of document 1, each defined once: the tables, the assets, the dashboard and `fill` show these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from math import ceil
from typing import Any, Protocol

LEAST_DETAILS = 20  # fewer listing pages say nothing about how many of them are new vehicles
LEAST_YIELD = 0.05  # new vehicles a page: with fewer, no queue is long enough


class Worked(Protocol):
    """What one source did in a cycle, counted in pages."""

    @property
    def pages_fetched(self) -> int: ...
    @property
    def index_pages(self) -> int: ...
    @property
    def pages_empty(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Throughput:
    """Rates an hour of a cycle's own running time; of the listing pages that came, the share that showed a vehicle.

    ``queue_needed`` is how many pages must wait for the next cycle to reach its target, at this cycle's share of
    listing pages that were new vehicles.
    """

    vehicles_per_hour: float
    queue_per_hour: float
    extraction_success: float | None
    queue_needed: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Every primary and secondary metric of document 1; shares are 0 to 1, None where nothing could be measured.

    Of the sources in work, so many are healthy, degraded and failing; those of no health are not judged yet.
    ``quality_issues`` and ``source_reliability`` (by source, over 7 and 30 days) are as last measured, when a cycle
    ended; ``reliability_7d`` and ``reliability_30d`` are the means over the sources.
    """

    vehicles_added: int
    target: int
    gap: int
    on_target: bool
    vehicles_queued: int
    queue_needed: int
    queued_for_next_target: bool
    data_quality: float | None
    quality_target: float
    quality_issues: tuple[str, ...]
    sources_active: int
    sources_healthy: int
    sources_degraded: int
    sources_failing: int
    sources_paused: int
    vehicles_per_hour: float
    queue_per_hour: float
    total_vehicles: int
    queue_pending: int
    queue_processing: int
    queue_dead: int
    extraction_success: float | None
    quality_by_field: Mapping[str, Mapping[str, Any]]
    reliability_7d: float | None
    reliability_30d: float | None
    source_reliability: Mapping[str, Mapping[str, float | None]]

    def as_json(self) -> dict[str, Any]:
        """By name, in this order."""
        return {name: getattr(self, name) for name in FIGURES} | {"quality_issues": list(self.quality_issues)}


FIGURES = tuple(field.name for field in fields(Figures))
"""Their names, in the order of document 1."""


def throughput(work: Iterable[Worked], *, added: int, target: int, started_at: datetime, until: datetime) -> Throughput:
    """The rates of a cycle from what its sources did."""
    sources = list(work)
    hours = max((until - started_at).total_seconds(), 1.0) / 3600
    fetched = sum(s.pages_fetched for s in sources)
    details = fetched - sum(s.index_pages for s in sources)
    new = min(1.0, max(LEAST_YIELD, added / details)) if details >= LEAST_DETAILS else 1.0
    return Throughput(
        vehicles_per_hour=round(added / hours, 1),
        queue_per_hour=round(fetched / hours, 1),
        extraction_success=round(1 - sum(s.pages_empty for s in sources) / details, 4) if details > 0 else None,
        queue_needed=ceil(target / new),
    )


def reliability(by_source: Mapping[str, tuple[float | None, float | None]]) -> dict[str, Any]:
    """The figures ``reliability_7d``, ``reliability_30d`` and ``source_reliability``."""
    means = []
    for i in range(2):
        known = [pair[i] for pair in by_source.values() if pair[i] is not None]
        means.append(round(sum(known) / len(known), 4) if known else None)  # type: ignore[arg-type]
    return {
        "reliability_7d": means[0],
        "reliability_30d": means[1],
        "source_reliability": {
            slug: {"reliability_7d": pair[0], "reliability_30d": pair[1]} for slug, pair in sorted(by_source.items())
        },
    }
