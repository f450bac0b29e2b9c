"""From a request to a page: what a healthy site answers at a path."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from random import Random
from urllib.parse import parse_qsl

import orjson

from . import listing_pages, records
from .chrome import Chrome, make_chrome
from .decoys import decoy_page
from .detail import detail_page
from .page import JSON, TEXT, XML, Page, png
from .places import Market
from .sites import Layout, Site
from .wording import FEATURES, http_date
from .world import Ad, Stand, World

CACHED_PAGES = 8_000  # about 60 MB of compressed pages
_STATIC = {"/about", "/contact", "/privacy", "/terms", "/careers", "/financing", "/trade-in", "/reviews", "/help"}
_STATIC |= {"/faq", "/sell", "/value", "/login"}


class Router:
    """Answers for every site of a world; pages are rendered once per state they show."""

    def __init__(self, world: World, port: int) -> None:
        self.world, self.port = world, port
        self._cache: dict[tuple[object, ...], Page] = {}
        self._chromes: dict[tuple[object, ...], Chrome] = {}

    def base_url(self, site: Site) -> str:
        """The site's URL without a slash at its end."""
        return f"http://{site.host}.localhost:{self.port}"

    def page(self, site: Site, target: str) -> Page:
        """What the site answers to a request for ``target`` (path and query)."""
        path, _, query = target.partition("?")
        if not site.plan.share:
            return self._cached((site.host, target), lambda: self._decoy(site, path))
        number = site.id_in(path)
        if number is not None:
            return self._detail(site, number, path)
        if path.startswith("/api/listings/"):
            return self._api_detail(site, path)
        if path.startswith("/photos/"):
            return self._photo(path)
        key = (site.host, site.revision, self.world.version, site.faults.empty, target)
        return self._cached(key, lambda: _tagged(self._other(site, path, query), self.world.now))

    def warm(self) -> None:
        """Builds at the start what every page of the open sites needs."""
        for site in self.world.sites.values():
            if site.open:
                self.world.live(site)
                self.chrome(site)

    def forget(self) -> None:
        """Drops every cached page."""
        self._cache.clear()
        self._chromes.clear()

    def _detail(self, site: Site, number: int, path: str) -> Page:
        ad = self.world.find(site, number)
        stand = ad.stand(self.world.now) if ad is not None else Stand.UNKNOWN
        if ad is None or stand is Stand.UNKNOWN or path != ad.path:
            return self._missing(site, 404)
        if stand is Stand.GONE or site.faults.empty:
            return self._missing(site, 410)
        now = self.world.now
        key = ("ad", site.host, ad.remote_id, site.revision, ad.price(now), stand)
        return self._cached(key, lambda: self._rendered(ad, now))

    def _rendered(self, ad: Ad, now: int) -> Page:
        base = self.base_url(ad.site)
        return _tagged(detail_page(ad, now, base, self.chrome(ad.site)), ad.changed_at(now))

    def _api_detail(self, site: Site, path: str) -> Page:
        text = path.removeprefix("/api/listings/")
        ad = self.world.find(site, int(text)) if text.isdecimal() and len(text) < 14 else None
        stand = ad.stand(self.world.now) if ad is not None else Stand.UNKNOWN
        if ad is None or stand is Stand.UNKNOWN or site.layout is not Layout.API:
            return Page.text('{"error":"not found"}', JSON, 404)
        if stand is Stand.GONE or site.faults.empty:
            return Page.text('{"error":"gone"}', JSON, 410)
        return Page.text(orjson.dumps(records.api_record(ad, self.world.now, self.base_url(site), full=True)), JSON)

    def _other(self, site: Site, path: str, query: str) -> Page:
        world, base = self.world, self.base_url(site)
        if path == "/":
            return listing_pages.home_page(world, site, base, self.chrome(site))
        if path == "/robots.txt":
            return Page.text(listing_pages.robots_txt(site, base), TEXT)
        if path.startswith("/sitemap"):
            body = listing_pages.sitemap(world, site, path, base)
            return self._missing(site, 404) if body is None else Page.text(body, XML)
        if path == "/api/listings" and site.layout is Layout.API:
            return Page.text(listing_pages.api_page(world, site, dict(parse_qsl(query)), base), JSON)
        if path == "/feed.xml" and site.layout is Layout.FEED:
            return Page.text(listing_pages.rss(world, site, base), "application/rss+xml; charset=utf-8")
        if path == "/feed.json" and site.layout is Layout.FEED:
            return Page.text(listing_pages.json_feed(world, site, base), "application/feed+json")
        number = _page_number(site, path)
        if number != 0:
            chrome = self.chrome(site)
            return listing_pages.search_page(world, site, dict(parse_qsl(query)), number, base, chrome)
        if path in _STATIC or (path.startswith("/private/") and site.plan.private):
            return self._static(site, path)
        return self._missing(site, 404)

    def _static(self, site: Site, path: str) -> Page:
        name = path.strip("/").replace("/", " ").title()
        words = ", ".join(Random(f"{site.seed}{path}").choices(FEATURES, k=40))
        return self.chrome(site).page(f"{name} | {site.name}", f"<h1>{name}</h1><p>{site.name}. {words}.</p>")

    def not_found(self, site: Site, status: int) -> Page:
        """The page that says that a page is not there."""
        german = site.market is Market.DE
        words = "Dieses Fahrzeug ist nicht mehr verfügbar." if german else "Sorry, this page is no longer available."
        return self.chrome(site).page(words, f"<h1>{words}</h1>", status=status)

    def _missing(self, site: Site, status: int) -> Page:
        key = (site.host, site.revision, "missing", status)
        return self._cached(key, lambda: self.not_found(site, status))

    def _decoy(self, site: Site, path: str) -> Page:
        if path == "/robots.txt":
            return Page.text("User-agent: *\nDisallow:\n", TEXT)
        body = decoy_page(site, path, self.chrome(site), self._partners(site, 12))
        return self._missing(site, 404) if body is None else body

    def _photo(self, path: str) -> Page:
        shade = Random(path).getrandbits(24)
        body = png(shade & 255, shade >> 8 & 255, shade >> 16)
        return Page(200, "image/png", body, headers="Cache-Control: max-age=86400\r\n")

    def chrome(self, site: Site) -> Chrome:
        """The frame of the site's pages at its present design."""
        key = (site.host, site.revision)
        found = self._chromes.get(key)
        if found is None:
            found = self._chromes[key] = make_chrome(site, self.base_url(site), self._partners(site, 3))
        return found

    def _partners(self, site: Site, count: int) -> list[tuple[str, str]]:
        """Other sites this one links to: mostly ones that open later."""
        others = [other for other in self.world.linked if other is not site]
        chosen = Random(f"partners/{site.seed}").sample(others, min(count, len(others)))
        return [(other.name, f"{self.base_url(other)}/") for other in chosen]

    def _cached(self, key: tuple[object, ...], render: Callable[[], Page]) -> Page:
        page = self._cache.get(key)
        if page is None:
            page = self._cache[key] = render()
            if len(self._cache) > CACHED_PAGES:
                del self._cache[next(iter(self._cache))]
        return page


def _tagged(page: Page, changed_at: int) -> Page:
    """The page with validators, where it is one worth asking for again."""
    if page.status != 200:
        return page
    etag = blake2b(page.stored, digest_size=10).hexdigest()
    return page.with_etag(f'"{etag}"', http_date(changed_at))


def _page_number(site: Site, path: str) -> int | None:
    """The page of results a path names: None the index itself, 0 no page of results."""
    if path == site.index_path:
        return None
    rest = path.removeprefix(f"{site.index_path}page/").rstrip("/")
    return int(rest) if rest != path.rstrip("/") and rest.isdecimal() and len(rest) < 6 else 0
