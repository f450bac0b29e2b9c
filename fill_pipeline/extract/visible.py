"""What a person sees in some part of a page: labels and values, prices, mileages, VINs."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborNode

from fill_pipeline.extract.dom import Words, attribute
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.labels import field_of_label
from fill_pipeline.extract.listing import Layer, PriceKind
from fill_pipeline.extract.numbers import PriceReading, read_mileages, read_prices
from fill_pipeline.extract.values import offer_value
from fill_pipeline.extract.vin import find_labelled_vin, find_vins

_ALNUM = re.compile(r"[^\W_]")
_LONG_FIELDS = frozenset(
    (
        "place",
        "engine",
        "transmission",
        "seller_name",
        "title",
        "trim",
        "make_model",
        "exterior_color",
        "interior_color",
    )
)
# Labels that are also ordinary words: without a colon they count only in a cell of a table or list.
_LOOSE = frozenset(
    (
        "place",
        "seller_name",
        "seller_phone",
        "remote_id",
        "status",
        "sold_price",
        "bid",
        "title",
        "seller_type",
        "price",
        "make_model",
    )
)
_CELLS = frozenset(("dt", "th", "td", "label"))


def read_labels(words: Words, reading: Reading, base_url: str, *, layer: Layer = Layer.LABELS) -> None:
    """Offer every value that stands after its label: in the same words, in the next cell, or below in a column."""
    texts = words.texts
    count = len(texts)
    at = 0
    while at < count:
        text = texts[at]
        if len(text) <= 48:
            field = field_of_label(text)
            if field is not None:
                at = _labelled(words, at, field, reading, base_url, layer)
                continue
        colon = text.find(":", 1, 48)
        if colon > 0:
            field = field_of_label(text[:colon])
            if field:
                value = text[colon + 1 :].strip()
                if not _ALNUM.search(value):
                    at += 1
                    continue
                at += 1
                while (
                    at < count
                    and words.glued[at]
                    and len(value) < 80
                    and field_of_label(texts[at]) is None
                    and ":" not in texts[at]
                ):
                    value += " " + texts[at]
                    at += 1
                _offer(reading, field, value, layer, text[:colon], 0.84, base_url)
                continue
        at += 1


def _labelled(words: Words, at: int, field: str, reading: Reading, base_url: str, layer: Layer) -> int:
    """Read the value or values after a label that stands alone; gives the position to go on from."""
    texts, count = words.texts, len(words.texts)
    fields, names = [field], [texts[at]]
    colon = texts[at].rstrip().endswith(":")
    after = at + 1
    while after < count:
        text = texts[after]
        if not _ALNUM.search(text):
            colon = colon or ":" in text
            after += 1
            continue
        following = field_of_label(text) if len(text) <= 48 else None
        if following is None or len(fields) >= 24:
            break
        fields.append(following)
        names.append(text)
        colon = text.rstrip().endswith(":")
        after += 1
    if after >= count:
        return count
    if len(fields) >= 3 and after + len(fields) <= count:
        row = texts[after : after + len(fields)]
        if not any(field_of_label(text) is not None for text in row if len(text) <= 48) and not any(
            ":" in name for name in names
        ):
            for name, known, value in zip(names, fields, row, strict=True):
                _offer(reading, known, value, layer, name, 0.7, base_url)
            return after + len(fields)
    known, label = fields[-1], names[-1]
    value, end = texts[after], after + 1
    while end < count and words.glued[end] and len(value) < 80 and field_of_label(texts[end]) is None:
        value += " " + texts[end]
        end += 1
    if known and (colon or known not in _LOOSE or _is_cell(words.nodes[after - 1])):
        confidence = 0.84 if colon else 0.76
        if len(value) <= 80 or (known in _LONG_FIELDS and len(value) <= 160):
            _offer(reading, known, value, layer, label, confidence, base_url)
    return after


def _is_cell(node: LexborNode) -> bool:
    parent = node.parent
    for _ in range(3):
        if parent is None:
            return False
        if parent.tag in _CELLS:
            return True
        parent = parent.parent
    return False


def _offer(
    reading: Reading, field: str, value: str, layer: Layer, label: str, confidence: float, base_url: str
) -> None:
    if field == "msrp":
        field, confidence = "price", 0.55
    if field == "make_model":
        field, confidence = "title", 0.5
    if field == "year" and not re.fullmatch(
        r"\D{0,12}(?:\d{1,2}[./\-]){0,2}(?:1[89]|20)\d\d(?:[./\-]\d{1,2}){0,2}\D{0,12}", value
    ):
        return
    if field == "price" and reading.has("price") and confidence <= reading.confidence("price"):
        return
    offer_value(reading, field, value, layer, label.strip(" :")[:40], confidence, base_url, key=label)


_OLD = re.compile(r"strike|was|old|msrp|former|original|crossed|previous|retail|regular|before|rrp|uvp", re.I)
_PRICE_HINT = re.compile(r"price|preis|prijs|prix|cost|amount", re.I)
_OTHER_HINT = re.compile(r"payment|month|finance|lease|shipping|similar|related|saving|discount|deposit|tax|fee", re.I)


def best_price(words: Words, start: int = 0) -> tuple[PriceReading, str] | None:
    """The price that some words give, with its locator: what is said around it, how it is marked up, what is nearest
    after ``start`` (the position of the title) decide. None where no price stands."""
    best: tuple[float, PriceReading, str] | None = None
    line_start = 0
    texts, glued, nodes = words.texts, words.glued, words.nodes
    count = len(texts)
    at = 0
    while at < count:
        line_start = at
        line = texts[at]
        at += 1
        while at < count and glued[at] and len(line) < 400:
            line += " " + texts[at]
            at += 1
        if not _MONEY_HINT.search(line):
            continue
        before = texts[line_start - 1] if line_start else ""
        before2 = texts[line_start - 2] if line_start > 1 else ""
        head = f"{before2[-30:]}\n{before[-40:]}\n" if len(before) < 60 else "\n"
        after = f"\n{texts[at][:40]}" if at < count and len(texts[at]) < 60 else ""
        for reading in read_prices(head + line + after):
            if reading.high is not None:
                continue
            if reading.raw.split()[-1] not in line and reading.raw not in line:
                continue
            marks = _marks(nodes[line_start])
            score = reading.confidence
            if _OTHER_HINT.search(marks):
                score -= 0.4
            elif _OLD.search(marks):
                score -= 0.3
            elif _PRICE_HINT.search(marks):
                score += 0.12
            if len(line) > 120:
                score -= 0.25  # inside a sentence
            elif len(line) < 30:
                score += 0.03
            if reading.amount < 300:
                score -= 0.3
            distance = line_start - start
            score -= min(0.2, max(0, distance) / 1500) if distance >= 0 else 0.12
            if best is None or score > best[0] + 1e-9:
                best = (score, reading, marks.strip()[:60] or "text")
    if best is None or best[0] < 0.25:
        return None
    return best[1], best[2]


_MONEY_HINT = re.compile(r"[$€£¥]|\b(?:USD|EUR|CAD|GBP|CHF|AUD|SEK|NOK|DKK|PLN|Fr\.|kr)\b|zł")


def _marks(node: LexborNode) -> str:
    """Tag names, classes and ids of the three elements around some words."""
    out: list[str] = []
    parent = node.parent
    for _ in range(3):
        if parent is None or parent.tag in ("body", "html"):
            break
        tag = parent.tag or ""
        out.append("strike" if tag in ("s", "del", "strike") else "")
        attributes = parent.attributes
        out.append(attributes.get("class") or "")
        out.append(attributes.get("id") or "")
        out.append(attributes.get("data-testid") or attributes.get("data-cmp") or "")
        parent = parent.parent
    return " ".join(part for part in out if part)[:300]


def offer_price(reading: Reading, words: Words, start: int, layer: Layer, ceiling: float = 0.8) -> None:
    """Offer the best price of some words."""
    found = best_price(words, start)
    if found is None:
        return
    price, locator = found
    confidence = min(ceiling, 0.55 + price.confidence * 0.3)
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


def offer_mileage(reading: Reading, text: str, layer: Layer) -> None:
    """Offer the best mileage of a text; the first of equals."""
    found = read_mileages(text)
    if not found:
        return
    best = max(found, key=lambda mileage: mileage.confidence)
    confidence = best.confidence * 0.85
    if confidence > reading.confidence("mileage"):
        reading.offer("mileage", best.value, layer, "text", confidence, raw=best.raw)
        if best.unit:
            reading.drop("mileage_unit")
            reading.offer("mileage_unit", best.unit, layer, "text", confidence)
    elif reading.value("mileage") == best.value and best.unit and not reading.has("mileage_unit"):
        reading.offer("mileage_unit", best.unit, layer, "text", confidence)


def offer_vin(reading: Reading, text: str, layer: Layer) -> None:
    """Offer the one VIN of a text; several different ones belong to several cars and give none."""
    if reading.has("vin"):
        return
    vins = find_vins(text)
    if len(vins) == 1:
        reading.offer("vin", vins[0], layer, "text", 0.75)
    elif not vins:
        labelled = find_labelled_vin(text)
        if labelled:
            reading.offer("vin", labelled, layer, "text", 0.6)


def image_links(nodes: list[LexborNode]) -> list[str]:
    """The addresses of pictures below some nodes, the lazy ones too; no icons, logos or placeholders."""
    out: list[str] = []
    for node in nodes:
        for name in ("data-src", "data-original", "data-lazy", "data-lazy-src", "src", "srcset", "data-srcset"):
            source = attribute(node, name)
            if not source or source.startswith("data:"):
                continue
            source = source.split(",")[0].split()[0] if "srcset" in name and source.strip() else source
            if not _NO_PHOTO.search(source):
                out.append(source)
                break
    return list(dict.fromkeys(out))


_NO_PHOTO = re.compile(
    r"logo|icon|sprite|pixel|blank|spacer|placeholder|avatar|badge|button|banner|/flags?/|loading|\.svg|1x1|captcha|facebook|twitter|tracking|\.gif(?:\?|$)",
    re.I,
)
