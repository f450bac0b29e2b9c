"""The last step of a reading: what follows from what was read, and canonical makes and models."""

from __future__ import annotations

import re
from functools import lru_cache

from fill_pipeline.extract.cleaning import clean
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.gazetteer import (
    MakeModel,
    canonical_make,
    canonical_model,
    find_make_model,
    fold,
    page_spelling,
)
from fill_pipeline.extract.listing import Layer, Listing, ListingStatus, PriceKind
from fill_pipeline.extract.numbers import read_mileage
from fill_pipeline.extract.places import read_address, read_place
from fill_pipeline.extract.urls import host_of, id_in_url

_DOLLARS = {"ca": "CAD", "au": "AUD", "nz": "NZD"}  # country of a host → what its "$" means
_CROWNS = {"no": "NOK", "dk": "DKK", "se": "SEK", "is": "ISK"}  # the same for "kr"
_MILES_CURRENCIES = frozenset(("USD", "GBP"))
_BODIES = (
    r"sedan|saloon|coup[eé]|convertible|cabriolet|cabrio|roadster|hatchback|station wagon|wagon|estate|suv|pickup|"
    r"minivan|crossover|hardtop|fastback"
)
_BODY = re.compile(rf"\b(?:{_BODIES})\b", re.I)
# What follows a trim in a title and is another field's value.
_TRIM_TAIL = re.compile(
    rf"(?:\s+(?:{_BODIES}|truck|van|sport utility|\d ?-?drs?|\d-door|[2-5]d|[af24r]wd|4x[24]|automatic|manual|auto|cvt|"
    r"(?:crew|double|extended|quad|regular|king|access|mega) ?(?:cab|max)|super ?c(?:rew|ab)|"
    r"\d(?: \d/\d)? ft\.?)\b[,.]?)+\Z",
    re.I,
)
_CITY_REGION = re.compile(
    r"([^,\d(]{2,40}?),\s*([A-Z]{2}|[A-Z][a-zA-Z .]{3,24})(?:[,\s]+([A-Z]\d[A-Z] ?\d[A-Z]\d|\d{5}(?:-\d{4})?))?\Z"
)
_TRIM_STOP = re.compile(
    r"\s*(?:\||–|—|•|\s-\s|\bfor sale\b|\bin\s+[A-Z]|\bvin\b|[$€£#*]|\bwith\b|\bnear\b|\bonly\b|"
    r"\b\d[\d,.]*k?\s*(?:miles|mi|km)\b).*\Z",
    re.I,
)


def finish(reading: Reading, *, url: str | None) -> Listing:
    """Fill what follows from the values read (make and model from the title, the unit from the currency …), make
    names canonical, and give the listing. ``url`` is the listing's own address where the page did not say one."""
    _read_title(reading)
    _canonicalise(reading)
    _compose_title(reading)
    if url and not reading.value("url"):
        reading.offer("url", url, Layer.TEXT, "page address", 0.6)
    _money(reading, url)
    _distance(reading)
    _place(reading)
    own = reading.value("url")
    if own and not reading.has("remote_id"):
        identity = id_in_url(own)
        if identity:
            reading.offer("remote_id", identity, Layer.TEXT, "url", 0.6)
    if reading.value("price_kind") == PriceKind.SOLD and not reading.has("status"):
        reading.offer("status", ListingStatus.SOLD.value, Layer.TEXT, "price", 0.8)
    return reading.listing()


_EVIDENCE = (
    "mileage",
    "transmission",
    "engine",
    "fuel_type",
    "drivetrain",
    "body_style",
    "exterior_color",
    "vin",
    "fuel_economy",
)


def is_listing(listing: Listing) -> bool:
    """Whether this is a vehicle at all: it has a make with a year or model, or a VIN, or a price beside facts that only
    vehicles have. A house to let or a spare part has none of these."""
    if listing.vin or (listing.make and listing.year):
        return True
    if listing.make and listing.model and (listing.mileage or (listing.price and _told(listing))):
        return True
    facts = sum(getattr(listing, name) is not None for name in _EVIDENCE)
    if listing.make or listing.year:
        return facts >= 1 and bool(listing.price or listing.mileage)
    return bool(listing.title and listing.price and (facts >= 2 or listing.mileage is not None))


def _told(listing: Listing) -> bool:
    """Whether the name and price are told as one record, rather than read off two places of a card."""
    evidence = listing.provenance.get("price")
    return evidence is not None and evidence.layer is not Layer.CARD


_CONDITION = re.compile(r"\b(?:Certified Pre-Owned|Certified Used|Pre-Owned|Certified|New|Used)\Z", re.I)
_HEAD_TITLES = ("og:title", "json-ld.name", "microdata.name")
_PRICE_TAIL = re.compile(r"\s*[-–—|,]\s*(?:US)?[$€£]\s?[\d.,]+.*\Z|\s+for sale\s*\Z", re.I)
_TITLE_TAIL = re.compile(
    r"\s*(?:[|·•»]|\s[-–—]\s).{0,60}\Z|\s+(?:for sale|zu verkaufen|te koop|à vendre)\b.*\Z|\s*[-–—|"
    r",]?\s*(?:US)?[$€£]\s?[\d.,]+.*\Z",
    re.I,
)


_TAIL_SIGNS = frozenset("|·•»–—$€£")
_HYPHEN = re.compile(r"\s-")  # within a word it is part of a name
_TAIL_WORDS = ("for sale", "zu verkaufen", "te koop", "à vendre")


def headline(title: str) -> str:
    """A title without what sites put behind it (their name, "for sale", the price), if a vehicle is named before it."""
    low = title.lower()
    tailed = (
        not _TAIL_SIGNS.isdisjoint(low)
        or ("-" in low and _HYPHEN.search(low) is not None)
        or any(map(low.__contains__, _TAIL_WORDS))
    )
    if not tailed and title.strip(" -–—|,") == title:
        return title
    found = find_make_model(title)
    if found is not None and found.model is None and found.year is None:
        return title
    if found is None and not (tailed and _TITLE_TAIL.search(title)):
        return title
    for _ in range(3):
        shorter = (_TITLE_TAIL.sub("", title) if tailed else title).strip(" -–—|,")
        if shorter == title or len(shorter) < 6:
            break
        named = find_make_model(shorter)
        if found is not None and (named is None or named.model != found.model or named.year != found.year):
            break
        title = shorter
    return title


def _read_title(reading: Reading) -> None:
    title = reading.value("title")
    if (
        title
        and (shorter := (headline(title) if reading.locator("title") in _HEAD_TITLES else _PRICE_TAIL.sub("", title)))
        != title
    ):
        reading.replace("title", shorter)
        title = shorter
    found = find_make_model(title) if title else None
    if found is None:
        return
    reading.offer("year", found.year, Layer.TITLE, "title", 0.8)
    state = _CONDITION.search(found.before) if found.before else None
    if state:
        reading.offer("condition", state[0], Layer.TITLE, "title", 0.45)
    if not reading.has("make") or canonical_make(reading.value("make")) == found.make:
        reading.offer("make", found.make, Layer.TITLE, "title", 0.78, raw=found.make_words)
        reading.offer("model", found.model, Layer.TITLE, "title", 0.76, raw=found.model_words)
        if found.model and found.rest and not reading.has("trim"):
            trim = clean_trim(found.rest)
            reading.offer("trim", trim, Layer.TITLE, "title", 0.5)
            body = _BODY.search(found.rest[:80])
            reading.offer("body_style", body[0] if body else None, Layer.TITLE, "title", 0.4)
    if title and not reading.has("mileage"):
        mileage = read_mileage(title)
        if mileage:
            reading.offer("mileage", mileage.value, Layer.TITLE, "title", 0.6, raw=mileage.raw)
            reading.offer("mileage_unit", mileage.unit, Layer.TITLE, "title", 0.6)


def clean_trim(rest: str) -> str | None:
    """The trim in the words that follow the model in a title, without the body, doors and drive behind it; None when
    they are a sentence or nothing."""
    text = _TRIM_STOP.sub("", " " + rest).strip(" -–,.:;/")
    text = _TRIM_TAIL.sub("", " " + text).strip(" -–,.:;/")
    if not text or len(text) > 60 or not any(char.isalnum() for char in text):
        return None
    return text


def _canonicalise(reading: Reading) -> None:
    make_words, model_words = reading.value("make"), reading.value("model")
    make = canonical_make(make_words)
    if make_words and make is None:
        # A cell may hold more than the make: "Toyota Camry", "Ford Trucks".
        found = _named(make_words)
        if found and found.make:
            make = found.make
            if found.model:
                reading.offer("model", found.model, Layer.TITLE, "make", 0.6, raw=found.model_words)
                model_words = reading.value("model")
        elif make_words.isupper() and len(make_words) > 3:
            make = make_words.title()
    if make_words is None and model_words:
        found = _named(model_words)
        if found and found.make:
            reading.offer("make", found.make, Layer.TITLE, "model", 0.6, raw=found.make_words)
            make = found.make
    if make and make != make_words and make_words is not None:
        reading.replace("make", make)
    if model_words:
        words = reading.raw("model") if reading.value("model") != model_words else model_words
        model = _canonical_model_words(make or make_words, str(words or model_words), reading)
        if model != reading.value("model"):
            reading.replace("model", model)


def _compose_title(reading: Reading) -> None:
    """Where the page gives no title that names the model, the make, model and trim it gives make one."""
    make, model, title = reading.value("make"), reading.value("model"), reading.value("title")
    if not make or not model:
        return
    if title:
        found = find_make_model(title)
        if (
            found is None
            or found.model is not None
            or model.lower() in title.lower()
            or not re.search(r"[$€£]\s?\d", title)
        ):
            return
        reading.drop("title")
    parts = [str(part) for part in (reading.value("year"), make, model, reading.value("trim")) if part]
    reading.offer("title", " ".join(parts)[:200], Layer.TITLE, "make, model and trim", 0.4)


@lru_cache(maxsize=4096)
def _named(words: str) -> MakeModel | None:
    return find_make_model(words)


def _canonical_model_words(make: str | None, words: str, reading: Reading) -> str:
    """The model a site's words stand for: canonical where known, by its first words where the rest is body or trim."""
    if make is None:
        return words
    name = canonical_model(make, words)
    if name:
        held = reading.raw("model") or words
        return page_spelling(held if fold(held) == fold(words) else words, name)
    bare = re.sub(rf"^{re.escape(make)}[\s\-]+", "", words, flags=re.I)
    found = _named(f"{make} {bare}")
    if found and found.make == make and found.model and bare.lower().startswith((found.model_words or "\0").lower()):
        return page_spelling(found.model_words or found.model, found.model)
    return bare.strip() or words


def _money(reading: Reading, url: str | None) -> None:
    if not reading.has("price"):
        reading.drop("currency")
        reading.drop("price_kind")
        return
    currency, words = reading.value("currency"), reading.raw("currency") or ""
    own = (
        _DOLLARS
        if currency == "USD" and "$" in words and "US" not in words
        else _CROWNS
        if currency == "SEK" and "kr" in words
        else {}
    )
    if own and (country := host_of(reading.value("url") or url or "").rpartition(".")[2]) in own:
        reading.replace("currency", own[country])
    if not reading.has("price_kind"):
        reading.offer("price_kind", PriceKind.ASKING.value, Layer.TEXT, "price", 0.6)


def _distance(reading: Reading) -> None:
    if not reading.has("mileage"):
        reading.drop("mileage_unit")
        return
    if reading.has("mileage_unit"):
        return
    # The page gives a bare number: the unit is that of the country whose money it names.
    currency = reading.value("currency")
    country = reading.value("country") or ""
    if currency is None and not country:
        return
    miles = currency in _MILES_CURRENCIES if currency else country.upper() in ("US", "USA", "GB", "UK")
    reading.offer("mileage_unit", "mi" if miles else "km", Layer.TEXT, "by currency", 0.5)


def _place(reading: Reading) -> None:
    city, region, place = reading.value("city"), reading.value("region"), reading.value("place")
    if place and not city:
        words = clean(place).strip("() ")
        known = read_place(words) or read_address(words)
        confidence = reading.confidence("place") * 0.95
        if known is not None:
            for field in ("city", "region", "postal_code", "country"):
                reading.offer(field, getattr(known, field), Layer.TEXT, "place", confidence)
            return
        match = _CITY_REGION.search(words)
        if match:
            reading.offer("city", match[1].strip(), Layer.TEXT, "place", confidence)
            reading.offer("region", match[2].strip(), Layer.TEXT, "place", confidence)
            if match[3]:
                reading.offer("postal_code", match[3], Layer.TEXT, "place", confidence)
    elif city and not place:
        parts = [part for part in (city, region) if part]
        reading.offer("place", ", ".join(parts), Layer.TEXT, "city and region", reading.confidence("city") * 0.95)
    elif not place and reading.value("postal_code"):
        parts = [str(reading.value(field)) for field in ("postal_code", "region", "country") if reading.value(field)]
        reading.offer("place", ", ".join(parts), Layer.TEXT, "postal code", reading.confidence("postal_code") * 0.9)
