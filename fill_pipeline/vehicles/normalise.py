"""A listing in canonical terms: one word for one thing, whatever the site and its language."""

from __future__ import annotations

import re
from functools import lru_cache
from operator import attrgetter

import msgspec

from fill_pipeline.extract.gazetteer import canonical_make, canonical_model
from fill_pipeline.extract.listing import Listing
from fill_pipeline.vehicles.text import all_storable, clean_text, storable, storable_payload
from fill_pipeline.vehicles.vocabulary import canonical_term

_TERMS = {
    "body_style": "body_style",
    "fuel_type": "fuel_type",
    "transmission": "transmission",
    "drivetrain": "drivetrain",
    "exterior_color": "color",
    "interior_color": "color",
    "condition": "condition",
    "seller_type": "seller_type",
    "country": "country",
}
"""Listing fields held in canonical terms, each with its vocabulary."""

_LONGEST = {
    "title": 300,
    "trim": 120,
    "engine": 160,
    "fuel_economy": 120,
    "place": 200,
    "city": 120,
    "region": 120,
    "postal_code": 20,
    "seller_name": 200,
    "seller_phone": 40,
    "remote_id": 200,
    "remote_slug": 200,
}
"""Free-text fields and the most characters each may have."""

_texts = attrgetter(*_LONGEST)
_words = attrgetter(*_TERMS)
_NAMED = (*_TERMS, "make", "model")
_names = attrgetter(*_NAMED)

_LONGEST_DESCRIPTION = 20_000
_LONGEST_URL = 2_000
_LONGEST_RAW = 500
_LONGEST_NAME = 60
_MOST_RAW = 80
_MOST_IMAGES = 40
_LARGEST_PAYLOAD = 32_768
_REMEMBERED = 16_384
_LONGEST_REMEMBERED = 120
"""Words that are read once: so many, of at most so many characters. What cars are called repeats endlessly."""
_HOME_UNIT = {"US": "mi", "GB": "mi"}
_HOME_CURRENCY = {
    "US": "USD",
    "CA": "CAD",
    "GB": "GBP",
    "CH": "CHF",
    "AU": "AUD",
    "MX": "MXN",
    "JP": "JPY",
} | dict.fromkeys(("DE", "NL", "FR", "BE", "AT", "IT", "ES", "LU", "IE", "PT"), "EUR")
_DOLLAR = {"CA": "CAD", "AU": "AUD"}
_MILEAGE_UNITS = {"mi": "mi", "mile": "mi", "miles": "mi", "smi": "mi", "km": "km", "kms": "km", "kmt": "km"} | {
    "kilometer": "km",
    "kilometers": "km",
    "kilometre": "km",
    "kilometres": "km",
    "kmtr": "km",
}
_SAYS_NOTHING = frozenset(
    [
        "other",
        "others",
        "unknown",
        "n/a",
        "na",
        "none",
        "null",
        "-",
        "--",
        "?",
        "not specified",
        "not available",
        "tbd",
        "call",
        "unspecified",
        "see description",
        "any",
        "andere",
        "sonstige",
        "k.a.",
        "keine angabe",
        "onbekend",
        "overig",
        "overige",
        "autre",
        "inconnu",
        "non renseigné",
    ]
)
_NOT_VIN = re.compile(r"[^A-Z0-9]")


def normalise(listing: Listing) -> Listing:
    """A new listing in canonical terms; the site's own words stay in ``raw``.

    A term the vocabulary does not know leaves the field None and its words in ``raw[field]``
    (see ``unknown_terms``). Text loses what cannot be stored, entities and mojibake are mended, lengths
    are bounded. Units and currencies are canonical codes and nothing is converted.
    """
    out = msgspec.structs.replace(listing, raw=_raw(listing.raw), provenance=dict(listing.provenance))
    for (field, longest), text in zip(_LONGEST.items(), _texts(out), strict=True):
        if text is not None:
            cleaned = clean_text(text, longest)
            if cleaned != text:
                setattr(out, field, cleaned)
    for (field, vocabulary), words in zip(_TERMS.items(), _words(out), strict=True):
        if words is not None:
            read_term = _read_term if len(words) <= _LONGEST_REMEMBERED else _read_term.__wrapped__
            cleaned, term = read_term(vocabulary, words)
            if cleaned and term != cleaned:
                out.raw.setdefault(field, cleaned)
            if term is None:
                out.provenance.pop(field, None)
            setattr(out, field, term)
    _make_and_model(out)
    _place(out)
    _money_and_distance(out)
    if out.description is not None:
        out.description = clean_text(out.description, _LONGEST_DESCRIPTION, keep_emoji=True)
    if out.vin is not None:
        out.vin = _NOT_VIN.sub("", out.vin.upper()) or None
    out.url = storable(out.url)[:_LONGEST_URL] if out.url else None
    out.images = _images(out.images)
    if out.raw_payload is not None:
        out.raw_payload = storable_payload(out.raw_payload, _LARGEST_PAYLOAD)
    return out


def unknown_terms(listing: Listing) -> list[str]:
    """The fields of a normalised listing whose words no vocabulary knows, in field order."""
    return [f for f, term in zip(_NAMED, _names(listing), strict=True) if term is None and listing.raw.get(f)]


def _raw(words: dict[str, str]) -> dict[str, str]:
    """A copy that can be stored and is bounded."""
    fits = len(words) <= _MOST_RAW and len("".join(words.values())) <= _LONGEST_RAW
    if fits and max(map(len, words), default=0) <= _LONGEST_NAME and all_storable((*words, *words.values())):
        return words.copy()
    return {storable(k)[:_LONGEST_NAME]: storable(v)[:_LONGEST_RAW] for k, v in list(words.items())[:_MOST_RAW]}


@lru_cache(maxsize=_REMEMBERED)
def _read_term(vocabulary: str, words: str) -> tuple[str | None, str | None]:
    """(the words cleaned, None where they say nothing; the term they name)."""
    cleaned = clean_text(words, _LONGEST_RAW)
    if cleaned is None or cleaned.casefold() in _SAYS_NOTHING:
        return None, None
    return cleaned, canonical_term(vocabulary, cleaned)


def _make_and_model(listing: Listing) -> None:
    make, model = listing.make or None, listing.model or None
    short = len(make or "") <= _LONGEST_REMEMBERED and len(model or "") <= _LONGEST_REMEMBERED
    read = _read_names if short else _read_names.__wrapped__
    listing.make, listing.model, written = read(make, model)
    for field, words in written:
        listing.raw.setdefault(field, words)


@lru_cache(maxsize=_REMEMBERED)
def _read_names(make: str | None, model: str | None) -> tuple[str | None, str | None, tuple[tuple[str, str], ...]]:
    """(make, model, the site's own words by field where they are others)."""
    written = []
    make = clean_text(make, 80) if make else None
    model = clean_text(model, 120) if model else None
    if make is not None:
        known = canonical_make(make)
        if known != make:
            written.append(("make", make))
        make = known or _capitalised(make)
    if make is not None and model is not None:
        known = canonical_model(make, model)
        if known is not None and known != model:
            written.append(("model", model))
        model = known or model
    return make, model, tuple(written)


def _capitalised(make: str) -> str | None:
    """A make the gazetteer does not know: kept as the site wrote it, unless it is no name at all."""
    if not any(c.isalpha() for c in make) or len(make) > 40:
        return None
    return make.title() if make.isupper() and len(make) > 3 else make


def _place(listing: Listing) -> None:
    if listing.city is not None and listing.city.isupper() and len(listing.city) > 3:
        listing.raw.setdefault("city", listing.city)
        listing.city = listing.city.title()
    region = listing.region
    if region is not None:
        code = canonical_term("region", region) if listing.country in (None, "US", "CA") else None
        if code is not None and code != region:
            listing.raw.setdefault("region", region)
        if code is not None:
            listing.region = code
    if listing.place is None:
        parts = [p for p in (listing.city, listing.region) if p]
        listing.place = ", ".join(parts) or listing.postal_code
        if listing.place is not None and "place" not in listing.provenance:
            evidence = listing.provenance.get("city") or listing.provenance.get("postal_code")
            if evidence is not None:
                listing.provenance["place"] = evidence


def _money_and_distance(listing: Listing) -> None:
    words = listing.currency
    if words is not None:
        code = _DOLLAR.get(listing.country or "", "USD") if words.strip() == "$" else canonical_term("currency", words)
        if code is None and len(words.strip()) == 3 and words.strip().isascii() and words.strip().isalpha():
            code = words.strip().upper()
        if code != words:
            listing.raw.setdefault("currency", storable(words)[:60])
        listing.currency = code
    if listing.price is not None and listing.currency is None:
        listing.currency = _HOME_CURRENCY.get(listing.country or "")
    if listing.mileage_unit is not None:
        unit = listing.mileage_unit.strip(" .").lower()
        listing.mileage_unit = _MILEAGE_UNITS.get(unit) if listing.mileage is not None else None
    if listing.mileage is not None and listing.mileage_unit is None and listing.country is not None:
        listing.mileage_unit = _HOME_UNIT.get(listing.country, "km")


def _images(urls: list[str]) -> list[str]:
    if not all_storable(urls) or " ".join(urls).split() != urls:  # hardly ever
        urls = [url for url in (storable(url).strip() for url in urls) if len(url.split()) == 1]
    good = [url for url in urls if len(url) <= _LONGEST_URL and url.startswith(("http://", "https://"))]
    return list(dict.fromkeys(good))[:_MOST_IMAGES]
