"""Records (JSON objects) that describe vehicles: found by structure, read by what their keys mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from fill_pipeline.extract.cleaning import clean
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.gazetteer import find_make_model
from fill_pipeline.extract.keys import (
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
from fill_pipeline.extract.values import offer_value

_MAX_NODES = 120_000  # objects and lists looked at in one body
_MAX_DEPTH = 24
_MAX_RECORDS = 2_000
_PAYLOAD_BYTES = 16_384
_LEAST_JSON = 200  # characters of JSON inside a text that can hold a vehicle
_NAMES = frozenset(("title", "make", "model", "vin", "price"))
_STRONG = frozenset(("vin", "mileage", "model", "make", "year"))
_VEHICLE_TYPES = frozenset(
    (
        "car",
        "vehicle",
        "motorizedvehicle",
        "motorcycle",
        "product",
        "individualproduct",
        "usedcar",
        "busorcoach",
        "offer",
        "motorizedbicycle",
    )
)
_CAR_TYPES = _VEHICLE_TYPES - {"product", "individualproduct", "offer"}
_TYPE_KEYS = ("@type", "type", "__typename")


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
    base = (0.95 if layer is Layer.STRUCTURED else 0.9) - 0.03 * depth
    for key, value in record.items():
        if value is None or value == "" or not isinstance(key, str) or (key[:1] == "@" and key != "@id"):
            continue
        field, rank, container = plan_of_key(key)
        if isinstance(value, dict):
            if container != "foreign":
                place = f"{locator}.{key}"
                _read_inner(
                    value, reading, layer, place, base_url, context, depth, budget, (field, rank, container), base
                )
        elif isinstance(value, list):
            if value:
                known = (field, rank) if field else None
                _read_list(key, value, known, reading, layer, f"{locator}.{key}", base_url, context, depth, budget)
        elif field:
            if context is not None or depth:
                field, rank = _in_context((field, rank), key, context, depth)
            if field:
                offer_value(reading, field, value, layer, f"{locator}.{key}", base * rank, base_url, key=key)
        elif context == "seller" and fold_key(key) in ("type", "kind"):
            offer_value(reading, "seller_type", value, layer, f"{locator}.{key}", base, base_url)


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
    base = (0.95 if layer is Layer.STRUCTURED else 0.9) - 0.03 * depth
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


def _read_mileage(
    value: dict[str, Any], reading: Reading, layer: Layer, locator: str, base: float, base_url: str
) -> None:
    unit = next(
        (value[key] for key in ("unitCode", "unitText", "unit", "units", "uom") if isinstance(value.get(key), str)),
        None,
    )
    amount = next((value[key] for key in ("value", "raw", "amount", "miles", "kilometers", "km", "formatted",
                                          "displayValue", "text")
                   if isinstance(value.get(key), (int, float, str)) and value.get(key) != ""), None)  # fmt: skip
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


def record_type(record: dict[str, Any]) -> str:
    """The folded schema.org type of a record, "" where it names none."""
    for key in _TYPE_KEYS:
        value = record.get(key)
        if isinstance(value, list):
            named = [fold_key(item) for item in value if isinstance(item, str)]
            return next((name for name in named if name in _VEHICLE_TYPES), named[0] if named else "")
        if isinstance(value, str):
            return fold_key(value)
    return ""


def record_fields(record: dict[str, Any], depth: int = 2) -> set[str]:
    """The fields that a record's own keys name, with those of objects inside it."""
    fields: set[str] = set()
    for key, value in record.items():
        if not isinstance(key, str) or value is None or value == "" or value is False:
            continue
        field, _, container = plan_of_key(key)
        if isinstance(value, (dict, list)):
            if container == "foreign":
                continue
            if field and value:
                fields.add(field)
            if (
                depth
                and container != "seller"
                and isinstance(value, dict)
                and (not field or field in ("place", "url", "title"))
            ):
                fields |= record_fields(value, depth - 1)
        elif field:
            fields.add(field)
    return fields


def _has_fields(record: dict[str, Any]) -> bool:
    """Whether a record's own keys name any field."""
    return any(record_fields({key: value}, 0) for key, value in record.items())


def is_vehicle_record(record: dict[str, Any]) -> bool:
    """Whether a record's keys are those of a vehicle offered for sale."""
    if len(record) < 3 and not any(isinstance(value, dict) for value in record.values()):
        return False
    return _is_offered(record, record_fields(record))


def _is_offered(record: dict[str, Any], fields: set[str]) -> bool:
    """Whether a record with these fields is a vehicle's."""
    if not fields & {"title", "make", "model", "vin"} or not _has_fields(record):
        return False
    priced = bool(fields & {"price", "bid", "sold_price"})
    strong = len(fields & _STRONG)
    offered = bool(fields & {"url", "remote_id", "images", "vin"})
    if (priced and strong >= 2 and offered) or (strong >= 4 and offered):
        return True
    if "title" in fields and fields & {"url", "remote_id"}:
        if priced and "mileage" in fields:
            return True
        if priced or "mileage" in fields:  # sellers withhold the price, or sell by telephone
            title = _first_text(record, "title", 2)
            return bool(title and (found := find_make_model(title)) and (found.year or found.model))
    return False


def _first_text(record: dict[str, Any], field: str, depth: int) -> str | None:
    for key, value in record.items():
        if isinstance(value, str) and isinstance(key, str) and (known := field_of_key(key)) and known[0] == field:
            return clean(value)
    if depth:
        for key, value in record.items():
            if isinstance(value, dict) and container_of_key(key) is None:
                text = _first_text(value, field, depth - 1)
                if text:
                    return text
    return None


def find_record_groups(data: Any, locator: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Lists (and objects used as lists) of vehicle records, and single records, anywhere in decoded JSON.

    A record inside a record already taken is not given again. Bounded in nodes and depth.
    """
    stack: list[tuple[Any, str, int]] = [(data, locator, 0)]
    seen_nodes = 0
    while stack:
        node, path, depth = stack.pop()
        seen_nodes += 1
        if seen_nodes > _MAX_NODES:
            return
        if isinstance(node, list):
            records = [item for item in node[:_MAX_RECORDS] if isinstance(item, dict)]
            if records and len(records) * 2 >= len(node[:_MAX_RECORDS]):
                sample = [is_vehicle_record(_unwrap(item)) for item in records[:6]]
                if sum(sample) * 2 >= len(sample) or (
                    len(records) > 6 and sum(map(is_vehicle_record, records[6:12])) >= 3
                ):
                    vehicles = [item for item in map(_unwrap, records) if is_vehicle_record(item)]
                    yield path if len(vehicles) > 1 else f"{path}[]", vehicles
                    continue
            if depth < _MAX_DEPTH:
                stack.extend(
                    (item, f"{path}[]", depth + 1)
                    for item in reversed(node[:_MAX_RECORDS])
                    if isinstance(item, (dict, list))
                )
        elif isinstance(node, dict):
            children = [
                (key, value) for key, value in node.items() if isinstance(value, (dict, list)) and isinstance(key, str)
            ]
            values = [value for _, value in children if isinstance(value, dict)]
            if len(values) >= 3 and len(values) * 2 >= len(node) and not record_fields(node, 0) & _NAMES:
                taken = [value for value in values[:_MAX_RECORDS] if is_vehicle_record(value)]
                if len(taken) >= 2 and len(taken) * 2 >= len(values) and _alike(taken[0], taken[1]):
                    yield f"{path}.*", taken
                    continue
            if depth and is_vehicle_record(node) and not _holds_group(node):
                yield path, [node]
                continue
            if depth < _MAX_DEPTH:
                children.extend(_decoded(node))
                stack.extend((value, f"{path}.{key[:40]}", depth + 1) for key, value in reversed(children))


def _decoded(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the values of an object hold that are JSON written as text, as caches of queries keep it."""
    for key, value in node.items():
        if isinstance(value, str) and len(value) > _LEAST_JSON and value[0] in "{[" and isinstance(key, str):
            try:
                yield key, orjson.loads(value)
            except orjson.JSONDecodeError:
                continue


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two records are of one shape: entries of a list, not two parts of a page."""
    return len(one.keys() & other.keys()) * 2 >= max(len(one), len(other))


def _holds_group(node: dict[str, Any]) -> bool:
    """Whether a list of several vehicle records lies just below: then this is their page, not a record."""
    for value in node.values():
        if isinstance(value, list) and len(value) >= 2:
            records = [item for item in value[:4] if isinstance(item, dict)]
            if len(records) >= 2 and all(is_vehicle_record(_unwrap(item)) for item in records):
                return True
    return False


def _unwrap(item: dict[str, Any]) -> dict[str, Any]:
    """The record inside an envelope such as {"type": "listing", "node": {…}}; else the item itself."""
    inner = [value for value in item.values() if isinstance(value, dict)]
    if len(inner) == 1 and len(item) <= 5 and len(inner[0]) > len(item) * 2 and is_vehicle_record(inner[0]):
        return inner[0]
    if 0 < len(inner) <= 4 and len(item) <= 12 and not is_vehicle_record(item):
        vehicles = [value for value in inner if is_vehicle_record(value)]
        if len(vehicles) == 1:
            return vehicles[0]
    return item


def is_linked_vehicle(record: dict[str, Any]) -> bool:
    """Whether a JSON-LD record is a vehicle offered: by its keys, or by its type if it has a name and an address, an
    id or a mileage. A car without any of these is an example or a search's subject."""
    if _offers_many(record):
        return False
    fields = record_fields(record)
    if record_type(record) in _CAR_TYPES and "title" in fields and fields & {"url", "remote_id", "mileage", "price"}:
        return True
    return _is_offered(record, fields)


def _offers_many(record: dict[str, Any]) -> bool:
    """Whether a record stands for several vehicles at once: a category, with the number and range of its offers."""
    offers = record.get("offers")
    if not isinstance(offers, dict):
        return False
    count, low, high = offers.get("offerCount"), offers.get("lowPrice"), offers.get("highPrice")
    return (str(count).isdigit() and int(str(count)[:9]) > 1) or (low is not None and high is not None and low != high)


def linked_records(data: Any) -> Iterator[dict[str, Any]]:
    """The vehicles of a JSON-LD block: in arrays, ``@graph``, item lists, offers, main entities; bounded in depth."""
    stack: list[tuple[Any, int]] = [(data, 0)]
    budget = 20_000
    while stack and budget:
        budget -= 1
        node, depth = stack.pop()
        if isinstance(node, list):
            if depth < 10:
                stack.extend((item, depth + 1) for item in reversed(node[:_MAX_RECORDS]))
        elif isinstance(node, dict):
            kind = record_type(node)
            if kind == "offer" and isinstance(node.get("itemOffered"), dict):
                yield {
                    **node["itemOffered"],
                    "offers": {key: value for key, value in node.items() if key != "itemOffered"},
                }
            elif kind in _VEHICLE_TYPES and kind != "offer":
                yield node
            elif depth < 10:
                for key in ("@graph", "itemListElement", "item", "mainEntity", "mainEntityOfPage", "itemOffered",
                            "offers", "about", "makesOffer",
                            "hasOfferCatalog", "containsPlace", "subjectOf"):  # fmt: skip
                    inner = node.get(key)
                    if isinstance(inner, (dict, list)):
                        stack.append((inner, depth + 1))
