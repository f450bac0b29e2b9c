"""Learn how a site is crawled: where its list of vehicles is, how it goes on, the smallest configuration for that."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fill_pipeline.crawl.sitemap import read_feed, read_sitemap
from fill_pipeline.crawl.urls import join, same_site
from fill_pipeline.discovery.signs import Links, read_links
from fill_pipeline.discovery.visit import Page, Visit
from fill_pipeline.extract.dom import attribute, css
from fill_pipeline.extract.gazetteer import find_make_model
from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.page import PageResult, extract_page
from fill_pipeline.extract.urls import link_shape

MAX_INDEX_PAGES = 4
MAX_SITEMAPS = 3
MIN_CARDS = 2
NAMED_INDEX = 3.0  # cards' worth
_MAX_XML = 32_000_000
_INDEX_WORDS = re.compile(
    r"inventory|vehicles?\b|\bcars?\b|\bautos?\b|for[ -]sale|used|pre-?owned|stock|listings?\b|auctions?\b|lots\b|"
    r"search|showroom|browse|"
    r"fahrzeuge|gebrauchtwagen|angebote|bestand|occasions?|voertuigen|aanbod|véhicules?|voitures|annonces",
    re.I,
)
_OTHER_WORDS = re.compile(
    r"parts|service|financ|insurance|about|contact|privacy|terms|login|sign|sell|value|trade|blog|news|career|review|faq|help|"
    r"compare|saved|favou?rite|calculator|accessor|rental|impressum|datenschutz|versicherung|finanz|verkaufen",
    re.I,
)
_ALL = re.compile(r"\b(?:all|browse|view|search|alle|tous|toutes|voir)\b", re.I)
_PAGE_NAME = re.compile(r"^(?:p|pg|pn|page|pagenumber|page_no|pageno|currentpage|seite|pagina|paged)$", re.I)
_OFFSET_NAME = re.compile(r"^(?:s|offset|start|from|skip|first|begin)$", re.I)
_DETAIL_PATH = re.compile(
    r"vehicle|inventory|listing|\bcar\b|/used|/auto|/stock|/lot|/view|/detail|fahrzeug|/ad/", re.I
)


@dataclass(slots=True)
class IndexPage:
    """A page that lists vehicles and what was read from it."""

    page: Page
    result: PageResult
    weight: float

    @property
    def cards(self) -> list[Listing]:
        """The vehicles as their cards give them, those with a page of their own."""
        return [card for card in self.result.listings if card.url]


@dataclass(slots=True)
class Learned:
    """How a site is to be crawled. ``samples`` are listings' pages to try, with what the index said of each."""

    config: dict[str, Any]
    samples: list[tuple[str, Listing | None]]
    count: int
    how: str
    modified: list[Any] = field(default_factory=list)
    card_price_share: float = 0.0
    complete: bool = True


def find_index(visit: Visit, home: Page, hints: list[str]) -> IndexPage | None:
    """The page that lists most vehicles among the front page and the few that it names as such."""
    pages = [home]
    _, links = read_links(home.body, home.url)
    wanted = dict.fromkeys(
        url for url in [*hints, *_likely(links, home.url)] if url.rstrip("/") != home.url.rstrip("/")
    )
    for url in list(wanted)[:MAX_INDEX_PAGES]:
        if (page := visit.try_page(url)) is not None:
            pages.append(page)
    best: IndexPage | None = None
    for page in pages:
        found = read_index(page)
        if found is None:
            continue
        if page is not home:
            found.weight += NAMED_INDEX  # a front page shows a choice, and a list that is named as such the whole
        if best is None or found.weight > best.weight:
            best = found
    return best


def read_index(page: Page) -> IndexPage | None:
    """The page as a list of vehicles, or None where it is none."""
    result = extract_page(page.body, url=page.url, content_type=page.content_type, kind="search")
    own = [card for card in result.listings if card.url and same_site(card.url, page.url)]
    if len(own) < MIN_CARDS and not (own and result.expected_count == len(own)):
        return None
    result.listings = own
    priced = sum(card.price is not None for card in own)
    weight = len(own) * (0.3 + priced / len(own)) + (5 if result.next_url else 0)
    return IndexPage(page, result, weight)


def learn_index(visit: Visit, index: IndexPage, base_url: str) -> Learned:
    """The configuration that walks from this index page on, its next page tried."""
    config: dict[str, Any] = {}
    path = _relative(index.page.url, base_url)
    if path != "/":
        config["index"] = {"urls": [path]}
    pagination, following = _pagination(index)
    known = {card.url for card in index.cards}
    complete = True
    if following is not None and visit.left > 2:
        page = visit.try_page(following)
        second = read_index(page) if page is not None else None
        news = [card for card in second.cards if card.url not in known] if second is not None else []
        if news:
            config.update(pagination)
        else:
            following = None
    expected = index.result.expected_count
    if following is None and expected is not None and expected > 1.5 * len(known):
        complete = False  # it says that it has more than it shows, and where the rest is was not found
    return Learned(
        config=config,
        samples=[(card.url or "", card) for card in index.cards],
        count=max(expected or 0, len(known)) if complete else len(known),
        how=f"{len(known)} vehicles on {path}" + (", which goes on" if following else ""),
        card_price_share=sum(card.price is not None for card in index.cards) / max(1, len(index.cards)),
        complete=complete,
    )


def learn_sitemap(visit: Visit, home: Page) -> Learned | None:
    """The configuration that follows the site's sitemaps, where they list pages of vehicles."""
    queue = visit.robots(home.url).sitemaps[:MAX_SITEMAPS] or [join(home.url, "/sitemap.xml") or home.url]
    by_shape: defaultdict[str, list[tuple[str, Any]]] = defaultdict(list)
    for _ in range(MAX_SITEMAPS + 1):
        if not queue or visit.left <= 2:
            break
        page = visit.try_page(queue.pop(0))
        if page is None:
            continue
        found = read_sitemap(page.body, page.url, _MAX_XML)
        children = [child.url for child in found.sitemaps if same_site(child.url, home.url)]
        queue += sorted(children, key=lambda url: not (_INDEX_WORDS.search(url) or _DETAIL_PATH.search(url)))
        for entry in found.pages:
            if same_site(entry.url, home.url):
                by_shape[link_shape(entry.url)].append((entry.url, entry.modified_at))
    return _from_groups(list(by_shape.values()), "sitemap", {"type": "sitemap"})


def learn_feed(visit: Visit, home: Page) -> Learned | None:
    """The configuration that reads the site's feed, where it has one that lists vehicles."""
    tree, _ = read_links(home.body, home.url)
    links = css(
        tree, "link[rel=alternate][type*=rss], link[rel=alternate][type*=atom], link[rel=alternate][type*=feed]"
    )
    for node in links[:2]:
        url = join(home.url, attribute(node, "href"))
        page = visit.try_page(url) if url is not None and same_site(url, home.url) else None
        if page is None:
            continue
        entries = read_feed(page.body, page.url, _MAX_XML).pages
        named = [(e.url, e.modified_at) for e in entries if e.title and find_make_model(e.title)]
        if len(named) >= MIN_CARDS and len(named) * 2 >= len(entries):
            learned = _from_groups([named], "feed", {"type": "feed"})
            if learned is not None:
                learned.config["index"] = {"urls": [_relative(page.url, home.url)]}
                learned.config["pagination"].pop("sitemap_pattern", None)
            return learned
    return None


def pattern_of(urls: list[str]) -> str:
    """A regular expression that these listing addresses share: their fixed words kept, numbers and names left open."""
    paths = [urlsplit(url).path for url in urls]
    split = [path.strip("/").split("/") for path in paths]
    if len({len(pieces) for pieces in split}) != 1:
        return re.escape(_common_prefix(paths)) or "/"
    parts = []
    for column in zip(*split, strict=True):
        if len(set(column)) == 1 and not re.search(r"\d{4,}", column[0]):
            parts.append(re.escape(column[0]).replace(r"\-", "-"))
        elif all(re.fullmatch(r"\d+", piece) for piece in column):
            parts.append(r"\d+")
        else:
            parts.append("[^/?]+")
    return "/" + "/".join(parts) + ("/?$" if parts and parts[-1] != "" else "")


def _from_groups(groups: list[list[tuple[str, Any]]], how: str, pagination: dict[str, Any]) -> Learned | None:
    """The group of addresses that are most likely vehicles' pages."""

    def promise(entries: list[tuple[str, Any]]) -> float:
        sample = entries[:: max(1, len(entries) // 40)][:40]
        named = sum(find_make_model(_words(url)) is not None for url, _ in sample) / len(sample)
        says = sum(_DETAIL_PATH.search(url) is not None for url, _ in sample) / len(sample)
        return len(entries) * (named + 0.3 * says) if named >= 0.3 or says >= 0.8 else 0.0

    best = max(groups, key=promise, default=[])
    if len(best) < 1 or promise(best) <= 0:
        return None
    urls = [url for url, _ in best]
    pagination = {**pagination, "sitemap_pattern": pattern_of(urls[:200])}
    spread = urls[:: max(1, len(urls) // 12)][:12]
    modified = [moment for _, moment in best if moment is not None]
    return Learned(
        config={"pagination": pagination},
        samples=[(url, None) for url in spread],
        count=len(urls),
        how=f"{len(urls)} addresses in the {how}",
        modified=modified,
    )


def _likely(links: Links, home_url: str) -> list[str]:
    """Links of the front page that name a list of vehicles, the most promising first."""
    scored: list[tuple[float, int, str]] = []
    for at, (url, words) in enumerate(links.inner):
        parts = urlsplit(url)
        if parts.path in ("", "/") and not parts.query:
            continue
        score = 0.0
        score += 2.0 if _INDEX_WORDS.search(words) else 0.0
        score += 1.5 if _INDEX_WORDS.search(parts.path) else 0.0
        score += 1.0 if _ALL.search(words) else 0.0
        score -= 3.0 if _OTHER_WORDS.search(words) or _OTHER_WORDS.search(parts.path) else 0.0
        score -= 1.0 if re.search(r"\d{4,}", parts.path) else 0.0  # a page of one vehicle rather
        score -= 0.5 * len(parse_qsl(parts.query)) + 0.2 * parts.path.strip("/").count("/")
        if score > 0.5:
            scored.append((-score, at, url))
    return [url for _, _, url in sorted(scored)]


def _pagination(index: IndexPage) -> tuple[dict[str, Any], str | None]:
    """How the index goes on: by a link to the next page (the default), or by a number in the address."""
    if index.result.next_url and same_site(index.result.next_url, index.page.url):
        return {}, index.result.next_url
    _, links = read_links(index.page.body, index.page.url)
    path = urlsplit(index.page.url).path
    values: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for url, _ in links.inner:
        parts = urlsplit(url)
        if parts.path.rstrip("/") != path.rstrip("/"):
            continue
        for name, value in parse_qsl(parts.query):
            if value.isascii() and value.isdigit() and len(value) < 7:
                values[name][int(value)] = url
    for name, numbers in values.items():
        if _PAGE_NAME.match(name) and 2 in numbers:
            return {"pagination": {"type": "page", "page_param": name, "start": 1}}, numbers[2]
    for name, numbers in values.items():
        steps = sorted(number for number in numbers if number > 0)
        if _OFFSET_NAME.match(name) and steps:
            step = Counter(b - a for a, b in zip([0, *steps], steps, strict=False)).most_common(1)[0][0]
            if step > 1 and step in numbers:
                pagination = {"type": "offset", "offset_param": name}
                return {"pagination": pagination}, numbers[step]
    return {}, None


def _relative(url: str, base_url: str) -> str:
    parts, base = urlsplit(url), urlsplit(base_url)
    if parts.netloc != base.netloc:
        return url
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _words(url: str) -> str:
    return re.sub(r"[/\-_.+]+", " ", urlsplit(url).path)[-160:]


def _common_prefix(paths: list[str]) -> str:
    first, last = min(paths), max(paths)
    at = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:at].rpartition("/")[0] + "/"
