"""Advertisements of many different cars, as pages state them and as reading hands them over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fill_pipeline.extract.listing import Evidence, Layer, Listing
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.store import ListingToWrite

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
CYCLE = "2025-06-01-12:00"
_STATED = ("title", "year", "make", "model", "price", "mileage", "city", "images")


def car(number: int, site: str = "a", **fields: Any) -> Listing:
    """The advertisement of one of many different cars; what is given replaces its own."""
    values: dict[str, Any] = {
        "url": f"https://{site}.example/ad/{number}",
        "remote_id": str(number),
        "title": "2019 Honda Accord",
        "year": 2010 + number % 12,
        "make": "Honda",
        "model": ("Accord", "Civic", "Pilot")[number % 3],
        "price": 9_000 + 137 * number,
        "currency": "USD",
        "mileage": 20_000 + 3_571 * number + 977 * len(site),
        "mileage_unit": "mi",
        "city": f"{site.title()}ville",
        "region": "OH",
        "images": [f"https://{site}.example/{number}.jpg"],
    } | fields
    evidence = {name: Evidence(Layer.STRUCTURED, "ld+json", 0.9) for name in _STATED if values[name] not in (None, [])}
    return Listing(**values, provenance=evidence)


def to_write(source_id: UUID, listing: Listing, *, now: datetime = NOW, slug: str = "a") -> ListingToWrite:
    """A listing as reading hands it over."""
    return ListingToWrite.of(clean(listing, now=now), source_id=source_id, source=slug)
