"""Trials: take good candidates into work within a quota, and judge after a while what they gave."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fill_pipeline.crawl.urls import registrable_domain, site_of
from fill_pipeline.db import improvement, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import CandidateRow, CandidateStatus, TrialRow
from fill_pipeline.db.registry import SourceRow
from fill_pipeline.discovery.candidate import RejectReason
from fill_pipeline.drain.work import Work

PROMOTE_QUALITY = 0.6
PATIENCE_CYCLES = 3  # cycles with work in which a source on trial may give nothing


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of the sources on trial."""

    promoted: list[str]
    retired: list[str]


def judge_trials(conn: Connection, work: Work) -> Judged:
    """Promote the sources on trial that gave good vehicles, retire those that gave none for several cycles."""
    promoted, retired = [], []
    now = work.now_fn()
    for trial in improvement.on_trial(conn):
        if _has_proven_itself(trial):
            reason = f"gave {trial.found} vehicles on trial, completeness {trial.quality or 0:.2f}"
            registry.set_status(conn, trial.source_id, "live", reason)
            status = CandidateStatus.ACTIVE
            promoted.append(trial.slug)
        elif trial.cycles >= PATIENCE_CYCLES:
            reason = f"{RejectReason.NO_YIELD}: {_why_not(trial)}"
            registry.set_status(conn, trial.source_id, "retired", reason)
            status = CandidateStatus.REJECTED
            retired.append(trial.slug)
        else:
            continue
        if trial.candidate_id is not None:
            improvement.decide(conn, trial.candidate_id, status, reason, cycle_id=work.cycle_id, now=now)
    return Judged(promoted, retired)


def take_on_trial(conn: Connection, work: Work, candidate: CandidateRow) -> SourceRow:
    """Declare a probed candidate as a source on trial."""
    with conn.transaction():
        now = work.now_fn()
        findings: dict[str, Any] = candidate.evidence
        source = registry.declare_source(
            conn,
            name=_free_name(conn, candidate.domain),
            base_url=candidate.url,
            config=candidate.config or {},
            kind=candidate.kind or "dealer",
            status="trial",
            note=f"found through {candidate.channel}",
            expected_count=findings.get("count"),
            discovered_via=candidate.channel,
            discovered_at=now,
            made_by="discovery",
            reason=candidate.reason or "",
        )
        reason = f"on trial: {candidate.reason}"
        improvement.decide(
            conn, candidate.id, CandidateStatus.TRIAL, reason, cycle_id=work.cycle_id, now=now, source_id=source.id
        )
    return source


def domains_of_sources(conn: Connection) -> dict[str, str]:
    """The registrable domain of every source, and its slug."""
    found: dict[str, str] = {}
    for slug, url, _status in improvement.source_urls(conn):
        try:
            found[site_of(url)] = slug
        except ValueError:
            continue
    return found


def _has_proven_itself(trial: TrialRow) -> bool:
    asked = trial.pages_fetched + trial.pages_failed
    works = trial.pages_failed <= 0.5 * asked
    return bool(trial.found) and works and (trial.quality or 0.0) >= PROMOTE_QUALITY


def _why_not(trial: TrialRow) -> str:
    if not trial.found:
        return f"no vehicle from {trial.pages_fetched} pages in {trial.cycles} cycles ({trial.pages_failed} failed)"
    if trial.quality is not None and trial.quality < PROMOTE_QUALITY:
        return f"completeness is only {trial.quality:.2f}"
    return f"{trial.pages_failed} of {trial.pages_failed + trial.pages_fetched} pages failed"


def _free_name(conn: Connection, domain: str) -> str:
    """A name no source has yet, from the domain (its registrable part where the whole is a host)."""
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", registrable_domain(domain)).strip("-._")[:90] or "site"
    base = base.removesuffix(".localhost")
    name, n = base, 1
    while registry.find_source(conn, name) is not None or registry.find_source(conn, _slug(name)) is not None:
        n += 1
        name = f"{base}-{n}"
    return name


def _slug(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "_", name).lower().strip("_")
