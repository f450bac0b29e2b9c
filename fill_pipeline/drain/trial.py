"""Try a source: fetch a little, read it, store nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from fill_pipeline.crawl.fetch import DecodeError, Fetcher, FetchRequest, decode_body
from fill_pipeline.crawl.harvest import HarvestPage, SourceToCrawl, harvest
from fill_pipeline.crawl.pagination import StopReason
from fill_pipeline.crawl.robots import RobotsCache
from fill_pipeline.crawl.urls import origin
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain.work import Source, Work, reserve_slot
from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.page import extract_page
from fill_pipeline.vehicles.clean import clean

_HIDDEN = ("raw", "raw_payload", "provenance")


@dataclass(slots=True)
class Trial:
    """What a trial showed, step by step in words, and the listings it read (from cards, then one detail page)."""

    steps: list[str] = field(default_factory=list)
    listings: list[dict[str, Any]] = field(default_factory=list)
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The trial as plain data."""
        return {"steps": self.steps, "listings": self.listings, "reason": self.reason}


def try_source(conn: Connection, work: Work, source: Source) -> Trial:
    """Fetch the first index page and one listing at the source's own pace; returns what would be read."""
    trial = Trial()
    crawled = SourceToCrawl(source.slug, source.row.base_url, source.config)
    with Fetcher(work.fetch_settings()) as fetcher:
        page: HarvestPage | None = None
        for page in harvest(
            crawled,
            fetcher,
            robots=RobotsCache(work.fetch_settings().product_token()),
            now_fn=work.now_fn,
            should_stop=work.stopping,
            reserve_slot=lambda n: reserve_slot(conn, work, source.id, n),
        ):
            _tell_index(trial, page)
            if page.failure is not None or page.cards or page.detail_urls:
                break
        if page is None:
            trial.reason = "the harvest gave no page"
            return trial
        trial.listings = [_plain(card, work) for card in page.cards]
        if page.failure is not None:
            trial.reason = page.error or str(page.failure)
        elif page.detail_urls:
            _try_detail(conn, work, source, fetcher, page.detail_urls[0][0], trial)
        elif not page.cards:
            trial.reason = page.error or "the index page lists nothing"
    return trial


def _tell_index(trial: Trial, page: HarvestPage) -> None:
    if page.failure is not None:
        trial.steps.append(f"✗ {page.url}: {page.failure} {page.error or ''}".rstrip())
        return
    says = f", says it has {page.expected_count}" if page.expected_count is not None else ""
    trial.steps.append(f"✓ {page.url}: {len(page.cards)} cards, {len(page.detail_urls)} listing pages{says}")


def _try_detail(conn: Connection, work: Work, source: Source, fetcher: Fetcher, url: str, trial: Trial) -> None:
    slot = reserve_slot(conn, work, source.id, 1)
    if isinstance(slot, StopReason):
        trial.steps.append(f"✗ {url}: not asked for: {slot}")
        return
    request = FetchRequest(
        url=url,
        headers=source.config.request_headers(),
        cookies=source.config.request_cookies(),
        secret_origin=origin(source.row.base_url),
        not_before=slot,
    )
    response = fetcher.fetch(request)
    if response.failure is not None:
        trial.steps.append(f"✗ {url}: {response.failure} {response.error or ''}".rstrip())
        trial.reason = trial.reason or f"its listing page failed: {response.failure}"
        return
    try:
        body = decode_body(response, work.fetch_settings().max_decompressed)
    except DecodeError as error:
        trial.steps.append(f"✗ {url}: {error}")
        return
    found = extract_page(
        body, url=response.final_url, content_type=response.content_type, rules=source.config.extract_rules()
    )
    trial.steps.append(f"✓ {url}: a {found.kind} page with {len(found.listings)} listings")
    if not found.listings:
        trial.reason = trial.reason or found.reason or "its listing page shows no vehicle"
    trial.listings = [_plain(listing, work) for listing in found.listings] + trial.listings


def _plain(listing: Listing, work: Work) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(clean(listing, now=work.now_fn()).listing)
    return {name: value for name, value in shown.items() if name not in _HIDDEN}
