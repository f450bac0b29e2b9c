"""The walk over one source's index: from each page what it lists and where it goes on, ended by every trap."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from fill_pipeline.crawl.challenge import challenge
from fill_pipeline.crawl.choices import PaginationType
from fill_pipeline.crawl.config import SourceConfig
from fill_pipeline.crawl.fetch import (
    RETRYABLE,
    DecodeError,
    FailureCategory,
    FetchRequest,
    FetchResponse,
    decode_body,
)
from fill_pipeline.crawl.inventory_links import inventory_links
from fill_pipeline.crawl.pagination import StopReason, Trail, first_url, next_url
from fill_pipeline.crawl.sitemap import FoundUrl, SitemapPage, read_feed, read_sitemap
from fill_pipeline.crawl.urls import MAX_URL_CHARS, canonical_url, is_http, join, origin, same_site, site_of
from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.page import PageKind, extract_page

_MAX_SITEMAP_DEPTH = 3
_HINT_IMAGES = 3
_HINT_CHARS = 500
_HINT_LEAVES_OUT = ("raw", "raw_payload", "provenance")

DetailUrl = tuple[str, dict[str, Any] | None, datetime | None]
"""A listing's own page, what the index says about it, and when the site says it last changed."""


@dataclass(frozen=True, slots=True)
class SourceToCrawl:
    """A source as harvest needs it; ``attempts`` bounds how often a page is asked for where that is known better."""

    slug: str
    base_url: str
    config: SourceConfig
    attempts: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HarvestLimits:
    """Bounds on one harvest beside the source's own (``pagination.max_pages``, ``limits``)."""

    pages_without_news: int = 3
    max_decompressed: int = 32_000_000
    attempts: int = 3
    max_retry_wait: float = 120.0


@dataclass(slots=True, kw_only=True)
class HarvestPage:
    """One index page. ``response`` is None for the detail URLs a configuration names itself.

    ``archive_id`` is where the archive has it already, the site having said that it is unchanged.
    ``stop_reason`` says why no page follows this one; on the last page it speaks for the whole harvest and is
    END only if no part of the index was cut short. ``failure`` is None for a 404 that ends a counted index.
    """

    url: str
    response: FetchResponse | None = None
    archive_id: int | None = None
    cards: list[Listing] = field(default_factory=list)
    detail_urls: list[DetailUrl] = field(default_factory=list)
    expected_count: int | None = None
    failure: FailureCategory | None = None
    error: str | None = None
    is_last: bool = False
    stop_reason: StopReason | None = None


@dataclass(slots=True)
class _Target:
    """An index URL to fetch, how deep below the start it was found, and how often it was tried.

    ``listed`` is what the page before it listed, ``without_news`` how many before it on end told nothing new.
    """

    url: str
    depth: int = 0
    listed: frozenset[str] = frozenset()
    without_news: int = 0
    attempts: int = 0
    not_before: float = 0.0


class IndexWalk:
    """The state of one source's harvest: ask it for the next request, give it the response, get the page.

    It does no I/O, so that one thread can carry many walks over one fetcher.
    """

    def __init__(self, source: SourceToCrawl, limits: HarvestLimits, *, sitemaps: list[str]) -> None:
        self._source, self._limits = source, limits
        self._attempts = source.attempts or limits.attempts
        self._config = config = source.config
        self._rules = config.extract_rules()
        self._link_pattern = re.compile(config.index.link_pattern) if config.index.link_pattern else None
        self._counts_pages = config.pagination.type in (PaginationType.PAGE, PaginationType.OFFSET)
        # Told nothing about the index, we follow what the front page offers.
        self._explores = not config.index.urls and "type" not in config.pagination.model_fields_set
        pattern = config.pagination.sitemap_pattern
        self._sitemap_pattern = re.compile(pattern) if pattern else None
        self._headers, self._cookies = config.request_headers(), config.request_cookies()
        self._trail = Trail()
        self._known_details: set[str] = set()
        self._known_cards: set[str] = set()
        self._landed: set[str] = set()
        self._cut_short: StopReason | None = None
        self._pages = self._found = 0
        self._targets: deque[_Target] = deque()
        self._current: _Target | None = None
        # The source's own site, and those its configuration names (a marketplace may have one for each country).
        named = [source.base_url, *self._absolute(config.index.urls), *self._absolute(config.detail_urls)]
        self._sites = {site_of(url) for url in named if is_http(url)}
        for url in self._start_urls(sitemaps):
            if self._trail.first_visit(url):
                self._targets.append(_Target(url))

    def configured_page(self) -> HarvestPage | None:
        """The detail URLs that the configuration names itself, as a page of their own; None if it names none."""
        urls = self._absolute(self._config.detail_urls)
        if not urls:
            return None
        details = self._new_details((url, None, None) for url in urls)
        last = not self._targets
        return HarvestPage(
            url=self._source.base_url, detail_urls=details, is_last=last, stop_reason=StopReason.END if last else None
        )

    @property
    def next_url(self) -> str | None:
        """The index page to fetch next, or None when there is no more."""
        return self._targets[0].url if self._targets else None

    def request(self, slot: float) -> FetchRequest:
        """The request for the next index page, to be sent at ``slot`` (monotonic)."""
        target = self._current = self._targets.popleft()
        return FetchRequest(
            url=target.url,
            headers=self._headers,
            cookies=self._cookies,
            secret_origin=origin(self._source.base_url),
            not_before=max(slot, target.not_before),
            max_bytes=self._config.limits.max_bytes,
            by_steps=True,
            tag=self._source.slug,
        )

    def repeat(self) -> None:
        """Ask for the last page once more."""
        assert self._current is not None, "repeat follows request"
        self._targets.appendleft(self._current)

    def receive(self, response: FetchResponse, now: float) -> HarvestPage | None:
        """What an answer says, or None when the page will be asked for again."""
        target = self._current
        assert target is not None, "receive follows request"
        failure, error, body = response.failure, response.error, b""
        if failure is None:
            try:
                body = decode_body(response, self._limits.max_decompressed)
            except DecodeError as problem:
                failure = FailureCategory.TOO_LARGE if problem.too_large else FailureCategory.DECODE
                error = str(problem)
            else:
                if wall := challenge(body):
                    failure, error = FailureCategory.BLOCKED, wall
        if failure is not None:
            target.attempts += 1
            wait = response.retry_after if response.retry_after is not None else 2.0**target.attempts
            attempts = self._attempts if response.retry_after is None else self._limits.attempts
            if failure in RETRYABLE and target.attempts < attempts and wait <= self._limits.max_retry_wait:
                target.not_before = now + wait
                self._targets.appendleft(target)
                return None
            return self._failed(target, response, failure, error)
        self._pages += 1
        page = HarvestPage(url=target.url, response=response)
        if self._config.pagination.type is PaginationType.SITEMAP:
            stop = self._read_sitemap(page, target, body)
        elif self._config.pagination.type is PaginationType.FEED:
            stop = self._read_feed(page, target, body)
        else:
            stop = self._read_index(page, target, body)
        return self._closed(page, stop)

    def stop(self, reason: StopReason, failure: FailureCategory | None = None) -> HarvestPage:
        """End the harvest before its end; the page says why."""
        url = self._targets[0].url if self._targets else self._source.base_url
        self._targets.clear()
        return HarvestPage(url=url, failure=failure, is_last=True, stop_reason=reason)

    # ── Reading ──

    def _start_urls(self, sitemaps: list[str]) -> list[str]:
        config, base = self._config, self._source.base_url
        given = list(config.index.urls)
        if not given:
            if config.pagination.type is PaginationType.SITEMAP:
                given = sitemaps or ["/sitemap.xml"]
            elif not config.detail_urls:
                given = [base]
        return [first_url(url, config.pagination) for url in self._absolute(given)]

    def _absolute(self, urls: Iterable[str]) -> list[str]:
        return [url for given in urls if (url := join(self._source.base_url, given)) is not None]

    def _is_ours(self, url: str) -> bool:
        try:
            return len(url) <= MAX_URL_CHARS and site_of(url) in self._sites
        except ValueError:
            return False

    def _read_index(self, page: HarvestPage, target: _Target, body: bytes) -> StopReason | None:
        response = page.response
        assert response is not None
        result = extract_page(
            body, url=response.final_url, content_type=response.content_type, kind="search", rules=self._rules
        )
        page.cards = result.listings
        page.expected_count = result.expected_count
        if result.kind is PageKind.EMPTY and result.expected_count is None and target.depth == 0:
            page.expected_count = 0  # it says so in words
        if not result.listings and not result.links and target.depth == 0:
            page.error = result.reason
        if not self._is_ours(response.final_url):
            page.error = f"redirected to another site: {response.final_url}"
        if self._explores and target.depth == 0:
            for link in inventory_links(body, response.final_url):
                if self._is_ours(link) and self._trail.first_visit(link):
                    self._targets.append(_Target(link, depth=1))
        listed = frozenset(filter(None, map(_card_key, result.listings))) or frozenset(result.links)
        if self._is_past_the_end(response, listed, target):
            return StopReason.END
        news = len(listed - self._known_cards)
        self._known_cards |= listed
        details: list[DetailUrl] = [(card.url, _hint(card), None) for card in result.listings if card.url]
        details += [(link, None, None) for link in result.links if self._is_detail_link(link)]
        page.detail_urls = self._new_details(details)
        found = len(result.listings) or len(result.links)
        return self._go_on(target, body, found, result.next_url, news or len(page.detail_urls), listed)

    def _read_sitemap(self, page: HarvestPage, target: _Target, body: bytes) -> StopReason | None:
        found = read_sitemap(body, target.url, self._limits.max_decompressed)
        page.detail_urls = self._new_details(
            (entry.url, None, entry.modified_at)
            for entry in found.pages
            if self._sitemap_pattern is None or self._sitemap_pattern.search(entry.url)
        )
        if target.depth < _MAX_SITEMAP_DEPTH:
            for child in found.sitemaps:
                if self._is_ours(child.url) and self._trail.first_visit(child.url):
                    self._targets.append(_Target(child.url, target.depth + 1))
        return None

    def _read_feed(self, page: HarvestPage, target: _Target, body: bytes) -> StopReason | None:
        found: SitemapPage = read_feed(body, target.url, self._limits.max_decompressed)
        page.detail_urls = self._new_details((entry.url, _feed_hint(entry), entry.modified_at) for entry in found.pages)
        return self._go_on(target, body, len(found.pages), found.next_url, len(page.detail_urls), frozenset())

    def _go_on(
        self, target: _Target, body: bytes, found: int, linked: str | None, news: int, listed: frozenset[str]
    ) -> StopReason | None:
        """Line up the page after this one; the reason where there is none."""
        without_news = 0 if news else target.without_news + 1
        if without_news >= self._limits.pages_without_news:
            # Unguided, we come to the same stock by several ways; that is no trap.
            return StopReason.END if self._explores else StopReason.NO_NEW_LISTINGS
        following, stop = next_url(
            target.url, self._config.pagination, body=body, found=found, linked=linked, trail=self._trail
        )
        if following is None:
            return stop
        if not same_site(following, target.url):
            return StopReason.END
        self._targets.appendleft(_Target(following, depth=target.depth + 1, listed=listed, without_news=without_news))
        return None

    def _is_past_the_end(self, response: FetchResponse, listed: frozenset[str], target: _Target) -> bool:
        """Whether a site answers a page number past its last one with a page it gave before."""
        landed = canonical_url(response.final_url)
        if target.depth > 0 and response.redirects and landed in self._landed:
            return True
        self._landed.add(landed)
        return self._counts_pages and bool(listed) and listed == target.listed

    def _failed(
        self, target: _Target, response: FetchResponse, failure: FailureCategory, error: str | None
    ) -> HarvestPage:
        if failure is FailureCategory.GONE and self._counts_pages and target.depth > 0:
            # Past the last page a 404 is how many sites end their index.
            return self._closed(HarvestPage(url=target.url, response=response), StopReason.END)
        page = HarvestPage(url=target.url, response=response, failure=failure, error=error)
        return self._closed(page, StopReason.FAILED)

    def _closed(self, page: HarvestPage, stop: StopReason | None) -> HarvestPage:
        self._found += max(len(page.detail_urls), len(page.cards))
        if stop is None and self._pages >= self._config.pagination.max_pages and self._targets:
            stop = StopReason.MAX_PAGES
        if stop is None and self._found >= self._config.limits.max_listings_per_run:
            stop = StopReason.MAX_LISTINGS
        if stop in (StopReason.MAX_PAGES, StopReason.MAX_LISTINGS):
            self._targets.clear()
        if stop is not StopReason.END:
            self._cut_short = self._cut_short or stop
        page.stop_reason = stop
        if not self._targets:
            page.is_last, page.stop_reason = True, self._cut_short or StopReason.END
        if page.is_last and page.expected_count is None:
            page.expected_count = self._config.expected_count
        return page

    def _is_detail_link(self, url: str) -> bool:
        return self._link_pattern is None or self._link_pattern.search(url) is not None

    def _new_details(self, details: Iterable[DetailUrl]) -> list[DetailUrl]:
        """Those on the source's own sites not told before in this run, within the run's limit."""
        room = self._config.limits.max_listings_per_run - self._found
        kept: list[DetailUrl] = []
        for detail in details:
            url = detail[0]
            if len(kept) >= room:
                break
            if not self._is_ours(url):
                continue
            key = canonical_url(url)
            if key not in self._known_details:
                self._known_details.add(key)
                kept.append(detail)
        return kept


def _card_key(card: Listing) -> str:
    return card.url or card.remote_id or card.vin or card.title or ""


def _hint(card: Listing) -> dict[str, Any]:
    """What a card says, small enough to lie in a queue row."""
    hint: dict[str, Any] = msgspec.to_builtins(card)
    for name in _HINT_LEAVES_OUT:
        hint.pop(name, None)
    if "images" in hint:
        hint["images"] = hint["images"][:_HINT_IMAGES]
    if "description" in hint:
        hint["description"] = hint["description"][:_HINT_CHARS]
    return hint


def _feed_hint(entry: FoundUrl) -> dict[str, Any] | None:
    return {"url": entry.url, "title": entry.title} if entry.title else None
