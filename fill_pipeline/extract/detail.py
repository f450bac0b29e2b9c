"""A detail page as a person reads it: the heading, the labels, the price beside it, the description."""

from __future__ import annotations

import re
from functools import lru_cache

from selectolax.lexbor import LexborHTMLParser

from fill_pipeline.extract.cleaning import clean
from fill_pipeline.extract.dom import Words, ancestors, css, drop_foreign, drop_menus, read_words
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.finish import headline
from fill_pipeline.extract.gazetteer import find_make_model
from fill_pipeline.extract.labelled import read_labels
from fill_pipeline.extract.listing import Layer, PriceKind
from fill_pipeline.extract.numbers import says_no_price
from fill_pipeline.extract.phrases import may_be_sale
from fill_pipeline.extract.sellers import offer_seller
from fill_pipeline.extract.specs import offer_specs
from fill_pipeline.extract.values import offer_value
from fill_pipeline.extract.visible import (
    MILEAGE_CEILING,
    PRICE_CEILING,
    image_links,
    offer_mileage,
    offer_place,
    offer_price,
    offer_vin,
    photo_targets,
)

_SITE_SUFFIX = re.compile(r"\s+(?:[|–—»«•]|-|::|\|\|)\s+")
_TITLE_CEILING = 0.88  # the confidence of what is read here at most
_PLACE_IN_TITLE = re.compile(r"\(([^()\d]{3,40})\)\s*\Z")


def read_detail(tree: LexborHTMLParser, reading: Reading, *, url: str, words: Words | None = None) -> None:
    """Offer what the visible part of a detail page says, taken out of its noise. Changes the tree, and the page's words
    if they have been read already.

    What is known with more confidence than the visible page can give is not looked for, unless every offer is asked
    for."""
    title_tag = tree.css_first("title")
    tag_title = clean(title_tag.text()) if title_tag is not None else ""
    drop_menus(tree, words)
    if words is None:
        words = read_words([tree.body]) if tree.body is not None else Words()
    drop_foreign(tree, words)
    priced = (
        _is_sure(reading, "price", PRICE_CEILING)
        and reading.has("currency")
        and not may_be_sale(words.text, reading.value("price"))
    )
    start = 0
    if not (priced and _is_sure(reading, "title", _TITLE_CEILING) and (reading.has("place") or reading.has("city"))):
        start = _read_title(tree, words, tag_title, reading)
    read_labels(words, reading, url)
    title = reading.value("title")
    if not reading.has("make", "model") and (not title or _names_vehicle(title) < 0.7):
        _read_name_line(words, reading)
    subject = find_make_model(title) if title else None
    if not priced:
        offer_price(reading, words, start, Layer.TEXT, subject=subject)
    if not reading.has("price"):
        withheld = next((text for text in words.texts[:600] if len(text) <= 60 and says_no_price(text)), None)
        if withheld:
            reading.note("price", withheld)
    if not (_is_sure(reading, "mileage", MILEAGE_CEILING) and reading.has("mileage_unit")):
        offer_mileage(reading, words, Layer.TEXT, subject)
    offer_vin(reading, words, Layer.TEXT)
    offer_place(reading, words, Layer.TEXT)
    offer_seller(reading, words, tree, tag_title)
    offer_specs(reading, words)
    _judge_auction(reading, words)
    if reading.confidence("description") < 0.6:
        _read_description(tree, words, reading, url)
    if not reading.has("images"):
        links = image_links([node for node in words.marked if node.tag == "img"])
        links += photo_targets(css(tree, "a[href]"))
        if links:
            offer_value(reading, "images", list(dict.fromkeys(links)), Layer.TEXT, "img", 0.5, url)


def _is_sure(reading: Reading, field: str, ceiling: float) -> bool:
    """Whether a field's value is so confident that what is read with at most ``ceiling`` cannot replace it."""
    return reading.confidence(field) >= ceiling and not reading.explains


def _read_title(tree: LexborHTMLParser, words: Words, tag_title: str, reading: Reading) -> int:
    """Offer the page's title; gives the position of its words, 0 where it is not among them."""
    candidates: list[tuple[float, str, str]] = []
    for selector, confidence in (
        ("h1", 0.85),
        ("h2", 0.7),
        ("h3", 0.62),
        ("[class*=title]", 0.6),
        ("[id*=title]", 0.6),
    ):
        nodes = css(tree, selector) if selector[0] == "[" else [node for node in words.marked if node.tag == selector]
        for node in nodes[:6]:
            text = clean(node.text(separator=" "), 300)
            if 3 < len(text) <= 200:
                candidates.append((confidence, text, selector))
        if any(_names_vehicle(text) >= 0.7 for _, text, _ in candidates):
            break
    if tag_title:
        head = max(_SITE_SUFFIX.split(tag_title), key=lambda part: (_names_vehicle(part), -tag_title.find(part)))
        candidates.append((0.66, head.strip(" -|–"), "title"))
    scored = [(confidence + 0.25 * _names_vehicle(text), text, locator) for confidence, text, locator in candidates]
    if not scored or max(scored)[0] < 0.8:
        for text in words.texts[:400]:
            if 6 < len(text) <= 120 and _names_vehicle(text) == 1.0:
                scored.append((0.75, text, "text"))
                break
    if not scored:
        return 0
    best = max(scored, key=lambda item: item[0])
    confidence = min(_TITLE_CEILING, best[0] - 0.2 * _names_vehicle(best[1]))
    if best[2] == "title":
        best = (best[0], _fuller(words, headline(best[1])), best[2])
    reading.offer("title", best[1], Layer.TITLE, best[2], confidence)
    place = _PLACE_IN_TITLE.search(best[1])
    if place:
        reading.offer("place", place[1].strip(), Layer.TITLE, best[2], 0.45)
    wanted = best[1][:40]
    return next(
        (at for at, text in enumerate(words.texts) if text.startswith(wanted[:20]) and wanted.startswith(text[:20])), 0
    )


def _fuller(words: Words, title: str) -> str:
    """The line of the page that begins with a title from the page's head: what a person sees as the title."""
    for _, line in words.lines[:300]:
        if line.startswith(title) and len(line) <= len(title) + 60 and not re.search(r"[$€£]|: ", line[len(title) :]):
            return line
    return title


def _read_name_line(words: Words, reading: Reading) -> None:
    """Where the title names no vehicle, a line that is nothing but year, make and model may ("1986 chevrolet k5")."""
    for text in words.texts[:300]:
        if not 8 <= len(text) <= 80:
            continue
        found = find_make_model(text)
        if found is None or found.year is None or found.before or not text[:1].isdigit():
            continue
        reading.offer("year", found.year, Layer.TEXT, "line", 0.72, raw=text)
        reading.offer("make", found.make, Layer.TEXT, "line", 0.72, raw=text)
        reading.offer("model", found.model, Layer.TEXT, "line", 0.72, raw=found.model_words)
        return


def _names_vehicle(text: str) -> float:
    """How much of a vehicle's name a text has: 1 for year and make, 0.7 for make and model, 0.3 for a make."""
    found = find_make_model(text)
    if found is None:
        return 0.0
    if found.year and found.make:
        return 1.0
    return 0.7 if found.model else 0.3


_DESCRIPTIONS = (
    "[itemprop=description], [id*=description], [class*=description], [id*=postingbody], "
    "[class*=comments], [id*=comments]"
)
_ABOUT = re.compile(
    r"(?:(?:seller|dealer|owner|vehicle)(?:['’]s)? )?(?:notes?|comments?|description)(?: (?:from|by|of) .{2,30})?:?|"
    r"(?:fahrzeug)?beschreibung(?: laut anbieter)?:?|(?:voertuig)?omschrijving:?|beschrijving:?|opis:?|beskrivning:?|"
    r"descri(?:zione|pción|ção):?|beskrivelse:?",
    re.I,
)
_THREAD = re.compile(r"\b(?:repl(?:y|ies)|newest|oldest|upvote|flag as|(?:add|leave|post) a comment|log in)\b", re.I)
_THREAD_HINTS = ("repl", "newest", "oldest", "upvote", "flag as", "comment", "log in")
_UNMET = re.compile(r"\breserve (?:was )?not met\b", re.I)
_ENDED = re.compile(r"^(?:auction |bidding |sale )?(?:has )?ended\b|\bauction (?:has )?ended\b", re.I | re.M)


def _judge_auction(reading: Reading, words: Words) -> None:
    """The highest bid of an auction that ended below its reserve, where the page says so apart from the bid."""
    if reading.value("price_kind") == PriceKind.BID:
        text = words.text[:40_000]
        if _UNMET.search(text) and _ENDED.search(text):
            reading.replace("price_kind", PriceKind.RESERVE.value)


def _read_description(tree: LexborHTMLParser, words: Words, reading: Reading, url: str) -> None:
    text = _under_heading(words)
    if text:
        offer_value(reading, "description", text, Layer.TEXT, "heading", 0.62, url)
        return
    nodes = [node for node in css(tree, _DESCRIPTIONS)[:16] if not css(node, "button, input, h1")]
    texts = [node.text(separator="\n", strip=True) for node in nodes]
    for text in sorted((text for text in texts if len(text) > 60), key=len, reverse=True):
        if not _is_thread(text):
            offer_value(reading, "description", text, Layer.TEXT, "description", 0.6, url)
            return
    text = _longest_run(words)
    if len(text) > 120:
        offer_value(reading, "description", text, Layer.TEXT, "paragraphs", 0.4, url)


@lru_cache(maxsize=8192)
def _opens_description(heading: str) -> bool:
    return _ABOUT.fullmatch(heading) is not None


def _is_thread(text: str) -> bool:
    """Whether a text is what visitors wrote to each other."""
    low = text.lower()
    return any(hint in low for hint in _THREAD_HINTS) and _THREAD.search(low) is not None


def _under_heading(words: Words) -> str:
    """The text of the part of the page that a heading such as "Seller's notes" opens."""
    for heading, node in zip(words.texts, words.nodes, strict=True):
        if len(heading) > 60 or not _opens_description(heading):
            continue
        for parent in ancestors(node, 4):
            text = parent.text(separator="\n", strip=True).strip()
            if not text.startswith(heading):
                break
            if len(text) - len(heading) >= 60:
                return text[len(heading) :].strip()
    return ""


def _longest_run(words: Words) -> str:
    """The longest stretch of sentences: lines of some length with no more than two short ones between them."""
    best: list[str] = []
    run: list[str] = []
    short = 0
    for _, line in words.lines:
        if len(line) >= 40:
            run.append(line)
            short = 0
            continue
        short += 1
        if short > 2:
            if sum(map(len, run)) > sum(map(len, best)):
                best = run
            run = []
    return "\n".join(max(best, run, key=lambda lines: sum(map(len, lines))))
