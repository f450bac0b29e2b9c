"""Candidates for sources, how far discovery has read, and the repairs of sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from fill_pipeline.db.archive import ArchivedKind, PageRow
from fill_pipeline.db.connect import Connection, queries
from fill_pipeline.db.ledger import FieldFall

_sql = queries("improvement")


class CandidateStatus(StrEnum):
    """Where a candidate stands on its way to becoming a source."""

    FOUND = "found"  # evidence was seen, nothing was asked of the site
    PROBED = "probed"  # good, waiting for a place on trial
    TRIAL = "trial"  # a source on trial
    ACTIVE = "active"  # a source in full work
    REJECTED = "rejected"  # no source, for a reason


class RepairStatus(StrEnum):
    """How a repair ended."""

    DIAGNOSED = "diagnosed"  # the trouble was named; nothing of ours needed a change
    PROMOTED = "promoted"  # a proven config went live
    REJECTED = "rejected"  # no config could be proven
    ROLLED_BACK = "rolled_back"  # it was promoted and did worse


@dataclass(frozen=True, slots=True)
class FoundCandidate:
    """A site some channel points to; ``domain`` is its registrable domain."""

    domain: str
    url: str
    channel: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """A row of ``source_candidates``."""

    id: int
    domain: str
    url: str
    channel: str
    evidence: dict[str, Any]
    evidence_count: int
    status: str
    reason: str | None
    score: float | None
    config: dict[str, Any] | None
    kind: str | None
    source_id: UUID | None


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A source on trial and what it did so far over all its cycles; ``quality`` is mean completeness, 0 to 1."""

    source_id: UUID
    slug: str
    candidate_id: int | None
    harvests: int
    found: int
    pages_fetched: int
    pages_failed: int
    quality: float | None
    cycles: int


@dataclass(frozen=True, slots=True)
class KnownListing:
    """What we hold of one listing: its page, the values last read from it, those they replaced, and what other
    listings state of the same vehicle (by its VIN)."""

    url: str
    remote_id: str
    values: dict[str, Any]
    raw: dict[str, str]
    archive_id: int | None
    last_seen_at: datetime
    before: dict[str, Any] = field(default_factory=dict)
    elsewhere: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NumberLike:
    """A price or mileage of some listing; ``is_ours`` says that a source's own listings state it in the same unit."""

    make: str
    model: str
    year: int
    value: int
    unit: str
    is_ours: bool


@dataclass(frozen=True, slots=True)
class RepairRow:
    """A row of ``source_repairs``."""

    id: int
    source_id: UUID
    cycle_id: str | None
    diagnosis: str
    reason: str
    status: str
    from_version: int | None
    to_version: int | None
    score_before: float | None
    score_after: float | None
    evidence: dict[str, Any]
    created_at: datetime


_VALUES = (
    "title", "year", "make", "model", "trim", "vin", "price", "currency", "mileage", "mileage_unit", "body_style",
    "engine", "fuel_type", "transmission", "drivetrain", "exterior_color", "interior_color", "doors", "city", "region",
    "postal_code", "seller_name",
)  # fmt: skip

_PAGE = (
    "id", "source_id", "cycle_id", "kind", "url", "url_hash", "fetched_at", "http_status", "content_type", "etag",
    "last_modified", "file", "offset", "length", "body_hash", "card_number", "card_written",
)  # fmt: skip


# ── Candidates ──


def add_candidates(conn: Connection, found: Sequence[FoundCandidate], *, now: datetime) -> int:
    """Note candidates (one per domain); returns how many were not known before."""
    unique = {one.domain: one for one in reversed(found)}
    rows = _sql.add_candidates(
        conn,
        domains=list(unique),
        urls=[one.url for one in unique.values()],
        channels=[one.channel for one in unique.values()],
        evidence=[_json(one.evidence) for one in unique.values()],
        now=now,
    )
    return sum(bool(inserted) for _domain, inserted in rows)


def to_probe(
    conn: Connection, n: int, *, now: datetime, passing: Sequence[str], retry_hours: float
) -> list[CandidateRow]:
    """At most ``n`` candidates to look at: new ones first, then those refused for a reason that may have passed.

    ``passing`` are such reasons; the wait before another look doubles with each, up to a week.
    """
    rows = _sql.to_probe(conn, n=n, now=now, passing=list(passing), retry_hours=retry_hours)
    return [CandidateRow(*row) for row in rows]


def waiting(conn: Connection, n: int) -> list[CandidateRow]:
    """Good candidates that wait for a place on trial, best first."""
    return [CandidateRow(*row) for row in _sql.waiting(conn, n=n)]


def candidate(conn: Connection, domain: str) -> CandidateRow | None:
    """The candidate of that registrable domain."""
    return next((CandidateRow(*row) for row in _sql.candidate(conn, domain=domain)), None)


def save_probe(
    conn: Connection,
    candidate_id: int,
    status: CandidateStatus,
    reason: str,
    *,
    cycle_id: str,
    now: datetime,
    score: float | None = None,
    config: dict[str, Any] | None = None,
    kind: str | None = None,
    url: str | None = None,
    findings: dict[str, Any] | None = None,
) -> None:
    """Keep what a probe learned; ``url`` replaces the candidate's own where the site answers elsewhere."""
    _sql.save_probe(
        conn,
        id=candidate_id,
        status=str(status),
        reason=reason[:500],
        score=score,
        config=None if config is None else _json(config),
        kind=kind,
        url=url,
        findings=_json(findings or {}),
        cycle_id=cycle_id,
        now=now,
    )


def decide(
    conn: Connection,
    candidate_id: int,
    status: CandidateStatus,
    reason: str,
    *,
    cycle_id: str,
    now: datetime,
    source_id: UUID | None = None,
) -> None:
    """Move a candidate on, with the reason."""
    _sql.decide(
        conn, id=candidate_id, status=str(status), reason=reason[:500], source_id=source_id, cycle_id=cycle_id, now=now
    )


def on_trial(conn: Connection) -> list[TrialRow]:
    """Every source on trial with its account."""
    return [TrialRow(*row) for row in _sql.on_trial(conn)]


def source_urls(conn: Connection) -> list[tuple[str, str, str]]:
    """Slug, base URL and status of every source."""
    return [(row[0], row[1], row[2]) for row in _sql.source_urls(conn)]


def known_vins(conn: Connection, vins: Sequence[str]) -> int:
    """How many of these VINs are in ``vehicles`` already."""
    return int(_sql.known_vins(conn, vins=list(vins)) or 0)


# ── How far discovery has read ──


def progress(conn: Connection, channel: str) -> dict[str, tuple[int, str]]:
    """By subject, the position a channel has reached and its mark."""
    return {row[0]: (row[1], row[2]) for row in _sql.progress(conn, channel=channel)}


def save_progress(
    conn: Connection, channel: str, subject: str, position: int, *, now: datetime, mark: str = ""
) -> None:
    """Keep how far a channel has read."""
    _sql.save_progress(conn, channel=channel, subject=subject, position=position, mark=mark, now=now)


def recent_pages(
    conn: Connection,
    source_id: UUID,
    *,
    after_id: int = 0,
    kind: ArchivedKind | None = None,
    cycles: int = 3,
    n: int = 50,
) -> list[PageRow]:
    """A source's newest archived pages of its latest cycles, after a page id."""
    rows = _sql.recent_pages(conn, source_id=source_id, after_id=after_id, kind=kind, cycles=cycles, n=n)
    return [_page_row(row) for row in rows]


def robots_bodies(conn: Connection, *, after: int, n: int = 1000) -> list[tuple[str, str, int]]:
    """Origin, body and time (Unix seconds) of robots.txt files fetched after a time, oldest first."""
    return [(row[0], row[1], row[2]) for row in _sql.robots_bodies(conn, after=after, n=n)]


# ── Repairs ──


def known_listings(conn: Connection, source_id: UUID, n: int, *, changed_in: Sequence[str] = ()) -> list[KnownListing]:
    """A source's active listings with their values, most recently seen first; also those that changed in cycles."""
    found = []
    for row in _sql.known_listings(conn, source_id=source_id, n=n, changed=list(changed_in)):
        url, remote_id, *values, raw, archive_id, last_seen_at, price, mileage, price_there, mileage_there = row
        before = _stated(price=price, mileage=mileage)
        elsewhere = _stated(price=price_there, mileage=mileage_there)
        known = _stated(**dict(zip(_VALUES, values, strict=True)))
        found.append(KnownListing(url, remote_id, known, raw, archive_id, last_seen_at, before, elsewhere))
    return found


def _stated(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def numbers_like(conn: Connection, source_id: UUID, field: str, cars: Iterable[tuple[str, str]]) -> list[NumberLike]:
    """Prices (or mileages) of listings of these makes and models, in whatever currency (or unit) they state them."""
    wanted = sorted(set(cars))
    makes, models = [make for make, _ in wanted], [model for _, model in wanted]
    rows = _sql.numbers_like(conn, source_id=source_id, field=field, makes=makes, models=models)
    return [
        NumberLike(make, model, year, int(value), unit, unit == own) for make, model, year, value, unit, own in rows
    ]


def ended_listings(conn: Connection, source_id: UUID, n: int) -> int:
    """How many of a source's listings have ended (gone or sold), counted as far as ``n``."""
    return int(_sql.ended_listings(conn, source_id=source_id, n=n) or 0)


def add_repair(
    conn: Connection,
    source_id: UUID,
    *,
    cycle_id: str,
    diagnosis: str,
    reason: str,
    status: RepairStatus,
    now: datetime,
    from_version: int | None = None,
    to_version: int | None = None,
    score_before: float | None = None,
    score_after: float | None = None,
    evidence: dict[str, Any] | None = None,
) -> int:
    """Keep what was found out and done about a source; returns the row's id."""
    return int(
        _sql.add_repair(
            conn,
            source_id=source_id,
            cycle_id=cycle_id,
            diagnosis=diagnosis,
            reason=reason[:1000],
            status=str(status),
            from_version=from_version,
            to_version=to_version,
            score_before=score_before,
            score_after=score_after,
            evidence=_json(evidence or {}),
            now=now,
        )
    )


def repairs(conn: Connection, source_id: UUID, n: int = 10) -> list[RepairRow]:
    """A source's repairs, newest first."""
    return [RepairRow(*row) for row in _sql.repairs(conn, source_id=source_id, n=n)]


def end_repair(conn: Connection, repair_id: int, status: RepairStatus, reason: str, *, now: datetime) -> None:
    """Change how a repair ended."""
    _sql.end_repair(conn, id=repair_id, status=str(status), reason=reason[:1000], now=now)


def failures_lately(conn: Connection, source_id: UUID) -> dict[str, int]:
    """How many of the source's pages failed in which way when some last did; empty where none did lately."""
    return next((dict(row[0]) for row in _sql.failures_lately(conn, source_id=source_id)), {})


def latest_cycles(conn: Connection, source_id: UUID, n: int = 12) -> list[tuple[str, str, int]]:
    """The source's latest cycles, newest first, each with its health ("" where not judged yet) and listings found."""
    return [(row[0], row[1], row[2]) for row in _sql.latest_cycles(conn, source_id=source_id, n=n)]


def lost_fields(conn: Connection, source_id: UUID, *, cycles: int, least: int) -> list[FieldFall]:
    """Fields that the source stated in its healthy cycles and hardly states since (over at least ``least`` listings).

    The broken time itself is never part of what is usual, however long it lasts; of the latest ``cycles``.
    """
    return [FieldFall(*row) for row in _sql.lost_fields(conn, source_id=source_id, n=cycles, least=least)]


def stated_fields(conn: Connection, source_id: UUID, cycle_ids: Sequence[str], fields: Sequence[str]) -> dict[str, int]:
    """How many of the source's listings that changed in these cycles state each of these columns."""
    rows = _sql.stated_fields(conn, source_id=source_id, cycle_ids=list(cycle_ids), fields=list(fields))
    return {row[0]: row[1] for row in rows}


def note_regained(conn: Connection, repair_id: int, regained: dict[str, int]) -> None:
    """Add to a repair's record how many values, by field, came of reading the broken time again."""
    _sql.note_regained(conn, id=repair_id, regained=_json(regained))


def health_trail(conn: Connection, source_id: UUID, n: int = 12) -> list[tuple[str, str, str | None, str | None]]:
    """Cycle, status, diagnosis and reason of the source's latest judgements, newest first."""
    return [(row[0], row[1], row[2], row[3]) for row in _sql.health_trail(conn, source_id=source_id, n=n)]


def _page_row(row: tuple[Any, ...]) -> PageRow:
    return PageRow(**dict(zip(_PAGE, row, strict=True)))


def _json(data: dict[str, Any]) -> str:
    return orjson.dumps(data, default=str).decode().replace("\\u0000", "")
