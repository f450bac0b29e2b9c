"""A field that a site silently stops giving is missed, proven from what was known, and regained from the archive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from random import Random

import pytest

from fill_pipeline.db import improvement, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import RepairRow
from fill_pipeline.db.ledger import FieldFall
from fill_pipeline.db.registry import SourceRow
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.work import Work, load_sources
from fill_pipeline.repair.ask import FreshPage
from fill_pipeline.repair.cause import Cause
from fill_pipeline.repair.diagnose import Checkup, diagnose
from fill_pipeline.repair.loss import broken_cycles
from fill_pipeline.repair.repair import repair_sources
from fill_pipeline.repair.truth import Score, Witness
from fill_pipeline.simweb.catalog import Pattern, load_catalog

from .conftest import Shop, drain_here, usual_form

WINDOW = timedelta(hours=2)


def form_of_its_own(car: dict[str, str]) -> str:
    """All as usual, but for the mileage: a bare number beside words that nobody else uses."""
    row = f"<tr><th>Ran so far</th><td>{car['miles'].split()[0].replace(',', '')}</td></tr>"
    return usual_form(car | {"miles": ""}).replace("<tr><th>Mileage</th><td></td></tr>", row)


def declare(conn: Connection, shop: Shop, name: str) -> SourceRow:
    config = {"rate_limit": {"requests_per_minute": 60_000}, "detail": "always"}
    base_url = shop.base_url.replace("shop", name)
    return registry.declare_source(conn, name=name, base_url=base_url, config=config, kind="dealer")


def crawl(conn: Connection, work: Work, name: str) -> None:
    """Harvest one source and read every page of the queue, those known already too."""
    sources = [source for source in load_sources(conn).values() if source.slug == name]
    harvest_sources(work, sources)
    conn.execute("UPDATE import_queue SET status = 'pending', attempts = 0 WHERE source_id = %s", [sources[0].id])
    while drain_here(conn, work, pages=60):
        pass


def end_cycle(conn: Connection, source: SourceRow, work: Work, health: str) -> None:
    """Close the cycle with the source judged like this."""
    conn.execute(
        "INSERT INTO source_health (source_id, cycle_id, status, last_checked) VALUES (%s, %s, %s, %s)",
        [source.id, work.cycle_id, health, work.now_fn()],
    )
    conn.execute("UPDATE fill_cycles SET status = 'closed', completed_at = %s", [work.now_fn()])


def other_cars(shop: Shop) -> None:
    """All that the shop has is sold, and other cars stand there."""
    catalogue = [pattern for pattern in load_catalog() if pattern.make in ("Honda", "Nissan", "Subaru", "Mazda")]
    for n, (car, pattern) in enumerate(zip(shop.cars, catalogue[:12], strict=True)):
        car |= {
            "id": str(82_000_000 + 6967 * n),
            "name": f"{pattern.year} {pattern.make} {pattern.model}",
            "vin": pattern.vin(300_000 + n),
            "price": f"${12_175 + 613 * n:,}",
            "miles": f"{41_239 + 3_877 * n:,} mi",
        }


def bare_price(car: dict[str, str]) -> str:
    """All as usual, but for the prices: a bare number beside words that nobody else uses."""
    return usual_form(car).replace("<th>Price</th>", "<th>Yours for</th>")


def like_cars(shop: Shop, seed: int, *, sign: str = "$") -> None:
    """The shop has cars of three models, each of every year that there is, at what such cars cost."""
    chance = Random(seed)
    by_model: defaultdict[tuple[str, str], list[Pattern]] = defaultdict(list)
    for pattern in load_catalog():
        by_model[pattern.make, pattern.model].append(pattern)
    chosen = sorted(by_model.values(), key=len)[-3:]
    shop.cars[:] = [
        {
            "id": str(83_000_000 + 10_000_000 * seed + 6967 * n),
            "name": f"{pattern.year} {pattern.make} {pattern.model}",
            "vin": pattern.vin(1_000 * seed + n),
            "price": f"{sign}{int(pattern.new_price * 0.88 ** (2026 - pattern.year) * chance.uniform(0.9, 1.1))}",
            "new": "",
            "miles": f"{chance.randrange(9_000, 170_000):,} mi",
            "engine": "",
            "fuel": "Gasoline",
            "color": "Red",
        }
        for n, pattern in enumerate(pattern for patterns in chosen for pattern in patterns)
    ]


def prices(conn: Connection, source: SourceRow, shop: Shop) -> list[int | None]:
    """What is stored as the prices of the cars that stand in the shop."""
    rows = conn.execute("SELECT vin, price FROM listing_records WHERE source_id = %s", [source.id]).fetchall()
    return [dict(rows)[car["vin"]] for car in shop.cars]


def mileages(conn: Connection, source: SourceRow) -> dict[str, int | None]:
    rows = conn.execute("SELECT url, mileage FROM listing_records WHERE source_id = %s", [source.id]).fetchall()
    return dict(rows)


def only_repair(conn: Connection, source: SourceRow) -> RepairRow:
    rows = improvement.repairs(conn, source.id)
    assert len(rows) == 1
    return rows[0]


@pytest.fixture
def known(conn: Connection, shop: Shop, work: Work) -> SourceRow:
    """The shop as a source with a healthy time behind it, in a cycle that is closed."""
    source = declare(conn, shop, "shop")
    for _ in range(3):
        crawl(conn, work, "shop")
    assert None not in mileages(conn, source).values()
    end_cycle(conn, source, work, "healthy")
    return source


def test_what_pages_of_the_broken_time_lost_is_learned_from_cars_known_before_though_they_are_sold(
    conn: Connection, shop: Shop, known: SourceRow, work_of: Callable[..., Work]
) -> None:
    had = mileages(conn, known)
    shop.form = form_of_its_own
    work = work_of(after=WINDOW)
    crawl(conn, work, "shop")
    end_cycle(conn, known, work, "degraded")
    other_cars(shop)
    work = work_of(after=2 * WINDOW)
    crawl(conn, work, "shop")
    assert list(mileages(conn, known).values()).count(None) == 12, "nothing general reads the new words"

    repairs = repair_sources(conn, work, ["shop"])

    assert repairs.promoted == 1, repairs.sources
    row = only_repair(conn, known)
    assert "Ran so far" in row.evidence["rules"]["mileage"]["css"]
    now = mileages(conn, known)
    assert {url: now[url] for url in had} == had
    assert None not in now.values()
    assert row.evidence["regained"] == repairs.regained == {"mileage": 12}


def test_what_pages_lost_is_learned_from_the_same_vehicles_elsewhere(
    conn: Connection, shop: Shop, known: SourceRow, work_of: Callable[..., Work]
) -> None:
    work = work_of(after=WINDOW)
    other_cars(shop)
    there = declare(conn, shop, "elsewhere")
    crawl(conn, work, "elsewhere")
    shop.form = form_of_its_own
    crawl(conn, work, "shop")
    assert list(mileages(conn, known).values()).count(None) == 12

    repairs = repair_sources(conn, work, ["shop"])

    assert repairs.promoted == 1, repairs.sources
    assert set(mileages(conn, there).values()) <= set(mileages(conn, known).values())


def test_prices_of_cars_never_seen_before_are_told_by_what_such_cars_cost_also_of_those_sold_since(
    conn: Connection, shop: Shop, work: Work, work_of: Callable[..., Work]
) -> None:
    source = declare(conn, shop, "shop")
    like_cars(shop, 1)
    for _ in range(2):
        crawl(conn, work, "shop")
    assert None not in prices(conn, source, shop)
    end_cycle(conn, source, work, "healthy")
    shop.form = bare_price
    like_cars(shop, 2, sign="")
    sold = list(shop.cars)
    work = work_of(after=WINDOW)
    crawl(conn, work, "shop")
    assert set(prices(conn, source, shop)) == {None}, "nothing general reads the new words"
    end_cycle(conn, source, work, "degraded")
    like_cars(shop, 3, sign="")
    del shop.cars[14:]
    conn.execute("DELETE FROM import_queue")  # a page asked for that is gone slows the source down
    work = work_of(after=2 * WINDOW)
    crawl(conn, work, "shop")

    repairs = repair_sources(conn, work, ["shop"])

    assert repairs.promoted == 1, repairs.sources
    assert "Yours for" in only_repair(conn, source).evidence["rules"]["price"]["css"]
    shop.cars[14:] = sold
    assert prices(conn, source, shop) == [int(car["price"]) for car in shop.cars]


def test_a_field_that_nothing_known_proves_is_neither_called_well_nor_guessed(
    conn: Connection, shop: Shop, known: SourceRow, work_of: Callable[..., Work]
) -> None:
    shop.form = form_of_its_own
    other_cars(shop)
    work = work_of(after=WINDOW)
    crawl(conn, work, "shop")

    repairs = repair_sources(conn, work, ["shop"])

    row = only_repair(conn, known)
    assert (row.diagnosis, repairs.promoted) == (Cause.UNKNOWN, 0)
    assert row.reason.startswith("it used to state mileage")
    found = registry.find_source(conn, "shop")
    assert found is not None
    assert found.config_version == known.config_version


def test_a_broken_time_however_long_is_never_what_is_usual(
    conn: Connection, shop: Shop, known: SourceRow, work_of: Callable[..., Work]
) -> None:
    shop.form = form_of_its_own
    for cycle in range(1, 3):
        work = work_of(after=cycle * WINDOW)
        crawl(conn, work, "shop")
        end_cycle(conn, known, work, "degraded")
    lost = improvement.lost_fields(conn, known.id, cycles=36, least=10)
    assert lost == [FieldFall("mileage", 0.0, 1.0)]


def test_a_cycle_of_few_listings_does_not_end_the_broken_time(
    conn: Connection, shop: Shop, known: SourceRow, work_of: Callable[..., Work]
) -> None:
    shop.form = form_of_its_own
    cycles = []
    for cycle, (cars, health) in enumerate(((12, "degraded"), (3, "healthy"), (3, "degraded")), 1):
        del shop.cars[cars:]
        work = work_of(after=cycle * WINDOW)
        crawl(conn, work, "shop")
        end_cycle(conn, known, work, health)
        cycles.append(work.cycle_id)
    source = load_sources(conn)[known.id]
    assert broken_cycles(conn, work, source) == cycles[::-1]


@pytest.mark.parametrize(
    ("compared", "cause"),
    [
        ([0, 0, 4], Cause.REDESIGNED),
        ([4, 0, 0], Cause.WELL),  # it is read wherever it is known to be stated: fewer cars have it now
        ([0, 0, 2], Cause.UNKNOWN),
    ],
)
def test_a_lost_field_is_judged_by_pages_that_state_it(compared: list[int], cause: Cause) -> None:
    seen = Checkup("http://dealer.test", lacking=["mileage"], lost=[FieldFall("mileage", 0.0, 1.0)])
    seen.score = Score()
    for name, counts in {"vin": [90, 0, 0], "mileage": compared}.items():
        for outcome, times in enumerate(counts):
            for _ in range(times):
                seen.score.note(name, outcome)
    seen.details = [FreshPage(f"{seen.base_url}/{n}", body=str(n).encode()) for n in range(6)]
    seen.witnesses = [Witness(page.url, page.body, "") for page in seen.details]
    assert diagnose(seen).cause is cause


@pytest.mark.parametrize(
    ("lost", "mileages", "cause"),
    [
        ("exterior_color", [0, 0, 4], Cause.REDESIGNED),
        ("exterior_color", [9, 0, 4], Cause.REDESIGNED),  # part of the pages state it elsewhere too
        ("exterior_color", [9, 0, 2], Cause.UNKNOWN),
        ("", [0, 0, 4], Cause.WELL),
    ],
)
def test_where_one_field_is_lost_another_that_pages_state_and_nobody_reads_is_lost_with_it(
    lost: str, mileages: list[int], cause: Cause
) -> None:
    seen = Checkup("http://dealer.test", lacking=[lost] if lost else [])
    seen.score = Score(200, 0, mileages[2], {"vin": [200, 0, 0], "mileage": mileages})
    seen.details = [FreshPage(f"{seen.base_url}/{n}", body=str(n).encode()) for n in range(6)]
    seen.witnesses = [Witness(page.url, page.body, "") for page in seen.details]
    assert diagnose(seen).cause is cause
