"""A small market of made-up advertisements, written the way the drain writes them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fill_pipeline.db import cycles, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.extract.listing import Listing
from fill_pipeline.settings import Settings
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.store import ListingToWrite, write_listings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def fair_price(year: int, mileage: int) -> float:
    """What the made-up market asks for a car of this year and mileage."""
    return 24_000 * math.exp(-0.09 * (2024 - year) - mileage / 250_000)


class SmallMarket:
    """Writes listings of one source, each call one cycle later than the call before it if asked to."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.now = NOW
        self.source = registry.declare_source(
            conn, name="Alpha", base_url="http://alpha.example", config={}, kind="marketplace"
        ).id
        self.cycle_id = ""
        self.next_cycle(timedelta(0))

    def next_cycle(self, after: timedelta = timedelta(hours=2)) -> None:
        """Open the next cycle."""
        self.now += after
        self.conn.execute("UPDATE fill_cycles SET status = 'closed' WHERE status = 'open'")
        self.cycle_id = f"{self.now:%Y-%m-%dT%H:%M}"
        cycles.open_cycle(
            self.conn,
            self.cycle_id,
            now=self.now,
            window_start=self.now,
            window_end=self.now + timedelta(hours=2),
            target=2000,
        )

    def write(self, *listings: Listing) -> list[int]:
        """Write these listings; returns their ids."""
        rows = [ListingToWrite.of(clean(one, now=self.now), source_id=self.source, source="alpha") for one in listings]
        with self.conn.transaction():
            result = write_listings(self.conn, rows, cycle_id=self.cycle_id, now=self.now)
        return [row.listing_id for row in result.rows]

    def car(self, number: int, **said: Any) -> Listing:
        """A car of 2012 to 2021 with a fair price give or take 5 %."""
        dice = random.Random(number)
        year = said.get("year", 2012 + number % 10)
        mileage = said.get("mileage", 15_000 + 9_000 * (2026 - year) + dice.randrange(-9_000, 9_000))
        facts: dict[str, Any] = {
            "url": f"http://alpha.example/car/{number}",
            "remote_id": str(number),
            "title": f"{year} Honda Civic",
            "year": year,
            "make": "Honda",
            "model": "Civic",
            "price": round(fair_price(year, mileage or 60_000) * dice.uniform(0.95, 1.05)),
            "currency": "USD",
            "mileage": mileage,
            "mileage_unit": "mi",
            "city": "Salem",
            "region": "OR",
            "images": [f"http://alpha.example/{number}.jpg"],
            "seller_phone": f"503555{number:04d}",
            "condition": "used",
            "description": f"Stock number {number}.",
        }
        return Listing(**{**facts, **said})

    def cars(self, n: int, *, start: int = 1000, **said: Any) -> list[int]:
        """Write so many fairly priced cars; returns their listing ids."""
        return self.write(*(self.car(start + i, **said) for i in range(n)))


@pytest.fixture
def market(conn: Connection) -> SmallMarket:
    """A source and an open cycle without listings."""
    return SmallMarket(conn)


@pytest.fixture
def deal_settings(tmp_path: Path) -> Settings:
    """Settings whose home is this test's own."""
    return Settings(home=tmp_path, allow_nets="127.0.0.0/8")  # type: ignore[arg-type]


Find = Callable[..., dict[str, Any]]


@pytest.fixture
def find(market: SmallMarket, deal_settings: Settings) -> Find:
    """Run the deal finder in the market's cycle."""
    from fill_pipeline.deals.finder import find_deals

    def run(**options: Any) -> dict[str, Any]:
        arguments = {"cycle_id": market.cycle_id, "now": market.now + timedelta(minutes=20), **options}
        return find_deals(market.conn, deal_settings, **arguments)

    return run
