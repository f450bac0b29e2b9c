"""Named rules over a normalised listing: each value passes, is mended, or is set aside with its reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

import msgspec

from fill_pipeline.extract.listing import Listing, ListingStatus, PriceKind
from fill_pipeline.vehicles.vin import VinStatus, agreement, vin_status
from fill_pipeline.vehicles.vin_decoder import VinFacts


class Verdict(StrEnum):
    """What a rule did with a value."""

    FIX = "fix"  # the value was mended, the listing keeps the mended one
    QUARANTINE = "quarantine"  # the value was taken out of its field and is kept beside the listing


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule's objection to one value."""

    rule: str
    verdict: Verdict
    field: str
    value: Any
    reason: str

    def as_json(self) -> dict[str, Any]:
        """The form stored in ``listing_records.quarantine[field]``."""
        value = self.value.isoformat() if isinstance(self.value, datetime) else self.value
        return {"value": value, "rule": self.rule, "reason": self.reason}


@dataclass(slots=True)
class Validated:
    """A listing with only values that passed, what was mended, and what was set aside by field.

    ``agreement`` says for each field that the page and its VIN both state whether they agree.
    """

    listing: Listing
    fixes: list[Finding] = field(default_factory=list)
    quarantined: dict[str, Finding] = field(default_factory=dict)
    vin_status: VinStatus | None = None
    agreement: dict[str, bool] = field(default_factory=dict)


@dataclass(slots=True)
class _Context:
    now: datetime
    facts: VinFacts | None
    min_confidence: float


LOWEST_PRICE = 100
"""Whole units of any currency; nothing on wheels that is a vehicle is honestly offered for less."""
HIGHEST_PRICE = {
    "JPY": 5_000_000_000,
    "CZK": 1_000_000_000,
    "MXN": 1_000_000_000,
    "SEK": 500_000_000,
    "DKK": 500_000_000,
}
"""By currency; others ``HIGHEST_PRICE_OTHERWISE``. The dearest car ever sold publicly made 135,000,000 euro (2022)."""
HIGHEST_PRICE_OTHERWISE = 150_000_000
HIGHEST_MILEAGE = {"mi": 1_500_000, "km": 2_400_000}
"""By unit; kilometres where there is none. One car ever passed 3 million miles; above this it is a typing error."""
FIRST_YEAR = 1885
"""The first motor car."""
YEARS_AHEAD = 2
"""How far a model year may run ahead of the calendar."""

_IMPORT_AGE = 25  # years after which the United States let in cars not built for them (49 USC 30112 (b)(9))
_TYPED_TO_FILL = frozenset((123, 1234, 123456, 1234567, 12345678, 123456789))
_REPEATED_DIGIT = re.compile(r"(\d)\1{5,}\Z")
_PER_MONTH = re.compile(
    r"/\s*(?:mo|month|mth|wk|week|monat|maand|mois)\b|\b(?:per|a|pro|par|per) (?:month|week|monat|maand|mois)\b"
    r"|\b(?:monthly|bi-?weekly|mtl|monatlich|mensuel|mensualit)",
    re.IGNORECASE,
)
_MOST_CITY_WORDS = 4
_MOST_PLACE_WORDS = 9
_LONGEST_REMEMBERED = 120
"""Characters of a city, region and place that are judged once: the same ones come again and again."""
_SMALL_WORDS = (
    frozenset(("a", "aan", "am", "an", "and", "bei", "da", "de", "del", "della", "dem", "den", "der", "di", "die"))
    | frozenset(("do", "dos", "e", "el", "en", "et", "het", "im", "in", "la", "las", "le", "les", "los", "ob", "of"))
    | frozenset(("op", "sous", "sur", "ter", "the", "und", "y"))
)
"""Words inside names of places that do not count: Rothenburg ob der Tauber, Villeneuve sur Lot."""
_NO_PLACE = re.compile(
    r"[!?<>{}@=|]|https?:|www\.|[$€£]\s?\d|\b(?:by|from|click|miles away|per month|call us)\b"
    r"|^(?:posted|listed|sold|call|see|contact|visit|login|located|available)\b",
    re.IGNORECASE,
)
_MOST_KM_A_YEAR = 150_000
_RESERVE_NOT_MET = re.compile(r"reserve\s+(?:was\s+)?not\s+(?:been\s+)?met|\brnm\b|bid to\b", re.IGNORECASE)


def validate(
    listing: Listing, *, now: datetime, facts: VinFacts | None = None, min_confidence: float = 0.0
) -> Validated:
    """Apply every rule in order to a copy of the listing.

    ``facts`` is what its VIN decodes to, for contradictions; ``min_confidence`` the least a value
    must have been read with. A quarantined value leaves its field (None) and its evidence, and
    stands in ``quarantined`` with rule, value and reason.
    """
    copied = msgspec.structs.replace(listing, raw=dict(listing.raw), provenance=dict(listing.provenance))
    result = Validated(copied)
    if facts is not None:
        result.agreement = agreement(listing, facts)
    context = _Context(now, facts, min_confidence)
    for rule in RULES:
        rule(result, context)
    return result


def _quarantine(result: Validated, rule: str, name: str, reason: str) -> None:
    value = getattr(result.listing, name)
    result.quarantined[name] = Finding(rule, Verdict.QUARANTINE, name, value, reason)
    setattr(result.listing, name, None)
    result.listing.provenance.pop(name, None)


def _fix(result: Validated, rule: str, name: str, value: Any, reason: str) -> None:
    before = getattr(result.listing, name)
    result.fixes.append(Finding(rule, Verdict.FIX, name, before, reason))
    setattr(result.listing, name, value)


def _confidence(result: Validated, context: _Context) -> None:
    least = context.min_confidence
    doubtful = [(name, e.confidence) for name, e in result.listing.provenance.items() if e.confidence < least]
    for name, confidence in doubtful:
        if name == "images":
            result.listing.images = []
        elif getattr(result.listing, name, None) is not None:
            reason = f"read with confidence {confidence:.2f}, below {least:.2f}"
            _quarantine(result, "confidence", name, reason)


def _year_range(result: Validated, context: _Context) -> None:
    year = result.listing.year
    if year is None:
        return
    if not FIRST_YEAR <= year <= context.now.year + YEARS_AHEAD:
        _quarantine(result, "year_range", "year", f"not between {FIRST_YEAR} and {context.now.year + YEARS_AHEAD}")
        return
    posted = result.listing.posted_at
    if posted is not None and year > posted.year + YEARS_AHEAD:
        _quarantine(
            result,
            "year_after_posting",
            "year",
            f"model year more than {YEARS_AHEAD} after the posting of {posted:%Y-%m-%d}",
        )


def _posted_in_future(result: Validated, context: _Context) -> None:
    posted = result.listing.posted_at
    if posted is not None and (posted - context.now).total_seconds() > 2 * 86_400:
        _quarantine(result, "posted_in_future", "posted_at", "posted after it was observed")


def _vin_form(result: Validated, context: _Context) -> None:
    listing = result.listing
    if listing.vin is None:
        return
    status = vin_status(listing.vin, listing.year)
    if status is VinStatus.EUROPEAN and _sold_in_north_america(listing, context.now):
        status = VinStatus.INVALID
    result.vin_status = status
    if status is VinStatus.PLACEHOLDER:
        _quarantine(result, "vin_placeholder", "vin", "a number typed in to fill the box")
    elif status is VinStatus.INVALID:
        wrong = "check digit is wrong" if len(listing.vin) == 17 else f"{len(listing.vin)} characters"
        _quarantine(result, "vin_invalid", "vin", f"no VIN: {wrong}")


def _sold_in_north_america(listing: Listing, now: datetime) -> bool:
    """Whether the car must have been built for a market that demands the check digit; an old one may be an import."""
    there = listing.country in ("US", "CA") or (listing.country is None and listing.currency in ("USD", "CAD"))
    return there and (listing.year is None or listing.year > now.year - _IMPORT_AGE)


def _vin_contradictions(result: Validated, context: _Context) -> None:
    listing, facts = result.listing, context.facts
    if facts is None or listing.vin is None:
        return
    said = result.agreement
    if False not in said.values():
        return
    year_differs = listing.year is not None and facts.year is not None and abs(listing.year - facts.year) > 1
    make_differs = listing.make is not None and not said.get("make", True)
    model_differs = listing.model is not None and not said.get("model", True)
    if make_differs and (year_differs or model_differs):
        decoded = f"{facts.year} {facts.make} {facts.model}"
        _quarantine(result, "vin_contradicts", "vin", f"decodes to {decoded}, the page says otherwise")
        result.vin_status = VinStatus.INVALID
    elif year_differs:
        _quarantine(result, "year_contradicts_vin", "year", f"the VIN says {facts.year}")


def _price_kind(result: Validated, context: _Context) -> None:
    listing = result.listing
    if listing.price is None:
        return
    words = listing.raw.get("price", "")
    if listing.price_kind is None:
        listing.price_kind = PriceKind.SOLD if listing.status == ListingStatus.SOLD else PriceKind.ASKING
    if _RESERVE_NOT_MET.search(words) or (listing.title and _RESERVE_NOT_MET.search(listing.title)):
        if listing.price_kind == PriceKind.SOLD:
            _fix(
                result,
                "sold_below_reserve",
                "price_kind",
                PriceKind.RESERVE,
                "called sold, but its reserve was not met",
            )
        if listing.status == ListingStatus.SOLD:
            _fix(
                result,
                "sold_below_reserve",
                "status",
                ListingStatus.DELISTED,
                "called sold, but its reserve was not met",
            )
    elif listing.price_kind == PriceKind.RESERVE and listing.status == ListingStatus.SOLD:
        _fix(result, "sold_below_reserve", "status", ListingStatus.DELISTED, "called sold, but its reserve was not met")


def _price(result: Validated, context: _Context) -> None:
    listing = result.listing
    price = listing.price
    if price is None:
        return
    lowest = 1 if listing.price_kind in (PriceKind.BID, PriceKind.RESERVE) else LOWEST_PRICE
    highest = HIGHEST_PRICE.get(listing.currency or "", HIGHEST_PRICE_OTHERWISE)
    if _PER_MONTH.search(listing.raw.get("price", "")) and price < 20_000:
        _quarantine(result, "price_per_month", "price", "a payment by month or week, not a price")
    elif price in _TYPED_TO_FILL or (price > 999 and _REPEATED_DIGIT.match(str(price))):
        _quarantine(result, "price_placeholder", "price", "a number typed in to fill the box")
    elif price < lowest:
        _quarantine(result, "price_range", "price", f"below {lowest}")
    elif price > highest:
        _quarantine(result, "price_range", "price", f"above {highest}")
    elif price == listing.year and listing.raw.get("price", "").strip().isdigit():
        _quarantine(result, "price_is_year", "price", "the model year read as a price")
    if listing.price is None:
        listing.price_kind = None


def _mileage(result: Validated, context: _Context) -> None:
    listing = result.listing
    mileage = listing.mileage
    if mileage is None:
        return
    highest = HIGHEST_MILEAGE[listing.mileage_unit or "km"]
    if mileage < 0 or mileage > highest:
        _quarantine(result, "mileage_range", "mileage", f"not between 0 and {highest}")
    elif mileage in _TYPED_TO_FILL or (mileage > 99_999 and _REPEATED_DIGIT.match(str(mileage))):
        _quarantine(result, "mileage_placeholder", "mileage", "a number typed in to fill the box")
    elif (
        mileage == 0
        and listing.condition not in ("new", "demo")
        and listing.year
        and listing.year < context.now.year - 1
    ):
        _quarantine(result, "mileage_zero", "mileage", "zero on a used car is a box left empty")
    elif _is_driven_day_and_night(listing, context.now):
        _quarantine(result, "mileage_per_year", "mileage", f"more than {_MOST_KM_A_YEAR} km for every year of its life")
    elif mileage == listing.price and mileage > 2_000:
        _quarantine(result, "mileage_is_price", "mileage", "the same number as the price")
    elif (
        listing.condition == "new"
        and mileage > (30_000 if listing.mileage_unit == "mi" else 50_000)
        and listing.year is not None
        and listing.year < context.now.year
    ):
        _fix(result, "new_with_mileage", "condition", "used", f"called new with {mileage} on the odometer")


def _geography(result: Validated, context: _Context) -> None:
    listing = result.listing
    if listing.latitude is None and listing.longitude is None:
        return
    latitude, longitude = listing.latitude, listing.longitude
    if (
        latitude is None
        or longitude is None
        or not (-90 <= latitude <= 90 and -180 <= longitude <= 180)
        or (latitude == 0 and longitude == 0)
    ):
        for name in ("latitude", "longitude"):
            if getattr(listing, name) is not None:
                _quarantine(result, "coordinates", name, "no place on Earth, or the null island")


def _is_driven_day_and_night(listing: Listing, now: datetime) -> bool:
    if listing.mileage is None or listing.year is None:
        return False
    km = listing.mileage * (1.609344 if listing.mileage_unit == "mi" else 1.0)
    return km > _MOST_KM_A_YEAR * (max(0, now.year - listing.year) + 1)


def _places(result: Validated, context: _Context) -> None:
    listing = result.listing
    names = (listing.city, listing.region, listing.place)
    judge = _no_places if sum(map(len, filter(None, names))) <= _LONGEST_REMEMBERED else _no_places.__wrapped__
    for name, reason in judge(*names):
        _quarantine(result, "place_words", name, reason)


@lru_cache(maxsize=16_384)
def _no_places(city: str | None, region: str | None, place: str | None) -> list[tuple[str, str]]:
    """Which of them are not names of a city, region or place, and why."""
    judged = [(n, _no_place(n, t)) for n, t in (("city", city), ("region", region), ("place", place)) if t is not None]
    return [(name, reason) for name, reason in judged if reason is not None]


def _no_place(name: str, text: str) -> str | None:
    """Why a text is not the name of a city, region or place, if it is not."""
    if name == "city" and any(c.isdigit() for c in text):
        return "a city's name has no digits"
    if not any(c.isalpha() for c in text) and name != "place":
        return "a name has letters"
    if _NO_PLACE.search(text):
        return "words of a sentence, not a place"
    words = [w for w in text.split() if w.casefold() not in _SMALL_WORDS]
    most = _MOST_PLACE_WORDS if name == "place" else _MOST_CITY_WORDS
    return f"more than {most} words" if len(words) > most else None


def _counts(result: Validated, context: _Context) -> None:
    for name, highest in (("doors", 7), ("seats", 80)):
        value = getattr(result.listing, name)
        if value is not None and not 0 < value <= highest:
            _quarantine(result, f"{name}_range", name, f"not between 1 and {highest}")


def _currency_missing(result: Validated, context: _Context) -> None:
    listing = result.listing
    if listing.price is not None and listing.currency is None:
        result.fixes.append(Finding("currency_missing", Verdict.FIX, "currency", None, "a price without a currency"))


def drop_lone_units(listing: Listing) -> None:
    """Take out the currency of a price that is set aside, and the unit of a mileage; changes the listing in place."""
    for amount, unit in (("price", "currency"), ("mileage", "mileage_unit")):
        if getattr(listing, amount) is None and getattr(listing, unit) is not None:
            setattr(listing, unit, None)
            listing.provenance.pop(unit, None)


def _lone_units(result: Validated, context: _Context) -> None:
    drop_lone_units(result.listing)


RULES: tuple[Callable[[Validated, _Context], None], ...] = (
    _confidence,
    _posted_in_future,
    _year_range,
    _vin_form,
    _vin_contradictions,
    _price_kind,
    _price,
    _mileage,
    _places,
    _geography,
    _counts,
    _currency_missing,
    _lone_units,
)
"""The rules in the order in which they are applied; later ones see what earlier ones left."""
