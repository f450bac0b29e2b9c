"""Completeness counts what can be known, no more and no less."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fill_pipeline.extract.listing import Listing
from fill_pipeline.vehicles.completeness import CORE_FIELDS, completeness, filled, knowable

Make = Callable[..., Listing]


def test_each_missing_core_field_costs_its_share(listing: Make) -> None:
    assert completeness(listing()) == 1.0
    assert completeness(listing(price=None)) == pytest.approx(6 / 7)
    assert completeness(listing(price=None, images=[])) == pytest.approx(5 / 7)
    assert completeness(Listing()) == 0.0


def test_a_vin_on_a_1965_car_is_not_missing(listing: Make) -> None:
    assert completeness(listing(year=1965), (*CORE_FIELDS, "vin")) == 1.0
    assert completeness(listing(), (*CORE_FIELDS, "vin")) == pytest.approx(7 / 8)


def test_a_withheld_price_is_missing_and_a_new_cars_mileage_is_not(listing: Make) -> None:
    call_for_price = listing(price=None, raw={"price": "Call for price"})
    assert knowable(call_for_price, "price")
    assert completeness(listing(condition="new", mileage=None)) == 1.0
    assert completeness(listing(condition="used", mileage=None)) < 1.0


def test_any_of_the_places_parts_is_a_place(listing: Make) -> None:
    assert filled(listing(city=None, region=None, postal_code="45402"), "place")
    assert not filled(listing(city=None, region=None), "place")
