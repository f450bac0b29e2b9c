"""The catalogue's facts: VINs are well formed and decode to what the catalogue says."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import ultravin
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.simweb.catalog import check_digit, load_catalog
from fill_pipeline.simweb.world import World

SAMPLE = 250


def test_the_catalogue_is_broad_enough() -> None:
    catalog = load_catalog()
    assert len({pattern.make for pattern in catalog}) >= 25
    assert len({(p.year, p.make, p.model, p.engine) for p in catalog}) >= 150
    assert {pattern.year for pattern in catalog} >= set(range(1998, 2026))


@pytest.mark.parametrize("vin", ["1M8GDM9AXKP042788", "1HGCM82633A004352", "11111111111111111"])
def test_check_digits_agree_with_published_examples(vin: str) -> None:
    assert check_digit(vin) == vin[8]


@given(st.sampled_from(load_catalog()), st.integers(0, 999_999))
def test_every_vin_has_its_check_digit(pattern: object, serial: int) -> None:
    vin = pattern.vin(serial)  # type: ignore[attr-defined]
    assert len(vin) == 17
    assert not set(vin) & set("IOQ")
    assert check_digit(vin) == vin[8]


def test_ultravin_decodes_a_sample_to_what_the_catalogue_says() -> None:
    rng = random.Random(4)
    patterns = rng.sample(load_catalog(), SAMPLE)
    decoded = ultravin.decode_batch([pattern.vin(rng.randrange(1_000_000)) for pattern in patterns])
    for pattern, facts in zip(patterns, decoded, strict=True):
        assert facts["error_codes"] == [0], pattern
        assert facts["model_year"] == pattern.year
        assert facts["attributes"]["Make"].casefold() == pattern.make.casefold()
        assert facts["attributes"]["Model"].casefold() == pattern.model.casefold()


def test_cars_of_a_world_share_no_vin_and_lose_value_with_age_and_miles() -> None:
    world = World(seed=3, scale=0.5)
    cars = {ad.car.key: ad.car for site in world.sites.values() if site.open for ad in world.live(site)}.values()
    doubles = Counter(car.vin for car in cars)
    assert sum(count - 1 for count in doubles.values()) <= len(cars) * 0.002  # serial numbers are drawn at random
    young = [car.value / car.pattern.new_price for car in cars if car.pattern.year >= 2023]
    old = [car.value / car.pattern.new_price for car in cars if car.pattern.year <= 2010]
    assert sum(young) / len(young) > 3 * sum(old) / len(old)
    same_age = [car for car in cars if car.pattern.year == 2018]
    same_age.sort(key=lambda car: car.miles)
    third = len(same_age) // 3
    few, many = same_age[:third], same_age[-third:]
    assert sum(c.value / c.pattern.new_price for c in few) > sum(c.value / c.pattern.new_price for c in many)
