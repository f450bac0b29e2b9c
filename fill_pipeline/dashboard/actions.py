"""What a person may do on the dashboard, and who may."""

from __future__ import annotations

import hmac
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import open_by_hand
from fill_pipeline.db import cycles, incidents, queue, registry
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
    DISMISS = "dismiss_incident"  # take an incident off the list


@dataclass(frozen=True, slots=True)
class Order:
    """A deed as somebody asked for it. ``subject`` is a source's slug (empty for all), or an incident's id.

    ``version`` is a configuration's, to go back to; ``why`` the reason of a dismissal.
    """

    deed: Deed
    subject: str
    who: str
    version: int | None = None
    why: str = ""


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


def carry_out(settings: Settings, order: Order, *, now: datetime) -> str:
    """Do it and return what was done, in a sentence.

    Raises:
        RefusedError: it cannot be done.
    """
    with connect(database_url(settings), name="fill dashboard action") as conn:
        done = _DEEDS[order.deed](conn, settings, order, now)
    log.info("%s asked for %s of %r: %s", order.who, order.deed, order.subject, done)
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


def _pause(conn: Connection, settings: Settings, order: Order, now: datetime) -> str:
    slug = _source(conn, order.subject).slug
    registry.set_active(conn, slug, False)
    return f"{slug} is paused: what waits of it in the queue is kept and fetched when it is resumed"


def _resume(conn: Connection, settings: Settings, order: Order, now: datetime) -> str:
    slug = _source(conn, order.subject).slug
    registry.set_active(conn, slug, True)
    return f"{slug} is crawled again"


def _requeue(conn: Connection, settings: Settings, order: Order, now: datetime) -> str:
    source_id = _source(conn, order.subject).id if order.subject else None
    rows = queue.requeue_dead(conn, source_id=source_id, now=now)
    return f"{rows} dead pages{f' of {order.subject}' if order.subject else ''} wait again"


def _roll_back(conn: Connection, settings: Settings, order: Order, now: datetime) -> str:
    source = _source(conn, order.subject)
    if order.version is None or not registry.roll_back(
        conn, source.id, order.version, made_by="operator", reason="rolled back on the dashboard"
    ):
        raise RefusedError(f"{source.slug} never had a configuration {order.version}")
    version = _source(conn, source.slug).config_version
    return f"{source.slug} has its configuration {order.version} again, as version {version}"


def _run_cycle(conn: Connection, settings: Settings, order: Order, now: datetime) -> str:
    running = cycles.open_one(conn)
    if running is not None:
        return f"cycle {running.cycle_id} already runs"
    cycle = open_by_hand(conn, settings, now=now)
    return f"cycle {cycle.cycle_id} is open: the sensors start its first action within half a minute"


def _dismiss(conn: Connection, settings: Settings, order: Order, now: datetime) -> str:
    if not (order.subject.isascii() and order.subject.isdigit() and len(order.subject) < 19):
        raise RefusedError(f"{order.subject!r} is not the id of an incident")
    try:
        row = incidents.dismiss(conn, int(order.subject), who=f"{order.who} on the dashboard", why=order.why, now=now)
    except (LookupError, ValueError) as error:
        raise RefusedError(str(error)) from error
    return f"incident {row.id} is dismissed: it comes back if it gets worse, stays for a week, or happens again"


_DEEDS: dict[Deed, Callable[[Connection, Settings, Order, datetime], str]] = {
    Deed.PAUSE: _pause,
    Deed.RESUME: _resume,
    Deed.REQUEUE: _requeue,
    Deed.ROLL_BACK: _roll_back,
    Deed.RUN_CYCLE: _run_cycle,
    Deed.DISMISS: _dismiss,
}
