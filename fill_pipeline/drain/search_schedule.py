"""When saved searches are due: their schedules, in their zones, and a job for each tick."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fill_pipeline.db import incidents
from fill_pipeline.db import searches as db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.incidents import Incident, IncidentKind
from fill_pipeline.db.searches import Search, SearchJob
from fill_pipeline.drain.search_cron import ScheduleError, check_schedule, latest_tick
from fill_pipeline.drain.search_params import check_params


def due_searches(conn: Connection, now: datetime) -> list[tuple[Search, datetime]]:
    """The active searches with a tick since their last one (or their creation), each with its latest tick.

    After a pause or downtime only the latest tick counts: a search catches up once. A search whose
    schedule cannot be read opens an incident and is left out.
    """
    due: list[tuple[Search, datetime]] = []
    unreadable = incidents.open_subjects(conn, IncidentKind.SEARCH_SCHEDULE)
    for search in db.searches(conn):
        if not search.active:
            continue
        try:
            tick = latest_tick(search.schedule, search.time_zone, now)
        except ScheduleError as error:
            _report_unreadable(conn, search, error, now)
            continue
        if str(search.id) in unreadable:
            incidents.close_incident(conn, IncidentKind.SEARCH_SCHEDULE, str(search.id), now=now)
        if tick is not None and tick > (search.last_tick or search.created_at):
            due.append((search, tick))
    return due


def _report_unreadable(conn: Connection, search: Search, error: ScheduleError, now: datetime) -> None:
    facts = {"search": search.name, "schedule": search.schedule, "time zone": search.time_zone}
    message = f"search {search.name!r} does not run: {error}"
    found = Incident(IncidentKind.SEARCH_SCHEDULE, str(search.id), message, details={"facts": facts})
    incidents.open_incident(conn, found, now=now)


def create_jobs(conn: Connection, now: datetime) -> list[SearchJob]:
    """Queue a job for every due search; returns the new ones. However often and wherever called, one job per tick."""
    created = {db.create_job(conn, search.id, tick=tick, now=now) for search, tick in due_searches(conn, now)}
    return [job for job in db.waiting_jobs(conn, now=now) if job.id in created]


def add_search(
    conn: Connection,
    *,
    name: str,
    params: dict[str, Any],
    schedule: str,
    now: datetime,
    source: str = "offerup",
    time_zone: str = "UTC",
) -> Search:
    """Save a search after checking what it says; raises ScheduleError, ParamError, or ValueError for a bad name."""
    if not name.strip():
        raise ValueError(f"name {name!r} is empty; a search is called by its name")
    check_schedule(schedule, time_zone)
    check_params(params)
    new = db.add_search(conn, name=name, params=params, schedule=schedule, source=source, time_zone=time_zone, now=now)
    found = db.search(conn, new)
    assert found is not None
    return found
