"""Promises of the deal finder, on a real database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fill_pipeline.db import deals as db
from fill_pipeline.deals.config import DealConfig
from fill_pipeline.deals.finder import find_deals, top_deals, why
from fill_pipeline.settings import Settings
from fill_pipeline_tests.deals.conftest import Find, SmallMarket, fair_price

DOCUMENTED = (
    "listings_analyzed",
    "deals_found",
    "avg_profit",
    "max_profit",
    "oracle_calls",
    "oracle_errors",
    "duration_ms",
)


def _valuations(market: SmallMarket, where: str = "current") -> int:
    row = market.conn.execute(f"SELECT count(*) FROM arbitrage_valuations WHERE {where}").fetchone()  # noqa: S608
    assert row is not None
    return int(row[0])


def _valuation(market: SmallMarket, listing: int) -> dict[str, Any]:
    [current] = [v for v in db.valuations_of(market.conn, listing) if v.current]
    return current.valuation


def test_a_cheap_car_among_fairly_priced_ones_is_the_top_deal(market: SmallMarket, find: Find) -> None:
    market.cars(40)
    cheap = fair_price(2018, 70_000) * 0.65
    [bargain] = market.write(market.car(1, year=2018, mileage=70_000, price=round(cheap)))
    result = find()
    assert all(key in result for key in DOCUMENTED)
    assert (result["listings_analyzed"], result["oracle_calls"], result["oracle_errors"]) == (41, 41, 0)
    [top] = top_deals(market.conn, 1)
    assert top.listing_id == bargain
    assert top.valuation["oracle_value"] == pytest.approx(fair_price(2018, 70_000), rel=0.05)
    assert result["max_profit"] == top.valuation["net_profit"]


def test_net_profit_is_value_and_condition_less_price_and_every_cost(market: SmallMarket, find: Find) -> None:
    market.cars(20)
    find()
    for (listing,) in market.conn.execute("SELECT listing_id FROM arbitrage_valuations").fetchall():
        v = _valuation(market, listing)
        costs = v["friction"]
        parts = ("transport", "auction_fees", "reconditioning", "holding", "selling")
        assert costs["total"] == sum(costs[part] for part in parts)
        assert v["gross_spread"] == v["oracle_value"] + v["condition_adjustment"] - v["asking_price"]
        assert v["net_profit"] == v["gross_spread"] - costs["total"]
    [(differing,)] = market.conn.execute(
        "SELECT count(*) FROM arbitrage_valuations WHERE projected_profit <> (valuation_data ->> 'net_profit')::numeric"
    ).fetchall()
    assert differing == 0


def test_fewer_than_three_comparables_give_no_valuation(market: SmallMarket, find: Find) -> None:
    market.cars(3)
    result = find()
    assert (result["listings_analyzed"], result["listings_valued"]) == (3, 0)
    assert _valuations(market, "true") == 0
    market.cars(1, start=2000)
    assert find()["listings_valued"] == 4


def test_what_had_too_few_comparables_is_looked_at_again_every_day(market: SmallMarket, find: Find) -> None:
    market.cars(3)
    assert find()["listings_valued"] == 0
    market.next_cycle()
    find()
    market.next_cycle()
    market.cars(1, start=2000)
    assert find()["listings_valued"] == 1  # the new one; nobody said anything about the others
    market.next_cycle(timedelta(days=1))
    assert find()["listings_valued"] == 3


def test_the_jobs_row_names_its_run(market: SmallMarket, find: Find) -> None:
    market.cars(4)
    find(run_id="run-9")
    assert market.conn.execute("SELECT status, run_id FROM deal_finder_jobs").fetchall() == [("finished", "run-9")]


def test_cars_of_another_currency_are_no_comparables(market: SmallMarket, find: Find) -> None:
    market.cars(10)
    [foreign] = market.write(market.car(1, currency="CAD"))
    find()
    assert db.valuations_of(market.conn, foreign) == []


def test_a_second_run_values_nothing_again(market: SmallMarket, find: Find) -> None:
    market.cars(10)
    assert find()["listings_valued"] == 10
    assert find()["listings_analyzed"] == 0
    market.next_cycle()
    assert find()["listings_analyzed"] == 0


def test_a_price_drop_is_valued_anew_and_the_former_valuation_kept(market: SmallMarket, find: Find) -> None:
    market.cars(20)
    [listing] = market.write(market.car(1, year=2016, mileage=90_000, price=12_000))
    find()
    before = _valuation(market, listing)
    market.next_cycle()
    market.write(market.car(1, year=2016, mileage=90_000, price=9_500))
    assert find()["listings_analyzed"] == 1
    after = _valuation(market, listing)
    assert (after["asking_price"], after["signals"]["price_drops"], after["signals"]["price_dropped"]) == (
        9_500,
        1,
        2_500,
    )
    assert after["oracle_value"] == pytest.approx(before["oracle_value"], rel=0.02)
    [current, former] = db.valuations_of(market.conn, listing)
    assert (former.current, former.close_reason, former.valuation["asking_price"]) == (False, "revalued", 12_000)
    assert current.current


def test_a_listing_that_went_has_no_current_valuation(market: SmallMarket, find: Find) -> None:
    ids = market.cars(10)
    find()
    market.next_cycle()
    market.conn.execute(
        "UPDATE listing_records SET status = 'delisted', changed_cycle = %s WHERE id = %s", [market.cycle_id, ids[0]]
    )
    assert find()["valuations_closed"] == 1
    [only] = db.valuations_of(market.conn, ids[0])
    assert (only.current, only.close_reason) == (False, "delisted")
    assert _valuations(market) == 9


def test_a_listing_never_values_itself(market: SmallMarket, find: Find) -> None:
    market.cars(30)
    [listing] = market.write(market.car(1, year=2016, mileage=90_000, price=8_200))
    find()
    fair = _valuation(market, listing)["oracle_value"]
    market.next_cycle()
    market.write(market.car(1, year=2016, mileage=90_000, price=90_000))
    find()
    assert _valuation(market, listing)["oracle_value"] == pytest.approx(fair, rel=0.02)


def test_a_kept_market_gives_the_same_values_as_a_new_one(
    market: SmallMarket, find: Find, deal_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    market.cars(30)
    find()
    market.next_cycle()
    new = market.cars(5, start=3000)
    find()
    kept = [_valuation(market, listing)["oracle_value"] for listing in new]
    market.conn.execute("DELETE FROM arbitrage_valuations")
    elsewhere = deal_settings.model_copy(update={"home": tmp_path_factory.mktemp("elsewhere")})
    find_deals(market.conn, elsewhere, cycle_id=market.cycle_id, now=market.now + timedelta(minutes=30))
    assert [_valuation(market, listing)["oracle_value"] for listing in new] == kept


def test_a_market_kept_for_another_database_is_not_used(market: SmallMarket, find: Find) -> None:
    market.cars(30)
    find()
    market.conn.execute("TRUNCATE deal_finder_jobs, arbitrage_valuations, listing_records, vehicles CASCADE")
    market.cars(3)
    result = find()
    assert (result["market_vehicles"], result["listings_valued"]) == (3, 0)


def test_while_one_job_runs_another_does_nothing(market: SmallMarket, find: Find) -> None:
    market.cars(5)
    market.conn.execute(
        "INSERT INTO deal_finder_jobs (status, started_at, lease_expires_at) VALUES ('running', %s, %s)",
        [market.now, market.now + timedelta(hours=1)],
    )
    assert "another" in find()["note"]
    assert _valuations(market, "true") == 0


def test_a_job_whose_worker_died_ends_in_error_and_the_next_one_runs(market: SmallMarket, find: Find) -> None:
    market.cars(5)
    market.conn.execute(
        "INSERT INTO deal_finder_jobs (status, started_at, lease_expires_at) VALUES ('running', %s, %s)",
        [market.now - timedelta(hours=1), market.now - timedelta(minutes=50)],
    )
    find()
    states = market.conn.execute("SELECT status, error_message FROM deal_finder_jobs ORDER BY started_at").fetchall()
    assert [state for state, _ in states] == ["error", "finished"]
    assert "silent" in states[0][1]


def test_a_job_asked_for_by_run_now_is_the_one_that_runs(market: SmallMarket, find: Find) -> None:
    market.cars(5)
    market.conn.execute("INSERT INTO deal_finder_jobs (run_now, created_at) VALUES (true, %s)", [market.now])
    find()
    rows = market.conn.execute("SELECT status, run_now, result IS NOT NULL FROM deal_finder_jobs").fetchall()
    assert rows == [("finished", True, True)]


def test_a_failing_run_leaves_its_error_in_the_job(market: SmallMarket, find: Find) -> None:
    market.cars(5)
    with pytest.raises(ValueError, match="ENDPOINT"):
        find(config=DealConfig(oracle="http"))  # type: ignore[arg-type]
    [(status, message)] = market.conn.execute("SELECT status, error_message FROM deal_finder_jobs").fetchall()
    assert status == "error"
    assert "FILL_DEALS_HTTP__ENDPOINT" in message


def test_a_currency_without_costs_is_counted_and_left_out(market: SmallMarket, find: Find) -> None:
    market.cars(10, currency="JPY")
    result = find()
    assert (result["listings_analyzed"], result["listings_without_costs"], result["listings_valued"]) == (10, 10, 0)


def test_a_likely_fraud_is_valued_and_not_called_a_deal(market: SmallMarket, find: Find) -> None:
    market.cars(30)
    words = "I am deployed overseas. Payment by Western Union or gift cards, email me at seller@gmail.com"
    [fraud] = market.write(
        market.car(1, year=2020, mileage=30_000, price=3_000, description=words, seller_phone=None, images=[])
    )
    find()
    signals = _valuation(market, fraud)["signals"]
    assert signals["scam_probability"] > 0.5
    assert signals["scam_reasons"]
    assert fraud not in [deal.listing_id for deal in top_deals(market.conn, 50)]


def test_an_open_bid_is_not_called_a_deal(market: SmallMarket, find: Find) -> None:
    market.cars(30)
    [lot] = market.write(market.car(1, year=2020, mileage=30_000, price=1_000, price_kind="bid"))
    find()
    valuation = _valuation(market, lot)
    assert valuation["complexity_tier"] == "complex"
    assert valuation["friction"]["auction_fees"] > 0
    assert lot not in [deal.listing_id for deal in top_deals(market.conn, 50)]


def test_a_branded_title_lowers_the_value(market: SmallMarket, find: Find) -> None:
    market.cars(30)
    [wreck] = market.write(market.car(1, description="Salvage title, drives fine"))
    find()
    valuation = _valuation(market, wreck)
    assert valuation["condition_adjustment"] == -round(valuation["oracle_value"] * 0.35)
    assert valuation["condition_reasons"] == ["branded_title"]


def test_the_result_reports_the_oracles_accuracy_by_price_band(market: SmallMarket, find: Find) -> None:
    market.cars(60)
    accuracy = find()["accuracy"]
    assert accuracy["mdape"] < 0.06
    assert sum(band["n"] for band in accuracy["by_band"].values()) == 60
    assert accuracy["by_segment"]["Honda Civic USD"]["n"] == 60


def test_a_run_with_nothing_to_value_measures_the_oracle_on_the_market(market: SmallMarket, find: Find) -> None:
    market.cars(150)
    assert find()["accuracy"]["n"] == 150  # enough: nothing is measured beside
    market.next_cycle()
    result = find()
    assert result["listings_analyzed"] == 0
    assert result["accuracy"]["mdape"] < 0.06
    assert result["accuracy"]["by_segment"]["Honda Civic USD"]["n"] == result["accuracy"]["n"] == 20


def test_why_shows_the_comparables_and_the_history(market: SmallMarket, find: Find) -> None:
    market.cars(20)
    [listing] = market.write(market.car(1))
    find()
    reasons = why(market.conn, listing)
    assert reasons is not None
    assert reasons["listing"]["model"] == "Civic"
    assert len(reasons["comparables"]) == 5
    assert len(reasons["history"]) == 1
    assert why(market.conn, 10**9) is None


def test_the_documented_queries_answer(market: SmallMarket, find: Find) -> None:
    market.cars(20)
    market.write(market.car(1, year=2018, mileage=70_000, price=6_000))
    find()
    latest = market.conn.execute(
        "SELECT result->>'deals_found' AS deals, result->>'avg_profit' AS avg_profit, finished_at "
        "FROM deal_finder_jobs WHERE status = 'finished' ORDER BY finished_at DESC LIMIT 1"
    ).fetchone()
    assert latest is not None
    assert int(latest[0]) >= 1
    assert int(latest[1]) > 0
    usage = market.conn.execute(
        "SELECT SUM((result->>'oracle_calls')::int) FROM deal_finder_jobs WHERE status = 'finished'"
    ).fetchone()
    assert usage == (21,)
