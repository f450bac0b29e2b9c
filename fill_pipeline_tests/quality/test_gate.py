"""What the gate holds back, and what it lets through."""

from __future__ import annotations

from uuid import UUID

import pytest

from fill_pipeline.extract.listing import Listing
from fill_pipeline.quality.gate import Gate
from fill_pipeline.settings import Settings
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.source_rules import RuleKind, SourceRule, set_aside
from fill_pipeline.vehicles.store import ListingToWrite
from fill_pipeline_tests.quality.cars import NOW, car, to_write

A, B = UUID(int=1), UUID(int=2)


def rows(source_id: UUID, listings: list[Listing]) -> list[ListingToWrite]:
    return [to_write(source_id, one) for one in listings]


@pytest.fixture
def gate() -> Gate:
    return Gate.of(Settings(), NOW.year)


def test_ordinary_listings_pass(gate: Gate) -> None:
    batch = rows(A, [car(n) for n in range(50)])
    assert gate.screen(batch) == []
    assert all(row.promote for row in batch)


def test_a_source_that_writes_garbage_prices_is_held_back_and_the_others_are_not(gate: Gate) -> None:
    bad, good = rows(A, [car(n, price=1) for n in range(12)]), rows(B, [car(n, "b") for n in range(12)])
    (held,) = gate.screen([*bad, *good])
    assert (held.source_id, held.expectation.name, held.unexpected, held.considered) == (A, "price_passes", 12, 12)
    assert held.expectation.field == "price"
    assert "12 of 12" in held.reason
    assert not any(row.promote for row in bad)
    assert all(row.promote for row in good)


@pytest.mark.parametrize(
    ("wrong", "expectation"),
    [
        ({"price": 55_512_345}, "price_range"),  # a phone number is within what validation lets pass
        ({"model": None}, "model_read"),
        ({"mileage": 1_400_000}, "mileage_passes"),
        (
            {"price": 9_999, "mileage": 88_000, "year": 2015, "model": "Civic"},
            "offer_differs",
        ),  # one card, read twelve times
        ({"vin": "1HGCV1F30KA000018", "year": 2019, "model": "Accord"}, "vin_differs"),
    ],
)
def test_a_page_read_wrongly_throughout_is_held_back(gate: Gate, wrong: dict[str, object], expectation: str) -> None:
    (held,) = gate.screen(rows(A, [car(n, **wrong) for n in range(12)]))
    assert held.expectation.name == expectation


def test_what_a_site_says_and_means_so_holds_nothing_back(gate: Gate) -> None:
    """No odometer readings, prices by the month, prices withheld: that is how some sites are."""
    assert gate.screen(rows(A, [car(n, mileage=0, year=2012) for n in range(30)])) == []
    assert gate.screen(rows(B, [car(n, price=299 + n, raw={"price": "$299/mo"}) for n in range(30)])) == []
    assert gate.screen(rows(UUID(int=3), [car(n, price=None) for n in range(30)])) == []


def test_what_a_source_is_not_believed_holds_nothing_back_and_what_is_unlike_all_it_gave_does(gate: Gate) -> None:
    for source_id, rule, held in (
        (A, SourceRule(RuleKind.CONFIDENCE, "price", 0.95), False),
        (B, SourceRule(RuleKind.RANGE, "price", (1_000_000, 2_000_000)), True),
    ):
        cleaned = [clean(car(n), now=NOW) for n in range(30)]
        for one in cleaned:
            set_aside(one, [rule])
        batch = [ListingToWrite.of(one, source_id=source_id, source="a") for one in cleaned]
        assert bool(gate.screen(batch)) == held


def test_a_few_wrong_listings_among_many_or_alone_are_the_validators_business(gate: Gate) -> None:
    assert gate.screen(rows(A, [car(n, price=1 if n % 3 == 0 else 9_000 + n) for n in range(60)])) == []
    assert gate.screen(rows(B, [car(n, price=1) for n in range(Settings().gate_least - 1)])) == []


def test_parts_too_small_to_judge_are_judged_with_what_came_before(gate: Gate) -> None:
    held = [bool(gate.screen(rows(A, [car(2 * n, price=1), car(2 * n + 1, price=1)]))) for n in range(5)]
    assert held == [False, False, True, True, True]
    # Good listings are never held back for what their source did before, and soon outweigh it.
    assert gate.screen(rows(A, [car(n) for n in range(100, 120)])) == []
    assert gate.screen(rows(A, [car(200, price=1), car(201)])) == []


def test_a_card_and_its_page_in_one_batch_are_one_advertisement(gate: Gate) -> None:
    once = [car(n, vin=f"1HGCV1F3{'0X123456789'[n % 11]}KA0{n:05d}") for n in range(12)]
    assert gate.screen(rows(A, [*once, *once])) == []


def test_cards_whose_pages_are_still_to_be_read_need_not_say_everything_but_nothing_wrong(gate: Gate) -> None:
    def cards(source_id: UUID, **fields: object) -> list[ListingToWrite]:
        found = rows(source_id, [car(n, model=None, **fields) for n in range(12)])
        for row in found:
            row.judged = False
        return found

    assert gate.screen(cards(A)) == []
    assert [held.expectation.name for held in gate.screen(cards(B, price=55_512_345))] == ["price_range"]


def test_twenty_new_cars_of_one_trim_at_one_price_are_no_misreading(gate: Gate) -> None:
    new = [car(n, condition="new", mileage=None, year=2025, model="Civic", price=28_450) for n in range(20)]
    assert gate.screen(rows(A, new)) == []


def test_prices_in_any_currency_pass(gate: Gate) -> None:
    yen = [car(n, price=2_500_000 + 100_000 * n, currency="JPY", mileage_unit="km") for n in range(30)]
    assert gate.screen(rows(A, yen)) == []


def test_the_settings_say_how_much_is_borne() -> None:
    strict = Gate.of(Settings(gate_tolerance=0.1, gate_least=2), NOW.year)
    assert len(strict.screen(rows(A, [car(n, price=1 if n < 3 else 9_000 + n) for n in range(20)]))) == 1
