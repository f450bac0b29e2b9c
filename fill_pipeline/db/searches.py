"""Saved searches and their jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from fill_pipeline.db.connect import Connection, queries

_sql = queries("searches")
MAX_ATTEMPTS = 3
"""How often a job whose worker died is tried again."""


class JobStatus(StrEnum):
    """Where a job stands (document 2)."""

    PENDING = "pending"  # queued, not begun
    RUNNING = "running"  # at work, with a lease
    FINISHED = "finished"  # ended well
    ERROR = "error"  # ended badly


@dataclass(frozen=True, slots=True)
class Search:
    """A row of ``offerup_searches``: what to look for, where, and when."""

    id: UUID
    name: str
    params: dict[str, Any]
    active: bool
    schedule: str
    source: str
    time_zone: str
    last_tick: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SearchJob:
    """A row of ``offerup_jobs`` that waits or runs."""

    id: UUID
    search_id: UUID
    scheduled_for: datetime | None
    run_now: bool
    attempts: int
    created_at: datetime
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How the latest job of a search stands; times are UTC."""

    id: UUID
    status: str
    result: dict[str, Any] | None
    error_message: str | None
    started_at: datetime | None
    finished_at: datetime | None
    run_id: str | None

    def as_json(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def last_job(conn: Connection, search_id: UUID) -> JobEnd | None:
    """The job made last for a search, or None."""
    rows = [JobEnd(*row) for row in _sql.last_job(conn, search_id=search_id)]
    return rows[0] if rows else None


def searches(conn: Connection) -> list[Search]:
    """Every search, by name."""
    return [Search(*row) for row in _sql.all_searches(conn, only_id=None)]


def search(conn: Connection, search_id: UUID) -> Search | None:
    """One search."""
    rows = [Search(*row) for row in _sql.all_searches(conn, only_id=search_id)]
    return rows[0] if rows else None


def add_search(
    conn: Connection,
    *,
    name: str,
    params: dict[str, Any],
    schedule: str,
    source: str,
    time_zone: str,
    now: datetime,
    active: bool = True,
) -> UUID:
    """Save a search (checked by the caller); returns its id."""
    text = orjson.dumps(params).decode()
    new: UUID = _sql.add_search(
        conn, name=name, params=text, active=active, schedule=schedule, source=source, time_zone=time_zone, now=now
    )
    return new


def set_active(conn: Connection, search_id: UUID, active: bool) -> bool:
    """Pause or resume a search; False when there is none."""
    return int(_sql.set_active(conn, search_id=search_id, active=active)) > 0


def create_job(conn: Connection, search_id: UUID, *, tick: datetime, now: datetime) -> UUID | None:
    """Queue the job of a tick; None where that tick has its job already."""
    rows = list(_sql.create_job(conn, search_id=search_id, tick=tick, now=now))
    return rows[0][0] if rows else None


def run_now(conn: Connection, search_id: UUID, *, now: datetime) -> UUID | None:
    """Have a search run at once: its waiting job if there is one, else a new one; None where there is no search."""
    with conn.transaction():
        if not list(_sql.lock_search(conn, search_id=search_id)):
            return None
        hurried = list(_sql.hurry_job(conn, search_id=search_id))
        job_id: UUID = hurried[0][0] if hurried else _sql.add_urgent_job(conn, search_id=search_id, now=now)
    return job_id


def claim_job(
    conn: Connection,
    job_id: UUID | None,
    *,
    owner: str,
    now: datetime,
    lease_until: datetime,
    run_id: str | None = None,
) -> SearchJob | None:
    """Lease this job, or the one that is next; None where it (or every one) is taken or done."""
    _sql.reap_jobs(conn, now=now, max_attempts=MAX_ATTEMPTS)
    rows = _sql.claim_job(
        conn, job_id=job_id, owner=owner, now=now, lease_until=lease_until, run_id=run_id, max_attempts=MAX_ATTEMPTS
    )
    found = [SearchJob(*row) for row in rows]
    return found[0] if found else None


def extend_job(conn: Connection, job_id: UUID, *, owner: str, lease_until: datetime) -> bool:
    """Say that the job's worker is alive; False where the job was taken from it."""
    return int(_sql.extend_job(conn, job_id=job_id, owner=owner, lease_until=lease_until)) > 0


def finish_job(
    conn: Connection, job_id: UUID, *, owner: str, now: datetime, result: dict[str, Any], error: str | None
) -> bool:
    """End a job well (``error`` is None) or badly; False where it was taken from this owner."""
    text = orjson.dumps(result).decode()
    return int(_sql.finish_job(conn, job_id=job_id, owner=owner, now=now, result=text, error=error)) > 0


def release_job(conn: Connection, job_id: UUID, *, owner: str) -> None:
    """Give a job back untried: somebody else may do it later."""
    _sql.release_job(conn, job_id=job_id, owner=owner)


def waiting_jobs(conn: Connection, *, now: datetime) -> list[SearchJob]:
    """Jobs that could run now, in the order in which they will; the dead are ended first."""
    _sql.reap_jobs(conn, now=now, max_attempts=MAX_ATTEMPTS)
    return [SearchJob(*row) for row in _sql.waiting_jobs(conn, now=now)]


def recent_found(conn: Connection, search_id: UUID, job_id: UUID, *, n: int) -> list[int]:
    """Listings found by the latest ``n`` finished jobs of a search beside this one."""
    return [row[0] or 0 for row in _sql.recent_found(conn, search_id=search_id, job_id=job_id, n=n)]


def known_urls(conn: Connection, source_id: UUID, hashes: Sequence[UUID]) -> set[UUID]:
    """Which of these pages were queued before."""
    return {row[0] for row in _sql.known_urls(conn, source_id=source_id, hashes=list(hashes))}
