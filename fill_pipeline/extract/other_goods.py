"""Things that name a vehicle and are none: spare parts, toys, articles, threads, ways to many vehicles."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache

_LEAST_OF_A_CAR = 2_500  # a thing with a part's name that costs more may be a car with new parts


class Other(StrEnum):
    """What a title that names a vehicle may stand for instead."""

    GOODS = "goods"  # a part, an accessory, a toy
    ARTICLE = "article"  # a review, news, a thread
    CATEGORY = "category"  # all vehicles of a model, or the model itself


_SURE_GOODS = re.compile(
    r"\b(?:19|20)\d\d\s?[-–/]\s?(?:19|20)\d\d\b(?! model)|\b1[:/](?:8|12|18|24|32|43|64|87)\b|\bdie-?cast\b|"
    r"\bmodel car\b|\bhot wheels\b|\blego\b|\bmatchbox\b|\bpart (?:no|number|#)|\bfits\b|"
    r"\b(?:owner'?s|workshop|shop|service|repair) manual\b|\bbrochure\b|\bkey ?fob\b|\bfloor ?mats?\b|\bseat covers?\b",
    re.I,
)
_GOODS = re.compile(
    r"\b(?:grille|head ?(?:light|lamp)s?|tail ?(?:light|lamp)s?|fog lights?|bumper|"
    r"brake (?:pads?|rotors?|calipers?|kit)|alternator|radiator|starter motor|spark plugs?|control arms?|"
    r"shock absorbers?|struts?|muffler|catalytic|"
    r"(?:air|oil|fuel|cabin) filter|side mirror|door handle|fender|hub ?caps?|lug nuts?|wheel bearing|water pump|"
    r"fuel pump|camshaft|gasket|wiper|roof rack|tonneau|running boards?|center console|steering wheel|emblem|decal|"
    r"stoßstange|scheinwerfer|kotflügel|ersatzteile?|felgen|winterräder|koplamp|bumper|velgen|pare-chocs|jantes|"
    r"pièces?(?: détachées)?|phare|autoradio|assembly)\b",
    re.I,
)
_ARTICLE = re.compile(
    r"\breview(?:s|ed)?\b|\bfirst (?:drive|look)\b|\b(?:road|long-term) test\b|\bvs\.?\b|\bversus\b|\bhow to\b|"
    r"\bnews\b|\brecall(?:s|ed)?\b|\bbuyer'?s guide\b|\bcomparison\b|"
    r"\b\d+ best\b|\bbest (?:used|new|cars|suvs|trucks)\b|"
    r"\binsurance\b|\bwtb\b|\bwanted\b|\btestbericht\b|\bfahrbericht\b|\bessai\b",
    re.I,
)
_THREAD = re.compile(r"\b\d+ (?:replies|antworten|réponses|reacties)\b", re.I)
_THREAD_HINTS = ("replies", "antworten", "réponses", "reacties")
_CATEGORY = re.compile(
    r"\d\s+(?:\w+\s+)?(?:for sale|listings?|results|vehicles|cars|matches|available|angebote|fahrzeuge|annonces|"
    r"aanbiedingen)\b|\b(?:view all|see all|shop all)\b|\bor similar\b",
    re.I,
)
_STARTING = re.compile(r"\bstarting (?:at|from|msrp)\b|\bmsrp from\b|\bper day\b|/day\b", re.I)
_STARTING_HINTS = ("starting", "msrp", "per day", "/day")
_ONE_CAR = re.compile(r"\bvin\b|\bstock\b|\d\s*k?\s*(?:mi|miles|km)\b", re.I)


def other_than_vehicle(title: str, text: str, price: int | None, *, year: bool) -> Other | None:
    """What a title and the words with it stand for if not for one vehicle, None for a vehicle. ``price`` is what is
    asked, ``year`` whether the title gives a model year."""
    article, sure, goods = _of_title(title)
    low = text[:600].lower()
    if article or (len(text) < 600 and any(hint in low for hint in _THREAD_HINTS) and _THREAD.search(low)):
        return Other.ARTICLE
    if sure or (goods and (price is None or price < _LEAST_OF_A_CAR)):
        return None if price is not None and price >= 2 * _LEAST_OF_A_CAR else Other.GOODS
    if len(text) >= 300:
        return None
    many = any(hint in low for hint in _STARTING_HINTS) and _STARTING.search(low)
    many = many or (not year and len(text) < 200 and _CATEGORY.search(text))
    return Other.CATEGORY if many and not _ONE_CAR.search(text) else None


@lru_cache(maxsize=8192)
def _of_title(title: str) -> tuple[bool, bool, bool]:
    """Whether a title is an article's, surely that of goods, or may be that of goods."""
    return bool(_ARTICLE.search(title)), bool(_SURE_GOODS.search(title)), bool(_GOODS.search(title))
