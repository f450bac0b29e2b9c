"""How a source is: judged from what it did in a cycle against its own history, in words a person can use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import median

from fill_pipeline.db.ledger import HealthRow, PastRun, SourceAccount, SourceStateRow

FAILING_ERROR_RATE = 0.5
DEGRADED_ERROR_RATE = 0.2
YIELD_DROP = 0.5  # found less than this share of its usual yield
QUALITY_DROP = 0.15  # completeness fell by more than this against its baseline
LOW_QUALITY = 0.5
HELD_SHARE = 0.5  # so much of what it gave is kept from becoming vehicles
EXCUSED = frozenset({"gone", "robots"})
GONE_SHARE = 0.5  # more of the listing pages are gone than cars are sold between two looks
MIN_PAGES = 5  # fewer pages say nothing about a source
MAD_TO_SIGMA = 1.4826  # makes the median absolute deviation estimate a normal deviation (Rousseeuw & Croux 1993)


class HealthStatus(StrEnum):
    """How a source is."""

    HEALTHY = "healthy"  # does what it usually does
    DEGRADED = "degraded"  # gives less, or worse, than it usually does
    FAILING = "failing"  # gives nothing that can be used


class Diagnosis(StrEnum):
    """What is wrong with a source; each has its own cure."""

    BLOCKED = "blocked"  # it refuses us
    THROTTLED = "throttled"  # it asks us to slow down
    GONE = "gone"  # its pages are no longer there
    UNREACHABLE = "unreachable"  # no answer: names, connections, time-outs, server errors
    REDESIGNED = "redesigned"  # pages come but nothing can be read from them
    EMPTY = "empty"  # it works and says it has nothing
    ROBOTS = "robots"  # robots.txt forbids what we want
    CONFIG = "config"  # our own configuration cannot be used
    OURS = "ours"  # a fault of this program
    QUALITY = "quality"  # what it gives lacks fields it used to have


_DIAGNOSES = {
    "blocked": Diagnosis.BLOCKED,
    "throttled": Diagnosis.THROTTLED,
    "gone": Diagnosis.GONE,
    "no_listing": Diagnosis.REDESIGNED,
    "ours": Diagnosis.OURS,
    "write": Diagnosis.OURS,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A source's health with its reason."""

    status: HealthStatus
    reason: str
    diagnosis: Diagnosis | None = None


def judge(source: SourceStateRow, account: SourceAccount | None, past: Sequence[PastRun]) -> Verdict:
    """Judge one source in one cycle; ``past`` are its earlier cycles, newest first."""
    if source.config_error:
        return Verdict(
            HealthStatus.FAILING, f"its configuration cannot be used: {source.config_error}", Diagnosis.CONFIG
        )
    if account is None:
        status = HealthStatus(source.last_health or HealthStatus.HEALTHY)
        return Verdict(status, "not due in this cycle; as last judged")
    stats = account.stats
    attempts = stats.pages_fetched + stats.pages_failed
    if attempts == 0:
        return Verdict(
            HealthStatus(source.last_health or HealthStatus.HEALTHY), "nothing was asked of it in this cycle"
        )
    # A listing page that is gone is a car that is sold, and one that robots.txt forbids is left alone: no fault.
    gone = stats.failures.get("gone", 0)
    excused = sum(n for category, n in stats.failures.items() if category in EXCUSED)
    faults = {category: n for category, n in stats.failures.items() if category not in EXCUSED}
    worst = max(faults, key=lambda k: faults[k], default="")
    diagnosis = _DIAGNOSES.get(worst, Diagnosis.UNREACHABLE if worst else None)
    asked = attempts - excused
    failed = stats.pages_failed - excused
    error_rate = failed / asked if asked else 0.0
    failures = f"{failed} of {asked} pages failed, most of them {worst}"
    if not asked and not stats.found:
        why = Diagnosis.GONE if gone * 2 >= excused else Diagnosis.ROBOTS
        return Verdict(HealthStatus.FAILING, f"none of the {attempts} pages asked for could be had: {why}", why)
    if error_rate >= FAILING_ERROR_RATE:
        return Verdict(HealthStatus.FAILING, failures, diagnosis)
    usual = [run.found for run in past if run.harvests and run.found]
    says = stats.expected_count if stats.expected_count is not None else source.expected_count
    if stats.harvests and stats.found == 0 and stats.cards_seen == 0:
        if says == 0:
            return Verdict(HealthStatus.HEALTHY, "it says that it has no vehicles now", Diagnosis.EMPTY)
        promised = f"it says it has {says}" if says else f"it usually gives {round(median(usual))}" if usual else ""
        if promised:
            reason = f"{stats.pages_fetched} pages came but no vehicle could be read, though {promised}"
            return Verdict(HealthStatus.FAILING, reason, Diagnosis.REDESIGNED)
        return Verdict(HealthStatus.DEGRADED, "it works but has never given a vehicle", Diagnosis.EMPTY)
    details = stats.pages_fetched - stats.index_pages
    if details >= MIN_PAGES and stats.pages_empty / details >= FAILING_ERROR_RATE:
        reason = f"{stats.pages_empty} of {details} listing pages show no vehicle that can be read"
        return Verdict(HealthStatus.FAILING, reason, Diagnosis.REDESIGNED)
    if stats.quarantined >= MIN_PAGES and stats.quarantined >= HELD_SHARE * stats.found:
        reason = f"{stats.quarantined} of {stats.found} listings are held back, since they cannot be right"
        return Verdict(HealthStatus.FAILING, reason, Diagnosis.REDESIGNED)
    if error_rate >= DEGRADED_ERROR_RATE:
        return Verdict(HealthStatus.DEGRADED, failures, diagnosis)
    if stats.harvests and stats.harvest_complete and len(usual) >= 3 and _far_below(stats.found, usual):
        reason = f"gave {stats.found} vehicles where it usually gives {round(median(usual))}"
        return Verdict(HealthStatus.DEGRADED, reason, Diagnosis.REDESIGNED)
    if gone >= MIN_PAGES and gone >= GONE_SHARE * (attempts - stats.index_pages):
        reason = f"{gone} of {attempts - stats.index_pages} listing pages are gone"
        return Verdict(HealthStatus.DEGRADED, reason, Diagnosis.GONE)
    quality = stats.quality
    before = [run.quality_sum / run.quality_count for run in past if run.quality_count >= 10]
    if quality is not None and stats.quality_count >= 10:
        if before and quality < median(before) - QUALITY_DROP:
            reason = f"completeness fell from {median(before):.2f} to {quality:.2f}"
            return Verdict(HealthStatus.DEGRADED, reason, Diagnosis.QUALITY)
        if quality < LOW_QUALITY:
            return Verdict(HealthStatus.DEGRADED, f"completeness is only {quality:.2f}", Diagnosis.QUALITY)
    return Verdict(HealthStatus.HEALTHY, f"{stats.found} vehicles read from {stats.pages_fetched} pages")


def health_row(
    source: SourceStateRow, account: SourceAccount | None, past: Sequence[PastRun], now: datetime
) -> HealthRow:
    """The row of ``source_health`` for one source; rates are shares of pages asked for, None if none was."""
    verdict = judge(source, account, past)
    stats = account.stats if account else None
    attempts = stats.pages_fetched + stats.pages_failed if stats else 0
    return HealthRow(
        source_id=source.id,
        slug=source.slug,
        status=verdict.status,
        reason=verdict.reason,
        diagnosis=verdict.diagnosis,
        vehicles_extracted=stats.found if stats else 0,
        success_rate=round(stats.pages_fetched / attempts, 4) if stats and attempts else None,
        error_rate=round(stats.pages_failed / attempts, 4) if stats and attempts else None,
        avg_quality_score=round(stats.quality, 4) if stats and stats.quality is not None else None,
        last_checked=now,
    )


def _far_below(found: int, usual: Sequence[int]) -> bool:
    centre = median(usual)
    spread = MAD_TO_SIGMA * median(abs(value - centre) for value in usual)
    return found < YIELD_DROP * centre and found < centre - 3 * spread
