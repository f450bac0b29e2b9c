"""What alerts are judged from: how the last cycles, the sources, the queue and the jobs stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fill_pipeline.db.connect import Connection, queries

_sql = queries("vitals")
MOST_ACTIONS = 200
MOST_REPAIRS = 3  # of a source
MOST_SILENT = 100


@dataclass(frozen=True, slots=True)
class EndedCycle:
    """A cycle that was closed, or a window that had none (``missed``); quality is 0 to 1."""

    cycle_id: str
    status: str
    window_start: datetime
    completed_at: datetime | None
    vehicles_added: int
    target: int
    on_target: bool
    quality: float | None
    errors: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FailingSource:
    """A source that failed in the newest cycle; ``trail`` is its health in the last cycles, newest first."""

    slug: str
    status: str
    reason: str
    diagnosis: str | None
    trail: Sequence[str]


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done about a source."""

    slug: str
    diagnosis: str
    status: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """Listings of a source that a cycle keeps back for one unmet expectation."""

    slug: str
    cycle_id: str
    expectation: str
    reason: str
    listings: int


@dataclass(frozen=True, slots=True)
class ActionSeen:
    """An action of the open cycle or one of the last; ``gained`` is the number of rows it moved."""

    cycle_id: str
    action: str
    level: int
    attempt: int
    status: str
    reason: str
    error: str | None
    gained: int
    started_at: datetime | None
    heartbeat_at: datetime | None
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class SilentJob:
    """A job without a worker: whose, what about it, and since when (None: it never had one)."""

    name: str
    what: str
    since: datetime | None


def ended_cycles(conn: Connection, n: int) -> list[EndedCycle]:
    """The last ``n`` cycles that ended, newest first, without those run for single sources by hand."""
    return [EndedCycle(*row) for row in _sql.ended_cycles(conn, n=n)]


def quality_issues(conn: Connection, cycle_id: str, n: int) -> list[str]:
    """The first ``n`` things that a cycle's report says of its quality."""
    return [row[0] for row in _sql.quality_issues(conn, cycle_id=cycle_id, n=n)]


def failing_sources(conn: Connection, cycle_ids: Sequence[str]) -> list[FailingSource]:
    """The sources in work that failed in the first of these cycles, with their health in all of them."""
    if not cycle_ids:
        return []
    return [FailingSource(*row) for row in _sql.failing_sources(conn, cycle_ids=list(cycle_ids))]


def set_aside(conn: Connection) -> list[tuple[str, str]]:
    """Slug and reason of each source that repair gave up."""
    return [(row[0], row[1]) for row in _sql.set_aside(conn)]


def recent_repairs(conn: Connection, slugs: Sequence[str], *, since: datetime) -> list[Repair]:
    """What was done about these sources since then, newest first."""
    if not slugs:
        return []
    return [Repair(*row) for row in _sql.recent_repairs(conn, slugs=list(slugs), since=since, most=MOST_REPAIRS)]


def held_back(conn: Connection, n: int) -> list[Held]:
    """What the last ``n`` cycles hold back of sources that gave nothing sound since, by slug, newest first."""
    return [Held(*row) for row in _sql.held_back(conn, n=n)]


def actions(conn: Connection, cycle_ids: Sequence[str]) -> list[ActionSeen]:
    """What these cycles did, newest first."""
    return [ActionSeen(*row) for row in _sql.actions(conn, cycle_ids=list(cycle_ids), most=MOST_ACTIONS)]


def queue_movement(conn: Connection, cycle_id: str, *, since: datetime, now: datetime) -> tuple[int, datetime | None]:
    """How many sources could be fetched from ever since that time, and when one of them last moved (None: never)."""
    row = next(iter(_sql.queue_movement(conn, cycle_id=cycle_id, since=since, now=now)))
    return int(row[0]), row[1]


def silent_searches(
    conn: Connection, *, silent_before: datetime, waiting_before: datetime, recent: datetime
) -> list[SilentJob]:
    """Searches whose last job since ``recent`` lost its worker or finds none, by name."""
    rows = _sql.silent_searches(
        conn, silent_before=silent_before, waiting_before=waiting_before, recent=recent, n=MOST_SILENT
    )
    return [SilentJob(*row) for row in rows]


def silent_deals(
    conn: Connection, *, silent_before: datetime, waiting_before: datetime, recent: datetime
) -> SilentJob | None:
    """The deal finder's last job since ``recent`` if it lost its worker or finds none."""
    rows = _sql.silent_deals(conn, silent_before=silent_before, waiting_before=waiting_before, recent=recent)
    return next((SilentJob("deals", *row) for row in rows), None)


def active_searches(conn: Connection) -> set[str]:
    """The ids of the searches that are not paused."""
    return {row[0] for row in _sql.active_searches(conn)}


def save_check(
    conn: Connection, cycle_id: str, name: str, *, passed: bool, severity: str, words: str, now: datetime
) -> None:
    """Keep how a check of a cycle ended; a later one replaces it."""
    _sql.save_check(conn, cycle_id=cycle_id, name=name, passed=passed, severity=severity, words=words[:1000], now=now)


def failed_checks(conn: Connection, cycle_ids: Sequence[str], *, severity: str) -> list[tuple[str, str]]:
    """Name and words of the checks of that severity that failed, in the first of these cycles that was checked."""
    rows = _sql.failed_checks(conn, cycle_ids=list(cycle_ids), severity=severity)
    return [(row[0], row[1]) for row in rows]
