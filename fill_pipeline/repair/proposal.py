"""A proposed configuration: learned on some pages whose content is known, proven on others, tried on live ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fill_pipeline.crawl.config import parse_source_config
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import KnownListing
from fill_pipeline.drain.page import Reading
from fill_pipeline.drain.work import Source, Work
from fill_pipeline.repair.ask import Asker
from fill_pipeline.repair.cards import induce_cards, is_index_only, score_cards
from fill_pipeline.repair.diagnose import Checkup, Finding
from fill_pipeline.repair.evidence import archived_witnesses
from fill_pipeline.repair.induce import induce
from fill_pipeline.repair.loss import lacking
from fill_pipeline.repair.truth import Score, Witness, score, split, witness

MIN_PROOF_PAGES = 2
MIN_TRAIN_PAGES = 3
MIN_PRECISION = 0.97
MIN_F1 = 0.9
CANARY_PAGES = 4
CANARY_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration that has been proven better: scores (F1) are those of the pages it was proven on."""

    config: dict[str, Any]
    before: float
    after: float
    words: str
    evidence: dict[str, Any]


def propose(conn: Connection, work: Work, source: Source, seen: Checkup, finding: Finding) -> Proposal | str:
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
        mended = _mend_rules(conn, work, source, config, seen.witnesses, finding.lost)
        if not isinstance(mended, str):
            config, before, after, told = mended
            evidence |= told
            what = "cards" if is_index_only(source) else "listings' pages"
            words.append(f"{what} read with F1 {after:.2f} instead of {before:.2f}")
        elif not words:
            return mended
        else:  # an index that is walked again is worth having alone, and brings the pages to learn from
            evidence["details"] = mended
    return Proposal(config, round(before, 4), round(after, 4), "; ".join(words), evidence)


def _mend_rules(
    conn: Connection,
    work: Work,
    source: Source,
    config: dict[str, Any],
    witnesses: Sequence[Witness],
    lost: Sequence[str],
) -> tuple[dict[str, Any], float, float, dict[str, Any]] | str:
    """Rules for listings' pages, or for the cards of an index, that are learned on some and hold on others."""
    now = work.now_fn()
    part, measure, learn = ("card", score_cards, induce_cards) if is_index_only(source) else ("detail", score, induce)
    train, proof = split(witnesses, lost)
    if len(train) < MIN_TRAIN_PAGES or len(proof) < MIN_PROOF_PAGES:
        return f"only {len(witnesses)} pages with known content could be had; too few to learn from and to prove on"
    before = measure(proof, reading_with(work, source.row.config, source.slug), now=now)
    bare = _with_rules(config, part, {})
    weak = measure(train, reading_with(work, bare, source.slug), now=now).weak_fields()
    learned = {name: _as_config(rule) for name, rule in learn(train, weak).items()}
    tried: list[tuple[float, dict[str, Any], Score]] = []
    for rules in [{}, learned] if learned else [{}]:
        candidate = _with_rules(config, part, rules)
        result = measure(proof, reading_with(work, candidate, source.slug), now=now)
        tried.append((round(result.f1, 3), candidate, result))
    _, chosen, result = max(tried, key=lambda one: one[0])  # of equals the first, which has fewer rules
    precision = result.precision_beside(before)
    if precision < MIN_PRECISION or result.f1 < MIN_F1 or result.f1 <= before.f1:
        misread = ", ".join(
            f"{name} {right}/{wrong}/{missing}"
            for name, (right, wrong, missing) in result.by_field.items()
            if wrong or missing
        )
        return (
            f"the best rules found read unseen pages with precision {precision:.2f} and F1 {result.f1:.2f} "
            f"(before: {before.f1:.2f}); not good enough to go live (right/wrong/missing: {misread})"
        )
    if lost and not any(result.by_field.get(name, [0])[0] >= MIN_PROOF_PAGES for name in lost):
        return f"no rule for {', '.join(lost)} could be proven on unseen pages"
    archived = archived_witnesses(conn, work, source) if part == "detail" else []
    old = score(archived, reading_with(work, source.row.config, source.slug), now=now)
    new = score(archived, reading_with(work, chosen, source.slug), now=now)
    if archived and new.precision < min(MIN_PRECISION, old.precision):
        return f"over {len(archived)} archived pages the new rules are less precise ({new.precision:.2f})"
    told = {
        "rules": chosen.get("rules", {}).get(part, {}),
        "proof_pages": len(proof),
        "train_pages": len(train),
        "precision": round(result.precision, 4),
        "archived_pages": len(archived),
        "archived_f1": [round(old.f1, 4), round(new.f1, 4)],
        "fields": dict(result.by_field),
    }
    return chosen, before.f1, result.f1, told


def canary(
    work: Work,
    source: Source,
    asker: Asker,
    seen: Checkup,
    finding: Finding,
    known: Sequence[KnownListing],
    proposal: Proposal,
) -> Proposal | str:
    """The proposal, tried on live pages that nothing was learned from or proven on; in words what it misreads there.

    Where an index is all that is read, its pages of now have proven it.
    """
    if is_index_only(source):
        return proposal
    now, asked = work.now_fn(), {page.url for page in seen.details}
    others = [listing for listing in known if listing.url not in asked][:CANARY_PAGES]
    pages = [
        witness(page.final_url, page.body, page.content_type, listing, now=now)
        for listing in others
        if (page := asker.page(listing.url)) is not None and page.failure is None
    ]
    old = score(pages, reading_with(work, source.row.config, source.slug), now=now)
    told = score(pages, reading_with(work, proposal.config, source.slug), now=now)
    if (precision := told.precision_beside(old)) < MIN_PRECISION:
        return f"on {len(pages)} further live pages the new rules read with precision {precision:.2f} only"
    fresh = [Witness(page.final_url, page.body, page.content_type) for page in seen.details if page.failure is None]
    still = lacking(fresh + pages, seen.lost, reading_with(work, proposal.config, source.slug), now=now)
    if finding.lost and set(finding.lost) <= set(still):
        return f"on {len(fresh + pages)} live pages the new rules do not give {', '.join(finding.lost)} either"
    return replace(
        proposal,
        evidence=proposal.evidence
        | {"canary_pages": len(pages), "canary_f1": round(told.f1, 4) if told.compared else None},
    )


def reading_with(work: Work, raw: dict[str, Any], slug: str) -> Reading:
    """How the drain would read the source's pages with this configuration (as the registry holds it)."""
    rules = parse_source_config(raw).extract_rules()
    return Reading(slug, rules, work.settings.min_confidence, work.settings.core_fields)


def _with_rules(raw: dict[str, Any], part: str, of_part: dict[str, Any]) -> dict[str, Any]:
    rules = {**raw.get("rules", {}), part: of_part}
    kept = {name: value for name, value in rules.items() if value}
    return {**{k: v for k, v in raw.items() if k != "rules"}, **({"rules": kept} if kept else {})}


def _as_config(rule: Any) -> dict[str, str]:
    return {name: value for name in ("css", "attr", "regex", "jmespath") if (value := getattr(rule, name)) is not None}
