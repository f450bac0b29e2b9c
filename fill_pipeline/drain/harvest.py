"""Harvest sources: their index pages become queue rows, and listings where a card says enough."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

from fill_pipeline.crawl.archive import ArchiveFullError, ArchiveRef, ArchiveWriter
from fill_pipeline.crawl.choices import DetailPolicy, PaginationType
from fill_pipeline.crawl.config import SourceConfig
from fill_pipeline.crawl.fetch import Fetcher, FetchResponse
from fill_pipeline.crawl.harvest import HarvestPage, SourceToCrawl, harvest_many
from fill_pipeline.crawl.pagination import StopReason
from fill_pipeline.crawl.robots import RobotsCache
from fill_pipeline.crawl.urls import join, url_hash
from fill_pipeline.db import learning, ledger, queue, registry
from fill_pipeline.db.archive import ArchivedKind
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import CycleClosedError
from fill_pipeline.db.ledger import SourceStats
from fill_pipeline.db.queue import PageToQueue
from fill_pipeline.drain.manners import heed
from fill_pipeline.drain.page import WRITTEN, RawPage, reading_of
from fill_pipeline.drain.read import ReadPage, hint_of, rows_of_cards, says_enough
from fill_pipeline.drain.revisit import IndexMemory
from fill_pipeline.drain.robots import load_robots, obey_delay, save_robots
from fill_pipeline.drain.work import Source, Work, reserve_slot
from fill_pipeline.drain.write import Commit, in_open_cycle, write_pages
from fill_pipeline.quality.gate import Gate
from fill_pipeline.vehicles.lifecycle import mark_absent, mark_seen

log = logging.getLogger(__name__)
STOP_CHECK_SECONDS = 1.0


class SourceHarvest:
    """One source's harvest on its way into the database."""

    def __init__(self, work: Work, source: Source, conn: Connection) -> None:
        self.source = source
        self._work = work
        self._conn = conn
        self._reading = reading_of(source, work.settings)
        self._gate = Gate.of(work.settings, work.now_fn().year)
        self._archive = ArchiveWriter(work.settings.archive_root, source.slug, work.cycle_id, work.owner)
        self._complete = True
        self._expected: int | None = None
        self.broken = False
        self._cards = 0
        self._listed: set[str] = set()
        self._starts = {join(source.row.base_url, url) for url in source.config.index.urls}
        self._lists_addresses_only = source.config.pagination.type in (PaginationType.SITEMAP, PaginationType.FEED)

    def take_safely(self, page: HarvestPage) -> None:
        """Take a page; what one source's page breaks costs that source its harvest, not the others theirs."""
        if self.broken:
            return
        try:
            self.take(page)
        except (psycopg.OperationalError, ArchiveFullError, CycleClosedError):
            raise
        except Exception as error:
            self.broken = True
            log.exception("the harvest of %s is broken off at %s", self.source.slug, page.url)
            stats = SourceStats(notes=[f"{page.url}: {type(error).__name__}: {error}"[:300]])
            stats.fail("ours")
            now = self._work.now_fn()
            ledger.add_stats(self._conn, self.source.id, self._work.cycle_id, stats, now=now)
            self._work.totals.add(self.source.id, stats)

    def take(self, page: HarvestPage) -> None:
        """Archive one index page, write its complete cards, queue the rest: all or nothing.

        Raises:
            CycleClosedError: the cycle was closed meanwhile.
        """
        now = self._work.now_fn()
        stats = SourceStats(cards_seen=self._new_on(page), expected_count=page.expected_count)
        if page.expected_count is not None:
            self._expected = page.expected_count
        raw = self._archived(page)
        if raw is not None:
            stats.index_pages = stats.pages_fetched = 1
            if page.archive_id is None:
                stats.bytes_received = len(raw.body)
            else:
                stats.pages_unchanged = 1
        if page.failure is not None:
            stats.fail(str(page.failure))
            stats.notes.append(f"{page.url}: {page.error or page.failure}")
            self._complete = False
        read, queued = self._sorted(page, raw)
        if raw is not None and not page.cards and not self._lists_addresses_only and not self._ended(page):
            stats.notes.append(f"{page.url}: no card could be read, {len(queued)} links queued; {page.error or ''}")
        self._cards += len(page.cards)
        if page.is_last and page.stop_reason is StopReason.END and page.cards and not stats.cards_seen:
            stats.notes.append(f"harvest stopped: {StopReason.NO_NEW_LISTINGS}")  # it ended, but by showing the same
        ended = page.is_last and page.stop_reason is not StopReason.STOPPED  # what was told to stop stays due
        if ended:
            self._complete &= page.stop_reason is StopReason.END
            stats.harvests, stats.harvest_complete = 1, self._complete
        if page.is_last and page.stop_reason not in (StopReason.END, None):
            stats.notes.append(f"harvest stopped: {page.stop_reason}")
        commit = Commit(self._work.cycle_id, self._work.owner, now, self._work.settings.core_fields, self._gate)

        def write() -> SourceStats:
            done = SourceStats()
            if read is not None:
                done = write_pages(self._conn, [read], commit).get(self.source.id, done)
            done.add(stats)
            done.queued = queue.enqueue(
                self._conn,
                queued,
                cycle_id=commit.cycle_id,
                now=now,
                revisit=timedelta(hours=self.source.config.revisit_hours),
            )
            mark_seen(self._conn, self.source.id, [p.url_hash for p in queued], cycle_id=commit.cycle_id, now=now)
            if ended:
                done.delisted = mark_absent(
                    self._conn, self.source.id, cycle_id=commit.cycle_id, now=now, complete=self._complete
                )
                registry.note_harvest(self._conn, self.source.id, now=now, expected=self._expected)
            ledger.add_stats(self._conn, self.source.id, commit.cycle_id, done, now=now)
            return done

        self._work.totals.add(self.source.id, in_open_cycle(self._conn, commit.cycle_id, write))

    def close(self) -> None:
        """Finish the archive file."""
        self._archive.close()

    def _new_on(self, page: HarvestPage) -> int:
        """How many advertisements the page lists that no page before it did."""
        before = len(self._listed)
        self._listed.update(card.url for card in page.cards if card.url)
        unlinked = sum(not card.url for card in page.cards)
        return max(len(self._listed) - before + unlinked, len(page.detail_urls))

    def _ended(self, page: HarvestPage) -> bool:
        """Whether this empty page is just how a numbered index ends."""
        return page.is_last and self._cards > 0 and page.url not in self._starts

    def _archived(self, page: HarvestPage) -> RawPage | None:
        response = page.response
        if response is None or not response.ok:
            return None
        fetched_at = self._work.now_fn()
        if page.archive_id is not None:
            ref = ArchiveRef("", 0, 0)  # indexed already, under that id
        else:
            ref = self._archive.append(response, fetched_at)
            self._archive.flush()
        raw = RawPage.of(response, ref, source_id=self.source.id, kind=ArchivedKind.INDEX, fetched_at=fetched_at)
        raw.archive_id = page.archive_id
        return raw

    def _sorted(self, page: HarvestPage, raw: RawPage | None) -> tuple[ReadPage | None, list[PageToQueue]]:
        """What is written from the cards themselves, and what must be fetched."""
        read = None
        enough: set[UUID] = set()
        hints: dict[UUID, dict[str, Any]] = {}
        policy = self.source.config.detail
        if raw is not None:
            read = ReadPage(raw, rows_of_cards(page.cards, raw, policy, self._reading))
            for row in read.rows:
                key = _key(row.listing.url or "")
                if key is not None:
                    hints[key] = hint_of(row.listing) | {WRITTEN: True}
                    row.judged = says_enough(row)
                    if row.judged:
                        enough.add(key)
            if policy is DetailPolicy.NEVER:
                for row in read.rows:
                    row.judged = True
                return read, []
        queued = []
        for url, hint, _modified in page.detail_urls:
            key = _key(url)
            if key is not None and key not in enough:
                queued.append(PageToQueue(self.source.id, url, key, hints.get(key) or hint))
        return read, queued


def harvest_sources(work: Work, sources: Sequence[Source], *, limit_factor: int = 1) -> None:
    """Harvest these sources side by side over one fetcher, each at its own pace.

    ``limit_factor`` raises the bounds on pages and listings per run. What each gave is in ``work.totals``.

    Raises:
        CycleClosedError: the cycle was closed meanwhile.
    """
    with work.connect("harvest") as conn, Fetcher(work.fetch_settings()) as fetcher:
        robots = RobotsCache(work.fetch_settings().product_token())
        load_robots(conn, robots, [s.row.base_url for s in sources], now=work.now_fn())
        by_slug = {source.slug: SourceHarvest(work, source, conn) for source in sources}
        watch = _Watch(work, conn, [s.id for s in sources])

        memory = IndexMemory(conn, work.settings.archive_root)
        # One that failed to the last is asked once: nobody waits for what was not there two hours ago.
        failing = learning.failing(conn, [s.id for s in sources])
        crawled = [
            SourceToCrawl(s.slug, s.row.base_url, _raised(s.config, limit_factor), 1 if s.id in failing else None)
            for s in sources
        ]

        def source_of(s: SourceToCrawl) -> Source:
            return by_slug[s.slug].source

        try:
            for crawled_source, page in harvest_many(
                crawled,
                fetcher,
                robots=robots,
                now_fn=work.now_fn,
                should_stop=lambda s: by_slug[s.slug].broken or watch.stopped(source_of(s).id),
                reserve_slot=lambda s, n: reserve_slot(conn, work, source_of(s).id, n),
                on_robots=lambda s, rules: obey_delay(conn, source_of(s), rules),
                on_answer=lambda s, response: watch.heard(source_of(s).id, response),
                earlier=lambda s, url: memory.earlier(source_of(s).id, url, work.now_fn()),
            ):
                if page.response is None and work.should_stop():
                    break  # all others would say that they were stopped too, each in a transaction of its own
                by_slug[crawled_source.slug].take_safely(page)
                save_robots(conn, robots, [source_of(s) for s in crawled], now=work.now_fn())
        finally:
            memory.close()
            for one in by_slug.values():
                one.close()


class _Watch:
    """What others and the sites themselves want of us: switches in the database are looked at once a second."""

    def __init__(self, work: Work, conn: Connection, ids: Sequence[UUID]) -> None:
        self._work, self._conn, self._ids = work, conn, list(ids)
        self._stopped: set[UUID] = set()
        self._next = 0.0

    def stopped(self, source_id: UUID) -> bool:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + STOP_CHECK_SECONDS
            self._stopped = registry.stopped_sources(self._conn, self._ids)
        return source_id in self._stopped or self._work.stopping()

    def heard(self, source_id: UUID, response: FetchResponse) -> None:
        """Let every worker know what an answer says about its source."""
        heed(self._conn, source_id, response, self._work.now_fn())


def _raised(config: SourceConfig, factor: int) -> SourceConfig:
    if factor == 1:
        return config
    pagination = config.pagination.model_copy(update={"max_pages": config.pagination.max_pages * factor})
    listings = config.limits.max_listings_per_run * factor
    limits = config.limits.model_copy(update={"max_listings_per_run": listings})
    return config.model_copy(update={"pagination": pagination, "limits": limits})


def _key(url: str) -> UUID | None:
    try:
        return url_hash(url)
    except ValueError:
        return None
