"""Induce extraction rules from pages whose values are known.

A rule is a place on the page. Places are offered in three families, the firmest first: beside a label that people
read, by class or attribute, by position. A place counts only if on every page where it finds anything it finds the
known value (voted over at least three pages), read by the same code that will read it later.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from fill_pipeline.extract.cleaning import clean_markup
from fill_pipeline.extract.dom import attribute, parse
from fill_pipeline.extract.evidence import Reading as FieldReading
from fill_pipeline.extract.finish import finish
from fill_pipeline.extract.labels import field_of_label
from fill_pipeline.extract.listing import Layer
from fill_pipeline.extract.rules import Rule, apply_css
from fill_pipeline.extract.values import offer_value
from fill_pipeline.repair.truth import Witness, same
from fill_pipeline.vehicles.normalise import normalise

MIN_VOTES = 3
MIN_COVERAGE = 0.6
VOLATILE = frozenset(("price", "mileage"))
MAX_STALE = 0.2  # of the pages
_MAX_NODES = 4_000
_MAX_PLACES = 400
_MAX_WORDS = 160
_LABEL_CHARS = 40
_CLASS = re.compile(r"-?[A-Za-z_][\w-]{0,60}")
_STATE_CLASS = re.compile(r"\d{3,}|^(?:active|open|selected|first|last|odd|even|hidden|show)$")
_ATTRIBUTES = ("itemprop", "data-testid", "data-test", "data-field", "data-qa", "data-name", "data-label")
_SKIP = frozenset(("script", "style", "noscript", "template", "svg", "head", "title", "meta", "link", "option"))


@dataclass(frozen=True, slots=True)
class Place:
    """A place on a page, as a rule; families are ordered, the firmest first."""

    family: int
    rule: Rule


LABEL, NAMED, POSITION = 0, 1, 2


def induce(pages: Sequence[Witness], fields: Sequence[str]) -> dict[str, Rule]:
    """A rule for each of the fields that one could be voted for; the others are left out."""
    trees = [(page, parse(page.body.decode("utf-8", errors="replace"))) for page in pages]
    return {name: rule for name in fields if (rule := _induce_field(trees, name)) is not None}


def _induce_field(trees: Sequence[tuple[Witness, LexborHTMLParser]], name: str) -> Rule | None:
    known = [(page, tree) for page, tree in trees if name in page.truth]
    if len(known) < MIN_VOTES:
        return None
    offered: defaultdict[Place, int] = defaultdict(int)
    for page, tree in known:
        for place in set(_places(tree, name, page.truth[name], page.url)):
            offered[place] += 1
    values = {str(page.truth[name]) for page, _ in known}
    for place in firmest(offered, min(MIN_VOTES, len(known))):
        if len(values) < 2 and not (place.family == LABEL and _is_known_label(place.rule, name)):
            continue  # the same value everywhere proves no place, unless its label says what it is
        readings = ((value_of(place.rule, name, tree, page.url), page.truth[name]) for page, tree in known)
        if holds(name, readings, len(known)):
            return place.rule
    return None


def firmest(offered: Mapping[Place, int], votes: int) -> list[Place]:
    """The places with so many votes, as many as may be tried, the firmest first."""
    likely = [place for place, had in offered.items() if had >= votes]
    likely.sort(key=lambda place: (place.family, -offered[place], len(place.rule.css or "")))
    return likely[:_MAX_PLACES]


def holds(name: str, readings: Iterable[tuple[Any, Any]], of: int) -> bool:
    """Whether readings of a field (None for none), each with the known value, give it on most ``of`` so many pages and
    never another.

    But for what changes by itself: where the price we hold is no longer true, a rule that reads the new one is right.
    """
    right = wrong = 0
    for got, known in readings:
        if got is None:
            continue
        if not same(name, got, known):
            wrong += 1
            if name not in VOLATILE or wrong > max(1, MAX_STALE * of):
                return False
            continue
        right += 1
    return right >= MIN_VOTES and right >= MIN_COVERAGE * of


def value_of(rule: Rule, name: str, tree: LexborHTMLParser, url: str) -> Any:
    """What a rule gives on a page, canonical like everything that is stored."""
    if tree.root is None:
        return None
    reading = FieldReading()
    apply_css({name: rule}, tree.root, reading, url)
    return _canonical(reading, name, url)


def _read_words(words: str, name: str, url: str) -> Any:
    reading = FieldReading()
    offer_value(reading, name, words, Layer.RULES, "", 0.98, url)
    return _canonical(reading, name, url)


def _canonical(reading: FieldReading, name: str, url: str) -> Any:
    if reading.value(name) is None:
        return None
    return getattr(normalise(finish(reading, url=url)), name)


def _places(tree: LexborHTMLParser, name: str, value: Any, url: str) -> Iterator[Place]:
    """Every place on the page whose words, read as this field, give the value."""
    wanted = re.sub(r"[^0-9a-zà-ÿ]+", "", str(value).casefold())[:4]
    return places(
        tree, name, url, worth=lambda words: _may_hold(words, wanted), fits=lambda got: same(name, got, value)
    )


def places(
    tree: LexborHTMLParser, name: str, url: str, *, worth: Callable[[str], bool], fits: Callable[[Any], bool]
) -> Iterator[Place]:
    """Every place on the page whose words, if they are worth reading, give a value of the field that fits."""
    if tree.body is None:
        return
    for count, node in enumerate(tree.body.traverse(include_text=False)):
        if count > _MAX_NODES:
            return
        if node.tag is None or node.tag in _SKIP or node.tag.startswith("-"):
            continue
        words = clean_markup(node.text(separator=" "))
        if not words or len(words) > _MAX_WORDS or not worth(words):
            continue
        if fits(_read_words(words, name, url)):
            yield from _around(node)
        label, after = _label_inside(words)
        if label and fits(_read_words(after, name, url)):
            anchor = f'{node.tag}:lexbor-contains("{label}" i)'
            yield Place(LABEL, Rule(css=anchor, regex=rf"(?i){re.escape(label)}\s*:?\s*(.+)"))


def _may_hold(words: str, wanted: str) -> bool:
    """A cheap look before the careful one; canonical values may be worded quite differently, so only numbers decide."""
    return not wanted[:1].isdigit() or wanted[:2] in re.sub(r"\D+", "", words)


def _around(node: LexborNode) -> Iterator[Place]:
    label = _label_before(node)
    if label is not None:
        words, anchor_tag, how = label
        yield Place(LABEL, Rule(css=f'{anchor_tag}:lexbor-contains("{words}" i){how}'))
    for selector in _named(node):
        yield Place(NAMED, Rule(css=selector))
        parent = node.parent
        if parent is not None:
            for outer in _named(parent):
                yield Place(NAMED, Rule(css=f"{outer} > {selector}"))
                yield Place(NAMED, Rule(css=f"{outer} {selector}"))
    parent = node.parent
    if parent is not None:
        for outer in _named(parent):
            yield Place(NAMED, Rule(css=f"{outer} > {node.tag}"))
    position = _position(node)
    if position is not None:
        yield Place(POSITION, Rule(css=position))


def _label_before(node: LexborNode) -> tuple[str, str, str] | None:
    """The label that stands right before a value: its words, its tag, and the way from it to the value."""
    before = _element_before(node)
    if before is not None:
        words = _label_words(before)
        return (words, before.tag or "", f" + {node.tag}") if words else None
    parent = node.parent
    if parent is None or parent.tag in ("body", "html"):
        return None
    before = _element_before(parent)
    if before is not None and (words := _label_words(before)):
        return words, before.tag or "", f" + {parent.tag} > {node.tag}"
    return None


def _label_inside(words: str) -> tuple[str, str]:
    """A text that is a label and its value: "Mileage: 42,000"."""
    label, colon, after = words.partition(":")
    label = label.strip()
    if not colon or not _is_label(label) or not after.strip():
        return "", ""
    return label, after.strip()


def _label_words(node: LexborNode) -> str:
    words = clean_markup(node.text(separator=" ")).rstrip(" :")
    return words if _is_label(words) else ""


def _is_label(words: str) -> bool:
    return 2 <= len(words) <= _LABEL_CHARS and not re.search(r'\d|["\\]', words) and words[0].isalpha()


def _is_known_label(rule: Rule, name: str) -> bool:
    found = re.search(r'lexbor-contains\("([^"]+)"', rule.css or "")
    return found is not None and field_of_label(found[1]) == name


def _named(node: LexborNode) -> list[str]:
    """Selectors that name an element by what it is called, not by where it stands."""
    tag = node.tag or ""
    found = [f'{tag}[{name}="{value}"]' for name in _ATTRIBUTES if (value := _safe(attribute(node, name)))]
    identity = attribute(node, "id")
    if identity and _CLASS.fullmatch(identity) and not _STATE_CLASS.search(identity):
        found.append(f"{tag}#{identity}")
    names = [n for n in attribute(node, "class").split()[:6] if _CLASS.fullmatch(n) and not _STATE_CLASS.search(n)]
    found += [f"{tag}.{one}" for one in names]
    return found


def _position(node: LexborNode) -> str | None:
    """The way from the body by tag and number."""
    steps: list[str] = []
    current: LexborNode | None = node
    while current is not None and current.tag not in ("body", "html", "-document"):
        if len(steps) > 12:
            return None
        number = 1
        before = _element_before(current)
        while before is not None:
            number += before.tag == current.tag
            before = _element_before(before)
        steps.append(f"{current.tag}:nth-of-type({number})")
        current = current.parent
    return "body > " + " > ".join(reversed(steps))


def _element_before(node: LexborNode) -> LexborNode | None:
    before = node.prev
    while before is not None and (before.tag or "").startswith("-"):
        before = before.prev
    return before


def _safe(value: str) -> str:
    return value if re.fullmatch(r"[\w .:-]{1,60}", value) else ""
