"""Promises of friction, signals, condition and tiers: pure functions of one listing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.db.deals import ListingToValue
from fill_pipeline.deals.config import Costs, DealConfig
from fill_pipeline.deals.friction import distance_km, friction_of
from fill_pipeline.deals.market import Supply
from fill_pipeline.deals.oracle import OracleValue
from fill_pipeline.deals.signals import RedFlag, red_flags, signals_of
from fill_pipeline.deals.valuation import is_deal, liquidity_of, valuation_data

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CIVIC = ListingToValue(
    id=1,
    vehicle_id=1,
    segment=1,
    currency_code=1,
    source="alpha",
    make="Honda",
    model="Civic",
    year=2018,
    trim=None,
    price=9_000,
    currency="USD",
    price_kind="asking",
    km=100_000.0,
    traits=[0] * 7,
    condition="used",
    body_style="sedan",
    vin="19XFC2F52GE012345",
    vin_status="valid",
    title="2018 Honda Civic",
    description="One owner.",
    images=5,
    seller_type="private",
    has_phone=True,
    latitude=45.52,
    longitude=-122.68,
    posted_at=NOW - timedelta(days=12),
    first_seen_at=NOW - timedelta(days=3),
    content_hash="x",
    price_drops=0,
    price_dropped=0,
    source_kind="classifieds",
)
WORTH = OracleValue(value=13_000, currency="USD", confidence=0.8, count=40, spread=0.07, comparables=(2, 3))


def _friction(listing: ListingToValue, *, days_supply: float | None = None, **config: Any) -> Any:
    return friction_of(listing, 13_000, Costs(), DealConfig(**config), year_now=2026, days_supply=days_supply)


def _valuation(listing: ListingToValue, **supply: Any) -> dict[str, Any]:
    facts = Supply(**{"active": 50, "gone_per_day": 2.0, "days": 25.0, **supply})
    return valuation_data(listing, WORTH, facts, Costs(), DealConfig(), oracle="comparables", now=NOW)


def test_transport_costs_grow_with_the_distance_by_road() -> None:
    home = {"home_latitude": 47.61, "home_longitude": -122.33}  # Seattle; Portland is some 280 km away by road
    assert distance_km(CIVIC, DealConfig(**home)) == pytest.approx(280, rel=0.1)
    near = _friction(replace(CIVIC, latitude=47.6), **home)
    assert near.transport < _friction(CIVIC, **home).transport


def test_an_unknown_distance_costs_the_flat_rate() -> None:
    assert _friction(CIVIC).transport == Costs().transport_unknown
    nowhere = _friction(replace(CIVIC, latitude=None), home_latitude=1.0, home_longitude=1.0)
    assert (nowhere.transport, nowhere.transport_km) == (Costs().transport_unknown, None)


@pytest.mark.parametrize(("price", "fee"), [(1_000, 250), (20_000, 1_000), (400_000, 7_500)])
def test_an_auctions_premium_has_a_floor_and_a_ceiling(price: int, fee: int) -> None:
    assert _friction(replace(CIVIC, price=price, source_kind="auction_house")).auction_fees == fee
    assert _friction(replace(CIVIC, price=price)).auction_fees == 0


def test_a_new_car_needs_no_reconditioning_and_an_old_one_more_than_a_young_one() -> None:
    assert _friction(replace(CIVIC, condition="new")).reconditioning == 0
    assert _friction(replace(CIVIC, year=2008)).reconditioning > _friction(CIVIC).reconditioning


def test_what_sells_slowly_costs_more_to_hold() -> None:
    fast, slow = _friction(CIVIC, days_supply=20.0), _friction(CIVIC, days_supply=200.0)
    assert (fast.holding_days, slow.holding_days) == (10, 100)
    assert slow.holding > fast.holding
    assert _friction(CIVIC).holding_days == 45


def test_costs_can_be_set_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILL_DEALS_COSTS", '{"JPY": {"transport_unknown": 50000}}')
    monkeypatch.setenv("FILL_DEALS_LEAST_PROFIT", "900")
    config = DealConfig()
    yen = config.costs_of("JPY")
    assert yen is not None
    assert yen.transport_unknown == 50_000
    assert config.least_profit == 900
    assert config.costs_of("SEK") is None


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("Rebuilt title, runs great", {RedFlag.BRANDED_TITLE}),
        ("Clean title, never salvage, no flood damage", set()),
        ("engine rebuilt last year by a specialist", set()),
        ("Does not run, for parts", {RedFlag.NOT_RUNNING}),
        ("Needs transmission, check engine light is on", {RedFlag.NEEDS_WORK}),
        ("Unfallwagen, nicht fahrbereit, Bastlerfahrzeug", {RedFlag.BRANDED_TITLE, RedFlag.NOT_RUNNING}),
        ("unfallfrei, scheckheftgepflegt", set()),
        ("Schadeauto te koop", {RedFlag.BRANDED_TITLE}),
        ("Lost title, bill of sale only", {RedFlag.NO_TITLE}),
        ("$500 down, bad credit ok, we finance", {RedFlag.FINANCE_BAIT}),
        ("TMU, odometer is broken", {RedFlag.ODOMETER}),
        ("write me: seller.77@gmail.com", {RedFlag.OFF_PLATFORM}),
        ("", set()),
    ],
)
def test_warnings_are_read_as_a_person_reads_them(words: str, flags: set[RedFlag]) -> None:
    assert set(red_flags(words)) == flags


@given(st.text(max_size=500))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert set(red_flags(text)) <= set(RedFlag)


def test_days_on_market_count_from_the_posting() -> None:
    assert signals_of(CIVIC, value=13_000, now=NOW).days_on_market == 12
    assert signals_of(replace(CIVIC, posted_at=None), value=13_000, now=NOW).days_on_market == 3


def test_a_cheap_car_with_a_vin_is_no_fraud_and_a_far_too_cheap_one_to_be_paid_by_gift_card_is() -> None:
    assert signals_of(replace(CIVIC, price=9_500), value=13_000, now=NOW).scam_probability < 0.05
    words = "I am deployed overseas, the car will be shipped. Pay with gift cards."
    fraud = replace(CIVIC, price=3_500, vin=None, vin_status=None, description=words, images=0, has_phone=False)
    signals = signals_of(fraud, value=13_000, now=NOW)
    assert signals.scam_probability > 0.8
    assert any("27%" in reason for reason in signals.scam_reasons)


def test_a_wreck_is_cheap_for_a_reason() -> None:
    words = replace(CIVIC, price=4_500, description="Salvage title")
    assert signals_of(words, value=13_000, now=NOW).scam_probability < 0.2


@pytest.mark.parametrize(("days", "tier"), [(10.0, "fast"), (60.0, "normal"), (200.0, "slow"), (None, "unknown")])
def test_liquidity_follows_the_days_supply(days: float | None, tier: str) -> None:
    assert liquidity_of(days).value == tier


def test_a_handful_of_cars_says_nothing_about_liquidity() -> None:
    assert _valuation(CIVIC, active=3)["liquidity_tier"] == "unknown"
    assert _valuation(CIVIC)["liquidity_tier"] == "fast"


def test_the_more_there_is_to_look_into_the_more_complex_a_deal_is() -> None:
    assert _valuation(CIVIC)["complexity_tier"] == "simple"
    assert _valuation(replace(CIVIC, vin=None))["complexity_tier"] == "moderate"
    assert _valuation(replace(CIVIC, vin=None, km=None, year=1990))["complexity_tier"] == "complex"
    assert _valuation(replace(CIVIC, description="no title"))["complexity_tier"] == "complex"


def test_a_valuation_holds_everything_it_was_made_of() -> None:
    data = _valuation(CIVIC)
    assert set(data) == {
        "oracle",
        "oracle_value",
        "oracle_count",
        "oracle_spread",
        "oracle_confidence",
        "comparables",
        "currency",
        "asking_price",
        "price_kind",
        "condition_adjustment",
        "condition_reasons",
        "friction",
        "gross_spread",
        "net_profit",
        "roi",
        "liquidity_tier",
        "days_supply",
        "complexity_tier",
        "complexity_reasons",
        "signals",
        "content_hash",
    }
    assert data["roi"] == pytest.approx(data["net_profit"] / (9_000 + data["friction"]["total"]), abs=0.0001)
    assert is_deal(data, DealConfig())
    assert not is_deal({**data, "oracle_confidence": 0.2}, DealConfig())
    assert not is_deal({**data, "net_profit": 100}, DealConfig())
