"""Twenty saved searches over a simulated web for hours or days of injected time, with all that goes wrong.

The sensor's part (`create_jobs`) is played several times at every look, by several threads at once now and then;
jobs run as in production (`run_search`), some by two workers at once. The process is down for hours, searches are
paused, moved to other time zones and asked for in floods, workers are killed in the midst of a job, one source has
nothing for a while and another one fails. How many jobs there must be is computed here from the five fields by
trying every minute, with none of the code under test.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from fill_pipeline.cycle.searches import run_search
from fill_pipeline.db import registry
from fill_pipeline.db import searches as db
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.server import database_url
from fill_pipeline.drain.search_schedule import add_search, create_jobs
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb

START = datetime(2026, 3, 4, 3, 17, tzinfo=UTC)
"""Wednesday; the clocks of New York, Chicago, Denver and Los Angeles go forward on the Sunday after."""
AUTUMN = datetime(2026, 10, 31, 3, 17, tzinfo=UTC)
"""Saturday; the same clocks go back on the Sunday after."""
KEYS = ("listings_found", "new_listings", "updated_listings", "skipped_listings", "pages_scraped", "duration_ms")
SEARCHES: tuple[tuple[str, str, dict[str, Any]], ...] = (  # schedule, zone, params
    ("*/15 * * * *", "UTC", {}),
    ("0 * * * *", "America/New_York", {"min_year": 2010}),
    ("30 * * * *", "Asia/Kolkata", {"max_price": 15_000}),
    ("10 */2 * * *", "America/Los_Angeles", {}),
    ("0 */2 * * *", "UTC", {"max_mileage": 90_000}),
    ("0 */15 * * *", "UTC", {}),  # the hours 0 and 15
    ("0 8 * * *", "America/Los_Angeles", {}),
    ("30 2 * * *", "America/New_York", {}),  # an hour that does not happen on Sunday
    ("0 8,20 * * 1-5", "America/Chicago", {}),
    ("15 6 * * *", "Europe/Berlin", {"max_price": 20_000}),
    ("30 1 * * 0,6", "America/Denver", {}),  # an hour that happens twice in autumn
    ("0 12 * * 6,0", "Europe/London", {}),
    ("5 0 * * *", "Pacific/Auckland", {}),
    ("20 4,10,16,22 * * *", "Asia/Kathmandu", {"transmission": "automatic"}),
    ("0 0 * * *", "Australia/Lord_Howe", {}),
    ("*/30 9-17 * * *", "America/New_York", {"keywords": ["one owner"]}),
    ("50 */6 * * *", "America/St_Johns", {"make": "Ford"}),
    ("25 7 5 * 0", "UTC", {}),  # on the fifth and on Sundays
    ("40 */3 * * *", "America/Sao_Paulo", {"make": "Toyota", "max_price": 30_000}),
    ("35 5 * * 1-5", "Asia/Tokyo", {}),
)


@dataclass
class _Followed:
    """A search, and what must become of it."""

    id: UUID
    schedule: str
    zone: str
    source: str
    times: list[datetime]
    last: datetime
    active: bool = True
    expected: list[datetime] = field(default_factory=list)
    urgent: int = 0


@dataclass
class Plan:
    """What happens when, in hours from ``start``; lists of (from, to) or of moments."""

    start: datetime
    hours: float
    down: list[tuple[float, float]]
    paused: list[tuple[float, float]]
    moved: list[float]
    floods: list[float]
    kills: list[float]
    doomed: list[float]
    silent: tuple[float, float]
    failing: tuple[float, float]
    look_minutes: tuple[int, int] = (2, 13)


WEEK = Plan(
    start=START,
    hours=168,
    down=[(20, 27), (75, 76.5), (93.5, 101), (140, 140.7)],
    paused=[(10, 30), (50, 90), (60, 61), (110, 130)],
    moved=[40, 88, 120],
    floods=[5, 12, 33, 52, 70, 103, 125, 150],
    kills=[3, 31, 64, 80, 118, 145],
    doomed=[47, 112],
    silent=(54, 66),
    failing=(104, 116),
)
WEEKEND = Plan(
    start=AUTUMN,
    hours=56,
    down=[(20, 22.5), (26.2, 27.4)],  # the second one over the hour that happens twice in New York
    paused=[(8, 14), (30, 36)],
    moved=[12, 33],
    floods=[5, 25.5, 40],
    kills=[3, 26],
    doomed=[16],
    silent=(29, 38),
    failing=(39, 47),
)
HOURS = Plan(
    start=START,
    hours=4,
    down=[(1.6, 2.9)],
    paused=[(0.2, 0.7)],
    moved=[3.0],
    floods=[0.9],
    kills=[0.5],
    doomed=[1.0],
    silent=(1.3, 3.2),
    failing=(2.9, 3.5),
    look_minutes=(9, 14),
)


class SearchWeek:
    """Plays a plan; ``figures`` tells what happened, ``broken`` which promises were not kept."""

    def __init__(self, settings: Settings, web: SimWeb, plan: Plan, *, seed: int, sources: int = 6) -> None:
        self.settings, self.web, self.plan = settings, web, plan
        self.chance = random.Random(seed)
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self._base, self._set_at = plan.start, time.monotonic()
        self._sim = plan.start
        self._killed: Counter[UUID] = Counter()
        self._doomed: set[UUID] = set()
        self._quiet: str | None = None
        self._failing: str | None = None
        self._searches: list[_Followed] = []
        with self._connect() as conn:
            self._declare(conn, sources)

    def now(self) -> datetime:
        """Injected time: it stands at the look, and goes on as fast as ours while jobs run."""
        return self._base + timedelta(seconds=time.monotonic() - self._set_at)

    def run(self) -> dict[str, Any]:
        """Play the plan and judge what the tables say afterwards; returns the figures."""
        began, cpu = time.monotonic(), time.process_time()
        end = self.plan.start + timedelta(hours=self.plan.hours)
        events = self._events()
        with self._connect() as conn:
            while self._sim < end:
                self._to(self._sim + timedelta(minutes=self.chance.randint(*self.plan.look_minutes)))
                while events and events[0][0] <= self._hours:
                    events.pop(0)[1](conn)
                if any(a <= self._hours < b for a, b in self.plan.down):
                    self.counts["looks_missed"] += 1
                    continue
                self._look(conn)
            while self._doomed or db.waiting_jobs(conn, now=self.now()) or self._running(conn):
                self._to(self._sim + timedelta(minutes=11))
                self._work_off(conn)
            self._judge(conn)
            return {
                "simulated_hours": self.plan.hours,
                "searches": len(self._searches),
                **dict(sorted(self.counts.items())),
                **self._tables(conn),
                "seconds": round(time.monotonic() - began, 1),
                "cpu_s": round(time.process_time() - cpu, 1),
                "broken": self.broken,
            }

    # ── Setting up ──

    def _connect(self) -> Connection:
        return connect(database_url(self.settings), name="search week")

    def _declare(self, conn: Connection, sources: int) -> None:
        self.web.post("clock", now=self.plan.start.isoformat())
        sites = sorted((s for s in self.web.get("/sites") if s["open"]), key=lambda s: -(s["live_count"] or 0))
        slugs = []
        for site in sites[:sources]:
            row = registry.declare_source(
                conn, name=site["slug"], base_url=site["base_url"], config=site["suggested_config"], kind=site["kind"]
            )
            slugs.append((site["slug"], row.slug))
        self._sites = {slug: site for site, slug in slugs}
        for place, (schedule, zone, params) in enumerate(SEARCHES):
            source = slugs[place % len(slugs)][1]
            search = add_search(
                conn,
                name=f"search {place}",
                params=params,
                schedule=schedule,
                now=self.plan.start,
                source=source,
                time_zone=zone,
            )
            followed = _Followed(search.id, schedule, zone, source, [], search.created_at)
            followed.times = self._times(followed)
            self._searches.append(followed)

    def _times(self, search: _Followed) -> list[datetime]:
        start, end = self.plan.start - timedelta(days=2), self.plan.start + timedelta(hours=self.plan.hours + 1)
        return named_minutes(search.schedule, search.zone, start, end)

    def _events(self) -> list[tuple[float, Callable[[Connection], None]]]:
        plan, found = self.plan, list[tuple[float, Callable[[Connection], None]]]()
        for n, (first, last) in enumerate(plan.paused):
            search = self._searches[(0, 1, 3, 15)[n % 4]]
            found += [(first, self._pauser(search, False)), (last, self._pauser(search, True))]
        found += [(at, self._move) for at in plan.moved]
        found += [(at, self._flood) for at in plan.floods]
        found += [(at, self._kill) for at in plan.kills]
        found += [(at, self._doom) for at in plan.doomed]
        found += [(plan.silent[0], self._silence), (plan.silent[1], self._speak)]
        found += [(plan.failing[0], self._fail), (plan.failing[1], self._mend)]
        return sorted(found, key=lambda event: event[0])

    # ── Time ──

    @property
    def _hours(self) -> float:
        return (self._sim - self.plan.start) / timedelta(hours=1)

    def _to(self, sim: datetime) -> None:
        if sim.hour != self._sim.hour:
            self.web.post("clock", now=sim.isoformat())
        self._sim = sim
        self._base, self._set_at = max(sim, self.now()), time.monotonic()

    # ── What the sensor and the workers do ──

    def _look(self, conn: Connection) -> None:
        self.counts["looks"] += 1
        now = self.now()
        for search in self._searches:
            due = [t for t in search.times if search.last < t <= now]
            if search.active and due:
                search.expected.append(due[-1])
                search.last = due[-1]
                self.counts["ticks_missed_and_made_up_by_one"] += len(due) - 1
        if self.chance.random() < 0.1:
            self._at_once([lambda: self._sensor(now) for _ in range(4)])
        else:
            create_jobs(conn, now)
            if create_jobs(conn, now):
                self.broken.append(f"a second look at {now} made jobs again")
        self._work_off(conn)

    def _sensor(self, now: datetime) -> None:
        with self._connect() as own:
            create_jobs(own, now)

    def _work_off(self, conn: Connection) -> None:
        for job in db.waiting_jobs(conn, now=self.now()):
            if job.id in self._doomed:
                self._kill_job(conn, job.id)
                if self._killed[job.id] == db.MAX_ATTEMPTS:
                    self._doomed.discard(job.id)
                continue
            if self.chance.random() < 0.03:
                self.counts["jobs_wanted_by_two_workers"] += 1
                self._at_once([lambda j=job.id: self._run(j) for _ in range(2)])  # type: ignore[misc]
            else:
                self._run(job.id)

    def _run(self, job_id: UUID) -> None:
        run_search(job_id, self.settings, now_fn=self.now, run_id=f"run of {job_id}")

    @staticmethod
    def _at_once(deeds: list[Callable[[], None]]) -> None:
        threads = [threading.Thread(target=deed) for deed in deeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # ── What goes wrong ──

    def _pauser(self, search: _Followed, active: bool) -> Callable[[Connection], None]:
        def switch(conn: Connection) -> None:
            search.active = active
            db.set_active(conn, search.id, active)
            self.counts["switches"] += 1

        return switch

    def _move(self, conn: Connection) -> None:
        search = self.chance.choice(self._searches[5:])
        search.zone = self.chance.choice(["America/Anchorage", "Europe/Athens", "Asia/Dubai"])
        conn.execute("UPDATE offerup_searches SET time_zone = %s WHERE id = %s", [search.zone, search.id])
        search.times = self._times(search)
        self.counts["zone_changes"] += 1

    def _flood(self, conn: Connection) -> None:
        search = self.chance.choice(self._searches)
        row = conn.execute(
            "SELECT count(*) FROM offerup_jobs WHERE search_id = %s AND status = 'pending'", [search.id]
        ).fetchone()
        assert row is not None
        search.urgent += row[0] == 0

        def ask() -> None:
            with self._connect() as own:
                for _ in range(10):
                    db.run_now(own, search.id, now=self.now())

        self._at_once([ask] * 4)
        self.counts["run_now_asked"] += 40

    def _doom(self, conn: Connection) -> None:
        self._doomed.add(self._asked_for(conn, len(SEARCHES) - 2))

    def _kill(self, conn: Connection) -> None:
        self._kill_job(conn, self._asked_for(conn, len(SEARCHES) - 1))

    def _asked_for(self, conn: Connection, place: int) -> UUID:
        search = self._searches[place]
        job = db.run_now(conn, search.id, now=self.now())
        assert job is not None
        search.urgent += 1
        return job

    def _kill_job(self, conn: Connection, job_id: UUID) -> None:
        """A worker begins the job at a site that does not answer, and is killed."""
        site = next(self._sites[s.source] for s in self._searches if s.id == _search_of(conn, job_id))
        self.web.post("hang", slug=site, seconds=60)
        child = os.fork()
        if child == 0:
            try:
                run_search(job_id, self.settings, now_fn=self.now)
            finally:
                os._exit(0)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not self._running(conn, job_id, self._killed[job_id] + 1):
            time.sleep(0.02)
        time.sleep(0.1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        self.web.post("hang", slug=site, seconds=0)
        if not self._running(conn, job_id, self._killed[job_id] + 1):
            self.broken.append(f"job {job_id} was not killed in the midst of its work")
        self._killed[job_id] += 1
        self.counts["workers_killed"] += 1

    def _silence(self, conn: Connection) -> None:
        self._quiet = self._searches[0].source
        self.web.post("empty", slug=self._sites[self._quiet])

    def _speak(self, conn: Connection) -> None:
        assert self._quiet is not None
        if not conn.execute("SELECT FROM incidents WHERE kind = 'search_empty' AND closed_at IS NULL").fetchall():
            self.broken.append("a source that usually has listings gave none, and no incident was opened")
        self.web.post("heal", slug=self._sites[self._quiet])

    def _fail(self, conn: Connection) -> None:
        self._failing = self._searches[1].source
        self.web.post("fail", slug=self._sites[self._failing], status=404, rate=1.0)

    def _mend(self, conn: Connection) -> None:
        assert self._failing is not None
        self.web.post("heal", slug=self._sites[self._failing])

    # ── Judging ──

    @staticmethod
    def _running(conn: Connection, job_id: UUID | None = None, attempt: int = 1) -> bool:
        rows = conn.execute(
            "SELECT FROM offerup_jobs WHERE status = 'running' AND attempts >= %(attempt)s "
            "AND (%(id)s::uuid IS NULL OR id = %(id)s)",
            {"id": job_id, "attempt": attempt},
        ).fetchall()
        return bool(rows)

    def _judge(self, conn: Connection) -> None:
        for search in self._searches:
            rows = conn.execute(
                "SELECT scheduled_for FROM offerup_jobs WHERE search_id = %s ORDER BY scheduled_for", [search.id]
            ).fetchall()
            ticks = [row[0] for row in rows if row[0] is not None]
            told = f"{search.schedule!r} in {search.zone}"
            if ticks != search.expected:
                odd = sorted(set(ticks) ^ set(search.expected))[:3]
                self.broken.append(f"{told}: {len(ticks)} jobs, cron says {len(search.expected)}; differing: {odd}")
            if len(rows) - len(ticks) != search.urgent:
                self.broken.append(f"{told}: {len(rows) - len(ticks)} jobs asked for, not {search.urgent}")
        for words, query in _MUST_BE_NONE.items():
            rows = conn.execute(query, {"keys": list(KEYS)}).fetchall()
            if rows:
                self.broken.append(f"{words}: {len(rows)}, such as {rows[0]}")
        ends: dict[UUID, str] = dict(
            conn.execute("SELECT id, (status, attempts)::text FROM offerup_jobs WHERE attempts > 1").fetchall()
        )
        for job_id, times in self._killed.items():
            fits = f"(error,{times})" if times == db.MAX_ATTEMPTS else f"(finished,{times + 1})"
            if ends.pop(job_id, None) != fits:
                self.broken.append(f"job {job_id}, killed {times} times, did not end as {fits}")
        if ends:
            self.broken.append(f"{len(ends)} jobs were tried again though nobody killed their workers")
        for status, source in (("error", self._failing), ("finished", self._failing), ("finished", self._quiet)):
            if not conn.execute(
                "SELECT FROM offerup_jobs j JOIN offerup_searches s ON s.id = j.search_id "
                "WHERE j.status = %s AND s.source = %s LIMIT 1",
                [status, source],
            ).fetchall():
                self.broken.append(f"no job of {source} ended as {status}")

    def _tables(self, conn: Connection) -> dict[str, Any]:
        by_status: dict[str, int] = dict(
            conn.execute("SELECT status, count(*) FROM offerup_jobs GROUP BY 1 ORDER BY 1").fetchall()
        )
        row = conn.execute(
            "SELECT count(scheduled_for), count(*) FILTER (WHERE scheduled_for IS NULL), "
            "count(*) FILTER (WHERE attempts > 1), sum((result ->> 'listings_found')::int), "
            "sum((result ->> 'new_listings')::int), (SELECT count(*) FROM incidents WHERE kind = 'search_empty') "
            "FROM offerup_jobs"
        ).fetchone()
        names = ("jobs_by_cron", "jobs_asked_for", "jobs_tried_again", "found", "new", "incidents")
        return {"jobs": by_status, **dict(zip(names, row or (), strict=True))}


_MUST_BE_NONE = {
    "jobs that never ended": "SELECT id, status FROM offerup_jobs WHERE status IN ('pending', 'running')",
    "ended jobs still leased": "SELECT id FROM offerup_jobs WHERE num_nonnulls(lease_owner, lease_expires_at) > 0",
    "jobs whose times are out of order": (
        "SELECT id FROM offerup_jobs WHERE (created_at <= started_at AND started_at <= finished_at) IS NOT TRUE"
    ),
    "finished jobs without all documented keys": (
        "SELECT id, result FROM offerup_jobs WHERE status = 'finished' AND NOT (result ?& %(keys)s)"
    ),
    "finished jobs whose figures do not add up": (
        "SELECT id, result FROM offerup_jobs WHERE status = 'finished' AND (result ->> 'listings_found')::int <> "
        "(result ->> 'new_listings')::int + (result ->> 'updated_listings')::int + (result ->> 'skipped_listings')::int"
    ),
    "jobs with a message and no error, or the other way round": (
        "SELECT id FROM offerup_jobs WHERE (status = 'error') <> (coalesce(error_message, '') <> '')"
    ),
    "jobs that do not name their run": (
        "SELECT id FROM offerup_jobs WHERE run_id IS NULL AND error_message NOT LIKE '%%silent%%'"
    ),
    "errors of our own making": (
        "SELECT id, error_message FROM offerup_jobs WHERE status = 'error' "
        "AND error_message NOT LIKE ALL (ARRAY['%%404%%', '%%gone%%', '%%silent%%'])"
    ),
    "searches found silent though they found something since": (
        "SELECT s.name, s.source, j.finished_at FROM incidents i JOIN offerup_searches s ON s.id::text = i.subject "
        "CROSS JOIN LATERAL (SELECT result, finished_at FROM offerup_jobs "
        "WHERE search_id = s.id AND status = 'finished' "
        "ORDER BY finished_at DESC LIMIT 1) j WHERE i.kind = 'search_empty' AND i.closed_at IS NULL "
        "AND (j.result ->> 'listings_found')::int > 0"
    ),
}


def _search_of(conn: Connection, job_id: UUID) -> UUID:
    row = conn.execute("SELECT search_id FROM offerup_jobs WHERE id = %s", [job_id]).fetchone()
    assert row is not None
    found: UUID = row[0]
    return found


def named_minutes(schedule: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """Every minute (UTC) a cron line of numbers, ``*``, ``,``, ``-`` and ``/`` names, found by trying each.

    A fixed hour that happens twice counts the first time, one that never happens an hour later; lines whose
    minute or hour begins with ``*`` follow the clock on the wall. Of a day and a weekday one is enough.
    """
    minute, hour, day, month, weekday = schedule.split()
    steady = minute.startswith("*") or hour.startswith("*")
    minutes, hours, days = _values(minute, 0, 59), _values(hour, 0, 23), _values(day, 1, 31)
    months, weekdays = _values(month, 1, 12), {value % 7 for value in _values(weekday, 0, 7)}
    either_is_free = day.startswith("*") or weekday.startswith("*")
    tz = ZoneInfo(zone)

    def named(wall: datetime) -> bool:
        of_month, of_week = wall.day in days, wall.isoweekday() % 7 in weekdays
        on = of_month and of_week if either_is_free else of_month or of_week
        return on and wall.minute in minutes and wall.hour in hours and wall.month in months

    day_around = timedelta(days=1)  # no zone is further from UTC
    found = set()
    for n in range(int((end - start + 2 * day_around) / timedelta(minutes=1))):
        at = start - day_around + timedelta(minutes=n)
        wall = at.astimezone(tz) if steady else at.replace(tzinfo=tz)
        if named(wall):
            found.add(wall.astimezone(UTC))
    return sorted(at for at in found if start <= at <= end)


def _values(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        bounds = (low, high) if span == "*" else (int(first), int(last or first))
        found |= set(range(bounds[0], bounds[1] + 1, int(step or 1)))
    return found
