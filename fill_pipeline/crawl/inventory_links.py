"""Finding the way from a site's front page to its stock, for a source about which nothing is configured."""

from __future__ import annotations

import html
import re

from fill_pipeline.crawl.urls import join

MAX_LINKS = 6
_MAX_BODY_BYTES = 1_000_000
_ANCHOR = re.compile(
    rb"""<a\s[^<>]{0,1000}?href\s{0,5}=\s{0,5}(?:"([^"<>]{1,1000})"|'([^'<>]{1,1000})')[^<>]{0,1000}>([^<]{0,200})""",
    re.IGNORECASE,
)
# What sites call the list of their vehicles, in the languages of the sources at hand.
_STOCK = re.compile(
    r"inventory|vehicles?\b|(?:used|new|pre[- _]?owned|classic|all|our)[- _](?:cars|trucks|autos|vehicles|stock)|"
    r"cars?[- _]for[- _]sale|for[- _]sale|\bstock(?:list)?\b|showroom|listings\b|\bauctions?\b|\bcars\b|\bautos\b|"
    r"fahrzeuge|gebrauchtwagen|autos?[- _]?suche|angebote|occasions?\b|voitures|aanbod|coches|veicoli",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"login|sign|account|sell|finance|service|parts|blog|news|about|contact|privacy|terms|career|review|trade|value|"
    r"\.(?:pdf|jpe?g|png|webp|css|js|xml)\b",
    re.IGNORECASE,
)
_DETAIL = re.compile(r"\d{4,}|\b[A-HJ-NPR-Z0-9]{17}\b")


def inventory_links(body: bytes, base_url: str) -> list[str]:
    """The links of a page that promise a list of vehicles, best first, at most ``MAX_LINKS``; never raises."""
    scores: dict[str, int] = {}
    for double, single, words in _ANCHOR.findall(body[:_MAX_BODY_BYTES]):
        url = join(base_url, html.unescape((double or single).decode("utf-8", "replace")))
        if url is None or url.partition("?")[0] == base_url.partition("?")[0]:
            continue
        path = url.split("/", 3)[3]
        text = html.unescape(words.decode("utf-8", "replace")).strip()
        if _ELSEWHERE.search(path) or _DETAIL.search(path):
            continue
        score = 2 * bool(_STOCK.search(text)) + 3 * bool(_STOCK.search(path))
        if score:
            # A short path is the list itself, a long one a selection from it.
            scores[url] = max(scores.get(url, 0), 10 * score - path.count("/") - 2 * path.count("="))
    return sorted(scores, key=lambda url: -scores[url])[:MAX_LINKS]
