"""The HTTP/1.1 server: one lean asyncio protocol, keep-alive, one request at a time per connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from time import time

from .page import Page

MAX_HEAD = 65_536
MAX_BODY = 1_048_576
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """A request; header names are lower case."""

    method: str
    target: str
    host: str
    headers: dict[bytes, bytes]
    body: bytes
    client_port: int


class Connection(asyncio.Protocol):
    """One client. ``answer`` returns a page, or a coroutine that writes to the connection itself."""

    def __init__(self, answer: Callable[[Request, Connection], Page | Coroutine[None, None, None]]) -> None:
        self._answer = answer
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None
        self._keep_alive = True
        self._drained = asyncio.Event()
        self._drained.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self._port = peer[1] if peer else 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._drained.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Called by the loop when the client reads too slowly."""
        self._drained.clear()

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._drained.set()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._buffer = self._buffer + data if self._buffer else data
        if self._task is None:
            self._serve()

    def _serve(self) -> None:
        while self._buffer and not self.transport.is_closing():
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD:
                    self.transport.abort()
                return
            request, used = self._parse(end)
            if request is None:
                if used:
                    self.transport.abort()
                return
            self._buffer = self._buffer[used:]
            answer = self._answer(request, self)
            if isinstance(answer, Page):
                self.send(request, answer)
                continue
            self._task = asyncio.get_running_loop().create_task(self._finish(answer))
            return

    async def _finish(self, answer: Coroutine[None, None, None]) -> None:
        try:
            await answer
        except Exception:
            self.transport.abort()  # a client must not wait for an answer that failed
            raise
        self._task = None
        self._serve()

    def _parse(self, end: int) -> tuple[Request | None, int]:
        """The request at the head of the buffer and its length; (None, 0): not all of it is here yet."""
        lines = self._buffer[:end].split(b"\r\n")
        words = lines[0].split(b" ")
        if len(words) != 3:
            return None, end
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        length, body = headers.get(b"content-length", b"0"), b""
        used = end + 4
        if length != b"0":
            if not length.isdigit() or int(length) > MAX_BODY:
                return None, end
            used += int(length)
            if len(self._buffer) < used:
                return None, 0
            body = self._buffer[end + 4 : used]
        self._keep_alive = headers.get(b"connection", b"").lower() != b"close" and words[2] == b"HTTP/1.1"
        host = headers.get(b"host", b"").decode("latin-1").lower().partition(":")[0]
        target = words[1].decode("latin-1")
        if target.startswith("http://"):
            target = "/" + target[7:].partition("/")[2]
        return Request(words[0].decode("latin-1"), target, host, headers, body, self._port), used

    def send(self, request: Request, page: Page) -> None:
        """Writes a page, compressed if the client accepts that, or 304 when the client has it."""
        packed = page.packed and b"gzip" in request.headers.get(b"accept-encoding", b"")
        content = page.stored if packed or not page.packed else page.plain()
        if not_modified(request, page):
            self._write(f"HTTP/1.1 304 Not Modified\r\n{_validators(page)}Date: {_date()}\r\n\r\n".encode())
            return
        lines = [
            f"HTTP/1.1 {page.status} {_PHRASES.get(page.status, 'Unknown')}",
            f"Content-Type: {page.content_type}",
            f"Content-Length: {len(content)}",
            f"Date: {_date()}",
        ]
        if page.packed:
            lines.append("Content-Encoding: gzip\r\nVary: Accept-Encoding" if packed else "Vary: Accept-Encoding")
        if not self._keep_alive:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + f"\r\n{_validators(page)}{page.headers}\r\n").encode("latin-1")
        if request.method == "HEAD":
            content = b""
        self._write(head + content)

    def _write(self, data: bytes) -> None:
        self.transport.write(data)
        if not self._keep_alive:
            self.transport.close()

    async def stream(self, head: bytes, chunks: AsyncIterator[bytes]) -> None:
        """Writes a head and then chunks as fast as the client reads them, and closes."""
        self.transport.write(head)
        async for chunk in chunks:
            if self.transport.is_closing():
                return
            self.transport.write(chunk)
            await self._drained.wait()
        self.transport.close()

    def reset(self) -> None:
        """Ends the connection with a TCP reset, as a dead server's machine does."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def not_modified(request: Request, page: Page) -> bool:
    """Whether the client says that it has this very page."""
    if not page.etag or page.status != 200 or request.method not in ("GET", "HEAD"):
        return False
    match = request.headers.get(b"if-none-match")
    if match is not None:
        return match == b"*" or page.etag.encode() in match
    return bool(page.last_modified) and request.headers.get(b"if-modified-since", b"").decode() == page.last_modified


def _validators(page: Page) -> str:
    return f"ETag: {page.etag}\r\nLast-Modified: {page.last_modified}\r\n" if page.etag else ""


_date_cache: deque[tuple[int, str]] = deque([(0, "")], maxlen=1)


def _date() -> str:
    second = int(time())
    if _date_cache[0][0] != second:
        _date_cache.append((second, formatdate(second, usegmt=True)))
    return _date_cache[0][1]
