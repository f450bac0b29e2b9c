"""Which of the records on a page is meant, and which records of two lists are the same advertisement."""

from __future__ import annotations

from typing import Any

from fill_pipeline.extract.evidence import CORE_FIELDS, Reading
from fill_pipeline.extract.listing import Layer
from fill_pipeline.extract.records import read_record
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


def join(first: list[Reading], second: list[Reading]) -> list[Reading]:
    """Complete the readings of one list from those of another, by VIN, id, address or equal title, year and price."""
    index: dict[tuple[str, str], Reading] = {}
    clashes: set[tuple[str, str]] = set()
    for reading in second:
        for key in identities(reading):
            if index.setdefault(key, reading) is not reading and key[0] == "title":
                clashes.add(key)
    for reading in first:
        for key in identities(reading):
            partner = index.get(key)
            if partner is not None and key not in clashes:
                reading.absorb(partner, 0.95)
                break
    return first


def identities(reading: Reading) -> list[tuple[str, str]]:
    """What tells an advertisement from others: VIN, id, address, or title with price and mileage."""
    out: list[tuple[str, str]] = []
    for name in ("vin", "remote_id", "url"):
        value = reading.value(name)
        if value:
            out.append((name, str(value)))
    link = reading.value("url")
    identity = id_in_url(link) if link else None
    if identity:
        out.append(("remote_id", identity))
    title, price = reading.value("title"), reading.value("price")
    if title and price:
        out.append(("title", f"{title.lower()}|{price}|{reading.value('mileage')}"))
    return out
