"""A polite visit to a site nobody knows yet: robots obeyed, one request at a time with a pause, a bounded number."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from fill_pipeline.crawl.challenge import challenge
from fill_pipeline.crawl.decode import DecodeError
from fill_pipeline.crawl.fetch import FailureCategory, Fetcher, FetchRequest, decode_body
from fill_pipeline.crawl.fetch_settings import FetchSettings
from fill_pipeline.crawl.response import FetchResponse
from fill_pipeline.crawl.robots import RobotsFile, RobotsRules, parse_robots, robots_file, robots_request
from fill_pipeline.crawl.urls import origin
from fill_pipeline.discovery.candidate import RejectReason, is_own_machine

MAX_BODY = 8_000_000
_REASONS = {
    FailureCategory.BLOCKED_ADDRESS: RejectReason.PRIVATE_ADDRESS,
    FailureCategory.BAD_URL: RejectReason.BAD_URL,
    FailureCategory.BLOCKED: RejectReason.BLOCKED,
    FailureCategory.THROTTLED: RejectReason.THROTTLED,
    FailureCategory.ROBOTS: RejectReason.ROBOTS,
    FailureCategory.GONE: RejectReason.NO_VEHICLES,
    FailureCategory.REDIRECT_LOOP: RejectReason.TRAP,
    FailureCategory.TOO_LARGE: RejectReason.TRAP,
}


class Refused(Exception):
    """The site cannot become a source; ``reason`` says why."""

    def __init__(self, reason: RejectReason, words: str) -> None:
        super().__init__(words)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Page:
    """A page that came: its final address and its decoded body."""

    url: str
    body: bytes
    content_type: str
    fetched_at: datetime


class Visit:
    """One visit to one site. Not for two threads; ``now`` is when it began (UTC)."""

    def __init__(self, settings: FetchSettings, *, now: datetime, pages: int, pause: float) -> None:
        self._fetcher, self._agent = Fetcher(settings), settings.product_token()
        self._now, self._left, self._pause = now, pages, pause
        self._next_at = 0.0
        self._robots: dict[str, RobotsRules] = {}
        self.files: list[RobotsFile] = []
        self.requests = 0

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *exc: object) -> None:
        self._fetcher.close()

    @property
    def left(self) -> int:
        """Pages that may still be asked for."""
        return self._left

    def robots(self, url: str) -> RobotsRules:
        """The rules of a URL's origin; raises Refused where the origin does not answer at all."""
        key = origin(url)
        if key not in self._robots:
            response = self._ask(robots_request(key))
            if response.failure in (FailureCategory.BLOCKED_ADDRESS, FailureCategory.BAD_URL):
                raise _refusal(response.failure, response.error)
            file = robots_file(key, response, self._now)
            if file.status == 0:
                raise Refused(RejectReason.UNREACHABLE, f"{key} does not answer: {response.error or response.failure}")
            self.files.append(file)
            self._robots[key] = parse_robots(file.body, file.status, self._agent)
            delay = self._robots[key].crawl_delay()
            self._pause = max(self._pause, delay or 0.0)
        return self._robots[key]

    def page(self, url: str) -> Page:
        """Fetch a page; raises Refused where it cannot be had, whatever the reason, or the visit's bound is reached."""
        self._permit(url)
        response = self._ask(FetchRequest(url=url, max_bytes=MAX_BODY, by_steps=True))
        while response.onward is not None:
            self._permit(response.onward.url)
            response = self._ask(response.onward)
        if response.failure is not None:
            raise _refusal(response.failure, f"{url[:200]}: {response.error or response.failure}")
        try:
            body = decode_body(response, 4 * MAX_BODY)
        except DecodeError as error:
            raise Refused(
                RejectReason.TRAP if error.too_large else RejectReason.UNREACHABLE, f"{url}: {error}"
            ) from None
        if wall := challenge(body):
            raise Refused(RejectReason.BLOCKED, f"{url[:200]} shows a {wall}")
        return Page(response.final_url, body, response.content_type, self._now)

    def _permit(self, url: str) -> None:
        """Take a page from the visit's bound; raises Refused where robots.txt or the bound forbids it."""
        try:
            rules = self.robots(url)
        except ValueError as error:
            raise Refused(RejectReason.BAD_URL, f"{url[:200]}: {error}") from None
        if rules.forbids_all:
            raise Refused(RejectReason.UNREACHABLE, f"robots.txt of {origin(url)} cannot be had")
        if not rules.allowed(url):
            raise Refused(RejectReason.ROBOTS, f"robots.txt forbids {url[:200]}")
        if self._left <= 0:
            raise Refused(RejectReason.NO_VEHICLES, "the pages a visit may ask for are used up")
        self._left -= 1

    def try_page(self, url: str) -> Page | None:
        """A page that may be missed: None where it cannot be had; raises Refused where the site asks for silence."""
        try:
            return self.page(url)
        except Refused as refused:
            if refused.reason is RejectReason.THROTTLED:
                raise
            return None

    def _ask(self, request: FetchRequest) -> FetchResponse:
        if not is_own_machine(request.url):
            request.not_before = max(self._next_at, time.monotonic())
            self._next_at = request.not_before + self._pause
        self.requests += 1
        return self._fetcher.fetch(request)


def _refusal(failure: FailureCategory, words: str | None) -> Refused:
    return Refused(_REASONS.get(failure, RejectReason.UNREACHABLE), words or str(failure))
