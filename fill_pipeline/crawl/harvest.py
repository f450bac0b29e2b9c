"""Harvest: sources' index pages turned into cards and detail URLs, each source at its own pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec import structs

from fill_pipeline.crawl.choices import PaginationType, RobotsPolicy
from fill_pipeline.crawl.fetch import FailureCategory, Fetcher, FetchRequest, FetchResponse
from fill_pipeline.crawl.index_walk import DetailUrl, HarvestLimits, HarvestPage, IndexWalk, SourceToCrawl
from fill_pipeline.crawl.pagination import StopReason
from fill_pipeline.crawl.robots import RobotsCache, RobotsRules, robots_request
from fill_pipeline.crawl.urls import origin

__all__ = [
    "DetailUrl",
    "EarlierPage",
    "HarvestLimits",
    "HarvestPage",
    "SourceToCrawl",
    "StopReason",
    "harvest",
    "harvest_many",
]

_LOOK_UP_EVERY = 0.25  # seconds between looks at ``should_stop`` while nothing arrives


@dataclass(frozen=True, slots=True)
class EarlierPage:
    """An index page had before: its validators, and how to have it again from the archive (None where it is lost)."""

    etag: str | None
    last_modified: str | None
    archive_id: int
    again: Callable[[], FetchResponse | None]


def harvest(
    source: SourceToCrawl,
    fetcher: Fetcher,
    *,
    robots: RobotsCache,
    limits: HarvestLimits | None = None,
    now_fn: Callable[[], datetime] = lambda: datetime.now(UTC),
    should_stop: Callable[[], bool] = lambda: False,
    reserve_slot: Callable[[int], float | StopReason] = lambda _slots: 0.0,
) -> Iterator[HarvestPage]:
    """Harvest one source, page by page; the last page says why it ended. Never raises for what a site does.

    ``reserve_slot(n)`` gives the monotonic time of the first of n reserved slots, or why there is none.
    """
    pages = harvest_many(
        [source],
        fetcher,
        robots=robots,
        limits=limits,
        now_fn=now_fn,
        should_stop=lambda _source: should_stop(),
        reserve_slot=lambda _source, slots: reserve_slot(slots),
    )
    for _, page in pages:
        yield page


def harvest_many(
    sources: Sequence[SourceToCrawl],
    fetcher: Fetcher,
    *,
    robots: RobotsCache,
    limits: HarvestLimits | None = None,
    now_fn: Callable[[], datetime] = lambda: datetime.now(UTC),
    should_stop: Callable[[SourceToCrawl], bool] = lambda _source: False,
    reserve_slot: Callable[[SourceToCrawl, int], float | StopReason] = lambda _source, _slots: 0.0,
    on_robots: Callable[[SourceToCrawl, RobotsRules], None] = lambda _source, _rules: None,
    on_answer: Callable[[SourceToCrawl, FetchResponse], None] = lambda _source, _response: None,
    earlier: Callable[[SourceToCrawl, str], EarlierPage | None] = lambda _source, _url: None,
) -> Iterator[tuple[SourceToCrawl, HarvestPage]]:
    """Harvest many sources at once over one fetcher, each at its own pace with one request at a time.

    ``on_robots`` is told a source's rules before its first slot is reserved, so that Crawl-delay can move the
    pace, and ``on_answer`` every answer to a request for an index page. ``earlier`` tells of index pages had before:
    they are asked for conditionally, and an unchanged one is read again from the archive, so that all it lists is
    seen again. ``should_stop`` is asked several times a second for each source. The fetcher must not be used for
    anything else meanwhile; slugs must differ.
    """
    limits = limits or HarvestLimits()
    crew = _Crew(fetcher, robots, limits, now_fn, should_stop, reserve_slot, on_robots, on_answer, earlier)
    try:
        for source in sources:
            yield from crew.advance(source)
        while crew.busy:
            yield from crew.turn()
    finally:
        fetcher.abort()


class _Crew:
    """The sources under way: those whose robots.txt is awaited, and those whose next page is."""

    def __init__(
        self,
        fetcher: Fetcher,
        robots: RobotsCache,
        limits: HarvestLimits,
        now_fn: Callable[[], datetime],
        should_stop: Callable[[SourceToCrawl], bool],
        reserve_slot: Callable[[SourceToCrawl, int], float | StopReason],
        on_robots: Callable[[SourceToCrawl, RobotsRules], None],
        on_answer: Callable[[SourceToCrawl, FetchResponse], None],
        earlier: Callable[[SourceToCrawl, str], EarlierPage | None],
    ) -> None:
        self._fetcher, self._robots, self._limits = fetcher, robots, limits
        self._now_fn, self._should_stop = now_fn, should_stop
        self._reserve_slot, self._on_robots = reserve_slot, on_robots
        self._on_answer, self._earlier = on_answer, earlier
        self._asked_about: dict[str, EarlierPage] = {}
        self._lost: set[str] = set()
        self._onward: dict[str, FetchRequest] = {}
        self._walks: dict[str, IndexWalk] = {}
        self._awaited: dict[str, SourceToCrawl] = {}

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._awaited)

    def turn(self) -> Iterator[tuple[SourceToCrawl, HarvestPage]]:
        """Take what has arrived, send what comes next, and stop who must stop."""
        for response in self._fetcher.poll(_LOOK_UP_EVERY):
            slug, robots_origin = response.request.tag
            source = self._awaited.pop(slug, None)
            if source is None:  # stopped meanwhile
                continue
            if self._should_stop(source):  # what it sent will be asked for again
                yield source, self._stopped(source)
                continue
            if robots_origin is not None:
                self._robots.take(robots_origin, response, self._now_fn())
            elif response.onward is not None:
                self._asked_about.pop(slug, None)
                self._onward[slug] = response.onward
            else:
                self._on_answer(source, response)
                if (page := self._received(source, response)) is not None:
                    yield source, page
            yield from self.advance(source)
        for source in list(self._awaited.values()):
            if self._should_stop(source):
                del self._awaited[source.slug]
                yield source, self._stopped(source)

    def _stopped(self, source: SourceToCrawl) -> HarvestPage:
        walk = self._walks.get(source.slug) or IndexWalk(source, self._limits, sitemaps=[])
        return walk.stop(StopReason.STOPPED)

    def _received(self, source: SourceToCrawl, response: FetchResponse) -> HarvestPage | None:
        """What an answer says; an unchanged page is taken from the archive, or asked for whole where that lost it."""
        walk = self._walks[source.slug]
        known = self._asked_about.pop(source.slug, None)
        if known is None or not response.not_modified:
            return walk.receive(response, time.monotonic())
        again = known.again()
        if again is None:
            self._lost.add(response.request.url)
            walk.repeat()
            return None
        page = walk.receive(again, time.monotonic())
        if page is not None:
            page.archive_id = known.archive_id
        return page

    def advance(self, source: SourceToCrawl) -> Iterator[tuple[SourceToCrawl, HarvestPage]]:
        """Send a source's next request, its robots.txt first; a page instead where it must end."""
        walk = self._walks.get(source.slug)
        obeys = source.config.robots is RobotsPolicy.OBEY
        if walk is None:
            rules = None
            if obeys or _needs_sitemaps(source):
                rules = self._robots.known(source.base_url, self._now_fn())
                if rules is None:
                    self._ask_robots(source, source.base_url)
                    return
                self._on_robots(source, rules)
            walk = IndexWalk(source, self._limits, sitemaps=rules.sitemaps if rules is not None else [])
            self._walks[source.slug] = walk
            if (page := walk.configured_page()) is not None:
                yield source, page
            elif walk.next_url is None:
                yield source, walk.stop(StopReason.FAILED, FailureCategory.BAD_URL)
        onward = self._onward.get(source.slug)
        url = walk.next_url if onward is None else onward.url
        if url is None:
            return
        if self._should_stop(source):
            yield source, self._stopped(source)
            return
        if obeys:
            rules = self._robots.known(url, self._now_fn())
            if rules is None:
                self._ask_robots(source, url)
                return
            if not rules.allowed(url):
                yield source, walk.stop(StopReason.ROBOTS, FailureCategory.ROBOTS)
                return
        slot = self._reserve_slot(source, 1)
        if isinstance(slot, StopReason):
            yield source, walk.stop(slot)
            return
        if onward is not None:
            self._send(source, structs.replace(self._onward.pop(source.slug), not_before=slot))
            return
        request = walk.request(slot)
        if url not in self._lost and (known := self._earlier(source, url)) is not None:
            request.etag, request.last_modified = known.etag, known.last_modified
            self._asked_about[source.slug] = known
        self._send(source, request)

    def _ask_robots(self, source: SourceToCrawl, url: str) -> None:
        self._send(source, robots_request(origin(url)), origin(url))

    def _send(self, source: SourceToCrawl, request: FetchRequest, robots_origin: str | None = None) -> None:
        request.tag = (source.slug, robots_origin)
        self._awaited[source.slug] = source
        self._fetcher.submit(request)


def _needs_sitemaps(source: SourceToCrawl) -> bool:
    return source.config.pagination.type is PaginationType.SITEMAP and not source.config.index.urls
