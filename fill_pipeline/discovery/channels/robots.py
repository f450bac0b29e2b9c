"""robots.txt of known hosts: the sitemaps it names are sometimes those of the platform or of a sister site."""

from __future__ import annotations

from collections.abc import Iterator

from fill_pipeline.crawl.robots import parse_robots
from fill_pipeline.crawl.urls import same_site
from fill_pipeline.db import improvement
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import FoundCandidate
from fill_pipeline.discovery.candidate import candidate_of
from fill_pipeline.discovery.probe import origin_url
from fill_pipeline.drain.work import Work

CHANNEL = "robots"


def find(conn: Connection, work: Work) -> Iterator[FoundCandidate]:
    """Other sites whose sitemaps are named in robots.txt files fetched since the last round."""
    after, _ = improvement.progress(conn, CHANNEL).get("", (0, ""))
    newest = after
    for origin, body, fetched_at in improvement.robots_bodies(conn, after=after):
        newest = max(newest, fetched_at)
        for sitemap in parse_robots(body, 200).sitemaps:
            if not same_site(sitemap, origin):
                candidate = candidate_of(origin_url(sitemap) + "/", CHANNEL, robots_of=origin, sitemap=sitemap)
                if candidate is not None:
                    yield candidate
    if newest > after:
        improvement.save_progress(conn, CHANNEL, "", newest, now=work.now_fn())
