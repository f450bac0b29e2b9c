"""Which of the records on a page is meant, and which records of two lists are the same advertisement."""

from __future__ import annotations

from typing import Any

from fill_pipeline.extract.evidence import CORE_FIELDS, Reading
from fill_pipeline.extract.keys import field_of_key
from fill_pipeline.extract.listing import Layer
from fill_pipeline.extract.record_reader import read_record
from fill_pipeline.extract.urls import id_in_url


def best_group(groups: list[tuple[str, list[dict[str, Any]]]], url: str, kind: str) -> tuple[str, list[dict[str, Any]]]:
    """The records that a page is about: on a search page the longest list, on a detail page the one that the address
    names, else the first that stands alone."""
    identity = id_in_url(url)
    if kind != "search" and identity:
        for locator, records in groups:
            for record in records:
                if len(groups) + len(records) > 2 and kind == "detail" and mentions(record, identity):
                    return locator, [record]
    singles = [(locator, records) for locator, records in groups if len(records) == 1]
    if kind == "detail" and singles:
        return max(singles, key=lambda group: richness(group[1][0]))
    return max(groups, key=lambda group: (len(group[1]) > 1, len(group[1]) * (1 + richness(group[1][0]) / 20)))


def mentions(record: dict[str, Any], identity: str) -> bool:
    """Whether one of a record's own values holds an id."""
    return any(isinstance(value, (str, int)) and identity in str(value)[-300:] for value in record.values())


def richness(record: dict[str, Any]) -> int:
    """How many of the fields that matter a record gives."""
    reading = Reading()
    read_record(record, reading, layer=Layer.STATE, locator="", base_url="http://x/")
    return reading.count(*CORE_FIELDS, "transmission", "fuel_type", "exterior_color", "url", "city")


def join(first: list[Reading], second: list[Reading]) -> int:
    """Complete the readings of one list from those of another, by VIN, id, address or equal title, year and price; two
    lists of one length that tell the same vehicles in the same order, by their order. How many were completed."""
    index: dict[tuple[str, str], Reading] = {}
    clashes: set[tuple[str, str]] = set()
    for reading in second:
        for key in identities(reading):
            known = index.setdefault(key, reading)
            if known is not reading and (key[0] == "title" or (key[0] == "remote_id" and _contradict(known, reading))):
                clashes.add(key)
    joined = 0
    for reading in first:
        partner = next((index[key] for key in identities(reading) if key in index and key not in clashes), None)
        if partner is not None:
            _complete(reading, partner)
            joined += 1
    if joined * 2 < len(first) == len(second) and _in_step(first, second):
        for reading, partner in zip(first, second, strict=True):
            _complete(reading, partner)
        joined = len(first)
    return joined


def _complete(reading: Reading, partner: Reading) -> None:
    reading.aliases.update(identities(partner))
    reading.absorb(partner, 0.95)


_TELLING = ("vin", "price", "mileage", "year")


def _contradict(one: Reading, other: Reading) -> bool:
    return any(one.has(name) and other.has(name) and one.value(name) != other.value(name) for name in _TELLING)


def _in_step(first: list[Reading], second: list[Reading]) -> bool:
    """Whether two lists tell the same vehicles in the same order: most pairs agree in a price or mileage, and hardly
    one contradicts itself (a net price beside a gross one)."""
    agreeing = contradicting = 0
    for one, other in zip(first, second, strict=True):
        if _contradict(one, other):
            contradicting += 1
        elif any(one.has(name) and other.has(name) for name in ("vin", "price", "mileage")):
            agreeing += 1
    return agreeing * 5 >= len(first) * 4 and contradicting * 10 <= len(first)


def identities(reading: Reading) -> list[tuple[str, str]]:
    """What tells an advertisement from others: VIN, the ids its record gives, address, or title with price and
    mileage; and what it was told to be known by elsewhere."""
    out: list[tuple[str, str]] = []
    for name in ("vin", "remote_id", "url"):
        value = reading.value(name)
        if value:
            out.append((name, str(value)))
    for key, value in (reading.payload or {}).items():
        known = field_of_key(key) if isinstance(key, str) and isinstance(value, (str, int)) else None
        if known and known[0] == "remote_id" and len(str(value)) > 4:
            out.append(("remote_id", str(value)))
    link = reading.value("url")
    identity = id_in_url(link) if link else None
    if identity:
        out.append(("remote_id", identity))
    title, price = reading.value("title"), reading.value("price")
    if title and price:
        out.append(("title", f"{title.lower()}|{price}|{reading.value('mileage')}"))
    out.extend(reading.aliases)
    return out
