"""Sources, listings and a short way to write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from fill_pipeline.db.connect import Connection
from fill_pipeline.extract.listing import Evidence, Layer, Listing
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.store import ListingToWrite, write_listings
from fill_pipeline.vehicles.tally import WriteResult

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
VIN = "1HGCV1F30KA000018"


@pytest.fixture(scope="session")
def now() -> datetime:
    """When the tests' first observations are made."""
    return NOW


@pytest.fixture(scope="session")
def accord_vin() -> str:
    """The VIN of a 2019 Honda Accord."""
    return VIN


def _listing(**fields: Any) -> Listing:
    values: dict[str, Any] = {
        "url": f"https://cars.example/ad/{fields.get('remote_id', '1')}",
        "remote_id": "1",
        "title": "2019 Honda Accord Sport",
        "year": 2019,
        "make": "Honda",
        "model": "Accord",
        "price": 18_995,
        "currency": "USD",
        "mileage": 61_234,
        "mileage_unit": "mi",
        "body_style": "Sedan",
        "exterior_color": "Blue",
        "city": "Dayton",
        "region": "OH",
        "images": ["https://cars.example/p/1.jpg"],
    } | fields
    stated = [name for name, value in values.items() if value is not None and name not in ("url", "remote_id", "raw")]
    evidence = {name: Evidence(Layer.STRUCTURED, "ld+json", 0.9) for name in stated if name != "provenance"}
    return Listing(**({"provenance": evidence} | values))


@pytest.fixture(scope="session")
def listing() -> Callable[..., Listing]:
    """Makes a complete listing of a 2019 Accord without VIN; fields given replace or (None) remove its own."""
    return _listing


@pytest.fixture
def add_source(conn: Connection) -> Callable[[str], UUID]:
    """Registers a source by name and returns its id."""

    def add(name: str) -> UUID:
        row = conn.execute(
            "INSERT INTO scrape_sources (name, base_url) VALUES (%s, 'https://cars.example') RETURNING id", (name,)
        ).fetchone()
        assert row is not None
        return UUID(str(row[0]))

    return add


@pytest.fixture
def source(add_source: Callable[[str], UUID]) -> UUID:
    """One registered source."""
    return add_source("cars")


def _to_write(source_id: UUID, item: Listing, *, now: datetime = NOW, **options: Any) -> ListingToWrite:
    row = ListingToWrite.of(clean(item, now=now), source_id=source_id, source="cars")
    for name, value in options.items():
        setattr(row, name, value)
    return row


@pytest.fixture(scope="session")
def to_write() -> Callable[..., ListingToWrite]:
    """Cleans a listing into a row to write."""
    return _to_write


@pytest.fixture
def write(conn: Connection) -> Callable[..., WriteResult]:
    """Cleans and writes listings of one source in a transaction of their own."""

    def write_them(
        source_id: UUID, *items: Listing, now: datetime = NOW, cycle_id: str = "cycle-1", **options: Any
    ) -> WriteResult:
        rows = [_to_write(source_id, item, now=now, **options) for item in items]
        with conn.transaction():
            return write_listings(conn, rows, cycle_id=cycle_id, now=now)

    return write_them


@pytest.fixture
def select(conn: Connection) -> Callable[..., list[tuple[Any, ...]]]:
    """Runs a query and returns its rows."""

    def run(query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return conn.execute(query, parameters or None).fetchall()

    return run
