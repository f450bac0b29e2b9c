"""Reading a record: what it says by its keys, offered field by field."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from fill_pipeline.extract.cleaning import clean
from fill_pipeline.extract.evidence import Reading
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
from fill_pipeline.extract.values import TEXT_FIELDS, offer_value, offer_words

_PAYLOAD_BYTES = 16_384


class _Step(NamedTuple):
    """What a key says where it stands: where its value is found, what a plain value of it is offered for and how
    surely, and what an object or a list of it holds."""

    key: str
    locator: str
    field: str  # of a plain value, "" for none
    words: bool  # whether that is a text field
    confidence: float
    told: str  # the key, where it tells more of a plain value than its field
    plan: tuple[str, float, str | None]


@lru_cache(maxsize=4096)
def _steps(
    keys: tuple[str, ...], layer: Layer, locator: str, context: str | None, depth: int
) -> tuple[float, tuple[_Step, ...]]:
    """How sure the values of an object are, and what its keys say: the records of one source have the same keys."""
    base = _sureness(layer, depth)
    steps: list[_Step] = []
    for key in keys:
        if not isinstance(key, str) or (key[:1] == "@" and key != "@id"):
            continue
        plan = plan_of_key(key)
        field, rank, _ = plan
        told = key
        if field:
            if context is not None or depth:
                field, rank = _in_context((field, rank), key, context, depth)
        elif context == "seller" and fold_key(key) in ("type", "kind"):
            field, rank, told = "seller_type", 1.0, ""
        steps.append(_Step(key, f"{locator}.{key}", field, field in TEXT_FIELDS, base * rank, told, plan))
    return base, tuple(steps)


def _sureness(layer: Layer, depth: int) -> float:
    """How sure the values of an object are: a little less with every step into the record."""
    return (0.95 if layer is Layer.STRUCTURED else 0.9) - 0.03 * depth


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
    plan_of = _steps if len(record) <= MOST_KEYS else _steps.__wrapped__
    base, steps = plan_of(tuple(record), layer, locator, context, depth)
    for key, place, field, words, confidence, told, plan in steps:
        value = record[key]
        if isinstance(value, str):
            if words and value:
                offer_words(reading, field, value, layer, place, confidence)
            elif field and value:
                offer_value(reading, field, value, layer, place, confidence, base_url, key=told)
        elif isinstance(value, dict):
            if plan[2] != "foreign":
                _read_inner(value, reading, layer, place, base_url, context, depth, budget, plan, base)
        elif isinstance(value, list):
            if value:
                known = plan[:2] if plan[0] else None
                _read_list(key, value, known, reading, layer, place, base_url, context, depth, budget)
        elif field and value is not None:
            offer_value(reading, field, value, layer, place, confidence, base_url, key=told)


def _read_inner(
    value: dict[str, Any],
    reading: Reading,
    layer: Layer,
    locator: str,
    base_url: str,
    context: str | None,
    depth: int,
    budget: list[int],
    plan: tuple[str, float, str | None],
    base: float,
) -> None:
    """Read an object inside a record: one value, a price, a mileage, or a part of the record."""
    field, rank, container = plan
    if container is None and field and field not in ("url", "remote_id", "place", "bid", "status"):
        if context == "seller" and field in ("title", "images", "description", "make", "model"):
            return
        if field == "images":
            offer_value(reading, field, [value], layer, locator, base * rank, base_url)
            return
        plain = plain_value(value)
        if plain is not None:
            offer_value(reading, field, plain, layer, locator, base * rank, base_url)
            if field == "engine" and isinstance(fuel := value.get("fuelType"), str):
                offer_value(reading, "fuel_type", fuel, layer, f"{locator}.fuelType", base, base_url)
            return
    if container == "price":
        _read_price(value, reading, layer, locator, base, base_url)
    elif container == "mileage":
        _read_mileage(value, reading, layer, locator, base, base_url)
    elif depth < 5:
        _read(value, reading, layer, locator, base_url, container or context, depth + 1, budget)


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


def _read_list(
    key: str,
    items: list[Any],
    known: tuple[str, float] | None,
    reading: Reading,
    layer: Layer,
    locator: str,
    base_url: str,
    context: str | None,
    depth: int,
    budget: list[int],
) -> None:
    if not items or (container_of_key(key) == "foreign" and (known is None or known[0] != "images")):
        return
    first = items[0]
    base = _sureness(layer, depth)
    if known is not None and known[0] == "images":
        if context != "seller":
            offer_value(reading, "images", items, layer, locator, base * known[1], base_url)
        return
    if isinstance(first, dict):
        paired = known is None or known[0] in ("remote_id", "status")
        if paired and _read_pairs(items, reading, layer, locator, base_url, base):
            return
        if known is not None and len(items) == 1:
            plain = plain_value(first)
            if plain is not None and container_of_key(key) is None:
                offer_value(reading, known[0], plain, layer, locator, base * known[1], base_url, key=key)
                return
        if depth < 4 and (
            len(items) == 1 or fold_key(key) in ("offers", "vehicleengine", "graph", "mainentity", "phones")
        ):
            _read(first, reading, layer, locator, base_url, container_of_key(key) or context, depth + 1, budget)
    elif known is not None and isinstance(first, (str, int, float)) and len(items) <= 3 and context != "seller":
        offer_value(reading, known[0], first, layer, locator, base * known[1], base_url, key=key)


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


def _read_mileage(
    value: dict[str, Any], reading: Reading, layer: Layer, locator: str, base: float, base_url: str
) -> None:
    unit = next((part for key in _UNIT_KEYS if isinstance(part := value.get(key), str)), None)
    amount = next(
        (part for key in _AMOUNT_KEYS if isinstance(part := value.get(key), (int, float, str)) and part != ""), None
    )
    if amount is not None and not isinstance(amount, bool):
        if unit:
            offer_value(reading, "mileage_unit", unit, layer, locator, base, base_url)
        elif "km" in value or "kilometers" in value:
            offer_value(reading, "mileage_unit", "km", layer, locator, base * 0.9, base_url)
        offer_value(reading, "mileage", amount, layer, locator, base, base_url)


def plain_value(value: dict[str, Any]) -> str | int | float | None:
    """The one value that an object stands for: {"@type": "Brand", "name": "Honda"} → "Honda"."""
    for key in VALUE_KEYS:
        part = value.get(key)
        if isinstance(part, (str, int, float)) and not isinstance(part, bool) and part != "":
            return part
    return None
