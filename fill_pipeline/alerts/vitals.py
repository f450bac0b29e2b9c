"""What the judgement depends on: how everything stands at one moment, and the marks it is held against."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from fill_pipeline.db import counters, cycles, incidents, vitals
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import CycleRow
from fill_pipeline.db.incidents import IncidentKind, IncidentRow
from fill_pipeline.db.vitals import ActionSeen, EndedCycle, FailingSource, Held, Repair, SilentJob
from fill_pipeline.quality.expectations import Severity as CheckSeverity
from fill_pipeline.settings import Settings

CYCLES = 24  # looked back: two days
TRAIL = 12  # cycles of a source's health
RECENT_CYCLES = 3  # of which actions and checks are looked at
SILENT_AFTER = timedelta(minutes=5)  # workers show signs of life every few seconds
WAITS_TOO_LONG = timedelta(hours=1)  # for a job without a worker
RECENT = timedelta(days=2)
MOST_ISSUES = 5
ABOUT_SOURCES = frozenset({IncidentKind.SOURCE_FAILING, IncidentKind.REPAIR_GAVE_UP, IncidentKind.HELD_BACK})


@dataclass(frozen=True, slots=True)
class Disk:
    """Room where something is kept, in bytes."""

    name: str
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Marks:
    """From where on something is wrong."""

    quality_target: float = 0.9
    source_cycles: int = 2
    stuck: timedelta = timedelta(minutes=30)
    dead_rows: int = 1000
    free_bytes: int = 2 << 30

    @classmethod
    def of(cls, settings: Settings) -> Marks:
        """The marks that the operator set."""
        return cls(
            quality_target=settings.quality_target,
            source_cycles=settings.alert_source_cycles,
            stuck=timedelta(minutes=settings.alert_stuck_minutes),
            dead_rows=settings.alert_dead_rows,
            free_bytes=settings.alert_free_mb << 20,
        )


@dataclass(frozen=True, slots=True)
class Vitals:
    """How everything stands; cycles, actions and repairs newest first.

    ``movable`` sources could be fetched from all the time that ``Marks.stuck`` says; ``moved_at`` is when one of them
    last was. ``open`` are the incidents not over, by kind and subject.
    """

    ended: Sequence[EndedCycle] = ()
    quality_issues: Sequence[str] = ()
    failing: Sequence[FailingSource] = ()
    set_aside: Sequence[tuple[str, str]] = ()
    repairs: Sequence[Repair] = ()
    held: Sequence[Held] = ()
    failed_checks: Sequence[tuple[str, str]] = ()
    cycle: CycleRow | None = None
    last_window_end: datetime | None = None
    actions: Sequence[ActionSeen] = ()
    pending: int = 0
    dead: int = 0
    movable: int = 0
    moved_at: datetime | None = None
    silent: Sequence[SilentJob] = ()
    disks: Sequence[Disk] = ()
    searches: frozenset[str] = frozenset()
    open: Mapping[tuple[str, str], IncidentRow] = field(default_factory=dict)

    @property
    def closed(self) -> list[EndedCycle]:
        """The cycles that ran."""
        return [c for c in self.ended if c.status == "closed"]


def read_vitals(conn: Connection, marks: Marks, disks: Sequence[Disk], *, now: datetime) -> Vitals:
    """How everything stands now."""
    ended = vitals.ended_cycles(conn, CYCLES)
    closed = [c.cycle_id for c in ended if c.status == "closed"]
    cycle = cycles.open_one(conn)
    failing = vitals.failing_sources(conn, closed[:TRAIL])
    set_aside = vitals.set_aside(conn)
    known = {(row.kind, row.subject): row for row in incidents.open_incidents(conn)}
    troubled = {f.slug for f in failing} | {slug for slug, _ in set_aside}
    troubled |= {subject for kind, subject in known if kind in ABOUT_SOURCES}
    totals = counters.totals(conn, ("queue.pending", "queue.dead"))
    movable, moved_at = 0, None
    if cycle is not None and totals["queue.pending"]:
        movable, moved_at = vitals.queue_movement(conn, cycle.cycle_id, since=now - marks.stuck, now=now)
    recent = [c.cycle_id for c in (cycle, *ended[:RECENT_CYCLES]) if c is not None]
    return Vitals(
        ended=ended,
        quality_issues=vitals.quality_issues(conn, closed[0], MOST_ISSUES) if closed else (),
        failing=failing,
        set_aside=set_aside,
        repairs=vitals.recent_repairs(conn, sorted(troubled), since=now - RECENT),
        held=vitals.held_back(conn, TRAIL),
        failed_checks=vitals.failed_checks(conn, closed[:RECENT_CYCLES], severity=CheckSeverity.ERROR),
        cycle=cycle,
        last_window_end=cycles.latest_window_end(conn),
        actions=vitals.actions(conn, recent),
        pending=totals["queue.pending"],
        dead=totals["queue.dead"],
        movable=movable,
        moved_at=moved_at,
        silent=list(_silent_jobs(conn, now)),
        disks=disks,
        searches=frozenset(vitals.active_searches(conn)),
        open=known,
    )


def measure_disks(settings: Settings) -> list[Disk]:
    """The room of the data folder, and of the archive where it is a folder on another disk."""
    found: dict[int, Disk] = {}
    places = {"data folder": settings.home}
    if "://" not in settings.archive_root:
        places["archive"] = Path(settings.archive_root)
    for name, folder in places.items():
        existing = next((f for f in (folder, *folder.parents) if f.is_dir()), None)
        if existing is not None:
            usage = shutil.disk_usage(existing)
            found.setdefault(existing.stat().st_dev, Disk(name, usage.free, usage.total))
    return list(found.values())


def _silent_jobs(conn: Connection, now: datetime) -> Iterator[SilentJob]:
    before = {"silent_before": now - SILENT_AFTER, "waiting_before": now - WAITS_TOO_LONG, "recent": now - RECENT}
    yield from vitals.silent_searches(conn, **before)
    deals = vitals.silent_deals(conn, **before)
    if deals is not None:
        yield deals
