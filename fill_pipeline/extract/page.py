"""One page to listings: the layers in order, the cheap ones first, the tree parsed at most once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from fill_pipeline.extract.cards import detail_links, find_cards, read_card
from fill_pipeline.extract.charset import decode_body, looks_like_json, strip_json_prefix
from fill_pipeline.extract.detail import read_detail
from fill_pipeline.extract.dom import attribute, css, parse, strip_noise
from fill_pipeline.extract.evidence import CORE_FIELDS, FieldExplanation, Reading
from fill_pipeline.extract.finish import finish
from fill_pipeline.extract.gazetteer import find_make_model
from fill_pipeline.extract.listing import Layer, Listing
from fill_pipeline.extract.microdata import meta_record, microdata_records
from fill_pipeline.extract.records import find_record_groups, is_vehicle_record, linked_records, read_record
from fill_pipeline.extract.rules import ExtractRules, apply_css, apply_paths, fill_template, search_path
from fill_pipeline.extract.scripts import parse_tolerant, script_data
from fill_pipeline.extract.urls import absolute, id_in_url

_MAX_LISTINGS = 2_000


class PageKind(StrEnum):
    """What a page is."""

    DETAIL = "detail"  # one vehicle
    SEARCH = "search"  # several vehicles, each with a link of its own
    EMPTY = "empty"  # a page that works but lists nothing
    OTHER = "other"  # no page of vehicles: an error, a login, a captcha, a blog


@dataclass(slots=True)
class PageResult:
    """What one page gives."""

    kind: PageKind
    listings: list[Listing] = field(default_factory=list)
    next_url: str | None = None
    links: list[str] = field(default_factory=list)
    expected_count: int | None = None
    reason: str | None = None
    explain: list[FieldExplanation] = field(default_factory=list)


def extract_page(
    body: bytes,
    *,
    url: str,
    content_type: str | None = None,
    kind: str = "auto",
    rules: ExtractRules | None = None,
    structured: bool = True,
    explain: bool = False,
) -> PageResult:
    """The listings of one page.

    ``body`` is HTML or JSON as received, decompressed; ``url`` its address, against which links are resolved; ``kind``
    is "detail", "search" or "auto". Without ``structured`` only what a person sees is used. Never raises: a page that
    cannot be read gives an empty result with its reason.
    """
    try:
        text = decode_body(body, content_type)
        if not text.strip():
            return PageResult(PageKind.OTHER, reason="the body is empty")
        if looks_like_json(text, content_type):
            return _extract_json(text, url, kind, rules or ExtractRules(), explain)
        return _HtmlPage(text, url, rules or ExtractRules(), structured, explain).extract(kind)
    except Exception as error:  # a hostile page must cost only itself
        return PageResult(PageKind.OTHER, reason=f"the page cannot be read: {type(error).__name__}: {str(error)[:120]}")


def _extract_json(text: str, url: str, kind: str, rules: ExtractRules, explain: bool) -> PageResult:
    data = parse_tolerant(strip_json_prefix(text))
    if data is None:
        return PageResult(PageKind.OTHER, reason="the body is no JSON")
    expected = expected_total(data)
    if rules.items_path:
        found = search_path(rules.items_path, data)
        items = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
        groups = [(rules.items_path, items)] if items else []
        if not items and isinstance(found, list):
            return PageResult(PageKind.EMPTY, expected_count=expected, reason="the list of records is empty")
    else:
        linked = [record for record in linked_records(data) if is_vehicle_record(record)]
        groups = [("json-ld", linked)] if linked else list(find_record_groups(data, "json"))
        if not groups and isinstance(data, dict) and is_vehicle_record(data):
            groups = [("json", [data])]
    if not groups:
        empty = _empty_list(data)
        return PageResult(
            PageKind.EMPTY if empty else PageKind.OTHER,
            expected_count=expected,
            reason="the list of records is empty" if empty else "no record in the JSON has the keys of a vehicle",
        )
    locator, records = best_group(groups, url, kind)
    detail = (
        kind == "detail" or (kind == "auto" and len(records) == 1 and "[]" not in locator and not locator.endswith(".*"))
    )
    if len(records) == 1 and kind == "auto" and isinstance(data, list):
        detail = False
    readings: list[Reading] = []
    for record in records[: 1 if detail else _MAX_LISTINGS]:
        reading = Reading(explain)
        apply_paths(rules.detail if detail else rules.card, record, reading, url)
        if rules.url_template:
            link = fill_template(rules.url_template, record)
            reading.offer("url", absolute(url, link) if link else None, Layer.RULES, rules.url_template, 0.98)
        read_record(record, reading, layer=Layer.STATE, locator=locator, base_url=url)
        readings.append(reading)
    listings = [finish(reading, url=url if detail else None) for reading in readings]
    explanations = [item for reading in readings for item in reading.explanations()] if explain else []
    return PageResult(
        PageKind.DETAIL if detail else PageKind.SEARCH,
        listings,
        links=[] if detail else [listing.url for listing in listings if listing.url],
        expected_count=expected,
        explain=explanations,
    )


def best_group(groups: list[tuple[str, list[dict[str, Any]]]], url: str, kind: str) -> tuple[str, list[dict[str, Any]]]:
    """The records that a page is about: on a search page the longest list, on a detail page the one that the address
    names, else the first that stands alone."""
    identity = id_in_url(url)
    if kind != "search" and identity:
        for locator, records in groups:
            for record in records:
                if len(groups) + len(records) > 2 and kind == "detail" and _mentions(record, identity):
                    return locator, [record]
    singles = [(locator, records) for locator, records in groups if len(records) == 1]
    if kind == "detail" and singles:
        return max(singles, key=lambda group: _richness(group[1][0]))
    return max(groups, key=lambda group: (len(group[1]) > 1, len(group[1]) * (1 + _richness(group[1][0]) / 20)))


def _mentions(record: dict[str, Any], identity: str) -> bool:
    return any(isinstance(value, (str, int)) and identity in str(value)[-300:] for value in record.values())


def _richness(record: dict[str, Any]) -> int:
    reading = Reading()
    read_record(record, reading, layer=Layer.STATE, locator="", base_url="http://x/")
    return reading.count(*CORE_FIELDS, "transmission", "fuel_type", "exterior_color", "url", "city")


_TOTAL_KEYS = ("total", "totalCount", "totalResults", "numberOfResults", "totalListingCount", "count", "resultCount", "numResults", "total_count",
               "totalNumberOfListings", "numFound", "totalElements", "totalHits", "nbHits", "totalItems", "total_results")  # fmt: skip


def expected_total(data: Any, depth: int = 3) -> int | None:
    """The number of results that a JSON body says it has."""
    if not isinstance(data, dict):
        return None
    for key in _TOTAL_KEYS:
        value = data.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 100_000_000:
            return value
    if depth:
        for value in list(data.values())[:60]:
            if isinstance(value, dict):
                found = expected_total(value, depth - 1)
                if found is not None:
                    return found
    return None


def _empty_list(data: Any) -> bool:
    if isinstance(data, list):
        return not data
    return isinstance(data, dict) and any(value == [] for value in data.values())


_EXPECTED = re.compile(
    r"(?:\b\d{1,6}\s*(?:-|–|to|bis|tot|à)\s*\d{1,6}\s*(?:of|von|van|de|sur|out of)\s*(?P<of>\d[\d.,  ]*\d|\d)\b)|"
    r"\b(?P<n>\d{1,3}(?:[.,  ]\d{3})+|\d{1,7})\s+(?:[a-zà-ÿ]+\s+){0,3}(?:results?|vehicles?|cars?|listings?|matches|ads|ergebnisse|treffer|angebote|fahrzeuge|resultaten|"
    r"aanbiedingen|auto's|voertuigen|résultats|annonces|véhicules)\b",
    re.I,
)
_NOT_A_PAGE = re.compile(
    r"captcha|are you a (?:human|robot)|access denied|pardon our interruption|unusual traffic|enable javascript and cookies|verify you are|"
    r"page not found|404|no longer available|has been (?:removed|deleted|sold)|(?:sign|log) ?in to|forbidden|service unavailable|attention required",
    re.I,
)
_NO_RESULTS = re.compile(
    r"no (?:results|matches|listings|vehicles|cars|inventory|matching)|0 (?:results|vehicles|matches|listings|cars)\b|did(?:n't| not) (?:match|find)|"
    r"nothing (?:found|here)|keine (?:ergebnisse|treffer|fahrzeuge)|geen (?:resultaten|auto)|aucun(?:e)? (?:résultat|annonce|véhicule)|"
    r"we (?:couldn't|could not) find|no .{0,30}\bfound\b",
    re.I,
)


class _HtmlPage:
    """One HTML page on its way through the layers."""

    def __init__(self, text: str, url: str, rules: ExtractRules, structured: bool, explain: bool) -> None:
        self.text = text
        self.url = url
        self.rules = rules
        self.structured = structured
        self.explain = explain
        self._tree: LexborHTMLParser | None = None
        self._stripped = False
        self.linked: list[dict[str, Any]] = []
        self.groups: list[tuple[str, list[dict[str, Any]]]] = []
        self.expected: int | None = None

    @property
    def tree(self) -> LexborHTMLParser:
        if self._tree is None:
            self._tree = parse(self.text)
        return self._tree

    def extract(self, kind: str) -> PageResult:
        if self.structured:
            self._scan()
        if kind == "auto":
            kind = self._tell_kind()
        return self._detail() if kind == "detail" else self._search()

    def _scan(self) -> None:
        for script in script_data(self.text):
            if script.linked:
                self.linked.extend(record for record in linked_records(script.data) if is_vehicle_record(record))
            else:
                self.groups.extend(find_record_groups(script.data, script.locator))
                if self.expected is None:
                    self.expected = expected_total(script.data, 4)

    # -- which kind of page ---------------------------------------------------------------

    def _tell_kind(self) -> str:
        """Detail or search, by the page itself."""
        lists = [records for _, records in self.groups if len(records) >= 2]
        singles = [records[0] for _, records in self.groups if len(records) == 1]
        if len(self.linked) == 1 and not lists:
            return "detail"
        if len(self.linked) >= 3:
            return "search"
        if singles and not lists:
            return "detail"
        if singles and lists:
            identity = id_in_url(self.url)
            if any(identity and _mentions(record, identity) for record in singles):
                return "detail"
            if max(map(_richness, singles)) > max(_richness(records[0]) for records in lists):
                return "detail"
            return "search"
        if lists:
            return "search"
        return self._kind_by_sight()

    def _kind_by_sight(self) -> str:
        self._strip()
        cards = find_cards(self.tree, url=self.url, rules=self.rules)
        heading = self.tree.css_first("h1")
        title = self.tree.css_first("title")
        named = [
            found
            for node in (heading, title)
            if node is not None and (found := find_make_model(" ".join(node.text(separator=" ").split())[:200]))
        ]
        one = any(found.year and found.model for found in named)
        if one and len(cards) < 30:
            return "detail"
        if len(cards) >= 2:
            return "search"
        return "detail"

    # -- detail ---------------------------------------------------------------------------

    def _detail(self) -> PageResult:
        reading = Reading(self.explain)
        result = PageResult(PageKind.DETAIL)
        record = self._main_linked()
        if record is not None:
            read_record(record, reading, layer=Layer.STRUCTURED, locator="json-ld", base_url=self.url)
        if self.groups:
            locator, records = best_group(self.groups, self.url, "detail")
            if len(records) == 1:
                state = Reading(self.explain)
                read_record(records[0], state, layer=Layer.STATE, locator=locator, base_url=self.url)
                if self._same_vehicle(reading, state):
                    reading.absorb(state)
        if self.rules.detail or not reading.has(*CORE_FIELDS):
            self._read_tree(reading)
        listing = finish(reading, url=self._canonical())
        result.explain = reading.explanations()
        if not _is_listing(listing):
            result.kind = PageKind.OTHER
            result.reason = self._why_not()
            return result
        result.listings = [listing]
        return result

    def _main_linked(self) -> dict[str, Any] | None:
        if not self.linked:
            return None
        identity = id_in_url(self.url)
        if identity and len(self.linked) > 1:
            for record in self.linked:
                if _mentions(record, identity):
                    return record
        return max(self.linked[:20], key=_richness)

    @staticmethod
    def _same_vehicle(one: Reading, other: Reading) -> bool:
        for name in ("vin", "year", "make", "price"):
            first, second = one.value(name), other.value(name)
            if first is not None and second is not None:
                return str(first).lower() == str(second).lower() or name == "make"
        return True

    def _read_tree(self, reading: Reading) -> None:
        tree = self.tree
        if self.rules.detail and tree.root is not None:
            apply_css(self.rules.detail, tree.root, reading, self.url)
        if self.structured:
            if "itemprop" in self.text:
                items = [item for item in microdata_records(tree) for item in linked_records(item)]
                items = [item for item in items if is_vehicle_record(item)]
                if items:
                    read_record(items[0], reading, layer=Layer.STRUCTURED, locator="microdata", base_url=self.url)
            meta = meta_record(tree)
            meta.pop("meta_description", None)
            meta.pop("site", None)
            if meta:
                payload = reading.payload
                self._read_meta(meta, reading)
                reading.payload = payload
        if not reading.has(*CORE_FIELDS):
            read_detail(tree, self.text, reading, url=self.url)

    def _read_meta(self, meta: dict[str, str], reading: Reading) -> None:
        meta_reading = Reading(self.explain)
        title = meta.pop("title", None) or meta.get("twitter_title")
        read_record(meta, meta_reading, layer=Layer.STRUCTURED, locator="meta", base_url=self.url)
        meta_reading.drop("url")
        if title and find_make_model(title):
            meta_reading.offer("title", title[:200], Layer.STRUCTURED, "og:title", 0.72)
        reading.absorb(meta_reading, 0.75)

    def _canonical(self) -> str:
        match = _CANONICAL.search(self.text[:200_000])
        if match:
            link = absolute(self.url, match[1] or match[2])
            if link and link.rstrip("/").count("/") > 2:
                return link
        return self.url

    # -- search ---------------------------------------------------------------------------

    def _search(self) -> PageResult:
        result = PageResult(PageKind.SEARCH)
        readings = self._structured_readings()
        needs_tree = (
            not readings or any(not reading.has("url", "price") for reading in readings) or bool(self.rules.card)
        )
        self._strip()
        if needs_tree:
            cards = find_cards(self.tree, url=self.url, rules=self.rules)
            seen: list[Reading] = []
            for card in cards:
                reading = Reading(self.explain)
                read_card(card, reading, url=self.url, rules=self.rules)
                seen.append(reading)
            readings = _join(readings, seen) if readings else seen
        listings = [finish(reading, url=None) for reading in readings[:_MAX_LISTINGS]]
        result.listings = [listing for listing in listings if _is_listing(listing)]
        result.links = [listing.url for listing in result.listings if listing.url]
        if not result.links:
            result.links = detail_links(self.tree, url=self.url, rules=self.rules)
        result.next_url = self._next()
        result.expected_count = self._expected()
        if self.explain:
            result.explain = [item for reading in readings for item in reading.explanations()]
        if not result.listings:
            result.kind = PageKind.SEARCH if result.links else self._empty_kind()
            result.reason = None if result.links else self._why_not()
        return result

    def _structured_readings(self) -> list[Reading]:
        readings: list[Reading] = []
        for record in self.linked:
            reading = Reading(self.explain)
            read_record(record, reading, layer=Layer.STRUCTURED, locator="json-ld", base_url=self.url)
            readings.append(reading)
        if self.structured and not readings and "itemprop" in self.text:
            for item in microdata_records(self.tree):
                for record in linked_records(item):
                    if is_vehicle_record(record):
                        reading = Reading(self.explain)
                        read_record(record, reading, layer=Layer.STRUCTURED, locator="microdata", base_url=self.url)
                        readings.append(reading)
        if self.groups and (not readings or not all(reading.has("url", "price", "mileage") for reading in readings)):
            locator, records = best_group(self.groups, self.url, "search")
            state: list[Reading] = []
            for record in records:
                reading = Reading(self.explain)
                if self.rules.url_template:
                    link = fill_template(self.rules.url_template, record)
                    reading.offer(
                        "url", absolute(self.url, link) if link else None, Layer.RULES, self.rules.url_template, 0.98
                    )
                read_record(record, reading, layer=Layer.STATE, locator=locator, base_url=self.url)
                state.append(reading)
            readings = _join(readings, state) if readings else state
        return readings

    def _strip(self) -> None:
        if not self._stripped:
            strip_noise(self.tree)
            self._stripped = True

    def _next(self) -> str | None:
        if self.rules.next_selector:
            for node in css(self.tree, self.rules.next_selector)[:1]:
                return absolute(self.url, attribute(node, "href"))
        for node in css(self.tree, "link[rel=next], a[rel~=next]")[:1]:
            link = absolute(self.url, attribute(node, "href"))
            if link:
                return link
        for node in css(self.tree, "a[href]"):
            label = (attribute(node, "aria-label") or node.text(strip=True)[:24]).strip().lower()
            if (
                label in _NEXT_WORDS
                or (label.strip("»›>→ ") in _NEXT_WORDS
                and label)
                or label in ("›", "»", ">", "→", ">>")
            ):
                link = absolute(self.url, attribute(node, "href"))
                if link and link != self.url:
                    return link
        return None

    def _expected(self) -> int | None:
        if self.expected is not None:
            return self.expected
        body = self.tree.body
        match = _EXPECTED.search(body.text(separator=" ")[:60_000]) if body is not None else None
        if match is None:
            return None
        digits = re.sub(r"\D", "", match["of"] or match["n"] or "")
        return int(digits) if digits and len(digits) <= 8 else None

    def _empty_kind(self) -> PageKind:
        body = self.tree.body
        words = body.text(separator=" ")[:40_000] if body is not None else ""
        return PageKind.EMPTY if _NO_RESULTS.search(words) else PageKind.OTHER

    def _why_not(self) -> str:
        body = self.tree.body
        words = " ".join(body.text(separator=" ").split())[:20_000] if body is not None else ""
        if not words:
            return "the page has no words"
        found = _NO_RESULTS.search(words)
        if found:
            return f"the page says that it lists nothing: {found[0][:60]!r}"
        found = _NOT_A_PAGE.search(words[:3_000])
        if found:
            return f"no page of vehicles: {found[0][:60]!r}"
        return "no vehicle with a name and a price, mileage or VIN is on the page"


_CANONICAL = re.compile(
    r"""<link[^>]{0,200}?rel=["']?canonical["']?[^>]{0,200}?href=["']([^"'>]{1,1000})|<link[^>]{0,200}?href=["']([^"'>]{1,1000})["'][^>]{0,100}?rel=["']?canonical""",
    re.I,
)
_NEXT_WORDS = frozenset(
    (
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
        "more results",
    )
)


def _join(first: list[Reading], second: list[Reading]) -> list[Reading]:
    """Complete the readings of one list from those of another, by VIN, id, address or equal title, year and price."""
    index: dict[tuple[str, str], Reading] = {}
    clashes: set[tuple[str, str]] = set()
    for reading in second:
        for key in _identities(reading):
            if key in index:
                clashes.add(key)
            index[key] = reading
    for reading in first:
        for key in _identities(reading):
            partner = index.get(key)
            if partner is not None and key not in clashes:
                reading.absorb(partner, 0.95)
                break
    return first


def _identities(reading: Reading) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for name in ("vin", "remote_id", "url"):
        value = reading.value(name)
        if value:
            out.append((name, str(value)))
    link = reading.value("url")
    identity = id_in_url(link) if link else None
    if identity:
        out.append(("remote_id", identity))
    title, price = reading.value("title"), reading.value("price")
    if title and price:
        out.append(("title", f"{title.lower()}|{price}|{reading.value('mileage')}"))
    return out


def _is_listing(listing: Listing) -> bool:
    """A vehicle that can be told from others: it has a name, and a price, mileage, VIN, year or link of its own."""
    named = listing.make is not None or listing.vin is not None
    if named and (listing.price is not None or listing.mileage is not None or listing.vin or listing.year):
        return True
    return bool(listing.title and listing.price is not None and (listing.url or listing.year))
