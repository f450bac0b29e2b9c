"""A page its site says is unchanged costs a request and a touched row, and loses nothing of what it shows."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from fill_pipeline.db import archive, queue
from fill_pipeline.db.archive import ArchivedKind, PageRow
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.queue import ClaimedPage
from fill_pipeline.drain.known import DETAIL_READ_EVERY, known_details
from fill_pipeline_tests.drain.conftest import DEALER, OTHER_DEALER, Crawl

HOUR = timedelta(hours=1)


def sightings(conn: Connection) -> Counter[Any]:
    rows = conn.execute(
        "SELECT s.last_cycle, s.seen_count, s.absences, r.status FROM listing_sightings s "
        "JOIN listing_records r ON r.id = s.listing_id"
    ).fetchall()
    return Counter(rows)


def test_an_unchanged_site_is_seen_again_whole_without_a_page_being_sent_or_read(crawl: Crawl) -> None:
    slugs = (DEALER, OTHER_DEALER)
    sources = [crawl.declare(slug, detail="always", revisit_hours=1) for slug in slugs]

    def visit(cycle: str) -> tuple[list[Any], list[int]]:
        before = [len(crawl.log(slug)) for slug in slugs]
        stats = crawl.fill(cycle, *sources)
        return stats, [status for slug, n in zip(slugs, before, strict=True) for _, _, status in crawl.log(slug)[n:]]

    first, statuses = visit("c1")
    assert set(statuses) == {200}
    assert [one.found for one in first] == [len(crawl.web.get(f"/truth?slug={slug}")) for slug in slugs]
    archived = crawl.conn.execute("SELECT count(*) FROM archive_pages").fetchone()

    # Nothing has changed.
    crawl.later = 2 * HOUR
    again, statuses = visit("c2")
    assert set(statuses) == {304}
    for was, one in zip(first, again, strict=True):
        assert one.pages_unchanged == one.pages_fetched == was.pages_fetched
        assert (one.found, one.skipped, one.new, one.delisted) == (was.found, was.found, 0, 0)
        assert (one.bytes_received, one.harvest_complete) == (0, True)
    everything = sum(one.found for one in first)
    assert sightings(crawl.conn) == {("c2", 2, 0, "active"): everything}
    assert crawl.rows() == {"complete": everything}
    assert crawl.conn.execute("SELECT count(*) FROM archive_pages").fetchone() == archived
    account = crawl.conn.execute("SELECT sum(pages_unchanged) FROM source_cycle_stats WHERE cycle_id = 'c2'").fetchone()
    assert account == (sum(one.pages_unchanged for one in again),)

    # Nothing has changed, but the archive has lost the index pages: they are fetched whole, and nothing is missed.
    shutil.rmtree(crawl.settings.archive_root)
    crawl.later = 4 * HOUR
    again, statuses = visit("c3")
    assert [one.found for one in again] == [one.found for one in first]
    assert all(one.harvest_complete for one in again)
    assert sightings(crawl.conn) == {("c3", 3, 0, "active"): everything}
    assert statuses.count(200) == sum(one.index_pages for one in again)

    # One is dearer, one is sold, and some came and went in the meantime.
    dearer, gone = crawl.web.get(f"/truth?slug={DEALER}")[:2]
    crawl.web.post("price", slug=DEALER, remote_id=dearer["remote_id"], price=dearer["price"] + 500)
    crawl.web.post("sell", slug=DEALER, remote_id=gone["remote_id"])
    crawl.later = 6 * HOUR
    again, statuses = visit("c4")
    assert again[0].updated >= 1
    assert again[0].pages_unchanged >= first[0].found - 2
    found = crawl.conn.execute(
        "SELECT r.remote_id, (r.price, r.status, s.absences) FROM listing_sightings s "
        "JOIN listing_records r ON r.id = s.listing_id"
    ).fetchall()
    listings = dict(found)
    assert listings[dearer["remote_id"]] == (str(dearer["price"] + 500), "active", "0")
    assert listings[gone["remote_id"]][1:] in (("sold", "0"), ("active", "1"))


@pytest.fixture
def read(crawl: Crawl) -> Any:
    """A page of a dealer read before; keyword arguments change how its archive row was."""
    source = crawl.declare(DEALER)
    crawl.conn.execute("UPDATE source_config_versions SET created_at = '2020-01-01'")

    def make(*changes: dict[str, Any]) -> tuple[list[ClaimedPage], datetime]:
        crawl.put(source, len(changes), "/car/{}")
        now = crawl.now()
        pages = queue.claim(
            crawl.conn, owner="w", cycle_id="c1", now=now, batch=99, lease=HOUR, horizon=HOUR, per_source=99
        )
        rows = []
        for page, change in zip(pages, changes, strict=True):
            row: dict[str, Any] = {
                "source_id": source.id,
                "cycle_id": "c0",
                "kind": ArchivedKind.DETAIL,
                "url": page.url,
                "url_hash": page.url_hash,
                "fetched_at": now - HOUR,
                "http_status": 200,
                "file": "f",
                "offset": 0,
                "length": 1,
                "etag": f'"{page.queue_id}"',
                "listings": 1,
            }
            rows.append(PageRow(**(row | change)))
        archive.insert_pages(crawl.conn, rows)
        return pages, now

    return make


def conditional(crawl: Crawl, pages: list[ClaimedPage], now: datetime) -> list[bool]:
    """Which of these pages, each with a listing, are asked for conditionally."""
    known = known_details(crawl.conn, [replace(page, listing_id=1) for page in pages], now)
    return [page.queue_id in known for page in pages]


def test_only_a_page_of_one_listing_with_a_tag_of_its_own_is_asked_for_conditionally(crawl: Crawl, read: Any) -> None:
    pages, now = read(
        {},
        {"etag": None, "last_modified": "Sat, 28 Feb 2026 19:59:15 GMT"},
        {"etag": None},
        {"etag": '"same"'},
        {"etag": '"same"'},
        {"listings": 0},
        {"listings": 2},
        {"kind": ArchivedKind.INDEX},
        {"fetched_at": crawl.now() - DETAIL_READ_EVERY - HOUR},
    )
    assert conditional(crawl, pages, now) == [True, True, *[False] * 7]
    assert known_details(crawl.conn, pages, now) == {}, "a page without a listing is read"


def test_a_page_read_with_other_rules_is_read_again(crawl: Crawl, read: Any) -> None:
    pages, now = read({})
    assert conditional(crawl, pages, now) == [True]
    crawl.conn.execute("UPDATE scrape_sources SET config = config || '{\"revisit_hours\": 5}'")
    assert conditional(crawl, pages, now) == [False]
