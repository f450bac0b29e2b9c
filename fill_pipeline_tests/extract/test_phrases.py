"""Words beside an amount that make it a bid, or what was paid, are found wherever the amount stands."""

from __future__ import annotations

import pytest

from fill_pipeline.extract.phrases import may_be_sale

_FAR = "<p>" + "word " * 300 + "</p>"


@pytest.mark.parametrize(
    "words",
    ["Sold for", "SOLD", "winning bid", "3 bids", "hammered at", "Höchstgebot", "aktuelles Gebot", "vendue", "no sale",
     "Reserve not met", "reserve was not met", "did not sell", "hoogste bod", "Price realized", "Bidding"],
)  # fmt: skip
@pytest.mark.parametrize("amount", ["$12,500", "12.500 €", "12 500", "12500"])
def test_words_of_a_sale_beside_the_amount_are_seen(words: str, amount: str) -> None:
    assert may_be_sale(f"{_FAR}<b>{words}</b> <span>{amount}</span>{_FAR}", 12_500)


@pytest.mark.parametrize("words", ["Body Type", "Forbidden", "soldier", "hammerhead", "for sale", "vendor"])
def test_other_words_with_the_same_letters_are_not(words: str) -> None:
    assert not may_be_sale(f"<b>{words}</b> <span>$12,500</span>", 12_500)


@pytest.mark.parametrize("page", [f"Sold for {_FAR} $12,500", "Sold for $2,500", "Sold for $112,501", "Sold", ""])
def test_words_of_a_sale_elsewhere_say_nothing_of_the_amount(page: str) -> None:
    assert not may_be_sale(page, 12_500)


def test_an_amount_below_a_thousand_is_found_too() -> None:
    assert may_be_sale("<b>Sold for</b> $950", 950)
