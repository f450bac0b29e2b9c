"""Moved sites: a source whose pages all lead to another host is followed there when that is proven the same site."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fill_pipeline.crawl.urls import same_site
from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain.work import Source
from fill_pipeline.repair.diagnose import Checkup

MIN_PROVEN = 3
PROVEN_SHARE = 0.8


def new_home(conn: Connection, seen: Checkup) -> str | None:
    """Scheme and authority of the site's new home; None where it is not proven, or is another source's already.

    Proof are listings' pages: nearly all that we ask for at the old address lead to one other site, each keeps its
    path, and what they state there is what we know of these very listings.
    """
    came = [page for page in seen.details if page.failure is None]
    kept = [page for page in came if urlsplit(page.final_url).path == urlsplit(page.url).path]
    homes = Counter(_origin(page.final_url) for page in kept if not same_site(page.final_url, seen.base_url))
    if not homes:
        return None
    home, times = homes.most_common(1)[0]
    proven = sum(_origin(page.url) == home for page in seen.witnesses)
    if proven < MIN_PROVEN or min(times, proven) < PROVEN_SHARE * len(seen.details):
        return None
    return None if _is_taken(conn, home) else home


def follow(conn: Connection, source: Source, home: str, reason: str) -> None:
    """Give the source its new address, as a new version of its configuration; addresses in it move too."""
    config = _moved(source.row.config, source.row.base_url, home)
    registry.move(conn, source.id, home, config, made_by="repair", reason=reason)


def _moved(value: Any, old: str, home: str) -> Any:
    """A configuration with every address of the old site at the new one; the rest as it is."""
    if isinstance(value, dict):
        return {name: _moved(inner, old, home) for name, inner in value.items()}
    if isinstance(value, list):
        return [_moved(inner, old, home) for inner in value]
    if isinstance(value, str) and value.startswith(("http://", "https://")) and same_site(value, old):
        new = urlsplit(home)
        return urlunsplit(urlsplit(value)._replace(scheme=new.scheme, netloc=new.netloc))
    return value


def _is_taken(conn: Connection, home: str) -> bool:
    return any(same_site(row.base_url, home) for row in registry.sources(conn) if row.status != "retired")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
