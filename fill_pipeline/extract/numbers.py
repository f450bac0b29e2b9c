"""Numbers as a person reads them: prices with their kind and currency, mileages with their unit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from fill_pipeline.extract.listing import PriceKind
from fill_pipeline.extract.phrases import Said, said_before

MAX_PRICE = 100_000_000  # whole units; the dearest car sold so far went for 135 million euro
MAX_MILEAGE = 3_300_000  # miles or kilometres; the highest known odometer of a car is 3.2 million miles
_TEXT_LIMIT = 20_000  # characters looked at in one reading

_SPACE = r"[ \u00a0\u202f\u2009]"
# Thousands are grouped by one sign throughout: "$8,750 121,004 mi" is a price and a distance.
_NUMBER = (
    rf"\d{{1,3}}(?:[.,'’]\d{{3}})+(?:[.,]\d{{1,2}})?(?!\d)|\d{{1,3}}(?:{_SPACE}\d{{3}})+(?:[.,]\d{{1,2}})?(?!\d)(?![.,]\d{{3}})|"
    r"\d+(?:[.,]\d{1,3})?"
)
_SYMBOL = (
    r"(?:US|CA|AU|NZ|HK|[CA])?\$|€|£|¥|₹|zł|"
    r"\b(?:USD|EUR|GBP|CAD|AUD|NZD|CHF|SEK|NOK|DKK|PLN|CZK|JPY|Euro|kr|Fr)\b\.?"
)
_MONEY = re.compile(
    rf"(?P<before>(?:\b(?:USD|CAD|AUD|"
    rf"NZD)\s*)?(?:{_SYMBOL}))\s*(?P<a>{_NUMBER})\s?(?P<ak>[kKmM]\b)?(?:\s*(?P<acode>USD|CAD|AUD|NZD|EUR|GBP)\b)?"
    rf"|(?<![\w.,$€£])(?P<b>{_NUMBER})\s?(?P<bk>[kK]\b)?(?:,-|\.-|,–|,—)?\s*(?P<after>{_SYMBOL})"
)
_PREFIXED = re.compile(
    rf"(?P<before>{_SYMBOL})\s*(?P<a>{_NUMBER})\s?(?P<ak>[kKmM]\b)?(?:\s*(?P<acode>USD|CAD|AUD|NZD|EUR|GBP)\b)?(?P<b>\b\B)?(?P<bk>\b\B)?(?P<after>\b\B)?"
)
_SIGN_AFTER = 16  # characters between the beginning of an amount and its sign
_IN_NUMBER = re.compile(r"[\s'’]")
_IN_SYMBOL = re.compile(r"[\s.]")
_GROUPED = re.compile(r"\d[.,'’\s]\d{3}(?!\d)")
_SYMBOL_SIGN = re.compile(r"[$€£¥₹]")
_CODED = re.compile(r"[A-Z]{3}|kr|zł|Fr|Euro")
_SIGN = re.compile(r"[$€£¥₹ł]|(?<![A-Za-z])(?:USD|EUR|GBP|CAD|AUD|NZD|CHF|SEK|NOK|DKK|PLN|CZK|JPY|Euro|kr|Fr)\b")
_CURRENCIES = {
    "$": "USD", "us$": "USD", "usd": "USD", "usd$": "USD", "ca$": "CAD", "c$": "CAD", "cad": "CAD", "cad$": "CAD",
    "au$": "AUD", "a$": "AUD", "aud": "AUD", "aud$": "AUD", "nz$": "NZD", "nzd": "NZD", "nzd$": "NZD", "hk$": "HKD",
    "€": "EUR", "eur": "EUR", "euro": "EUR", "£": "GBP", "gbp": "GBP", "¥": "JPY", "jpy": "JPY", "₹": "INR",
    "chf": "CHF", "fr": "CHF", "sek": "SEK", "kr": "SEK", "nok": "NOK", "dkk": "DKK", "pln": "PLN", "zł": "PLN",
    "czk": "CZK",
}  # fmt: skip
# Said just after an amount: it is a rate, a fee or a difference, not the price of the car.
_NOT_PRICE_AFTER = re.compile(
    r"\s*\*?\s*(?:/|per\b|a\b|p\.?\s?m\b|pro\b|im\b|par\b|per\s)?\s*"
    r"(?:mo\b|mth|month|monat|mtl|maand|mois|wk\b|week|bi-?weekly|day\b|hour|hr\b|year\b|mile\b|km\b|kwh|ltr|liter|"
    r"litre|gal)"
    r"|\s*\*?\s*(?:est\.?\s*)?(?:cash\s+)?(?:down\b|deposit|due at signing|off\b|below|above|under\b|less|discount|"
    r"savings?\b|"
    r"rebate|cash ?back|shipping|delivery|doc(?:ument(?:ation)?)? fee|fees?\b|extra|worth of|in (?:upgrades|options|"
    r"receipts|work|extras)|"
    r"spent|invested|reserve fee|anzahlung|rabatt|gespart|versichern|finanzieren|gst|tax\b|price drop)",
    re.I,
)
_RESERVE = re.compile(r"reserve\s+(?:was\s+)?not\s+(?:been\s+)?met|\bnot sold\b|\bdid not sell\b|\bno sale\b", re.I)
_ENDED = re.compile(r"\s*(?:USD\s*)?on \d", re.I)  # "bid to $31,000 on 3/3/24": it ended without a sale
_RANGE = re.compile(rf"\s*(?:-|–|—|to|bis|tot|à)\s*(?:{_SYMBOL})?\s*(?:{_NUMBER})", re.I)
_ABSENT = re.compile(
    r"\bcall (?:us )?(?:now )?(?:for|to get) (?:the |our |a |best |current |more )?(?:price|pricing|quote|details|"
    r"offer)|"
    r"^\W*(?:please )?(?:call|inquire|enquire)(?: us| now| today)?\W*$|contact (?:us |dealer |seller )?for (?:a |"
    r"the )?(?:price|pricing)|"
    r"price (?:up)?on (?:request|application|ask|inquiry)|\bpoa\b|\bp\.o\.a\b|request (?:a )?price|ask for price|"
    r"preis auf anfrage|\bauf anfrage\b|prijs op aanvraag|op aanvraag|prix sur demande|inquire for|enquire for|"
    r"no price|price not (?:listed|available)|^\W*(?:n/?a|tbd|not priced|make (?:an )?offer)\W*$|please (?:call|"
    r"inquire)",
    re.I,
)
_DIFFERENCE = re.compile(r"(?:^|[\n(:])[ \t]*[-−–+] ?\Z")  # "-$1,500": taken off the price or put on it
_BARE = re.compile(rf"\s*({_NUMBER})\s*([kK])?(?:,-|\.-)?\s*\Z")


@dataclass(frozen=True, slots=True)
class PriceReading:
    """A price as written: whole units, ISO currency (None when no symbol says it), kind, words, confidence 0 to 1.

    ``high`` is the upper end where the words give a range, which is then no price of one car.
    """

    amount: int
    currency: str | None
    kind: PriceKind
    raw: str
    confidence: float
    high: int | None = None
    start: int = 0  # where in the text the words begin


@dataclass(frozen=True, slots=True)
class MileageReading:
    """An odometer reading as written; unit "mi", "km" or None where the words do not say."""

    value: int
    unit: str | None
    raw: str
    confidence: float
    start: int = 0  # where in the text the words begin

    def raised(self, by: float) -> MileageReading:
        """The same reading with more confidence."""
        return MileageReading(self.value, self.unit, self.raw, self.confidence + by, self.start)


def read_number(text: str) -> float | None:
    """One number in any of the page's conventions: "1,234.50", "1.234,50", "12 500", "85.000", "12.5".

    A separator followed by exactly three digits groups thousands; the last of two different
    separators is the decimal one. None when there is no number.
    """
    match = re.search(_NUMBER, text[:64])
    return _to_number(match[0]) if match else None


def _to_number(digits: str) -> float:
    if digits.isdecimal():
        return float(digits[:20])
    compact = _IN_NUMBER.sub("", digits)
    comma, dot = compact.rfind(","), compact.rfind(".")
    if comma >= 0 and dot >= 0:
        decimal = "," if comma > dot else "."
        compact = compact.replace("." if decimal == "," else ",", "").replace(decimal, ".")
    elif comma >= 0 or dot >= 0:
        mark = "," if comma >= 0 else "."
        head, _, tail = compact.rpartition(mark)
        # Three digits after the only kind of separator group thousands, as does any repeated one.
        grouping = (len(tail) == 3 and head != "0") or compact.count(mark) > 1
        compact = compact.replace(mark, "") if grouping else f"{head}.{tail}"
    return float(compact[:20])


def read_price(text: str | None) -> PriceReading | None:
    """The price a text states, or None: monthly rates, deposits, savings and "call for price" are no prices.

    Of several amounts the asking price is taken, not the former one ("was $10,999 now $9,999").
    """
    readings = read_prices(text)
    if not readings:
        return None
    return max(readings, key=lambda reading: reading.confidence)


def read_prices(text: str | None, end: int = _TEXT_LIMIT) -> list[PriceReading]:
    """Every amount in a text that can be a car's price, in order, each with its confidence; those that begin before
    ``end``, if what follows only tells what they are."""
    if not text:
        return []
    text = text[:_TEXT_LIMIT]
    found: list[PriceReading] = []
    skip_to = -1
    for sign in (_SIGN if _CODED.search(text) else _SYMBOL_SIGN).finditer(text, 0, end + _SIGN_AFTER):
        match = _MONEY.search(text, max(sign.start() - 16, skip_to, 0), sign.end() + 28)
        if match is None or match.start() < skip_to or match.start() > sign.start():
            continue
        match = _own_sign(text, match)
        skip_to = match.end()
        digits = match["a"] or match["b"]
        amount = _scaled(digits, match["ak"] or match["bk"])
        before, after = text[max(0, match.start() - 48) : match.start()], text[match.end() : match.end() + 60]
        range_end = _RANGE.match(after)
        high = None
        if range_end:
            skip_to = match.end() + range_end.end()
            numbers = re.findall(_NUMBER, range_end[0])
            high = int(_to_number(numbers[-1])) if numbers else None
            high = high if high is not None and high > amount else None
        if after[:2] in (",,", ",0", "..") or not 1 <= amount <= MAX_PRICE or _is_rate(after):
            continue
        said = said_before(before)
        if said is Said.OTHER or _DIFFERENCE.search(before):
            continue
        kind, confidence = _judge(said, after)
        if high is not None:
            confidence = 0.2
        elif amount < 100:
            confidence = min(confidence, 0.3)
        currency = _currency((match["acode"] or match["before"] or match["after"] or "").strip())
        found.append(
            PriceReading(int(amount), currency, kind, " ".join(match[0].split()), confidence, high, match.start())
        )
    return found


def _is_rate(after: str) -> bool:
    """Whether the words after an amount make a rate, a fee or a difference of it."""
    # All of them begin with a letter, "/" or "*".
    first = after.lstrip()[:1]
    return (first.isalpha() or first in ("/", "*")) and _NOT_PRICE_AFTER.match(after) is not None


def _own_sign(text: str, match: re.Match[str]) -> re.Match[str]:
    """The amount that a sign between two numbers belongs to: in "2018 $12,500" the second, in "28.900 € 30.600 €" the
    first, in "2022 € 34.990" the second."""
    second = _PREFIXED.match(text, match.start("after")) if match["b"] else None
    if second and (match["after"] in "$£" or (_GROUPED.search(second["a"]) and not _GROUPED.search(match["b"]))):
        return second
    return match


def read_bare_price(text: str | None) -> int | None:
    """A price written without currency ("28,545", "12.5k"), only if that is the whole text."""
    match = _BARE.match(text) if text and len(text) <= 24 else None
    if not match:
        return None
    amount = _scaled(match[1], match[2])
    return int(amount) if 1 <= amount <= MAX_PRICE else None


def says_no_price(text: str) -> bool:
    """Whether a text says that the price is withheld ("Call for price")."""
    return bool(_ABSENT.search(text[:120]))


def currency_code(text: str | None) -> str | None:
    """ISO 4217 code of a symbol or code as written; None for anything else."""
    return _currency(text.strip()) if text else None


def _scaled(digits: str, suffix: str | None) -> float:
    amount = _to_number(digits)
    if suffix in ("k", "K") and amount < 10_000:
        return amount * 1_000
    return amount * 1_000_000 if suffix in ("m", "M") and amount < 1_000 else amount


def _judge(said: Said | None, after: str) -> tuple[PriceKind, float]:
    """What the words around an amount make of it."""
    if said is Said.SOLD:
        return PriceKind.SOLD, 0.95
    if said is Said.BID:
        ended = _RESERVE.search(after) or _ENDED.match(after)
        return (PriceKind.RESERVE if ended else PriceKind.BID), 0.93
    if _RESERVE.search(after[:40]):
        return PriceKind.RESERVE, 0.9
    if said is Said.FORMER:
        return PriceKind.ASKING, 0.35
    return PriceKind.ASKING, 0.9 if said is Said.LABEL else 0.7


@lru_cache(maxsize=512)
def _currency(symbol: str) -> str | None:
    key = _IN_SYMBOL.sub("", symbol).lower()
    return _CURRENCIES.get(key)


_MILES = re.compile(
    rf"(?<![\w$€£.,/\-–])(?P<n>{_NUMBER})\s*(?P<k>[kKT](?=[\s\-]*(?:mi|km|\+))|[kK]\b)?\+?[\s\-]*"
    r"(?:(?:actual|original|documented|genuine|believed|total|chassis|indicated|shown|one[- ]owner|low|highway|"
    r"careful|certified|true|body|"
    r"gelaufene|kilométres|reported)[\s\-]+){0,2}"
    r"(?P<unit>miles?\b|mi\b\.?|mls\b|kms?\b\.?|kilomet(?:er|re)s?\b|kilom[èe]tres?\b|kilometerstand\b|tkm\b|"
    r"tsd\.? ?km\b)",
    re.I,
)
_LABELLED = re.compile(
    rf"\b(?:mileage|odometer(?: reading)?|odo|kilometers?|kilometres|kilometerstand|km-?stand|laufleistung|"
    rf"tellerstand|kilom[ée]trage|tmu)\b"
    rf"\s*(?:\([a-z]+\))?\s*(?:reads?|shows?|is|of|:|-|=|\n)*\s*(?P<n>{_NUMBER})\s*(?P<k>[kK]\b)?(?![\w])",
    re.I,
)
# What stands after or before a distance that is no odometer reading.
_NOT_MILEAGE_AFTER = re.compile(
    r"\s*\.?\s*(?:away|from|radius|of (?:you|your|\d)|/h|/|per\b|range|warranty|or\s+\d|within|\b(?:on|"
    r"since)\s+(?:the\s+)?(?:new|rebuil|engine|resto|overhaul|motor|build|transmission|tires)|"
    r"(?:since|after|on)\b|of range|(?:of )?coverage|electric range|limited|powertrain|service|oil|to empty|roadside|"
    r"long|"
    r"north|south|east|west|entfernt|umkreis|h\b|reichweite|garantie|elektrisch)",
    re.I,
)


def read_mileage(text: str | None) -> MileageReading | None:
    """The odometer reading a text states, or None: distances to a dealer, ranges and warranties are none.

    "120k miles" is 120,000; of "63,903 km (39,708 mi)" the first is taken.
    """
    readings = read_mileages(text)
    return max(readings, key=lambda reading: reading.confidence) if readings else None


def read_mileages(text: str | None) -> list[MileageReading]:
    """Every odometer reading in a text, in order."""
    if not text:
        return []
    text = text[:_TEXT_LIMIT]
    found: list[MileageReading] = []
    for match in _MILES.finditer(text):
        unit_word = match["unit"].lower()
        scale = "k" if match["k"] or unit_word.startswith(("tkm", "tsd")) else None
        value = _scaled(match["n"], scale)
        after, before = text[match.end() : match.end() + 24], text[max(0, match.start() - 32) : match.start()]
        if value > MAX_MILEAGE or _NOT_MILEAGE_AFTER.match(after) or said_before(before) is Said.RANGE:
            continue
        if value != int(value):
            continue
        whole = match.start() == 0 and match.end() >= len(text.rstrip(" .,)"))
        confidence = 0.85 if whole else (0.75 if value >= 1_000 or scale else 0.45)
        unit: str | None = "mi" if unit_word.startswith("m") else "km"
        found.append(MileageReading(int(value), unit, " ".join(match[0].split()), confidence, match.start()))
    for match in _LABELLED.finditer(text):
        value = _scaled(match["n"], match["k"])
        if value <= MAX_MILEAGE and value == int(value):
            unit = "km" if re.match(r"k", match[0], re.I) else None
            if not any(reading.value == int(value) for reading in found):
                found.append(MileageReading(int(value), unit, " ".join(match[0].split()), 0.8, match.start()))
    return found


def read_bare_mileage(text: str | None) -> int | None:
    """A mileage written without unit ("42,000", "120k"), only if that is the whole text."""
    match = _BARE.match(text) if text and len(text) <= 24 else None
    if not match:
        return None
    value = _scaled(match[1], match[2])
    return int(value) if 0 <= value <= MAX_MILEAGE and value == int(value) else None
