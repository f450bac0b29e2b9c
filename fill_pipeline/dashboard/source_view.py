"""A source as the dashboard shows it: how it stands, why, and what it gave lately."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fill_pipeline.db.ledger import HealthRow
from fill_pipeline.db.overview import SourceLine
from fill_pipeline.quality.health import HealthStatus


class SourceHealth(StrEnum):
    """How a source stands, worst first: the order of the table."""

    FAILING = "failing"  # gives nothing that can be used
    DEGRADED = "degraded"  # gives less, or worse, than it usually does
    PAUSED = "paused"  # a person, or quarantine, keeps it from being crawled
    NEW = "new"  # not judged yet
    HEALTHY = "healthy"  # does what it usually does


@dataclass(frozen=True, slots=True)
class SourceView:
    """A source with its health and why; ``yields`` are the listings found in its last cycles, oldest first."""

    line: SourceLine
    health: SourceHealth
    reason: str
    diagnosis: str | None
    pending: int
    dead: int
    yields: tuple[int, ...]
    reliability: tuple[float | None, float | None]

    @property
    def quality(self) -> float | None:
        """Mean completeness of what it gave in this cycle."""
        return self.line.quality_sum / self.line.quality_count if self.line.quality_count else None

    @property
    def error_rate(self) -> float | None:
        """The share of its pages that failed in this cycle."""
        attempts = self.line.pages_fetched + self.line.pages_failed
        return self.line.pages_failed / attempts if attempts else None


def view_source(
    row: SourceLine, judged: HealthRow | None, yields: tuple[int, ...], waiting: tuple[int, int], now: datetime
) -> SourceView:
    """A source as it was last judged, with its pages pending and dead."""
    pending, dead = waiting
    health, reason = _health(row, judged, now)
    return SourceView(
        line=row,
        health=health,
        reason=reason,
        diagnosis=judged.diagnosis if judged else None,
        pending=pending,
        dead=dead,
        yields=yields,
        reliability=(judged.reliability_7d, judged.reliability_30d) if judged else (None, None),
    )


def _health(row: SourceLine, judged: HealthRow | None, now: datetime) -> tuple[SourceHealth, str]:
    """As it was last judged, unless something is known since that overrides it."""
    if not row.active:
        return SourceHealth.PAUSED, "paused by a person"
    if row.status == "quarantined":
        return SourceHealth.PAUSED, f"in quarantine: {row.status_reason or 'no reason was given'}"
    if row.config_error is not None:
        return SourceHealth.FAILING, f"its configuration cannot be used: {row.config_error}"
    if row.breaker == "open" and row.breaker_until is not None and row.breaker_until > now:
        reason = f"too many failures in a row: left alone until {row.breaker_until:%H:%M:%S} UTC"
        known = judged is not None and judged.status == HealthStatus.FAILING
        return (SourceHealth.FAILING if known else SourceHealth.DEGRADED), reason
    if judged is None:
        return SourceHealth.NEW, "judged when a cycle ends"
    return SourceHealth(judged.status), judged.reason
