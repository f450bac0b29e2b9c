"""Links of a page: made absolute, compared by shape, and read for the id they carry."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

from fill_pipeline.extract.gazetteer import canonical_make

_SCHEME = re.compile(r"(?:javascript|mailto|tel|data|about|sms|blob|file|intent|whatsapp|viber)\s*:", re.I)
_NAMED_ID = re.compile(r"id=([\w\-]{2,40})", re.I)
_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?<![\d.])\d{5,14}(?!\d)")
_HREF = re.compile(r"""\bhref\s*=\s*["']?([^"'\s>]{1,2000})""", re.I)
_WEB = ("https://", "http://")
_LONGEST = 4_000  # characters of an address
_DIGITS = re.compile(r"\d+")


def canonical_address(page: str, start: int, url: str) -> str:
    """A page's own address: its canonical link (after ``start``) where it names a page, else where it was got."""
    at = page.find("canonical", start, 300_000)
    for _ in range(4):
        if at < 0:
            break
        begins = page.rfind("<", max(0, at - 1_200), at)
        match = _HREF.search(page[begins : page.find(">", at) + 1][:2_500]) if begins >= 0 else None
        link = absolute(url, match[1]) if match and page.startswith("<link", begins) else None
        if link and link.rstrip("/").count("/") > 2:
            return link
        at = page.find("canonical", at + 9, 300_000)
    return url


def absolute(base_url: str, url: str) -> str | None:
    """An http(s) URL made absolute against the page's own, None for anything else (mailto:, fragments, garbage)."""
    if url.startswith(_WEB) and url[-1].isalnum() and " " not in url and len(url) <= _LONGEST:
        return url
    url = url.strip().strip("<>")
    if not url or url[0] == "#" or len(url) > _LONGEST:
        return None
    if url.startswith(_WEB):
        return url if " " not in url else url.replace(" ", "%20")
    if _SCHEME.match(url):
        return None
    if url[0] == "/" and url[1:2] != "/" and "/." not in url:
        origin = _origin(base_url)
        if origin:
            return origin + (url if " " not in url else url.replace(" ", "%20"))
    try:
        joined = urljoin(base_url, url)
    except ValueError:
        return None
    return joined.replace(" ", "%20") if joined.startswith(("http://", "https://")) else None


@lru_cache(maxsize=256)
def _origin(url: str) -> str | None:
    """Scheme and host of a page's address, None where it has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") and parts.netloc else None


def id_in_url(url: str) -> str | None:
    """The id that a detail URL carries: an id parameter, a UUID or the last number of five digits or more in it."""
    path, _, query = url.partition("#")[0].partition("?")
    path = path.partition("://")[2].partition("/")[2] or path
    words = f"/{path[-300:]}?{query[:200]}"
    named = _NAMED_ID.search(words) if "=" in words else None
    if named is not None:
        return named[1]
    found = _ID.findall(words)
    return found[-1] if found else None


def link_shape(url: str) -> str:
    """What links to pages of one kind have in common: host, path depth, first part, whether numbers are in it."""
    rest, _, query = url.partition("?")
    host, _, path = rest.partition("://")[2].partition("/")
    pieces = [piece for piece in path.split("/") if piece]
    first = _first_part(pieces[0][:40]) if len(pieces) > 1 else ""
    last = pieces[-1] if pieces else ""
    extension = last.rpartition(".")[2][:6] if "." in last[-6:] else ""
    keys = ",".join(sorted({pair.partition("=")[0] for pair in query.split("&") if pair})[:3]) if query else ""
    return f"{host}|{len(pieces)}|{first}|{extension}|{keys}"


@lru_cache(maxsize=4096)
def _first_part(piece: str) -> str:
    """The first part of a path as links of one kind share it: numbers and makes differ from link to link."""
    return "{make}" if canonical_make(piece.replace("-", " ")) else _DIGITS.sub("0", piece)


def host_of(url: str) -> str:
    """The lower-case host of a URL, "" where it has none."""
    path = url.find("/", url.find("://") + 3)
    return _host(url if path < 0 else url[:path])


@lru_cache(maxsize=1024)
def _host(origin: str) -> str:
    try:
        return (urlsplit(origin).hostname or "").lower()
    except ValueError:
        return ""
