"""What a person may do on the dashboard, and who may."""

from __future__ import annotations

import hmac
import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import open_by_hand
from fill_pipeline.db import cycles, queue, registry
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.registry import ConfigVersion, SourceRow
from fill_pipeline.db.server import database_url
from fill_pipeline.settings import Settings

WRONG_TOKENS = 10  # within WRONG_WITHIN, then nobody gets in for that long
WRONG_WITHIN = timedelta(minutes=1)

log = logging.getLogger(__name__)


class Deed(StrEnum):
    """One thing a person can ask for."""

    PAUSE = "pause"  # crawl a source no more
    RESUME = "resume"  # crawl it again
    REQUEUE = "requeue"  # give dead queue rows another life, of one source or of all
    ROLL_BACK = "roll_back"  # bring back an earlier configuration of a source
    RUN_CYCLE = "run_cycle"  # open a cycle now


class RefusedError(Exception):
    """A deed that is not done; the message says why and what to do."""


class Gate:
    """Admits who knows the token. Wrong guesses, whoever makes them, close it for a while."""

    def __init__(self, token: str | None, now_fn: Callable[[], datetime] = utc_now) -> None:
        self._token = token or None
        self._now_fn = now_fn
        self._wrong: deque[datetime] = deque(maxlen=WRONG_TOKENS)

    @property
    def exists(self) -> bool:
        """Whether anybody can be admitted at all."""
        return self._token is not None

    def admit(self, offered: str) -> None:
        """Return for the right token.

        Raises:
            RefusedError: it is wrong, there is none, or too many were wrong lately.
        """
        if self._token is None:
            raise RefusedError("actions are off: set FILL_DASHBOARD_TOKEN and restart the dashboard")
        now = self._now_fn()
        if len(self._wrong) == WRONG_TOKENS and now - self._wrong[0] < WRONG_WITHIN:
            raise RefusedError("too many wrong tokens: wait a minute")
        if not hmac.compare_digest(offered.encode(), self._token.encode()):
            self._wrong.append(now)
            raise RefusedError("that is not the token: it is the value of FILL_DASHBOARD_TOKEN")


def carry_out(settings: Settings, deed: Deed, subject: str, version: int | None, *, who: str, now: datetime) -> str:
    """Do it and return what was done, in a sentence. ``subject`` is a source's slug, or empty for all.

    Raises:
        RefusedError: it cannot be done.
    """
    with connect(database_url(settings), name="fill dashboard action") as conn:
        done = _DEEDS[deed](conn, settings, subject, version, now)
    log.info("%s asked for %s of %r: %s", who, deed, subject, done)
    return done


def earlier_versions(settings: Settings, slug: str) -> list[ConfigVersion]:
    """The configurations a source can go back to, the newest first.

    Raises:
        RefusedError: there is no such source.
    """
    with connect(database_url(settings), name="fill dashboard") as conn:
        source = _source(conn, slug)
        return [v for v in reversed(registry.versions(conn, source.id)) if not v.live]


def _source(conn: Connection, slug: str) -> SourceRow:
    source = registry.find_source(conn, slug) if slug else None
    if source is None:
        raise RefusedError(f"there is no source {slug!r}; it may have been retired since the page was shown")
    return source


def _pause(conn: Connection, settings: Settings, slug: str, version: int | None, now: datetime) -> str:
    registry.set_active(conn, _source(conn, slug).slug, False)
    return f"{slug} is paused: what waits of it in the queue is kept and fetched when it is resumed"


def _resume(conn: Connection, settings: Settings, slug: str, version: int | None, now: datetime) -> str:
    registry.set_active(conn, _source(conn, slug).slug, True)
    return f"{slug} is crawled again"


def _requeue(conn: Connection, settings: Settings, slug: str, version: int | None, now: datetime) -> str:
    source_id = _source(conn, slug).id if slug else None
    rows = queue.requeue_dead(conn, source_id=source_id, now=now)
    return f"{rows} dead pages{f' of {slug}' if slug else ''} wait again"


def _roll_back(conn: Connection, settings: Settings, slug: str, version: int | None, now: datetime) -> str:
    source = _source(conn, slug)
    if version is None or not registry.roll_back(
        conn, source.id, version, made_by="operator", reason="rolled back on the dashboard"
    ):
        raise RefusedError(f"{slug} never had a configuration {version}")
    return f"{slug} has its configuration {version} again, as version {_source(conn, slug).config_version}"


def _run_cycle(conn: Connection, settings: Settings, subject: str, version: int | None, now: datetime) -> str:
    running = cycles.open_one(conn)
    if running is not None:
        return f"cycle {running.cycle_id} already runs"
    cycle = open_by_hand(conn, settings, now=now)
    return f"cycle {cycle.cycle_id} is open: the sensors start its first action within half a minute"


_DEEDS: dict[Deed, Callable[[Connection, Settings, str, int | None, datetime], str]] = {
    Deed.PAUSE: _pause,
    Deed.RESUME: _resume,
    Deed.REQUEUE: _requeue,
    Deed.ROLL_BACK: _roll_back,
    Deed.RUN_CYCLE: _run_cycle,
}
