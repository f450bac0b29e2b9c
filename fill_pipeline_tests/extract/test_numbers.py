"""Numbers are read as a person reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.extract.listing import PriceKind
from fill_pipeline.extract.numbers import (
    read_bare_price,
    read_mileage,
    read_mileages,
    read_number,
    read_price,
    read_prices,
    says_no_price,
)


@pytest.mark.parametrize(
    ("words", "amount", "currency", "kind"),
    [
        ("$12.5k", 12_500, "USD", PriceKind.ASKING),
        ("was $10,999 now $9,999", 9_999, "USD", PriceKind.ASKING),
        ("bid to $31,000 (reserve not met)", 31_000, "USD", PriceKind.RESERVE),
        ("Bid to USD $31,000 on 3/3/24", 31_000, "USD", PriceKind.RESERVE),
        ("Current Bid: $6,900", 6_900, "USD", PriceKind.BID),
        ("Sold for $45,250 on 3/3/24", 45_250, "USD", PriceKind.SOLD),
        ("85.000 €", 85_000, "EUR", PriceKind.ASKING),
        ("12 500 €", 12_500, "EUR", PriceKind.ASKING),
        ("€ 34.990,-", 34_990, "EUR", PriceKind.ASKING),
        ("12.500,00 EUR VB", 12_500, "EUR", PriceKind.ASKING),
        ("CHF 12'500.–", 12_500, "CHF", PriceKind.ASKING),
        ("$ 1,234.50", 1_234, "USD", PriceKind.ASKING),
        ("CA$24,995", 24_995, "CAD", PriceKind.ASKING),
        ("$24,995 CAD", 24_995, "CAD", PriceKind.ASKING),
        ("£8,995", 8_995, "GBP", PriceKind.ASKING),
        ("Asking Price: $49,950.00", 49_950, "USD", PriceKind.ASKING),
        ("Est. $742/mo  $36,990", 36_990, "USD", PriceKind.ASKING),
        ("$20,000 OBO", 20_000, "USD", PriceKind.ASKING),
        ("statt 39.900 € jetzt 34.990 €", 34_990, "EUR", PriceKind.ASKING),
        ("VALUE PRICED AT $28,900", 28_900, "USD", PriceKind.ASKING),
    ],
)
def test_a_price_is_the_amount_asked_with_its_currency_and_kind(
    words: str, amount: int, currency: str, kind: PriceKind
) -> None:
    reading = read_price(words)
    assert reading is not None
    assert (reading.amount, reading.currency, reading.kind) == (amount, currency, kind)


@pytest.mark.parametrize(
    "words",
    [
        "$499/mo",
        "$499 per month",
        "Est. payment $349",
        "ab 634 € mtl.",
        "Ab 15,45 € mtl. versichern",
        "$2,000 down",
        "$500 off",
        "Save $1,500",
        "Price drop $500",
        "Call for price",
        "Shipping: $490",
        "$345 below market",
        "an investment of close to $40,000",
        "price on request",
        "",
    ],
)
def test_rates_fees_and_withheld_prices_are_no_prices(words: str) -> None:
    assert read_price(words) is None


def test_a_range_is_marked_as_one() -> None:
    reading = read_price("$10,000 - $12,000")
    assert reading is not None
    assert (reading.amount, reading.high) == (10_000, 12_000)


def test_a_withheld_price_is_recognised_but_a_dealers_name_is_not() -> None:
    assert says_no_price("Call for price")
    assert says_no_price("Preis auf Anfrage")
    assert not says_no_price("Get It Delivered Nationwide, Contact-Free")


@pytest.mark.parametrize(
    ("words", "value", "unit"),
    [
        ("39,708 mi", 39_708, "mi"),
        ("120k miles", 120_000, "mi"),
        ("14k-Mile 2005 Ford Thunderbird", 14_000, "mi"),
        ("85.000 km", 85_000, "km"),
        ("12 345 km", 12_345, "km"),
        ("150 tkm", 150_000, "km"),
        ("only 36,300 original miles", 36_300, "mi"),
        ("63,903 km (39,708 mi)", 63_903, "km"),
        ("Odometer: 123456", 123_456, None),
        ("297 miles", 297, "mi"),
    ],
)
def test_a_mileage_keeps_its_unit(words: str, value: int, unit: str | None) -> None:
    reading = read_mileage(words)
    assert reading is not None
    assert (reading.value, reading.unit) == (value, unit)


@pytest.mark.parametrize(
    "words",
    [
        "(3.9 mi. away)",
        "within 50 miles",
        "60 months/60,000 miles",
        "27 City / 36 Hwy",
        "250 miles of range",
        "7 years/100,000 miles",
        "180 km/h",
        "15k miles since rebuild",
        "Low-Mileage 560SL",
        "7,000 miles on the new engine",
    ],
)
def test_distances_ranges_and_warranties_are_no_mileage(words: str) -> None:
    assert read_mileage(words) is None


@pytest.mark.parametrize(
    ("words", "number"),
    [("1,234.50", 1234.5), ("1.234,50", 1234.5), ("12 500", 12500), ("85.000", 85000), ("12.5", 12.5), ("0.500", 0.5)],
)
def test_numbers_follow_the_pages_own_convention(words: str, number: float) -> None:
    assert read_number(words) == number


@given(st.integers(1_000, 9_999_999), st.sampled_from([",", ".", " ", "\u00a0", "'"]), st.sampled_from("$€£"))
def test_grouped_amounts_read_back_in_every_convention(amount: int, separator: str, symbol: str) -> None:
    grouped = f"{amount:,}".replace(",", separator)
    before, after = read_price(f"{symbol}{grouped}"), read_price(f"{grouped} {symbol}")
    assert before is not None
    assert before.amount == amount
    assert after is not None
    assert after.amount == amount
    assert read_bare_price(grouped) == amount


@given(st.integers(1, 999_999), st.sampled_from(["mi", "miles", "km", "kms", "Kilometer"]))
def test_mileages_read_back(value: int, unit: str) -> None:
    reading = read_mileage(f"{value:,} {unit}")
    assert reading is not None
    assert (reading.value, reading.unit) == (value, "mi" if unit.startswith("mi") else "km")


@given(st.text(max_size=300) | st.from_regex(r"[\d.,' $€£km/mi\-:()]{0,80}"))
def test_no_text_makes_the_readers_raise(text: str) -> None:
    for reading in read_prices(text):
        assert 1 <= reading.amount <= 100_000_000
    for mileage in read_mileages(text):
        assert mileage.value >= 0
    read_number(text)
    read_bare_price(text)
