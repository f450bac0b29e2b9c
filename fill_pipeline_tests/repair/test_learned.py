"""A source's rules go live where replay proves them, and are taken back where they refuse what is right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest

from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db import queue, registry, rules
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.queue import PageToQueue
from fill_pipeline.drain.page import reading_of
from fill_pipeline.drain.work import Work, load_sources
from fill_pipeline.repair.learned import learn_rules
from fill_pipeline.simweb.catalog import load_catalog
from fill_pipeline_tests.repair.conftest import Shop, drain_here

CARS = 104
AT_ONCE = 4


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """The shop with many cars, the first of which has its deposit where the price is."""
    patterns = [pattern for pattern in load_catalog() if pattern.make in ("Ford", "Toyota", "Chevrolet")][:8]
    template = shop.cars[0]
    shop.cars = [
        template
        | {
            "id": str(81_000_000 + n),
            "name": f"{pattern.year} {pattern.make} {pattern.model}",
            "vin": pattern.vin(200_000 + n),
            "price": "$175" if n == 0 else f"${15_250 + 131 * n:,}",
            "miles": f"{34_567 + 321 * n:,} mi",
        }
        for n, pattern in ((n, patterns[n % len(patterns)]) for n in range(CARS))
    ]
    return shop


def crawl(conn: Connection, work: Work, shop: Shop, name: str) -> UUID:
    base_url = shop.base_url.replace("shop", name)
    config = {"rate_limit": {"requests_per_minute": 600_000}}
    row = registry.declare_source(conn, name=name, base_url=base_url, config=config, kind="dealer")
    load_sources(conn)
    pages = [PageToQueue(row.id, url, url_hash(url)) for url in (f"{base_url}/car/{car['id']}" for car in shop.cars)]
    queue.enqueue(conn, pages, cycle_id=work.cycle_id, now=work.now_fn(), revisit=timedelta(hours=1))
    assert sum(drain_here(conn, work, pages=AT_ONCE) for _ in range(len(shop.cars) // AT_ONCE)) == len(shop.cars)
    return row.id


def rows_of(conn: Connection, source_id: UUID) -> dict[str, rules.RuleRow]:
    return {f"{row.rule} {row.field}": row for row in reversed(rules.rules_of_source(conn, source_id, 50))}


def test_a_rule_is_applied_once_others_contradict_what_it_sets_aside_and_can_be_rolled_back(
    conn: Connection, work: Work, work_of: Callable[..., Work], stocked: Shop
) -> None:
    source_id = crawl(conn, work, stocked, "shop")
    told = learn_rules(conn, work, 5)
    price = rows_of(conn, source_id)["source_range price"]
    assert price.status == "not_proven", told  # nobody else says what such a car costs
    assert price.expectation["refused"] == price.expectation["unknown"] == 1
    assert {f"{r.rule} {r.field}" for r in rows_of(conn, source_id).values() if r.status == "applied"} == {
        "source_range mileage",
        "source_range year",
        "source_format remote_id",
    }
    assert learn_rules(conn, work, 5) == {}  # once a day
    stocked.cars[0]["price"] = "$15,250"
    stocked.cars = stocked.cars[:32]
    crawl(conn, work, stocked, "other")
    later = work_of(timedelta(hours=25))
    told = learn_rules(conn, later, 5)
    assert any(words.startswith("applied: price") for words in told["shop"]), told
    source = load_sources(conn)[source_id]
    own = {rule.field: rule for rule in reading_of(source, work.settings).own}
    low, high = own["price"].value
    assert 175 < low < 15_250
    assert high > 15_250 + 131 * CARS
    assert registry.versions(conn, source_id)[-1].made_by == "learning"
    assert registry.roll_back(conn, source_id, 1, made_by="test", reason="as it was")
    assert not load_sources(conn)[source_id].config.source_rules()
