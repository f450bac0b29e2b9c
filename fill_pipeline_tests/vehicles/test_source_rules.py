"""A source's own rules are learned from what it usually gives, and set aside only what is unlike it."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.extract.listing import Evidence, Layer, Listing
from fill_pipeline.simweb.catalog import load_catalog
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.source_rules import LEAST_VALUES, RuleKind, SourceRule, learn_format, learn_range, set_aside

NOW = datetime(2025, 12, 24, tzinfo=UTC)


def shelf(n: int = 300, wrong: float = 0.0) -> list[int]:
    chance = random.Random(1)
    prices = [round(chance.lognormvariate(9.7, 0.5)) for _ in range(n)]
    return prices + [chance.randrange(1, 60) for _ in range(round(wrong * n))]


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.3])
def test_a_share_of_wrong_values_does_not_widen_what_is_believed(wrong: float) -> None:
    found = learn_range("price", shelf(wrong=wrong))
    assert found is not None
    low, high = found.value
    assert all(low <= price <= high for price in shelf())
    assert low > 60


def test_too_few_values_teach_nothing() -> None:
    assert learn_range("price", shelf(LEAST_VALUES - 1)) is None
    assert learn_range("mileage", [0] * 500) is None


@given(st.lists(st.integers(-5, 10**9), min_size=LEAST_VALUES, max_size=200))
def test_what_is_learned_always_holds_the_median(values: list[int]) -> None:
    found = learn_range("price", values)
    good = sorted(value for value in values if value > 0)
    if found is not None:
        assert found.value[0] <= good[len(good) // 2] <= found.value[1]


def test_a_value_outside_is_kept_beside_the_listing_with_its_reason() -> None:
    cleaned = clean(Listing(make="Volvo", model="V70", year=2015, price=150, mileage=90_000), now=NOW)
    before = cleaned.completeness
    rules = [SourceRule(RuleKind.RANGE, "price", (2_000, 90_000)), SourceRule(RuleKind.RANGE, "mileage", (10, 400_000))]
    set_aside(cleaned, rules)
    assert cleaned.listing.price is None
    assert cleaned.listing.mileage == 90_000
    assert cleaned.quarantine["price"]["rule"] == "source_range"
    assert cleaned.quarantine["price"]["value"] == 150
    assert ("price", "source_range") in cleaned.issues
    assert cleaned.completeness < before
    set_aside(cleaned, rules)
    assert len(cleaned.quarantine) == 1


def test_years_lie_about_their_median_and_a_site_of_old_cars_has_no_new_one() -> None:
    modern = learn_range("year", [2000 + n % 24 for n in range(300)])
    assert modern is not None
    assert not modern.refuses(1970, 1.0)
    assert modern.refuses(1901, 1.0)
    old = learn_range("year", [1950 + n % 20 for n in range(300)] + [2025, 2026])
    assert old is not None
    assert old.refuses(2026, 1.0)
    assert not old.refuses(1999, 1.0)
    assert not old.refuses(1936, 1.0)


@pytest.mark.parametrize(
    ("usual", "odd", "next_one"),
    [
        ([str(7_100_000 + n) for n in range(200)], "0", "10000000"),
        ([str(7_100_000 + n) for n in range(200)] + ["12"], "12", "9999999"),
        ([f"AB-{5000 + n}" for n in range(200)], "5001", "AB-10000"),
        ([f"{n:08x}{n * 7919:012x}" for n in range(1000, 1300)], "undefined", f"{99:08x}{99_999:012x}"),
    ],
)
def test_a_format_holds_what_comes_next_and_refuses_what_is_of_another_form(
    usual: list[str], odd: str, next_one: str
) -> None:
    rule = learn_format("remote_id", usual)
    assert rule is not None
    assert rule.refuses(odd, 1.0)
    assert not rule.refuses(next_one, 1.0)
    assert sum(rule.refuses(value, 1.0) for value in usual) <= 0.02 * len(usual)


def test_what_has_no_one_form_teaches_no_format() -> None:
    assert learn_format("remote_id", [f"ford-focus{'-st' * (n % 4)}" for n in range(300)]) is None
    assert learn_format("postal_code", ["12345"] * (LEAST_VALUES - 1)) is None


@given(st.lists(st.text(min_size=1, max_size=300), min_size=LEAST_VALUES, max_size=LEAST_VALUES + 20))
def test_a_format_learned_from_anything_holds_nearly_all_of_it(values: list[str]) -> None:
    rule = learn_format("remote_id", values)
    if rule is not None:
        assert sum(rule.refuses(value, 1.0) for value in values) <= 0.25 * len(values)


def test_a_year_that_the_vin_confirms_is_kept_however_rare() -> None:
    pattern = next(one for one in load_catalog() if one.year == 2001)
    cleaned = clean(Listing(make=pattern.make, year=2001, vin=pattern.vin(1)), now=NOW)
    set_aside(cleaned, [SourceRule(RuleKind.RANGE, "year", (1930, 1980))])
    assert cleaned.listing.year == 2001


def test_a_car_that_has_hardly_run_is_believed_and_one_that_ran_to_the_moon_is_not() -> None:
    rule = learn_range("mileage", [60_000 + 100 * n for n in range(300)])
    assert rule is not None
    assert not rule.refuses(5, 1.0)
    assert rule.refuses(384_400_000, 1.0)


def test_a_value_read_with_too_little_confidence_is_set_aside_and_a_better_reading_is_not() -> None:
    rules = [SourceRule(RuleKind.CONFIDENCE, "price", 0.6)]
    for confidence, kept in ((0.5, None), (0.6, 9_500)):
        listing = Listing(make="Volvo", price=9_500, provenance={"price": Evidence(Layer.TEXT, "text", confidence)})
        cleaned = clean(listing, now=NOW)
        set_aside(cleaned, rules)
        assert cleaned.listing.price == kept
        assert cleaned.quarantine.get("price", {}).get("rule") == (None if kept else "source_confidence")


def test_a_number_is_kept_where_no_address_could_stand_for_it() -> None:
    rules = [SourceRule(RuleKind.FORMAT, "remote_id", "[0-9]{8}")]
    for url, kept in ((None, "7"), ("https://example.com/car", None)):
        cleaned = clean(Listing(make="Volvo", remote_id="7", url=url), now=NOW)
        set_aside(cleaned, rules)
        assert cleaned.listing.remote_id == kept


def test_an_amount_that_is_set_aside_takes_its_unit_with_it() -> None:
    car = Listing(make="Volvo", model="V70", year=2015, price=150, currency="USD", mileage=123_456, mileage_unit="mi")
    cleaned = clean(car, now=NOW)
    assert (cleaned.listing.mileage, cleaned.listing.mileage_unit) == (None, None), "nobody drove just that far"
    assert cleaned.listing.currency == "USD"
    set_aside(cleaned, [SourceRule(RuleKind.RANGE, "price", (2_000, 90_000))])
    assert (cleaned.listing.price, cleaned.listing.currency) == (None, None)
