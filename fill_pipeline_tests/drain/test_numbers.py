"""The number of a listing is its address's, so that two cars with one stock number are two listings."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fill_pipeline.drain.page import RawPage, Reading
from fill_pipeline.drain.read import read_page

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = (
    "<html><head><title>2015 Ford Focus SE</title></head><body><h1>2015 Ford Focus SE</h1><table>"
    "<tr><th>Stock #</th><td>A1007</td></tr><tr><th>Price</th><td>$8,900</td></tr>"
    "<tr><th>Mileage</th><td>61,000 mi</td></tr></table></body></html>"
)


@pytest.mark.parametrize(
    ("url", "number"),
    [
        ("https://cars.test/used/ford-focus-7925197224/", "7925197224"),
        ("https://cars.test/used/ford-focus-7928197224/", "7928197224"),
        ("https://cars.test/used/ford-focus-a1007", "A1007"),
    ],
)
def test_an_address_that_numbers_its_listing_numbers_it_whatever_stock_number_the_page_names(
    url: str, number: str
) -> None:
    page = RawPage.unkept(url, PAGE.encode(), "text/html; charset=utf-8", now=NOW)
    rows = read_page(page, Reading("cars", None, 0.0, ()), now=NOW).rows
    assert [row.listing.remote_id for row in rows] == [number]
