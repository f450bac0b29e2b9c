"""Getting pages with libcurl: many at once, each at its time, within limits, only from permitted addresses."""

from __future__ import annotations

import heapq
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pycurl
from msgspec import structs

from fill_pipeline.crawl.decode import DecodeError, decode_body
from fill_pipeline.crawl.fetch_settings import ConnectTo, FetchSettings
from fill_pipeline.crawl.guard import BlockedAddress, check_url, is_allowed
from fill_pipeline.crawl.response import (
    RETRYABLE,
    FailureCategory,
    FetchRequest,
    FetchResponse,
    Trail,
    encoding_of,
    find_header,
    judge,
    read_head,
    read_retry_after,
)
from fill_pipeline.crawl.urls import join, origin, wire_url

__all__ = [
    "RETRYABLE",
    "DecodeError",
    "FailureCategory",
    "FetchRequest",
    "FetchResponse",
    "FetchSettings",
    "Fetcher",
    "decode_body",
]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What a request may carry to any origin; everything else in a source's headers is its own origin's business.
_PUBLIC_HEADERS = frozenset({"user-agent", "accept", "accept-language"})
_ACCEPT_ENCODING = "gzip, deflate"  # what unpacks cheapest
_BUFFER_BYTES = 128 * 1024
_EVENTS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_COOKIE = re.compile(r"[\x21-\x3a\x3c-\x7e]{1,4096}")
_MAX_COOKIES = 50

_FAILURES = {
    pycurl.E_URL_MALFORMAT: FailureCategory.BAD_URL,
    pycurl.E_UNSUPPORTED_PROTOCOL: FailureCategory.PROTOCOL,  # an answer that is no HTTP; schemes were checked before
    pycurl.E_COULDNT_RESOLVE_HOST: FailureCategory.DNS,
    pycurl.E_COULDNT_CONNECT: FailureCategory.CONNECT,
    pycurl.E_OPERATION_TIMEDOUT: FailureCategory.TIMEOUT,
    pycurl.E_FILESIZE_EXCEEDED: FailureCategory.TOO_LARGE,
    100: FailureCategory.TOO_LARGE,  # CURLE_TOO_LARGE: headers; the binding has no name for it
    pycurl.E_PARTIAL_FILE: FailureCategory.TRUNCATED,
    pycurl.E_SSL_CONNECT_ERROR: FailureCategory.TLS,
    pycurl.E_PEER_FAILED_VERIFICATION: FailureCategory.TLS,
    pycurl.E_SSL_CACERT_BADFILE: FailureCategory.TLS,
}


@dataclass(slots=True, eq=False)
class _Flight:
    """One request on its way, over all its hops."""

    request: FetchRequest
    url: str
    secret_origin: str
    max_bytes: int
    deadline: float
    started: float
    trail: Trail


class _Handle:
    """A reused easy handle with the buffers its callbacks fill."""

    __slots__ = ("blocked", "chunks", "connect_to", "curl", "flight", "headers", "lines", "max_bytes")

    def __init__(self) -> None:
        self.curl = pycurl.Curl()
        self.lines: list[bytes] = []
        self.chunks: list[bytes] = []
        self.flight: _Flight | None = None
        self.blocked: str | None = None
        self.headers: list[str | bytes] = []
        self.connect_to: list[str] | None = None
        self.max_bytes = 0


class Fetcher:
    """Fetches pages: ``fetch`` one, ``fetch_many`` as they complete, or ``submit`` and ``poll`` as a stream.

    Not thread-safe; use it as a context manager or call ``close``.
    """

    def __init__(self, settings: FetchSettings | None = None) -> None:
        self.settings = settings or FetchSettings()
        self._nets = self.settings.nets()
        self._connect_to = ConnectTo(self.settings.connect_to)
        self._agent = self.settings.agent()
        self._certificates = self.settings.certificates()
        self._waiting: list[tuple[float, int, FetchRequest]] = []
        self._order = count()
        self._due: deque[FetchRequest] = deque()
        self._finished: list[FetchResponse] = []
        self._idle: list[_Handle] = []
        self._active: dict[pycurl.Curl, _Handle] = {}
        self._alarm: float | None = None
        self._epoll = select.epoll()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_alarm)
        self._multi.setopt(pycurl.M_MAXCONNECTS, self.settings.idle_connections)

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def in_flight(self) -> int:
        """Requests submitted whose response has not been handed over."""
        return len(self._waiting) + len(self._due) + len(self._active) + len(self._finished)

    def submit(self, request: FetchRequest) -> None:
        """Take a request; it starts at its ``not_before`` as connections allow."""
        if request.not_before > time.monotonic():
            heapq.heappush(self._waiting, (request.not_before, next(self._order), request))
        else:
            self._due.append(request)

    def poll(self, timeout: float = 0.0) -> list[FetchResponse]:
        """Work for at most ``timeout`` seconds; returns as soon as responses are there, at once if none is due ever."""
        until = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            self._start_due(now)
            if self._finished or not (self._active or self._waiting):
                break
            wait = until - now
            if self._waiting and len(self._active) < self.settings.max_connections:
                wait = min(wait, self._waiting[0][0] - now)
            if self._alarm is not None:
                wait = min(wait, self._alarm - now)
            self._turn(max(wait, 0.0))
            if self._finished or time.monotonic() >= until:
                break
        finished, self._finished = self._finished, []
        return finished

    def fetch_many(self, requests: Iterable[FetchRequest]) -> Iterator[FetchResponse]:
        """Responses as they complete; requests are taken as connections free up. Not to be mixed with ``submit``."""
        source = iter(requests)
        open_requests = 0
        exhausted = False
        while True:
            while not exhausted and open_requests < 2 * self.settings.max_connections:
                request = next(source, None)
                if request is None:
                    exhausted = True
                else:
                    self.submit(request)
                    open_requests += 1
            if not open_requests:
                return
            for response in self.poll(1.0):
                open_requests -= 1
                yield response

    def fetch(self, request: FetchRequest) -> FetchResponse:
        """One response, waited for. Responses to earlier ``submit``s stay for the next ``poll``."""
        others: list[FetchResponse] = []
        answer: FetchResponse | None = None
        self.submit(request)
        while answer is None:
            for response in self.poll(1.0):
                if response.request is request:
                    answer = response
                else:
                    others.append(response)
        self._finished = others + self._finished
        return answer

    def abort(self, which: Callable[[FetchRequest], bool] = lambda _: True) -> list[FetchRequest]:
        """Drop everything not yet answered, or what ``which`` says; returns it, so that its rows can be given back."""
        dropped: list[FetchRequest] = []
        waiting, self._waiting = self._waiting, []
        due, self._due = self._due, deque()
        for entry in waiting:
            dropped.append(entry[2]) if which(entry[2]) else heapq.heappush(self._waiting, entry)
        for request in due:
            (dropped if which(request) else self._due).append(request)
        for handle in list(self._active.values()):
            if handle.flight is not None and which(handle.flight.request):
                dropped.append(handle.flight.request)
                self._release(handle)
        return dropped

    def close(self) -> None:
        """Drop what is under way and close all connections."""
        self.abort()
        for handle in self._idle:
            handle.curl.close()
        self._idle.clear()
        self._multi.close()
        self._epoll.close()

    # ── Starting ──

    def _start_due(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            self._due.append(heapq.heappop(self._waiting)[2])
        while self._due and len(self._active) < self.settings.max_connections:
            request = self._due.popleft()
            try:
                url = wire_url(request.url)
                own_origin = request.secret_origin or origin(url)
            except ValueError as error:
                self._refuse(request, request.url, FailureCategory.BAD_URL, str(error))
                continue
            flight = _Flight(
                request=request,
                url=url,
                secret_origin=own_origin,
                max_bytes=min(request.max_bytes or self.settings.max_bytes, self.settings.max_bytes),
                deadline=now + min(request.timeout or self.settings.timeout, self.settings.timeout),
                started=now,
                trail=request.trail or Trail(),
            )
            self._start(flight, now)

    def _start(self, flight: _Flight, now: float) -> None:
        try:
            check_url(flight.url, self._nets)
            headers = self._header_lines(flight)
        except BlockedAddress as error:
            self._fail(flight, FailureCategory.BLOCKED_ADDRESS, str(error))
            return
        except ValueError as error:
            self._fail(flight, FailureCategory.BAD_URL, str(error))
            return
        remaining = flight.deadline - now
        if remaining <= 0:
            self._fail(flight, FailureCategory.TIMEOUT, "the redirects took too long")
            return
        handle = self._idle.pop() if self._idle else self._new_handle()
        curl = handle.curl
        curl.setopt(pycurl.URL, flight.url)
        curl.setopt(pycurl.TIMEOUT_MS, int(remaining * 1000) + 1)
        if headers != handle.headers:
            curl.setopt(pycurl.HTTPHEADER, headers)
            handle.headers = headers
        if flight.max_bytes != handle.max_bytes:
            curl.setopt(pycurl.MAXFILESIZE_LARGE, flight.max_bytes)
            handle.max_bytes = flight.max_bytes
        if self._connect_to:
            connect_to = self._connect_to.rule(flight.url)
            if connect_to != handle.connect_to:
                curl.setopt(pycurl.CONNECT_TO, connect_to or [])
                handle.connect_to = connect_to
        handle.flight = flight
        self._active[curl] = handle
        self._multi.add_handle(curl)

    def _new_handle(self) -> _Handle:
        handle = _Handle()
        curl, settings = handle.curl, self.settings

        def open_socket(_purpose: int, address: Any) -> socket.socket | int:
            """The guard: the one place where every connection, after every resolving, must pass."""
            if address.family not in (socket.AF_INET, socket.AF_INET6) or not is_allowed(address.addr[0], self._nets):
                handle.blocked = str(address.addr[0]) if address.addr else "a local socket"
                return int(pycurl.SOCKET_BAD)
            try:
                return socket.socket(address.family, address.socktype, address.protocol)
            except OSError:  # no descriptor left: this connection fails, the fetcher goes on
                return int(pycurl.SOCKET_BAD)

        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(pycurl.PROXY, "")  # never the environment's: a proxy would resolve and connect behind the guard
        curl.setopt(pycurl.OPENSOCKETFUNCTION, open_socket)
        curl.setopt(pycurl.HEADERFUNCTION, handle.lines.append)
        curl.setopt(pycurl.WRITEFUNCTION, handle.chunks.append)
        curl.setopt(pycurl.HTTP_CONTENT_DECODING, 0)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(settings.connect_timeout * 1000))
        curl.setopt(pycurl.LOW_SPEED_LIMIT, settings.low_speed_bytes)
        curl.setopt(pycurl.LOW_SPEED_TIME, max(1, round(settings.low_speed_time)))
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER_BYTES)
        if self._certificates is not None:
            curl.setopt(pycurl.CAINFO, self._certificates)
        return handle

    def _header_lines(self, flight: _Flight) -> list[str | bytes]:
        request = flight.request
        here = origin(flight.url)
        at_home = here == flight.secret_origin
        named = {"accept-encoding"}
        lines: list[str | bytes] = [f"Accept-Encoding: {_ACCEPT_ENCODING}"]
        for name, value in request.headers.items():
            key = name.lower()
            if key not in named and (at_home or key in _PUBLIC_HEADERS):
                named.add(key)
                lines.append(_header_line(name, value))
        if "user-agent" not in named:
            lines.append(f"User-Agent: {self._agent}")
        if "accept" not in named:
            lines.append("Accept: text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8")
        cookies = request.cookies if at_home else {}
        if flight.trail.given_cookies:
            cookies = cookies | flight.trail.given_cookies.get(here, {})
        if cookies and "cookie" not in named:
            lines.append(_header_line("Cookie", _cookie_header(cookies)))
        if not flight.trail.redirects:
            if request.etag:
                lines.append(_header_line("If-None-Match", request.etag))
            if request.last_modified:
                lines.append(_header_line("If-Modified-Since", request.last_modified))
        return lines

    # ── Under way ──

    def _watch_socket(self, what: int, number: int, _multi: object, _data: object) -> None:
        try:
            if what == pycurl.POLL_REMOVE:
                self._epoll.unregister(number)
            else:
                self._epoll.modify(number, _EVENTS[what])
        except OSError:  # not watched: new, or closed before libcurl said so, which ends the watch too
            if what != pycurl.POLL_REMOVE:
                self._epoll.register(number, _EVENTS[what])

    def _set_alarm(self, milliseconds: int) -> None:
        self._alarm = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000.0

    def _turn(self, wait: float) -> None:
        """Wait for sockets once and let libcurl work on those that are ready."""
        running = -1
        for number, events in self._epoll.poll(wait):
            mask = (pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0) | (
                pycurl.CSELECT_OUT if events & ~select.EPOLLIN else 0
            )
            _, running = self._multi.socket_action(number, mask)
        if self._alarm is not None and self._alarm <= time.monotonic():
            self._alarm = None
            _, running = self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        if 0 <= running < len(self._active):
            self._collect()

    def _collect(self) -> None:
        while True:
            queued, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                self._complete(self._active[curl], None, "")
            for curl, code, message in failed:
                self._complete(self._active[curl], code, message)
            if not queued:
                return

    def _complete(self, handle: _Handle, code: int | None, message: str) -> None:
        flight = handle.flight
        assert flight is not None
        blocked = handle.blocked
        lines, body = handle.lines.copy(), b"".join(handle.chunks)
        self._release(handle)
        status, head = read_head(lines)
        now = time.monotonic()
        response = FetchResponse(
            request=flight.request,
            status=status,
            head=head,
            body_received=body,
            content_encoding=encoding_of(head),
            content_type=find_header(head, b"content-type") or "",
            final_url=flight.url,
            redirects=flight.trail.redirects,
            elapsed=now - flight.started,
        )
        if code is not None:
            if blocked is not None and code in (pycurl.E_COULDNT_CONNECT, pycurl.E_ABORTED_BY_CALLBACK):
                response.failure = FailureCategory.BLOCKED_ADDRESS
                response.error = f"address {blocked} is not globally routable"
            else:
                response.failure = _FAILURES.get(code, FailureCategory.PROTOCOL)
                response.error = message[:500]
        elif status in _REDIRECTS and (location := response.header("location")):
            self._redirect(flight, response, location, now)
            return
        elif not 200 <= status < 300:
            response.failure = judge(status, head)
            response.error = f"HTTP status {status}" if response.failure else None
            if (retry_after := response.header("retry-after")) is not None:
                sent = response.header("date")
                response.retry_after = read_retry_after(retry_after, sent=sent, now=datetime.now(UTC))
        self._finished.append(response)

    def _redirect(self, flight: _Flight, response: FetchResponse, location: str, now: float) -> None:
        self._keep_cookies(flight, response)
        target = join(flight.url, location)
        if target is None:
            response.failure, response.error = FailureCategory.BAD_URL, "redirected to what is no http(s) URL"
        elif len(flight.trail.redirects) >= self.settings.max_redirects:
            response.failure = FailureCategory.REDIRECT_LOOP
            response.error = f"more than {len(flight.trail.redirects)} redirects"
        elif not self._first_visit(flight, target):
            response.failure, response.error = FailureCategory.REDIRECT_LOOP, "redirected in a circle"
        else:
            flight.trail.redirects.append(flight.url)
            if not flight.request.by_steps:
                flight.url = target
                self._start(flight, now)
                return
            try:
                check_url(target, self._nets)
            except BlockedAddress as error:
                response.failure, response.error = FailureCategory.BLOCKED_ADDRESS, str(error)
            else:
                response.onward = structs.replace(
                    flight.request,
                    url=target,
                    secret_origin=flight.secret_origin,
                    etag=None,
                    last_modified=None,
                    trail=flight.trail,
                )
        self._finished.append(response)

    def _first_visit(self, flight: _Flight, target: str) -> bool:
        """Whether this is not a page we come from; with new cookies it is another page."""
        if not flight.trail.seen:
            flight.trail.seen.add((flight.url, ""))
        visit = (target, _cookie_header(flight.trail.given_cookies.get(origin(target), {})))
        if visit in flight.trail.seen:
            return False
        flight.trail.seen.add(visit)
        return True

    def _keep_cookies(self, flight: _Flight, response: FetchResponse) -> None:
        for name, value in response.headers:
            if name.lower() != "set-cookie":
                continue
            cookie, equals, content = value.partition(";")[0].partition("=")
            jar = flight.trail.given_cookies.setdefault(origin(flight.url), {})
            if equals and _COOKIE.fullmatch(cookie.strip() + content.strip()) and len(jar) < _MAX_COOKIES:
                jar[cookie.strip()] = content.strip()

    def _release(self, handle: _Handle) -> None:
        curl = handle.curl
        del self._active[curl]
        self._multi.remove_handle(curl)
        handle.lines.clear()
        handle.chunks.clear()
        handle.flight = None
        handle.blocked = None
        self._idle.append(handle)

    def _fail(self, flight: _Flight, failure: FailureCategory, error: str) -> None:
        self._refuse(flight.request, flight.url, failure, error, flight.trail.redirects)

    def _refuse(
        self, request: FetchRequest, url: str, failure: FailureCategory, error: str, redirects: list[str] | None = None
    ) -> None:
        self._finished.append(
            FetchResponse(request=request, final_url=url, redirects=redirects or [], failure=failure, error=error)
        )


def _cookie_header(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def _header_line(name: str, value: str) -> str | bytes:
    """One header as curl takes it ("Name;" sends an empty one); raises ValueError for a smuggled line break."""
    if "\r" in value or "\n" in value or "\0" in value or "\r" in name or "\n" in name or ":" in name:
        raise ValueError(f"header {name[:40]!r} holds a line break")
    line = f"{name}: {value}" if value else f"{name};"
    if line.isascii():
        return line
    try:
        return line.encode("latin-1")  # as it was received, where a server's validator is sent back
    except UnicodeEncodeError:
        return line.encode()
