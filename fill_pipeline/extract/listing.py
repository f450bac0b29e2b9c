"""The listing: what one page says about one vehicle for sale, with the evidence for each field."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class PriceKind(StrEnum):
    """What a price means."""

    ASKING = "asking"  # the seller wants this much
    SOLD = "sold"  # the page says it was sold for this much
    BID = "bid"  # the highest bid of an auction still open
    RESERVE = "reserve"  # the highest bid of an auction that ended below its reserve


class ListingStatus(StrEnum):
    """Whether the advertisement still stands."""

    ACTIVE = "active"  # offered when last observed
    DELISTED = "delisted"  # no longer observed; never assumed sold
    SOLD = "sold"  # the page itself said so


class Layer(StrEnum):
    """Which reading of the page gave a value, most trusted first."""

    RULES = "rules"  # the source's own CSS or JMESPath rules
    STRUCTURED = "structured"  # JSON-LD, microdata, RDFa, OpenGraph
    STATE = "state"  # embedded application state, or the body of a JSON API
    LABELS = "labels"  # label and value in tables, lists, dl
    CARD = "card"  # a repeated subtree of a search page
    TITLE = "title"  # title grammar
    TEXT = "text"  # free text
    VIN = "vin"  # decoded from the VIN
    HINT = "hint"  # what the index page had already said
    MODEL = "model"  # a language model


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """Where a value came from: the layer, a short locator inside it, and confidence 0 to 1."""

    layer: Layer
    locator: str
    confidence: float


class Listing(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One advertisement as one page states it. Absent is None, never 0 and never a guess.

    ``price`` is in whole units of ``currency`` (ISO 4217); ``mileage`` is in ``mileage_unit``
    ("mi" or "km") exactly as read; datetimes are aware, in UTC. ``raw`` keeps the words behind
    every value that was turned into a number or a canonical term, ``provenance`` the evidence
    of each field that has a value.
    """

    url: str | None = None
    remote_id: str | None = None
    remote_slug: str | None = None
    title: str | None = None
    year: int | None = None
    make: str | None = None
    model: str | None = None
    trim: str | None = None
    vin: str | None = None
    price: int | None = None
    currency: str | None = None
    price_kind: str | None = None
    mileage: int | None = None
    mileage_unit: str | None = None
    condition: str | None = None
    body_style: str | None = None
    engine: str | None = None
    fuel_type: str | None = None
    fuel_economy: str | None = None
    transmission: str | None = None
    drivetrain: str | None = None
    exterior_color: str | None = None
    interior_color: str | None = None
    doors: int | None = None
    seats: int | None = None
    place: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    seller_name: str | None = None
    seller_type: str | None = None
    seller_phone: str | None = None
    images: list[str] = msgspec.field(default_factory=list)
    description: str | None = None
    posted_at: datetime | None = None
    status: str | None = None
    raw: dict[str, str] = msgspec.field(default_factory=dict)
    raw_payload: dict[str, Any] | None = None
    provenance: dict[str, Evidence] = msgspec.field(default_factory=dict)
