"""What is asked of a site and what came back: requests, responses and why one failed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import msgspec

MAX_RETRY_AFTER_SECONDS = 86_400.0
# Headers by which the large bot walls say that this is a challenge and not the page.
_CHALLENGE_HEADERS = frozenset(
    {("cf-mitigated", "challenge"), ("x-amzn-waf-action", "challenge"), ("x-datadome", "protected")}
)


class FailureCategory(StrEnum):
    """Why a page was not had; each has its own cure."""

    DNS = "dns"  # the name does not resolve
    CONNECT = "connect"  # nobody answers at the address
    TLS = "tls"  # no trusted encrypted connection
    TIMEOUT = "timeout"  # too slow, in whole or in part
    TOO_LARGE = "too_large"  # more bytes than allowed, received or unpacked, or a flood of headers
    TRUNCATED = "truncated"  # fewer bytes than announced
    PROTOCOL = "protocol"  # not proper HTTP, or the connection broke
    DECODE = "decode"  # the content encoding cannot be undone
    BAD_URL = "bad_url"  # not a URL that can be fetched
    BLOCKED_ADDRESS = "blocked_address"  # the guard forbids the address
    REDIRECT_LOOP = "redirect_loop"  # redirects in a circle, or too many
    ROBOTS = "robots"  # robots.txt forbids it
    THROTTLED = "throttled"  # 429 or 503: slow down
    BLOCKED = "blocked"  # 401, 403, 451 or a challenge: we are not wanted
    GONE = "gone"  # 404 or 410
    HTTP_4XX = "http_4xx"  # another client error
    HTTP_5XX = "http_5xx"  # the server's own error
    CANCELLED = "cancelled"  # we stopped before it was done


RETRYABLE = frozenset(
    {
        FailureCategory.DNS,
        FailureCategory.CONNECT,
        FailureCategory.TLS,
        FailureCategory.TIMEOUT,
        FailureCategory.TRUNCATED,
        FailureCategory.PROTOCOL,
        FailureCategory.THROTTLED,
        FailureCategory.HTTP_5XX,
        FailureCategory.CANCELLED,
    }
)
"""Failures another attempt may cure."""


@dataclass(slots=True)
class Trail:
    """The way of a request that is redirected: the pages it came over, and the cookies they set, by origin.

    Many sites send a visitor round once to see whether cookies are kept.
    """

    redirects: list[str] = field(default_factory=list)
    given_cookies: dict[str, dict[str, str]] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)


class FetchRequest(msgspec.Struct, kw_only=True):
    """One page to get.

    ``headers`` and ``cookies`` are secrets of ``secret_origin`` (the URL's own origin unless given) and are
    sent nowhere else, User-Agent, Accept and Accept-Language excepted. ``not_before`` is a time of
    ``time.monotonic()``. ``timeout`` (seconds) and ``max_bytes`` narrow the fetcher's own limits. Where it goes
    ``by_steps``, a redirect is not followed at once: its answer has the request to send ``onward``.
    """

    url: str
    headers: dict[str, str] = {}
    cookies: dict[str, str] = {}
    secret_origin: str | None = None
    not_before: float = 0.0
    etag: str | None = None
    last_modified: str | None = None
    max_bytes: int | None = None
    timeout: float | None = None
    by_steps: bool = False
    trail: Trail | None = None
    tag: Any = None

    def __repr__(self) -> str:
        return f"FetchRequest({self.url!r}, tag={self.tag!r})"

    __str__ = __repr__


class FetchResponse(msgspec.Struct, kw_only=True):
    """What came back, as received: ``head`` is status line and headers, ``body_received`` still encoded.

    ``failure`` is None for 2xx and for 304. ``elapsed`` and ``retry_after`` are in seconds.
    """

    request: FetchRequest
    status: int = 0
    head: bytes = b""
    body_received: bytes = b""
    content_encoding: str = ""
    content_type: str = ""
    final_url: str = ""
    redirects: list[str] = []
    elapsed: float = 0.0
    failure: FailureCategory | None = None
    error: str | None = None
    retry_after: float | None = None
    onward: FetchRequest | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a body worth reading."""
        return self.failure is None and self.status != 304 and self.onward is None

    @property
    def not_modified(self) -> bool:
        """Whether the server says that the page is still the one we know."""
        return self.status == 304 and self.failure is None

    def header(self, name: str) -> str | None:
        """The first header of this (lower-case) name."""
        return find_header(self.head, name.encode())

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All headers, in their order and with their names as sent."""
        return parse_headers(self.head)

    @property
    def etag(self) -> str | None:
        """The validator to send with the next request."""
        return self.header("etag")

    @property
    def last_modified(self) -> str | None:
        """The date to send with the next request."""
        return self.header("last-modified")

    def __repr__(self) -> str:
        return f"FetchResponse({self.final_url!r}, {self.status}, {len(self.body_received)} bytes, {self.failure})"

    __str__ = __repr__


def read_head(lines: list[bytes]) -> tuple[int, bytes]:
    """The final answer's status and its head as received, from all header lines of one exchange.

    Interim answers (1xx) before it and trailers after the body are left out.
    """
    head = b"".join(lines)
    if head.startswith(b"HTTP/") and head.find(b"\r\n\r\n") == len(head) - 4 and b"\nHTTP/" not in head:
        return _status(lines[0]), head
    start, end = 0, len(lines)
    for position, line in enumerate(lines):
        if line.startswith(b"HTTP/"):
            start = position
        elif line in (b"\r\n", b"\n") and _status(lines[start]) // 100 != 1:
            end = position + 1
            break
    return (_status(lines[start]) if lines else 0), b"".join(lines[start:end])


def parse_headers(head: bytes) -> list[tuple[str, str]]:
    """The headers of a head, in their order and with their names as sent."""
    headers: list[tuple[str, str]] = []
    for line in head.decode("latin-1").split("\n")[1:]:
        name, colon, value = line.partition(":")
        if name[:1] in (" ", "\t"):  # a folded header, obsolete and still met
            if headers and line.strip():
                headers[-1] = (headers[-1][0], f"{headers[-1][1]} {line.strip()}")
        elif colon:
            headers.append((name.strip(), value.strip()))
    return headers


def find_header(head: bytes, name: bytes) -> str | None:
    """The first header of this (lower-case) name, found without parsing the others."""
    place = head.lower().find(b"\n" + name + b":")
    if place < 0:
        return None
    start = place + len(name) + 2
    end = head.find(b"\n", start)
    return head[start : end if end >= 0 else len(head)].decode("latin-1").strip()


def encoding_of(head: bytes) -> str:
    """The content encodings a head names, in the order they were applied; '' for none."""
    if head.lower().count(b"\ncontent-encoding:") > 1:
        return ", ".join(value for name, value in parse_headers(head) if name.lower() == "content-encoding")
    return find_header(head, b"content-encoding") or ""


def _status(line: bytes) -> int:
    words = line.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].strip().isdigit() and len(words[1]) < 10 else 0


def judge(status: int, head: bytes) -> FailureCategory | None:
    """What a status means for us: None for 2xx and 304 (a 3xx that leads nowhere is a protocol failure)."""
    if 200 <= status < 300 or status == 304:
        return None
    if status == 429 or (status == 503 and find_header(head, b"retry-after")):
        return FailureCategory.THROTTLED  # also where a guard that marks every answer stands before the site
    if status in (404, 410):
        return FailureCategory.GONE
    if status >= 400 and any(
        (name.lower(), value.lower()) in _CHALLENGE_HEADERS for name, value in parse_headers(head)
    ):
        return FailureCategory.BLOCKED
    if status == 503:
        return FailureCategory.THROTTLED
    if status in (401, 403, 407, 451):
        return FailureCategory.BLOCKED
    if status >= 500:
        return FailureCategory.HTTP_5XX
    return FailureCategory.HTTP_4XX if status >= 400 else FailureCategory.PROTOCOL


def read_retry_after(value: str, *, sent: str | None, now: datetime) -> float | None:
    """Seconds to wait, from a Retry-After in seconds or as a date; None if it says neither; at most a day.

    A date is measured against the server's own clock (``sent``, its Date header) where there is one,
    so that a clock gone wrong on either side does no harm.
    """
    value = value.strip()
    try:
        seconds = float(value)
    except ValueError:
        until = _http_date(value)
        if until is None:
            return None
        seconds = (until - ((_http_date(sent) if sent else None) or now)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS) if math.isfinite(seconds) else None


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
