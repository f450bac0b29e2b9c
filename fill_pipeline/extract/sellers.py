"""Who sells, as a page shows it without a label: under a heading, before an address, by the form of a company."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from selectolax.lexbor import LexborHTMLParser

from fill_pipeline.extract.dom import Words, attribute, css
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.gazetteer import find_make_model
from fill_pipeline.extract.labels import field_of_label
from fill_pipeline.extract.listing import Layer
from fill_pipeline.extract.places import read_address, read_place

_COMPANY = re.compile(
    r"\b(?:GmbH(?: & Co\.? ?KG)?|e\.\s?K\.|OHG|B\.?V\.?|S\.?A\.?R\.?L\.?|S\.?r\.?l\.?|LLC|L\.L\.C\.|Inc\.?|Ltd\.?|ApS|"
    r"A/S|Oy|sp\. z o\.\s?o\.)\Z"
)
_TRADE = re.compile(
    r"\b(?:auto\w*|motors?|motorcars?|cars?|classics?|dealer\w*|garage|autohaus|imports?|automobiles?|vehicles?|cycles?|"
    r"truck\w*|of [A-Z]\w+|sales|exotics?|powersports|rv)\b",
    re.I,
)
_NAME = re.compile(r"[A-Z0-9À-Þ][\w&'’.\-]*(?: [\w&'’.,/+\-]+){0,7}")
_NO_NAME = re.compile(
    r"(?:view|visit|contact|call|send|get|see|read|about|message|e-?mail|show|check|joined|more|open|closed|log|sign|your|"
    r"enter|website|ask|request|verified|rating|phone|hours|used|new|home|search|the|this|we|our|for|all|sales|service|"
    r"address|location|map|directions|dealer|seller|private|information|store|department|cash|buy|sell|find|need|please|"
    r"copyright|powered|click|vehicle|have|how|why|available|shop|book|schedule|name|first|monday|tuesday|wednesday|"
    r"thursday|friday|saturday|sunday|start|share|save|back|next|details|overview|description|features|finance|financing|"
    r"member|since|kontakt|zum|alle|nummer|anbieter|händler|impressum|bekijk|toon|voir|contacter)\b",
    re.I,
)
_BY = re.compile(r"\bby (owner|dealer)\b|\A(private) (?:seller|owner|party)\b", re.I)
_USER = re.compile(r"[A-Za-z][\w.\-]{2,29}")
_OTHERS = re.compile(r"bank|leasing|versicher|financ|insur|carfax|autocheck|copyright|©|credit|warranty", re.I)
_PHONE = re.compile(r"(?<![\d.\-])(?:\+?1[ .\-]?)?\(?[2-9]\d{2}\)?[ .\-]\s?[2-9]\d{2}[ .\-]\d{4}(?!\d)")
_LOCAL = re.compile(r"[0-9]{3}[ .\-][0-9]{4}")  # the end of every telephone number that is read
_MAX_LINES = 800
_MAX_TEXTS = 2_000


def offer_seller(reading: Reading, words: Words, tree: LexborHTMLParser, page_title: str) -> None:
    """Offer the seller's name and telephone number, where only one of each can be meant."""
    if not reading.has("seller_name"):
        name = _name(words)
        if name:
            reading.offer("seller_name", name, Layer.TEXT, "seller", 0.5)
    if not reading.has("seller_type"):
        kinds = {
            kind
            for line in (page_title[:60], *(line for _, line in words.lines[:_MAX_LINES]))
            if len(line) <= 60 and (kind := _said_kind(line))
        }
        if len(kinds) == 1:
            reading.offer("seller_type", kinds.pop(), Layer.TEXT, "by", 0.5)
    if not reading.has("seller_phone"):
        phone = _phone(words, tree)
        if phone:
            reading.offer("seller_phone", phone, Layer.TEXT, "telephone", 0.5)


def is_user_name(text: str) -> bool:
    """Whether a word can be the name of a member of a site ("e46fan")."""
    return _USER.fullmatch(text) is not None and _NO_NAME.match(text) is None


def is_name(text: str) -> bool:
    """Whether some words can be the name of a person or a company: no command, no heading, no vehicle."""
    if not 3 <= len(text) <= 60 or _NAME.fullmatch(text) is None or _NO_NAME.match(text):
        return False
    if field_of_label(text) is not None or _OTHERS.search(text) or read_place(text) is not None:
        return False
    found = find_make_model(text)
    return found is None or (found.year is None and found.model is None)


def _name(words: Words) -> str | None:
    lines = [line for _, line in words.lines[:_MAX_LINES]]
    for at in words.numbered_lines:
        if 0 < at < len(lines) and read_address(lines[at]) is not None:
            for above in (at - 1, at - 2):
                if (
                    above >= 0
                    and is_name(lines[above])
                    and (_TRADE.search(lines[above]) or find_make_model(lines[above]) is not None)
                ):
                    return lines[above]
    companies = Counter(line for line in lines if len(line) <= 60 and _is_company(line))
    if companies:
        name, times = companies.most_common(1)[0]
        if len(companies) == 1 or times > 1:
            return name
    return None


@lru_cache(maxsize=8192)
def _said_kind(line: str) -> str | None:
    """The kind of seller that a line says it is by."""
    said = _BY.search(line)
    return None if said is None else "dealer" if said[0].lower().endswith("dealer") else "private"


@lru_cache(maxsize=8192)
def _is_company(line: str) -> bool:
    return _COMPANY.search(line) is not None and is_name(line)


def _phone(words: Words, tree: LexborHTMLParser) -> str | None:
    """The one number that the page's telephone links call, else the one that stands on it."""
    called = {re.sub(r"\D", "", attribute(link, "href")): link for link in css(tree, 'a[href^="tel:"]')[:40]}
    called.pop("", None)
    if called:
        if len({digits[-10:] for digits in called}) > 1:
            return None
        digits, link = next(iter(called.items()))
        text = " ".join(link.text().split())
        return text if re.sub(r"\D", "", text)[-7:] == digits[-7:] and len(text) <= 30 else digits
    if not _LOCAL.search(words.numbered_text):
        return None
    texts = [words.texts[at] for at in words.numbered_texts if at < _MAX_TEXTS]
    numbered = (text for text in texts if _LOCAL.search(text))
    found = {re.sub(r"\D", "", match[0])[-10:]: match[0] for text in numbered for match in _PHONE.finditer(text)}
    return next(iter(found.values())) if len(found) == 1 else None
