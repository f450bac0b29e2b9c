"""From a page as received to listings fit to store: decode, extract, take the index page's hint, clean. Pure, unless
somebody is given who is asked about the gaps that stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from fill_pipeline.crawl.choices import DetailPolicy
from fill_pipeline.crawl.decode import DecodeError, decode_bytes
from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db.archive import ArchivedKind
from fill_pipeline.drain.page import WRITTEN, RawPage, Reading
from fill_pipeline.extract.listing import Evidence, Layer, Listing
from fill_pipeline.extract.page import extract_page
from fill_pipeline.extract.result import PageKind, PageResult
from fill_pipeline.extract.urls import id_in_url
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.completeness import filled, knowable
from fill_pipeline.vehicles.source_rules import set_aside
from fill_pipeline.vehicles.store import ListingToWrite

MAX_DECODED_BYTES = 32_000_000
COMPLETE = 1.0
HINT_CONFIDENCE = 0.6  # the card of an index page is read in a hurry, the listing's own page decides
_NOT_HINTED = frozenset({"url", "raw", "raw_payload", "provenance", WRITTEN})

_ASKED_ABOUT = frozenset({"year", "make", "model", "vin", "price", "mileage", "place"})

Ask = Callable[[Listing, bytes, str], bool]
"""Fills gaps of a listing from its page (decoded body, content type); whether it filled any."""


class SkipReason(StrEnum):
    """Why a fetched page gave nothing to store."""

    DECODE = "decode"  # its content encoding could not be undone
    NO_LISTING = "no_listing"  # it shows no vehicle for sale
    NOT_A_VEHICLE = "not_a_vehicle"  # it shows something, without make, model or VIN


@dataclass(slots=True)
class ReadPage:
    """What a page gave: rows to write, or why there are none."""

    page: RawPage
    rows: list[ListingToWrite] = field(default_factory=list)
    skipped: SkipReason | None = None
    reason: str | None = None


def read_page(page: RawPage, reading: Reading, *, now: datetime, ask: Ask | None = None) -> ReadPage:
    """Read one listing page. Never raises on what a page may contain.

    ``ask`` is asked only about a page of one vehicle whose core fields the other layers leave open.
    """
    body = _decoded(page)
    if isinstance(body, ReadPage):
        return body
    found = _extracted(body, page, reading)
    read = _read(page, found, reading, now)
    if (
        ask is not None
        and found.kind is PageKind.DETAIL
        and _has_gaps(found.listings, read.rows, reading)
        and ask(found.listings[0], body, page.content_type)
    ):
        read = _read(page, found, reading, now)
    return read


def read_pages(pages: Sequence[RawPage], readings: Mapping[UUID, Reading], *, now: datetime) -> list[ReadPage]:
    """Read listing pages, as ``read_page`` reads one without asking, each by the reading of its source.

    All are extracted before the first is cleaned: what a processor does many times in a row costs it less, here a
    twelfth of reading.
    """
    found: list[PageResult | ReadPage] = []
    for page in pages:
        body = _decoded(page)
        found.append(body if isinstance(body, ReadPage) else _extracted(body, page, readings[page.source_id]))
    return [
        one if isinstance(one, ReadPage) else _read(page, one, readings[page.source_id], now)
        for page, one in zip(pages, found, strict=True)
    ]


def _decoded(page: RawPage) -> bytes | ReadPage:
    """The page's body, or what comes of a page whose body cannot be decoded."""
    try:
        return decode_bytes(page.body, page.content_encoding, MAX_DECODED_BYTES)
    except DecodeError as error:
        return ReadPage(page, skipped=SkipReason.DECODE, reason=str(error))


def _extracted(body: bytes, page: RawPage, reading: Reading) -> PageResult:
    """What the page says, and what the card that led to it said beside that."""
    # What a card with a vehicle links to is that vehicle's page; telling the kinds apart is the dear part of reading.
    kind = "detail" if page.hint and WRITTEN in page.hint else "auto"
    found = extract_page(body, url=page.url, content_type=page.content_type, kind=kind, rules=reading.rules)
    if len(found.listings) == 1 and found.kind is PageKind.DETAIL:
        number_by_address(found.listings[0], page.url)
    if page.hint and len(found.listings) == 1:
        take_hint(found.listings[0], page.hint)
    return found


def _read(page: RawPage, found: PageResult, reading: Reading, now: datetime) -> ReadPage:
    rows = rows_to_write(found.listings, page, reading, now=now)
    if rows:
        return ReadPage(page, rows)
    if found.listings:
        return ReadPage(page, skipped=SkipReason.NOT_A_VEHICLE, reason="no make, model or VIN could be read")
    return ReadPage(page, skipped=SkipReason.NO_LISTING, reason=found.reason or f"a page of kind {found.kind}")


def listings_on(page: RawPage, reading: Reading) -> list[Listing]:
    """The listings of an archived page as they are extracted, with their evidence, before anything is cleaned."""
    body = _decoded(page)
    if isinstance(body, ReadPage):
        return []
    if page.kind != ArchivedKind.INDEX:
        return _extracted(body, page, reading).listings
    return extract_page(body, url=page.url, content_type=page.content_type, kind="search", rules=reading.rules).listings


def _has_gaps(listings: Sequence[Listing], rows: Sequence[ListingToWrite], reading: Reading) -> bool:
    """Whether a core field that words can state is missing: from the page, and from what follows from its VIN."""
    if len(listings) != 1:
        return False
    records = [listings[0], *rows]
    return any(
        knowable(records[-1], name) and not any(filled(record, name) for record in records)
        for name in reading.core_fields
        if name in _ASKED_ABOUT
    )


def read_cards(page: RawPage, policy: DetailPolicy, reading: Reading) -> ReadPage:
    """Read an index page for the listings its cards give by themselves."""
    body = _decoded(page)
    if isinstance(body, ReadPage):
        return body
    found = extract_page(body, url=page.url, content_type=page.content_type, kind="search", rules=reading.rules)
    return ReadPage(page, rows_of_cards(found.listings, page, policy, reading))


def rows_of_cards(
    cards: Sequence[Listing], page: RawPage, policy: DetailPolicy, reading: Reading
) -> list[ListingToWrite]:
    """The cards as listings of their own, also those whose page is still to be fetched; none if the policy says so."""
    return [] if policy is DetailPolicy.ALWAYS else rows_to_write(cards, page, reading, now=page.fetched_at)


def says_enough(row: ListingToWrite) -> bool:
    """Whether a card has all that is asked of a listing, so that its page need not be fetched."""
    return row.completeness >= COMPLETE


def rows_to_write(
    listings: Sequence[Listing], page: RawPage, reading: Reading, *, now: datetime
) -> list[ListingToWrite]:
    """Clean listings and dress them for the writer; those that name no vehicle are left out."""
    rows = []
    for listing in listings:
        cleaned = clean(listing, now=now, min_confidence=reading.min_confidence, core_fields=reading.core_fields)
        set_aside(cleaned, reading.own, reading.core_fields)
        good = cleaned.listing
        if good.vin is None and (good.make is None or (good.model is None and good.year is None)):
            continue
        if good.url is None:
            good.url = page.url
        if good.remote_id is None:
            good.remote_id = _id_from_url(good.url)
        rows.append(
            ListingToWrite.of(
                cleaned,
                source_id=page.source_id,
                source=reading.slug,
                archive_id=page.archive_id,
                queue_id=page.queue_id,
            )
        )
    return rows


def hint_of(card: Listing) -> dict[str, Any]:
    """What a card said, as the queue keeps it."""
    said: dict[str, Any] = msgspec.to_builtins(card)
    return {name: value for name, value in said.items() if name not in _NOT_HINTED and value not in (None, [], {})}


def number_by_address(listing: Listing, url: str) -> None:
    """Give a listing the number in its page's address, as its card has it, rather than one that is only on the page.

    A stock number is given again when its car is sold, and on a marketplace several dealers have the same.
    """
    number = id_in_url(url)
    if number is not None and listing.remote_id is not None and listing.remote_id not in url:
        listing.remote_id = number


def take_hint(listing: Listing, hint: dict[str, Any]) -> None:
    """Fill what the page did not say from what its card had said; the card's identity stays the listing's."""
    try:
        card = msgspec.convert(hint, Listing, strict=False)
    except msgspec.ValidationError:
        return
    listing.remote_id = card.remote_id or listing.remote_id
    for name in hint:
        if name in _NOT_HINTED or getattr(listing, name, None) not in (None, []):
            continue
        value = getattr(card, name, None)
        if value in (None, []):
            continue
        setattr(listing, name, value)
        listing.provenance[name] = Evidence(Layer.HINT, "card", HINT_CONFIDENCE)


def _id_from_url(url: str) -> str:
    try:
        return url_hash(url).hex
    except ValueError:
        return url[:200]
