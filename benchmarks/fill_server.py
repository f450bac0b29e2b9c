"""Serves detail pages of one simulated site from memory, every answer made before the first request comes."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fill_pipeline.simweb.router import Router
from fill_pipeline.simweb.sites import Layout, Site
from fill_pipeline.simweb.world import FIRST_STOCK, World

AGENTS = b"User-agent: *\nDisallow: /private/\n\nUser-agent: greedybot\nDisallow: /\n"
LAYOUTS = (Layout.CARDS, Layout.LOTS, Layout.API, Layout.SITEMAP, Layout.TABLE, Layout.NEXT_LINK)  # with a row a fact
STOCK = 1.15  # so many ads are drawn for each page wanted; some have ended
_NAMES = ("year", "make", "model", "trim", "mileage", "body", "engine", "fuel", "transmission", "drivetrain", "colour",
          "interior", "doors", "vin")  # fmt: skip


@dataclass(frozen=True)
class KnownSite:
    """What a client may know of the site: its pages, and what a person would read off them to write selectors."""

    base_url: str
    urls: list[str]
    bytes_per_page: int
    title: str
    price: str
    place: str
    row: str
    label: str
    value: str
    description: str
    seller: str
    gallery: str
    labels: dict[str, str]


class _Loopback(Router):
    """Pages whose site is at the loopback address itself, so that no client needs a name resolved."""

    def base_url(self, site: Site) -> str:
        return f"http://127.0.0.1:{self.port}"


def main() -> None:
    """Make the pages, say that they are there, serve them until killed; ``/cpu`` gives the CPU seconds used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layout", type=Layout, choices=LAYOUTS, default=Layout.CARDS)
    parser.add_argument("--pages", type=int, required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    wanted = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        answers, known = _make(wanted.layout, wanted.pages, listener.getsockname()[1])
        written = wanted.ready_file.with_suffix(".tmp")
        written.write_text(json.dumps(asdict(known)))
        written.replace(wanted.ready_file)
        _loop_of_choice(_serve(listener, answers))


def _make(layout: Layout, pages: int, port: int) -> tuple[dict[bytes, bytes], KnownSite]:
    plan = next(s for s in World(11).sites.values() if not s.open and s.plan.share and s.layout is layout)
    world = World(11, pages * STOCK / (FIRST_STOCK * plan.plan.share))
    site = world.sites[plan.slug]
    world.open_site(site.slug)
    router = _Loopback(world, port)
    ads = world.live(site)[:pages]
    if len(ads) < pages:
        raise SystemExit(f"the site has only {len(ads)} pages")
    answers = {b"/robots.txt": _answer(AGENTS, "text/plain", "")}
    size = 0
    for ad in ads:
        page = router.page(site, ad.path)
        size += len(page.stored)
        headers = f"Content-Encoding: gzip\r\nETag: {page.etag}\r\nLast-Modified: {page.last_modified}\r\n"
        answers[ad.path.encode()] = _answer(page.stored, page.content_type, headers)
    design = site.design
    names = {role: name.split()[0] for role, name in design.classes.items()}
    known = KnownSite(
        base_url=router.base_url(site),
        urls=[f"{router.base_url(site)}{ad.path}" for ad in ads],
        bytes_per_page=size // len(ads),
        title=f"{design.title_tag}.{names['title']}",
        price=f".{names['price']}",
        place=f".{names['place']}",
        row=f".{names['row']}",
        label=f".{names['label']}",
        value="span" if design.specs_form == "list" else f".{names['value']}",
        description=f".{names['description']} p",
        seller=f".{names['seller']} > *:first-child",
        gallery=f".{names['gallery']} img",
        labels={design.labels[name].lower(): name for name in _NAMES},
    )
    return answers, known


def _answer(body: bytes, content_type: str, headers: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self._answers = answers
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            path = self._pending[4 : self._pending.find(b" ", 4)]
            self._pending = self._pending[end + 4 :]
            answer = self._answers.get(path)
            if answer is None:
                cpu = path == b"/cpu"
                body = str(time.process_time()).encode() if cpu else b"not here"
                answer = _answer(body, "text/plain", "")
                answer = answer if cpu else answer.replace(b"200 OK", b"404 Not Found", 1)
            self._transport.write(answer)


async def _serve(listener: socket.socket, answers: dict[bytes, bytes]) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(answers), sock=listener)
    await server.serve_forever()


def _loop_of_choice(main: Any) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


if __name__ == "__main__":
    main()
