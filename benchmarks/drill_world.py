"""What the drills stand on: a simulated web, a pipeline of its own on it, and one clock for both."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fill_pipeline.crawl.fetch import Fetcher, FetchRequest, FetchSettings, decode_body
from fill_pipeline.crawl.harvest import SourceToCrawl, harvest
from fill_pipeline.crawl.robots import RobotsCache
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.perform import close, perform_by_hand
from fill_pipeline.cycle.run import run_cycle
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db import improvement, registry
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.improvement import RepairRow
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.registry import SourceRow
from fill_pipeline.db.server import database_url, stop_embedded
from fill_pipeline.drain.page import Reading
from fill_pipeline.drain.work import Source, load_sources
from fill_pipeline.repair.truth import Score, Witness, score
from fill_pipeline.settings import Settings
from fill_pipeline.simweb.handle import SimWeb, start_simweb

CORE = ("year", "make", "model", "price", "mileage", "place", "image")
TRUTH = ("vin", "year", "make", "model", "price", "mileage")
VEHICLE_KINDS = ("dealer", "marketplace", "classifieds", "auction_house", "feed")
LEAST_STOCK = 12
WINDOW = timedelta(hours=2)


class World:
    """A simulated web, a pipeline of its own on it, and the clock of both."""

    def __init__(self, conn: Connection, web: SimWeb, settings: Settings) -> None:
        self.conn, self.web, self.settings = conn, web, settings
        self.later = timedelta(0)
        self.prices: dict[str, set[Any]] = {}
        self.fetcher = Fetcher(FetchSettings(allow_nets=settings.allow_nets))

    def now(self) -> datetime:
        """The time the pipeline is told."""
        return utc_now() + self.later

    def pass_time(self, span: timedelta) -> None:
        """Let time go by, for the sites and the pipeline."""
        self.later += span
        self.web.post("clock", advance_seconds=int(span.total_seconds()))

    def cycle(self) -> str:
        """Run a whole cycle unattended, with what is true before it noted; returns its id."""
        for ad in self.web.get("/truth"):
            self.prices.setdefault(ad["url"], set()).add(ad["price"])
        report = run_cycle(self.settings, now_fn=self.now)
        assert report is not None
        return str(report["cycle_id"])

    def crawl_only(self, slugs: Sequence[str]) -> None:
        """A cycle in which a person has these sources harvested, and which is closed with nothing mended."""
        for ad in self.web.get("/truth"):
            self.prices.setdefault(ad["url"], set()).add(ad["price"])
        named = [self.row(slug).slug for slug in slugs]
        done = perform_by_hand(named, window=window_at(self.now()), settings=self.settings, now_fn=self.now)
        close(done.cycle_id, settings=self.settings, now_fn=self.now)

    def truth(self, slug: str) -> dict[str, dict[str, Any]]:
        """What is true now of a site's live listings, by address."""
        return {ad["url"]: ad for ad in self.web.get(f"/truth?slug={slug}")}

    def stored(self, source: SourceRow) -> dict[str, dict[str, Any]]:
        """What we hold of a source's listings, by address."""
        rows = self.conn.execute(
            "SELECT url, vin, year, make, model, price, mileage FROM listing_records WHERE source_id = %s", [source.id]
        ).fetchall()
        return {row[0]: dict(zip(TRUTH, row[1:], strict=True)) for row in rows}

    def row(self, slug: str) -> SourceRow:
        """A source as the registry has it now."""
        row = registry.find_source(self.conn, slug)
        assert row is not None
        return row

    def source(self, slug: str) -> Source:
        """The same with its configuration."""
        row = self.row(slug)
        return next(s for s in load_sources(self.conn, crawlable_only=False).values() if s.id == row.id)

    def pages(self, slug: str, n: int = 10) -> list[Witness]:
        """Listings' pages of a site with what is true of them."""
        found = []
        for url, ad in list(self.truth(slug).items())[:n]:
            response = self.fetcher.fetch(FetchRequest(url=url))
            if response.ok:
                truth = {name: ad[name] for name in TRUTH if ad.get(name) is not None}
                found.append(Witness(url, decode_body(response, 10_000_000), response.content_type, truth))
        return found

    def reads(self, slug: str) -> Score:
        """How the source's live configuration reads its site's pages, against the truth."""
        source = self.source(slug)
        reading = Reading(source.slug, source.config.extract_rules(), self.settings.min_confidence, CORE)
        return score(self.pages(slug), reading, now=self.now())

    def lists(self, slug: str) -> float:
        """The share of the site's live listings that a harvest with the source's live configuration finds."""
        source = self.source(slug)
        crawled = SourceToCrawl(source.slug, source.row.base_url, source.config)
        found = {url for page in harvest(crawled, self.fetcher, robots=RobotsCache()) for url, _, _ in page.detail_urls}
        live = self.truth(slug)
        return len(found & set(live)) / max(1, len(live))


@contextmanager
def world(seed: int, scale: float, target: int) -> Iterator[World]:
    """A world with an empty database."""
    with tempfile.TemporaryDirectory() as folder, start_simweb(seed=seed, scale=scale) as web:
        settings = Settings(home=Path(folder), allow_nets="127.0.0.0/8", workers=1, target=target)  # type: ignore[arg-type]
        url = database_url(settings)
        try:
            migrate(url)
            with connect(url, name="drills") as conn:
                made = World(conn, web, settings)
                yield made
                made.fetcher.close()
        finally:
            stop_embedded(settings)


def open_all(web: SimWeb, n: int) -> list[dict[str, Any]]:
    """Open the hidden vehicle sites, and new ones until there are ``n``; returns those with stock enough."""
    for site in web.get("/sites"):
        if not site["open"] and site["kind"] in VEHICLE_KINDS:
            web.post("open", slug=site["slug"])
    turn = 0
    while len(sites := [s for s in web.get("/sites") if s["open"] and s["kind"] in VEHICLE_KINDS]) < n:
        web.post("open", kind=VEHICLE_KINDS[turn % len(VEHICLE_KINDS)])
        turn += 1
    return [site for site in sites if site["live_count"] >= LEAST_STOCK]


def repairs_since(drill: World, source: SourceRow, at: datetime) -> list[RepairRow]:
    """What repair did about a source since then, newest first."""
    return [row for row in improvement.repairs(drill.conn, source.id, 5) if row.created_at >= at]
