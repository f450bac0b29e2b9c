"""A site of our own on loopback that can misbehave in every way a socket allows."""

from __future__ import annotations

import contextlib
import gzip
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from fill_pipeline.crawl.fetch import Fetcher, FetchSettings


@dataclass
class Asked:
    """One request as the site saw it."""

    host: str
    path: str
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)


Answer = bytes | Iterable[bytes]
Handler = Callable[[Asked], Answer]


class Site:
    """Answers by path (of any host); keeps what it was asked; ``url`` gives addresses under a name of choice."""

    def __init__(self) -> None:
        self.routes: dict[str, Handler | Answer] = {}
        self.asked: list[Asked] = []
        site = self

        class Connection(socketserver.StreamRequestHandler):
            timeout = 10

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    while (asked := self.read_request()) is not None:
                        site.asked.append(asked)
                        route = site.routes.get(asked.path.partition("?")[0], answer(b"no such page", status=404))
                        reply = route(asked) if callable(route) else route
                        pieces = [reply] if isinstance(reply, bytes) else reply
                        close = False
                        for piece in pieces:
                            self.wfile.write(piece)
                            close = close or b"connection: close" in piece[:500].lower()
                        if close or not isinstance(reply, bytes):
                            return

            def read_request(self) -> Asked | None:
                line = self.rfile.readline(65536).decode("latin-1")
                if not line.strip():
                    return None
                headers: dict[str, str] = {}
                while (header := self.rfile.readline(65536).decode("latin-1")).strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                return Asked(headers.get("host", ""), line.split(" ")[1], headers)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Connection)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def connect_to(self) -> tuple[str, ...]:
        return (f"*:80:127.0.0.1:{self.port}", f"*:8080:127.0.0.1:{self.port}")

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def answer(
    body: bytes = b"", *, status: int = 200, headers: dict[str, str] | None = None, zipped: bool = False
) -> bytes:
    """An HTTP answer with an honest Content-Length."""
    lines = {"Content-Type": "text/html"} | (headers or {})
    if zipped:
        body, lines["Content-Encoding"] = gzip.compress(body), "gzip"
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Something\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    """A redirect."""
    return answer(status=status, headers={"Location": location})


@pytest.fixture(scope="session")
def running_site() -> Iterator[Site]:
    """The server behind ``site``, started once."""
    running = Site()
    yield running
    running.stop()


@pytest.fixture
def site(running_site: Site) -> Site:
    """A site with no pages yet, never asked for anything."""
    running_site.routes, running_site.asked = {}, []
    return running_site


@pytest.fixture
def make_answer() -> Callable[..., bytes]:
    """``answer`` for tests."""
    return answer


@pytest.fixture
def make_redirect() -> Callable[..., bytes]:
    """``redirect`` for tests."""
    return redirect


@pytest.fixture
def fetcher_for(site: Site) -> Iterator[Callable[..., Fetcher]]:
    """Fetchers for which every name on ports 80 and 8080 is the site; keyword arguments change their settings."""
    made: list[Fetcher] = []

    def make(**changes: object) -> Fetcher:
        settings: dict[str, object] = {"allow_nets": ("127.0.0.1/32",), "connect_to": site.connect_to, "timeout": 5.0}
        fetcher = Fetcher(FetchSettings(**(settings | changes)))  # type: ignore[arg-type]
        made.append(fetcher)
        return fetcher

    yield make
    for fetcher in made:
        fetcher.close()


@pytest.fixture
def fetcher(fetcher_for: Callable[..., Fetcher]) -> Fetcher:
    """A fetcher with ordinary settings."""
    return fetcher_for()


@pytest.fixture
def dead_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
