"""A simulated web, and a small shop whose form can be changed at will."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fill_pipeline.crawl.archive import ArchiveWriter
from fill_pipeline.crawl.fetch import Fetcher, FetchRequest
from fill_pipeline.db import ledger, queue
from fill_pipeline.db.archive import ArchivedKind
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain.page import RawPage, reading_of
from fill_pipeline.drain.read import read_page
from fill_pipeline.drain.work import Work, load_sources
from fill_pipeline.drain.write import Commit, in_transaction, write_pages
from fill_pipeline.quality.gate import Gate
from fill_pipeline.simweb.catalog import load_catalog
from fill_pipeline.simweb.handle import SimWeb, start_simweb


@pytest.fixture(scope="module")
def shared_web() -> Iterator[SimWeb]:
    """One small simulated web for the module."""
    with start_simweb(seed=11, scale=0.1) as running:
        yield running


@pytest.fixture
def web(shared_web: SimWeb) -> SimWeb:
    """The simulated web as it was at its start."""
    shared_web.post("reset")
    return shared_web


@dataclass
class Shop:
    """A dealer's site of our own on loopback whose listings' pages can be given another form at any time."""

    port: int
    cars: list[dict[str, str]]
    form: Callable[[dict[str, str]], str]

    @property
    def base_url(self) -> str:
        """Its address."""
        return f"http://shop.localhost:{self.port}"

    def page(self, path: str) -> str | None:
        """The page at a path, None where there is none."""
        if path == "/":
            cards = "".join(
                f'<li><a href="/car/{car["id"]}">{car["name"]}</a> <span>{car["price"]}</span></li>'
                for car in self.cars
            )
            return f"<html><head><title>Stock</title></head><body><h1>Our stock</h1><ul>{cards}</ul></body></html>"
        car = next((car for car in self.cars if path == f"/car/{car['id']}"), None)
        return None if car is None else self.form(car)


def usual_form(car: dict[str, str]) -> str:
    """Labels that everybody uses."""
    stated = {
        "VIN": car["vin"],
        "MSRP": car["new"],
        "Price": car["price"],
        "Mileage": car["miles"],
        "Engine": car["engine"],
        "Fuel": car["fuel"],
        "Color": car["color"],
    }
    rows = "".join(f"<tr><th>{label}</th><td>{value}</td></tr>" for label, value in stated.items())
    head = f"<html><head><title>{car['name']}</title></head>"
    return f"{head}<body><h1>{car['name']}</h1><table>{rows}</table></body></html>"


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A running shop with a dozen cars in the usual form."""
    catalogue = [pattern for pattern in load_catalog() if pattern.make in ("Ford", "Toyota", "Chevrolet")][:12]
    colors, fuels = ("Red", "Blue", "Black"), ("Gasoline", "Diesel")
    cars = [
        {
            "id": str(71_000_000 + 7919 * n),
            "name": f"{pattern.year} {pattern.make} {pattern.model}",
            "vin": pattern.vin(100_000 + n),
            "price": f"${11_250 + 731 * n:,}",
            "new": f"${31_400 + 977 * n:,}",
            "miles": f"{34_567 + 4_321 * n:,} mi",
            "engine": f"{2 + n % 4}.{n % 10}L V{4 + 2 * (n % 3)}",
            "fuel": fuels[n % 2],
            "color": colors[n % 3],
        }
        for n, pattern in enumerate(catalogue)
    ]
    state = Shop(0, cars, usual_form)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = state.page(self.path)
            body = (page or "gone").encode()
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def drain_here(conn: Connection, work: Work, *, pages: int = 14) -> int:
    """Drain some of the queue in this process, since a worker process costs seconds; returns pages read."""
    sources = load_sources(conn)
    patience = timedelta(minutes=5)
    claimed = queue.claim(
        conn,
        owner=work.owner,
        cycle_id=work.cycle_id,
        now=work.now_fn(),
        batch=pages,
        lease=patience,
        horizon=patience,
        per_source=pages,
    )
    wanted = {page.url: page for page in claimed}
    read = []
    with Fetcher(work.fetch_settings()) as fetcher:
        for response in fetcher.fetch_many([FetchRequest(url=url) for url in wanted]):
            page = wanted[response.request.url]
            if not response.ok:
                failure = queue.Failure(page.queue_id, str(response.failure), "", 3600.0)
                queue.fail(conn, [failure], owner=work.owner, now=work.now_fn())
                continue
            source, now = sources[page.source_id], work.now_fn()
            with ArchiveWriter(work.settings.archive_root, source.slug, work.cycle_id, "here") as archive:
                ref = archive.append(response, now)
            raw = RawPage.of(
                response,
                ref,
                source_id=source.id,
                kind=ArchivedKind.DETAIL,
                fetched_at=now,
                queue_id=page.queue_id,
                hint=page.hint,
            )
            read.append(read_page(raw, reading_of(source, work.settings), now=now))
    gate = Gate.of(work.settings, work.now_fn().year)
    commit = Commit(work.cycle_id, work.owner, work.now_fn(), work.settings.core_fields, gate)
    for source_id, stats in in_transaction(conn, lambda: write_pages(conn, read, commit)).items():
        work.totals.add(source_id, stats)
        ledger.add_stats(conn, source_id, work.cycle_id, stats, now=work.now_fn())
    return len(read)
