"""Promises of what a search asks for: its source's own query, what is filtered here, and params that are refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fill_pipeline.drain.search_params import (
    Matcher,
    ParamError,
    SearchMapping,
    check_params,
    search_url,
    unused_params,
)
from fill_pipeline.extract.listing import Listing

OFFERUP_LIKE = SearchMapping.model_validate(
    {
        "url": "/search[/{make}][/{model}]",
        "combined": {"q": "{keywords} {colour}"},
        "query": {"min_price": "PRICE_MIN", "max_price": "PRICE_MAX", "radius_miles": "radius_km"},
        "fixed": {"cid": "5.1"},
        "slug": ["make", "model"],
        "scale": {"radius_miles": 1.609344},
    }
)


def test_params_become_the_sources_own_query() -> None:
    params = {
        "make": "Land Rover",
        "min_price": 3000,
        "max_price": 8000,
        "radius_miles": 50,
        "keywords": ["clean title", "single owner"],
        "zip_code": "92705",
    }
    url = search_url(OFFERUP_LIKE, params)
    assert urlsplit(url).path == "/search/land-rover"
    assert parse_qs(urlsplit(url).query) == {
        "cid": ["5.1"],
        "q": ["clean title single owner"],
        "PRICE_MIN": ["3000"],
        "PRICE_MAX": ["8000"],
        "radius_km": ["80"],
    }


@given(st.dictionaries(st.text(max_size=20), st.one_of(st.none(), st.text(), st.integers(), st.lists(st.text()))))
def test_no_params_break_the_query(params: dict[str, Any]) -> None:
    url = search_url(OFFERUP_LIKE, {"make": "Honda", **params})
    assert url.startswith("/search")
    Matcher(params, OFFERUP_LIKE).accepts(Listing(title="x", price=1))


CIVIC = {"make": "Honda", "model": "Civic", "year": 2017, "price": 7_000, "mileage": 80_000, "mileage_unit": "mi"}


@pytest.mark.parametrize(
    ("params", "card", "accepted"),
    [
        ({"make": "honda", "model": "civic"}, CIVIC, True),
        ({"make": "Toyota"}, CIVIC, False),
        ({"make": "Honda", "model": "Accord"}, CIVIC, False),
        ({"min_year": 2018}, CIVIC, False),
        ({"max_price": 6_999}, CIVIC, False),
        ({"max_price": "8,000"}, CIVIC, True),
        ({"max_mileage": 60_000}, CIVIC, False),
        ({"max_mileage": 60_000}, {**CIVIC, "mileage_unit": "km"}, True),  # 80,000 km are 49,710 miles
        ({"max_mileage": 60_000}, {"make": "Honda"}, True),  # what a card does not say does not speak against it
        ({"transmission": "manual"}, {**CIVIC, "transmission": "Automatic"}, False),
        ({"color_of_seats": "red"}, CIVIC, True),
    ],
)
def test_what_the_site_cannot_filter_is_filtered_here(
    params: dict[str, Any], card: dict[str, Any], accepted: bool
) -> None:
    assert Matcher(params, SearchMapping()).accepts(Listing(**card)) is accepted


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"min_year": "abc"}, "param min_year 'abc' is not a number from 0, such as 2015"),
        ({"max_price": -1}, "max_price -1"),
        ({"max_mileage": True}, "max_mileage True"),
        ({"radius_miles": "nan"}, "radius_miles 'nan'"),
        ({"max_year": 15}, "max_year 15 is not a year"),
        ({"min_price": 9_000, "max_price": "8,000"}, "min_price 9000 is above max_price '8,000'"),
        ({"transmission": "wings"}, "automatic, "),
        ({"make": ["Honda", "Toyota"]}, "save a search for each"),
        ({"keywords": {"a": 1}}, "keywords"),
        (["Honda"], "is not an object"),
    ],
)
def test_params_that_would_be_left_out_in_silence_are_refused_with_what_they_may_be(params: Any, told: str) -> None:
    with pytest.raises(ParamError) as refused:
        check_params(params)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"max_price": "8,000", "min_year": None, "make": "", "keywords": []},
        {"transmission": "Automatic", "body_style": "pick-up", "sort": "newest", "delivery": {"free": True}},
    ],
)
def test_params_of_any_honest_kind_are_taken(params: dict[str, Any]) -> None:
    check_params(params)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["min_year", "max_price", "make", "transmission", "keywords", "zip_code", "x"]),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.text(), st.integers(), st.floats()), st.lists, max_leaves=3
        ),
    )
)
def test_whatever_is_taken_can_be_searched_for(params: dict[str, Any]) -> None:
    try:
        check_params(params)
    except ParamError:
        return
    assert search_url(OFFERUP_LIKE, params).startswith("/search")
    Matcher(params, OFFERUP_LIKE).accepts(Listing(title="x", price=1, year=2015, make="Honda", transmission="manual"))


def test_params_that_nobody_looks_at_are_named() -> None:
    params = {"make": "Honda", "radius_miles": 50, "zip_code": "92705", "sunroof": True, "colour": "", "max_price": 1}
    assert unused_params(params, OFFERUP_LIKE) == ["sunroof", "zip_code"]
    assert unused_params(params, SearchMapping()) == ["radius_miles", "sunroof", "zip_code"]
