"""Links and sellers on archived pages: who sells on a marketplace, and who is linked to, often has a site too.

Reads the newest pages of each source's latest cycles, a bounded number a round, each page once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from fill_pipeline.crawl.archive import ArchiveError, ArchiveRef, read_record
from fill_pipeline.crawl.decode import DecodeError, decode_bytes
from fill_pipeline.crawl.urls import join, same_site
from fill_pipeline.db import improvement, registry
from fill_pipeline.db.archive import ArchivedKind
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import FoundCandidate
from fill_pipeline.discovery.candidate import candidate_of
from fill_pipeline.drain.work import Work
from fill_pipeline.extract.dom import attribute, css, parse

CHANNEL = "links"
DETAILS_PER_SOURCE = 25
INDEXES_PER_SOURCE = 3
PAGES_PER_ROUND = 600
MAX_BODY = 4_000_000
_MAX_LINKS = 4000
_SELLER_URL = re.compile(
    r'"(?:seller|offeredBy|dealer|provider)"\s*:\s*\{[^{}]{0,2000}?"(?:url|website|sameAs|websiteUrl)"\s*:\s*"(?P<url>(?:[^"\\]|\\.){8,400})"'
)
_SITEMAP_LOC = re.compile(rb"<loc>\s*(https?://[^<\s]{4,1000})")


def find(conn: Connection, work: Work) -> Iterator[FoundCandidate]:
    """Candidates on pages archived since the last round, one per domain."""
    read_to = improvement.progress(conn, CHANNEL)
    left = PAGES_PER_ROUND
    given: set[str] = set()
    for source in registry.sources(conn):
        if left <= 0 or work.stopping():
            return
        after, _ = read_to.get(source.slug, (0, ""))
        rows = [
            *improvement.recent_pages(conn, source.id, after_id=after, kind=ArchivedKind.INDEX, n=INDEXES_PER_SOURCE),
            *improvement.recent_pages(conn, source.id, after_id=after, kind=ArchivedKind.DETAIL, n=DETAILS_PER_SOURCE),
        ]
        if not rows:
            continue
        left -= len(rows)
        for row in rows:
            try:
                page = read_record(work.settings.archive_root, ArchiveRef(row.file, row.offset, row.length))
                body = decode_bytes(page.body_received, page.content_encoding, MAX_BODY)
            except (ArchiveError, DecodeError, OSError):
                continue
            for candidate in links_of(body, row.url, source.slug):
                if candidate.domain not in given:
                    given.add(candidate.domain)
                    yield candidate
        newest = max(row.id or 0 for row in rows)
        improvement.save_progress(conn, CHANNEL, source.slug, max(after, newest), now=work.now_fn())


def links_of(body: bytes, url: str, source: str) -> list[FoundCandidate]:
    """The other sites that a page points to, one candidate each; what a seller's own site is, is told apart."""
    found: dict[str, FoundCandidate] = {}

    def note(target: str | None, kind: str, words: str) -> None:
        if target is None or same_site(target, url):
            return
        candidate = candidate_of(_front(target), CHANNEL, source=source, page=url, link=kind, words=words)
        if candidate is not None and (candidate.domain not in found or kind == "seller"):
            found[candidate.domain] = candidate

    if body[:300].lstrip().startswith((b"<?xml", b"<urlset", b"<sitemapindex")):
        for location in _SITEMAP_LOC.findall(body)[:_MAX_LINKS]:
            note(location.decode("utf-8", errors="replace"), "sitemap", "")
        return list(found.values())
    text = body.decode("utf-8", errors="replace")
    for match in list(_SELLER_URL.finditer(text))[:200]:
        note(join(url, _unescaped(match["url"])), "seller", "seller's site")
    if text.lstrip()[:1] in "{[":
        return list(found.values())
    for node in css(parse(text), "a[href]")[:_MAX_LINKS]:
        href = attribute(node, "href")
        if "://" in href or href.startswith("//"):
            words = " ".join(node.text(separator=" ").split())[:80]
            note(join(url, href), "seller" if _is_website(words) else "link", words)
    return list(found.values())


def _front(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/"


def _is_website(words: str) -> bool:
    return (
        re.search(r"website|web site|homepage|visit (?:dealer|seller|us)|zur webseite|site web", words, re.I)
        is not None
    )


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text
