"""Ask a source for a few fresh pages: in its own slots, under its robots.txt, as the drain would, and not for long."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fill_pipeline.crawl.challenge import challenge
from fill_pipeline.crawl.choices import RobotsPolicy
from fill_pipeline.crawl.decode import DecodeError
from fill_pipeline.crawl.fetch import FailureCategory, Fetcher, FetchRequest, decode_body
from fill_pipeline.crawl.response import FetchResponse
from fill_pipeline.crawl.robots import RobotsCache
from fill_pipeline.crawl.urls import origin
from fill_pipeline.db import pace
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain.robots import load_robots, save_robots
from fill_pipeline.drain.work import Source, Work

MAX_DECODED = 32_000_000
MAX_WAIT_SECONDS = 30.0


@dataclass(slots=True)
class FreshPage:
    """What a page answered just now: a decoded body, or the failure in its own words."""

    url: str
    response: FetchResponse | None = None
    body: bytes = b""
    failure: FailureCategory | None = None
    error: str = ""

    @property
    def final_url(self) -> str:
        """Where the page was in the end."""
        return self.response.final_url if self.response is not None and self.response.final_url else self.url

    @property
    def content_type(self) -> str:
        """Its media type as the server named it."""
        return self.response.content_type if self.response is not None else ""


class Asker:
    """Asks one source, at most ``pages`` times. Not for two threads."""

    def __init__(self, conn: Connection, work: Work, source: Source, fetcher: Fetcher, *, pages: int) -> None:
        self._conn, self._work, self._source, self._fetcher = conn, work, source, fetcher
        self._robots = RobotsCache()
        self.left = pages

    def page(self, url: str) -> FreshPage | None:
        """A fresh page, or None where no more may be asked for (bound, budget of the day, time)."""
        if self.left <= 0 or self._work.stopping():
            return None
        forbidden = self._forbidden(url)
        if forbidden is not None:
            return forbidden
        now = self._work.now_fn()
        slots = pace.reserve_slots(self._conn, self._source.id, 1, now=now)
        wait = max(0.0, (slots.first - now).total_seconds())
        if not slots.within_budget or wait > MAX_WAIT_SECONDS:
            self.left = 0
            return None
        self.left -= 1
        config = self._source.config
        response = self._fetcher.fetch(
            FetchRequest(
                url=url,
                headers=config.request_headers(),
                cookies=config.request_cookies(),
                secret_origin=origin(self._source.row.base_url),
                max_bytes=config.limits.max_bytes,
                not_before=time.monotonic() + wait,
            )
        )
        return _read(url, response)

    def _forbidden(self, url: str) -> FreshPage | None:
        if self._source.config.robots is not RobotsPolicy.OBEY:
            return None
        now = self._work.now_fn()
        rules = self._robots.known(url, now)
        if rules is None:
            load_robots(self._conn, self._robots, [url], now=now)
            rules = self._robots.rules_for(url, self._fetcher, now)
            save_robots(self._conn, self._robots, [self._source], now=now)
        if rules.forbids_all:
            return FreshPage(url, failure=FailureCategory.CONNECT, error="robots.txt cannot be had")
        if not rules.allowed(url):
            return FreshPage(url, failure=FailureCategory.ROBOTS, error="robots.txt forbids this page")
        return None


def _read(url: str, response: FetchResponse) -> FreshPage:
    page = FreshPage(url, response, failure=response.failure, error=response.error or "")
    if response.failure is None:
        try:
            page.body = decode_body(response, MAX_DECODED)
        except DecodeError as error:
            page.failure, page.error = FailureCategory.DECODE, str(error)
        else:
            if wall := challenge(page.body):
                page.failure, page.error = FailureCategory.BLOCKED, wall
    return page
