"""The one reader of a dashboard process: it asks the database, every viewer shares the answer."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import psycopg

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.dashboard.snapshot import Overview, snapshot
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.server import DatabaseUnavailableError, database_url
from fill_pipeline.settings import Settings

INTERVAL = 1.0  # seconds between two readings
SHARE = 0.05  # of the time may be spent reading: slow readings come more rarely
MAX_INTERVAL = 10.0
JUDGED = 10  # readings whose fastest says what one costs: the others waited for a busy machine
HISTORY = 120  # readings
RATE_OVER = 30.0  # seconds over which the present rate is measured

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Moment:
    """What a chart of the last minutes needs of one reading."""

    at: datetime
    cycle_id: str | None
    vehicles_added: int
    pages_fetched: int
    pending: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The last overview, how long it took in seconds, what came shortly before, and what is wrong now."""

    overview: Overview | None
    seconds: float
    moments: tuple[Moment, ...]
    error: str | None
    failing_since: datetime | None

    def rate_per_hour(self, figure: str) -> float | None:
        """The present rate of ``vehicles_added`` or ``pages_fetched``; None until it can be measured."""
        if len(self.moments) < 2:
            return None
        last = self.moments[-1]
        for first in self.moments:
            seconds = (last.at - first.at).total_seconds()
            if seconds <= RATE_OVER and first.cycle_id == last.cycle_id:
                gained: int = getattr(last, figure) - getattr(first, figure)
                return max(0.0, gained / seconds * 3600) if seconds >= 1 else None
        return None


def pause_after(seconds: Collection[float]) -> float:
    """Seconds to wait after readings that took so long: as a whole, time reading is at most ``SHARE``."""
    return min(MAX_INTERVAL, max(INTERVAL, min(seconds, default=0.0) / SHARE))


class Poller:
    """Reads on demand, never more often than it may; safe to use from several threads."""

    def __init__(self, settings: Settings, now_fn: Callable[[], datetime] = utc_now) -> None:
        self._settings = settings
        self._now_fn = now_fn
        self._lock = threading.Lock()
        self._conn: Connection | None = None
        self._moments: deque[Moment] = deque(maxlen=HISTORY)
        self._seconds: deque[float] = deque(maxlen=JUDGED)
        self._read_at = float("-inf")
        self.reading = Reading(None, 0.0, (), None, None)

    @property
    def pause(self) -> float:
        """Seconds to wait between two readings, so that they cost the database no more than their share."""
        return pause_after(self._seconds)

    def read(self, *, max_age: float = 0.0) -> Reading:
        """The last reading if it is at most ``max_age`` seconds old, else a new one. Never raises for the database."""
        with self._lock:
            if time.monotonic() - self._read_at > max_age:
                self.reading = self._read()
                self._read_at = time.monotonic()
            return self.reading

    def close(self) -> None:
        """Give up the connection."""
        with self._lock:
            self._drop()

    def _read(self) -> Reading:
        last = self.reading
        now = self._now_fn()
        try:
            conn = self._conn = self._conn or self._connect()
            began = time.perf_counter()
            overview = snapshot(conn, self._settings, now, last.overview)
            seconds = time.perf_counter() - began
            self._seconds.append(seconds)
        except (psycopg.Error, DatabaseUnavailableError) as error:
            self._drop()
            words = f"{type(error).__name__}: {error}".strip()
            if last.error is None:
                log.warning("the database cannot be read: %s", words)
            return Reading(last.overview, last.seconds, last.moments, words, last.failing_since or now)
        cycle = overview.cycle
        self._moments.append(
            Moment(
                at=now,
                cycle_id=cycle.cycle_id if cycle else None,
                vehicles_added=cycle.vehicles_added if cycle else 0,
                pages_fetched=cycle.pages_fetched if cycle else 0,
                pending=overview.totals["queue.pending"],
            )
        )
        return Reading(overview, seconds, tuple(self._moments), None, None)

    def _connect(self) -> Connection:
        conn = connect(database_url(self._settings), name="fill dashboard")
        conn.execute("SET statement_timeout = '10s'")
        return conn

    def _drop(self) -> None:
        if self._conn is not None:
            try:
                self._conn.close()
            except psycopg.Error:
                log.debug("closing a broken connection", exc_info=True)
            self._conn = None
