"""Completeness and accuracy by field, of a cycle and of each source in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from uuid import UUID

from fill_pipeline.db.ledger import QualityRow, Tally

LOW_ACCURACY = 0.95
WORST_SOURCES = 3


def quality_rows(tallies: Iterable[Tally], core_fields: Sequence[str], target: float) -> list[QualityRow]:
    """Rows of ``quality_metrics`` from the counts of a cycle: one per field over all sources, one per source and field.

    Completeness is filled / knowable, accuracy agreed / compared (against the decoded VIN and the page's
    other evidence); None where nothing was counted. Issues say in words what is below its mark.
    """
    by_field: dict[str, list[Tally]] = defaultdict(list)
    for tally in tallies:
        by_field[tally.field_name].append(tally)
    rows = []
    for name, parts in sorted(by_field.items()):
        core = name in core_fields
        rows.append(_row(name, parts, None, _issues(name, parts, core, target)))
        rows += [_row(name, [part], part.source_id, []) for part in parts]
    return rows


def issues(rows: Iterable[QualityRow]) -> list[str]:
    """Everything the overall rows complain about."""
    return [issue for row in rows if row.source_id is None for issue in row.issues]


def _row(name: str, parts: Sequence[Tally], source_id: UUID | None, found: list[str]) -> QualityRow:
    return QualityRow(
        field_name=name,
        completeness=_rate(sum(p.filled for p in parts), sum(p.knowable for p in parts)),
        accuracy=_rate(sum(p.agreed for p in parts), sum(p.compared for p in parts)),
        sample_size=sum(p.knowable for p in parts),
        issues=found,
        source_id=source_id,
    )


def _issues(name: str, parts: Sequence[Tally], core: bool, target: float) -> list[str]:
    found = []
    completeness = _rate(sum(p.filled for p in parts), sum(p.knowable for p in parts))
    if core and completeness is not None and completeness < target:
        worst = sorted((p for p in parts if p.knowable), key=lambda p: p.filled - p.knowable)[:WORST_SOURCES]
        where = ", ".join(f"{p.slug} {p.knowable - p.filled}" for p in worst if p.filled < p.knowable)
        found.append(f"{name} is {completeness:.0%} complete; missing most at {where}")
    accuracy = _rate(sum(p.agreed for p in parts), sum(p.compared for p in parts))
    if accuracy is not None and accuracy < LOW_ACCURACY:
        found.append(
            f"{name} agrees with other evidence in only {accuracy:.0%} of {sum(p.compared for p in parts)} cases"
        )
    quarantined = sum(p.quarantined for p in parts)
    if quarantined:
        found.append(f"{quarantined} values of {name} are in quarantine")
    return found


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
