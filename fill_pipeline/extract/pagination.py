"""What a search page says of its neighbours: the next page, and how many results there are. By scan, without a tree."""

from __future__ import annotations

import html
import re
from itertools import islice
from typing import Any

from fill_pipeline.extract.urls import absolute

_REL_NEXT = re.compile(r"<(?:a|link)\b(?=[^>]{0,1500}\brel\s*=\s*[\"']?[\w ]*\bnext\b)[^>]{0,1500}>", re.I)
_HREF = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))""", re.I)
_LABEL = re.compile(r"""\b(?:aria-label|title)\s*=\s*["']([^"']{1,60})["']""", re.I)
_TAGS = re.compile(r"<[^>]*>")
_NEXT_WORDS = frozenset(
    [
        "next",
        "next page",
        "weiter",
        "nächste",
        "nächste seite",
        "volgende",
        "volgende pagina",
        "suivant",
        "page suivante",
        "suivante",
        "older",
        "older posts",
        "next »",
        "next ›",
        "next >",
        "›",
        "»",
        ">",
        ">>",
        "→",
        "more results",
        "siguiente",
    ]
)
_NEEDLES = ("ext", "EXT", "eiter", "chste", "olgende", "uivant", "ore results", "lder", "›", "»", "&raquo;",
            "&rsaquo;", "→", "&gt;")  # fmt: skip
_LINK = re.compile(r"<a\s")
_MAX_HITS = 60  # places looked at for one needle
_MAX_LINKS = 6_000
_LONGEST_LINK = 3_000  # characters


def next_link(page: str, url: str) -> str | None:
    """The address of the next page: ``rel=next``, else a link whose words say "next" in one of the languages."""
    if "next" in page:
        for hit in _hits(page, "next"):
            start = page.rfind("<", max(0, hit - 1600), hit)
            match = _REL_NEXT.match(page, start) if start >= 0 else None
            if match:
                link = _target(match[0], url)
                if link:
                    return link
    found: tuple[int, str] | None = None  # the place of its word among the needles, and the address
    needles = [(rank, needle) for rank, needle in enumerate(_NEEDLES) if needle in page]
    for match in islice(_LINK.finditer(page), _MAX_LINKS):
        start = match.start()
        end = page.find("</a", start, start + _LONGEST_LINK)
        link = page[start:end] if end >= 0 else ""
        rank = next((rank for rank, needle in needles if needle in link), None)
        if rank is None or (found is not None and rank >= found[0]):
            continue
        opening = link[: link.find(">") + 1]
        label = _LABEL.search(opening)
        said = " ".join(html.unescape(_TAGS.sub(" ", link)).split()).lower()
        named = label[1].strip().lower() if label else ""
        if said in _NEXT_WORDS or said.strip(" »›>→") in _NEXT_WORDS or named in _NEXT_WORDS:
            target = _target(opening, url)
            if target and target != url:
                found = (rank, target)
    return found[1] if found else None


def _hits(page: str, needle: str) -> list[int]:
    out: list[int] = []
    at = page.find(needle)
    while at >= 0 and len(out) < _MAX_HITS:
        out.append(at)
        at = page.find(needle, at + len(needle))
    return out


def _target(tag: str, url: str) -> str | None:
    match = _HREF.search(tag)
    href = next((group for group in match.groups() if group), None) if match else None
    return absolute(url, html.unescape(href)) if href else None


_NOUNS = (
    "results", "Results", "vehicles", "Vehicles", "listings", "Listings", "matches", "Matches", "cars for",
    "Cars for", "cars found", "cars available",
    "ads", "auctions", "Ergebnisse", "Treffer", "Angebote", "Fahrzeuge", "resultaten", "aanbiedingen", "voertuigen",
    "résultats", "annonces", "véhicules",
)  # fmt: skip
_COUNT = r"\d{1,3}(?:[.,  ]\d{3})+|\d{1,7}"
_BEFORE_NOUN = re.compile(
    rf"(?<![\d.,$€£\-/])({_COUNT})\+?\s+(?:(?:new|used|certified|matching|total|available|active|search|gebrauchte|"
    rf"neue|passende|live|car|"
    r"vehicle|auction|more|and|&|pre-owned|classic|gevonden|tweedehands|d'occasion)\s+){0,3}\Z",
    re.I,
)
_OF = re.compile(
    rf"(?<!\d)\d{{1,6}}\s*(?:-|–|—|to|bis|tot|à)\s*\d{{1,6}}\s+(?:of|von|van|de|sur|out of)\s+(?:about |"
    rf"over )?({_COUNT})(?!\d)",
    re.I,
)


def stated_count(page: str) -> int | None:
    """How many results the page's words say there are: "1–20 of 1,204", "1,204 vehicles"; None where they do not."""
    for joiner in (" of ", " von ", " van ", " sur "):
        for hit in _hits(page, joiner):
            window = _TAGS.sub("", page[max(0, hit - 60) : hit + 40])
            match = _OF.search(" ".join(window.split()))
            if match:
                return _digits(match[1])
    for noun in _NOUNS:
        for hit in _hits(page, noun):
            if page[hit - 1 : hit].isalpha():
                continue
            window = html.unescape(_TAGS.sub(" ", page[max(0, hit - 120) : hit]))
            window = window.rpartition(">")[2] if ">" in window else window
            match = _BEFORE_NOUN.search(" ".join(window.split()) + " ")
            if match:
                count = _digits(match[1])
                if count is not None and not (1900 <= count <= 2040 and "," not in match[1]):
                    return count
    return None


def _digits(text: str) -> int | None:
    digits = re.sub(r"\D", "", text)
    return int(digits) if 0 < len(digits) <= 8 else None


_TOTAL_KEYS = (
    "total", "totalCount", "totalResults", "numberOfResults", "totalListingCount", "totalListings", "resultCount",
    "numResults", "numResultsTotal",
    "total_count", "totalNumberOfListings", "numFound", "totalElements", "totalHits", "nbHits", "totalItems",
    "total_results", "numberOfItems", "count",
    "totalMatches", "total_items", "totalVehicles", "matchingCount",
)  # fmt: skip


def stated_total(data: Any, depth: int = 4) -> int | None:
    """The number of results that decoded JSON says it has, looked for breadth first; None where it does not."""
    level = [data] if isinstance(data, dict) else []
    for _ in range(depth + 1):
        below: list[dict[str, Any]] = []
        for node in level[:200]:
            for key in _TOTAL_KEYS:
                value = node.get(key)
                if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 100_000_000:
                    return value
            below.extend(value for value in node.values() if isinstance(value, dict))
        level = below
    return None
