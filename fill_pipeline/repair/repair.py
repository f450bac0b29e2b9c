"""Repair: find out what is wrong with failing sources, and mend what new rules can mend, proven before they go live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fill_pipeline.crawl.config import ConfigError, parse_source_config
from fill_pipeline.crawl.fetch import Fetcher
from fill_pipeline.crawl.urls import canonical_url
from fill_pipeline.db import improvement, pace, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import KnownListing, RepairStatus
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.page import Reading
from fill_pipeline.drain.replay import replay_window
from fill_pipeline.drain.work import Source, Totals, Work, load_sources
from fill_pipeline.quality.health import HealthStatus
from fill_pipeline.repair.ask import Asker
from fill_pipeline.repair.cause import Cause
from fill_pipeline.repair.diagnose import Checkup, Finding, diagnose
from fill_pipeline.repair.evidence import KNOWN_LISTINGS, archived_witnesses, evidence_of
from fill_pipeline.repair.induce import induce
from fill_pipeline.repair.move import follow, new_home
from fill_pipeline.repair.trial_harvest import TrialHarvest, try_config, variants
from fill_pipeline.repair.truth import Score, Witness, is_listing, score, split, witness

FRESH_DETAILS = 14
FRESH_REQUESTS = 70
MIN_PROOF_PAGES = 2
MIN_TRAIN_PAGES = 3
MIN_PRECISION = 0.97
MIN_F1 = 0.9
MAX_VARIANTS = 12
CANARY_PAGES = 4
CANARY_SHARE = 0.75
REPLAYED_CYCLES = 12
REGRESSION = 0.02  # of F1
TELLING = ("price", "mileage", "vin")
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
    causes: dict[str, int] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    mended: list[str] = field(default_factory=list)

    def count(self, cause: Cause) -> None:
        """Count a diagnosis, under its plain word."""
        self.causes[cause.value] = self.causes.get(cause.value, 0) + 1

    def as_json(self) -> dict[str, Any]:
        """Plain data for metadata and reports."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration that has been proven better: scores (F1) are those of the pages it was proven on."""

    config: dict[str, Any]
    before: float
    after: float
    words: str
    evidence: dict[str, Any]


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
        seen = _check(conn, work, source, asker, known)
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
            repairs.replayed_pages += _read_again(conn, work, source.slug)
            return
        proposal = _propose(conn, work, source, seen, finding)
        if isinstance(proposal, Proposal) and proposal.config.get("rules") != source.row.config.get("rules"):
            proposal = _canary(work, source, asker, seen, known, proposal)
    if isinstance(proposal, Proposal):
        _promote(conn, work, source, finding, proposal, repairs)
    else:
        _reject(conn, work, source, finding, proposal, seen, repairs)


# ── Looking ──


def _check(conn: Connection, work: Work, source: Source, asker: Asker, known: Sequence[KnownListing]) -> Checkup:
    """Ask for index pages and for pages whose content we know, and read both as the drain would today."""
    seen = Checkup(source.row.base_url, known_listings=len(known))
    now = work.now_fn()
    known_urls = frozenset(_canonical(known))
    raw = source.row.config
    if not source.config.detail_urls or source.config.index.urls:
        seen.harvest = try_config(asker, source, raw, known_urls)
        seen.index = list(seen.harvest.pages)
    if seen.index and seen.index[0].failure is None:
        seen.relearned = _relearn(asker, source, raw, seen, known, known_urls)
    standing = {url for trial in (seen.harvest, seen.relearned) if trial is not None for url in trial.urls}
    chosen = _spread([one for one, url in zip(known, _canonical(known), strict=True) if url in standing], FRESH_DETAILS)
    if len(chosen) < FRESH_DETAILS:  # the rest may be sold by now
        others = [one for one, url in zip(known, _canonical(known), strict=True) if url not in standing]
        chosen += _spread(others, FRESH_DETAILS - len(chosen))
    for listing in chosen:
        page = asker.page(listing.url)
        if page is None:
            break
        seen.details.append(page)
        if page.failure is None:
            found = witness(page.final_url, page.body, page.content_type, listing, now=now)
            if len(found.truth) >= MIN_TRAIN_PAGES:
                seen.witnesses.append(found)
        elif len(seen.details) >= 4 and not seen.witnesses and not any(p.failure is None for p in seen.pages):
            break  # it answers nothing: no need to insist
    seen.score = score(seen.witnesses, _reading(work, raw, source.slug), now=now)
    return seen


def _relearn(
    asker: Asker,
    source: Source,
    raw: dict[str, Any],
    seen: Checkup,
    known: Sequence[KnownListing],
    known_urls: frozenset[str],
) -> TrialHarvest | None:
    """The best other way to walk the index; None where the present one gives what can be expected."""
    harvest = seen.harvest
    assert harvest is not None
    if len(harvest.pages) >= 3 and harvest.found >= 3 * MIN_TRAIN_PAGES and _grows(harvest):
        return None
    best: TrialHarvest | None = None
    for count, changed in enumerate(variants(raw, seen.index[0], known, source.row.base_url)):
        if count >= MAX_VARIANTS:
            break
        if changed == raw:
            continue
        try:
            trial = try_config(asker, source, changed, known_urls)
        except ConfigError:
            continue
        worth = (trial.known > 0, trial.found)
        if trial.found > harvest.found and (best is None or worth > (best.known > 0, best.found)):
            best = trial
    return best if best is not None and _are_listings(asker, best, harvest) else None


def _are_listings(asker: Asker, better: TrialHarvest, harvest: TrialHarvest) -> bool:
    """Whether what only the other way finds are listings' pages: some of them are asked for and read."""
    had = set(harvest.urls)
    news = [url for url in better.urls if url not in had]
    pages = [page for url in news[:: max(1, len(news) // CANARY_PAGES)][:CANARY_PAGES] if (page := asker.page(url))]
    good = sum(is_listing(Witness(page.final_url, page.body, page.content_type)) for page in pages if page.body)
    # Where nothing found is known (all that was known is sold, say) every one of them must be a vehicle's page.
    return bool(pages) and good >= (CANARY_SHARE if better.known else 1.0) * len(pages)


def _grows(harvest: TrialHarvest) -> bool:
    """Whether the pages of the walk differ from one another."""
    return len({page.body for page in harvest.pages}) == len(harvest.pages)


# ── Mending ──


def _propose(conn: Connection, work: Work, source: Source, seen: Checkup, finding: Finding) -> Proposal | str:
    """A proven configuration, or in words why there is none."""
    config = dict(source.row.config)
    evidence: dict[str, Any] = {"fresh_pages": len(seen.pages), "witnesses": len(seen.witnesses)}
    before = after = seen.score.f1
    words: list[str] = []
    if finding.index_broken and seen.relearned is not None and seen.harvest is not None:
        config = dict(seen.relearned.config)
        evidence["index"] = {"before": seen.harvest.found, "after": seen.relearned.found, "known": seen.relearned.known}
        words.append(f"index gives {seen.relearned.found} listings instead of {seen.harvest.found}")
        before, after = seen.harvest.found / max(1, seen.relearned.found), 1.0
    if finding.details_broken:
        mended = _mend_details(conn, work, source, config, seen.witnesses)
        if not isinstance(mended, str):
            config, before, after, told = mended
            evidence |= told
            words.append(f"listings' pages read with F1 {after:.2f} instead of {before:.2f}")
        elif not words:
            return mended
        else:  # an index that is walked again is worth having alone, and brings the pages to learn from
            evidence["details"] = mended
    return Proposal(config, round(before, 4), round(after, 4), "; ".join(words), evidence)


def _mend_details(
    conn: Connection, work: Work, source: Source, config: dict[str, Any], witnesses: Sequence[Witness]
) -> tuple[dict[str, Any], float, float, dict[str, Any]] | str:
    """Rules for listings' pages that are learned on some pages and hold on others."""
    now = work.now_fn()
    train, proof = split(witnesses)
    if len(train) < MIN_TRAIN_PAGES or len(proof) < MIN_PROOF_PAGES:
        return f"only {len(witnesses)} pages with known content could be had; too few to learn from and to prove on"
    before = score(proof, _reading(work, source.row.config, source.slug), now=now)
    bare = _with_rules(config, {})
    weak = score(train, _reading(work, bare, source.slug), now=now).weak_fields()
    learned = {name: _as_config(rule) for name, rule in induce(train, weak).items()}
    tried: list[tuple[float, dict[str, Any], Score]] = []
    for rules in [{}, learned] if learned else [{}]:
        candidate = _with_rules(config, rules)
        result = score(proof, _reading(work, candidate, source.slug), now=now)
        tried.append((round(result.f1, 3), candidate, result))
    _, chosen, result = max(tried, key=lambda one: one[0])  # of equals the first, which has fewer rules
    if result.precision < MIN_PRECISION or result.f1 < MIN_F1 or result.f1 <= before.f1:
        misread = ", ".join(
            f"{name} {right}/{wrong}/{missing}"
            for name, (right, wrong, missing) in result.by_field.items()
            if wrong or missing
        )
        return (
            f"the best rules found read unseen pages with precision {result.precision:.2f} and F1 {result.f1:.2f} "
            f"(before: {before.f1:.2f}); not good enough to go live (right/wrong/missing: {misread})"
        )
    archived = archived_witnesses(conn, work, source)
    old = score(archived, _reading(work, source.row.config, source.slug), now=now)
    new = score(archived, _reading(work, chosen, source.slug), now=now)
    if archived and new.precision < min(MIN_PRECISION, old.precision):
        return f"over {len(archived)} archived pages the new rules are less precise ({new.precision:.2f})"
    told = {
        "rules": chosen.get("rules", {}).get("detail", {}),
        "proof_pages": len(proof),
        "train_pages": len(train),
        "precision": round(result.precision, 4),
        "archived_pages": len(archived),
        "archived_f1": [round(old.f1, 4), round(new.f1, 4)],
        "fields": dict(result.by_field),
    }
    return chosen, before.f1, result.f1, told


def _canary(
    work: Work, source: Source, asker: Asker, seen: Checkup, known: Sequence[KnownListing], proposal: Proposal
) -> Proposal | str:
    """The proposal, tried on live pages that nothing was learned from or proven on; in words what it misreads there."""
    now, asked = work.now_fn(), {page.url for page in seen.details}
    others = [listing for listing in known if listing.url not in asked][:CANARY_PAGES]
    pages = [
        witness(page.final_url, page.body, page.content_type, listing, now=now)
        for listing in others
        if (page := asker.page(listing.url)) is not None and page.failure is None
    ]
    told = score(pages, _reading(work, proposal.config, source.slug), now=now)
    if told.precision < MIN_PRECISION:
        return f"on {len(pages)} further live pages the new rules read with precision {told.precision:.2f} only"
    return replace(
        proposal,
        evidence=proposal.evidence
        | {"canary_pages": len(pages), "canary_f1": round(told.f1, 4) if told.compared else None},
    )


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
        improvement.add_repair(
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
    repairs.replayed_pages += _read_again(conn, work, source.slug)


def _read_again(conn: Connection, work: Work, slug: str) -> int:
    """Read what was fetched while the source was broken once more from the archive; returns the number of pages."""
    mended = next(s for s in load_sources(conn, crawlable_only=False).values() if s.slug == slug)
    replay = replace(work, totals=Totals())
    replay_window(replay, [mended], _broken_cycles(conn, work, mended))
    return replay.totals.sum("pages_fetched")


def _broken_cycles(conn: Connection, work: Work, source: Source) -> list[str]:
    """The windows since the source was last healthy, this one included."""
    windows = {work.cycle_id.partition("+")[0]: None}
    for cycle_id, health in improvement.troubled_cycles(conn, source.id, REPLAYED_CYCLES):
        if health == HealthStatus.HEALTHY:
            break
        windows[cycle_id.partition("+")[0]] = None
    return list(windows)


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
    then = score(seen.witnesses, _reading(work, earlier.config, source.slug), now=work.now_fn())
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


# ── Small things ──


def _reading(work: Work, raw: dict[str, Any], slug: str) -> Reading:
    rules = parse_source_config(raw).extract_rules()
    return Reading(slug, rules, work.settings.min_confidence, work.settings.core_fields)


def _with_rules(raw: dict[str, Any], detail: dict[str, Any]) -> dict[str, Any]:
    rules = {**raw.get("rules", {}), "detail": detail}
    kept = {name: value for name, value in rules.items() if value}
    return {**{k: v for k, v in raw.items() if k != "rules"}, **({"rules": kept} if kept else {})}


def _as_config(rule: Any) -> dict[str, str]:
    return {name: value for name in ("css", "attr", "regex", "jmespath") if (value := getattr(rule, name)) is not None}


def _spread(known: Sequence[KnownListing], n: int) -> list[KnownListing]:
    """Some of the recently seen listings, from all over the list: those of which we know, or knew, what varies most."""
    recent = sorted(known[: 8 * n], key=lambda one: -sum(name in one.values or name in one.before for name in TELLING))
    full = [one for one in recent if all(name in one.values or name in one.before for name in TELLING)]
    chosen = full if len(full) >= n else recent[:n]
    return chosen[:: max(1, len(chosen) // n)][:n]


def _canonical(known: Sequence[KnownListing]) -> list[str]:
    return [canonical_url(one.url) for one in known]


def _parses(raw: dict[str, Any]) -> bool:
    try:
        parse_source_config(raw)
    except ConfigError:
        return False
    return True
