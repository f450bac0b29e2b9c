"""robots.txt between crawlers: one worker fetches it, all read it, and its Crawl-delay sets the pace."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from fill_pipeline.crawl.config import RobotsPolicy
from fill_pipeline.crawl.robots import RobotsCache, RobotsFile
from fill_pipeline.crawl.urls import origin
from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain.work import Source


def load_robots(conn: Connection, cache: RobotsCache, urls: Iterable[str], *, now: datetime) -> None:
    """Bring what is known of these URLs' origins into the cache."""
    for key in {origin(url) for url in urls}:
        if cache.known(key, now) is None and (known := registry.robots_of(conn, key)) is not None:
            status, body, fetched_at = known
            cache.load(RobotsFile(key, status, body, fetched_at))


def save_robots(conn: Connection, cache: RobotsCache, sources: Iterable[Source], *, now: datetime) -> None:
    """Keep what the cache has fetched, and let Crawl-delay slow the sources of those origins."""
    fetched = {file.origin: file for file in cache.take_fetched()}
    if not fetched:
        return
    for file in fetched.values():
        registry.save_robots(conn, file.origin, status=file.status, body=file.body, fetched_at=file.fetched_at)
    for source in sources:
        if source.config.robots is RobotsPolicy.OBEY and origin(source.row.base_url) in fetched:
            rules = cache.known(source.row.base_url, now)
            delay = rules.crawl_delay() if rules is not None else None
            registry.set_robots_delay(conn, source.id, round((delay or 0.0) * 1000))
