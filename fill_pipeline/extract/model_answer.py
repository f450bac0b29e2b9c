"""A language model's answer, believed only as far as the page's own words bear it out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from fill_pipeline.extract.gazetteer import canonical_make, canonical_model, find_make_model, fold, read_year_word
from fill_pipeline.extract.listing import Evidence, Layer, Listing, PriceKind
from fill_pipeline.extract.model_prompt import FIELDS
from fill_pipeline.extract.numbers import (
    MAX_MILEAGE,
    MAX_PRICE,
    read_bare_mileage,
    read_bare_price,
    read_mileage,
    read_mileages,
    read_number,
    read_price,
    read_prices,
)
from fill_pipeline.extract.vin import VinKind, classify_vin, clean_vin

CONFIDENCE = 0.5  # below every reading of the page itself and below an index page's card
_SURE = 0.7  # what other layers read with at least this much is held against the answer
_LOWEST_PRICE = 100
_NUMBER = re.compile(r"\d{1,3}(?:[.,'’ \u00a0\u202f\u2009]\d{3})+(?!\d)|\d+(?:[.,]\d{1,2})?")
_THOUSANDS = re.compile(r"\s?[kK]\b")
_WORD = re.compile(r"\w+")
_MONEY_SIGN = re.compile(r"[$€£¥₹]|\b(?:USD|EUR|GBP|CAD|AUD|NZD|CHF|SEK|NOK|DKK|PLN)\b|/\s?mo|per month|monat", re.I)
_DISTANCE = re.compile(r"\d\s?[kK]?\s?(?:miles?|mi|mls|kms?|kilomet(?:er|re)s?)\b", re.I)
_COPYRIGHT = re.compile(r"©|\bcopyright\b|all rights reserved", re.I)

Said = Annotated[str, msgspec.Meta(max_length=300)] | Annotated[int, msgspec.Meta(ge=0, le=10**10)] | float | None


class Refusal(StrEnum):
    """Why a value of an answer was not taken."""

    NOT_ON_PAGE = "not_on_page"  # its words do not stand in the page's text
    UNREADABLE = "unreadable"  # its words hold no value of that field
    UNKNOWN_NAME = "unknown_name"  # a make or model that is in no list
    OTHER_FACT = "other_fact"  # the number stands there as something else: a rate, a distance, a fee


class AnswerFault(StrEnum):
    """What makes an answer no answer."""

    NOT_JSON = "not_json"
    SCHEMA = "schema"  # JSON of another form than was asked for


class AnswerError(ValueError):
    """The answer cannot be used at all."""

    def __init__(self, fault: AnswerFault) -> None:
        super().__init__(fault)
        self.fault = fault


Answer = msgspec.defstruct(
    "Answer",
    [("one_vehicle", bool), *((name, Said, None) for name in FIELDS)],
    kw_only=True,
    forbid_unknown_fields=True,
)
"""What a model filled in: words copied from the page, or null."""

_decoder = msgspec.json.Decoder(Answer)


@dataclass(slots=True)
class Judgement:
    """What an answer is worth: values the page bears out, those refused by reason, and its score where the page's other
    layers know better (``agreed`` of ``compared``). ``contradicted`` names the identifying facts it got wrong."""

    values: dict[str, Any] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    agreed: int = 0
    contradicted: list[str] = field(default_factory=list)


def decode(content: str) -> Any:
    """The answer in a completion's text. Raises AnswerError."""
    try:
        return _decoder.decode(content)
    except msgspec.ValidationError as error:
        raise AnswerError(AnswerFault.SCHEMA) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise AnswerError(AnswerFault.NOT_JSON) from error


def judge(answer: Any, text: str, listing: Listing) -> Judgement:
    """Hold an answer against the text it was asked about and against what the page's other layers read."""
    result = Judgement()
    page = _Page(text)
    make = listing.make
    for name in FIELDS:
        said = getattr(answer, name)
        known = _known(listing, name)
        if said is None or (isinstance(said, str) and not said.strip()):
            result.compared += known is not None
            continue
        words = f"{said:g}" if isinstance(said, float) else str(said).strip()
        value = _read(name, words, page, make)
        if known is not None:
            same = not isinstance(value, Refusal) and _same(name, value[name], known)
            result.compared += 1
            result.agreed += same
            if not same and name in ("year", "make", "vin"):
                result.contradicted.append(name)
        elif isinstance(value, Refusal):
            result.refused[value] += 1
        else:
            result.values |= value
            result.words[name] = words[:200]
            make = value.get("make", make)
    if result.values.get("price") is not None and result.values["price"] == result.values.get("mileage"):
        for name in ("price", "currency", "price_kind", "mileage", "mileage_unit"):
            result.values.pop(name, None)
        result.refused[Refusal.OTHER_FACT] += 2
    return result


def fill(listing: Listing, judgement: Judgement, locator: str) -> list[str]:
    """Put a judgement's values where the listing has none; returns the fields filled. Nothing is overwritten."""
    filled = []
    for name, value in judgement.values.items():
        holder = _WITH.get(name, name)
        if value is not None and getattr(listing, name) is None and getattr(listing, holder) is None:
            filled.append(name)
    for name in filled:
        setattr(listing, name, judgement.values[name])
        listing.provenance[name] = Evidence(Layer.MODEL, locator, CONFIDENCE)
        if name in judgement.words:
            listing.raw[name] = judgement.words[name]
    return [name for name in filled if name in FIELDS]


_WITH = {"currency": "price", "price_kind": "price", "mileage_unit": "mileage"}
"""Fields that mean something only beside the number they were read with."""


class _Page:
    """A page's words, looked up by word and by number."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self._words = _spaced(text)
        self._tight = re.sub(r"[\s\-]", "", text).upper()
        self._numbers: defaultdict[float, list[str]] = defaultdict(list)
        for line in self.lines:
            for match in _NUMBER.finditer(line):
                value = read_number(match[0])
                if value is not None:
                    self._numbers[value].append(line)
                    if _THOUSANDS.match(line, match.end()):
                        self._numbers[value * 1000].append(line)

    def says(self, words: str) -> bool:
        """Whether these words stand in the text, one after the other."""
        wanted = _spaced(words)
        return bool(wanted.strip()) and wanted in self._words

    def with_number(self, value: float) -> list[str]:
        """The lines that hold a number, however it is written."""
        return self._numbers.get(value, [])

    def holds_vin(self, vin: str) -> bool:
        """Whether a VIN stands in the text, however it is spaced."""
        return vin in self._tight


def _spaced(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def _known(listing: Listing, name: str) -> Any:
    evidence = listing.provenance.get(name)
    if (
        evidence is None
        or evidence.confidence < _SURE
        or name not in ("year", "make", "model", "vin", "price", "mileage")
    ):
        return None
    return getattr(listing, name)


def _same(name: str, one: Any, other: Any) -> bool:
    return fold(str(one)) == fold(str(other)) if name in ("make", "model") else bool(one == other)


def _read(name: str, words: str, page: _Page, make: str | None) -> dict[str, Any] | Refusal:
    """A field's value, with what belongs to it, or why there is none."""
    if name in ("make", "model"):
        return _read_name(name, words, page, make)
    reader = _READERS.get(name)
    if reader is not None:
        return reader(words, page)
    if not any(char.isalpha() for char in words) and name != "engine":
        return Refusal.UNREADABLE
    return {name: words[:160]} if page.says(words) else Refusal.NOT_ON_PAGE


def _read_name(name: str, words: str, page: _Page, make: str | None) -> dict[str, Any] | Refusal:
    value = canonical_make(words) if name == "make" else canonical_model(make, words)
    if value is None:
        return Refusal.UNKNOWN_NAME
    if page.says(words) or page.says(value):
        return {name: value}
    named = (getattr(found, name) for line in page.lines[:200] if (found := find_make_model(line)) is not None)
    return {name: value} if value in named else Refusal.NOT_ON_PAGE


def _read_year(words: str, page: _Page) -> dict[str, Any] | Refusal:
    year = read_year_word(words)
    if year is None:
        return Refusal.UNREADABLE
    lines = page.with_number(year) or ([words] if page.says(words) else [])
    if not lines:
        return Refusal.NOT_ON_PAGE
    return Refusal.OTHER_FACT if all(_COPYRIGHT.search(line) for line in lines) else {"year": year}


def _read_vin(words: str, page: _Page) -> dict[str, Any] | Refusal:
    vin = clean_vin(words)
    if classify_vin(vin) not in (VinKind.VALID, VinKind.EUROPEAN):
        return Refusal.UNREADABLE
    return {"vin": vin} if page.holds_vin(vin) else Refusal.NOT_ON_PAGE


def _read_money(words: str, page: _Page) -> dict[str, Any] | Refusal:
    own = read_price(words)
    amount = own.amount if own is not None else read_bare_price(words)
    if amount is None or not _LOWEST_PRICE <= amount <= MAX_PRICE:
        return Refusal.UNREADABLE
    lines = page.with_number(amount)
    for line in lines:
        for found in read_prices(line):
            if found.amount == amount and found.high is None and found.confidence >= CONFIDENCE:
                return {"price": amount, "currency": found.currency, "price_kind": found.kind.value}
    for line in lines:
        if not _MONEY_SIGN.search(line) and not _DISTANCE.search(line):
            currency = own.currency if own is not None and page.says(words) else None
            return {"price": amount, "currency": currency, "price_kind": PriceKind.ASKING.value}
    return Refusal.OTHER_FACT if lines else Refusal.NOT_ON_PAGE


def _read_distance(words: str, page: _Page) -> dict[str, Any] | Refusal:
    own = read_mileage(words)
    amount = own.value if own is not None else read_bare_mileage(words)
    if amount is None or amount > MAX_MILEAGE:
        return Refusal.UNREADABLE
    lines = page.with_number(amount)
    for line in lines:
        for found in read_mileages(line):
            if found.value == amount:
                return {"mileage": amount, "mileage_unit": found.unit}
    for line in lines:
        if not _MONEY_SIGN.search(line) and not _DISTANCE.search(line):
            unit = own.unit if own is not None and page.says(words) else None
            return {"mileage": amount, "mileage_unit": unit}
    return Refusal.OTHER_FACT if lines else Refusal.NOT_ON_PAGE


_READERS: dict[str, Callable[[str, _Page], dict[str, Any] | Refusal]] = {
    "year": _read_year,
    "vin": _read_vin,
    "price": _read_money,
    "mileage": _read_distance,
}
