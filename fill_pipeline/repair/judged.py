"""Archived pages read again without the source's own rules, and of each value whether it turned out right.

A value is judged by what a general rule says of it, what its vehicle's VIN decodes to, what other sources state of the
same vehicle, and what the listing says since it was read better (from its own page, say). Most values nobody judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from fill_pipeline.crawl.archive import ArchiveError, ArchiveReader, ArchiveRef
from fill_pipeline.crawl.choices import DetailPolicy
from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db import improvement, learning, rules
from fill_pipeline.db.archive import ArchivedKind, PageRow
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.rules import Stored
from fill_pipeline.drain.page import reading_of
from fill_pipeline.drain.read import listings_on
from fill_pipeline.drain.replay import raw_of
from fill_pipeline.drain.work import Source, Work
from fill_pipeline.extract.listing import Layer, Listing
from fill_pipeline.extract.urls import id_in_url
from fill_pipeline.vehicles.clean import Cleaned, clean
from fill_pipeline.vehicles.vin import same_value

PAGES = 200
CYCLES = 12
MOST_LISTINGS = 600
CLEARLY = 0.05  # so much more confidence makes one reading better than another
FAR_OFF = 3.0  # so many times, or this part, of what others ask contradicts a value
NEAR = 1.25
AMOUNTS = frozenset(("price", "mileage"))
JUDGED = (
    "vin", "year", "make", "model", "price", "mileage", "body_style", "fuel_type", "transmission", "drivetrain",
    "doors", "postal_code", "remote_id",
)  # fmt: skip
"""The fields of which two readings can be compared: names and descriptions are worded in many ways."""
_DETAIL_ONLY = {DetailPolicy.ALWAYS: ArchivedKind.DETAIL, DetailPolicy.NEVER: ArchivedKind.INDEX}


class Judgement(StrEnum):
    """What became known of a value."""

    RIGHT = "right"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class JudgedValue:
    """A value as an archived page gives it; ``confidence`` is 0 to 1, ``car`` the listing without what is wrong."""

    field: str
    value: Any
    confidence: float
    judgement: Judgement
    url: str
    car: Listing


@dataclass(frozen=True, slots=True)
class _Look:
    """A listing on an archived page, as extracted and as cleaned."""

    row: PageRow
    read: Listing
    cleaned: Cleaned

    @property
    def url(self) -> str:
        """Its own address, or that of the page it stands on."""
        return self.cleaned.listing.url or self.row.url

    @property
    def remote_id(self) -> str:
        """The number under which it is stored."""
        if self.cleaned.listing.remote_id:
            return self.cleaned.listing.remote_id
        try:
            return url_hash(self.url).hex
        except ValueError:
            return ""


def judged_values(conn: Connection, work: Work, source: Source) -> list[JudgedValue]:
    """Every value of the source's latest archived pages (some hundreds of listings at most), judged."""
    looks = list(_looks(conn, work, source))
    ids = {look.remote_id for look in looks}
    stored = rules.stored_values(conn, source.id, sorted(ids))
    vins = {look.cleaned.listing.vin for look in looks if look.cleaned.listing.vin}
    elsewhere = rules.stated_elsewhere(conn, sorted(vins), but=source.id)
    addresses: dict[str, set[str]] = {}
    for look in looks:
        addresses.setdefault(look.remote_id, set()).add(look.url)
    shared = {number for number, urls in addresses.items() if len(urls) > 1}
    found: list[JudgedValue] = []
    for look in looks:
        others = elsewhere.get(look.cleaned.listing.vin or "", ())
        found += _values(look, stored.get(look.remote_id), others, look.remote_id in shared)
    return found


def settled(conn: Connection, source: Source, value: JudgedValue) -> JudgedValue:
    """The value, judged also by what other sources ask for the same make, model and year."""
    if value.judgement is not Judgement.UNKNOWN or value.field not in AMOUNTS:
        return value
    car = value.car
    usual = learning.usual(conn, value.field, car.make, car.model, car.year, but=source.id)
    if usual is None:
        return value
    far = not usual / FAR_OFF < value.value < usual * FAR_OFF
    return replace(value, judgement=Judgement.WRONG if far else Judgement.RIGHT)


def _looks(conn: Connection, work: Work, source: Source) -> Iterator[_Look]:
    settings, seen = work.settings, 0
    reading = reading_of(source, settings)
    kind = _DETAIL_ONLY.get(source.config.detail)
    with ArchiveReader(settings.archive_root) as archive:
        for row in improvement.recent_pages(conn, source.id, kind=kind, cycles=CYCLES, n=PAGES):
            if seen >= MOST_LISTINGS or work.stopping():
                return
            try:
                raw = raw_of(row, archive.read(ArchiveRef(row.file, row.offset, row.length)))
            except (ArchiveError, OSError):
                continue
            for read in listings_on(raw, reading):
                cleaned = clean(
                    read, now=row.fetched_at, min_confidence=settings.min_confidence, core_fields=settings.core_fields
                )
                if cleaned.listing.vin or cleaned.listing.make:
                    seen += 1
                    yield _Look(row, read, cleaned)


def _values(
    look: _Look, stored: Stored | None, elsewhere: Sequence[dict[str, Any]], shared: bool
) -> Iterator[JudgedValue]:
    for name in JUDGED:
        evidence, held = look.read.provenance.get(name), look.cleaned.quarantine.get(name)
        value = getattr(look.cleaned.listing, name) if held is None else held["value"]
        if evidence is None or not value or (held is not None and held["rule"] == "confidence"):
            continue
        if held is not None:
            judgement = Judgement.WRONG
        elif name == "remote_id":
            judgement = _judge_number(value, look.url, shared)
        else:
            judgement = _judge(look, name, value, evidence.confidence, stored, elsewhere)
        yield JudgedValue(name, value, evidence.confidence, judgement, look.url, look.cleaned.listing)


def _judge_number(number: str, url: str, shared: bool) -> Judgement:
    """A listing's number is right where its address holds it, and wrong where other addresses have it too."""
    if number == id_in_url(url):
        return Judgement.RIGHT
    return Judgement.WRONG if shared else Judgement.UNKNOWN


def _judge(
    look: _Look,
    name: str,
    value: Any,
    confidence: float,
    stored: Stored | None,
    elsewhere: Sequence[dict[str, Any]],
) -> Judgement:
    if name in look.cleaned.agreement:
        return _verdict(look.cleaned.agreement[name])
    others = [other[name] for other in elsewhere if other.get(name) is not None]
    if stored is not None and stored.archive_id != look.row.id:
        layer, _, better = stored.provenance.get(name, (None, None, 0.0))
        if layer not in (None, Layer.HINT) and better > confidence + CLEARLY and stored.values.get(name) is not None:
            others.insert(0, stored.values[name])
    told = [_compare(name, value, other) for other in others]
    return next((one for one in told if one is not Judgement.UNKNOWN), Judgement.UNKNOWN)


def _compare(name: str, value: Any, other: Any) -> Judgement:
    """Whether a value can be right beside another statement; amounts change, so only far ones contradict."""
    if name not in AMOUNTS:
        return _verdict(same_value(name, value, other))
    low, high = sorted((max(1, int(value)), max(1, int(other))))
    if high <= NEAR * low:
        return Judgement.RIGHT
    return Judgement.WRONG if high >= FAR_OFF * low else Judgement.UNKNOWN


def _verdict(agrees: bool) -> Judgement:
    return Judgement.RIGHT if agrees else Judgement.WRONG
