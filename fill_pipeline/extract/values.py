"""One value as a record or a label gives it, turned into what a listing holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from fill_pipeline.extract.cleaning import clean, clean_markup
from fill_pipeline.extract.evidence import Offer, Reading, evidence_of
from fill_pipeline.extract.listing import Layer, ListingStatus, PriceKind
from fill_pipeline.extract.numbers import (
    MAX_MILEAGE,
    MAX_PRICE,
    currency_code,
    read_bare_mileage,
    read_bare_price,
    read_mileage,
    read_number,
    read_price,
    says_no_price,
)
from fill_pipeline.extract.urls import absolute
from fill_pipeline.extract.vin import VinKind, classify_vin, clean_vin, find_labelled_vin, find_vins

MIN_YEAR = 1885  # Benz's patent motor car
MAX_YEAR = 2035  # no page sells a car of a later model year than this
_MAX_IMAGES = 60
_PRIVATE = re.compile(r"(?:by )?(?:priv|partic|owner|individual|person|osoba pryw)")
_DEALER = re.compile(
    r"deal|händler|haendler|handel|business|profes|garage|commercial|autobedrijf|rivenditore|concess|concesion|firma\b|"
    r"företag|forhandler|bedrijf"
)
_IN_TENS = frozenset(("miltal", "mätarställning"))
_PRICED = re.compile(r"[$€£] ?\d|\d ?[€£]")
_NOTHING = re.compile(r"0+(?:[.,]0+)? ?\D{0,4}")
_TELEPHONE = re.compile(r"\+?[\d(][\d ().\-/\u00a0]{4,22}\d")
_DECIMAL = re.compile(r"\d{1,15}\.(?:\d{1,2}|\d{4,6})")  # as a program writes it; three digits would group thousands
_YEAR = re.compile(r"(?<![\d.,])(1[89]\d\d|20[0-4]\d)(?![\d,]|\.\d)")
TEXT_FIELDS = frozenset(
    [
        "title",
        "make",
        "model",
        "trim",
        "body_style",
        "engine",
        "fuel_type",
        "fuel_economy",
        "transmission",
        "drivetrain",
        "exterior_color",
        "interior_color",
        "place",
        "city",
        "region",
        "postal_code",
        "country",
        "seller_name",
        "seller_type",
        "seller_phone",
        "remote_id",
        "remote_slug",
        "condition",
    ]
)
_PICTURE = re.compile(r"https?://[!-{}-~]{1,2000}[0-9A-Za-z](?<!\.(?:svg|mp4))(?<!\.m3u8)")  # as nearly all are written
_NO_PICTURES = (".svg", ".mp4", ".m3u8")
_PICTURE_KEYS = ("contentUrl", "url", "large", "src", "full", "original", "href", "uri", "imageUrl", "photoUrl", "big",
                 "medium", "small", "sizes", "image", "items", "images", "photos", "list", "links",
                 "@list")  # fmt: skip
_PRICES = {"price": PriceKind.ASKING, "sold_price": PriceKind.SOLD, "bid": PriceKind.BID}
_LIMITS = {"title": 300, "place": 160, "engine": 160, "fuel_economy": 80, "remote_id": 100, "remote_slug": 200}
_EMPTY_WORDS = frozenset(
    ("n/a", "na", "none", "null", "-", "–", "—", "--", "unknown", "not specified", "undefined", "unspecified", "tbd",
     "not available", "keine angabe",
     "k.a.", "nan", "not provided", "other", "not listed", "select", "any", "?", ".", "false", "true",
     "[object object]", "unlisted", "n.v.t.", "nvt")
)  # fmt: skip
_UNITS = {"smi": "mi", "mi": "mi", "mile": "mi", "miles": "mi", "kmt": "km", "km": "km", "kms": "km",
          "kilometers": "km", "kilometres": "km",
          "kilometer": "km", "mls": "mi", "m": "mi"}  # fmt: skip


def offer_value(
    reading: Reading,
    field: str,
    value: Any,
    layer: Layer,
    locator: str,
    confidence: float,
    base_url: str,
    *,
    key: str = "",
) -> None:
    """Offer a value for a field after reading it as that field's type; what cannot be read is left out."""
    if not reading.is_open(field, confidence):
        return
    if value is True or value is False:
        if field == "status" and value and "sold" in key.lower():
            reading.offer("status", ListingStatus.SOLD.value, layer, locator, confidence)
        elif field == "seller_type" and "dealer" in key.lower():
            reading.offer("seller_type", "dealer" if value else "private", layer, locator, confidence)
    elif field in _READERS:
        recurs = field in RECURRING and isinstance(value, str) and len(value) <= RECURRING_LENGTH
        offer = (recurring_offer if recurs else offer_of)(field, layer, locator, confidence, value)
        if offer is not None:
            reading.put(field, offer)
    elif field in _PRICES:
        _offer_price(reading, field, value, layer, locator, confidence, key)
    elif field == "mileage":
        _offer_mileage(reading, value, layer, locator, confidence, key)
    elif field == "images":
        _offer_images(reading, value, layer, locator, confidence, base_url)
    elif field == "url":
        link = absolute(base_url, value) if isinstance(value, str) else None
        reading.offer("url", link, layer, locator, confidence)


def offer_of(field: str, layer: Layer, locator: str, confidence: float, value: Any) -> Offer | None:
    """What a value is worth for a field that is read from nothing else, None where it says nothing of that field."""
    found = _READERS[field](field, value, confidence)
    if found is None:
        return None
    read, confidence, raw = found
    return confidence, read, evidence_of(layer, locator, confidence), raw


recurring_offer = lru_cache(maxsize=16384)(offer_of)  # a site says the same few words on page after page
# What a value is read as, how surely, and the words it was read from.
_Read = tuple[Any, float, str | None]


def _read_currency(field: str, value: Any, confidence: float) -> _Read | None:
    code = currency_code(str(value)[:8])
    return (code, confidence, None) if code else None


def _read_unit(field: str, value: Any, confidence: float) -> _Read | None:
    unit = _UNITS.get(str(value).strip().lower()[:12])
    return (unit, confidence, None) if unit else None


def _read_count(field: str, value: Any, confidence: float) -> _Read | None:
    number = value if isinstance(value, int) else read_number(str(value))
    if number is None or not 1 <= number <= 99 or number != int(number):
        return None
    return int(number), confidence, None


def _read_description(field: str, value: Any, confidence: float) -> _Read | None:
    text = clean_markup(value) if isinstance(value, str) else ""
    if len(text) < 160 and _is_priced(text):
        confidence *= 0.6  # made for search engines
    return (text, confidence, None) if len(text) > 1 else None


def _read_posted(field: str, value: Any, confidence: float) -> _Read | None:
    moment = read_moment(value)
    return (moment, confidence, str(value)[:80]) if moment else None


def _read_status(field: str, value: Any, confidence: float) -> _Read | None:
    status = read_status(str(value)[:80])
    return (status.value, confidence, clean(str(value)[:320], 80)) if status else None


def _read_words(field: str, value: Any, confidence: float) -> _Read | None:
    if not isinstance(value, str):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if field == "model" and isinstance(value, int) and value > 9999:
            return None
        value = str(value)
    text = _text_of(field, value)
    if field == "title" and _is_priced(text):
        confidence *= 0.7  # made for search engines; the page's heading is the title
    return (text, confidence, None) if text else None


def _is_priced(text: str) -> bool:
    return ("$" in text or "€" in text or "£" in text) and _PRICED.search(text) is not None


def _text_of(field: str, words: str) -> str:
    """The words of a text field, "" where they say nothing of that field."""
    text = clean(words, _LIMITS.get(field, 120))
    if text.startswith(("http://schema.org/", "https://schema.org/")):
        text = text.rsplit("/", 1)[-1]
    if not text or text.lower() in _EMPTY_WORDS or "{{" in text:
        return ""
    if not text[0].isalnum() and not any(char.isalnum() for char in text):
        return ""
    senseless = _SENSELESS.get(field)
    if senseless is not None and senseless(text):
        return ""
    if field == "seller_phone":
        number = _TELEPHONE.search(text)
        return number[0] if number is not None and sum(char.isdigit() for char in number[0]) >= 6 else ""
    if field == "seller_type":
        return seller_type(text)
    if field == "condition" and len(text) == 1:
        return {"N": "New", "U": "Used"}.get(text.upper(), "")
    return text


def _is_address(text: str) -> bool:
    return text.startswith(("http://", "https://", "/"))


def _is_code(text: str) -> bool:
    return text.isdigit() or len(text) > 80


# What words of a text field say nothing of it.
_SENSELESS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("model", "city", "seller_name"), _is_address),
    **dict.fromkeys(
        ("fuel_type", "transmission", "drivetrain", "body_style", "exterior_color", "interior_color"), _is_code
    ),
    "make": lambda text: _is_address(text) or text.isdigit(),
    "region": lambda text: _is_address(text) or len(text) > 60,
    "trim": lambda text: not any(char.isalpha() for char in text),
    "remote_id": lambda text: "*" in text,  # masked
    "engine": _NOTHING.fullmatch,
}


def seller_type(text: str) -> str:
    """ "private" or "dealer" where the words say so, else the words."""
    low = text.lower()
    return "private" if _PRIVATE.match(low) else "dealer" if _DEALER.search(low) else text


def _offer_price(
    reading: Reading, field: str, value: Any, layer: Layer, locator: str, confidence: float, key: str
) -> None:
    kind = _PRICES[field]
    amount: int | None = None
    raw: str | None = None
    if isinstance(value, (int, float)):
        amount = int(value / 100) if "cents" in key.lower() else int(value)
    elif isinstance(value, str):
        raw = clean(value, 160)
        found = read_price(raw)
        if found is not None and found.high is None:
            if found.kind is not PriceKind.ASKING:
                kind = found.kind
            amount = found.amount
            if found.currency:
                reading.offer("currency", found.currency, layer, locator, confidence - 0.02, raw=found.raw)
        elif found is None and says_no_price(raw):
            reading.note("price", raw)
        elif found is None:
            plain = _DECIMAL.fullmatch(raw)
            amount = int(float(raw)) if plain else read_bare_price(raw)
    if amount is None or not 1 <= amount <= MAX_PRICE:
        return
    if field != "price":
        confidence -= 0.01 if kind is PriceKind.SOLD else 0.03  # what it was sold for is no longer bid
    if confidence > reading.confidence("price"):
        reading.offer("price", amount, layer, locator, confidence, raw=raw)
        reading.drop("price_kind")
        reading.offer("price_kind", kind.value, layer, locator, confidence)


def _offer_mileage(reading: Reading, value: Any, layer: Layer, locator: str, confidence: float, key: str) -> None:
    amount: int | None = None
    unit: str | None = None
    raw: str | None = None
    if isinstance(value, (int, float)):
        amount = int(value)
    elif isinstance(value, str):
        raw = clean(value, 80)
        found = read_mileage(raw)
        if found:
            amount, unit = found.value, found.unit
        elif _DECIMAL.fullmatch(raw):
            amount = int(float(raw))
        else:
            amount = read_bare_mileage(
                re.sub(r"\s*(?:\(.*\)|TMU|mil\b|actual|approx\.?|exempt)\s*", "", raw, flags=re.I)
            )
    if amount is not None and unit is None and key:
        folded = key.lower()
        if folded.strip(" :") in _IN_TENS and "km" not in (raw or ""):
            amount, unit = amount * 10, "km"  # a Swedish "mil" is ten kilometres
        else:
            unit = "km" if "km" in folded or folded.startswith("kilom") else "mi" if "miles" in folded else None
    if amount is None or not 0 <= amount <= MAX_MILEAGE:
        return
    if confidence > reading.confidence("mileage"):
        reading.offer("mileage", amount, layer, locator, confidence, raw=raw)
        if unit:
            if reading.confidence("mileage_unit") <= confidence:
                reading.drop("mileage_unit")
            reading.offer("mileage_unit", unit, layer, locator, confidence)


def _read_year(field: str, value: Any, confidence: float) -> _Read | None:
    year: int | None = None
    if isinstance(value, (int, float)):
        year = int(value)
        if year > 100_000_000_000:  # milliseconds since 1970
            year = datetime.fromtimestamp(year / 1000, UTC).year if year < 4_000_000_000_000 else 0
    elif isinstance(value, str):
        match = _YEAR.search(value[:40])
        year = int(match[1]) if match else None
    if year is None or not MIN_YEAR <= year <= MAX_YEAR:
        return None
    return year, confidence, None if isinstance(value, int) else str(value)[:40]


def _offer_images(reading: Reading, value: Any, layer: Layer, locator: str, confidence: float, base_url: str) -> None:
    links: list[str] = value if isinstance(value, list) and _are_pictures(value) else []
    if not links:
        _collect_images(value, links, base_url, 0)
    if links:
        many = 0.02 if len(links) > 1 else 0.0
        reading.offer("images", list(dict.fromkeys(links))[:_MAX_IMAGES], layer, locator, min(1.0, confidence + many))


def _are_pictures(items: list[Any]) -> bool:
    """Whether a list holds nothing but addresses as they are to be stored: nearly all do."""
    try:
        return len(items) <= _MAX_IMAGES and all(map(_PICTURE.fullmatch, items))
    except TypeError:
        return False


def _collect_images(value: Any, links: list[str], base_url: str, depth: int) -> None:
    if len(links) >= _MAX_IMAGES or depth > 4:
        return
    if isinstance(value, str):
        _collect_links(value, links, base_url)
    elif isinstance(value, list):
        for item in value[: _MAX_IMAGES * 2]:
            if isinstance(item, str) and depth < 4 and len(links) < _MAX_IMAGES:
                _collect_links(item, links, base_url)
            else:
                _collect_images(item, links, base_url, depth + 1)
    elif isinstance(value, dict):
        for key in _PICTURE_KEYS:
            if value.get(key):
                before = len(links)
                _collect_images(value[key], links, base_url, depth + 1)
                if len(links) > before:
                    return


def _collect_links(text: str, links: list[str], base_url: str) -> None:
    for part in text.split("|") if "|" in text and text.count("http") > 1 else (text,):
        link = absolute(base_url, part)
        if link and " " not in link and not link.endswith(_NO_PICTURES):
            links.append(link)


def _read_vin(field: str, value: Any, confidence: float) -> _Read | None:
    if not isinstance(value, str) or "**" in value:  # a masked VIN is none
        return None
    vin = clean_vin(value)
    kind = classify_vin(vin)
    if kind is VinKind.INVALID:
        found = find_vins(value[:200])
        vin = found[0] if found else find_labelled_vin("VIN: " + value[:40].strip()) or ""
        kind = classify_vin(vin) if vin else VinKind.INVALID
    if kind is VinKind.INVALID or (kind is VinKind.CLASSIC and sum(char.isdigit() for char in vin) < 3):
        return None
    return vin, confidence if kind is not VinKind.CLASSIC else confidence * 0.85, clean(value, 60)


def _read_coordinate(field: str, value: Any, confidence: float) -> _Read | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    limit = 90 if field == "latitude" else 180
    return (number, confidence, None) if -limit <= number <= limit and number != 0 else None


def read_moment(value: Any) -> datetime | None:
    """A point in time in UTC from ISO 8601 text or a Unix time in seconds or milliseconds; None for anything else."""
    try:
        if isinstance(value, str):
            text = value.strip()[:40]
            if text.isdigit() and len(text) in (10, 13):
                value = int(text)
            elif re.match(r"\d{4}-\d\d-\d\d", text):
                moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
            else:
                return None
        if isinstance(value, (int, float)) and 0 < value < 4_000_000_000_000:
            seconds = value / 1000 if value > 10_000_000_000 else value
            return datetime.fromtimestamp(seconds, UTC) if seconds > 500_000_000 else None
    except (ValueError, OverflowError, OSError):
        return None
    return None


_SOLD = re.compile(r"\b(?:sold|verkauft|verkocht|vendue?)\b|(?:sold ?out|outofstock)$", re.I)
_ACTIVE = re.compile(
    r"\b(?:in ?stock|active|available|for sale|live|limitedavailability|onlineonly|instoreonly|preorder)$", re.I
)


@lru_cache(maxsize=1024)
def read_status(text: str) -> ListingStatus | None:
    """Sold or active, where the words say so plainly; None for anything else ("pending", "reserved")."""
    words = text.strip().rstrip("/").rsplit("/", 1)[-1]
    if re.search(r"not sold|unsold|\bnever\b", words, re.I):
        return None
    if _SOLD.search(words):
        return ListingStatus.SOLD
    return ListingStatus.ACTIVE if _ACTIVE.search(words) else None


# How a field is read that needs its value alone.
_READERS: dict[str, Callable[[str, Any, float], _Read | None]] = {
    **dict.fromkeys(TEXT_FIELDS, _read_words),
    "year": _read_year,
    "vin": _read_vin,
    "currency": _read_currency,
    "mileage_unit": _read_unit,
    "doors": _read_count,
    "seats": _read_count,
    "latitude": _read_coordinate,
    "longitude": _read_coordinate,
    "description": _read_description,
    "posted_at": _read_posted,
    "status": _read_status,
}
# Those of them whose words are met again on other pages, if they are short.
RECURRING = _READERS.keys() - {"title", "vin", "remote_id", "remote_slug", "description", "posted_at"}
RECURRING_LENGTH = 100  # characters
