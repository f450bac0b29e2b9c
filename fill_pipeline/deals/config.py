"""The deal finder's knobs, read from the environment (prefix ``FILL_DEALS_``); lists and tables are JSON."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=10_000_000)]


class OracleKind(StrEnum):
    """Who says what a vehicle is worth."""

    COMPARABLES = "comparables"  # our own listings of the same make and model
    HTTP = "http"  # a service that is asked over HTTP


class Costs(BaseModel):
    """What stands between buying and selling, in whole units of the listing's own currency.

    The defaults are round figures for a small reseller of used cars in North America and Western
    Europe; put your own in their place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    transport_base: Amount = 75.0
    """Picking a vehicle up, however near."""
    transport_per_km: Amount = 0.45
    """A carrier's rate on the road."""
    transport_unknown: Amount = 350.0
    """Where the distance is not known: no home is set, or the listing names no coordinates."""
    auction_fee_share: Share = 0.05
    """Buyer's premium on an auction's price."""
    auction_fee_least: Amount = 250.0
    auction_fee_most: Amount = 7_500.0
    reconditioning_base: Amount = 300.0
    """Cleaning, inspection, small repairs of any used vehicle; a new one needs none."""
    reconditioning_per_year: Amount = 40.0
    """For each year of age, up to twenty."""
    reconditioning_per_10000_km: Amount = 25.0
    """Tyres, brakes, service, up to 300,000 km."""
    holding_per_day: Amount = 6.0
    """Place, insurance, care."""
    holding_interest: Share = 0.09
    """Cost of the money tied up, a year."""
    selling_base: Amount = 150.0
    """Title, registration, advertising."""
    selling_share: Share = 0.05
    """What a buyer bargains off an asking price: the oracle knows asking prices, a sale brings less."""


class ConditionRules(BaseModel):
    """How far a vehicle is worth less than its comparables when its own words say so, as shares of the value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    branded_title: Share = 0.35
    """Salvage, rebuilt, flood: traders reckon with 20 to 40 percent."""
    not_running: Share = 0.30
    needs_work: Share = 0.12
    most: Share = 0.60
    """All together never take more."""


class HttpOracleConfig(BaseModel):
    """A valuation service: where it is, what it is asked, where its answer has the value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/?#]+", max_length=2000)]
    parameters: dict[str, str] = {
        "make": "make",
        "model": "model",
        "year": "year",
        "mileage_km": "km",
        "trim": "trim",
        "vin": "vin",
        "currency": "currency",
    }
    """Query parameter of the service → field of the subject."""
    headers: dict[str, SecretStr] = {}
    token: SecretStr | None = None
    """Sent as ``Authorization: Bearer``, to the endpoint's own origin only."""
    value_path: str = "value"
    """JMESPath to the value in the JSON answer; an answer without one is "no value"."""
    currency_path: str | None = None
    """JMESPath to the value's currency; a value in another currency than the listing's is refused."""
    count_path: str | None = None
    spread_path: str | None = None
    confidence_path: str | None = None
    confidence: Share = 0.7
    """Where the service does not say how sure it is."""
    requests_per_minute: Annotated[float, Field(gt=0, le=60_000)] = 60.0
    attempts: Annotated[int, Field(ge=1, le=5)] = 3
    timeout: Annotated[float, Field(gt=0, le=120)] = 15.0
    cache_hours: Annotated[float, Field(ge=0, le=24 * 90)] = 72.0
    calls_per_run: Annotated[int, Field(ge=0)] = 2_000
    calls_per_day: Annotated[int, Field(ge=0)] = 10_000


class DealConfig(BaseSettings):
    """Everything about finding deals, as ``FILL_DEALS_ORACLE=http`` or ``FILL_DEALS_COSTS='{"USD": {…}}'``."""

    model_config = SettingsConfigDict(env_prefix="FILL_DEALS_", env_nested_delimiter="__", extra="ignore", frozen=True)

    oracle: OracleKind = OracleKind.COMPARABLES
    http: HttpOracleConfig | None = None
    costs: dict[str, Costs] = {}
    """Costs by currency; a currency not named has the defaults, where they fit its unit."""
    default_currencies: tuple[str, ...] = ("USD", "CAD", "EUR", "GBP", "CHF", "AUD", "NZD")
    """Currencies whose unit is near enough to a dollar for the default costs; others need ``costs`` of their own."""
    condition: ConditionRules = ConditionRules()
    home_latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    home_longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    """Where vehicles are brought to; without it transport costs ``transport_unknown``."""
    holding_days: Annotated[float, Field(gt=0, le=365)] = 45.0
    """Days to sell where the market's days' supply is not known."""
    least_profit: Amount = 500.0
    """Net profit from which a valuation is counted as a deal."""
    least_confidence: Share = 0.5
    most_scam_probability: Share = 0.5
    max_listings: Annotated[int, Field(ge=1)] = 1_000_000
    """Listings valued in one run; the rest wait for the next."""
    batch_size: Annotated[int, Field(ge=100, le=50_000)] = 5_000
    lease_seconds: Annotated[int, Field(ge=10)] = 300

    def costs_of(self, currency: str) -> Costs | None:
        """The costs in this currency; None where none are known and no figure would be honest."""
        if currency in self.costs:
            return self.costs[currency]
        return Costs() if currency in self.default_currencies else None
