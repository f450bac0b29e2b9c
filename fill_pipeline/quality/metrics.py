"""Completeness and accuracy by field, of a cycle and of each source in it, and what is wrong, in words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from fill_pipeline.db import holds, ledger
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.holds import HeldBatch
from fill_pipeline.db.ledger import QualityRow, RuleHit, Tally
from fill_pipeline.quality.hits import UNKNOWN_TERM
from fill_pipeline.settings import Settings

WORST_SOURCES = 3
MOST_ISSUES = 5
"""Rule hits told of one field."""
_Found = TypeVar("_Found", Tally, RuleHit, HeldBatch)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a cycle counted: by field and source, by rule, and what the gate held back."""

    tallies: Sequence[Tally] = ()
    hits: Sequence[RuleHit] = ()
    held: Sequence[HeldBatch] = ()


def evidence_of(conn: Connection, cycle_id: str) -> Evidence:
    """A cycle's counts, as stored."""
    return Evidence(ledger.tallies(conn, cycle_id), ledger.hits(conn, cycle_id), holds.held_of_cycle(conn, cycle_id))


def quality_rows(evidence: Evidence, settings: Settings) -> list[QualityRow]:
    """Rows of ``quality_metrics`` from the counts of a cycle: one per field over all sources, one per source and field.

    Completeness is filled / knowable, accuracy agreed / compared (against the decoded VIN and the page's
    other evidence); None where nothing was counted. ``sample_size`` is how many listings could have the field;
    0 where the field's completeness is not counted. Issues say in words what is below its mark, which rules
    objected how often, which words are unknown, and what was held back.
    """
    tallies, hits, held = (_Grouped(evidence.tallies), _Grouped(evidence.hits), _Grouped(evidence.held))
    rows = []
    for name in sorted({*tallies.by_field, *hits.by_field, *held.by_field}):
        parts = tallies.by_field[name]
        found = _held(held.by_field[name]) + _issues(name, parts, settings) + _objections(name, hits.by_field[name])
        rows.append(_row(name, parts, None, found))
        for source_id in {**tallies.sources(name), **hits.sources(name), **held.sources(name)}:
            key = name, source_id
            rows.append(
                _row(name, tallies.parts[key], source_id, _held(held.parts[key]) + _objections(name, hits.parts[key]))
            )
    return rows


def issues(rows: Iterable[QualityRow]) -> list[str]:
    """Everything the overall rows complain about."""
    return [issue for row in rows if row.source_id is None for issue in row.issues]


class _Grouped(Generic[_Found]):
    """Counts by field, and by field and source."""

    def __init__(self, found: Iterable[_Found]) -> None:
        self.by_field: defaultdict[str, list[_Found]] = defaultdict(list)
        self.parts: defaultdict[tuple[str, UUID], list[_Found]] = defaultdict(list)
        for one in found:
            self.by_field[one.field_name].append(one)
            self.parts[one.field_name, one.source_id].append(one)

    def sources(self, name: str) -> dict[UUID, None]:
        """The sources with anything about a field, in order."""
        return dict.fromkeys(one.source_id for one in self.by_field[name])


def _row(name: str, parts: Sequence[Tally], source_id: UUID | None, found: list[str]) -> QualityRow:
    return QualityRow(
        field_name=name,
        completeness=_rate(sum(p.filled for p in parts), sum(p.knowable for p in parts)),
        accuracy=_rate(sum(p.agreed for p in parts), sum(p.compared for p in parts)),
        sample_size=sum(p.knowable for p in parts),
        issues=found,
        source_id=source_id,
    )


def _issues(name: str, parts: Sequence[Tally], settings: Settings) -> list[str]:
    found = []
    knowable = sum(p.knowable for p in parts)
    completeness = _rate(sum(p.filled for p in parts), knowable)
    if name in settings.core_fields and completeness is not None and completeness < settings.quality_target:
        worst = sorted((p for p in parts if p.knowable), key=lambda p: p.filled - p.knowable)[:WORST_SOURCES]
        where = ", ".join(f"{p.slug} {p.knowable - p.filled}" for p in worst if p.filled < p.knowable)
        found.append(f"{name} is {completeness:.0%} complete in {knowable} listings; missing most at {where}")
    compared = sum(p.compared for p in parts)
    accuracy = _rate(sum(p.agreed for p in parts), compared)
    if accuracy is not None and accuracy < settings.accuracy_target:
        found.append(f"{name} agrees with other evidence in only {accuracy:.0%} of {compared} cases")
    quarantined = sum(p.quarantined for p in parts)
    if quarantined:
        found.append(f"{quarantined} values of {name} are in quarantine")
    return found


def _objections(name: str, hits: Sequence[RuleHit]) -> list[str]:
    """The most frequent rule hits of a field, each with its sample."""
    sums: Counter[tuple[str, str]] = Counter()
    for hit in hits:
        sums[hit.rule, hit.words] += hit.hits
    listings = sum({hit.source_id: hit.listings for hit in hits}.values())
    found = []
    for (rule, words), n in sums.most_common(MOST_ISSUES):
        if rule == UNKNOWN_TERM:
            what = f"{name} '{words}' is not in the vocabulary" if words else f"further words for {name} are unknown"
        else:
            what = f"{name} {words} by rule {rule}"
        found.append(f"{n} of {listings} listings: {what}")
    return found


def _held(batches: Sequence[HeldBatch]) -> list[str]:
    return [
        f"{b.listings} listings of {b.slug} held back ({b.expectation}): {b.reason}"
        + (f" {b.released} released since." if b.released else "")
        for b in batches
    ]


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
