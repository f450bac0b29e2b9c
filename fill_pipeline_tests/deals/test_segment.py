"""Promises of the arithmetic of comparables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.deals import segment
from fill_pipeline.deals.segment import MARKET_SLOPES, Vehicles, fit_segment, value_subjects

REFERENCE = 2027


def _vehicles(n: int, seed: int, noise: float = 0.04) -> Vehicles:
    dice = np.random.default_rng(seed)
    year = dice.integers(2012, 2022, n).astype(float)
    km = np.abs(20_000 + 15_000 * (2026 - year) + dice.normal(0, 15_000, n))
    price = 10.0 + 0.09 * (year - 2020) - km / 400_000 + dice.laplace(0, noise, n)
    return Vehicles(year, km, price, dice.integers(0, 3, (n, len(segment.TRAITS))))


def _without(vehicles: Vehicles, place: int) -> Vehicles:
    return vehicles.take(np.flatnonzero(np.arange(len(vehicles)) != place))


@pytest.mark.parametrize("n", [4, 6, 20, 100])
def test_leaving_a_vehicle_out_is_as_if_it_had_never_been_there(n: int) -> None:
    vehicles = _vehicles(n, seed=n)
    fit = fit_segment(vehicles, MARKET_SLOPES, REFERENCE)
    values = value_subjects(vehicles, np.arange(n), vehicles, fit, REFERENCE)
    for place in range(n):
        others = _without(vehicles, place)
        refit = fit_segment(others, MARKET_SLOPES, REFERENCE)
        one = vehicles.take(np.array([place]))
        alone = value_subjects(one, np.array([-1]), others, refit, REFERENCE)
        assert values.log_value[place] == pytest.approx(alone.log_value[0], abs=0.04, nan_ok=True)
        assert values.count[place] == alone.count[0]


@given(price=st.floats(4.0, 16.0), seed=st.integers(0, 20))
def test_a_vehicles_own_price_hardly_moves_its_value(price: float, seed: int) -> None:
    vehicles = _vehicles(30, seed)
    values = []
    for own in (vehicles.log_price[0], price):
        vehicles.log_price[0] = own
        fit = fit_segment(vehicles, MARKET_SLOPES, REFERENCE)
        values.append(value_subjects(vehicles, np.arange(30), vehicles, fit, REFERENCE).log_value[0])
    assert values[1] == pytest.approx(values[0], abs=0.06)


def test_one_absurd_price_does_not_move_the_others() -> None:
    vehicles = _vehicles(30, seed=1)
    before = value_subjects(
        vehicles, np.arange(30), vehicles, fit_segment(vehicles, MARKET_SLOPES, REFERENCE), REFERENCE
    )
    vehicles.log_price[5] = 18.0
    after = value_subjects(
        vehicles, np.arange(30), vehicles, fit_segment(vehicles, MARKET_SLOPES, REFERENCE), REFERENCE
    )
    others = np.arange(30) != 5
    assert np.abs(after.log_value - before.log_value)[others].max() < 0.08


def test_fewer_than_three_comparables_give_no_value() -> None:
    for n in (1, 2, 3):
        vehicles = _vehicles(n, seed=n)
        values = value_subjects(
            vehicles, np.arange(n), vehicles, fit_segment(vehicles, MARKET_SLOPES, REFERENCE), REFERENCE
        )
        assert np.isnan(values.log_value).all()
        assert (values.confidence == 0).all()


def test_comparables_too_many_years_apart_give_no_value() -> None:
    vehicles = _vehicles(30, seed=2)
    old = Vehicles(
        np.array([1990.0]), np.array([200_000.0]), np.array([8.0]), np.zeros((1, len(segment.TRAITS)), np.int64)
    )
    fit = fit_segment(vehicles, MARKET_SLOPES, REFERENCE)
    assert np.isnan(value_subjects(old, np.array([-1]), vehicles, fit, REFERENCE).log_value[0])


def test_confidence_is_the_share_of_prices_within_fifteen_percent() -> None:
    for noise in (0.05, 0.12, 0.25):
        vehicles = _vehicles(400, seed=3, noise=noise)
        fit = fit_segment(vehicles, MARKET_SLOPES, REFERENCE)
        values = value_subjects(vehicles, np.arange(400), vehicles, fit, REFERENCE)
        within = (np.abs(np.exp(values.log_value - vehicles.log_price) - 1) < segment.WITHIN).mean()
        assert values.confidence.mean() == pytest.approx(within, abs=0.12)


def test_more_comparables_of_one_price_make_the_value_surer() -> None:
    few, many = _vehicles(4, seed=4), _vehicles(200, seed=4)
    sure = []
    for vehicles in (few, many):
        fit = fit_segment(vehicles, MARKET_SLOPES, REFERENCE)
        subject = Vehicles(np.array([2016.0]), np.array([150_000.0]), np.array([0.0]), vehicles.traits[:1])
        sure.append(value_subjects(subject, np.array([-1]), vehicles, fit, REFERENCE).confidence[0])
    assert sure[1] > sure[0]


def test_an_unknown_mileage_is_taken_as_typical() -> None:
    vehicles = _vehicles(100, seed=5)
    fit = fit_segment(vehicles, MARKET_SLOPES, REFERENCE)
    typical = float(np.median(vehicles.km[np.abs(vehicles.year - 2016) <= 1]))
    values = [
        value_subjects(
            Vehicles(np.array([2016.0]), np.array([km]), np.array([0.0]), vehicles.traits[:1]),
            np.array([-1]),
            vehicles,
            fit,
            REFERENCE,
        ).log_value[0]
        for km in (float("nan"), typical)
    ]
    assert values[0] == pytest.approx(values[1])
