"""Pages a second the simulated web serves from one core: `python benchmarks/simweb.py [--seconds 3]`.

Keep-alive clients in another process ask for detail pages (gzip accepted) of every site: first pages never rendered
before, then again. The rate is pages per second of the server's own CPU time. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import selectors
import socket
from time import perf_counter
from urllib.parse import urlsplit

from fill_pipeline.simweb import SimWeb, start_simweb

CLIENTS = 16
NEEDED_PAGES_PER_SECOND = 3_000


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long cached pages are asked for")
    seconds = parser.parse_args().seconds
    with start_simweb(seed=11) as web:
        urls = [record["url"] for record in web.get("/truth")]
        random.Random(1).shuffle(urls)
        requests = [_request(url) for url in urls]
        fresh = _measure(web, requests, None)
        cached = _measure(web, requests, seconds)
        searches = [_request(url) for url in _search_urls(web)]
        search = _measure(web, searches, None)
    figures = {"fresh_details": fresh, "cached_details": cached, "fresh_searches": search}
    for name, figure in figures.items():
        print(f"{name}: " + ", ".join(f"{key} {value:,}" for key, value in figure.items()))
    slowest = min(fresh["pages_per_cpu_second"], cached["pages_per_cpu_second"])
    print(json.dumps(figures | {"passes": slowest >= NEEDED_PAGES_PER_SECOND}))


def _search_urls(web: SimWeb) -> list[str]:
    """The first eight pages of every site with numbered search pages."""
    urls = []
    for site in web.get("/sites"):
        pagination = site["suggested_config"].get("pagination", {})
        if site["open"] and pagination.get("type") == "page":
            start = site["base_url"] + site["suggested_config"]["index"]["urls"][0]
            urls += [f"{start}?{pagination['page_param']}={page}" for page in range(1, 9)]
    return urls


def _request(url: str) -> bytes:
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    return f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept-Encoding: gzip\r\n\r\n".encode()


def _measure(web: SimWeb, requests: list[bytes], seconds: float | None) -> dict[str, float]:
    """Sends every request once, or over and over for so many seconds."""
    cpu, started = web.get("/stats")["cpu_seconds"], perf_counter()
    pages, received = _drive(web.port, requests, seconds)
    wall, cpu = perf_counter() - started, web.get("/stats")["cpu_seconds"] - cpu
    return {
        "pages": pages,
        "pages_per_cpu_second": round(pages / cpu),
        "cpu_microseconds_per_page": round(cpu / pages * 1e6),
        "pages_per_wall_second": round(pages / wall),
        "bytes_per_page": round(received / pages),
    }


def _drive(port: int, requests: list[bytes], seconds: float | None) -> tuple[int, int]:
    """Asks over `CLIENTS` connections, one request at a time on each; pages and bytes received."""
    selector = selectors.DefaultSelector()
    pages = received = sent = 0
    deadline = perf_counter() + seconds if seconds is not None else float("inf")
    total = len(requests) if seconds is None else None
    for _ in range(CLIENTS):
        opened = socket.create_connection(("127.0.0.1", port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.sendall(requests[sent % len(requests)])
        sent += 1
        selector.register(opened, selectors.EVENT_READ, bytearray())
    while selector.get_map():
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            client, buffer = key.fileobj, key.data
            buffer += client.recv(1 << 18)
            length = _answer_length(buffer)
            if length is None or len(buffer) < length:
                continue
            assert buffer.startswith(b"HTTP/1.1 200 "), bytes(buffer[:80])
            received += len(buffer)
            pages += 1
            buffer.clear()
            if perf_counter() < deadline and (total is None or sent < total):
                client.sendall(requests[sent % len(requests)])
                sent += 1
            else:
                selector.unregister(client)
                client.close()
    return pages, received


def _answer_length(buffer: bytearray) -> int | None:
    end = buffer.find(b"\r\n\r\n")
    at = buffer.find(b"Content-Length: ")
    return None if end < 0 or at < 0 else end + 4 + int(buffer[at + 16 : buffer.find(b"\r\n", at)])


if __name__ == "__main__":
    main()
