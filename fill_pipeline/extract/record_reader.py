"""Reading a record: what it says by its keys, offered field by field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

import orjson

from fill_pipeline.extract.cleaning import clean
from fill_pipeline.extract.evidence import Offer, Reading
from fill_pipeline.extract.keys import (
    MOST_KEYS,
    PAIR_NAMES,
    PAIR_VALUES,
    VALUE_KEYS,
    container_of_key,
    field_of_key,
    fold_key,
    plan_of_key,
)
from fill_pipeline.extract.labels import field_of_label
from fill_pipeline.extract.listing import Layer
from fill_pipeline.extract.values import RECURRING, RECURRING_LENGTH, offer_value, recurring_offer

_PAYLOAD_BYTES = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """What a key says where it stands: where its value is found, what a plain value of it is offered for and how
    surely, and what an object or a list of it holds."""

    key: str
    layer: Layer
    locator: str
    field: str  # of a plain value, "" for none
    confidence: float
    recurring: int  # the most characters of words that recur, -1 where none do
    recurring_offer: Callable[[str], Offer | None]  # what such words are worth
    told: str  # the key, where it tells more of a plain value than its field
    held: str  # the field of an object or a list, "" for none
    rank: float  # how telling the key is of that
    container: str | None  # what an object holds
    read_inner: Callable[[dict[str, Any], _Step, Reading, str, list[int]], None] | None  # None if that is left out
    context: str | None  # what the record that has the key is part of
    depth: int  # of that record
    base: float  # how sure its values are


@lru_cache(maxsize=4096)
def _steps(
    keys: tuple[str, ...], layer: Layer, locator: str, context: str | None, depth: int
) -> tuple[_Step | None, ...]:
    """What the keys of an object say, None for those of no meaning: the records of one source have the same keys."""
    return tuple(_step(key, layer, locator, context, depth) for key in keys)


def _step(key: str, layer: Layer, locator: str, context: str | None, depth: int) -> _Step | None:
    if not isinstance(key, str) or (key[:1] == "@" and key != "@id"):
        return None
    # The values of an object are a little less sure with every step into the record.
    base = (0.95 if layer is Layer.STRUCTURED else 0.9) - 0.03 * depth
    place = f"{locator}.{key}"
    held, rank, container = plan_of_key(key)
    field, telling, told = held, rank, key
    if field:
        if context is not None or depth:
            field, telling = _in_context((field, rank), key, context, depth)
    elif context == "seller" and fold_key(key) in ("type", "kind"):
        field, telling, told = "seller_type", 1.0, ""
    return _Step(
        key=key,
        layer=layer,
        locator=place,
        field=field,
        confidence=base * telling,
        recurring=RECURRING_LENGTH if field in RECURRING else -1,
        recurring_offer=partial(recurring_offer, field, layer, place, base * telling),
        told=told,
        held=held,
        rank=rank,
        container=container,
        read_inner=_inner_reader(held, container, context, depth),
        context=context,
        depth=depth,
        base=base,
    )


def read_record(record: dict[str, Any], reading: Reading, *, layer: Layer, locator: str, base_url: str) -> None:
    """Offer what a record says to a reading, whatever its shape: nested objects are looked through to depth 5,
    a seller's name stays the seller's, and objects about other things (financing, similar cars) are left out."""
    _read(record, reading, layer, locator, base_url, None, 0, [0])
    if reading.payload is None:
        reading.payload = bounded_payload(record)


def bounded_payload(record: dict[str, Any]) -> dict[str, Any] | None:
    """The record itself, if it is no larger than 16 KB as JSON; else only its plain values; else None."""
    try:
        if _fits(record):
            return record
        plain = {key: value for key, value in record.items() if not isinstance(value, (dict, list))}
        return plain if _fits(plain) else None
    except (orjson.JSONEncodeError, RecursionError, ValueError):
        return None


def _fits(record: dict[str, Any]) -> bool:
    return len(orjson.dumps(record, option=orjson.OPT_NON_STR_KEYS)) <= _PAYLOAD_BYTES


def _read(
    record: dict[str, Any],
    reading: Reading,
    layer: Layer,
    locator: str,
    base_url: str,
    context: str | None,
    depth: int,
    budget: list[int],
) -> None:
    budget[0] += 1
    if budget[0] > 150:
        return
    steps_of = _steps if len(record) <= MOST_KEYS else _steps.__wrapped__
    for step, value in zip(steps_of(tuple(record), layer, locator, context, depth), record.values(), strict=True):
        if step is None:
            continue
        if isinstance(value, str):
            if len(value) <= step.recurring:
                offer = step.recurring_offer(value)
                if offer is not None:
                    reading.put(step.field, offer)
            elif value and step.field:
                offer_value(reading, step.field, value, layer, step.locator, step.confidence, base_url, key=step.told)
        elif isinstance(value, dict):
            if step.read_inner is not None:
                step.read_inner(value, step, reading, base_url, budget)
        elif isinstance(value, list):
            if value:
                _read_list(value, step, reading, base_url, budget)
        elif value is not None and step.field:
            offer_value(reading, step.field, value, layer, step.locator, step.confidence, base_url, key=step.told)


def _inner_reader(
    held: str, container: str | None, context: str | None, depth: int
) -> Callable[[dict[str, Any], _Step, Reading, str, list[int]], None] | None:
    """How an object inside a record is read: as one value, a price, a mileage, or a part of the record."""
    if container == "price":
        return _read_prices
    if container == "mileage":
        return _read_mileage
    if container is None and held and held not in ("url", "remote_id", "place", "bid", "status"):
        if context == "seller" and held in ("title", "images", "description", "make", "model"):
            return None
        return _read_picture if held == "images" else _read_value
    return _read_part if container != "foreign" and depth < 5 else None


def _read_part(value: dict[str, Any], step: _Step, reading: Reading, base_url: str, budget: list[int]) -> None:
    context = step.container or step.context
    _read(value, reading, step.layer, step.locator, base_url, context, step.depth + 1, budget)


def _read_picture(value: dict[str, Any], step: _Step, reading: Reading, base_url: str, budget: list[int]) -> None:
    offer_value(reading, "images", [value], step.layer, step.locator, step.base * step.rank, base_url)


def _read_value(value: dict[str, Any], step: _Step, reading: Reading, base_url: str, budget: list[int]) -> None:
    plain = plain_value(value)
    if plain is not None:
        offer_value(reading, step.held, plain, step.layer, step.locator, step.base * step.rank, base_url)
        if step.held == "engine" and isinstance(fuel := value.get("fuelType"), str):
            offer_value(reading, "fuel_type", fuel, step.layer, f"{step.locator}.fuelType", step.base, base_url)
    elif step.depth < 5:
        _read_part(value, step, reading, base_url, budget)


def _in_context(known: tuple[str, float], key: str, context: str | None, depth: int) -> tuple[str, float]:
    """What a key means where it stands: a seller's name is no title, a nested id is no listing's id."""
    field, rank = known
    if context == "seller":
        if field == "title":
            return "seller_name", rank
        if field in (
            "url",
            "remote_id",
            "images",
            "description",
            "remote_slug",
            "status",
            "posted_at",
            "year",
            "price",
            "condition",
            "make",
            "model",
        ):
            return "", 0.0
        return field, rank
    if depth > 0 and field in ("remote_id", "url", "title", "description", "posted_at", "status"):
        rank *= 0.8
        if key.lower() in ("id", "name", "url", "text", "title", "status", "path", "link", "href", "body"):
            rank *= 0.6
    return field, rank


def _read_list(items: list[Any], step: _Step, reading: Reading, base_url: str, budget: list[int]) -> None:
    held, layer, locator = step.held, step.layer, step.locator
    if held == "images":
        if step.context != "seller":
            offer_value(reading, "images", items, layer, locator, step.base * step.rank, base_url)
        return
    if step.container == "foreign":
        return
    first = items[0]
    if isinstance(first, dict):
        paired = held in ("", "remote_id", "status")
        if paired and _read_pairs(items, reading, layer, locator, base_url, step.base):
            return
        if held and len(items) == 1:
            plain = plain_value(first)
            if plain is not None and step.container is None:
                offer_value(reading, held, plain, layer, locator, step.base * step.rank, base_url, key=step.key)
                return
        if step.depth < 4 and (
            len(items) == 1 or fold_key(step.key) in ("offers", "vehicleengine", "graph", "mainentity", "phones")
        ):
            _read_part(first, step, reading, base_url, budget)
    elif held and isinstance(first, (str, int, float)) and len(items) <= 3 and step.context != "seller":
        offer_value(reading, held, first, layer, locator, step.base * step.rank, base_url, key=step.key)


def _read_pairs(items: list[Any], reading: Reading, layer: Layer, locator: str, base_url: str, base: float) -> bool:
    """A list of name and value pairs, as of ``additionalProperty``; whether it was one."""
    hits = 0
    for item in items[:200]:
        if not isinstance(item, dict):
            return hits > 0
        name = next((item[key] for key in PAIR_NAMES if isinstance(item.get(key), str)), None)
        value = next((item[key] for key in PAIR_VALUES if item.get(key) not in (None, "", [])), None)
        if name is None or value is None:
            continue
        if isinstance(value, list):
            value = value[0] if value else None
        if isinstance(value, dict):
            value = plain_value(value)
        known = field_of_label(name) or (field_of_key(name) or ("", 0))[0]
        if (
            known
            and known not in ("url", "images", "title", "description", "remote_id", "price")
            and isinstance(value, (str, int, float))
        ):
            offer_value(reading, known, value, layer, f"{locator}[{clean(name, 30)}]", base * 0.95, base_url)
            hits += 1
    return hits > 0


def _read_prices(value: dict[str, Any], step: _Step, reading: Reading, base_url: str, budget: list[int]) -> None:
    _read_price(value, reading, step.layer, step.locator, step.base, base_url)


def _read_price(
    value: dict[str, Any], reading: Reading, layer: Layer, locator: str, base: float, base_url: str
) -> None:
    """An object that is the price, or that holds several of them by name."""
    if any(value.get(flag) is True for flag in ("onRequestOnly", "priceOnRequest", "callForPrice", "hidePrice")):
        return
    for key, part in value.items():
        known = field_of_key(key)
        if known and known[0] == "currency" and isinstance(part, str):
            offer_value(reading, "currency", part, layer, f"{locator}.{key}", base, base_url)
    for key in ("amount", "value", "raw", "price", "priceRaw", "total", "gross", "consumerPriceGross", "public",
                "asking", "current", "sale",
                "retail", "list", "formatted", "priceFormatted", "display", "displayValue", "text",
                "label"):  # fmt: skip
        part = value.get(key)
        if isinstance(part, dict) and container_of_key(key) != "foreign":
            before = reading.value("price")
            _read_price(part, reading, layer, f"{locator}.{key}", base - 0.02, base_url)
            if reading.value("price") != before:
                return
        elif isinstance(part, (int, float, str)) and not isinstance(part, bool) and part != "":
            offer_value(reading, "price", part, layer, f"{locator}.{key}", base, base_url, key=key)
            if reading.value("price") is not None:
                return
    for key, part in value.items():
        known = field_of_key(key)
        if known and known[0] in ("price", "sold_price", "bid") and isinstance(part, (int, float, str)):
            offer_value(reading, known[0], part, layer, f"{locator}.{key}", base * known[1], base_url, key=key)


_UNIT_KEYS = ("unitCode", "unitText", "unit", "units", "uom")
_AMOUNT_KEYS = ("value", "raw", "amount", "miles", "kilometers", "km", "formatted", "displayValue", "text")


def _read_mileage(value: dict[str, Any], step: _Step, reading: Reading, base_url: str, budget: list[int]) -> None:
    unit = next((part for key in _UNIT_KEYS if isinstance(part := value.get(key), str)), None)
    amount = plain_value(value, _AMOUNT_KEYS)
    if amount is None:
        return
    layer, locator, base = step.layer, step.locator, step.base
    if unit:
        offer_value(reading, "mileage_unit", unit, layer, locator, base, base_url)
    elif "km" in value or "kilometers" in value:
        offer_value(reading, "mileage_unit", "km", layer, locator, base * 0.9, base_url)
    offer_value(reading, "mileage", amount, layer, locator, base, base_url)


_PLAIN = frozenset((str, int, float))  # a truth value is none


def plain_value(value: dict[str, Any], keys: tuple[str, ...] = VALUE_KEYS) -> str | int | float | None:
    """The one value that an object stands for: {"@type": "Brand", "name": "Honda"} → "Honda"."""
    for key in keys:
        part = value.get(key)
        if type(part) in _PLAIN and part != "":
            return cast("str | int | float", part)
    return None
