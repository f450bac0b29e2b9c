"""What an observation makes of what was known about its advertisement."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec

from fill_pipeline.db.listings import ListingRow, QuarantinedValue
from fill_pipeline.extract.listing import Layer, ListingStatus
from fill_pipeline.vehicles.odometer import is_typo_beside
from fill_pipeline.vehicles.validate import Finding, Verdict
from fill_pipeline.vehicles.vin import same_make

_NOT_CONTENT = frozenset(
    [
        "id",
        "source_id",
        "source",
        "remote_id",
        "images",
        "posted_at",
        "status",
        "first_seen_at",
        "first_cycle",
        "changed_at",
        "changed_cycle",
        "raw",
        "raw_payload",
        "provenance",
        "quarantine",
        "completeness",
        "content_hash",
        "archive_id",
        "vehicle_id",
        "last_seen_at",
        "last_cycle",
        "held",
    ]
)
_CONTENT = tuple(f.name for f in fields(ListingRow) if f.name not in _NOT_CONTENT)
_content = attrgetter(*_CONTENT)
"""The fields whose change is a change of what the listing says (its status is compared beside them). Pictures
count by path; posting time, raw words and evidence do not count: they change without the advertisement changing."""

_KEPT = tuple(
    f
    for f in _CONTENT
    if f not in ("url", "price", "currency", "price_kind", "mileage", "mileage_unit", "vin", "vin_status")
)
_FALL_KM = 800
_FALL_SHARE = 0.02
_MAJORITY = 3
_encode = msgspec.json.Encoder().encode


def content_hash(row: ListingRow) -> UUID:
    """What the listing says, in 128 bits; equal for equal content whatever the evidence."""
    pictures = [url.partition("?")[0] for url in row.images]
    return UUID(bytes=hashlib.md5(_encode((_content(row), pictures, row.quarantine)), usedforsecurity=False).digest())


def revise(old: ListingRow, new: ListingRow) -> ListingRow:
    """The stored listing after a new observation of it; ``new`` carries the time in ``changed_at``.

    - A value the new observation states replaces the old one; one it does not state stays: an index
      card says less than a detail page, and a broken page says nothing.
    - A price is taken back only where the page puts other words in its place ("Call for price"),
      never where it was quarantined; the mileage is never taken back.
    - What only a language model read never replaces what another layer once read.
    - A mileage that fell is quarantined and the old one stays, until three cycles in a row agree on it or the old
      one is impossible beside it: then the old one was a typing error, and is quarantined.
    - An observation older than the stored one only fills what is missing, unless it is the same page read again: what
      it states now was misread before. What became of the advertisement since stands.
    - Another VIN or make under the same id is another car: nothing of the old one stays.
    """
    if is_other_car(old, new):
        return replace(
            new, id=old.id, first_seen_at=old.first_seen_at, first_cycle=old.first_cycle, vehicle_id=old.vehicle_id
        )
    if new.changed_at < old.changed_at:
        if not _is_same_page(old, new):
            return _fill_gaps(old, new)
        since = {name: getattr(old, name) for name in ("status", "changed_at", "changed_cycle")}
        new = replace(new, **since)
    row = replace(
        new,
        id=old.id,
        first_seen_at=min(old.first_seen_at, new.first_seen_at),
        first_cycle=old.first_cycle,
        vehicle_id=old.vehicle_id,
        quarantine=dict(new.quarantine),
    )
    inherited: list[str] = []
    _doubt_model(old, row)
    for name in _KEPT:
        if getattr(row, name) is None and getattr(old, name) is not None:
            setattr(row, name, getattr(old, name))
            inherited.append(name)
    if row.vin is None and old.vin is not None:
        row.vin, row.vin_status = old.vin, old.vin_status
        inherited.append("vin")
    if row.price is None and old.price is not None and ("price" in row.quarantine or not row.raw.get("price")):
        row.price, row.currency, row.price_kind = old.price, old.currency, old.price_kind
        inherited.append("price")
    _keep_mileage(old, row, inherited)
    row.images = row.images or old.images
    row.posted_at = old.posted_at or row.posted_at
    row.raw_payload = row.raw_payload or old.raw_payload
    row.provenance = _evidence(old.provenance, new.provenance, inherited)
    row.raw = {**{k: v for k, v in old.raw.items() if k in inherited}, **row.raw}
    return row


def _is_same_page(old: ListingRow, new: ListingRow) -> bool:
    return new.archive_id is not None and new.archive_id == old.archive_id


def _doubt_model(old: ListingRow, row: ListingRow) -> None:
    """Take back what a language model read where another layer had read the field before."""
    for name, evidence in row.provenance.items():
        before = old.provenance.get(name)
        if evidence[0] == Layer.MODEL and before is not None and before[0] != Layer.MODEL and getattr(old, name):
            setattr(row, name, None)
            row.raw = {field: words for field, words in row.raw.items() if field != name}


def newly_quarantined(row: ListingRow, old: ListingRow | None) -> list[QuarantinedValue]:
    """What stands quarantined in a listing and did not in its former row, as it is kept for good."""
    before = old.quarantine if old is not None else {}
    return [
        QuarantinedValue(row.id, name, found.get("value"), found["rule"], found["reason"])
        for name, found in row.quarantine.items()
        if (found.get("value"), found["rule"]) != (before.get(name, {}).get("value"), before.get(name, {}).get("rule"))
    ]


def is_other_car(old: ListingRow, new: ListingRow) -> bool:
    """Whether an advertisement's id was given to another car."""
    if old.make and new.make and not same_make(old.make, new.make):
        return True
    if old.vin and new.vin and old.vin != new.vin:
        return not is_corrected_vin(old, new)
    return False


def is_corrected_vin(old: ListingRow, new: ListingRow) -> bool:
    """Whether a changed VIN is a typing error put right: all but two characters and the car itself are the same."""
    if not old.vin or not new.vin or len(old.vin) != len(new.vin):
        return False
    wrong = sum(a != b for a, b in zip(old.vin, new.vin, strict=True))
    return (
        wrong <= 2
        and (old.year, old.model) == (new.year, new.model)
        and (old.mileage or 0) // 1000 == (new.mileage or 0) // 1000
    )


def _keep_mileage(old: ListingRow, row: ListingRow, inherited: list[str]) -> None:
    if old.mileage is None or (row.mileage is not None and _is_same_page(old, row)):
        return
    if row.mileage is not None and row.mileage_unit == old.mileage_unit and _fell(old.mileage, row.mileage):
        times = _times_seen(old, row)
        was = f"was {old.mileage} {old.mileage_unit or ''}".rstrip()
        if times >= _MAJORITY or is_typo_beside(old, row):
            why = "no car is driven that far in its years" if times < _MAJORITY else f"{times} later observations agree"
            mistyped = Finding(
                "mileage_typo", Verdict.QUARANTINE, "mileage", old.mileage, f"now {row.mileage}, and {why}"
            )
            row.quarantine["mileage"] = mistyped.as_json()
            return
        finding = Finding("mileage_falling", Verdict.QUARANTINE, "mileage", row.mileage, was)
        row.quarantine["mileage"] = finding.as_json() | {"times": times, "cycle": row.changed_cycle}
        row.mileage = None
    if row.mileage is None:
        row.mileage, row.mileage_unit = old.mileage, old.mileage_unit
        inherited.append("mileage")


def _fell(before: int, now: int) -> bool:
    return before - now > max(_FALL_KM, before * _FALL_SHARE)


def _times_seen(old: ListingRow, row: ListingRow) -> int:
    """In how many cycles in a row this reading, or a little more, stood against the stored one; this one counts."""
    earlier = old.quarantine.get("mileage", {})
    value = earlier.get("value")
    if earlier.get("rule") != "mileage_falling" or not isinstance(value, int) or row.mileage is None:
        return 1
    if _fell(value, row.mileage) or _fell(row.mileage, value):
        return 1
    times = int(earlier.get("times", 1))
    return times if earlier.get("cycle") == row.changed_cycle else times + 1


def _fill_gaps(old: ListingRow, new: ListingRow) -> ListingRow:
    row = replace(old, quarantine={**new.quarantine, **old.quarantine})
    filled: list[str] = []
    for name in _KEPT:
        if getattr(old, name) is None and getattr(new, name) is not None:
            setattr(row, name, getattr(new, name))
            filled.append(name)
    for first, *rest in (("price", "currency", "price_kind"), ("mileage", "mileage_unit"), ("vin", "vin_status")):
        if getattr(old, first) is None and getattr(new, first) is not None and first not in old.raw:
            for name in (first, *rest):
                setattr(row, name, getattr(new, name))
            filled.append(first)
    if not old.images and new.images:
        row.images = new.images
        filled.append("images")
    row.first_seen_at = min(old.first_seen_at, new.first_seen_at)
    row.provenance = _evidence(new.provenance, old.provenance, filled)
    row.raw = {**{k: v for k, v in new.raw.items() if k in filled}, **old.raw}
    return row


def _evidence(
    other: dict[str, Sequence[Any]], own: dict[str, Sequence[Any]], taken: list[str]
) -> dict[str, Sequence[Any]]:
    evidence = dict(own)
    for name in taken:
        evidence.pop(name, None)
        if name in other:
            evidence[name] = other[name]
    return evidence


def status_of(stated: str | None) -> str:
    """The status an observation gives: sold where the page says so, else active, since it was seen."""
    return (
        ListingStatus.SOLD
        if stated == ListingStatus.SOLD
        else ListingStatus.DELISTED
        if stated == ListingStatus.DELISTED
        else ListingStatus.ACTIVE
    )
