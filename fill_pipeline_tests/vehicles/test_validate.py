"""Rules with names: what is wrong is set aside with its reason, never lost, and never stored as good."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.extract.listing import Evidence, Layer, Listing
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.validate import validate

Make = Callable[..., Listing]


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"price": 1}, "price", "price_range"),
        ({"price": 123_456}, "price", "price_placeholder"),
        ({"price": 9_999_999}, "price", "price_placeholder"),
        ({"price": 400_000_000}, "price", "price_range"),
        ({"price": 499, "raw": {"price": "$499/mo"}}, "price", "price_per_month"),
        ({"price": 389, "raw": {"price": "389 € mtl. Rate"}}, "price", "price_per_month"),
        ({"price": 2019, "raw": {"price": "2019"}}, "price", "price_is_year"),
        ({"mileage": -5}, "mileage", "mileage_range"),
        ({"mileage": 9_000_000}, "mileage", "mileage_range"),
        ({"mileage": 999_999}, "mileage", "mileage_placeholder"),
        ({"mileage": 0, "condition": "used"}, "mileage", "mileage_zero"),
        ({"mileage": 18_995}, "mileage", "mileage_is_price"),
        ({"year": 2031}, "year", "year_range"),
        ({"year": 1700}, "year", "year_range"),
        ({"year": 2019, "posted_at": datetime(2014, 5, 1, tzinfo=UTC)}, "year", "year_after_posting"),
        ({"posted_at": datetime(2029, 1, 1, tzinfo=UTC)}, "posted_at", "posted_in_future"),
        ({"vin": "1HGCV1F39KA000018"}, "vin", "vin_invalid"),
        ({"vin": "00000000000000000"}, "vin", "vin_placeholder"),
        ({"vin": "12345"}, "vin", "vin_invalid"),
        ({"vin": "1HGCV1F30KA000018", "make": "Ford", "model": "F-150"}, "vin", "vin_contradicts"),
        ({"vin": "1HGCV1F30KA000018", "year": 2012}, "year", "year_contradicts_vin"),
        ({"latitude": 0.0, "longitude": 0.0}, "latitude", "coordinates"),
        ({"doors": 12}, "doors", "doors_range"),
        ({"seats": 0}, "seats", "seats_range"),
        ({"mileage": 700_000, "year": 2023}, "mileage", "mileage_per_year"),
        ({"place": "By Phil S. from Palmdale, California"}, "place", "place_words"),
        ({"place": "Contact us today for a test drive!"}, "place", "place_words"),
        ({"city": "Dayton 45402"}, "city", "place_words"),
        ({"city": "Sold by Phil"}, "city", "place_words"),
        ({"city": "One owner clean car with all service records"}, "city", "place_words"),
        ({"region": "***"}, "region", "place_words"),
    ],
)
def test_a_wrong_value_is_set_aside_with_its_reason(
    listing: Make, now: datetime, fields: dict[str, Any], field: str, rule: str
) -> None:
    result = clean(listing(**fields), now=now)
    found = result.quarantine[field]
    assert found["rule"] == rule
    assert found["reason"]
    assert (field, rule) in result.issues
    wanted = fields.get(field, 2019)
    assert found["value"] == (wanted.isoformat() if isinstance(wanted, datetime) else wanted)
    if field != "year" or rule != "year_contradicts_vin":
        assert getattr(result.listing, field) is None
        assert field not in result.listing.provenance


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("city", "Rothenburg ob der Tauber"),
        ("city", "Bad Neustadt an der Saale"),
        ("city", "'s-Hertogenbosch"),
        ("city", "Winston-Salem"),
        ("city", "St. Louis Park"),
        ("city", "San Juan de los Lagos"),
        ("city", "Frombork"),
        ("city", "Callander"),
        ("city", "Byron"),
        ("region", "Provence-Alpes-Côte d'Azur"),
        ("city", "Show Low"),
        ("city", "Price"),
        ("place", "Palmdale, CA 93550"),
        ("place", "45402"),
        ("place", "12 Main Street, Suite 4, Dayton, OH 45402"),
    ],
)
def test_names_of_places_pass(listing: Make, now: datetime, field: str, name: str) -> None:
    result = clean(listing(**{field: name}), now=now)
    assert result.quarantine == {}
    assert getattr(result.listing, field) == name


def test_a_good_listing_passes_untouched(listing: Make, now: datetime, accord_vin: str) -> None:
    result = clean(listing(vin=accord_vin), now=now)
    assert result.quarantine == {}
    assert result.issues == []
    assert (result.listing.price, result.listing.mileage, result.listing.vin) == (18_995, 61_234, accord_vin)
    assert result.completeness == 1.0
    assert all(result.agreement.values())
    assert {"year", "make", "model"} <= result.agreement.keys()


def test_sold_with_reserve_not_met_is_neither_sold_nor_a_sale_price(listing: Make, now: datetime) -> None:
    result = clean(
        listing(price=31_000, price_kind="sold", status="sold", raw={"price": "Bid to $31,000 (reserve not met)"}),
        now=now,
    )
    assert (result.listing.price, result.listing.price_kind, result.listing.status) == (31_000, "reserve", "delisted")
    assert ("price_kind", "sold_below_reserve") in result.issues


def test_a_new_car_with_a_long_way_behind_it_is_used(listing: Make, now: datetime) -> None:
    result = clean(listing(condition="New", year=2019, mileage=70_000), now=now)
    assert result.listing.condition == "used"
    assert ("condition", "new_with_mileage") in result.issues


def test_values_read_with_too_little_confidence_are_set_aside(listing: Make, now: datetime) -> None:
    item = listing()
    item.provenance["mileage"] = Evidence(Layer.TEXT, "body", 0.2)
    result = validate(item, now=now, min_confidence=0.3)
    assert result.quarantined["mileage"].rule == "confidence"
    assert result.listing.mileage is None
    assert result.listing.price == 18_995
    assert item.mileage == 61_234, "the caller's listing is not changed"


def test_a_missing_value_is_filled_from_the_vin_with_less_confidence(
    listing: Make, now: datetime, accord_vin: str
) -> None:
    result = clean(listing(vin=accord_vin, year=None, make=None, model=None, body_style=None), now=now).listing
    assert (result.year, result.make, result.model, result.body_style) == (2019, "Honda", "Accord", "sedan")
    assert result.provenance["year"].layer is Layer.VIN
    assert result.provenance["year"].confidence < 0.9
    assert result.engine is not None
    assert result.fuel_type == "gasoline"


@given(
    price=st.one_of(st.none(), st.integers()),
    mileage=st.one_of(st.none(), st.integers()),
    year=st.one_of(st.none(), st.integers()),
    vin=st.one_of(st.none(), st.text(max_size=20), st.from_regex(r"[A-HJ-NPR-Z0-9]{17}", fullmatch=True)),
    words=st.text(max_size=20),
)
def test_no_value_is_lost_and_none_out_of_range_is_stored(
    price: int | None, mileage: int | None, year: int | None, vin: str | None, words: str
) -> None:
    now = datetime(2025, 6, 1, tzinfo=UTC)
    item = Listing(price=price, mileage=mileage, year=year, vin=vin, currency="USD", raw={"price": words})
    result = validate(item, now=now)
    for name, given_value in (("price", price), ("mileage", mileage), ("year", year), ("vin", vin)):
        kept = getattr(result.listing, name)
        if given_value is not None:
            assert kept == given_value or result.quarantined[name].value == given_value
    kept = result.listing
    assert kept.price is None or 100 <= kept.price <= 150_000_000
    assert kept.mileage is None or 0 <= kept.mileage <= 2_400_000
    assert kept.year is None or 1885 <= kept.year <= 2027
