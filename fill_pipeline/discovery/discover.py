"""Discovery: one round from channels to candidates to probes to sources on trial, within a budget."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from fill_pipeline.crawl.urls import site_of
from fill_pipeline.db import improvement
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import CandidateRow, CandidateStatus, FoundCandidate
from fill_pipeline.db.registry import SourceRow
from fill_pipeline.discovery.candidate import PASSING, RejectReason, candidate_of
from fill_pipeline.discovery.channels import dropped, links, robots
from fill_pipeline.discovery.probe import Probe, ProbeLimits, probe
from fill_pipeline.discovery.trial import domains_of_sources, judge_trials, take_on_trial
from fill_pipeline.drain.robots import keep_robots
from fill_pipeline.drain.work import Work

BY_HAND = "by_hand"


@dataclass(frozen=True, slots=True)
class Budget:
    """Bounds of one round: ``probes`` candidates are visited, ``side_by_side`` at once, each at its own pace."""

    probes: int = 24
    side_by_side: int = 6
    taken: int = 10
    on_trial: int = 20
    retry_hours: float = 6.0
    visit: ProbeLimits = field(default_factory=ProbeLimits)


@dataclass(slots=True)
class Funnel:
    """One round in figures. ``taken`` counts sources newly taken into work on trial."""

    found: int = 0
    probed: int = 0
    trialled: int = 0
    taken: int = 0
    promoted: int = 0
    retired: int = 0
    waiting: int = 0
    requests: int = 0
    by_channel: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain data for metadata and reports."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(slots=True)
class ProbeReport:
    """What happened to an address given by hand, step by step: a source in work, or the reason why not."""

    url: str
    steps: list[str] = field(default_factory=list)
    source: SourceRow | None = None
    reason: str | None = None
    score: float | None = None


def discover(conn: Connection, work: Work, *, budget: Budget | None = None) -> Funnel:
    """One incremental round of discovery: nothing is read, probed or decided twice. Raises only for the database."""
    budget = budget or Budget()
    funnel = Funnel()
    judged = judge_trials(conn, work)
    funnel.promoted, funnel.retired = len(judged.promoted), len(judged.retired)
    _listen(conn, work, funnel)
    _probe_some(conn, work, budget, funnel)
    _fill_trials(conn, work, budget, funnel)
    return funnel


def probe_url(conn: Connection, work: Work, url: str, *, limits: ProbeLimits | None = None) -> ProbeReport:
    """Take one address the whole way by hand: probe, score and, if it is good, into work (no quota, no waiting)."""
    report = ProbeReport(url)
    if "://" not in url:
        url = f"https://{url}"
    found = candidate_of(url, BY_HAND)
    if found is None:
        report.reason = f"{RejectReason.BAD_URL}: {url[:200]} is not the address of a site that could be a source"
        report.steps.append(report.reason)
        return report
    known = domains_of_sources(conn)
    if found.domain in known:
        report.reason = f"{RejectReason.DUPLICATE}: {found.domain} is the source {known[found.domain]} already"
        report.steps.append(report.reason)
        return report
    improvement.add_candidates(conn, [found], now=work.now_fn())
    candidate = improvement.candidate(conn, found.domain)
    assert candidate is not None
    seen = _look(work, replace(candidate, url=url), limits or ProbeLimits())
    report.steps = seen.steps
    _keep(conn, work, candidate, seen, known)
    candidate = improvement.candidate(conn, found.domain)
    assert candidate is not None
    report.score = candidate.score
    if candidate.status == CandidateStatus.PROBED:
        report.source = take_on_trial(conn, work, candidate)
        report.steps.append(f"taken on trial as {report.source.slug}, score {candidate.score:.3f}")
    else:
        report.reason = candidate.reason
    return report


def _listen(conn: Connection, work: Work, funnel: Funnel) -> None:
    """Read what the channels have new."""
    known = domains_of_sources(conn)
    by_channel: Counter[str] = Counter()
    for channel in (links, robots, dropped):
        fresh: list[FoundCandidate] = []
        for one in channel.find(conn, work):
            if one.domain not in known:
                fresh.append(one)
                by_channel[one.channel] += 1
        if fresh:
            funnel.found += improvement.add_candidates(conn, fresh, now=work.now_fn())
    funnel.by_channel = dict(by_channel)


def _probe_some(conn: Connection, work: Work, budget: Budget, funnel: Funnel) -> None:
    chosen = improvement.to_probe(
        conn, budget.probes, now=work.now_fn(), passing=[str(r) for r in PASSING], retry_hours=budget.retry_hours
    )
    known = domains_of_sources(conn)

    def look(candidate: CandidateRow) -> Probe | None:
        return None if work.stopping() else _look(work, candidate, budget.visit)

    with ThreadPoolExecutor(max_workers=budget.side_by_side, thread_name_prefix="probe") as crew:
        for candidate, seen in zip(chosen, crew.map(look, chosen), strict=True):
            if seen is None:
                continue
            funnel.probed += 1
            funnel.requests += seen.requests
            refused = _keep(conn, work, candidate, seen, known)
            if refused is not None:
                funnel.rejected[str(refused)] = funnel.rejected.get(str(refused), 0) + 1


def _look(work: Work, candidate: CandidateRow, limits: ProbeLimits) -> Probe:
    settings = work.settings
    return probe(
        candidate.url,
        work.fetch_settings(),
        now=work.now_fn(),
        core_fields=settings.core_fields,
        min_confidence=settings.min_confidence,
        limits=limits,
    )


def _keep(
    conn: Connection, work: Work, candidate: CandidateRow, seen: Probe, known: dict[str, str]
) -> RejectReason | None:
    """Write down what a probe found; returns the reason of a refusal, None where the candidate is good."""
    now = work.now_fn()
    keep_robots(conn, seen.robots)
    refused, reason, score = seen.refused, seen.reason, None
    if refused is None:
        domain = site_of(seen.base_url)
        if domain in known:
            refused, reason = RejectReason.DUPLICATE, f"it leads to {domain}, the source {known[domain]} already"
        else:
            known_share = improvement.known_vins(conn, seen.vins) / len(seen.vins) if seen.vins else 0.0
            score = seen.score(known_share)
    improvement.save_probe(
        conn,
        candidate.id,
        CandidateStatus.REJECTED if refused else CandidateStatus.PROBED,
        f"{refused}: {reason}" if refused else reason,
        cycle_id=work.cycle_id,
        now=now,
        score=score,
        config=None if refused else seen.config,
        kind=None if refused else str(seen.kind),
        url=None if refused else seen.base_url,
        findings=seen.findings(),
    )
    return refused


def _fill_trials(conn: Connection, work: Work, budget: Budget, funnel: Funnel) -> None:
    """Take the best of those waiting, as far as the quota goes."""
    room = min(budget.taken, budget.on_trial - len(improvement.on_trial(conn)))
    known = domains_of_sources(conn)
    for candidate in improvement.waiting(conn, max(0, room)):
        domain = site_of(candidate.url)
        if domain in known:  # two candidates led to one site
            reason = f"{RejectReason.DUPLICATE}: it leads to {domain}, the source {known[domain]} already"
            improvement.decide(
                conn, candidate.id, CandidateStatus.REJECTED, reason, cycle_id=work.cycle_id, now=work.now_fn()
            )
            continue
        source = take_on_trial(conn, work, candidate)
        known[domain] = source.slug
        funnel.taken += 1
        funnel.sources.append(source.slug)
    funnel.trialled = len(improvement.on_trial(conn))
    funnel.waiting = len(improvement.waiting(conn, 1000))
