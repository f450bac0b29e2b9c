"""What a person sees in some part of a page: prices, mileages, VINs, pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice

from selectolax.lexbor import LexborNode

from fill_pipeline.extract.cleaning import clean
from fill_pipeline.extract.dom import Words, ancestors, attribute, css
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.gazetteer import MakeModel, find_make_model
from fill_pipeline.extract.labelled import is_caption
from fill_pipeline.extract.labels import field_of_label
from fill_pipeline.extract.listing import Layer, PriceKind
from fill_pipeline.extract.numbers import (
    MileageReading,
    PriceReading,
    currency_code,
    read_bare_price,
    read_mileages,
    read_prices,
    says_no_price,
)
from fill_pipeline.extract.places import find_place
from fill_pipeline.extract.vin import find_labelled_vin, find_vins

_OLD = re.compile(r"strike|\bwas|\bold|msrp|former|original|crossed|previous|retail|regular|before|rrp|uvp", re.I)
_STRUCK = frozenset(("s", "del", "strike"))
_PRICE_HINT = re.compile(r"pric|preis|prijs|prix|amount", re.I)
_OTHER_HINT = re.compile(
    r"payment|\bmonth|finance|lease|shipping|similar|related|saving|discount|deposit|tax|\bfees?\b", re.I
)
_CODES = re.compile(r"USD|EUR|CAD|GBP|CHF|AUD|SEK|NOK|DKK|PLN|Fr\.|kr|zł|¥")
_AMOUNT = re.compile(r"[$€£][^\n]*")
_CODED_AMOUNT = re.compile(r"(?:[$€£]|\b(?:USD|EUR|CAD|GBP|CHF|AUD|SEK|NOK|DKK|PLN|Fr\.|kr)|zł|¥)[^\n]*")
_GROUPED = re.compile(r"\d{1,3}(?:[., '\u00a0\u202f]\d{3}){1,2}\Z")
_UNIT = re.compile(r"(?:mi|km|miles|mls|kilom\w*|cc|hp|lbs|kg|rpm)\b", re.I)
_DISTANCE = re.compile(r"[0-9][^0-9]{0,24}?(?:mi|km|kilo|mls|tkm|tsd)")
_ODOMETER = re.compile(r"(?:odo|kilom|mileage|tacho)\D{0,30}\d")
_OF_DISTANCE = re.compile(r"travel|driven|distance|clocked|kilom|mileage|odo|since new", re.I)
_LONGEST_NAME = 60  # characters of words that may say what the number after them is
_ODOMETERS = ("odo", "kilom", "mileage", "tacho")
_MAX_PHOTOS = 80
_MAX_AMOUNTS = 300  # looked at in one page
PRICE_CEILING = MILEAGE_CEILING = 0.8  # the confidence of what free text says at most
_LEAST = 0.35  # a price with a lower score is none


@dataclass(slots=True)
class Priced:
    """A price on a page: how likely it is the vehicle's, what was read, how its place is marked up, and where."""

    score: float
    reading: PriceReading
    locator: str
    at: int


def best_price(words: Words, start: int = 0, subject: MakeModel | None = None) -> Priced | None:
    """The price that some words give: what is said around it, how it is marked up, and how near it stands after
    ``start`` (the position of the title) decide. An amount in a card of another vehicle than ``subject`` is left out.
    None where no price stands."""
    candidates: list[Priced] = []
    lines = words.lines
    coded = _CODES.search(words.text) is not None
    priced = (
        (*lines[number], reading)
        for number in words.lines_with(_CODED_AMOUNT if coded else _AMOUNT)
        for reading in _readings_of(lines, number)
    )
    bare = (
        (at, text, reading)
        for at in words.numbered_texts
        if len(text := words.texts[at]) < 12 and _GROUPED.match(text) and (reading := _bare(words.texts, at))
    )
    for at, line, reading in chain(islice(priced, _MAX_AMOUNTS), islice(bare, _MAX_AMOUNTS)):
        at = _piece_of(words, at, reading)
        if any(parent.tag in _STRUCK for parent in ancestors(words.nodes[at], 3)):
            continue  # what was crossed out is no longer asked
        marks = _marks(words.nodes[at])
        score = _score(reading, marks, line, at - start)
        captioned = _caption_of(words, at)
        if captioned == "price":
            score += 0.12
        elif captioned in ("bid", "sold_price"):
            kind = PriceKind.BID if captioned == "bid" else PriceKind.SOLD
            reading, score = replace(reading, kind=kind), score + 0.2
        elif captioned is not None:
            score -= 0.35
        if score >= _LEAST:
            candidates.append(Priced(score, reading, marks.split("\n")[0][:60] or "text", at))
    candidates.sort(key=lambda candidate: -candidate.score)
    for candidate in candidates[:40]:
        if subject is None or not in_foreign_card(words, candidate.at, subject):
            return candidate
    return None


def _caption_of(words: Words, at: int) -> str | None:
    """The field that a caption under an amount names ("$38,412 / MSRP"), None without one."""
    if at + 1 >= len(words.texts):
        return None
    field = field_of_label(words.texts[at + 1])
    if field in ("price", "msrp", "bid", "sold_price", "") and is_caption(words, at + 1, field or "msrp"):
        return field
    return None


def _piece_of(words: Words, at: int, reading: PriceReading) -> int:
    """The position of the piece of a line that holds an amount."""
    digits = reading.raw.lstrip("$€£¥ ").split()[0]
    while digits not in words.texts[at] and at + 1 < len(words.texts) and words.glued[at + 1]:
        at += 1
    return at


def in_foreign_card(words: Words, at: int, subject: MakeModel) -> bool:
    """Whether some words stand in a small part of the page whose link names another vehicle than the page's own."""
    for parent in ancestors(words.nodes[at], 5):
        if parent.mem_id in words.around_heading or len(parent.text(strip=True)) > 500:
            return False
        for link in css(parent, "a[href]")[:6]:
            named = find_make_model(clean(link.text(separator=" "), 160) or attribute(link, "title")[:160])
            if named is not None and (named.year or named.model) and _another(named, subject):
                return True
    return False


def _another(named: MakeModel, subject: MakeModel) -> bool:
    if named.make != subject.make or (named.year and subject.year and named.year != subject.year):
        return True
    if not named.model or not subject.model or named.model == subject.model:
        return False
    return not (named.model.startswith(subject.model) or subject.model.startswith(named.model))


def _readings_of(lines: list[tuple[int, str]], number: int) -> list[PriceReading]:
    """The amounts of a line, read with the short lines around it."""
    line = lines[number][1]
    head, tail = "", ""
    for before in (2, 1):
        if number >= before and len(lines[number - before][1]) < 60:
            head += lines[number - before][1][-40:] + "\n"
        else:
            head = ""
    if number + 1 < len(lines) and len(lines[number + 1][1]) < 60:
        tail = "\n" + lines[number + 1][1][:40]
    start, end = len(head), len(head) + len(line)
    found = read_prices(head + line + tail, end)
    return [reading for reading in found if reading.high is None and start <= reading.start < end]


def _bare(texts: list[str], at: int) -> PriceReading | None:
    """A number with grouped thousands standing alone, no unit of distance after it: a price without its sign, or with
    its sign in the next piece."""
    amount = read_bare_price(texts[at])
    code = currency_code(texts[at + 1]) if at + 1 < len(texts) and len(texts[at + 1]) <= 4 else None
    if amount is not None and code:
        return PriceReading(amount, code, PriceKind.ASKING, texts[at], 0.7)
    if " " in texts[at] or "\u00a0" in texts[at]:
        return None
    if amount is None or not 300 <= amount <= 10_000_000:
        return None
    if at + 1 < len(texts) and _UNIT.match(texts[at + 1]):
        return None
    before = texts[at - 1] if at else ""
    if says_no_price(before) or field_of_label(before) not in (None, "price", "msrp"):
        return None
    if len(before) <= _LONGEST_NAME and _OF_DISTANCE.search(before):
        return None
    return PriceReading(amount, None, PriceKind.ASKING, texts[at], 0.5)


def _score(reading: PriceReading, marks: str, line: str, distance: int) -> float:
    score = reading.confidence
    # The nearest element that says anything decides.
    score += next((weight for level in marks.split("\n") if (weight := _weight_of_marks(level))), 0.0)
    around = len(line) - len(reading.raw)
    if around > 40 and reading.confidence <= 0.7:
        score -= 0.3  # inside a sentence, and nothing says that it is the price
    elif around > 100:
        score -= 0.2
    elif around < 20:
        score += 0.03
    if reading.amount < 300:
        score -= 0.3
    return score - (min(0.2, distance / 1500) if distance >= 0 else 0.12)


@lru_cache(maxsize=4096)
def _weight_of_marks(level: str) -> float:
    """What the classes and ids of an element make of an amount in it."""
    if _OLD.search(level):
        return -0.3
    if _OTHER_HINT.search(level):
        return -0.4
    return 0.12 if _PRICE_HINT.search(level) else 0.0


def _marks(node: LexborNode) -> str:
    """Classes, ids and test names of the three elements around some words, a line each, the nearest first."""
    out: list[str] = []
    parent = node.parent
    for _ in range(3):
        if parent is None or parent.tag in ("body", "html"):
            break
        attributes = parent.attributes
        names = ("class", "id", "data-testid", "data-cmp", "itemprop")
        out.append(" ".join(part for name in names if (part := attributes.get(name)))[:100])
        parent = parent.parent
    return "\n".join(out)


def offer_price(
    reading: Reading,
    words: Words,
    start: int,
    layer: Layer,
    *,
    ceiling: float = PRICE_CEILING,
    subject: MakeModel | None = None,
) -> None:
    """Offer the best price of some words."""
    found = best_price(words, start, subject)
    if found is None:
        return
    price, locator = found.reading, found.locator
    confidence = min(ceiling, 0.5 + found.score * 0.35)
    if confidence > reading.confidence("price"):
        reading.offer("price", price.amount, layer, locator, confidence, raw=price.raw)
        reading.drop("price_kind")
        reading.offer("price_kind", price.kind.value, layer, locator, confidence)
        if price.currency:
            reading.drop("currency")
            reading.offer("currency", price.currency, layer, locator, confidence, raw=price.raw)
    elif reading.value("price") == price.amount:
        if price.currency and not reading.has("currency"):
            reading.offer("currency", price.currency, layer, locator, confidence, raw=price.raw)
        if price.kind is not PriceKind.ASKING:
            reading.drop("price_kind")
            reading.offer("price_kind", price.kind.value, layer, locator, confidence)


def offer_mileage(reading: Reading, words: Words, layer: Layer, subject: MakeModel | None = None) -> None:
    """Offer the best mileage of some words; the first of equals. One in another vehicle's card is left out."""
    best: MileageReading | None = None
    looked = 0
    lines = words.lines
    for number in words.numbered_lines:
        at, line = lines[number]
        if _hints_at_distance(line.lower()):
            before = lines[number - 1][1] if number else ""
            head = before[-30:] + "\n" if len(before) < 50 else ""
            looked += 1
            if looked > _MAX_AMOUNTS:
                break
            for found in read_mileages(head + line):
                if found.start < len(head):
                    continue
                whole = len(found.raw) >= len(line) - 2
                if best is None or found.confidence + 0.1 * whole > best.confidence + 1e-9:
                    if subject is not None and in_foreign_card(words, at, subject):
                        continue
                    best = found.raised(0.1 * whole)
    if best is None:
        return
    confidence = min(MILEAGE_CEILING, best.confidence * 0.85)
    if confidence > reading.confidence("mileage"):
        reading.offer("mileage", best.value, layer, "text", confidence, raw=best.raw)
        if best.unit:
            reading.drop("mileage_unit")
            reading.offer("mileage_unit", best.unit, layer, "text", confidence)
    elif reading.value("mileage") == best.value and best.unit and not reading.has("mileage_unit"):
        reading.offer("mileage_unit", best.unit, layer, "text", confidence)


def _hints_at_distance(low: str) -> bool:
    """A cheap look: words without which a line gives no mileage."""
    if not ("mi" in low or "km" in low or "kilo" in low or "odo" in low or "ml" in low):
        return False
    if _DISTANCE.search(low):
        return True
    return any(word in low for word in _ODOMETERS) and _ODOMETER.search(low) is not None


def offer_vin(reading: Reading, words: Words, layer: Layer) -> None:
    """Offer the one VIN of some words; several different ones belong to several cars and give none."""
    if reading.has("vin"):
        return
    vins = find_vins(words.numbered_text)
    if len(vins) == 1:
        reading.offer("vin", vins[0], layer, "text", 0.75)
    elif not vins:
        for _, text in words.lines:
            if "VIN" in text or "hassis" in text or "erial" in text:
                labelled = find_labelled_vin(text)
                if labelled:
                    reading.offer("vin", labelled, layer, "text", 0.6)
                    return


def image_links(nodes: list[LexborNode]) -> list[str]:
    """The addresses of pictures below some nodes, the lazy ones too; no icons, logos or placeholders."""
    out: list[str] = []
    for node in nodes:
        if len(out) >= _MAX_PHOTOS:
            break
        attributes = node.attributes
        for name in ("data-src", "data-original", "data-lazy", "data-lazy-src", "src", "srcset", "data-srcset"):
            source = attributes.get(name)
            if not source or source.startswith("data:"):
                continue
            source = source.split(",")[0].split()[0] if "srcset" in name and source.strip() else source
            if not _NO_PHOTO.search(source.lower()):
                out.append(source)
                break
    pictures = [link for link in out if link.endswith(_PICTURE_ENDS) or _PICTURE.search(link)]
    return list(dict.fromkeys(pictures or out))


def photo_targets(nodes: list[LexborNode]) -> list[str]:
    """The addresses of pictures that links lead to."""
    return [href for node in nodes if _PHOTO.search(href := attribute(node, "href"))][:_MAX_PHOTOS]


# An address that says that it is a picture's: a counter's or an advertisement's says something else.
_PICTURE = re.compile(
    r"\.(?:jpe?g|webp|png|avif|heic)\b|/(?:[\w-]*image|[\w-]*photo|[\w-]*picture|media|img|uploads)", re.I
)
_PICTURE_ENDS = (".jpg", ".jpeg", ".png", ".webp")
_PHOTO = re.compile(r"\.(?:jpe?g|webp|png)(?:\?|\Z)", re.I)
_NO_PHOTO = re.compile(
    r"logo|icon|sprite|pixel|blank|spacer|placeholder|avatar|badge|button|banner|/flag|loading|\.svg|1x1|captcha|"
    r"facebook|twitter|tracking|\.gif"
)


def offer_place(reading: Reading, words: Words, layer: Layer) -> None:
    """Offer the first line that is a place, or an address that ends in one: "Omaha, NE 68102", "10115 Berlin"."""
    if reading.has("place") or reading.has("city"):
        return
    french = reading.value("currency") == "EUR"
    lines = (line for _, line in words.lines[:800])
    place = find_place(chain(words.texts[:400], lines), french=french)
    if place is not None:
        reading.offer("place", place.text, layer, "text", 0.6)
        for field in ("city", "region", "postal_code", "country"):
            reading.offer(field, getattr(place, field), layer, "text", 0.57)
