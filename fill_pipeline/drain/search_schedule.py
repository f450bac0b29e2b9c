"""When saved searches are due: their schedules, in their zones, and a job for each tick."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from croniter import croniter

from fill_pipeline.db import incidents
from fill_pipeline.db import searches as db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.incidents import Incident, IncidentKind
from fill_pipeline.db.searches import Search, SearchJob

_LOOK_BACK = 60  # ticks looked through for one that really happened


class ScheduleError(ValueError):
    """A search's schedule or time zone cannot be read; the message says what is allowed."""


def check_schedule(schedule: str, time_zone: str) -> None:
    """Raise ScheduleError unless the schedule is a cron line of five fields and the zone an IANA name."""
    if len(schedule.split()) != 5 or not croniter.is_valid(schedule):
        raise ScheduleError(f"schedule {schedule!r} is not a cron line of five fields, such as '0 */2 * * *'")
    try:
        ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        raise ScheduleError(f"time zone {time_zone!r} is not an IANA name, such as 'America/Los_Angeles'") from None


def latest_tick(schedule: str, time_zone: str, now: datetime) -> datetime | None:
    """The last time (UTC) at or before ``now`` that the schedule names in its zone; None if there was none.

    As cron does it: a fixed hour runs once in the night the clocks go back and an hour later in the night
    they go forward; a schedule of every hour or every few minutes simply goes on.
    """
    check_schedule(schedule, time_zone)
    zone = ZoneInfo(time_zone)
    minute, hour = schedule.split()[:2]
    steady = minute.startswith("*") or hour.startswith("*")
    local = now.astimezone(zone).replace(tzinfo=None)
    ticks: list[datetime] = []
    for start in (local, local + timedelta(hours=1)):
        before = croniter(schedule, start + timedelta(microseconds=1), ret_type=datetime)
        for _ in range(_LOOK_BACK):
            try:
                naive = before.get_prev(datetime)
            except ValueError:  # no such day in half a century
                break
            found = [t for t in _instants(naive, zone, steady) if t <= now]
            if found:
                ticks += found
                break
    return max(ticks, default=None)


def _instants(naive: datetime, zone: ZoneInfo, steady: bool) -> list[datetime]:
    """When a local time happens: once; twice as clocks go back (for steady schedules); never as they go forward."""
    first, second = (naive.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if not steady:
        return [first]
    return [t for t in (first, second) if t.astimezone(zone).replace(tzinfo=None) == naive]


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
    """Save a search after checking its schedule; raises ScheduleError."""
    check_schedule(schedule, time_zone)
    new = db.add_search(conn, name=name, params=params, schedule=schedule, source=source, time_zone=time_zone, now=now)
    found = db.search(conn, new)
    assert found is not None
    return found
