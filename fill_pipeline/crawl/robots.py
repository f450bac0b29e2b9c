"""robots.txt by RFC 9309: what an origin asks of crawlers, and a cache of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from protego import Protego

from fill_pipeline.crawl.fetch import DecodeError, FailureCategory, Fetcher, FetchRequest, FetchResponse, decode_body
from fill_pipeline.crawl.urls import is_http, origin

MAX_ROBOTS_BYTES = 500 * 1024  # RFC 9309, 2.5: at least this much must be read
MAX_CRAWL_DELAY_SECONDS = 60.0
REFRESH_AFTER = timedelta(hours=24)  # RFC 9309, 2.4
RETRY_AFTER_ERROR = timedelta(minutes=30)
KEEP_KNOWN_FOR = timedelta(days=30)  # RFC 9309, 2.3.1.4: how long a known file outlives its server
_MAX_SITEMAPS = 100
_MAX_FETCH_BYTES = 4_000_000
_TIMEOUT_SECONDS = 10.0  # short, since others wait for the answer
_REDIRECTED_TOO_OFTEN = 310
DEFAULT_AGENT = "fill_pipeline"


@dataclass(frozen=True, slots=True)
class RobotsFile:
    """What an origin answered when asked for robots.txt. ``status`` 0 means that it could not be reached."""

    origin: str
    status: int
    body: str
    fetched_at: datetime

    @property
    def had(self) -> bool:
        """Whether this is an answer to go by: a file, or that there is none. 429 is not: come back later."""
        return self.status != 429 and 200 <= self.status < 500


@dataclass(slots=True)
class RobotsRules:
    """One origin's rules. ``forbids_all`` while the file cannot be had, ``parsed`` None where there is none."""

    parsed: Protego | None = None
    forbids_all: bool = False
    sitemaps: list[str] = field(default_factory=list)
    agent: str = DEFAULT_AGENT

    def allowed(self, url: str, agent: str | None = None) -> bool:
        """Whether this agent (a product token; ours unless given) may fetch the URL."""
        if self.forbids_all:
            return False
        try:
            return self.parsed is None or self.parsed.can_fetch(url, agent or self.agent)
        except ValueError:  # no URL at all; fetching it will say so
            return True

    def crawl_delay(self, agent: str | None = None) -> float | None:
        """Seconds to leave between requests, from Crawl-delay or Request-rate, at most a minute; None if unsaid."""
        if self.parsed is None:
            return None
        delay = self.parsed.crawl_delay(agent or self.agent)
        rate = self.parsed.request_rate(agent or self.agent)
        if rate is not None:
            delay = max(delay or 0.0, rate.seconds / rate.requests)
        return None if delay is None else min(delay, MAX_CRAWL_DELAY_SECONDS)


def parse_robots(body: bytes | str, status: int, agent: str = DEFAULT_AGENT) -> RobotsRules:
    """Rules from a robots.txt answer: 2xx is read, 4xx and endless redirects allow, all else forbids.

    429 forbids too: who is throttled does not go on asking. Never raises.
    """
    if status == 429 or not (200 <= status < 500):
        return RobotsRules(forbids_all=True)
    if status >= 300:
        return RobotsRules()
    if isinstance(body, bytes):
        body = body[:MAX_ROBOTS_BYTES].decode("utf-8", errors="replace")
    text = body[:MAX_ROBOTS_BYTES].removeprefix("\ufeff").replace("\0", "")
    try:
        parsed = Protego.parse(text)
    except Exception:  # a parser's slip over hostile text must not stop a crawl, nor let it trespass
        return RobotsRules(forbids_all=True)
    sitemaps = [url for url in parsed.sitemaps if is_http(url)][:_MAX_SITEMAPS]
    return RobotsRules(parsed=parsed, sitemaps=list(dict.fromkeys(sitemaps)), agent=agent)


def robots_request(of_origin: str) -> FetchRequest:
    """The request for an origin's robots.txt."""
    return FetchRequest(
        url=f"{of_origin}/robots.txt", max_bytes=_MAX_FETCH_BYTES, timeout=_TIMEOUT_SECONDS, tag="robots"
    )


def robots_file(of_origin: str, response: FetchResponse, now: datetime) -> RobotsFile:
    """What the answer means, as plain values to keep."""
    status = response.status
    if response.failure is FailureCategory.REDIRECT_LOOP:
        status = _REDIRECTED_TOO_OFTEN
    elif response.failure is not None and not status >= 400:
        status = 0
    text = ""
    if response.ok:
        try:
            body = decode_body(response, 2 * _MAX_FETCH_BYTES)
            text = body[:MAX_ROBOTS_BYTES].decode("utf-8", errors="replace").replace("\0", "")
        except DecodeError:
            status = 0
    return RobotsFile(origin=of_origin, status=status, body=text, fetched_at=now)


@dataclass(frozen=True, slots=True)
class _Entry:
    rules: RobotsRules
    checked_at: datetime  # when the origin was last asked
    read_at: datetime  # when the rules in force were read
    had: bool  # whether the last answer was one to go by


class RobotsCache:
    """Rules by origin, each file asked for again after 24 hours (after half an hour while it cannot be had).

    ``agent`` is the name we go by in these files (``FetchSettings.product_token``).
    """

    def __init__(self, agent: str = DEFAULT_AGENT) -> None:
        self._agent = agent
        self._known: dict[str, _Entry] = {}
        self._fetched: list[RobotsFile] = []

    def load(self, file: RobotsFile) -> RobotsRules:
        """Take a file from elsewhere (the database, or a fetch of the caller's own)."""
        rules, read_at = parse_robots(file.body, file.status, self._agent), file.fetched_at
        had = not rules.forbids_all
        before = self._known.get(file.origin)
        outlives = before is not None and before.rules.parsed and file.fetched_at - before.read_at < KEEP_KNOWN_FOR
        if before is not None and not had and outlives:
            rules, read_at = before.rules, before.read_at
        self._known[file.origin] = _Entry(rules, file.fetched_at, read_at, had)
        return rules

    def known(self, url: str, now: datetime) -> RobotsRules | None:
        """The rules for a URL's origin if they are fresh, else None. What is no URL has no rules to break."""
        try:
            entry = self._known.get(origin(url))
        except ValueError:
            return RobotsRules()
        if entry is None or now - entry.checked_at >= (REFRESH_AFTER if entry.had else RETRY_AFTER_ERROR):
            return None
        return entry.rules

    def rules_for(self, url: str, fetcher: Fetcher, now: datetime) -> RobotsRules:
        """The rules for a URL's origin, fetched if they are not fresh."""
        rules = self.known(url, now)
        if rules is None:
            of_origin = origin(url)
            rules = self.take(of_origin, fetcher.fetch(robots_request(of_origin)), now)
        return rules

    def take(self, of_origin: str, response: FetchResponse, now: datetime) -> RobotsRules:
        """The rules an answer to ``robots_request`` gives; the file waits for ``take_fetched``."""
        file = robots_file(of_origin, response, now)
        self._fetched.append(file)
        return self.load(file)

    def take_fetched(self) -> list[RobotsFile]:
        """The files fetched since the last call, for the caller to keep."""
        fetched, self._fetched = self._fetched, []
        return fetched
