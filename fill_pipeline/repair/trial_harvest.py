"""Try a configuration on a source's index: a short harvest, written nowhere, that says how many listings it finds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from fill_pipeline.crawl.choices import PaginationType
from fill_pipeline.crawl.config import parse_source_config
from fill_pipeline.crawl.index_walk import HarvestLimits, IndexWalk, SourceToCrawl
from fill_pipeline.crawl.urls import canonical_url, join, same_site
from fill_pipeline.db.improvement import KnownListing
from fill_pipeline.drain.work import Source
from fill_pipeline.extract.dom import attribute, css, parse
from fill_pipeline.extract.page import PageKind, extract_page
from fill_pipeline.repair.ask import Asker, FreshPage

TRIAL_PAGES = 3
MIN_RECORDS = 2
_CURSOR_NAMES = ("cursor", "after", "next", "page_token", "pageToken", "continuation", "token", "p", "pg", "pn", "page")


@dataclass(slots=True)
class TrialHarvest:
    """What a short harvest gave: listings' addresses, how many of them we know, and its pages."""

    config: dict[str, Any]
    urls: list[str] = field(default_factory=list)
    known: int = 0
    pages: list[FreshPage] = field(default_factory=list)
    says_empty: bool = False

    @property
    def found(self) -> int:
        """How many different listings."""
        return len(self.urls)


def try_config(asker: Asker, source: Source, raw: dict[str, Any], known_urls: frozenset[str]) -> TrialHarvest:
    """Harvest up to three index pages with this configuration (as the registry holds it)."""
    config = parse_source_config(raw)
    short = config.model_copy(update={"pagination": config.pagination.model_copy(update={"max_pages": TRIAL_PAGES})})
    walk = IndexWalk(SourceToCrawl(source.slug, source.row.base_url, short), HarvestLimits(attempts=1), sitemaps=[])
    trial = TrialHarvest(raw)
    seen: dict[str, None] = {}
    for _ in range(TRIAL_PAGES):
        url = walk.next_url
        if url is None:
            break
        walk.request(0.0)
        page = asker.page(url)
        if page is None:
            break
        trial.pages.append(page)
        if page.response is None or page.failure is not None:
            break
        result = walk.receive(page.response, 0.0)
        if result is None:
            break
        seen.update(dict.fromkeys(_canonical(url for url, _, _ in result.detail_urls)))
        trial.says_empty |= result.expected_count == 0 or (not result.detail_urls and _says_empty(page))
        if result.is_last:
            break
    trial.urls = list(seen)
    trial.known = sum(url in known_urls for url in trial.urls)
    return trial


def variants(
    raw: dict[str, Any], page: FreshPage, known: Sequence[KnownListing], base_url: str
) -> Iterator[dict[str, Any]]:
    """Other configurations worth a try, given an index page as it is today; the simplest first."""
    config = parse_source_config(raw)
    if config.pagination.type in (PaginationType.SITEMAP, PaginationType.FEED):
        if config.pagination.sitemap_pattern:
            yield _changed(raw, pagination={"sitemap_pattern": None})
        return
    if page.body.lstrip()[:1] in (b"{", b"["):
        yield from _json_variants(raw, page, known)
        return
    loose = _changed(raw, index={"link_selector": None, "items_path": None}, pagination={"next_selector": None})
    if not _pattern_fits(config.index.link_pattern, known):
        loose = _changed(loose, index={"link_pattern": None})
    for name in _counting_names(page):
        if config.pagination.type is PaginationType.PAGE:
            yield _changed(loose, pagination={"page_param": name})
        elif config.pagination.type is PaginationType.OFFSET:
            yield _changed(loose, pagination={"offset_param": name})
    followed = {key: value for key, value in loose.items() if key != "pagination"}
    yield {**followed, "pagination": {"type": "next_link"}}
    yield loose


def _json_variants(raw: dict[str, Any], page: FreshPage, known: Sequence[KnownListing]) -> Iterator[dict[str, Any]]:
    try:
        data = orjson.loads(page.body)
    except orjson.JSONDecodeError:
        return
    arrays = sorted(_arrays(data, ""), key=lambda found: -len(found[1]))
    if not arrays:
        return
    path, records = arrays[0]
    index: dict[str, Any] = {"items_path": path}
    template = _template(records, known)
    if template is not None:
        index["url_template"] = template
    elif raw.get("index", {}).get("url_template"):
        index["url_template"] = None
    changed = _changed(raw, index=index)
    pagination = raw.get("pagination", {})
    if pagination.get("type") != PaginationType.CURSOR:
        yield changed
        return
    for cursor_path in _cursor_paths(data)[:3] or [pagination.get("cursor_path", "next_cursor")]:
        with_path = _changed(changed, pagination={"cursor_path": cursor_path})
        yield with_path
        for name in _CURSOR_NAMES:
            if name != pagination.get("cursor_param", "cursor"):
                yield _changed(with_path, pagination={"cursor_param": name})


def _arrays(data: Any, path: str, depth: int = 5) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The arrays of records in a JSON body, each with its JMESPath."""
    if isinstance(data, list):
        records = [item for item in data if isinstance(item, dict)]
        if len(records) >= MIN_RECORDS and len(records) == len(data) and len(records[0]) >= 3:
            yield path or "@", records
    elif isinstance(data, dict) and depth:
        for key, value in list(data.items())[:100]:
            yield from _arrays(value, f"{path}.{_key(key)}" if path else _key(key), depth - 1)


def _cursor_paths(data: Any) -> list[str]:
    """Keys outside the records whose value could be a cursor: a string that is no sentence."""
    found = []
    if isinstance(data, dict):
        for key, value in data.items():
            if isinstance(value, str) and 1 <= len(value) <= 500 and " " not in value:
                found.append(_key(key))
            elif isinstance(value, dict):
                found += [f"{_key(key)}.{path}" for path in _cursor_paths(value)[:5]]
    return sorted(found, key=lambda path: not re.search(r"next|cursor|after|token|continu", path, re.I))


def _template(records: Sequence[dict[str, Any]], known: Sequence[KnownListing]) -> str | None:
    """A URL template: the path of a known listing with the parts that its record holds replaced by their keys."""
    by_value: dict[str, dict[str, Any]] = {}
    for record in records:
        for value in record.values():
            if isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) >= 4:
                by_value.setdefault(str(value), record)
    votes: Counter[str] = Counter()
    for listing in known:
        path = urlsplit(listing.url).path
        parts = [part for part in re.split(r"[/?&=.-]", path) if part in by_value]
        if not parts:
            continue
        record = by_value[parts[0]]
        template = path
        for key, value in sorted(record.items(), key=lambda item: -len(str(item[1]))):
            if isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) >= 4:
                template = re.sub(rf"(?<=[/=-]){re.escape(str(value))}(?=[/.&-]|$)", "{" + key + "}", template, count=1)
        if re.fullmatch(r"[^{}]*(?:\{[\w.]+\}[^{}]*)+", template):
            votes[template] += 1
    best = votes.most_common(1)
    return best[0][0] if best and best[0][1] >= MIN_RECORDS else None


def _counting_names(page: FreshPage) -> list[str]:
    """Query parameters with which the page links to its own other pages, the most used first."""
    path = urlsplit(page.final_url).path.rstrip("/")
    votes: Counter[str] = Counter()
    for node in css(parse(page.body.decode("utf-8", errors="replace")), "a[href]")[:3000]:
        parts = urlsplit(join(page.final_url, attribute(node, "href")) or "")
        if parts.path.rstrip("/") == path and same_site(parts.geturl(), page.final_url):
            votes.update(name for name, value in parse_qsl(parts.query) if value.isdigit() and len(value) < 7)
    return [name for name, _ in votes.most_common(3)]


def _pattern_fits(pattern: str | None, known: Sequence[KnownListing]) -> bool:
    return pattern is None or sum(re.search(pattern, one.url) is not None for one in known) * 2 >= len(known)


def _changed(raw: dict[str, Any], **sections: dict[str, Any]) -> dict[str, Any]:
    """The configuration with keys of sections set, or taken out where the new value is None."""
    changed = dict(raw)
    for name, values in sections.items():
        section = {**raw.get(name, {}), **values}
        changed[name] = {key: value for key, value in section.items() if value is not None}
        if not changed[name]:
            del changed[name]
    return changed


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z_]\w*", key) else orjson.dumps(key).decode()


def _canonical(urls: Iterable[str]) -> Iterator[str]:
    for url in urls:
        try:
            yield canonical_url(url)
        except ValueError:
            continue


def _says_empty(page: FreshPage) -> bool:
    return (
        extract_page(page.body, url=page.final_url, content_type=page.content_type, kind="search").kind
        is PageKind.EMPTY
    )
