"""What each source did in each cycle, how it was judged, and how good the data was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from fill_pipeline.db.connect import Connection, queries

_sql = queries("ledger")
RELIABLE_DAYS = (7, 30)
_UNSAVED = frozenset({"slug", "reliability_7d", "reliability_30d"})
MOST_HITS = 200
"""Different rule hits kept of a source in a cycle."""


@dataclass(frozen=True, slots=True)
class SourceStateRow:
    """A source as a cycle sees it: what it did so far and how it was when last judged.

    ``harvest_hours`` is how long it may be left alone, where that was learned; ``cut_short``: a harvest of this cycle
    ended at a limit.
    """

    id: UUID
    slug: str
    kind: str
    active: bool
    status: str
    config_error: str | None
    asset_group: str | None
    expected_count: int | None
    last_harvest_at: datetime | None
    breaker: str
    breaker_until: datetime | None
    harvests: int
    harvest_complete: bool | None
    found: int
    vehicles_added: int
    queued: int
    last_health: str | None
    last_diagnosis: str | None
    last_reason: str | None
    revisit_hours: float
    harvest_hours: float | None = None
    failing_since: datetime | None = None
    cut_short: bool = False


@dataclass(slots=True)
class SourceStats:
    """What a batch, or a cycle, of one source did; adds up. ``failures`` counts by category."""

    index_pages: int = 0
    cards_seen: int = 0
    expected_count: int | None = None
    queued: int = 0
    pages_fetched: int = 0
    pages_unchanged: int = 0
    pages_failed: int = 0
    pages_empty: int = 0
    bytes_received: int = 0
    found: int = 0
    new: int = 0
    updated: int = 0
    skipped: int = 0
    quarantined: int = 0
    delisted: int = 0
    vehicles_added: int = 0
    quality_sum: float = 0.0
    quality_count: int = 0
    harvests: int = 0
    harvest_complete: bool | None = None
    failures: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def fail(self, category: str, n: int = 1) -> None:
        """Count failed pages."""
        self.pages_failed += n
        self.failures[category] = self.failures.get(category, 0) + n

    def add(self, part: SourceStats) -> None:
        """Add what another batch did."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(part, name))
        for category, n in part.failures.items():
            self.failures[category] = self.failures.get(category, 0) + n
        self.notes += [note for note in part.notes if note not in self.notes]
        if part.expected_count is not None:
            self.expected_count = part.expected_count
        if part.harvest_complete is not None:
            self.harvest_complete = part.harvest_complete

    @property
    def quality(self) -> float | None:
        """Mean completeness (0 to 1) of the listings read; None when none was."""
        return self.quality_sum / self.quality_count if self.quality_count else None


_SUMS = tuple(
    name
    for name in SourceStats.__dataclass_fields__
    if name not in ("failures", "notes", "expected_count", "harvest_complete")
)


@dataclass(frozen=True, slots=True)
class SourceAccount:
    """One source's account of one cycle."""

    source_id: UUID
    slug: str
    kind: str
    status: str
    active: bool
    config_error: str | None
    stats: SourceStats
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class FieldFall:
    """A field that fewer of a source's listings state than usual; shares from 0 to 1."""

    name: str
    now: float
    usually: float


@dataclass(frozen=True, slots=True)
class PastRun:
    """One cycle of a source, as its history keeps it.

    ``hour`` is the UTC hour of day its window began at; ``excused`` are pages that are gone or forbidden by robots.txt;
    ``expected_count`` is how many vehicles it said it had, None where it did not say.
    """

    cycle_id: str
    hour: int
    found: int
    pages_fetched: int
    pages_failed: int
    excused: int
    index_pages: int
    cards_seen: int
    quality_sum: float
    quality_count: int
    harvests: int
    harvest_complete: bool | None
    expected_count: int | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts behind a field's completeness (filled / knowable) and accuracy (agreed / compared)."""

    field_name: str
    source_id: UUID
    slug: str
    knowable: int = 0
    filled: int = 0
    compared: int = 0
    agreed: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class RuleHit:
    """How often a rule objected to a field of a source's listings; ``words`` are its verdict, or the unknown term.

    ``listings`` is how many of the source's listings were judged; 0 on the way into the database.
    """

    source_id: UUID
    field_name: str
    rule: str
    words: str
    hits: int
    listings: int = 0


@dataclass(frozen=True, slots=True)
class HealthRow:
    """A row of ``source_health``: status healthy, degraded or failing, and why.

    ``listed`` is what a harvest of this cycle listed, ``usually_listed`` the median of the source's own history.
    Reliability is 0 to 1 over the last 7 and 30 days; it is known once the row is written.
    """

    source_id: UUID
    slug: str
    status: str
    reason: str
    diagnosis: str | None
    vehicles_extracted: int
    success_rate: float | None
    error_rate: float | None
    avg_quality_score: float | None
    last_checked: datetime
    listed: float | None = None
    usually_listed: float | None = None
    reliability_7d: float | None = None
    reliability_30d: float | None = None


@dataclass(frozen=True, slots=True)
class QualityRow:
    """A row of ``quality_metrics``; rates 0 to 1, None where nothing could be measured."""

    field_name: str
    completeness: float | None
    accuracy: float | None
    sample_size: int
    issues: list[str]
    source_id: UUID | None


def source_states(conn: Connection, cycle_id: str, previous_cycle: str | None) -> list[SourceStateRow]:
    """Every source as this cycle sees it."""
    return [
        SourceStateRow(*row) for row in _sql.source_states(conn, cycle_id=cycle_id, previous_cycle=previous_cycle or "")
    ]


def add_stats(conn: Connection, source_id: UUID, cycle_id: str, stats: SourceStats, *, now: datetime) -> None:
    """Add what one batch of one source did to its account of the cycle."""
    values = {name: getattr(stats, name) for name in SourceStats.__dataclass_fields__}
    values["failures"] = orjson.dumps(stats.failures).decode()
    _sql.add_stats(conn, source_id=source_id, cycle_id=cycle_id, now=now, **values)


def add_tallies(conn: Connection, cycle_id: str, tallies: Sequence[Tally]) -> None:
    """Add one batch's counts behind completeness and accuracy."""
    if not tallies:
        return
    _sql.add_tallies(
        conn,
        cycle_id=cycle_id,
        source_ids=[t.source_id for t in tallies],
        fields=[t.field_name for t in tallies],
        knowable=[t.knowable for t in tallies],
        filled=[t.filled for t in tallies],
        compared=[t.compared for t in tallies],
        agreed=[t.agreed for t in tallies],
        quarantined=[t.quarantined for t in tallies],
    )


def tallies(conn: Connection, cycle_id: str) -> list[Tally]:
    """A cycle's counts by field and source."""
    return [Tally(*row) for row in _sql.tallies(conn, cycle_id=cycle_id)]


def add_hits(conn: Connection, cycle_id: str, hits: Sequence[RuleHit]) -> None:
    """Add one batch's rule hits; of a source that has very many different ones, further words are not told apart."""
    if not hits:
        return
    _sql.add_hits(
        conn,
        cycle_id=cycle_id,
        source_ids=[h.source_id for h in hits],
        fields=[h.field_name for h in hits],
        rules=[h.rule for h in hits],
        words=[h.words for h in hits],
        hits=[h.hits for h in hits],
        most=MOST_HITS,
    )


def hits(conn: Connection, cycle_id: str) -> list[RuleHit]:
    """A cycle's rule hits by source, field and rule, the most frequent first."""
    return [RuleHit(*row) for row in _sql.hits(conn, cycle_id=cycle_id)]


def accounts(conn: Connection, cycle_id: str) -> list[SourceAccount]:
    """Every source's account of a cycle, by slug."""
    names = list(SourceStats.__dataclass_fields__)
    found = []
    for row in _sql.stats(conn, cycle_id=cycle_id):
        *head, first_at, last_at = row
        stats = SourceStats(**dict(zip(names, head[6:], strict=True)))
        found.append(SourceAccount(*head[:6], stats, first_at, last_at))  # type: ignore[call-arg]
    return found


def history(conn: Connection, cycle_id: str, *, before: datetime, n: int) -> dict[UUID, list[PastRun]]:
    """Each source's last ``n`` cycles before this one, newest first."""
    runs: dict[UUID, list[PastRun]] = {}
    for row in _sql.history(conn, cycle_id=cycle_id, before=before, n=n):
        runs.setdefault(row[0], []).append(PastRun(*row[1:]))
    return runs


def field_falls(conn: Connection, cycle_id: str, *, before: datetime, least: int) -> dict[UUID, list[FieldFall]]:
    """Fields that a source used to state and hardly states in this cycle, where ``least`` listings say so."""
    falls: dict[UUID, list[FieldFall]] = {}
    for source_id, name, now, usually in _sql.field_falls(conn, cycle_id=cycle_id, before=before, least=least):
        falls.setdefault(source_id, []).append(FieldFall(name, now, float(usually)))
    return falls


def save_health(conn: Connection, cycle_id: str, rows: Iterable[HealthRow], *, until: datetime) -> list[HealthRow]:
    """Write each source's health in this cycle; returns the rows with their reliability.

    Reliability is the mean of a source's checks in the cycles whose windows began within 7 and 30 days before
    ``until``, this one's included: a healthy check counts 1, a degraded one a half, a failing one nothing.
    """
    for h in rows:
        _sql.save_health(
            conn,
            cycle_id=cycle_id,
            **{name: getattr(h, name) for name in HealthRow.__dataclass_fields__ if name not in _UNSAVED},
        )
    short, long = (until - timedelta(days=days) for days in RELIABLE_DAYS)
    _sql.save_reliability(conn, cycle_id=cycle_id, short=short, long=long, until=until)
    return health(conn, cycle_id)


def health(conn: Connection, cycle_id: str) -> list[HealthRow]:
    """Each source's health in a cycle, by slug."""
    return [HealthRow(*row) for row in _sql.health_of_cycle(conn, cycle_id=cycle_id)]


def save_quality(conn: Connection, cycle_id: str, rows: Iterable[QualityRow], *, now: datetime) -> None:
    """Write the quality of a cycle by field, overall and by source."""
    for q in rows:
        _sql.save_quality(
            conn,
            cycle_id=cycle_id,
            measured_at=now,
            **{name: getattr(q, name) for name in QualityRow.__dataclass_fields__},
        )


def quality(conn: Connection, cycle_id: str, *, overall: bool = True) -> list[QualityRow]:
    """The quality of a cycle by field: over all sources, or of each."""
    return [QualityRow(*row) for row in _sql.quality_of_cycle(conn, cycle_id=cycle_id, overall=overall)]


def vehicles_of_cycle(conn: Connection, cycle_id: str) -> tuple[int, int, float | None]:
    """Vehicles added in a cycle, touched in it, and the mean completeness (0 to 1) of the touched."""
    row = next(iter(_sql.vehicles_of_cycle(conn, cycle_id=cycle_id)))
    return int(row[0]), int(row[1]), None if row[2] is None else float(row[2])


def queued_of_cycle(conn: Connection, cycle_id: str) -> int:
    """Queue rows put in by a cycle, counted row by row."""
    return int(_sql.queued_of_cycle(conn, cycle_id=cycle_id))


def uptime(conn: Connection, start: datetime, end: datetime) -> tuple[int, int]:
    """(checks that found a source not failing, checks) in a period."""
    row = next(iter(_sql.uptime(conn, start=start, end=end)))
    return int(row[0]), int(row[1])
