"""How a source is: judged from what it did in a cycle against its own history, in words a person can use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Protocol

from fill_pipeline.db.ledger import FieldFall, HealthRow, PastRun, SourceAccount, SourceStateRow, SourceStats
from fill_pipeline.quality import baseline
from fill_pipeline.quality.baseline import Outages

FAILING_ERROR_RATE = baseline.DOWN_RATE
DEGRADED_ERROR_RATE = 0.2
QUALITY_DROP = 0.15  # completeness fell by more than this against its baseline
LOW_QUALITY = 0.5
HELD_SHARE = 0.5  # so much of what it gave is kept from becoming vehicles
EXCUSED = frozenset({"gone", "robots"})
GONE_SHARE = 0.5  # more of the listing pages are gone than cars are sold between two looks
MIN_PAGES = 5  # fewer pages say nothing about a source
OFTEN_AWAY = 3  # outages that ended, within two days: a source that works now, but cannot be relied on
DEAD_AFTER = 12  # cycles in a row without anything usable: a day
PROMISE_SHARE = 0.5  # lists less than this share of what it says it has
WHOLE_SHARE = 0.9  # of what it says it has, and the end of its index was reached
SOLD_OUT = 10  # so many vehicles are not sold between two looks
STUCK = frozenset(f"harvest stopped: {reason}" for reason in ("seen_url", "seen_cursor", "no_new_listings"))
REVISITS = 3  # so many intervals without a harvest, and what is known of a source is stale
AS_JUDGED = "not asked in this cycle; when last judged: "


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
    INTERMITTENT = "intermittent"  # it comes and goes by itself: waiting is the cure
    DECLINING = "declining"  # it lists less and less
    DEAD = "dead"  # nothing usable for a day and longer, and it did not come back
    STALE = "stale"  # it should have been asked long ago


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


class Employed(Protocol):
    """A source as far as its employment goes."""

    @property
    def active(self) -> bool: ...
    @property
    def status(self) -> str: ...


def is_in_work(source: Employed) -> bool:
    """Whether it is one of the active sources: nobody paused it, and it is neither in quarantine nor retired."""
    return source.active and source.status in ("live", "trial")


def judge(
    source: SourceStateRow,
    account: SourceAccount | None,
    past: Sequence[PastRun],
    *,
    hour: int,
    now: datetime,
    freshness: timedelta,
    falls: Sequence[FieldFall] = (),
) -> Verdict:
    """Judge one source in one cycle whose window began at that UTC ``hour``.

    ``past`` are its earlier cycles, newest first; after ``freshness`` (or three of its own intervals) without a
    harvest a source is stale. ``falls`` are fields it hardly states any more.
    """
    if source.config_error:
        return Verdict(
            HealthStatus.FAILING, f"its configuration cannot be used: {source.config_error}", Diagnosis.CONFIG
        )
    stats = account.stats if account else SourceStats()
    if stats.pages_fetched + stats.pages_failed == 0:
        return _not_asked(source, now, freshness)
    verdict = _judge_pages(source, stats, past, hour)
    if falls and verdict.status is HealthStatus.HEALTHY:
        words = "; ".join(
            f"{fall.name} in {fall.now:.0%} of its listings, usually {fall.usually:.0%}" for fall in falls
        )
        verdict = Verdict(HealthStatus.DEGRADED, words, Diagnosis.QUALITY)
    run = _run(stats, hour)
    if baseline.is_down(run):
        return _judge_outage(verdict, run, past)
    lapses = baseline.outages(run, past)
    if verdict.status is HealthStatus.HEALTHY and len(lapses.ended) >= OFTEN_AWAY:
        reason = f"it works now, but comes and goes: {_lapses(lapses)}"
        return Verdict(HealthStatus.DEGRADED, reason, Diagnosis.INTERMITTENT)
    return verdict


def health_row(
    source: SourceStateRow,
    account: SourceAccount | None,
    past: Sequence[PastRun],
    *,
    hour: int,
    now: datetime,
    freshness: timedelta,
    falls: Sequence[FieldFall] = (),
) -> HealthRow:
    """The row of ``source_health`` for one source; rates are shares of pages asked for, None if none was."""
    verdict = judge(source, account, past, hour=hour, now=now, freshness=freshness, falls=falls)
    stats = account.stats if account else SourceStats()
    attempts = stats.pages_fetched + stats.pages_failed
    run = _run(stats, hour)
    usual = baseline.yield_baseline(run, past) if run.harvests else None
    return HealthRow(
        source_id=source.id,
        slug=source.slug,
        status=verdict.status,
        reason=verdict.reason,
        diagnosis=verdict.diagnosis,
        vehicles_extracted=stats.found,
        success_rate=round(stats.pages_fetched / attempts, 4) if attempts else None,
        error_rate=round(stats.pages_failed / attempts, 4) if attempts else None,
        avg_quality_score=None if stats.quality is None else round(stats.quality, 4),
        last_checked=now,
        listed=baseline.listed(run),
        usually_listed=usual.median if usual else None,
    )


def wants_repair(verdict: Verdict | HealthRow) -> bool:
    """Whether new rules may be the cure: it fails, or it gives less, or says less, than it used to."""
    if verdict.status == HealthStatus.HEALTHY:
        return False
    curable = (Diagnosis.REDESIGNED, Diagnosis.QUALITY, Diagnosis.EMPTY)
    return verdict.status == HealthStatus.FAILING or verdict.diagnosis in curable


def _not_asked(source: SourceStateRow, now: datetime, freshness: timedelta) -> Verdict:
    """As it was last judged, with that reason; stale when that is too long ago."""
    waited = max(freshness, REVISITS * timedelta(hours=source.revisit_hours))
    if source.last_harvest_at is not None and source.last_harvest_at < now - waited:
        reason = f"not harvested since {source.last_harvest_at:%Y-%m-%d %H:%M} UTC"
        failing = source.last_health == HealthStatus.FAILING
        return Verdict(HealthStatus.FAILING if failing else HealthStatus.DEGRADED, reason, Diagnosis.STALE)
    if source.last_health is None:
        return Verdict(HealthStatus.HEALTHY, "new: nothing was asked of it yet")
    known = (source.last_reason or "").removeprefix(AS_JUDGED)
    diagnosis = Diagnosis(source.last_diagnosis) if source.last_diagnosis in set(Diagnosis) else None
    return Verdict(HealthStatus(source.last_health), AS_JUDGED + known, diagnosis)


def _judge_pages(source: SourceStateRow, stats: SourceStats, past: Sequence[PastRun], hour: int) -> Verdict:
    """What this cycle's pages alone say, measured against what is usual."""
    attempts = stats.pages_fetched + stats.pages_failed
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
    run = _run(stats, hour)
    usual = baseline.yield_baseline(run, past)
    says = stats.expected_count if stats.expected_count is not None else source.expected_count
    if stats.harvests and stats.found == 0 and stats.cards_seen == 0:
        if says == 0:
            return _judge_empty(run, past, usual)
        before = [value for one in past if (value := baseline.listed(one) or one.found)]
        promised = f"it says it has {says}" if says else f"it usually lists {median(before):.0f}" if before else ""
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
    listed = baseline.listed(run)
    if listed is not None and usual is not None and listed < usual.low:
        at = "" if usual.hour is None else f" at {usual.hour:02d}:00 UTC"
        reason = f"lists {listed:.0f} vehicles where it usually lists {usual.median:.0f}{at} (at least {usual.low:.0f})"
        return Verdict(HealthStatus.DEGRADED, reason, Diagnosis.REDESIGNED)
    if listed is not None and says and listed < WHOLE_SHARE * says and STUCK & set(stats.notes):
        reason = f"lists {listed:.0f} of the {says} vehicles it says it has: its further pages give nothing new"
        return Verdict(HealthStatus.DEGRADED, reason, Diagnosis.REDESIGNED)
    if listed is not None and stats.harvest_complete and says and listed < PROMISE_SHARE * says and usual is None:
        reason = f"lists {listed:.0f} of the {says} vehicles it says it has"
        return Verdict(HealthStatus.DEGRADED, reason, Diagnosis.REDESIGNED)
    if stats.harvests and (fall := baseline.decline(run, past)) is not None:
        reason = f"lists less and less: {fall[0]:.0f} in the last day, {fall[1]:.0f} in the time before"
        return Verdict(HealthStatus.DEGRADED, reason, Diagnosis.DECLINING)
    if gone >= MIN_PAGES and gone >= GONE_SHARE * (attempts - stats.index_pages):
        reason = f"{gone} of {attempts - stats.index_pages} listing pages are gone"
        return Verdict(HealthStatus.DEGRADED, reason, Diagnosis.GONE)
    return _judge_quality(stats, past) or Verdict(HealthStatus.HEALTHY, _well(stats, usual))


def _judge_empty(run: PastRun, past: Sequence[PastRun], usual: baseline.Baseline | None) -> Verdict:
    """A small source may be sold out; a large one that says so all at once may have changed its form."""
    words = "it says that it has no vehicles now"
    if usual is None or usual.median < SOLD_OUT or baseline.is_quiet_hour(run.hour, past):
        return Verdict(HealthStatus.HEALTHY, words, Diagnosis.EMPTY)
    return Verdict(HealthStatus.DEGRADED, f"{words}, and usually lists {usual.median:.0f}", Diagnosis.EMPTY)


def _judge_quality(stats: SourceStats, past: Sequence[PastRun]) -> Verdict | None:
    quality = stats.quality
    if quality is None or stats.quality_count < 10:
        return None
    before = [run.quality_sum / run.quality_count for run in past if run.quality_count >= 10]
    if before and quality < median(before) - QUALITY_DROP:
        reason = f"completeness fell from {median(before):.2f} to {quality:.2f}"
        return Verdict(HealthStatus.DEGRADED, reason, Diagnosis.QUALITY)
    if quality < LOW_QUALITY:
        return Verdict(HealthStatus.DEGRADED, f"completeness is only {quality:.2f}", Diagnosis.QUALITY)
    return None


def _well(stats: SourceStats, usual: baseline.Baseline | None) -> str:
    words = f"{stats.found} vehicles read from {stats.pages_fetched} pages"
    if usual is not None:
        return f"{words}; it usually lists {usual.median:.0f}"
    return f"{words}; too new to say what is usual" if stats.harvests else words


def _judge_outage(verdict: Verdict, run: PastRun, past: Sequence[PastRun]) -> Verdict:
    """Tell a quiet hour from an outage, one of many from one that is new, and both from a source that is dead."""
    if verdict.status is not HealthStatus.FAILING:
        return verdict
    if baseline.is_quiet_hour(run.hour, past):
        reason = f"nothing, as nearly always at {run.hour:02d}:00 UTC"
        return Verdict(HealthStatus.HEALTHY, reason, Diagnosis.EMPTY)
    lapses = baseline.outages(run, past)
    if lapses.intermittent:
        reason = f"{verdict.reason}; it comes and goes: {_lapses(lapses)}"
        return Verdict(HealthStatus.DEGRADED, reason, Diagnosis.INTERMITTENT)
    if lapses.streak >= DEAD_AFTER:
        more = f"{verdict.reason}; nothing usable in {lapses.streak} cycles in a row or more"
        return Verdict(HealthStatus.FAILING, more, Diagnosis.DEAD)
    if lapses.streak > 1:
        return replace(verdict, reason=f"{verdict.reason}, for {lapses.streak} cycles in a row")
    return verdict


def _lapses(lapses: Outages) -> str:
    return f"nothing usable in {lapses.down} of its last {lapses.of} cycles, and back each time"


def _run(stats: SourceStats, hour: int) -> PastRun:
    """This cycle as its history will show it."""
    return PastRun(
        cycle_id="",
        hour=hour,
        found=stats.found,
        pages_fetched=stats.pages_fetched,
        pages_failed=stats.pages_failed,
        excused=sum(stats.failures.get(category, 0) for category in EXCUSED),
        index_pages=stats.index_pages,
        cards_seen=stats.cards_seen,
        quality_sum=stats.quality_sum,
        quality_count=stats.quality_count,
        harvests=stats.harvests,
        harvest_complete=stats.harvest_complete,
        expected_count=stats.expected_count,
    )
