"""Repair: find out what is wrong with failing sources, and mend what new rules can mend, proven before they go live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fill_pipeline.crawl.config import ConfigError, parse_source_config
from fill_pipeline.crawl.fetch import Fetcher
from fill_pipeline.db import improvement, pace, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import RepairStatus
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.replay import replay_window
from fill_pipeline.drain.work import Source, Totals, Work, load_sources
from fill_pipeline.repair.ask import Asker
from fill_pipeline.repair.cards import is_index_only, score_cards
from fill_pipeline.repair.cause import Cause
from fill_pipeline.repair.checkup import check_up
from fill_pipeline.repair.diagnose import Checkup, Finding, diagnose
from fill_pipeline.repair.evidence import KNOWN_LISTINGS, evidence_of
from fill_pipeline.repair.loss import broken_cycles
from fill_pipeline.repair.move import follow, new_home
from fill_pipeline.repair.proposal import (
    MIN_F1,
    MIN_PROOF_PAGES,
    MIN_TRAIN_PAGES,
    Proposal,
    canary,
    propose,
    reading_with,
)
from fill_pipeline.repair.truth import FIELDS, score

FRESH_REQUESTS = 70
REGRESSION = 0.02  # of F1
PATIENCE = 3  # failed repairs in a row after which a source is set aside


@dataclass(slots=True)
class Repairs:
    """What a round of repairs did, in figures and by source."""

    diagnosed: int = 0
    promoted: int = 0
    rejected: int = 0
    quarantined: int = 0
    rolled_back: int = 0
    replayed_pages: int = 0
    regained: dict[str, int] = field(default_factory=dict)
    """Values, by field, that came of reading the broken time again."""
    causes: dict[str, int] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    mended: list[str] = field(default_factory=list)

    def count(self, cause: Cause) -> None:
        """Count a diagnosis, under its plain word."""
        self.causes[cause.value] = self.causes.get(cause.value, 0) + 1

    def as_json(self) -> dict[str, Any]:
        """Plain data for metadata and reports."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def repair_sources(conn: Connection, work: Work, slugs: Sequence[str]) -> Repairs:
    """Diagnose each source and repair those that were redesigned; what was done stands in ``source_repairs``."""
    repairs = Repairs()
    for slug in slugs:
        if work.stopping():
            break
        source = next((s for s in load_sources(conn, crawlable_only=False).values() if s.slug == slug), None)
        if source is None:
            _note_unusable(conn, work, slug, repairs)
            continue
        _repair_one(conn, work, source, repairs)
    # What the broken index kept from us is still on the sites: walked now, it is not lost.
    mended = [source for source in load_sources(conn).values() if source.slug in repairs.mended]
    if mended and not work.stopping():
        harvest_sources(work, mended)
    return repairs


def _repair_one(conn: Connection, work: Work, source: Source, repairs: Repairs) -> None:
    known = improvement.known_listings(conn, source.id, KNOWN_LISTINGS)
    with Fetcher(work.fetch_settings()) as fetcher:
        asker = Asker(conn, work, source, fetcher, pages=FRESH_REQUESTS)
        seen = check_up(conn, work, source, asker, known)
        if not seen.pages:
            seen.failures = improvement.failures_lately(conn, source.id)
            seen.hold_reason = pace.paces(conn, [source.id], now=work.now_fn())[source.id].hold_reason or ""
        if not known:
            seen.ended = improvement.ended_listings(conn, source.id, KNOWN_LISTINGS)
        finding = diagnose(seen)
        repairs.diagnosed += 1
        repairs.count(finding.cause)
        repairs.sources[source.slug] = f"{finding.cause}: {finding.reason}"
        if finding.cause is Cause.MOVED and (home := new_home(conn, seen)) is not None:
            _follow(conn, work, source, finding, home, seen, repairs)
            return
        if finding.cause is not Cause.REDESIGNED:
            _note(conn, work, source, finding, RepairStatus.DIAGNOSED, finding.reason, seen)
            return
        if finding.details_broken and _roll_back(conn, work, source, seen, repairs):
            _read_again(conn, work, source.slug, repairs)
            return
        proposal = propose(conn, work, source, seen, finding)
        if isinstance(proposal, Proposal) and proposal.config.get("rules") != source.row.config.get("rules"):
            proposal = canary(work, source, asker, seen, finding, known, proposal)
    if isinstance(proposal, Proposal):
        _promote(conn, work, source, finding, proposal, repairs)
    else:
        _reject(conn, work, source, finding, proposal, seen, repairs)


# ── Deciding ──


def _follow(
    conn: Connection, work: Work, source: Source, finding: Finding, home: str, seen: Checkup, repairs: Repairs
) -> None:
    """Crawl a site that is proven to have moved at its new address."""
    words = (
        f"moved from {source.row.base_url} to {home}: {len(seen.witnesses)} of its listings are there as we know them"
    )
    with conn.transaction():
        follow(conn, source, home, words)
        moved = registry.find_source(conn, source.slug)
        assert moved is not None
        _note(conn, work, source, finding, RepairStatus.PROMOTED, words, seen, to_version=moved.config_version)
    repairs.promoted += 1
    repairs.mended.append(source.slug)
    repairs.sources[source.slug] = words


def _promote(
    conn: Connection, work: Work, source: Source, finding: Finding, proposal: Proposal, repairs: Repairs
) -> None:
    before = source.row.config_version
    with conn.transaction():
        registry.change_config(
            conn, source.id, proposal.config, made_by="repair", reason=proposal.words, score=proposal.after
        )
        mended = registry.find_source(conn, source.slug)
        assert mended is not None
        repair_id = improvement.add_repair(
            conn,
            source.id,
            cycle_id=work.cycle_id,
            diagnosis=str(finding.cause),
            reason=proposal.words,
            status=RepairStatus.PROMOTED,
            now=work.now_fn(),
            from_version=before,
            to_version=mended.config_version,
            score_before=proposal.before,
            score_after=proposal.after,
            evidence=proposal.evidence,
        )
        if mended.status == "quarantined":
            registry.set_status(conn, source.id, "live", f"repaired: {proposal.words}")
    repairs.promoted += 1
    repairs.mended.append(source.slug)
    repairs.sources[source.slug] = f"repaired: {proposal.words}"
    improvement.note_regained(conn, repair_id, _read_again(conn, work, source.slug, repairs))


def _read_again(conn: Connection, work: Work, slug: str, repairs: Repairs) -> dict[str, int]:
    """Read what was fetched while the source was broken once more from the archive.

    Returns how many values its listings gained by that, by field.
    """
    mended = next(s for s in load_sources(conn, crawlable_only=False).values() if s.slug == slug)
    cycles = broken_cycles(conn, work, mended)
    had = improvement.stated_fields(conn, mended.id, cycles, FIELDS)
    replay = replace(work, totals=Totals())
    replay_window(replay, [mended], list(dict.fromkeys(cycle_id.partition("+")[0] for cycle_id in cycles)))
    have = improvement.stated_fields(conn, mended.id, cycles, FIELDS)
    repairs.replayed_pages += replay.totals.sum("pages_fetched")
    regained = {name: more for name in have if (more := have[name] - had.get(name, 0)) > 0}
    for name, more in regained.items():
        repairs.regained[name] = repairs.regained.get(name, 0) + more
    return regained


def _reject(
    conn: Connection, work: Work, source: Source, finding: Finding, why: str, seen: Checkup, repairs: Repairs
) -> None:
    _note(conn, work, source, finding, RepairStatus.REJECTED, f"{finding.reason}; {why}", seen)
    repairs.rejected += 1
    earlier = improvement.repairs(conn, source.id, PATIENCE)
    in_a_row = all(one.status == RepairStatus.REJECTED for one in earlier)
    thin = len(seen.witnesses) < MIN_TRAIN_PAGES + MIN_PROOF_PAGES
    if seen.score.f1 >= MIN_F1 and not finding.index_broken:
        return  # what it gives is still worth having
    if source.row.status in ("live", "trial") and (thin or (in_a_row and len(earlier) >= PATIENCE)):
        reason = f"redesigned and not repaired: {why}"
        registry.set_status(conn, source.id, "quarantined", reason)
        repairs.quarantined += 1
        repairs.sources[source.slug] = f"quarantined: {reason}"


def _roll_back(conn: Connection, work: Work, source: Source, seen: Checkup, repairs: Repairs) -> bool:
    """Take back the latest repair where the configuration before it reads today's pages better; True if it was."""
    last = next(iter(improvement.repairs(conn, source.id, 1)), None)
    if last is None or last.status != RepairStatus.PROMOTED or last.to_version != source.row.config_version:
        return False
    earlier = next((v for v in registry.versions(conn, source.id) if v.version == last.from_version), None)
    if earlier is None or not seen.witnesses or not _parses(earlier.config):
        return False
    measure = score_cards if is_index_only(source) else score
    then = measure(seen.witnesses, reading_with(work, earlier.config, source.slug), now=work.now_fn())
    if then.f1 <= seen.score.f1 + REGRESSION:
        return False
    reason = (
        f"configuration {earlier.version} reads today's pages with F1 {then.f1:.2f}, the repair's {seen.score.f1:.2f}"
    )
    registry.roll_back(conn, source.id, earlier.version, made_by="repair", reason=reason)
    improvement.end_repair(conn, last.id, RepairStatus.ROLLED_BACK, reason, now=work.now_fn())
    repairs.rolled_back += 1
    repairs.sources[source.slug] = f"rolled back: {reason}"
    return True


def _note(
    conn: Connection,
    work: Work,
    source: Source,
    finding: Finding,
    status: RepairStatus,
    reason: str,
    seen: Checkup,
    *,
    to_version: int | None = None,
) -> None:
    improvement.add_repair(
        conn,
        source.id,
        cycle_id=work.cycle_id,
        diagnosis=str(finding.cause),
        reason=reason,
        status=status,
        now=work.now_fn(),
        from_version=source.row.config_version,
        to_version=to_version,
        score_before=seen.score.f1 if seen.score.compared else None,
        evidence=evidence_of(conn, source, seen),
    )


def _note_unusable(conn: Connection, work: Work, slug: str, repairs: Repairs) -> None:
    """A source whose configuration cannot even be read: bring back the latest one that could."""
    row = registry.find_source(conn, slug)
    if row is None:
        return
    repairs.diagnosed += 1
    repairs.count(Cause.OURS)
    good = next((v for v in reversed(registry.versions(conn, row.id)) if not v.live and _parses(v.config)), None)
    reason = f"its configuration cannot be used: {row.config_error}"
    status = RepairStatus.REJECTED if good is None else RepairStatus.PROMOTED
    if good is not None:
        registry.roll_back(conn, row.id, good.version, made_by="repair", reason=reason)
        repairs.promoted += 1
    else:
        repairs.rejected += 1
    repairs.sources[slug] = reason if good is None else f"configuration {good.version} brought back: {reason}"
    improvement.add_repair(
        conn,
        row.id,
        cycle_id=work.cycle_id,
        diagnosis=str(Cause.OURS),
        reason=reason,
        status=status,
        now=work.now_fn(),
        from_version=row.config_version,
        to_version=None if good is None else row.config_version + 1,
    )


def _parses(raw: dict[str, Any]) -> bool:
    try:
        parse_source_config(raw)
    except ConfigError:
        return False
    return True
