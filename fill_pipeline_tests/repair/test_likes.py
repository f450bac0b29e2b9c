"""A number that nobody knows is told by what such cars are advertised with, or not told at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest

from fill_pipeline.db.improvement import NumberLike
from fill_pipeline.repair.likes import LEAST_PAGES, Unread, Usual, told
from fill_pipeline.repair.truth import Witness

YEAR = 2026
CARS = [("Ford", "Fusion", 24_000), ("Toyota", "RAV4", 31_000), ("Kia", "Rio", 17_000), ("BMW", "X5", 66_000)]


def numbers(unit: str = "USD", *, worth: float = 1.0, is_ours: bool = True) -> list[NumberLike]:
    """What ten of each model ask elsewhere: the new price less 12 % a year, give or take a tenth."""
    chance = Random(1)
    return [
        NumberLike(make, model, year, int(asked(new, year, chance) * worth), unit, is_ours)
        for make, model, new in CARS
        for year in range(2014, 2024)
    ]


def asked(new: int, year: int, chance: Random) -> int:
    return int(new * 0.88 ** (YEAR - year) * math.exp(chance.gauss(0, 0.1))) // 100 * 100


def pages(form: Callable[[int, int, Random], str], n: int = 24) -> tuple[list[Unread], dict[str, int]]:
    """Pages of further cars in a form made of price, mileage and chance; with what each asks."""
    usual = Usual.of("price", numbers(), year_now=YEAR)
    chance, unread, prices = Random(2), [], {}
    for turn in range(n):
        make, model, new = CARS[turn % len(CARS)]
        year = 2012 + turn % 13
        price, miles = asked(new, year, chance), chance.randrange(8_000, 160_000)
        body = f"<html><body><h1>{year} {make} {model}</h1>{form(price, miles, chance)}</body></html>"
        log = usual.log_of(make, model, year)
        assert log is not None
        unread.append(Unread(Witness(f"http://shop.test/{turn}", body.encode(), "text/html"), log))
        prices[unread[-1].page.url] = price
    return unread, prices


def bare(price: int, miles: int, chance: Random) -> str:
    return f"<p>Ran so far</p><p>{miles}</p><div><i>Yours for</i><b class=z>{price}</b></div><p>{price // 58}</p>"


def test_prices_are_told_by_the_one_place_whose_numbers_go_with_what_such_cars_ask() -> None:
    unread, prices = pages(bare)
    assert told(unread, "price") == prices


def test_too_few_pages_tell_nothing() -> None:
    assert told(pages(bare, LEAST_PAGES - 1)[0], "price") == {}


@pytest.mark.parametrize(
    "form",
    [
        lambda price, miles, chance: f"<p>Ran so far</p><p class=z>{miles}</p>",
        lambda price, miles, chance: "<b class=z>14900</b>",
        lambda price, miles, chance: f"<b class=z>{chance.randrange(5_000, 40_000)}</b>",  # another car's
    ],
    ids=["mileage", "the same everywhere", "of any car"],
)
def test_numbers_that_do_not_go_with_what_such_cars_ask_are_no_prices(form: Callable[[int, int, Random], str]) -> None:
    assert told(pages(form)[0], "price") == {}


def test_where_two_places_could_be_the_price_and_differ_nothing_is_told() -> None:
    def two(price: int, miles: int, chance: Random) -> str:
        return f"<b class=a>{price}</b><b class=b>{int(price * 1.12) // 10 * 10}</b>"

    assert told(pages(two)[0], "price") == {}


def test_a_place_that_fails_on_the_pages_it_was_not_found_on_tells_nothing() -> None:
    unread, _ = pages(bare)
    shuffled = [one.page.body for one in unread[1::2]]
    for one, body in zip(unread[1::2], shuffled[::-1], strict=True):
        one.page.body = body
    assert told(unread, "price") == {}


def test_what_is_usual_follows_age_and_needs_some_such_cars() -> None:
    usual = Usual.of("price", [*numbers(), NumberLike("Saab", "9-3", 2010, 4_000, "USD", True)], year_now=YEAR)
    young, old = usual.log_of("Ford", "Fusion", 2023), usual.log_of("Ford", "Fusion", 2014)
    assert young is not None
    assert old is not None
    assert math.exp(young) == pytest.approx(24_000 * 0.88**3, rel=0.1)
    assert math.exp(old) == pytest.approx(24_000 * 0.88**12, rel=0.1)
    assert usual.log_of("Saab", "9-3", 2010) is None
    assert Usual.of("mileage", [], year_now=YEAR).log_of("Ford", "Fusion", 2020) is None


def test_prices_in_another_currency_count_as_far_as_own_prices_show_what_it_is_worth() -> None:
    euros = [one for one in numbers("EUR", worth=0.8) if one.model != "X5"]
    dollars = numbers("USD", is_ours=False)
    known = Usual.of("price", euros + dollars, year_now=YEAR).log_of("BMW", "X5", 2020)
    assert known is not None
    assert math.exp(known) == pytest.approx(0.8 * 66_000 * 0.88**6, rel=0.1)
    assert Usual.of("price", euros[:5] + dollars, year_now=YEAR).log_of("BMW", "X5", 2020) is None
