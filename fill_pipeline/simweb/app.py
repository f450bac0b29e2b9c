"""The application: picks the site by host, applies its faults, keeps the request log."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import cache
from time import monotonic, process_time, time
from typing import Any, NamedTuple

from .connection import Connection, Request, not_modified
from .page import HTML, Page
from .router import Router
from .sites import Site
from .world import World

CONTROL = "control.localhost"
LOG_SIZE = 200_000
BOMB_MEGABYTES = 512
_CHUNK = 65_536


class LogEntry(NamedTuple):
    """One request. ``monotonic`` and ``wall`` are seconds."""

    monotonic: float
    wall: float
    slug: str
    path: str
    status: int  # 0: no answer was sent, or it did not end well by design
    client_port: int


class App:
    """Answers requests for a simulated world."""

    def __init__(self, world: World, port: int, control: Callable[[App, Request], Page]) -> None:
        self.world = world
        self._control = control
        self.router = Router(world, port)
        self.log: deque[LogEntry] = deque(maxlen=LOG_SIZE)
        self.statuses: Counter[int] = Counter()
        self.started = monotonic()

    def base_url(self, site: Site) -> str:
        """A site's URL."""
        return self.router.base_url(site)

    def answer(self, request: Request, connection: Connection) -> Page | Coroutine[None, None, None]:
        """The answer to any request."""
        if request.host in (CONTROL, "localhost", "127.0.0.1"):
            return self._control(self, request)
        site = self.world.hosts.get(request.host.removesuffix(".localhost"))
        if site is None:
            return self._logged(request, "", Page.text("no such site", status=404))
        if not site.open or site.faults.closed:
            return self._noted(request, site, _reset(connection))
        if request.host != f"{site.host}.localhost":
            return self._logged(request, site.slug, Page.redirect(self.base_url(site) + request.target, 301))
        if request.method not in ("GET", "HEAD"):
            return self._logged(request, site.slug, Page.text("method not allowed", status=405))
        faulty = self._faulty(request, site, connection)
        if faulty is None:
            return self._logged(request, site.slug, self.router.page(site, request.target))
        if isinstance(faulty, Page):
            return self._logged(request, site.slug, faulty)
        return self._noted(request, site, faulty)

    def stats(self) -> dict[str, Any]:
        """Counts since the start, and the world's present size."""
        ads = [ad for site in self.world.sites.values() if site.open for ad in self.world.live(site)]
        return {
            "requests": sum(self.statuses.values()),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "uptime_seconds": round(monotonic() - self.started, 3),
            "cpu_seconds": round(process_time(), 3),
            "live_ads": len(ads),
            "live_vehicles": len({ad.car.key for ad in ads}),
            "open_sites": sum(site.open for site in self.world.sites.values()),
        }

    def _logged(self, request: Request, slug: str, page: Page) -> Page:
        status = 304 if not_modified(request, page) else page.status
        self.log.append(LogEntry(monotonic(), time(), slug, request.target, status, request.client_port))
        self.statuses[status] += 1
        return page

    def _noted(self, request: Request, site: Site, answer: Coroutine[None, None, None]) -> Coroutine[None, None, None]:
        self.log.append(LogEntry(monotonic(), time(), site.slug, request.target, 0, request.client_port))
        self.statuses[0] += 1
        return answer

    def _faulty(
        self, request: Request, site: Site, connection: Connection
    ) -> Page | Coroutine[None, None, None] | None:
        """What the site's faults make of the request; None when it is answered as usual."""
        faults, path = site.faults, request.target.partition("?")[0]
        if path == "/robots.txt":  # its own fault and no other, so that each can be tested alone
            if faults.robots_body is None and faults.robots_status == 200:
                return None
            if faults.robots_hang:
                return self._hanging_robots(request, faults.robots_hang, connection)
            if faults.robots_redirect:
                return Page.redirect(faults.robots_redirect)
            return Page.text(faults.robots_body or "", "text/plain", faults.robots_status)
        if faults.redirect_to:
            return Page.redirect(faults.redirect_to)
        if faults.redirect_loop:
            step = request.target.rpartition("hop=")[2] if "hop=" in request.target else "0"
            return Page.redirect(f"{path}?hop={int(step) + 1 if step.isdecimal() else 1}")
        if faults.throttle_rps and faults.over_rate(monotonic()):
            headers = f"Retry-After: {faults.retry_header(time())}\r\n"
            return Page.text("Too many requests", status=429, headers=headers)
        if faults.block:
            return self._blocked(site, path)
        if faults.fail_status and faults.fails_now():
            return Page.text(f"error {faults.fail_status}", status=faults.fail_status)
        if faults.soft404 and site.id_in(path) is not None:
            return self.router.not_found(site, 200)
        if faults.endless:
            return connection.stream(_head(HTML), _endless())
        if faults.bomb:
            return connection.stream(_head(HTML, "Content-Encoding: gzip\r\n"), _pieces(bomb(), _CHUNK))
        if faults.hang or faults.slow or faults.truncate or faults.lie:
            return self._crippled(request, site, connection)
        return None

    def _blocked(self, site: Site, path: str) -> Page:
        match site.faults.block:
            case "captcha":
                words = "Please verify you are a human"
                form = '<div class="g-recaptcha" data-sitekey="sim"></div><noscript>Enable JavaScript</noscript>'
                return Page.text(f"<html><head><title>{words}</title></head><body><h1>{words}</h1>{form}</body></html>")
            case "login" if path == "/login":
                form = '<form method="post"><input name="user"><input type="password" name="password"></form>'
                return Page.text(f"<html><head><title>Sign in</title></head><body><h1>Sign in</h1>{form}</body></html>")
            case "login":
                return Page.redirect("/login?next=" + path)
        body = "<html><head><title>403 Forbidden</title></head><body><h1>Access denied</h1></body></html>"
        return Page.text(body, status=403)

    async def _hanging_robots(self, request: Request, seconds: float, connection: Connection) -> None:
        await asyncio.sleep(seconds)
        connection.send(request, Page.text("", "text/plain"))

    async def _crippled(self, request: Request, site: Site, connection: Connection) -> None:
        """Answers late, slowly, in part, or with a header that lies."""
        faults = site.faults
        if faults.hang:
            await asyncio.sleep(faults.hang)
        page = self.router.page(site, request.target)
        raw = page.plain()
        head = f"HTTP/1.1 {page.status} -\r\nContent-Type: {page.content_type}\r\nContent-Length: {len(raw)}\r\n"
        if faults.slow:
            head += "Connection: close\r\n\r\n"
            await connection.stream(head.encode(), _slowly(raw, faults.slow))
        elif faults.truncate:
            head += "Connection: close\r\n\r\n"
            await connection.stream(head.encode(), _pieces(raw[: len(raw) // 2], _CHUNK))
        elif faults.lie == "content-length":
            head = head.replace(f"Content-Length: {len(raw)}", f"Content-Length: {len(raw) + 1000}")
            await connection.stream(f"{head}Connection: close\r\n\r\n".encode(), _pieces(raw, _CHUNK))
        elif faults.lie == "content-type":
            lied = Page(page.status, "image/png", raw)
            connection.send(request, lied)
        elif faults.lie == "encoding":
            connection.send(request, Page(page.status, page.content_type, raw, headers="Content-Encoding: gzip\r\n"))
        elif faults.lie == "etag":  # one and the same for all pages and all times
            connection.send(request, Page(page.status, page.content_type, raw).with_etag('"same"', page.last_modified))
        else:
            connection.send(request, page)


async def _reset(connection: Connection) -> None:
    connection.reset()


def _head(content_type: str, headers: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{headers}Connection: close\r\n\r\n".encode()


async def _endless() -> AsyncIterator[bytes]:
    yield b"<!DOCTYPE html><html><body>"
    number = 0
    while True:
        yield b"".join(b"<p>line %d of a page that never ends</p>" % (number + i) for i in range(500))
        number += 500
        await asyncio.sleep(0.002)


async def _pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def _slowly(body: bytes, bytes_per_second: float) -> AsyncIterator[bytes]:
    step = 0.1
    size = max(1, int(bytes_per_second * step))
    async for piece in _pieces(body, size):
        yield piece
        await asyncio.sleep(step)


@cache
def bomb() -> bytes:
    """A small gzip stream that unpacks to half a gigabyte of spaces."""
    megabyte = b" " * 1_048_576
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(b"<!DOCTYPE html><html><body>") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(megabyte) + packer.flush(zlib.Z_FULL_FLUSH)
    crc, size = zlib.crc32(b"<!DOCTYPE html><html><body>"), 27 + BOMB_MEGABYTES * len(megabyte)
    for _ in range(BOMB_MEGABYTES):
        crc = zlib.crc32(megabyte, crc)
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    tail = crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
    return head + start + block * BOMB_MEGABYTES + b"\x03\x00" + tail
