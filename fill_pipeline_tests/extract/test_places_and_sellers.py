"""Places and sellers are read where they are meant, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.page import extract_page
from fill_pipeline.extract.places import find_place, read_address, read_place
from fill_pipeline.extract.sellers import is_name


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Omaha, NE 68102", ("Omaha", "NE", "68102", None)),
        ("Odessa, Florida", ("Odessa", "Florida", None, None)),
        ("Rockford, Illinois, United States", ("Rockford", "Illinois", None, "US")),
        ("Winnipeg, MB R3C 1A5", ("Winnipeg", "MB", "R3C 1A5", None)),
        ("Parramatta, NSW 2150", ("Parramatta", "NSW", "2150", None)),
        ("DE-80331 München", ("München", None, "80331", "DE")),
        ("50667 Köln - Altstadt", ("Köln", None, "50667", None)),
        ("5504 DW VELDHOVEN", ("VELDHOVEN", None, "5504 DW", None)),
        ("Leeds, LS11 5DQ", ("Leeds", None, "LS11 5DQ", None)),
        ("TX - DALLAS", ("Dallas", "TX", None, None)),
        ("Coeur d'Alene, ID", ("Coeur d'Alene", "ID", None, None)),
    ],
)
def test_a_place_gives_its_parts(text: str, parts: tuple[str | None, ...]) -> None:
    place = read_place(text)
    assert place is not None
    assert (place.city, place.region, place.postal_code, place.country) == parts


@pytest.mark.parametrize(
    "text",
    ["81321 Miles", "1540 Pine St", "Umwelt, Sicherheit", "By Phil S. from Palmdale, California", "2023 Premium",
     "Unfallfrei, Scheckheft", "85000 Km", "Leather, IN", "Springfield, IL 6270", "Power, Style"],
)  # fmt: skip
def test_what_only_looks_like_a_place_is_none(text: str) -> None:
    assert read_place(text) is None


def test_an_address_gives_its_town() -> None:
    for line in ("1050 Baltimore Pike, Glen Mills, PA 19342", "100 Main Street Glen Mills, PA 19342 · (610) 555-0100"):
        place = read_address(line)
        assert place is not None
        assert (place.city, place.region, place.postal_code) == ("Glen Mills", "PA", "19342")
    found = find_place(["Free delivery", "Located in: Boise, ID"], french=False)
    assert found is not None
    assert found.city == "Boise"


@given(st.text(max_size=160))
def test_any_text_can_be_asked_for_a_place_or_a_name(text: str) -> None:
    place = read_place(text)
    assert place is None or place.city
    find_place([text], french=True)
    is_name(text)


_HEAD = "<html><body><h1>2019 Ford F-150 XLT</h1><p>$31,000</p><p>42,000 miles</p>"


def _one(body: str) -> Listing:
    return extract_page((_HEAD + body).encode(), url="https://a.example/1", kind="detail").listings[0]


def test_the_seller_stands_above_its_address_or_under_its_heading() -> None:
    above = _one(
        "<div><p>Hillside Ford</p><p>12 Hill Road, Jamaica, NY 11435</p><a href='tel:7185550100'>Call</a></div>"
    )
    assert (above.seller_name, above.city, above.seller_phone) == ("Hillside Ford", "Jamaica", "7185550100")
    assert _one("<h3>Seller's info</h3><p>Team Autos of Reno</p>").seller_name == "Team Autos of Reno"
    assert (
        _one("<table><tr><td>Seller<td>truckfan77<tr><td>Seller type<td>Private party</table>").seller_type == "private"
    )


def test_reviewers_banks_and_commands_are_no_sellers() -> None:
    listing = _one(
        "<h3>Seller</h3><p>Contact seller</p><p>Auto Bank GmbH</p><p>By Phil S. from Palmdale, California</p>"
    )
    assert (listing.seller_name, listing.place, listing.city) == (None, None, None)


def test_several_telephone_numbers_give_none() -> None:
    assert _one("<p>Sales 718-555-0100</p><p>Service 718-555-0199</p>").seller_phone is None
