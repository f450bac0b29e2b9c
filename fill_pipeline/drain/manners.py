"""How a crawler behaves towards each source: robots.txt, how many requests at once, and when to leave it alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from fill_pipeline.crawl.choices import RobotsPolicy
from fill_pipeline.crawl.concurrency import UNKNOWN, Concurrency, observe
from fill_pipeline.crawl.fetch import FailureCategory, FetchRequest, FetchResponse
from fill_pipeline.crawl.robots import RETRY_AFTER_ERROR, RobotsCache, RobotsRules, robots_request
from fill_pipeline.crawl.urls import origin
from fill_pipeline.db import pace
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.pace import Breaker, Pace
from fill_pipeline.drain.robots import load_robots, obey_delay, save_robots
from fill_pipeline.drain.work import Source, Work

THROTTLE_PAUSE = timedelta(seconds=60)
# A request that misses its slot by more than the time between two gets another, so that late ones never come in a
# bunch; within these bounds, since no clock is perfect and a quarter of a second is nothing to a slow source. To a
# source that may be asked more than fifty times a second, its answers set the pace, and new slots would cost too much.
LEAST_LATE_SECONDS, MOST_LATE_SECONDS = 0.1, 0.25
FAST_PACE_MS, FAST_LATE_SECONDS = 20, 2.0
SOURCE_TROUBLE = frozenset(
    {
        FailureCategory.DNS,
        FailureCategory.CONNECT,
        FailureCategory.TLS,
        FailureCategory.TIMEOUT,
        FailureCategory.PROTOCOL,
        FailureCategory.TRUNCATED,
        FailureCategory.BLOCKED,
        FailureCategory.HTTP_5XX,
    }
)
"""Failures that say something about the source and not only about one page: they open its circuit breaker."""
OVERLOAD = frozenset(
    {
        FailureCategory.CONNECT,
        FailureCategory.TIMEOUT,
        FailureCategory.PROTOCOL,
        FailureCategory.TRUNCATED,
        FailureCategory.HTTP_5XX,
        FailureCategory.THROTTLED,
    }
)
"""Failures that may come of asking for too much at once."""
OURS = frozenset({FailureCategory.BAD_URL, FailureCategory.BLOCKED_ADDRESS, FailureCategory.CANCELLED})
"""Failures without an answer of the source: they say nothing about it."""


def heed(conn: Connection, source_id: UUID, response: FetchResponse, now: datetime) -> bool:
    """Take to the database what an answer says about its source; whether the source must be left alone from now on.

    429 and 503 slow it down and hold it until Retry-After, failures in a row open its breaker, any page closes it.
    """
    failure = response.failure
    if failure is FailureCategory.THROTTLED:
        wait = THROTTLE_PAUSE if response.retry_after is None else timedelta(seconds=response.retry_after)
        pace.slow_down(conn, source_id, now)
        pace.hold(conn, source_id, now + wait, f"it asked us to slow down (HTTP {response.status})")
        return True
    if failure in SOURCE_TROUBLE:
        return pace.note_failures(conn, source_id, 1, now) is Breaker.OPEN
    if failure not in OURS:
        pace.note_success(conn, source_id, now)
    return False


@dataclass(frozen=True, slots=True)
class RobotsTag:
    """What a request for robots.txt is for."""

    source: Source
    origin: str


class Manners:
    """One drain's behaviour towards the sources it works on."""

    def __init__(self, conn: Connection, work: Work) -> None:
        self._conn, self._work = conn, work
        self._robots = RobotsCache(work.fetch_settings().product_token())
        self._asked: set[str] = set()
        self._concurrency: dict[UUID, Concurrency] = {}
        self._saved: dict[UUID, int] = {}
        self._paces: dict[UUID, Pace] = {}
        self.in_flight: Counter[UUID] = Counter()

    def look_up(self, source_ids: Iterable[UUID]) -> set[UUID]:
        """Learn how these sources may be asked now, from whichever host found out; which must be left alone."""
        now = self._work.now_fn()
        paces = pace.paces(self._conn, source_ids, now=now)
        self._paces.update(paces)
        for source_id, one in paces.items():
            if source_id not in self._concurrency and one.concurrency is not None:
                known = (one.latency_ms or 0.0) / 1000 or None
                self._concurrency[source_id] = Concurrency(one.concurrency, known, known, 0.0, time.monotonic())
        return {source_id for source_id, one in paces.items() if one.silent_until is not None}

    def save(self) -> None:
        """Keep how many requests at once each source takes, where that has changed."""
        for source_id, known in self._concurrency.items():
            if known.latency is not None and self._saved.get(source_id) != known.slots:
                self._saved[source_id] = known.slots
                pace.save_concurrency(
                    self._conn, source_id, concurrency=known.limit, latency_ms=round(known.latency * 1000, 1)
                )

    # ── Sending ──

    def room(self, source: Source) -> int:
        """How many more requests the source may be sent now."""
        known = self._concurrency.get(source.id, UNKNOWN)
        return max(0, min(known.slots, source.config.rate_limit.max_concurrency) - self.in_flight[source.id])

    def is_late(self, source: Source, slot: float, now: float) -> bool:
        """Whether a request has missed its slot (monotonic) by too much to be sent now."""
        known = self._paces.get(source.id)
        delay_ms = known.pace_ms if known is not None else source.config.delay_seconds * 1000
        if delay_ms < FAST_PACE_MS:
            return delay_ms > 0 and now - slot > FAST_LATE_SECONDS
        return now - slot > min(max(delay_ms / 1000, LEAST_LATE_SECONDS), MOST_LATE_SECONDS)

    def has_slowed(self, source: Source) -> bool:
        """Whether the source must be asked more slowly than when its slots were reserved."""
        before = self._paces.get(source.id)
        self.look_up([source.id])
        return before is not None and self._paces[source.id].pace_ms > before.pace_ms

    def new_slots(self, source: Source, n: int) -> list[float]:
        """Slots (monotonic) for ``n`` requests that missed theirs."""
        now = self._work.now_fn()
        slots = pace.move_slots(self._conn, source.id, n, now=now)
        first = time.monotonic() + max(0.0, (slots.first - now).total_seconds())
        return [first + place * slots.delay_ms / 1000 for place in range(n)]

    # ── Hearing ──

    def answered(self, source: Source, response: FetchResponse) -> bool:
        """Take in an answer; whether the source must be left alone from now on."""
        failed = response.failure in OVERLOAD
        if response.status or failed:
            self._concurrency[source.id] = observe(
                self._concurrency.get(source.id, UNKNOWN),
                elapsed=response.elapsed,
                failed=failed,
                in_flight=self.in_flight[source.id],
                bound=source.config.rate_limit.max_concurrency,
                now=time.monotonic(),
            )
        self.in_flight[source.id] -= 1
        return response.failure is not None and heed(self._conn, source.id, response, self._work.now_fn())

    # ── robots.txt ──

    def rules(self, source: Source, url: str) -> RobotsRules | None:
        """The robots.txt rules a URL is under, or None where they must be asked for first."""
        if source.config.robots is not RobotsPolicy.OBEY:
            return RobotsRules()
        now = self._work.now_fn()
        rules = self._robots.known(url, now)
        if rules is None and origin(url) not in self._asked:
            load_robots(self._conn, self._robots, [url], now=now)
            rules = self._robots.known(url, now)
            if rules is not None and origin(url) == source.origin:
                obey_delay(self._conn, source, rules)
        return rules

    def robots_request(self, source: Source, url: str) -> FetchRequest:
        """The request for the robots.txt of a URL's origin; its answer goes to ``take_robots``."""
        request = robots_request(origin(url))
        request.tag = RobotsTag(source, origin(url))
        self._asked.add(request.tag.origin)
        return request

    def take_robots(self, response: FetchResponse) -> RobotsRules:
        """The rules an answer gives, kept for every worker."""
        tag: RobotsTag = response.request.tag
        self._asked.discard(tag.origin)
        now = self._work.now_fn()
        rules = self._robots.take(tag.origin, response, now)
        save_robots(self._conn, self._robots, [tag.source], now=now)
        return rules

    def hold_for_robots(self, source: Source) -> None:
        """Leave a source alone until its robots.txt may be had: nothing is allowed before (RFC 9309, 2.3.1.4)."""
        until = self._work.now_fn() + RETRY_AFTER_ERROR
        pace.hold(self._conn, source.id, until, "its robots.txt cannot be had")
