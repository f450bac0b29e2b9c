"""robots.txt between crawlers: one worker fetches it, all read it, and its Crawl-delay sets the pace."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from fill_pipeline.crawl.choices import RobotsPolicy
from fill_pipeline.crawl.robots import RobotsCache, RobotsFile, RobotsRules
from fill_pipeline.crawl.urls import origin
from fill_pipeline.db import pace, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain.work import Source


def load_robots(conn: Connection, cache: RobotsCache, urls: Iterable[str], *, now: datetime) -> None:
    """Bring what is known of these URLs' origins into the cache: the file last had, and a failure to have it since."""
    for key in {origin(url) for url in urls}:
        if cache.known(key, now) is not None or (row := registry.robots_of(conn, key)) is None:
            continue
        if row.fetched_at is not None:
            cache.load(RobotsFile(key, row.status, row.body, row.fetched_at))
        if row.failed_at is not None and row.failed_status is not None:
            cache.load(RobotsFile(key, row.failed_status, "", row.failed_at))


def keep_robots(conn: Connection, files: Iterable[RobotsFile]) -> None:
    """Keep fetched files for every worker; a failure leaves the file had before in force."""
    for file in files:
        if file.had:
            registry.save_robots(conn, file.origin, status=file.status, body=file.body, fetched_at=file.fetched_at)
        else:
            registry.save_robots_failure(conn, file.origin, status=file.status, failed_at=file.fetched_at)


def save_robots(conn: Connection, cache: RobotsCache, sources: Iterable[Source], *, now: datetime) -> None:
    """Keep what the cache has fetched, and let Crawl-delay slow the sources of those origins."""
    fetched = {file.origin: file for file in cache.take_fetched()}
    if not fetched:
        return
    keep_robots(conn, fetched.values())
    for source in sources:
        if origin(source.row.base_url) in fetched:
            rules = cache.known(source.row.base_url, now)
            if rules is not None:
                obey_delay(conn, source, rules)


def obey_delay(conn: Connection, source: Source, rules: RobotsRules) -> None:
    """Let robots.txt's Crawl-delay slow a source that obeys it; rules that could not be had change nothing."""
    if source.config.robots is RobotsPolicy.OBEY and not rules.forbids_all:
        pace.set_robots_delay(conn, source.id, round((rules.crawl_delay() or 0.0) * 1000))
