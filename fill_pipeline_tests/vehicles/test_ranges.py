"""A source's own ranges are learned from what it usually gives, and set aside only what is far from it."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.extract.listing import Listing
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.ranges import LEAST_VALUES, RULE, learn_range, set_aside

NOW = datetime(2025, 12, 24, tzinfo=UTC)


def shelf(n: int = 300, wrong: float = 0.0) -> list[int]:
    chance = random.Random(1)
    prices = [round(chance.lognormvariate(9.7, 0.5)) for _ in range(n)]
    return prices + [chance.randrange(1, 60) for _ in range(round(wrong * n))]


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.3])
def test_a_share_of_wrong_values_does_not_widen_what_is_believed(wrong: float) -> None:
    found = learn_range(shelf(wrong=wrong))
    assert found is not None
    low, high = found
    assert all(low <= price <= high for price in shelf())
    assert low > 60


def test_too_few_values_teach_nothing() -> None:
    assert learn_range(shelf(LEAST_VALUES - 1)) is None
    assert learn_range([0] * 500) is None


@given(st.lists(st.integers(-5, 10**9), min_size=LEAST_VALUES, max_size=200))
def test_what_is_learned_always_holds_the_median(values: list[int]) -> None:
    found = learn_range(values)
    good = sorted(value for value in values if value > 0)
    if found is not None:
        assert found[0] <= good[len(good) // 2] <= found[1]


def test_a_value_outside_is_kept_beside_the_listing_with_its_reason() -> None:
    cleaned = clean(Listing(make="Volvo", model="V70", year=2015, price=150, mileage=90_000), now=NOW)
    before = cleaned.completeness
    set_aside(cleaned, {"price": (2_000, 90_000), "mileage": (10, 400_000)})
    assert cleaned.listing.price is None
    assert cleaned.listing.mileage == 90_000
    assert cleaned.quarantine["price"]["rule"] == RULE
    assert cleaned.quarantine["price"]["value"] == 150
    assert ("price", RULE) in cleaned.issues
    assert cleaned.completeness < before
    set_aside(cleaned, {"price": (2_000, 90_000)})
    assert len(cleaned.quarantine) == 1
