"""Serves saved pages of real sites under the sites' own host names."""

from __future__ import annotations

import csv
import gzip
import html
import re
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import orjson

from .connection import Connection, Request
from .page import HTML, JSON, Page

CONTROL = "control.localhost"
_HEAD_BYTES = 3_000_000
# Hosts of sites whose pages do not always name their own.
_HOSTS = {
    "autotrader-us": "www.autotrader.com",
    "carvana": "www.carvana.com",
    "kijiji-autos": "www.kijijiautos.ca",
    "autoscout24": "www.autoscout24.nl",
    "offerup": "offerup.com",
    "bringatrailer": "bringatrailer.com",
    "craigslist": "seattle.craigslist.org",
    "cars-com": "www.cars.com",
    "swde-aol": "autos.aol.com",
    "dealer-ccl": "www.classiccarsltd.com",
    "dealer-ccw": "www.classiccarswest.com",
    "dealer-cvclassics": "www.centralvalleyclassics.com",
    "dealer-dawydiak": "www.carsauto.com",
}
_KINDS = {"craigslist": "classifieds", "offerup": "classifieds", "bringatrailer": "auction_house"}
_TAG = re.compile(rb"<(?:link|meta)\b[^>]*>", re.I)
_ATTRIBUTE = re.compile(rb"""([\w:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_RESULT_LINK = re.compile(rb'class="[^"]*(?:result-title|hdrlnk|cl-search-result|posting-title|result-info)', re.I)


@dataclass
class SavedSite:
    """The pages of one site of the corpus: URLs of its searches and of its details, by host."""

    name: str
    host: str
    searches: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)


class CorpusApp:
    """Answers requests for saved pages; pages are read from disk when asked for, and sent as stored."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._files: dict[tuple[str, str], tuple[Path, str]] = {}
        self._sites: dict[str, SavedSite] = {}
        rows = list(csv.DictReader((folder / "MANIFEST.tsv").open(encoding="utf-8"), delimiter="\t"))
        by_site: dict[str, list[tuple[Path, str]]] = defaultdict(list)
        for row in rows:
            by_site[row["site"]].append((folder / row["path"], row["kind"]))
        for name, files in by_site.items():
            self._add_site(name, files)

    def answer(self, request: Request, connection: Connection) -> Page | Coroutine[None, None, None]:
        """The answer to any request."""
        if request.host in (CONTROL, "localhost", "127.0.0.1"):
            return self._control(request)
        if request.target == "/robots.txt":
            return Page.text("User-agent: *\nDisallow:\n", "text/plain")
        found = self._files.get((request.host, request.target))
        if found is None:
            return Page.text("not saved", status=404)
        path, content_type = found
        body = path.read_bytes()
        return Page(200, content_type, body, packed=path.suffix == ".gz")

    def sources(self) -> list[dict[str, Any]]:
        """One source per site of the corpus, with every saved page in its configuration."""
        return [self._source(site) for site in self._sites.values()]

    def _control(self, request: Request) -> Page:
        path = request.target.partition("?")[0]
        if path in ("/", "/sites"):
            return Page.text(orjson.dumps(self.sources()), JSON)
        return Page.text('{"error":"there is only /sites here"}', JSON, 400)

    def _source(self, site: SavedSite) -> dict[str, Any]:
        config: dict[str, Any] = {
            "rate_limit": {"requests_per_minute": 60_000, "delay_between_requests_ms": 0, "max_concurrency": 8},
            "pagination": {"type": "none"},
            "index": {"urls": site.searches},
            "detail_urls": site.details,
        }
        if not site.details:
            config["detail"] = "never"
        kind = _KINDS.get(site.name, "dealer" if site.name.startswith("dealer-") else "marketplace")
        return {
            "slug": site.name,
            "name": site.name,
            "kind": kind,
            "base_url": f"http://{site.host}",
            "open": True,
            "pages": len(site.searches) + len(site.details),
            "suggested_config": config,
        }

    def _add_site(self, name: str, files: list[tuple[Path, str]]) -> None:
        bodies = {path: _unpacked(path) for path, _ in files}
        named = {host for host in (urlsplit(_own_url(body)).hostname for body in bodies.values()) if host}
        host = _HOSTS.get(name) or min(named, default=f"{name}.localhost")
        site = self._sites[name] = SavedSite(name, host)
        for path, kind in files:
            body = bodies[path]
            # A site may have several hosts; a page that does not name its own is at the one it links to most.
            nearest = max([host, *sorted(named)], key=lambda other: body.count(f"//{other}/".encode()))
            url = urlsplit(urljoin(f"http://{nearest}/", _own_url(body)))
            page_host, target = url.hostname or nearest, url.path + (f"?{url.query}" if url.query else "")
            if target in ("", "/") or (page_host, target) in self._files:
                target = f"/saved/{path.name.removesuffix('.gz')}"
            json_body = body[:1] in (b"{", b"[")
            self._files[page_host, target] = (path, JSON if json_body else HTML)
            full = f"http://{page_host}{target}"
            (site.searches if _is_search(kind, body) else site.details).append(full)


def _unpacked(path: Path) -> bytes:
    return bytes(gzip.decompress(path.read_bytes())) if path.suffix == ".gz" else path.read_bytes()


def _own_url(body: bytes) -> str:
    """The URL a page gives itself by rel=canonical or og:url, "" when it does not."""
    found: dict[str, bytes] = {}
    for tag in _TAG.findall(body[:_HEAD_BYTES]):
        attributes = {name.lower(): double or single for name, double, single in _ATTRIBUTE.findall(tag)}
        if attributes.get(b"property", b"").lower() == b"og:url":
            found.setdefault("og", attributes.get(b"content", b""))
        if attributes.get(b"rel", b"").lower() == b"canonical":
            found.setdefault("canonical", attributes.get(b"href", b""))
    url = found.get("og") or found.get("canonical") or b""
    return html.unescape(url.decode("utf-8", "replace")).strip()


def _is_search(kind: str, body: bytes) -> bool:
    if kind.startswith("both"):
        return len(_RESULT_LINK.findall(body)) >= 1 and b"postingbody" not in body
    return kind.startswith("search")
