"""A source that is read from its index alone is mended like any other: its cards are the witnesses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from fill_pipeline.db import improvement, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.ledger import FieldFall
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.work import Work, load_sources
from fill_pipeline.repair.repair import Repairs, repair_sources
from fill_pipeline.simweb.catalog import load_catalog
from fill_pipeline_tests.repair.conftest import Shop

CARS = 24
Index = Callable[[list[dict[str, str]]], str]


def plain_cards(cars: list[dict[str, str]]) -> str:
    """Cards in words that everybody uses."""
    cards = "".join(
        f'<li><a href="/car/{car["id"]}">{car["name"]}</a> <b>{car["price"]}</b> <i>{car["miles"]}</i></li>'
        for car in cars
    )
    return f"<html><head><title>Stock</title></head><body><h1>Our stock</h1><ul>{cards}</ul></body></html>"


def odd_cards(cars: list[dict[str, str]]) -> str:
    """A deposit that looks more like a price than the price does, and a distance without its unit."""
    cards = "".join(
        f'<section class="tile"><h4><a href="/car/{car["id"]}">{car["name"]}</a></h4>'
        f'<p><span class="q-dep">${9_140 + 37 * n:,}</span><span class="q-tot">{car["price"].strip("$")}</span></p>'
        f'<p><em class="odo">{car["miles"].removesuffix(" mi")}</em></p></section>'
        for n, car in enumerate(cars)
    )
    return f"<html><head><title>Stock</title></head><body><h1>Our stock</h1><div>{cards}</div></body></html>"


def plain_records(cars: list[dict[str, str]]) -> str:
    """An API's answer with keys that everybody uses."""
    return _records(cars, "price", "mileage")


def odd_records(cars: list[dict[str, str]]) -> str:
    """The same with keys that nobody else uses."""
    return _records(cars, "k_7", "k_9")


def _records(cars: list[dict[str, str]], price: str, mileage: str) -> str:
    def record(car: dict[str, str]) -> dict[str, Any]:
        year, make, model = car["name"].split(" ", 2)
        amount, miles = (int("".join(c for c in car[key] if c.isdigit())) for key in ("price", "miles"))
        stated = {"id": car["id"], "year": int(year), "make": make, "model": model, "vin": car["vin"]}
        return stated | {"url": f"/car/{car['id']}", "currency": "USD", "extra": {price: amount, mileage: miles}}

    return orjson.dumps({"data": {"items": [record(car) for car in cars], "total": len(cars)}}).decode()


@pytest.fixture
def index_shop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Callable[[Index], None]:
    """Gives the shop an index in some form; no car has a page of its own."""
    patterns = [pattern for pattern in load_catalog() if pattern.make in ("Ford", "Toyota", "Chevrolet")][:8]
    shop.cars = [
        {
            "id": str(71_000_000 + 7919 * n),
            "name": f"{pattern.year} {pattern.make} {pattern.model}",
            "vin": pattern.vin(300_000 + n),
            "price": f"${11_250 + 731 * n:,}",
            "miles": f"{34_567 + 1_321 * n:,} mi",
        }
        for n, pattern in ((n, patterns[n % len(patterns)]) for n in range(CARS))
    ]

    def give(form: Index) -> None:
        monkeypatch.setattr(shop, "page", lambda path: form(shop.cars) if path == "/" else None)

    return give


def walk(conn: Connection, work: Work, shop: Shop) -> dict[str, tuple[int | None, int | None]]:
    """Harvest; by number what the listings cost and have run."""
    if registry.find_source(conn, "shop") is None:
        config = {"rate_limit": {"requests_per_minute": 60_000}, "detail": "never"}
        registry.declare_source(conn, name="shop", base_url=shop.base_url, config=config, kind="dealer")
    harvest_sources(work, list(load_sources(conn).values()))
    rows = conn.execute("SELECT remote_id, price, mileage FROM listing_records").fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}


@pytest.mark.parametrize(("before", "after"), [(plain_cards, odd_cards), (plain_records, odd_records)])
def test_cards_that_nothing_general_can_read_any_more_get_rules_of_their_own(
    conn: Connection, work: Work, shop: Shop, index_shop: Callable[[Index], None], before: Index, after: Index
) -> None:
    index_shop(before)
    known = walk(conn, work, shop)
    assert len(known) == CARS
    assert all(price and miles for price, miles in known.values())
    index_shop(after)

    repairs = repair_sources(conn, work, ["shop"])

    assert repairs.promoted == 1, repairs.sources
    source = registry.find_source(conn, "shop")
    assert source is not None
    assert {"price", "mileage"} <= set(source.config["rules"]["card"])
    (row,) = improvement.repairs(conn, source.id)
    assert row.score_before is not None
    assert row.score_after is not None
    assert row.score_after >= 0.97 > row.score_before
    conn.execute("DELETE FROM listing_records")
    assert walk(conn, work, shop) == known


def test_cards_that_are_read_well_are_left_alone(
    conn: Connection, work: Work, shop: Shop, index_shop: Callable[[Index], None]
) -> None:
    index_shop(plain_cards)
    walk(conn, work, shop)
    repairs: Repairs = repair_sources(conn, work, ["shop"])
    assert (repairs.promoted, repairs.rejected) == (0, 0), repairs.sources
    assert repairs.sources["shop"].startswith("well"), repairs.sources


def test_a_field_that_cards_used_to_state_and_nobody_knows_now_is_not_called_well(
    conn: Connection, work: Work, shop: Shop, index_shop: Callable[[Index], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    index_shop(lambda cars: plain_cards([car | {"miles": ""} for car in cars]))
    walk(conn, work, shop)
    monkeypatch.setattr("fill_pipeline.repair.checkup.lost_fields", lambda *_: [FieldFall("mileage", 0.0, 1.0)])
    told = repair_sources(conn, work, ["shop"]).sources["shop"]
    assert told.startswith("unknown"), told
    assert "mileage" in told
