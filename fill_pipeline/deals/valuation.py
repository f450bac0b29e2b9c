"""A valuation: what a listing would earn, with everything that went into the figure."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from fill_pipeline.db.deals import ListingToValue
from fill_pipeline.deals.config import ConditionRules, Costs, DealConfig
from fill_pipeline.deals.friction import friction_of
from fill_pipeline.deals.oracle import OracleValue
from fill_pipeline.deals.signals import RedFlag, Signals, signals_of

if TYPE_CHECKING:
    from fill_pipeline.deals.market import Supply

FAST_DAYS = 30.0
"""Days' supply below which a segment sells fast; about what traders call a lean stock."""
SLOW_DAYS = 90.0
_FEWEST_FOR_SUPPLY = 5
_CLASSIC_YEARS = 25


class LiquidityTier(StrEnum):
    """How soon such a vehicle sells, from its segment's days' supply."""

    FAST = "fast"  # gone within a month
    NORMAL = "normal"  # within three
    SLOW = "slow"  # longer
    UNKNOWN = "unknown"  # too few vehicles, or none went yet


class ComplexityTier(StrEnum):
    """How much work and risk there is between buying and selling."""

    SIMPLE = "simple"  # a fixed price, a known car, sound papers
    MODERATE = "moderate"  # one thing to look into
    COMPLEX = "complex"  # an auction, branded papers, a car that does not run, or several things at once


def valuation_data(
    listing: ListingToValue,
    worth: OracleValue,
    supply: Supply,
    costs: Costs,
    config: DealConfig,
    *,
    oracle: str,
    now: datetime,
) -> dict[str, Any]:
    """The JSON of ``arbitrage_valuations.valuation_data``; amounts are whole units of ``currency``.

    ``net_profit`` = oracle value + condition adjustment − asking price − friction's total; ``roi`` is
    its share of what is laid out (asking price and friction).
    """
    signals = signals_of(listing, value=worth.value, now=now)
    adjustment, reasons = condition_adjustment(worth.value, signals.red_flags, config.condition)
    adjusted = worth.value + adjustment
    days = supply.days if supply.active >= _FEWEST_FOR_SUPPLY else None
    friction = friction_of(listing, adjusted, costs, config, year_now=now.year, days_supply=days)
    gross = adjusted - listing.price
    net = gross - friction.total
    tier, why = complexity_of(listing, signals, now)
    return {
        "oracle": oracle,
        "oracle_value": worth.value,
        "oracle_count": worth.count,
        "oracle_spread": worth.spread,
        "oracle_confidence": worth.confidence,
        "comparables": list(worth.comparables),
        "currency": listing.currency,
        "asking_price": listing.price,
        "price_kind": listing.price_kind,
        "condition_adjustment": adjustment,
        "condition_reasons": reasons,
        "friction": friction.as_json(),
        "gross_spread": gross,
        "net_profit": net,
        "roi": round(net / (listing.price + friction.total), 4),
        "liquidity_tier": liquidity_of(days).value,
        "days_supply": None if days is None else round(days, 1),
        "complexity_tier": tier.value,
        "complexity_reasons": why,
        "signals": signals.as_json(),
        "content_hash": listing.content_hash,
    }


def condition_adjustment(value: int, flags: tuple[RedFlag, ...], rules: ConditionRules) -> tuple[int, list[str]]:
    """How much less (a negative amount) a vehicle is worth than sound comparables, and why."""
    shares = {
        RedFlag.BRANDED_TITLE: rules.branded_title,
        RedFlag.NOT_RUNNING: rules.not_running,
        RedFlag.NEEDS_WORK: rules.needs_work,
    }
    reasons = [flag.value for flag in flags if flag in shares]
    share = min(sum(shares[RedFlag(reason)] for reason in reasons), rules.most)
    return -round(value * share), reasons


def liquidity_of(days_supply: float | None) -> LiquidityTier:
    """The tier of a segment with so many days' supply (None: unknown)."""
    if days_supply is None:
        return LiquidityTier.UNKNOWN
    return (
        LiquidityTier.FAST
        if days_supply < FAST_DAYS
        else LiquidityTier.NORMAL
        if days_supply <= SLOW_DAYS
        else LiquidityTier.SLOW
    )


def complexity_of(listing: ListingToValue, signals: Signals, now: datetime) -> tuple[ComplexityTier, list[str]]:
    """How complicated a deal is, and why."""
    grave = [
        flag.value
        for flag in signals.red_flags
        if flag in (RedFlag.BRANDED_TITLE, RedFlag.NO_TITLE, RedFlag.NOT_RUNNING)
    ]
    if listing.price_kind == "bid":
        grave.append("auction")
    light = [
        flag.value for flag in signals.red_flags if flag in (RedFlag.NEEDS_WORK, RedFlag.ODOMETER, RedFlag.REMOTE_DEAL)
    ]
    if listing.vin is None:
        light.append("no VIN")
    if listing.km is None and listing.condition != "new":
        light.append("no mileage")
    if now.year - listing.year > _CLASSIC_YEARS:
        light.append("classic")
    tier = (
        ComplexityTier.COMPLEX
        if grave or len(light) > 2
        else ComplexityTier.MODERATE
        if light
        else ComplexityTier.SIMPLE
    )
    return tier, grave + light


def is_deal(valuation: dict[str, Any], config: DealConfig) -> bool:
    """Whether a valuation is worth a person's time: a fixed price, enough profit, sure enough, no likely fraud."""
    return bool(
        valuation["price_kind"] == "asking"
        and valuation["net_profit"] >= config.least_profit
        and valuation["oracle_confidence"] >= config.least_confidence
        and valuation["signals"]["scam_probability"] <= config.most_scam_probability
    )
