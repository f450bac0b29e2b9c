"""Search pages: repeated parts of a page, each with a link of its own, read one by one and never mixed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from selectolax.lexbor import LexborHTMLParser, LexborNode

from fill_pipeline.extract.card_facts import read_cells, read_outcome, read_trim, read_year
from fill_pipeline.extract.card_links import (
    leads_on,
    leads_to_vehicle,
    link_text,
    names_vehicle,
    only_link,
    url_names_vehicle,
)
from fill_pipeline.extract.cleaning import clean
from fill_pipeline.extract.dom import Words, attribute, css, read_words
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.gazetteer import find_make_model, read_year_word
from fill_pipeline.extract.labelled import read_labels
from fill_pipeline.extract.listing import Layer
from fill_pipeline.extract.other_goods import Other, other_than_vehicle
from fill_pipeline.extract.repeats import around_single, is_card_sized, repeated_elements
from fill_pipeline.extract.rules import ExtractRules, apply_css, compiled_regex
from fill_pipeline.extract.urls import absolute, link_shape
from fill_pipeline.extract.values import offer_value
from fill_pipeline.extract.visible import image_links, offer_mileage, offer_place, offer_price, offer_vin

_MAX_LINKS = 6_000
_MAX_CARDS = 1_000
_MAX_HEADINGS = 6  # of a card
_MAX_SINGLES = 120  # links that name vehicles on a page with one result
_MAX_LINKS_OF_CARD = 12
_OFFERED = 1.5
_MOST_EVIDENCE = 2.2  # a name, a price and a distance
_PLAIN_TITLE = 1.95  # the score of a heading or link that gives year, make and model and nothing else
_LONG_RUN = 17  # characters of the shortest token that is not digits alone
_RUNS = re.compile(r"(?<![0-9a-zA-Z\-])[a-zA-Z\-]*+[0-9][0-9a-zA-Z\-]*")  # where tokens can be
_NUMBERS = re.compile(r"[0-9]{4,}")
_TOP = ("body", "html", "-document")
# Ids in addresses, whole: a part of one, or a number as short as a model's ("silverado-1500"), tells no links apart.
_TOKENS = re.compile(
    r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<![0-9a-z])(?:[0-9a-z]*\d{5,}[0-9a-z]*|(?=(?:[a-z]*\d){4})[0-9a-z]{12,})(?![0-9a-z])",
    re.I,
)
_PRICE = re.compile(r"[$€£]\s?\d|\d\s?[€£]|\b(?:USD|EUR|CAD|CHF)\s?\d|\d\s?(?:USD|EUR|CAD|CHF)\b")
_AMOUNT = re.compile(r"[$€£]\s?(\d{1,3}(?:[.,\s]\d{3})+|\d+)|(\d{1,3}(?:[.,\s]\d{3})+|\d+)\s?(?:[€£]|EUR|PLN|CHF)")
_DISTANCE = re.compile(r"\d\s*k?\s*(?:mi\b|miles|km\b)", re.I)
_YEAR = re.compile(r"(?<!\d)(?:19[2-9]\d|20[0-4]\d)(?!\d)")
_LED_BY_YEAR = re.compile(r"\W*(?:(?:used|new|certified|pre-owned|cpo)\s+)*(?:19[2-9]\d|20[0-4]\d)\s+\D", re.I)


@dataclass(slots=True)
class Card:
    """One repeated part of a page: its link, the elements that make it up, all links that lead to the same page."""

    url: str | None
    nodes: list[LexborNode]
    links: list[LexborNode] = field(default_factory=list)
    evidence: float = 0.0  # that this is a vehicle for sale; from 1.5 on there is more than a name
    other: Other | None = None  # what it is instead of a vehicle

    @property
    def offered(self) -> bool:
        """Whether the card gives a price or mileage beside a name."""
        return self.evidence >= _OFFERED


@dataclass(slots=True)
class _Group:
    """Links of one shape: the key of each target → its links, in page order."""

    links: dict[str, list[tuple[LexborNode, str]]]


def find_cards(tree: LexborHTMLParser, *, url: str, rules: ExtractRules | None = None) -> list[Card]:
    """The cards of a search page in page order; empty where the page repeats nothing that looks like a vehicle."""
    ruled = rules is not None and bool(rules.link_selector or rules.link_pattern)
    score, cards = _best_cards(_link_groups(tree, url, rules)[:8], 0.001 * ruled)
    if not ruled:
        cards = _best_cards(_heading_groups(tree), 0.0, 1.5 * score)[1] or cards
        if not any(card.offered for card in cards):
            cards = _repeated(tree) or cards
    return _of_one_kind(cards)


def _repeated(tree: LexborHTMLParser) -> list[Card]:
    """Rows or boxes that name vehicles and give their prices, where no links or headings do."""
    best: tuple[float, list[Card]] = (0.0, [])
    for nodes in repeated_elements(tree):
        cards = [Card(only_link(node), [node], css(node, "a[href]")) for node in nodes[:_MAX_CARDS]]
        for card in cards:
            card.evidence = card_evidence(card) if is_card_sized(card.nodes[0]) else 0.0
        cards = [card for card in cards if card.offered]
        score = sum(_worth(card.evidence) for card in cards)
        if len(cards) > 1 and len(cards) * 2 >= min(len(nodes), _MAX_CARDS) and score > best[0]:
            best = (score, cards)
    return best[1]


def single_card(tree: LexborHTMLParser, *, url: str) -> Card | None:
    """The one result of a page that lists one vehicle: the only link that names one and has a price or mileage beside
    it; None where there is none, or several."""
    found: dict[str, Card] = {}
    looked = 0
    for node in css(tree, "a[href]")[:_MAX_LINKS]:
        if len(found) > 1 or looked > _MAX_SINGLES:
            return None
        target = absolute(url, attribute(node, "href"))
        if target is None or not (names_vehicle(link_text(node)) or url_names_vehicle(target)):
            continue
        looked += 1
        card = Card(target, [around_single(node)], [node])
        card.evidence = card_evidence(card)
        if card.offered:
            known = found.setdefault(target.partition("#")[0], card)
            known.links.append(node)
    return next(iter(found.values())) if len(found) == 1 else None


def _best_cards(groups: list[_Group], bonus: float, least: float = 0.0) -> tuple[float, list[Card]]:
    """The score and cards of the best group, no cards where none is better than ``least``."""
    best: tuple[float, list[Card]] = (least, [])
    for group in groups:
        if len(group.links) * _worth(_MOST_EVIDENCE) + bonus <= best[0]:
            continue
        cards = _cards_of(group)
        telling = sum(card.evidence >= 0.6 for card in cards)
        others = sum(card.other is not None for card in cards)
        if not bonus and (telling < 2 or telling * 5 < len(cards) * 2 or others * 2 >= len(cards)):
            continue
        score = sum(_worth(card.evidence) for card in cards) * (1.0 if any(card.url for card in cards) else 0.8) + bonus
        if score > best[0] + 1e-9:
            best = (score, cards)
    return best


def _of_one_kind(cards: list[Card]) -> list[Card]:
    """Without links that stand apart and give a name alone, if the others are cards with prices or mileages."""
    full = [card for card in cards if card.offered]
    if len(full) < 4:
        return cards
    kinds = {_signature(card.nodes[0]) for card in full}
    return [card for card in cards if card.offered or _signature(card.nodes[0]) in kinds]


def _worth(evidence: float) -> float:
    """How much a card speaks for its group: one with a name alone (a link in a menu) far less than one with a price."""
    return evidence - 0.9 if evidence > 0.9 else 0.02 * (evidence >= 0.6)


def other_things(tree: LexborHTMLParser, *, url: str) -> Other | None:
    """What a page lists that names vehicles and is none: parts, articles, models; None where it lists nothing such."""
    for group in _link_groups(tree, url, None)[:4]:
        kinds = Counter(card.other for card in _cards_of(group))
        other, times = kinds.most_common(1)[0] if kinds else (None, 0)
        if other is not None and times > 2:
            return other
    return None


def detail_links(tree: LexborHTMLParser, *, url: str, rules: ExtractRules | None = None) -> list[str]:
    """Links that look like those of detail pages, whether or not their cards can be read."""
    groups = _link_groups(tree, url, rules)
    if rules is not None and (rules.link_selector or rules.link_pattern):
        return [links[0][1] for group in groups for links in group.links.values()][:_MAX_CARDS]
    out: list[str] = []
    for group in groups:
        named = [
            links for links in group.links.values() if any(leads_to_vehicle(node, href) for node, href in links[:3])
        ]
        if len(named) >= 2 and len(named) * 2 >= len(group.links):
            out.extend(links[0][1] for links in named)
    return list(dict.fromkeys(out))[:_MAX_CARDS]


def read_card(card: Card, reading: Reading, *, url: str, rules: ExtractRules | None = None, trims: bool = True) -> None:
    """Offer what one card says. Without ``trims`` no element of the page is marked up as a trim."""
    if rules is not None and rules.card:
        for node in card.nodes:
            apply_css(rules.card, node, reading, url)
    words = read_words(card.nodes)
    link = absolute(url, card.url) if card.url else None
    reading.offer("url", link, Layer.CARD, "link", 0.9)
    _read_title(card, words, reading)
    if card.nodes[0].tag == "tr":
        read_cells(card.nodes[0], reading, url)
    read_labels(words, reading, url, layer=Layer.CARD)
    offer_price(reading, words, 0, Layer.CARD, ceiling=0.85)
    read_outcome(words, reading)
    offer_mileage(reading, words, Layer.CARD)
    offer_vin(reading, words, Layer.CARD)
    if not reading.has("images"):
        links = image_links([node for node in words.marked if node.tag == "img"])
        if links:
            offer_value(reading, "images", links, Layer.CARD, "img", 0.7, url)
    offer_place(reading, words, Layer.CARD)
    if not reading.has("year") and not _LED_BY_YEAR.match(reading.value("title") or ""):
        read_year(words, reading)
    if trims:
        read_trim(card.nodes, reading, url)
    if any(len(text) < 16 and _SOLD.match(text) for text in words.texts):
        reading.offer("status", "sold", Layer.CARD, "text", 0.7)


def _link_groups(tree: LexborHTMLParser, url: str, rules: ExtractRules | None) -> list[_Group]:
    """Links by shape, the groups with most targets first."""
    own = url.partition("#")[0]
    pattern = compiled_regex(rules.link_pattern) if rules is not None and rules.link_pattern else None
    selector = rules.link_selector if rules is not None and rules.link_selector else "a[href]"
    shapes: dict[str, list[tuple[LexborNode, str]]] = defaultdict(list)
    for node in css(tree, selector)[:_MAX_LINKS]:
        if node.tag != "a":
            inner = css(node, "a[href]")
            if not inner:
                continue
            node = inner[0]
        href = attribute(node, "href")
        target = absolute(url, href) if href else None
        if target is None:
            continue
        target = target.partition("#")[0]
        if target == own or (pattern is not None and not pattern.search(target)):
            continue
        shapes["" if pattern or selector != "a[href]" else link_shape(target)].append((node, target))
    groups = [_Group(_by_target(links)) for links in shapes.values()]
    groups = [group for group in groups if group.links]
    groups.sort(key=lambda group: -_promise(group))
    return groups


def _heading_groups(tree: LexborHTMLParser) -> list[_Group]:
    """Headings of one kind that name vehicles, each standing for a card of its own: for cards that are no links."""
    kinds: dict[tuple[str, str], list[LexborNode]] = defaultdict(list)
    for node in css(tree, "h1, h2, h3, h4, h5, h6")[:_MAX_CARDS]:
        if names_vehicle(link_text(node)):
            kinds[_signature(node)].append(node)
    groups = [
        _Group({str(at): [(node, "")] for at, node in enumerate(nodes)}) for nodes in kinds.values() if len(nodes) > 2
    ]
    groups.sort(key=lambda group: -len(group.links))
    return groups[:2]


def _promise(group: _Group) -> float:
    """How likely a group of links is to be the listing's: number of targets, those that name vehicles counting most."""
    sample = list(group.links.values())[:24]
    named = sum(
        any(names_vehicle(link_text(node)) or url_names_vehicle(href) for node, href in links[:3]) for links in sample
    )
    return len(group.links) * (0.1 + named / len(sample))


def _by_target(links: list[tuple[LexborNode, str]]) -> dict[str, list[tuple[LexborNode, str]]]:
    """Links by the page they lead to. Links with the same id lead to one page, whatever else differs."""
    tokens = [
        [
            token
            for run in _RUNS.findall(target.partition("://")[2] or target)
            for token in (_TOKENS if len(run) >= _LONG_RUN else _NUMBERS).findall(run)
        ]
        for _, target in links
    ]
    spread = Counter(token for found in tokens for token in set(found))
    common = max(2, len(links) // 2)
    out: dict[str, list[tuple[LexborNode, str]]] = {}
    for (node, target), found in zip(links, tokens, strict=True):
        own = [token for token in found if spread[token] <= common and not (len(token) == 4 and read_year_word(token))]
        path = target.split("?", 1)[0]
        key = own[0] if own else (path if len(path) > 12 and "?" in target and len(found) > 0 else target)
        out.setdefault(key, []).append((node, target))
    return out


def _cards_of(group: _Group) -> list[Card]:
    """For each target the largest element that holds links to no other target of the group."""
    owners = _owners(group)
    chains: dict[str, list[list[LexborNode]]] = {}
    cards: list[Card] = []
    for key, links in islice(group.links.items(), _MAX_CARDS):
        # The part of the page where this target first stands with words of its own.
        chains[key] = [_chain(node, key, owners) for node, _ in links[:_MAX_LINKS_OF_CARD]]
        roots = [chain[-1] for chain in chains[key]]
        best = max(roots, key=lambda root: len(root.text(deep=True))) if len(roots) > 1 else roots[0]
        cards.append(Card(links[0][1] or only_link(best), [best], [node for node, _ in links]))
    _cut_down(cards, chains)
    _shrink(cards, chains)
    for card in cards:
        card.evidence = card_evidence(card)
    _grow(cards)
    offered = [card for card in cards if card.offered]
    if len(offered) > 2 and 3 * sum(map(_is_own_link, offered)) < len(offered):
        for card in cards:
            card.url = None
    return cards


def _is_own_link(card: Card) -> bool:
    """Whether one of a card's links leads to its vehicle."""
    wraps = any(node.mem_id == card.nodes[0].mem_id for node in card.links[:6])
    return wraps or any(map(leads_on, card.links[:6])) or bool(card.url and url_names_vehicle(card.url))


def _owners(group: _Group) -> dict[int, str | None]:
    """Element (by ``mem_id``) → the key of the one target that the group's links below it lead to, None for several."""
    owners: dict[int, str | None] = {}
    for key, links in islice(group.links.items(), _MAX_CARDS):
        for node, _ in links[:_MAX_LINKS_OF_CARD]:
            element: LexborNode | None = node
            while element is not None and (element is node or element.tag not in _TOP):
                identity = element.mem_id
                if identity not in owners:
                    owners[identity] = key
                elif owners[identity] is None or owners[identity] == key:
                    break  # what lies above is already known
                else:
                    owners[identity] = None
                element = element.parent
    return owners


def _chain(node: LexborNode, key: str, owners: dict[int, str | None]) -> list[LexborNode]:
    """A link and the elements around it, as far as they hold links to no other target."""
    chain = [node]
    parent = node.parent
    while parent is not None and owners.get(parent.mem_id) == key:
        chain.append(parent)
        parent = parent.parent
    return chain


def _signature(node: LexborNode) -> tuple[str, str]:
    return node.tag or "", (attribute(node, "class").split() or [""])[0]


def _cut_down(cards: list[Card], chains: dict[str, list[list[LexborNode]]]) -> None:
    """Bring a card far larger than the others (the first of a menu, grown over the page) down to their size."""
    if len(cards) < 3:
        return
    sizes = [len(card.nodes[0].text()) for card in cards]
    limit = 5 * sorted(sizes)[len(sizes) // 2] + 400
    for card, size, all_chains in zip(cards, sizes, chains.values(), strict=True):
        if size <= limit:
            continue
        root = card.nodes[0].mem_id
        chain = next((chain for chain in all_chains if any(element.mem_id == root for element in chain)), all_chains[0])
        smaller = [element for element in chain if len(element.text()) <= limit]
        card.nodes = [smaller[-1] if smaller else chain[0]]


def _shrink(cards: list[Card], chains: dict[str, list[list[LexborNode]]]) -> None:
    """Bring a card that took in its surroundings (the last of a section, say) down to the element the others are."""
    if len(cards) < 3:
        return
    usual, times = Counter(_signature(card.nodes[0]) for card in cards).most_common(1)[0]
    if times * 2 < len(cards):
        return
    for card, all_chains in zip(cards, chains.values(), strict=True):
        if _signature(card.nodes[0]) == usual:
            continue
        for chain in all_chains:
            inner = next((element for element in reversed(chain) if _signature(element) == usual), None)
            if inner is not None and any(element.mem_id == card.nodes[0].mem_id for element in chain):
                card.nodes = [inner]
                break


def _grow(cards: list[Card]) -> None:
    """In a flat layout (heading, text, heading, text …) give each card the elements up to the next card."""
    if len(cards) < 2:
        return
    poor = sum(not card.offered for card in cards)
    if poor * 2 < len(cards):
        return
    roots = {card.nodes[0].mem_id for card in cards}
    parents = Counter(parent.mem_id for card in cards if (parent := card.nodes[0].parent) is not None)
    if not parents or parents.most_common(1)[0][1] < max(2, len(cards) // 2):
        return
    most = 0  # elements between one card and the next
    for card in sorted(cards, key=lambda card: not _followed(card, roots)):
        sibling = card.nodes[0].next
        bound = 12 if _followed(card, roots) else most  # after the last card comes the page's foot
        while sibling is not None and sibling.mem_id not in roots and len(card.nodes) <= bound:
            card.nodes.append(sibling)
            sibling = sibling.next
        most = max(most, len(card.nodes) - 1)
        card.evidence = card_evidence(card)


def _followed(card: Card, roots: set[int]) -> bool:
    """Whether another card follows among a card's next siblings."""
    sibling = card.nodes[0].next
    for _ in range(13):
        if sibling is None:
            return False
        if sibling.mem_id in roots:
            return True
        sibling = sibling.next
    return False


def card_evidence(card: Card) -> float:
    """Evidence that a card is a vehicle for sale: its name, a price, a distance."""
    text = " ".join(node.text(separator=" ", strip=True)[:1_500] for node in card.nodes if node.tag != "-comment")
    title = next((name for node in card.links if names_vehicle(name := link_text(node))), "")
    score = 0.0
    found = find_make_model(clean(title or text, 200))
    if found is not None:
        score += 1.0 if found.year or found.model else 0.5
    elif _YEAR.search(text):
        score += 0.3
    named_year = found is not None and found.year is not None
    card.other = other_than_vehicle(title or text[:200], text, _asked(text), year=named_year)
    if card.other is not None:
        return 0.0
    if _PRICE.search(text):
        score += 0.7
    if _DISTANCE.search(text):
        score += 0.5
    return score if score >= 0.8 or len(text) > 0 else 0.0


def _asked(text: str) -> int | None:
    """The first amount of money of a text, in whole units."""
    match = _AMOUNT.search(text)
    digits = re.sub(r"\D", "", match[1] or match[2]) if match else ""
    return int(digits) if digits else None


def _read_title(card: Card, words: Words, reading: Reading) -> None:
    """The card's title: a heading or link that names a vehicle, else the words from the year on, else a picture."""
    best: tuple[float, str, str] | None = None
    for confidence, text, locator in _title_candidates(card, words):
        if not 3 <= len(text) <= 160:
            continue
        score = confidence
        found = find_make_model(text)
        if found is not None:
            score += (1.0 if found.year else 0.6) + (0.15 if found.model else 0.0)
        if len(text) > 90:
            score -= 0.3
        if _PRICE.search(text) or _DISTANCE.search(text):
            score -= 0.4
        if best is None or score > best[0] + 1e-9:
            best = (score, text, locator)
            if score >= _PLAIN_TITLE:
                break
    if best is not None and (best[0] > 1.0 or best[2] not in ("text", "words", "img")):
        reading.offer("title", best[1], Layer.CARD, best[2], min(0.85, best[0]))
    elif best is not None:
        reading.offer("title", best[1], Layer.CARD, best[2], 0.4)


def _title_candidates(card: Card, words: Words) -> Iterator[tuple[float, str, str]]:
    """What may be the title, the likeliest first: confidence, words and where they stand."""
    for heading in islice((node for node in words.marked if node.tag != "img"), _MAX_HEADINGS):
        yield 0.85, clean(heading.text(separator=" "), 200), heading.tag or "heading"
    for node in card.links[:6]:
        yield 0.8, clean(node.text(separator=" "), 200), "link"
        yield 0.7, clean(attribute(node, "title") or attribute(node, "aria-label"), 200), "link title"
    for node in card.nodes:
        if node.is_element_node:
            for titled in css(node, "[class*=title], [class*=heading], [class*=name]")[:6]:
                yield 0.8, clean(titled.text(separator=" "), 200), "title"
    for at, text in enumerate(words.texts[:40]):
        if 4 <= len(text) <= 160:
            yield 0.75, text, "text"
        if read_year_word(text.strip()) is not None:
            for length in (2, 3, 4):  # year, make and model in pieces
                yield 0.72, " ".join(words.texts[at : at + length]), "words"
    for node in card.nodes:
        if node.is_element_node:
            for image in css(node, "img[alt]")[:3]:
                yield 0.6, clean(attribute(image, "alt"), 200), "img"


_SOLD = re.compile(r"\W*(?:sold|verkauft|verkocht|vendu)\W*\Z", re.I)
