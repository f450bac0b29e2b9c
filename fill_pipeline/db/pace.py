"""How fast each source may be asked: slots, holds, slowing down, the circuit breaker, what it takes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from fill_pipeline.db.connect import Connection, queries

_sql = queries("pace")
BREAKER_THRESHOLD = 10  # failures in a row
MOST_SLOWDOWN = 32.0
SLOWDOWNS_APART_SECONDS = 5.0
FAR = timedelta(minutes=5)  # clocks of several machines differ by less


class Breaker(StrEnum):
    """Where a source's circuit breaker stands."""

    CLOSED = "closed"  # requests flow
    OPEN = "open"  # none is sent until its pause is over
    HALF_OPEN = "half_open"  # one is under way to find out whether the source is back


@dataclass(frozen=True, slots=True)
class Slots:
    """Reserved fetch times: the first (UTC), milliseconds between two, and whether the day's budget still holds."""

    first: datetime
    delay_ms: int
    within_budget: bool


@dataclass(frozen=True, slots=True)
class Pace:
    """How a source may be asked now.

    ``pace_ms`` is what lies between two requests after configuration, robots.txt and slowing down; ``concurrency``
    how many it was found to take at once (None before the first answer), within ``max_concurrency``; nothing is
    fetched before ``hold_until``.
    """

    delay_ms: int
    robots_delay_ms: int
    pace_ms: int
    max_concurrency: int
    concurrency: float | None
    latency_ms: float | None
    breaker: str
    breaker_until: datetime | None
    hold_until: datetime | None
    hold_reason: str | None
    budget_used: int
    daily_requests: int

    @property
    def silent_until(self) -> datetime | None:
        """Nothing may be fetched before then (UTC): held, or its circuit breaker is open. None where neither is so."""
        pause = self.breaker_until if self.breaker == Breaker.OPEN else None
        return max((until for until in (self.hold_until, pause) if until is not None), default=None)

    @property
    def in_words(self) -> str:
        """All of it in one line, for people."""
        usual = max(self.delay_ms, self.robots_delay_ms)
        parts = [f"a request every {self.pace_ms / 1000:g} s"]
        if self.pace_ms > usual:
            parts[0] += f" (slowed from {usual / 1000:g} s, since it throttled us)"
        if self.concurrency is not None and self.latency_ms is not None:
            parts.append(f"{int(self.concurrency)} of {self.max_concurrency} at once, {self.latency_ms:.0f} ms each")
        parts.append(f"{self.budget_used:,} of {self.daily_requests:,} requests today")
        if self.hold_until is not None:
            parts.append(f"left alone until {self.hold_until:%Y-%m-%d %H:%M} UTC: {self.hold_reason}")
        if self.breaker_until is not None:
            parts.append(f"circuit breaker {self.breaker.replace('_', ' ')} until {self.breaker_until:%H:%M:%S} UTC")
        return "; ".join(parts)


def set_pace(conn: Connection, source_id: UUID, *, delay_ms: int, max_concurrency: int, daily_requests: int) -> None:
    """Bring the pace of a source to its config."""
    _sql.set_pace(
        conn, source_id=source_id, delay_ms=delay_ms, max_concurrency=max_concurrency, daily_requests=daily_requests
    )


def set_robots_delay(conn: Connection, source_id: UUID, delay_ms: int) -> None:
    """Bring robots.txt's Crawl-delay into the pace."""
    _sql.set_robots_delay(conn, source_id=source_id, delay_ms=delay_ms)


def reserve_slots(conn: Connection, source_id: UUID, n: int, *, now: datetime) -> Slots:
    """Reserve ``n`` consecutive fetch times of a source, whoever else fetches from it, after every hold and pause."""
    return _near(conn, now, lambda: Slots(*next(iter(_sql.reserve_slots(conn, source_id=source_id, n=n, now=now)))))


def move_slots(conn: Connection, source_id: UUID, n: int, *, now: datetime) -> Slots:
    """As ``reserve_slots``, for requests that missed the slots they had: they are in the day's budget already."""
    return _near(conn, now, lambda: Slots(*next(iter(_sql.move_slots(conn, source_id=source_id, n=n, now=now)))))


def _near(conn: Connection, now: datetime, reserve: Callable[[], Slots]) -> Slots:
    slots = reserve()
    return reserve() if slots.first > now + FAR and forget_far_slots(conn, now=now) else slots


def forget_far_slots(conn: Connection, *, now: datetime) -> list[UUID]:
    """Free the sources whose next slot lies further ahead than slots are reserved; returns them.

    The clock that reserved it has been set back since, and nothing would be fetched until it is there again.
    """
    return [row[0] for row in _sql.forget_far_slots(conn, now=now, far=FAR)]


def hold(conn: Connection, source_id: UUID, until: datetime, reason: str) -> None:
    """Fetch nothing of this source before ``until``, on any machine (Retry-After, no robots.txt to be had)."""
    _sql.hold(conn, source_id=source_id, until=until, reason=reason[:200])


def slow_down(conn: Connection, source_id: UUID, now: datetime) -> None:
    """Halve this source's rate, since it throttled us; half of that is forgotten every ten minutes."""
    _sql.slow_down(conn, source_id=source_id, now=now, most=MOST_SLOWDOWN, apart_seconds=SLOWDOWNS_APART_SECONDS)


def note_success(conn: Connection, source_id: UUID, now: datetime) -> None:
    """The source answered: its circuit breaker closes."""
    _sql.note_success(conn, source_id=source_id, now=now)


def note_failures(
    conn: Connection, source_id: UUID, n: int, now: datetime, *, threshold: int = BREAKER_THRESHOLD
) -> Breaker:
    """``n`` requests in a row failed: at the threshold the circuit breaker opens. Returns how it stands."""
    return Breaker(_sql.note_failures(conn, source_id=source_id, n=n, now=now, threshold=threshold))


def save_concurrency(conn: Connection, source_id: UUID, *, concurrency: float, latency_ms: float) -> None:
    """Keep how many requests at once a source was found to take, for the next worker and for people."""
    _sql.save_concurrency(conn, source_id=source_id, concurrency=concurrency, latency_ms=latency_ms)


def paces(conn: Connection, source_ids: Iterable[UUID], *, now: datetime) -> dict[UUID, Pace]:
    """How these sources may be asked now."""
    return {row[0]: Pace(*row[1:]) for row in _sql.paces(conn, source_ids=list(source_ids), now=now)}
