"""What a card tells without words for it: years among bare facts, cells under a table's headings, its attributes."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborNode

from fill_pipeline.extract.cleaning import clean
from fill_pipeline.extract.dom import Words, css, read_words
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.keys import field_of_key
from fill_pipeline.extract.labels import field_of_label
from fill_pipeline.extract.listing import Layer, PriceKind
from fill_pipeline.extract.values import offer_value

_REGISTERED = re.compile(
    r"(?:(?:EZ|Erstzulassung|Bj|Baujahr|Bouwjaar|Année)\.?:?\s*)?(?:0[1-9]|1[0-2])\s?[/.]\s?((?:19|20)\d\d)"
)
_ALONE = re.compile(r"(19[2-9]\d|20[0-4]\d)(?:\s*\(\d\d reg\.?\))?")
_COUNTED = re.compile(r"(?:mi|km|miles|cc|ccm|cm|hp|ps|kw|lbs|kg|reviews?|photos?)\b", re.I)
_BETWEEN = re.compile(r"\s[•·|]\s|,\s")
_LONGEST_FACTS = 200  # characters of a line of facts
_TRIM = "[class*=trim], [class*=Trim], [data-test*=rim], [data-testid*=rim]"
TRIM_HINTS = ("trim", "Trim", "data-test")  # without which a page marks nothing up as a trim
_LONGEST_TRIM = 40
_NO_TRIM = re.compile(r"[$€£]\s?\d|\d\s*(?:mi|km|miles)\b|\btrim\b", re.I)
_OUTCOME = re.compile(r"(reserve not met|not sold)|\bsold (?:on|for|at)\b", re.I)
_DATA_FIELDS = frozenset(("vin", "price", "mileage", "year", "make", "model", "trim", "exterior_color", "body_style"))
CARRIER_NAMES = ("data-vin", "data-make", "data-price", "data-year")
_CARRIERS = ", ".join(f"[{name}]" for name in CARRIER_NAMES)
_MAX_CARRIERS = 12  # elements of a card whose attributes are looked at


def read_year(words: Words, reading: Reading) -> None:
    """Offer the year that stands alone among a card's facts, or with a month ("EZ 08/2015"): when the car was first
    registered. Two different ones tell nothing."""
    alone: set[str] = set()
    texts = words.texts[:60]
    for at, text in enumerate(texts):
        if len(text) < 4 or len(text) > _LONGEST_FACTS or not any(char.isdigit() for char in text):
            continue
        parts = _BETWEEN.split(text) if len(text) > 7 else [text]
        for part in parts:
            part = part.strip("•·| ")
            registered = _REGISTERED.fullmatch(part)
            if registered:
                reading.offer("year", int(registered[1]), Layer.CARD, "first registration", 0.55, raw=part)
                return
            match = _ALONE.fullmatch(part)
            if match and not (len(parts) == 1 and at + 1 < len(texts) and _COUNTED.match(texts[at + 1])):
                alone.add(match[1])
    if len(alone) == 1:
        year = alone.pop()
        # A year in the title may be part of a model's name ("Peugeot 2008").
        reading.offer("year", int(year), Layer.CARD, "year alone", 0.82, raw=year)


def read_cells(row: LexborNode, reading: Reading, base_url: str) -> None:
    """Offer what a table's row says under the headings of its columns."""
    table = row.parent
    while table is not None and table.tag in ("tbody", "thead", "tfoot"):
        table = table.parent
    if table is None or table.tag != "table":
        return
    head = next(iter(css(table, "tr")[:1]), None)
    if head is None or head.mem_id == row.mem_id:
        return
    names = [field_of_label(_words(cell)) for cell in _cells(head)]
    cells = _cells(row)
    if sum(name is not None for name in names) < 2 or len(names) != len(cells):
        return
    for name, cell in zip(names, cells, strict=True):
        if name and (value := _words(cell)):
            offer_value(reading, name, value, Layer.CARD, "column", 0.8, base_url, key=name)


def read_attributes(nodes: list[LexborNode], reading: Reading, base_url: str, *, inside: bool = True) -> None:
    """Offer what a card's elements carry in ``data-vin``, ``data-price`` and the like; those inside it only if asked
    for."""
    for node in nodes[:2]:
        if not node.is_element_node:
            continue
        inner = css(node, _CARRIERS)[:_MAX_CARRIERS] if inside else []
        for carrier in [node, *inner]:
            for name, value in carrier.attributes.items():
                if not value or not name.startswith("data-") or len(value) > 80:
                    continue
                known = field_of_key(name[5:])
                if known and known[0] in _DATA_FIELDS:
                    offer_value(reading, known[0], value, Layer.STRUCTURED, name, 0.72 * known[1], base_url, key=name)


def read_trim(nodes: list[LexborNode], reading: Reading, base_url: str) -> None:
    """Offer the words of the element that is marked up as the trim."""
    for node in nodes[:2]:
        for marked in css(node, _TRIM)[:1] if node.is_element_node else []:
            text = next(iter(read_words([marked]).texts), "")
            if len(text) <= _LONGEST_TRIM and not _NO_TRIM.search(text) and any(char.isalpha() for char in text):
                offer_value(reading, "trim", text, Layer.CARD, "trim", 0.6, base_url)
                return


def read_outcome(words: Words, reading: Reading) -> None:
    """Offer what became of an auction whose price stands in a line that says so: "Sold on 3/4/24 for $18,000"."""
    raw = reading.raw("price")
    if raw is None or reading.value("price_kind") != PriceKind.ASKING:
        return
    line = next((text for _, text in words.lines if raw in text and len(text) < _LONGEST_FACTS), "")
    match = _OUTCOME.search(line)
    if match:
        kind = PriceKind.RESERVE if match[1] else PriceKind.SOLD
        confidence = reading.confidence("price_kind")
        reading.drop("price_kind")
        reading.offer("price_kind", kind.value, Layer.CARD, "outcome", confidence, raw=line)


def _cells(row: LexborNode) -> list[LexborNode]:
    return [cell for cell in row.iter() if cell.tag in ("td", "th")]


def _words(cell: LexborNode) -> str:
    return clean(cell.text(separator=" ", strip=True)[:400], 160)
