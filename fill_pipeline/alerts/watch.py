"""The watch: look, write what changed, tell."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fill_pipeline.alerts.deliver import deliver, secrets_of
from fill_pipeline.alerts.judge import deeds_of, judge, over
from fill_pipeline.alerts.message import one_line
from fill_pipeline.alerts.vitals import Disk, Marks, measure_disks, read_vitals
from fill_pipeline.db import incidents
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.incidents import Incident, IncidentKind, IncidentRow
from fill_pipeline.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found: how many incidents are open, how many of them are new, and how many are over."""

    open: int
    opened: int
    closed: int
    sent: int = 0


def watch(conn: Connection, settings: Settings, *, now: datetime, disks: Sequence[Disk] | None = None) -> Look:
    """Look at everything, open, update and close incidents, and send the alerts that are due.

    Any number of processes may do it at any time. ``disks`` are measured where they are not given.
    """
    found = look(conn, settings, now=now, disks=disks)
    return replace(found, sent=deliver(conn, settings, now=now))


def watch_after(conn: Connection, settings: Settings, *, now: datetime) -> None:
    """The watch after something that must stand whatever becomes of it: a fault is logged and left to the next look."""
    try:
        watch(conn, settings, now=now)
    except Exception:
        log.exception("the watch over incidents failed; the next one comes with the sensor or the next cycle")


def look(conn: Connection, settings: Settings, *, now: datetime, disks: Sequence[Disk] | None = None) -> Look:
    """Bring the incidents up to date, in one transaction; one process at a time."""
    marks, secrets = Marks.of(settings), secrets_of(settings)
    disks = measure_disks(settings) if disks is None else disks
    with conn.transaction():
        incidents.lock(conn)
        vitals = read_vitals(conn, marks, disks, now=now)
        wanted = [_clean(incident, secrets) for incident in judge(vitals, marks, now)]
        cycle_id = vitals.cycle.cycle_id if vitals.cycle else vitals.closed[0].cycle_id if vitals.closed else None
        for incident in wanted:
            row = vitals.open.get((incident.kind, incident.subject))
            if row is not None and _same(incident, row):
                incidents.remind(conn, row.id, now=now)
            else:
                incidents.open_incident(conn, incident, now=now, cycle_id=cycle_id)
        gone = over(vitals, wanted)
        for row in gone:
            did = [one_line(line, secrets=secrets) for line in deeds_of(row, vitals)]
            incidents.close_incident(conn, IncidentKind(row.kind), row.subject, now=now, did=did)
    opened = sum((incident.kind, incident.subject) not in vitals.open for incident in wanted)
    return Look(len(vitals.open) + opened - len(gone), opened, len(gone))


def _same(incident: Incident, row: IncidentRow) -> bool:
    told = (incident.message, incident.stored(), incident.occasion)
    return told == (row.message, row.details, row.occasion) and incident.severity <= row.severity


def _clean(incident: Incident, secrets: tuple[str, ...]) -> Incident:
    """Every word of an incident may come from a page or an error: one line each, bounded, without secrets."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {one_line(k, 60, secrets): clean(v) for k, v in value.items()}
        if isinstance(value, list):
            return [clean(v) for v in value]
        return one_line(value, secrets=secrets) if isinstance(value, str) else value

    return replace(
        incident,
        subject=one_line(incident.subject, 120, secrets),
        message=one_line(incident.message, secrets=secrets),
        details=clean(incident.details),
    )
