"""What a search asks for: its params as a source's own query, and judged by what its results say.

How a source is searched is its configuration's ``extra.search``; what it cannot filter by is filtered here, as far
as the result's card says it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from fill_pipeline.crawl.urls import with_query
from fill_pipeline.extract.gazetteer import canonical_make, canonical_model, fold
from fill_pipeline.extract.listing import Listing
from fill_pipeline.vehicles.vocabulary import canonical_term, terms_of

KM_PER_MILE = 1.609344
_PARAM = re.compile(r"\{(\w+)\}")
_TERMS = ("body_style", "fuel_type", "transmission", "drivetrain", "condition", "seller_type")
_RANGES = ("year", "price", "mileage")
_NUMBERS = (*(f"{bound}_{name}" for bound in ("min", "max") for name in _RANGES), "radius_miles")
_YEARS = (1885, 2100)
_EXAMPLES = dict(zip(_NUMBERS, (2015, 3000, 10_000, 2025, 8000, 100_000, 50), strict=True))


class ParamError(ValueError):
    """A param cannot be searched for; the message names it, its value, and what is allowed."""


def check_params(params: Any) -> None:
    """Raise ParamError for params that would be left out in silence, or that nothing can match.

    Params this module does not know are the source's own.
    """
    if not isinstance(params, dict):
        raise ParamError(f"params {params!r} is not an object, such as {{'make': 'Honda', 'max_price': 8000}}")
    for name in _NUMBERS:
        given = params.get(name)
        if _given(given) and (_number(given) is None or not 0 <= (_number(given) or 0) < 1e12):
            raise ParamError(f"param {name} {given!r} is not a number from 0, such as {_EXAMPLES[name]}")
    for name in ("min_year", "max_year"):
        year = _number(params.get(name))
        if year is not None and not _YEARS[0] <= year <= _YEARS[1]:
            raise ParamError(f"param {name} {params[name]!r} is not a year from {_YEARS[0]} to {_YEARS[1]}")
    for name in _RANGES:
        low, high = _number(params.get(f"min_{name}")), _number(params.get(f"max_{name}"))
        if low is not None and high is not None and low > high:
            raise ParamError(
                f"param min_{name} {params[f'min_{name}']!r} is above max_{name} {params[f'max_{name}']!r}, "
                "so that nothing could match; exchange them or leave one out"
            )
    for name in ("make", "model", *_TERMS):
        if isinstance(params.get(name), list | dict):
            raise ParamError(f"param {name} {params[name]!r} is not one text; save a search for each")
    for name in _TERMS:
        if _given(params.get(name)) and canonical_term(name, str(params[name])) is None:
            raise ParamError(f"param {name} {params[name]!r} is not known; it may be {', '.join(terms_of(name))}")
    if isinstance(params.get("keywords"), dict):
        raise ParamError(f"param keywords {params['keywords']!r} is not a text or a list of texts")


def unused_params(params: dict[str, Any], mapping: SearchMapping) -> list[str]:
    """The given params that the source is not asked for and its results cannot be judged by."""
    known = {*_NUMBERS, *_TERMS, "make", "model", "keywords"} - {"radius_miles"}
    return sorted(name for name, value in params.items() if _given(value) and name not in mapping.asked | known)


class SearchMapping(BaseModel):
    """``config.extra.search`` of a source: how a search's params become its query.

    ``url`` may hold params as ``{make}``; parts of a path in brackets ``[/{make}]`` vanish when the param is not
    given. ``query`` maps params to query names, ``combined`` query names to several params (``{make} {model}``, the
    missing left out), ``fixed`` is always sent, ``slug`` names params written like ``land-rover``, ``scale``
    multiplies a number (miles to kilometres).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(min_length=1, max_length=1000)] = "/"
    query: dict[str, str] = {}
    combined: dict[str, str] = {}
    fixed: dict[str, str] = {}
    slug: tuple[str, ...] = ()
    scale: dict[str, float] = {}
    joiner: str = " "

    @property
    def asked(self) -> set[str]:
        """The params the source itself is asked for."""
        return set(self.query) | {n for text in (self.url, *self.combined.values()) for n in _PARAM.findall(text)}


def search_url(mapping: SearchMapping, params: dict[str, Any]) -> str:
    """The URL (relative to the source's base) that asks for these params, as far as the source can be asked."""
    words = {name: word for name, value in params.items() if (word := _word(mapping, name, value)) is not None}
    path = re.sub(r"\[([^\[\]]*)\]", lambda m: m[1] if _all_given(m[1], words) else "", mapping.url)
    path = _PARAM.sub(lambda m: quote(words.get(m[1], ""), safe="-_.~"), path)
    asked = {query: words[name] for name, query in mapping.query.items() if name in words}
    for query, template in mapping.combined.items():
        if text := " ".join(_PARAM.sub(lambda m: words.get(m[1], ""), template).split()):
            asked[query] = text
    query_values = {**mapping.fixed, **asked}
    return with_query(path, query_values) if query_values else path


def _all_given(part: str, words: dict[str, str]) -> bool:
    return all(name in words for name in _PARAM.findall(part))


def _word(mapping: SearchMapping, name: str, value: Any) -> str | None:
    if not _given(value):
        return None
    if isinstance(value, list | tuple):
        value = mapping.joiner.join(str(v) for v in value)
    number = _number(value)
    if name in mapping.scale and number is not None:
        value = round(number * mapping.scale[name])
    text = str(value)
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") if name in mapping.slug else text


class Matcher:
    """Whether a result is what the search wants, judged by what its card says: what it does not say is let pass.

    Years, prices and mileages (in miles) are bounded, make and model compared in canonical form, terms such as
    ``transmission`` likewise. Keywords are looked for only where the source cannot be asked for them.
    """

    def __init__(self, params: dict[str, Any], mapping: SearchMapping) -> None:
        self._bounds = {
            name: (_number(params.get(f"min_{name}")), _number(params.get(f"max_{name}"))) for name in _RANGES
        }
        make = params.get("make")
        self._make = fold(canonical_make(str(make)) or str(make)) if make else None
        model = params.get("model")
        known = canonical_model(canonical_make(str(make)) or str(make), str(model)) if make and model else None
        self._model = fold(known or str(model)) if model else None
        self._terms = {name: canonical_term(name, str(params[name])) for name in _TERMS if params.get(name)}
        keywords = params.get("keywords") or []
        wanted: Sequence[Any] = [keywords] if isinstance(keywords, str) else keywords
        self._keywords = [] if "keywords" in mapping.asked else [str(word).lower() for word in wanted]

    def accepts(self, card: Listing) -> bool:
        """Whether nothing the card says is against it."""
        for name, (low, high) in self._bounds.items():
            value = getattr(card, name)
            if name == "mileage" and value is not None and card.mileage_unit == "km":
                value = value / KM_PER_MILE
            if value is not None and ((low is not None and value < low) or (high is not None and value > high)):
                return False
        if self._make and card.make and fold(canonical_make(card.make) or card.make) != self._make:
            return False
        if self._model and card.model:
            said = fold(canonical_model(card.make or "", card.model) or card.model)
            if not said.startswith(self._model):
                return False
        for name, term in self._terms.items():
            said_term = canonical_term(name, getattr(card, name) or "")
            if term is not None and said_term is not None and said_term != term:
                return False
        text = f"{card.title or ''} {card.description or ''}".lower()
        return all(word in text for word in self._keywords) if card.description else True


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(str(value).replace(",", ""))
    except ValueError:
        return None


def _given(value: Any) -> bool:
    return value is not None and value != "" and value != []
