"""Probe one candidate: visit it, learn how to crawl it, sample its listings; then its worth, or why it is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from fill_pipeline.crawl.choices import SourceKind
from fill_pipeline.crawl.config import parse_source_config
from fill_pipeline.crawl.fetch_settings import FetchSettings
from fill_pipeline.crawl.robots import RobotsFile
from fill_pipeline.crawl.urls import join, same_site, site_of
from fill_pipeline.discovery.candidate import RejectReason, is_own_machine, refuse_early
from fill_pipeline.discovery.learn import Learned, find_index, learn_feed, learn_index, learn_sitemap, read_index
from fill_pipeline.discovery.platforms import index_hints
from fill_pipeline.discovery.signs import is_for_sale, why_no_source, why_not_for_sale
from fill_pipeline.discovery.visit import Page, Refused, Visit
from fill_pipeline.drain.page import RawPage, Reading
from fill_pipeline.drain.read import hint_of, read_page
from fill_pipeline.extract.listing import ListingStatus, PriceKind
from fill_pipeline.extract.page import extract_page
from fill_pipeline.vehicles.store import ListingToWrite

MIN_SHARE_FOR_SALE = 0.5
MIN_QUALITY = 0.5
FRESH = timedelta(days=60)
OWN_MACHINE_PER_MINUTE = 6000


@dataclass(frozen=True, slots=True)
class ProbeLimits:
    """Bounds on the visit to one candidate: pages, seconds between two requests, listings to sample."""

    pages: int = 20
    pause: float = 1.0
    samples: int = 5


@dataclass(slots=True)
class Probe:
    """What a visit found: the way to crawl the site and its worth, or the reason of the refusal."""

    url: str
    base_url: str = ""
    name: str = ""
    kind: SourceKind = SourceKind.DEALER
    config: dict[str, Any] = field(default_factory=dict)
    count: int = 0
    quality: float = 0.0
    freshness: float = 0.0
    vins: list[str] = field(default_factory=list)
    sampled: int = 0
    for_sale: int = 0
    requests: int = 0
    refused: RejectReason | None = None
    reason: str = ""
    steps: list[str] = field(default_factory=list)
    robots: list[RobotsFile] = field(default_factory=list)

    def score(self, known_share: float) -> float:
        """Worth from 0 to 1: yield × quality × freshness × uniqueness.

        Yield grows with the logarithm of the count (1,000 vehicles and more are 1); ``known_share`` is the
        share of its sampled VINs that we hold already, and counts half, since a second price is worth something.
        """
        amount = min(1.0, math.log10(1 + self.count) / 3)
        return round(amount * self.quality * self.freshness * (1 - 0.5 * known_share), 4)

    def findings(self) -> dict[str, Any]:
        """What is kept of the visit with the candidate."""
        return {
            "steps": self.steps[-20:],
            "count": self.count,
            "quality": round(self.quality, 3),
            "freshness": round(self.freshness, 3),
            "sampled": self.sampled,
            "for_sale": self.for_sale,
            "requests": self.requests,
        }


def probe(
    url: str,
    settings: FetchSettings,
    *,
    now: datetime,
    core_fields: tuple[str, ...],
    min_confidence: float,
    limits: ProbeLimits | None = None,
) -> Probe:
    """Visit a candidate and judge it. Uses the network, not the database; never raises for what a site does."""
    limits = limits or ProbeLimits()
    found = Probe(url)
    early = refuse_early(url, settings.nets())
    if early is not None:
        found.refused, found.reason = early
        found.steps.append(f"refused before asking: {early[1]}")
        return found
    with Visit(settings, now=now, pages=limits.pages, pause=limits.pause) as visit:
        try:
            _visit(found, visit, Reading("", None, min_confidence, core_fields), limits, now)
        except Refused as refusal:
            found.refused, found.reason = refusal.reason, str(refusal)
        found.requests, found.robots = visit.requests, visit.files
    found.steps.append(f"refused: {found.refused}: {found.reason}" if found.refused else f"accepted: {found.reason}")
    return found


def _visit(found: Probe, visit: Visit, reading: Reading, limits: ProbeLimits, now: datetime) -> None:
    visit.robots(found.url)
    found.steps.append("robots.txt read")
    home = _front_page(visit, found.url)
    found.base_url = origin_url(home.url)
    found.steps.append(f"front page {home.url}: {len(home.body)} bytes")
    found.name = site_of(home.url)
    learned = _learn(found, visit, home)
    rows = _sample(found, visit, learned, reading, limits, now)
    found.config = dict(learned.config)
    if _cards_lack_vins(learned, rows):
        found.config["detail"] = "always"
    if is_own_machine(home.url):
        found.config["rate_limit"] = {"requests_per_minute": OWN_MACHINE_PER_MINUTE}
    parse_source_config(found.config)  # what we write must be what we can read
    found.count = learned.count
    found.quality = sum(row.completeness for row in rows) / len(rows)
    found.freshness = _freshness(rows, learned, now)
    found.vins = [row.listing.vin for row in rows if row.listing.vin]
    found.kind = _kind(found, learned, rows)
    if found.quality < MIN_QUALITY:
        words = f"its listings state only {found.quality:.0%} of what a listing should"
        raise Refused(RejectReason.LOW_QUALITY, words)
    found.reason = f"{found.count} vehicles ({learned.how}), completeness {found.quality:.2f}"


def _front_page(visit: Visit, url: str) -> Page:
    """The site's front page, or the page pointed to where the front page cannot be had."""
    front = join(url, "/") or url
    try:
        return visit.page(front)
    except Refused:
        if front == url:
            raise
        return visit.page(url)


def _learn(found: Probe, visit: Visit, home: Page) -> Learned:
    hints = [target for path in index_hints(home.body) if (target := join(home.url, path)) is not None]
    if found.url.rstrip("/") != home.url.rstrip("/") and same_site(found.url, home.url):
        hints.insert(0, found.url)
    index = find_index(visit, home, hints)
    learned = None
    if index is not None:
        learned = learn_index(visit, index, found.base_url)
        found.steps.append(f"a list that may be its stock: {learned.how}")
        if learned.complete and learned.card_price_share >= 0.3:
            return learned
    for by_other in (learn_sitemap(visit, home), learn_feed(visit, home) if index is None else None):
        if (
            by_other is not None
            and (learned is None or not learned.complete)
            and by_other.count >= (learned.count if learned else 0)
        ):
            found.steps.append(f"instead: {by_other.how}")
            return by_other
    if learned is not None:
        return learned
    reason, words = why_no_source(home.body, home.url, goes_on=_goes_on(visit, home))
    raise Refused(reason, words)


def _goes_on(visit: Visit, home: Page) -> bool:
    """Whether next pages follow one another without ever listing a vehicle."""
    page, seen = home, {home.url}
    for _ in range(3):
        following = extract_page(page.body, url=page.url, content_type=page.content_type, kind="search").next_url
        if following is None or following in seen or not same_site(following, home.url):
            return False
        seen.add(following)
        after = visit.try_page(following)
        if after is None:
            return False
        page = after
    return True


def _sample(
    found: Probe, visit: Visit, learned: Learned, reading: Reading, limits: ProbeLimits, now: datetime
) -> list[ListingToWrite]:
    """Read some of the listings as the drain would; raises Refused where too few offer a vehicle."""
    step = max(1, len(learned.samples) // limits.samples)
    rows: list[ListingToWrite] = []
    unlike: Page | None = None
    for url, card in learned.samples[::step][: limits.samples]:
        page = visit.try_page(url)
        if page is None:
            continue
        found.sampled += 1
        raw = RawPage.unkept(
            page.url, page.body, page.content_type, now=now, hint=hint_of(card) if card is not None else None
        )
        read = read_page(raw, reading, now=now).rows
        good = [row for row in read[:1] if len(read) == 1 and is_for_sale(row.listing)]
        rows += good
        unlike = unlike if good else page
    found.for_sale = len(rows)
    found.steps.append(f"sample: {found.for_sale} of {found.sampled} pages offer a vehicle")
    if not found.sampled:
        raise Refused(RejectReason.NO_VEHICLES, "none of its listings' pages could be had")
    if found.for_sale < MIN_SHARE_FOR_SALE * found.sampled:
        if unlike is not None and (again := read_index(unlike)) is not None and again.result.next_url:
            raise Refused(RejectReason.TRAP, "what it lists are lists again, which go on and on")
        reason, words = why_not_for_sale(unlike.body if unlike is not None else b"")
        raise Refused(reason, words)
    return rows


def _cards_lack_vins(learned: Learned, rows: Sequence[ListingToWrite]) -> bool:
    """Whether the listings' own pages name the VIN, by which a vehicle is known, and the index pages do not."""
    named = sum(row.listing.vin is not None for row in rows)
    on_cards = any(card is not None and card.vin is not None for _, card in learned.samples)
    return named * 2 > len(rows) and not on_cards and any(card is not None for _, card in learned.samples)


def _freshness(rows: Sequence[ListingToWrite], learned: Learned, now: datetime) -> float:
    """The share of the sample that is still on offer and, where dates are known, not old; from 0.1 to 1."""
    offered = sum(row.listing.status != ListingStatus.SOLD for row in rows) / len(rows)
    dates = [d for d in (*learned.modified, *(row.listing.posted_at for row in rows)) if isinstance(d, datetime)]
    recent = sum(now - moment < FRESH for moment in dates) / len(dates) if dates else 0.7
    return max(0.1, 0.5 * offered + 0.5 * recent)


def _kind(found: Probe, learned: Learned, rows: Sequence[ListingToWrite]) -> SourceKind:
    listings = [row.listing for row in rows]
    if learned.config.get("pagination", {}).get("type") == "feed":
        return SourceKind.FEED
    path = urlsplit(listings[0].url or "").path.lower()
    bids = sum(one.price_kind in (PriceKind.BID, PriceKind.RESERVE) for one in listings)
    if bids * 2 >= len(listings) or "/lot" in path or "auction" in path:
        return SourceKind.AUCTION_HOUSE
    sellers = {one.seller_name for one in listings if one.seller_name}
    places = {one.postal_code or one.city for one in listings if one.postal_code or one.city}
    if len(sellers) >= 3 or (len(places) >= 3 and len(sellers) != 1):
        return SourceKind.MARKETPLACE if sellers else SourceKind.CLASSIFIEDS
    return SourceKind.DEALER


def origin_url(url: str) -> str:
    """Scheme and authority of a URL as it was written, without a slash at the end."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
