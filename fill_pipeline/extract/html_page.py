"""An HTML page on its way through the layers: scripts by scan, then the tree, parsed at most once."""

from __future__ import annotations

import re
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from fill_pipeline.extract.card_facts import CARRIER_NAMES, TRIM_HINTS, read_attributes
from fill_pipeline.extract.cards import Card, detail_links, find_cards, other_things, read_card, single_card
from fill_pipeline.extract.choose import best_group, join, mentions, richness
from fill_pipeline.extract.detail import read_detail
from fill_pipeline.extract.dom import Words, attribute, css, parse, read_words, strip_noise
from fill_pipeline.extract.evidence import CORE_FIELDS, Reading
from fill_pipeline.extract.finish import finish, is_listing
from fill_pipeline.extract.gazetteer import MakeModel, find_make_model
from fill_pipeline.extract.labelled import read_labels
from fill_pipeline.extract.listing import Layer, Listing, PriceKind
from fill_pipeline.extract.microdata import meta_record, microdata_records, rdfa_records
from fill_pipeline.extract.other_goods import Other, other_than_vehicle
from fill_pipeline.extract.pagination import next_link, stated_count, stated_total
from fill_pipeline.extract.phrases import may_be_sale
from fill_pipeline.extract.record_reader import read_record
from fill_pipeline.extract.records import find_record_groups, is_linked_vehicle, linked_records
from fill_pipeline.extract.result import MAX_LISTINGS, PageKind, PageResult
from fill_pipeline.extract.rules import ExtractRules, Rule, apply_css, apply_paths, fill_template, stands_once
from fill_pipeline.extract.scripts import (
    Script,
    attribute_data,
    content_start,
    find_scripts,
    linked_data,
    state_data,
    without_scripts,
)
from fill_pipeline.extract.urls import absolute, canonical_address, id_in_url

_NOT_A_PAGE = re.compile(
    r"captcha|are you a (?:human|robot)|access denied|pardon our interruption|unusual traffic|verify you are|"
    r"enable javascript and cookies|page not found|\b404\b|no longer available|has been (?:removed|deleted|sold|"
    r"flagged)|"
    r"(?:sign|log) ?in to|forbidden|service unavailable|attention required|something went wrong|under maintenance",
    re.I,
)
_NO_RESULTS = re.compile(
    r"\bno (?:results|matches|listings|vehicles|cars|inventory|matching)|\b0 (?:results|vehicles|matches|listings|"
    r"cars)\b|"
    r"did(?:n't| not) (?:match|find)|nothing (?:found|here)|keine (?:ergebnisse|treffer|fahrzeuge)|geen (?:resultaten|"
    r"auto)|"
    r"aucun(?:e)? (?:résultat|annonce|véhicule)|(?:couldn't|could not) find|\bno .{0,30}\bfound\b|zero (?:results|"
    r"matches)|"
    r"check back soon|don't have any|do not have any",
    re.I,
)
# Facts that a page states by label only about the one vehicle it is about.
_LABELLED_FACTS = frozenset(
    ("vin", "mileage", "transmission", "engine", "exterior_color", "fuel_type", "drivetrain", "body_style")
)
# What the visible page can still add to structured data: with all of it, and a place, the tree is not even parsed.
_WANTED = frozenset((*CORE_FIELDS, "currency", "mileage_unit", "body_style", "engine", "fuel_type", "transmission",
                     "drivetrain", "exterior_color", "interior_color", "doors", "description"))  # fmt: skip
_RULED_FACTS = 2  # by which a page is known as a listing's
_LEAST_PRICE = 500  # of a vehicle that tells no year, mileage or VIN
_LEAST_EVIDENCE = 0.3  # of a card that is a vehicle at all: a make, a year or a price
_OTHERS: dict[str, str] = {Other.GOODS: "parts or toys", Other.ARTICLE: "articles", Other.CATEGORY: "ways to them"}
_MANY_OFFERS = 10  # cards with prices that a page of one vehicle rarely has


class HtmlPage:
    """One HTML page and what its layers found so far."""

    def __init__(self, text: str, url: str, rules: ExtractRules, structured: bool, explain: bool) -> None:
        self.text = text
        self.url = url
        self.rules = rules
        self.structured = structured
        self.explain = explain
        self._scripts: list[Script] | None = None
        self._markup: str | None = None
        self._tree: LexborHTMLParser | None = None
        self._stripped = False
        self._words: Words | None = None
        self._cards: dict[bool, list[Card]] = {}  # whether links were found by a source's rules → the cards
        self._items: list[dict[str, Any]] | None = None
        self._linked_readings: list[Reading] | None = None
        self.linked: list[dict[str, Any]] = []  # vehicles in JSON-LD
        self.groups: list[tuple[str, list[dict[str, Any]]]] = []  # vehicles in embedded state
        self.expected: int | None = None

    @property
    def scripts(self) -> list[Script]:
        """Where the page's scripts stand."""
        if self._scripts is None:
            self._scripts = find_scripts(self.text)
        return self._scripts

    @property
    def markup(self) -> str:
        """The page without the text of its scripts, which is most of many a page."""
        if self._markup is None:
            self._markup = without_scripts(self.text, self.scripts)
        return self._markup

    @property
    def tree(self) -> LexborHTMLParser:
        """The parsed page."""
        if self._tree is None:
            # A source's own rules may look into a script.
            self._tree = parse(self.text if self.rules.detail else self.markup)
        return self._tree

    def extract(self, kind: str) -> PageResult:
        """The page's listings; ``kind`` is "detail", "search" or "auto"."""
        if self.structured:
            self._scan(kind)
        if kind == "auto":
            kind = self._tell_kind()
        if kind in _OTHERS:
            return PageResult(PageKind.OTHER, reason=f"the page lists no vehicles, but {_OTHERS[kind]}")
        return self._detail() if kind == "detail" else self._search()

    def _scan(self, kind: str) -> None:
        """Read the scripts: JSON-LD first, and application state only if that leaves something open."""
        for block in linked_data(self.text, self.scripts):
            self.linked.extend(filter(is_linked_vehicle, linked_records(block.data)))
        if self.linked and kind != "detail" and len(self.linked) > 2:
            self._linked_readings = [self._read_linked(record, "json-ld") for record in self.linked[:MAX_LISTINGS]]
            if _enough(self._linked_readings):
                return
        for state in state_data(self.text, self.scripts):
            self.groups.extend(find_record_groups(state.data, state.locator))
            if self.expected is None:
                self.expected = stated_total(state.data)

    def _reading(self) -> Reading:
        return Reading(self.explain)

    def _read_state(self, record: dict[str, Any], locator: str, rules: dict[str, Rule]) -> Reading:
        reading = self._reading()
        apply_paths(rules, record, reading, self.url)
        if self.rules.url_template:
            link = fill_template(self.rules.url_template, record)
            reading.offer("url", absolute(self.url, link) if link else None, Layer.RULES, self.rules.url_template, 0.98)
        read_record(record, reading, layer=Layer.STATE, locator=locator, base_url=self.url)
        return reading

    def _read_linked(self, record: dict[str, Any], locator: str) -> Reading:
        reading = self._reading()
        read_record(record, reading, layer=Layer.STRUCTURED, locator=locator, base_url=self.url)
        return reading

    def _microdata(self) -> list[dict[str, Any]]:
        """The vehicles in the page's microdata."""
        if self._items is None:
            self._items = []
            for mark, read in (("itemprop", microdata_records), ("typeof=", rdfa_records)):
                for item in read(self.tree) if self.structured and mark in self.markup else ():
                    self._items.extend(record for record in linked_records(item) if is_linked_vehicle(record))
        return self._items

    # -- which kind of page ---------------------------------------------------------------

    def _tell_kind(self) -> str:
        """Detail or search, by the page itself."""
        if len(self.linked) >= 3:
            return "search"
        lists = [records for _, records in self.groups if len(records) >= 2]
        if len(self.linked) == 1 and not lists:
            return "detail"
        singles = [records[0] for _, records in self.groups if len(records) == 1]
        if lists:
            alone = singles + self.linked[:1]
            identity = id_in_url(self.url)
            if any(identity and mentions(record, identity) for record in alone):
                return "detail"
            best = max(richness(records[0]) for records in lists)
            return "detail" if alone and max(map(richness, alone)) > best else "search"
        if singles:
            listed = all(locator.endswith("[]") for locator, _ in self.groups)
            return "search" if listed and not self._is_about(singles[0]) else "detail"
        if self._microdata():
            return "detail" if len(self._microdata()) == 1 else "search"
        return self._kind_by_sight()

    def _is_about(self, record: dict[str, Any]) -> bool:
        """Whether the page's address or heading names a record's vehicle."""
        identity = id_in_url(self.url)
        return bool(identity and mentions(record, identity)) or any(found.model for found in self._headings())

    def _headings(self) -> list[MakeModel]:
        """The vehicles that the page's heading and title name."""
        nodes = (self.tree.css_first("h1"), self.tree.css_first("title"))
        texts = (" ".join(node.text(separator=" ").split())[:200] for node in nodes if node is not None)
        return [found for text in texts if (found := find_make_model(text))]

    def _kind_by_sight(self) -> str:
        if self._facts_by_rules() >= _RULED_FACTS:
            return "detail"
        named = self._headings()
        sure = any(found.year and found.model for found in named)
        if sure and self._facts_stated_once() >= 3:
            return "detail"
        # A source's link selector finds something on every page of the site: only its index is told by it.
        cards = self._cards_of(None)
        if sum(card.offered for card in cards) < 1 and not any(found.model for found in named):
            other = other_things(self._bare_tree(), url=self.url)
            if other is not None:
                return other.value
        if len(cards) < 2:
            if cards and cards[0].offered and not any(found.model for found in named):
                return "search"
            linked = [] if any(found.year for found in named) else detail_links(self.tree, url=self.url)
            return "search" if len(linked) > 3 else "detail"
        offered = sum(card.offered for card in cards)
        if not any(found.model for found in named):
            return "search" if offered >= 2 or len(cards) >= 5 else "detail"
        if offered >= _MANY_OFFERS and not any(found.year for found in named):
            return "search"
        if self._labelled_facts(cards) >= 3:
            return "detail"
        return "detail" if sure and offered < _MANY_OFFERS else "search"

    def _facts_by_rules(self) -> int:
        """How many facts a source's own rules for its listings' pages find in one place: in cards they find several."""
        reading, root = Reading(), self.tree.root
        if self.rules.detail and root is not None:
            once = {name: rule for name, rule in self.rules.detail.items() if stands_once(rule, root)}
            apply_css(once, root, reading, self.url)
        return reading.count(*_LABELLED_FACTS, "price", "make", "model", "year")

    def _facts_stated_once(self) -> int:
        """How many facts about one vehicle have one label on the whole page: in cards they would have several."""
        reading = Reading(only=_LABELLED_FACTS)
        self._words = self._all_words()
        read_labels(self._words, reading, self.url)
        times = reading.times_offered()
        return sum(times[field] == 1 for field in _LABELLED_FACTS)

    def _labelled_facts(self, cards: list[Card]) -> int:
        """How many facts about one vehicle stand outside the cards."""
        words = self._all_words()
        words.take_out(root for card in cards for root in card.nodes)
        reading = Reading()
        read_labels(words, reading, self.url)
        return reading.count(*_LABELLED_FACTS)

    def _all_words(self) -> Words:
        """The visible words of the whole page."""
        body = self._bare_tree().body
        return read_words([body]) if body is not None else Words()

    # -- detail ---------------------------------------------------------------------------

    def _detail(self) -> PageResult:
        reading = self._reading()
        result = PageResult(PageKind.DETAIL)
        record = self._main_linked()
        if record is not None:
            read_record(record, reading, layer=Layer.STRUCTURED, locator="json-ld", base_url=self.url)
        if self.groups:
            locator, records = best_group(self.groups, self.url, "detail")
            if len(records) == 1:
                state = self._read_state(records[0], locator, self.rules.detail)
                if _same_vehicle(reading, state):
                    reading.absorb(state)
        if self.rules.detail or not self._is_complete(reading):
            self._read_tree(reading)
        listing = finish(reading, url=canonical_address(self.text, content_start(self.scripts), self.url))
        if self.explain:
            result.explain = reading.explanations()
        if is_listing(listing) and not _is_other(listing):
            result.listings = [listing]
        else:
            result.kind = self._empty_kind()
            result.reason = self._why_not()
        return result

    def _is_complete(self, reading: Reading) -> bool:
        """Whether the visible page has nothing to add: no fact, and nothing that makes the price a bid or a sale."""
        if not reading.has_all(_WANTED) or not (reading.has("place") or reading.has("city")):
            return False
        kind = reading.value("price_kind")
        return kind != PriceKind.BID and not (
            kind == PriceKind.ASKING and may_be_sale(self.markup, reading.value("price"))
        )

    def _main_linked(self) -> dict[str, Any] | None:
        """The JSON-LD vehicle that the page is about: the one its address names, else the one that says most."""
        if len(self.linked) < 2:
            return self.linked[0] if self.linked else None
        identity = id_in_url(self.url)
        named = next((record for record in self.linked if identity and mentions(record, identity)), None)
        return named or max(self.linked[:20], key=richness)

    def _read_tree(self, reading: Reading) -> None:
        tree = self.tree
        if self.rules.detail and tree.root is not None:
            apply_css(self.rules.detail, tree.root, reading, self.url)
        if self.structured:
            items = self._microdata()
            if items:
                reading.absorb(self._read_linked(max(items[:20], key=richness), "microdata"))
            self._read_meta(reading)
        if not self._is_complete(reading):
            read_detail(self._bare_tree(), reading, url=self.url, words=self._words)

    def _read_meta(self, reading: Reading) -> None:
        meta = meta_record(self.tree)
        title = meta.pop("title", None) or meta.pop("twitter_title", None)
        reading_of_meta = self._read_linked(meta, "meta") if meta else self._reading()
        reading_of_meta.payload = None
        summary = reading_of_meta.value("description")
        for field in ("url", "remote_slug", "title", "description"):
            reading_of_meta.drop(field)
        if title and find_make_model(title):
            reading_of_meta.offer("title", title[:200], Layer.STRUCTURED, "og:title", 0.9)
        # Written for search engines, and cut short: the page's own words go before it.
        reading_of_meta.offer("description", summary, Layer.STRUCTURED, "meta.description", 0.45)
        reading.absorb(reading_of_meta, 0.75)

    # -- search ---------------------------------------------------------------------------

    def _search(self) -> PageResult:
        result = PageResult(PageKind.SEARCH)
        readings = self._structured_readings()
        ruled = any(rule.css for rule in self.rules.card.values())
        if ruled or not _enough(readings):
            seen: list[Reading] = []
            trims = any(hint in self.markup for hint in TRIM_HINTS)
            carriers = any(name in self.markup for name in CARRIER_NAMES)
            for card in self._cards_of(self.rules)[:MAX_LISTINGS]:
                if card.evidence < _LEAST_EVIDENCE and not ruled:
                    continue
                reading = self._reading()
                read_card(card, reading, url=self.url, rules=self.rules, trims=trims)
                if self.structured:
                    read_attributes(card.nodes, reading, self.url, inside=carriers)
                seen.append(reading)
            attributes = self._attributes() if self.structured else []
            for more in attributes:
                join(readings, more)
            listed = _the_list(readings, seen)
            if listed is seen:
                for more in attributes:
                    join(listed, more)
            readings = listed
        listings = [finish(reading, url=None) for reading in readings[:MAX_LISTINGS]]
        result.listings = _vehicles(listings)
        result.links = [listing.url for listing in result.listings if listing.url]
        if not result.links:
            result.links = detail_links(self._bare_tree(), url=self.url, rules=self.rules)
        result.next_url = self._next()
        result.expected_count = self.expected if self.expected is not None else stated_count(self.markup)
        if self.explain:
            result.explain = [item for reading in readings for item in reading.explanations()]
        if not result.listings and not result.links:
            result.kind = self._empty_kind()
            result.reason = self._why_not()
        elif not result.listings:
            result.reason = "links to vehicles, but no card that can be read"
        return result

    def _structured_readings(self) -> list[Reading]:
        readings = self._linked_readings
        if readings is None:
            readings = [self._read_linked(record, "json-ld") for record in self.linked[:MAX_LISTINGS]]
        if not readings:
            readings = [self._read_linked(record, "microdata") for record in self._microdata()[:MAX_LISTINGS]]
        if self.groups and not _enough(readings):
            locator, records = best_group(self.groups, self.url, "search")
            state = [self._read_state(record, locator, self.rules.card) for record in records[:MAX_LISTINGS]]
            readings = _joined(readings, state)
        return readings

    def _attributes(self) -> list[list[Reading]]:
        """What the cards' attributes tell, list by list."""
        groups = [group for data in attribute_data(self.text) for group in find_record_groups(data.data, data.locator)]
        return [
            [self._read_state(record, locator, self.rules.card) for record in records[:MAX_LISTINGS]]
            for locator, records in groups
            if len(records) > 1
        ]

    def _bare_tree(self) -> LexborHTMLParser:
        """The tree without scripts and form choices."""
        if not self._stripped:
            self._microdata()
            strip_noise(self.tree)
            self._stripped = True
        return self.tree

    def _cards_of(self, rules: ExtractRules | None) -> list[Card]:
        """The page's cards, found with a source's rules or by themselves."""
        named = rules is not None and bool(rules.link_selector or rules.link_pattern)
        if named not in self._cards:
            cards = find_cards(self._bare_tree(), url=self.url, rules=rules)
            if sum(card.offered for card in cards) < 2:
                single = single_card(self._bare_tree(), url=self.url)
                cards = [single] if single is not None else cards
            self._cards[named] = cards
        return self._cards[named]

    def _next(self) -> str | None:
        if self.rules.next_selector:
            for node in css(self.tree, self.rules.next_selector)[:1]:
                return absolute(self.url, attribute(node, "href"))
        return next_link(self.markup, self.url)

    # -- nothing found --------------------------------------------------------------------

    def _empty_kind(self) -> PageKind:
        return PageKind.EMPTY if _NO_RESULTS.search(self._visible_text()) else PageKind.OTHER

    def _visible_text(self) -> str:
        body = self._bare_tree().body
        return " ".join(body.text(separator=" ").split())[:40_000] if body is not None else ""

    def _why_not(self) -> str:
        words = self._visible_text()
        if not words:
            return "the page has no words"
        found = _NOT_A_PAGE.search(words[:3_000])
        if found:
            return f"no page of vehicles: {found[0][:60]!r}"
        found = _NO_RESULTS.search(words)
        if found:
            return f"the page says that it lists nothing: {found[0][:60]!r}"
        return "no vehicle with a name and a price, mileage or VIN is on the page"


def _is_other(listing: Listing) -> bool:
    """Whether a page's title is that of a part or an article, and no VIN or mileage says otherwise."""
    if not listing.title or listing.vin or listing.mileage:
        return False
    return other_than_vehicle(listing.title, listing.title, listing.price, year=True) is not None


def _vehicles(listings: list[Listing]) -> list[Listing]:
    """Those of a page's cards that are vehicles. Among vehicles a name and a price are enough: some makers are in no
    list, and some sites give a make, a model and a price alone."""
    sure = [listing for listing in listings if is_listing(listing)]
    likely = sum(
        is_listing(item) or bool(item.make and item.model and (item.price or 0) >= _LEAST_PRICE) for item in listings
    )
    if likely * 10 > len(listings) * 6:
        return [item for item in listings if is_listing(item) or (item.title and item.price)]
    return sure


def _joined(readings: list[Reading], more: list[Reading]) -> list[Reading]:
    """The longer of two lists of structured readings, completed from the other."""
    first, second = (readings, more) if len(readings) * 2 > len(more) else (more, readings)
    join(first, second)
    return first


def _the_list(readings: list[Reading], seen: list[Reading]) -> list[Reading]:
    """The page's list: its structured data completed by what is seen; what is seen alone where there is no structured
    data, or where it tells of other vehicles than those shown."""
    offered = sum(reading.has("price") for reading in seen)
    if not readings or offered > 2 * len(readings):
        return seen
    joined = join(readings, seen)
    return seen if joined * 5 < len(readings) <= offered else readings


def _enough(readings: list[Reading]) -> bool:
    """Whether structured data tells a search page's cards so fully that the visible page need not be read: nearly all
    have a link, most a price and a mileage (new cars have none, and some sellers withhold the price)."""
    count = len(readings)
    return (
        count > 1
        and sum(reading.has("url", "title") for reading in readings) >= 0.95 * count
        and sum(reading.has("price") for reading in readings) >= 0.6 * count
        and sum(reading.has("mileage") for reading in readings) >= 0.4 * count
    )


def _same_vehicle(one: Reading, other: Reading) -> bool:
    """Whether two readings do not contradict each other in what tells vehicles apart."""
    for name in ("vin", "year", "price"):
        first, second = one.value(name), other.value(name)
        if first is not None and second is not None:
            return bool(str(first).lower() == str(second).lower())
    return True
