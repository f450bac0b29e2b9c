"""Sitemaps (XML and plain text, index and urlset) and feeds (RSS, Atom, JSON Feed), read without an XML parser.

A scan for the few elements that matter cannot be made to expand entities, nor be stopped by one bad
byte: what is whole in a broken file is still found. All functions are linear in their input and never raise.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice

from fill_pipeline.crawl.decode import DecodeError, gunzip
from fill_pipeline.crawl.json_body import load_json
from fill_pipeline.crawl.urls import join

MAX_URLS_PER_FILE = 50_000  # sitemaps.org's own bound
MAX_FEED_ITEMS = 10_000
_MAX_TITLE_CHARS = 300
_MAX_WORDS = 10_000  # characters of one element that are looked at: an address of the greatest length, escaped
_MAX_TOKENS = 3_000_000  # of one feed: three hundred for each of its items
_ATTRIBUTES = r"[^<>]{0,2000}"
_SITEMAP_ELEMENT = re.compile(
    rf"<(?:(?!image:|video:|news:|xhtml:)[\w.-]{{1,40}}:)?(loc|lastmod)(?:\s{_ATTRIBUTES})?>([^<]*)"
    r"|</(?:[\w.-]{1,40}:)?(url|sitemap)\s*>",
    re.IGNORECASE,
)
_SITEMAP_INDEX = re.compile(r"<(?:[\w.-]{1,40}:)?sitemapindex[\s>]", re.IGNORECASE)
_FEED_TOKEN = re.compile(rf"<(?P<end>/?)(?P<name>[\w.:-]{{1,60}})(?P<attrs>{_ATTRIBUTES})>|(?P<text>[^<]+)|<")
_MARKED = re.compile(r"<!--.*?(?:-->|\Z)|<!\[CDATA\[(.*?)(?:\]\]>|\Z)", re.DOTALL)
_ATTRIBUTE = re.compile(r"""(?<![\w:-])([\w:-]{1,40}+)\s*+=\s*+(?:"([^"]*)"|'([^']*)')""")


@dataclass(frozen=True, slots=True)
class FoundUrl:
    """A URL a sitemap or feed names; ``modified_at`` in UTC where it says so."""

    url: str
    modified_at: datetime | None = None
    title: str | None = None


@dataclass(slots=True)
class SitemapPage:
    """What one sitemap or feed file says: pages, further sitemaps, and a feed's next page."""

    pages: list[FoundUrl] = field(default_factory=list)
    sitemaps: list[FoundUrl] = field(default_factory=list)
    next_url: str | None = None


def read_sitemap(body: bytes, base_url: str, limit: int) -> SitemapPage:
    """Read a sitemap file, itself perhaps a gzip file that unpacks to at most ``limit`` bytes."""
    text = _plain_xml(_text(body, limit))
    found = SitemapPage()
    if "<" not in text[:2000]:
        for line in text.splitlines()[:MAX_URLS_PER_FILE]:
            if line.strip() and (url := join(base_url, line)) is not None and "://" in line:
                found.pages.append(FoundUrl(url))
        return found
    target = found.sitemaps if _SITEMAP_INDEX.search(text[:10_000]) else found.pages
    location = modified = None
    for match in _SITEMAP_ELEMENT.finditer(text):
        element = match[1]
        words = (match[2] or "").strip()
        words = html.unescape(words) if len(words) <= _MAX_WORDS else ""
        if element is None:
            if location is not None:
                target.append(FoundUrl(location, modified))
            location = modified = None
        elif element.lower() == "loc":
            if location is not None:  # an entry that was never closed
                target.append(FoundUrl(location, modified))
                modified = None
            location = join(base_url, words) if words else None
        else:
            modified = parse_date(words)
        if len(target) >= MAX_URLS_PER_FILE:
            return found
    if location is not None:
        target.append(FoundUrl(location, modified))
    return found


def read_feed(body: bytes, base_url: str, limit: int) -> SitemapPage:
    """Read an RSS, Atom or JSON feed."""
    text = _text(body, limit)
    return _json_feed(text, base_url) if text.lstrip()[:1] in ("{", "[") else _xml_feed(text, base_url)


def parse_date(text: str) -> datetime | None:
    """An ISO 8601 or RFC 5322 date in UTC; None for anything else. Without a zone it is taken as UTC."""
    text = text.strip()[:64]
    date: datetime | None = None
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    try:
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def _text(body: bytes, limit: int) -> str:
    if body.startswith(b"\x1f\x8b"):
        try:
            body = gunzip(body, limit)
        except DecodeError:
            return ""
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return body[:limit].decode("utf-16", errors="replace")
    return body[:limit].decode("utf-8", errors="replace").removeprefix("\ufeff")


def _plain_xml(text: str) -> str:
    """The text without comments, CDATA sections turned into escaped text; one left open ends it."""
    return _MARKED.sub(_escaped, text) if "<!" in text else text


def _escaped(match: re.Match[str]) -> str:
    return html.escape(match[1][: _MAX_WORDS // 4], quote=False) if match[1] else ""


def _json_feed(text: str, base_url: str) -> SitemapPage:
    found = SitemapPage()
    try:
        data = load_json(text)
    except ValueError:
        return found
    items = data.get("items") if isinstance(data, dict) else data
    for item in items[:MAX_FEED_ITEMS] if isinstance(items, list) else []:
        if not isinstance(item, dict):
            continue
        link, title = item.get("url") or item.get("link") or item.get("external_url"), item.get("title")
        date = item.get("date_modified") or item.get("date_published")
        if isinstance(link, str) and (url := join(base_url, link)) is not None:
            found.pages.append(
                FoundUrl(
                    url,
                    parse_date(date) if isinstance(date, str) else None,
                    title[:_MAX_TITLE_CHARS] if isinstance(title, str) else None,
                )
            )
    if isinstance(data, dict) and isinstance(data.get("next_url"), str):
        found.next_url = join(base_url, data["next_url"])
    return found


def _xml_feed(text: str, base_url: str) -> SitemapPage:
    found = SitemapPage()
    item: dict[str, str] | None = None  # the entry being read, by plain element name
    element = ""
    for token in islice(_FEED_TOKEN.finditer(_plain_xml(text)), _MAX_TOKENS):
        if token["text"] is not None:
            if item is not None and element and element not in item:
                words = html.unescape(token["text"].strip()[:_MAX_WORDS])
                if words:
                    item[element] = words[:2000]
            continue
        if token["name"] is None:
            continue
        name = token["name"].rpartition(":")[2].lower()
        if token["end"]:
            element = ""
            if name in ("item", "entry") and item is not None:
                _add_entry(found, item, base_url)
                item = None
                if len(found.pages) >= MAX_FEED_ITEMS:
                    return found
            continue
        if name in ("item", "entry"):
            item, element = {}, ""
            continue
        element = name if not token["attrs"].endswith("/") else ""
        if name == "link" and "href" in token["attrs"]:
            attributes = {key.lower(): html.unescape(a or b) for key, a, b in _ATTRIBUTE.findall(token["attrs"])}
            relation = attributes.get("rel", "alternate")
            if item is not None and relation == "alternate":
                item.setdefault("link", attributes.get("href", ""))
            elif item is None and relation == "next":
                found.next_url = join(base_url, attributes.get("href", ""))
    if item is not None:  # the file broke off inside an entry
        _add_entry(found, item, base_url)
    return found


def _add_entry(found: SitemapPage, item: dict[str, str], base_url: str) -> None:
    guid = item.get("guid", "")
    url = join(base_url, item.get("link") or (guid if guid.startswith("http") else "") or "about:")
    if url is None:
        return
    date = next((item[key] for key in ("updated", "pubdate", "published", "date") if key in item), "")
    title = item.get("title")
    found.pages.append(FoundUrl(url, parse_date(date) if date else None, title[:_MAX_TITLE_CHARS] if title else None))
