"""CPU of fetching alone: our fetcher with all its limits on, beside aiohttp and httpx where these are installed.

A server process on loopback answers a gzipped page of about 40 KB from memory. Rounds are interleaved; medians are
printed, the last line is one JSON object. ``python benchmarks/fetch.py --pages 3000 --rounds 5``
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import importlib.util
import json
import multiprocessing
import multiprocessing.connection
import random
import statistics
import time
from collections.abc import Callable

from fill_pipeline.crawl.decode import decode_bytes
from fill_pipeline.crawl.fetch import Fetcher, FetchRequest, FetchSettings

PAGE_BYTES = 40_000
SHAPES = {"64 connections, 1 origin": (64, 1), "200 connections, 200 origins": (200, 200)}


def page(seed: int = 7) -> bytes:
    """A page that compresses as listing pages do (about 5 to 1)."""
    words = ["vehicle", "price", "mileage", "engine", "<div class='row'>", "</div>", "<span>", "</span>", "dealer"]
    source = random.Random(seed)
    parts = [f"{source.choice(words)} {source.randrange(10**6)}" for _ in range(PAGE_BYTES // 16)]
    return " ".join(parts).encode()


def serve(ready: multiprocessing.connection.Connection) -> None:
    """Answer every request with the same page until killed."""
    body = gzip.compress(page(), 6)
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Encoding: gzip\r\n"
        b'ETag: "abc"\r\nLast-Modified: Mon, 02 Mar 2026 10:00:00 GMT\r\nCache-Control: max-age=60\r\nServer: bench\r\n'
        b"Date: Mon, 02 Mar 2026 10:00:00 GMT\r\nContent-Length: %d\r\n\r\n" % len(body)
    ) + body

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            self.pending = b""

        def data_received(self, data: bytes) -> None:
            self.pending += data
            while (end := self.pending.find(b"\r\n\r\n")) >= 0:
                self.pending = self.pending[end + 4 :]
                self.transport.write(answer)  # type: ignore[attr-defined]

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, "0.0.0.0", 0, backlog=1024)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def urls(port: int, pages: int, origins: int) -> list[str]:
    """One URL a page, spread over loopback addresses."""
    return [f"http://127.0.0.{1 + i % origins}:{port}/car/{i}" for i in range(pages)]


def with_fetcher(addresses: list[str], connections: int) -> int:
    """Our fetcher."""
    settings = FetchSettings(allow_nets=("127.0.0.0/8",), max_connections=connections)
    with Fetcher(settings) as fetcher:
        return sum(response.ok for response in fetcher.fetch_many(FetchRequest(url=url) for url in addresses))


def with_fetcher_decoded(addresses: list[str], connections: int) -> int:
    """Our fetcher, and the bodies decompressed as well (the others cannot leave that out)."""
    settings = FetchSettings(allow_nets=("127.0.0.0/8",), max_connections=connections)
    with Fetcher(settings) as fetcher:
        return sum(
            len(decode_bytes(response.body_received, response.content_encoding, 10**7)) > 0
            for response in fetcher.fetch_many(FetchRequest(url=url) for url in addresses)
        )


def with_aiohttp(addresses: list[str], connections: int) -> int:
    """aiohttp, a session and as many tasks as connections."""
    import aiohttp

    async def run() -> int:
        waiting = iter(addresses)
        fetched = 0
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:

            async def work() -> None:
                nonlocal fetched
                for url in waiting:
                    async with session.get(url) as response:
                        body = await response.read()
                    fetched += bool(body)

            await asyncio.gather(*(work() for _ in range(connections)))
        return fetched

    return asyncio.run(run())


def with_httpx(addresses: list[str], connections: int) -> int:
    """httpx as it comes, a client and as many tasks as connections."""
    import httpx

    async def run() -> int:
        waiting = iter(addresses)
        fetched = 0
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:

            async def work() -> None:
                nonlocal fetched
                for url in waiting:
                    for _ in range(5):  # its pool now and then takes a connection that is just closing
                        with contextlib.suppress(httpx.TransportError):
                            response = await client.get(url)
                            fetched += bool(response.content)
                            break

            await asyncio.gather(*(work() for _ in range(connections)))
        return fetched

    return asyncio.run(run())


CLIENTS: dict[str, tuple[Callable[[list[str], int], int], str | None]] = {
    "fetcher": (with_fetcher, None),
    "fetcher, decoded": (with_fetcher_decoded, None),
    "aiohttp": (with_aiohttp, "aiohttp"),
    "httpx": (with_httpx, "httpx"),
}


def main() -> None:
    """Run and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pages", type=int, default=2000)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    port = here.recv()
    cpu: dict[str, dict[str, list[float]]] = {}
    wall: dict[str, dict[str, list[float]]] = {}
    try:
        for name, (_, module) in CLIENTS.items():
            if module is not None and importlib.util.find_spec(module) is None:
                print(f"{name} is not installed and left out")
        for _ in range(options.rounds):
            for shape, (connections, origins) in SHAPES.items():
                for name, (client, module) in CLIENTS.items():
                    if module is not None and importlib.util.find_spec(module) is None:
                        continue
                    # httpx is two orders slower with many connections: fewer pages give its figure as well.
                    pages = options.pages // 4 if name == "httpx" else options.pages
                    addresses = urls(port, pages, origins)
                    started, used = time.perf_counter(), time.process_time()
                    try:
                        fetched = client(addresses, connections)
                    except Exception as error:  # another client's trouble must not cost the whole run
                        print(f"{name} broke off and this round of it is left out: {type(error).__name__}")
                        continue
                    used, took = time.process_time() - used, time.perf_counter() - started
                    assert fetched == pages, f"{name} fetched {fetched} of {pages}"
                    cpu.setdefault(shape, {}).setdefault(name, []).append(used / pages * 1e6)
                    wall.setdefault(shape, {}).setdefault(name, []).append(pages / took)
    finally:
        server.kill()
    result: dict[str, dict[str, float]] = {}
    for shape, by_client in cpu.items():
        print(f"\n{shape}: CPU ms per 1,000 pages (median, worst), pages per second of wall time, ratio to the fetcher")
        own = statistics.median(by_client["fetcher"])
        for name, figures in by_client.items():
            median, speed = statistics.median(figures), statistics.median(wall[shape][name])
            result.setdefault(shape, {})[name] = round(median, 1)
            print(f"  {name:18} {median:9.1f} {max(figures):9.1f} {speed:9.0f} {median / own:7.2f}")
    print(json.dumps({"benchmark": "fetch", "cpu_ms_per_1000_pages": result}))


if __name__ == "__main__":
    main()
