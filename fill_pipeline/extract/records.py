"""Records (JSON objects) that describe vehicles, found by their structure and by what their keys mean."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from fill_pipeline.extract.cleaning import clean
from fill_pipeline.extract.gazetteer import find_make_model
from fill_pipeline.extract.keys import MOST_KEYS, container_of_key, field_of_key, fold_key, plan_of_key

_MAX_NODES = 120_000  # objects and lists looked at in one body
_MAX_DEPTH = 24
_MAX_RECORDS = 2_000
_LEAST_JSON = 200  # characters of JSON inside a text that can hold a vehicle
_NAMES = frozenset(("title", "make", "model", "vin", "price"))
_TITLE = frozenset(("title",))
_OFFERED = frozenset(("url", "remote_id", "mileage", "price"))
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
    for key, field, held, inner in _telling(tuple(record)) if len(record) <= MOST_KEYS else _told_by(tuple(record)):
        value = record[key]
        if isinstance(value, (dict, list)):
            if held and value:
                fields.add(field)
            if inner and depth and isinstance(value, dict):
                fields |= record_fields(value, depth - 1)
        elif field and not (value is None or value == "" or value is False):
            fields.add(field)
    return fields


def _told_by(keys: tuple[str, ...]) -> list[tuple[str, str, bool, bool]]:
    """Of an object's keys those that name a field or may hold some: the key, the field of a plain value, whether an
    object or a list of it has that field too, and whether an object's own keys count."""
    told = []
    for key in keys:
        field, _, container = plan_of_key(key) if isinstance(key, str) else ("", 0.0, None)
        held = bool(field) and container != "foreign"
        inner = container not in ("foreign", "seller") and field in ("", "place", "url", "title")
        if field or inner:
            told.append((key, field, held, inner))
    return told


_telling = lru_cache(maxsize=4096)(_told_by)  # the records of one source have the same keys


def is_vehicle_record(record: dict[str, Any]) -> bool:
    """Whether a record's keys are those of a vehicle offered for sale."""
    if len(record) < 3 and not any(isinstance(value, dict) for value in record.values()):
        return False
    return _is_offered(record, record_fields(record))


def _is_offered(record: dict[str, Any], fields: set[str]) -> bool:
    """Whether a record with these fields is a vehicle's."""
    if not fields & {"title", "make", "model", "vin"} or not record_fields(record, 0):
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
    typed = record_type(record) in _CAR_TYPES
    if typed and len(record) <= MOST_KEYS and _says(record, _TITLE) and _says(record, _OFFERED):
        return True  # its own keys are enough
    fields = record_fields(record)
    if typed and fields & _TITLE and fields & _OFFERED:
        return True
    return _is_offered(record, fields)


def _says(record: dict[str, Any], wanted: frozenset[str]) -> bool:
    """Whether a plain value among a record's own is of one of some fields."""
    for key in _keys_of(tuple(record), wanted):
        value = record[key]
        if isinstance(value, (str, int, float)) and value != "" and value is not False:
            return True
    return False


@lru_cache(maxsize=1024)
def _keys_of(keys: tuple[str, ...], wanted: frozenset[str]) -> tuple[str, ...]:
    """Those of an object's keys that name one of some fields."""
    return tuple(key for key, field, _, _ in _telling(keys) if field in wanted)


def _offers_many(record: dict[str, Any]) -> bool:
    """Whether a record stands for several vehicles at once: a category, with the number and range of its offers."""
    offers = record.get("offers")
    if not isinstance(offers, dict):
        return False
    count, low, high = offers.get("offerCount"), offers.get("lowPrice"), offers.get("highPrice")
    several = count is not None and str(count).isdigit() and int(str(count)[:9]) > 1
    return several or (low is not None and high is not None and low != high)


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
