"""Incidents: what is wrong now, and since when. The one place that writes them, and the alerts that tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

import orjson

from fill_pipeline.db.connect import Connection, queries

_sql = queries("incidents")
REMIND_HOURS = 24.0
DISMISSED_HOURS = 168.0
MOST_OPEN = 10_000
MESSAGE_CHARS = 1000


class IncidentKind(StrEnum):
    """What can be wrong; the column ``incidents.kind``. The subject says where ("" for the whole system)."""

    BELOW_TARGET = "below_target"  # too few vehicles, cycle after cycle
    QUALITY_FALLING = "quality_falling"  # completeness is below its target, or far below what it was
    SOURCE_FAILING = "source_failing"  # a source (its slug) fails, cycle after cycle
    REPAIR_GAVE_UP = "repair_gave_up"  # a source (its slug) is set aside: nothing the system knows mends it
    HELD_BACK = "held_back"  # listings of a source (its slug) are kept from becoming vehicles
    QUEUE_STUCK = "queue_stuck"  # pages wait that may be fetched, and none is
    DEAD_ROWS = "dead_rows"  # too many pages were given up
    SILENT_JOB = "silent_job"  # an action, a search or a deal job gives no sign of life
    JOB_FAILED = "job_failed"  # an action (its name) ends in errors
    MISSED_CYCLE = "missed_cycle"  # a window passes without its cycle, or a cycle does not end
    CHECK_FAILED = "check_failed"  # an asset check (its name) that must hold does not
    DISK_FULL = "disk_full"  # the data folder or the archive has no room
    SEARCH_EMPTY = "search_empty"  # a search (its id) finds nothing where it usually finds something
    SEARCH_SCHEDULE = "search_schedule"  # a search's (its id) schedule or time zone cannot be read


class Severity(IntEnum):
    """How soon somebody should look."""

    WARNING = 1  # today
    CRITICAL = 2  # now


class AlertEvent(StrEnum):
    """Why people are told of an incident."""

    OPENED = "opened"
    WORSE = "worse"  # it became critical
    REMINDER = "reminder"  # it is still open, and nobody was told for a day
    DISMISSED = "dismissed"  # a person took it off the list
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that is wrong. ``details`` holds ``facts`` (by name) and ``did`` (what the system did, in words).

    ``occasion`` (a cycle, a job) tells another occurrence from another look at the same one.
    """

    kind: IncidentKind
    subject: str
    message: str
    severity: Severity = Severity.WARNING
    details: dict[str, Any] = field(default_factory=dict)
    occasion: str | None = None

    def stored(self) -> dict[str, Any]:
        """The details as they are kept: the facts as pairs, since jsonb keeps no order of names."""
        facts = [list(pair) for pair in self.details.get("facts", {}).items()]
        return self.details | {"facts": facts, "did": list(self.details.get("did", ()))}


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """A row of ``incidents``; times in UTC, ``closed_at`` None while it is not over, ``dismissed_*`` while a person has
    taken it off the list.

    ``details`` holds ``facts``, pairs of a name and a figure or words, and ``did``, lines of what the system did.
    """

    id: int
    kind: str
    subject: str
    severity: int
    message: str
    details: dict[str, Any]
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    opened_cycle: str | None
    occurrences: int
    notified_at: datetime | None
    occasion: str | None
    dismissed_at: datetime | None
    dismissed_by: str | None
    dismissed_why: str | None

    @property
    def is_open(self) -> bool:
        """Whether it is neither over nor dismissed."""
        return self.closed_at is None and self.dismissed_at is None

    def as_json(self) -> dict[str, Any]:
        """Plain data, the severity by name."""
        return asdict(self) | {"severity": Severity(self.severity).name.lower()}


def lock(conn: Connection) -> None:
    """Let no other process judge until the transaction ends."""
    _sql.lock(conn)


def open_incident(conn: Connection, incident: Incident, *, now: datetime, cycle_id: str | None = None) -> None:
    """Say that something is wrong; said again it is brought up to date.

    An alert is written when it is new, and as by ``remind``.
    """
    with conn.transaction():
        row_id = _sql.open_incident(
            conn,
            kind=incident.kind.value,
            subject=incident.subject.replace("\0", ""),
            severity=int(incident.severity),
            message=incident.message[:MESSAGE_CHARS].replace("\0", ""),
            details=orjson.dumps(incident.stored(), default=str).decode().replace("\\u0000", ""),
            occasion=incident.occasion,
            now=now,
            cycle_id=cycle_id,
        )
        remind(conn, row_id, now=now)


def remind(conn: Connection, incident_id: int, *, now: datetime) -> None:
    """Write an alert of an open incident that became critical, or of which nobody was told for a day.

    One that was dismissed counts again when it became critical, or after a week.

    Each once, whoever else asks for it at the same moment; after each reminder the next one takes twice as long,
    eight days at most.
    """
    _sql.tell(conn, id=incident_id, now=now, remind_hours=REMIND_HOURS, dismissed_hours=DISMISSED_HOURS)


def dismiss(conn: Connection, incident_id: int, *, who: str, why: str, now: datetime) -> IncidentRow:
    """Take an open incident off the list of what is wrong; ``who`` and ``why`` stand with it, and an alert tells of it.

    It ends in silence when its cause is gone; should that come again later, it is a new incident. Until then it comes
    back if it gets worse, or has lasted a week more.

    Raises:
        LookupError: there is no such incident, or it is over or dismissed already.
        ValueError: no reason is given.
    """
    why, who = (" ".join(words.replace("\0", "").split())[:MESSAGE_CHARS] for words in (why, who))
    if not why:
        raise ValueError(f"incident {incident_id} is dismissed only with a reason: say why")
    rows = [IncidentRow(*row) for row in _sql.dismiss(conn, id=incident_id, who=who, why=why, now=now)]
    if not rows:
        known = [IncidentRow(*row) for row in _sql.incident(conn, id=incident_id)]
        state = "does not exist" if not known else "is over" if known[0].closed_at else "is dismissed already"
        raise LookupError(f"incident {incident_id} {state}; `fill incidents` lists those open")
    return rows[0]


def close_incident(
    conn: Connection, kind: IncidentKind, subject: str, *, now: datetime, did: Sequence[str] = ()
) -> None:
    """Say that it is right again, and what the system did (as last told where that is empty); an alert is written."""
    last = orjson.dumps({"did": list(did)} if did else {}).decode()
    _sql.close_incident(conn, kind=kind.value, subject=subject, now=now, last=last)


def open_incidents(conn: Connection, n: int = MOST_OPEN) -> list[IncidentRow]:
    """Incidents not yet over, the newest first, those dismissed last."""
    return [IncidentRow(*row) for row in _sql.open_incidents(conn, n=n)]


def latest_incidents(conn: Connection, n: int) -> list[IncidentRow]:
    """The last ``n`` incidents, over or not, the newest first."""
    return [IncidentRow(*row) for row in _sql.latest_incidents(conn, n=n)]


def open_subjects(conn: Connection, kind: IncidentKind) -> set[str]:
    """What incidents of a kind are open about."""
    return {row[0] for row in _sql.open_subjects(conn, kind=kind.value)}
