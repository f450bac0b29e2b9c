"""A source's rules go live where replay proves them, and are taken back where they refuse what is right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest

from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.cycle.report import write_cycle_report
from fill_pipeline.cycle.state import ActionKind
from fill_pipeline.dashboard.lineage import Figure, explain
from fill_pipeline.db import cycles, queue, registry, rules
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.queue import PageToQueue
from fill_pipeline.drain.page import reading_of
from fill_pipeline.drain.replay import replay_window
from fill_pipeline.drain.work import Work, load_sources
from fill_pipeline.extract.listing import Listing
from fill_pipeline.repair.judged import JudgedValue, Judgement
from fill_pipeline.repair.learned import Proof, holds, learn_rules, objection, review_rules
from fill_pipeline.simweb.catalog import load_catalog
from fill_pipeline.vehicles.source_rules import RuleKind, SourceRule
from fill_pipeline.vehicles.vin_decoder import decode
from fill_pipeline_tests.repair.conftest import Shop, drain_here, usual_form

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
    row = registry.find_source(conn, name) or registry.declare_source(
        conn, name=name, base_url=base_url, config=config, kind="dealer"
    )
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
    notes = explain(conn, work.settings, Figure.DATA_QUALITY, work.cycle_id, limit=20, now=work.now_fn()).notes
    assert any(note.startswith("a rule of shop's own not proven: price ") for note in notes), notes
    assert "a rule of shop's own applied: remote_id like \\d{8,9}; of 104 archived values it refuses 0" in notes
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


def test_a_source_misread_needs_more_confidence_until_it_is_read_rightly_and_new_numbers_end_their_old_format(
    conn: Connection, work: Work, work_of: Callable[..., Work], stocked: Shop
) -> None:
    automatic = [car for car in stocked.cars if (facts := decode(car["vin"])) and facts.transmission == "automatic"]
    stocked.cars = [automatic[n % len(automatic)] | {"id": str(81_000_000 + n)} for n in range(CARS)]
    advertised = "Manual"

    def form(car: dict[str, str]) -> str:
        row = "<tr><th>Transmission</th><td>Automatic</td></tr>" if int(car["id"]) % 3 else ""
        other = "" if row else f"<p>{advertised} Transmission</p>"
        return usual_form(car).replace("</table>", f"{row}</table>{other}")

    stocked.form = form
    source_id = crawl(conn, work, stocked, "shop")
    told = learn_rules(conn, work, 0)  # its values contradict their VINs, so nobody has to ask for it
    found = rows_of(conn, source_id)
    raised = found["source_confidence transmission"]
    assert raised.status == found["source_format remote_id"].status == "applied", told
    assert raised.expectation["precision"][0] < 0.8
    assert raised.expectation["precision"][1] == 1.0
    assert raised.expectation["lost"] == 0
    assert 0.45 < load_sources(conn)[source_id].config.min_confidence["transmission"] < 0.9
    assert review_rules(conn, work_of(timedelta(hours=1))) == {}  # they do what was expected

    stocked.cars = [car | {"id": str(200_000_000_001 + 3 * n)} for n, car in enumerate(stocked.cars)]
    advertised = "Automatic"
    crawl(conn, work, stocked, "shop")
    refused = conn.execute(
        "SELECT DISTINCT rule FROM quarantined_values q JOIN listing_records r ON r.id = q.listing_id"
        " WHERE r.source_id = %s AND field_name IN ('transmission', 'remote_id')",
        [source_id],
    ).fetchall()
    assert {row[0] for row in refused} == {"source_confidence", "source_format"}
    told = review_rules(conn, work_of(timedelta(hours=25)))
    found = rows_of(conn, source_id)
    for name in ("source_confidence transmission", "source_format remote_id"):
        assert found[name].status == "taken_back", told
        assert found[name].outcome["right"] > found[name].outcome["wrong"]
    config = load_sources(conn)[source_id].config
    assert not config.min_confidence
    assert "remote_id" not in config.formats
    assert "taken back" in (registry.versions(conn, source_id)[-1].reason or "")
    learn_rules(conn, work_of(timedelta(hours=26)), 5)
    assert "remote_id" not in load_sources(conn)[source_id].config.formats  # not trusted again for a week


def test_a_word_where_the_number_should_be_makes_no_longer_one_listing_of_several(
    conn: Connection, work: Work, stocked: Shop
) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    for n, car in enumerate(stocked.cars):
        car["number"] = "ask us" if n in (1, 2) else car["id"]
        car["id"] = f"{letters[n // 26]}-{letters[n % 26]}"
    stocked.form = lambda car: usual_form(car).replace(
        "<table>", f"<table><tr><th>Stock number</th><td>{car['number']}</td></tr>"
    )
    source_id = crawl(conn, work, stocked, "shop")

    def listings() -> int:
        row = conn.execute("SELECT count(*) FROM listing_records WHERE remote_id <> 'ask us'").fetchone()
        return row[0] if row else 0

    assert listings() == CARS - 2
    learn_rules(conn, work, 5)
    rule = rows_of(conn, source_id)["source_format remote_id"]
    assert (rule.status, rule.expectation["wrong"]) == ("applied", 2)
    replay_window(work, [load_sources(conn)[source_id]], [work.cycle_id])
    assert listings() == CARS


def test_the_cycles_report_tells_what_became_of_rules(conn: Connection, work: Work) -> None:
    now = work.now_fn()
    cycles.request_action(
        conn, work.cycle_id, ActionKind.IMPROVE, level=0, attempt=1, reason="low", parameters={"learn": 20}, now=now
    )
    action_id = cycles.start_action(conn, work.cycle_id, ActionKind.IMPROVE, level=0, attempt=1, run_id="run", now=now)
    assert action_id is not None
    learned = {"shop": ["applied: price 800 to 90000; of 104 archived values it refuses 0"]}
    cycles.finish_action(conn, action_id, now=now, outcome={"gained": 0, "rules_learned": learned}, error=None)
    (line,) = write_cycle_report(conn, work.settings, work.cycle_id, now=now)["actions"]
    assert line["rules_learned"] == learned
    assert "rules_reviewed" not in line


def refusing(n: int, judgement: Judgement, of: int = 100) -> Proof:
    value = JudgedValue("price", 5, 0.9, judgement, "https://example.com/car/1", Listing())
    return Proof(of, (value,) * n, kept_right=of - n, kept_wrong=0)


@pytest.mark.parametrize(
    ("proof", "stays"),
    [
        (refusing(0, Judgement.UNKNOWN), True),  # a range has nothing to do on most days
        (refusing(50, Judgement.WRONG), True),
        (refusing(2, Judgement.RIGHT), True),
        (refusing(3, Judgement.RIGHT), False),
        (refusing(12, Judgement.UNKNOWN), False),  # its prices have risen, and nobody else knows such cars
        (refusing(90, Judgement.UNKNOWN), True),  # rather misread: the gate holds it, repair mends it
    ],
)
def test_a_range_stays_while_what_it_refuses_is_wrong_or_the_whole_site_is_misread(proof: Proof, stays: bool) -> None:
    assert (objection(SourceRule(RuleKind.RANGE, "price", (1_000, 90_000)), proof) is None) == stays


def test_a_least_confidence_goes_when_nothing_is_left_to_refuse() -> None:
    rule = SourceRule(RuleKind.CONFIDENCE, "price", 0.6)
    assert objection(rule, refusing(0, Judgement.UNKNOWN)) is not None
    assert objection(rule, refusing(0, Judgement.UNKNOWN, of=5)) is None  # too few to say
    assert objection(rule, refusing(20, Judgement.UNKNOWN)) is None


def test_a_least_confidence_must_cost_hardly_any_right_value() -> None:
    rule = SourceRule(RuleKind.CONFIDENCE, "price", 0.6)
    assert holds(rule, refusing(10, Judgement.WRONG))
    assert not holds(rule, refusing(10, Judgement.UNKNOWN))
    mixed = Proof(100, (*refusing(10, Judgement.WRONG).refused, *refusing(8, Judgement.RIGHT).refused), 82, 0)
    assert not holds(rule, mixed)
