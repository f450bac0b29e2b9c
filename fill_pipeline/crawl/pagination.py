"""From one index page to the next: pure functions from a URL and a body to the URL that follows."""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import parse_qsl, urlsplit

import jmespath

from fill_pipeline.crawl.choices import PaginationType
from fill_pipeline.crawl.config import Pagination
from fill_pipeline.crawl.json_body import load_json
from fill_pipeline.crawl.urls import MAX_URL_CHARS, canonical_url, join, with_query

MAX_CURSOR_CHARS = 1000


class StopReason(StrEnum):
    """Why a harvest went no further."""

    END = "end"  # the index itself ended
    MAX_PAGES = "max_pages"  # pages allowed per run are used up
    MAX_LISTINGS = "max_listings"  # listings allowed per run are used up
    SEEN_URL = "seen_url"  # the next page is one we had: a loop
    SEEN_CURSOR = "seen_cursor"  # the cursor is one we had: a loop
    NO_NEW_LISTINGS = "no_new_listings"  # several pages on end told nothing new: a trap
    ROBOTS = "robots"  # robots.txt forbids the index
    FAILED = "failed"  # a page could not be had
    BUDGET = "budget"  # the source's budget for today is used up
    HELD = "held"  # the site asked for silence, or its circuit breaker is open
    STOPPED = "stopped"  # we were told to stop


class Trail:
    """What one run has already seen, so that loops end: URLs in canonical form, and cursors."""

    def __init__(self) -> None:
        self._urls: set[str] = set()
        self._cursors: set[str] = set()

    def first_visit(self, url: str) -> bool:
        """Note a URL; False if it was here before or is no URL to visit."""
        try:
            key = canonical_url(url)
        except ValueError:
            return False
        if key in self._urls:
            return False
        self._urls.add(key)
        return True

    def new_cursor(self, cursor: str) -> bool:
        """Note a cursor; False if it was here before."""
        if cursor in self._cursors:
            return False
        self._cursors.add(cursor)
        return True


def first_url(url: str, pagination: Pagination) -> str:
    """An index URL as its sequence starts: with the first page or offset where these are counted."""
    if pagination.type is PaginationType.PAGE:
        return (
            url
            if query_value(url, pagination.page_param)
            else with_query(url, {pagination.page_param: str(pagination.start)})
        )
    if pagination.type in (PaginationType.OFFSET, PaginationType.CURSOR) and sends_limit(pagination):
        return with_query(url, {pagination.limit_param: str(pagination.page_size)})
    return url


def next_url(
    url: str, pagination: Pagination, *, body: bytes, found: int, linked: str | None, trail: Trail
) -> tuple[str | None, StopReason | None]:
    """The URL that follows an index page, or why there is none.

    ``body`` is the decoded page, ``found`` the number of listings on it, ``linked`` the next page it links to.
    """
    following: str | None = None
    match pagination.type:
        case PaginationType.NONE | PaginationType.SITEMAP:
            return None, StopReason.END
        case PaginationType.NEXT_LINK | PaginationType.FEED:
            following = linked
        case PaginationType.PAGE if found:
            page = _number(query_value(url, pagination.page_param), pagination.start)
            following = with_query(url, {pagination.page_param: str(page + pagination.step)})
        case PaginationType.OFFSET if found:
            offset = _number(query_value(url, pagination.offset_param), 0)
            size = pagination.page_size if sends_limit(pagination) else found
            following = with_query(url, {pagination.offset_param: str(offset + size)})
        case PaginationType.CURSOR:
            cursor = read_cursor(body, pagination.cursor_path)
            if cursor is None:
                return None, StopReason.END
            if not trail.new_cursor(cursor):
                return None, StopReason.SEEN_CURSOR
            # Some interfaces give the whole address of the next page in the cursor's place.
            if cursor.startswith(("http://", "https://", "/")):
                following = join(url, cursor)
            else:
                following = with_query(url, {pagination.cursor_param: cursor})
    if following is None or len(following) > MAX_URL_CHARS:
        return None, StopReason.END
    if canonical_url(following) == canonical_url(url):  # a last page that calls itself the next
        return None, StopReason.END
    return (following, None) if trail.first_visit(following) else (None, StopReason.SEEN_URL)


def read_cursor(body: bytes, path: str) -> str | None:
    """The next cursor a JSON body names, or None: no JSON, no cursor, or one that says that this was the end."""
    try:
        value = jmespath.search(path, load_json(body))
    except Exception:  # a body that is no JSON, nested past the library's depth or too much of it
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    cursor = str(value)
    return cursor if len(cursor) <= MAX_CURSOR_CHARS else None


def sends_limit(pagination: Pagination) -> bool:
    """Whether the page size is the configuration's wish (and sent) or just the default (and not)."""
    return bool(pagination.model_fields_set & {"limit_param", "page_size"})


def query_value(url: str, name: str) -> str | None:
    """The value of a query parameter, or None."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)).get(name)


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else default
