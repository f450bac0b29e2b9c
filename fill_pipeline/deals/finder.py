"""The deal finder: one job values the new and changed listings and says which are worth buying."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fill_pipeline.db import deals as db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.deals import DealRow, ListingToValue
from fill_pipeline.deals.accuracy import Accuracy
from fill_pipeline.deals.config import DealConfig, OracleKind
from fill_pipeline.deals.oracle import ComparablesOracle, Oracle
from fill_pipeline.deals.valuation import is_deal, valuation_data
from fill_pipeline.settings import Settings

if TYPE_CHECKING:
    from fill_pipeline.deals.market import Market


_FEWEST_MEASURED = 100
_MEASURED_SEGMENTS, _MEASURED_OF_EACH = 20, 20


class LeaseLost(Exception):
    """The job was taken from this worker: it was silent too long."""


@dataclass(slots=True)
class _Tally:
    """What a run did."""

    analyzed: int = 0
    profits: list[int] = field(default_factory=list)
    valued: int = 0
    no_value: int = 0
    no_costs: int = 0
    accuracy: Accuracy = field(default_factory=Accuracy)


def find_deals(
    conn: Connection,
    settings: Settings,
    *,
    cycle_id: str,
    now: datetime,
    run_id: str | None = None,
    config: DealConfig | None = None,
) -> dict[str, Any]:
    """Value the listings that are new or changed since the last finished job; returns the job's result.

    Once a day, when the market is read anew, every active listing without a valuation is looked at again: what the
    oracle failed at or had too few comparables for is not lost.

    One ``deal_finder_jobs`` row: one asked for by ``run_now`` or otherwise pending, or a new one. It ends
    ``finished`` with the result or ``error`` with the message (which is raised too). While another job
    runs nothing is done and the result says so. ``conn`` must be in autocommit.
    """
    config = config or DealConfig()
    owner = f"{os.uname().nodename}:{os.getpid()}:{run_id or 'by hand'}"
    since = db.finished_since(conn)
    lease = timedelta(seconds=config.lease_seconds)
    job_id = db.start_job(conn, cycle_id=cycle_id, owner=owner, now=now, lease_until=now + lease, run_id=run_id)
    if job_id is None:
        return {"note": "another deal finder job is running", "listings_analyzed": 0, "deals_found": 0}
    began = time.monotonic()
    job = _Job(conn, config, job_id, owner, now, began)
    try:
        result = _run(job, settings, cycle_id, since)
    except BaseException as error:
        result = {"duration_ms": job.elapsed_ms}
        message = f"{type(error).__name__}: {error}"
        db.finish_job(conn, job_id, owner=owner, now=job.clock, result=result, error=message[:2000])
        raise
    db.finish_job(conn, job_id, owner=owner, now=job.clock, result=result, error=None)
    return {"job_id": str(job_id), **result}


def top_deals(conn: Connection, n: int, config: DealConfig | None = None) -> list[DealRow]:
    """The ``n`` most profitable current deals that are sure enough and not likely frauds."""
    config = config or DealConfig()
    return db.top_deals(conn, n, min_confidence=config.least_confidence, max_scam=config.most_scam_probability)


def why(conn: Connection, listing_id: int) -> dict[str, Any] | None:
    """Everything behind a listing's valuation: the listing, the figures, the comparables, earlier valuations.

    None where there is no such listing; ``valuation`` is None where it has no valuation.
    """
    listing = db.listing_facts(conn, listing_id)
    if listing is None:
        return None
    valuations = db.valuations_of(conn, listing_id)
    latest = valuations[0] if valuations else None
    comparables = db.comparables_of(conn, latest.valuation.get("comparables", [])) if latest else []
    return {
        "listing": listing,
        "valuation": asdict(latest) if latest else None,
        "comparables": comparables,
        "history": [
            {
                "valued_at": v.valued_at,
                "asking_price": v.valuation.get("asking_price"),
                "oracle_value": v.valuation.get("oracle_value"),
                "net_profit": v.valuation.get("net_profit"),
                "closed_at": v.closed_at,
                "close_reason": v.close_reason,
            }
            for v in valuations
        ],
    }


@dataclass(slots=True)
class _Job:
    """A job under way. Its clock is the time it was given plus what has passed since."""

    conn: Connection
    config: DealConfig
    id: UUID
    owner: str
    now: datetime
    began: float

    @property
    def elapsed_ms(self) -> int:
        return round((time.monotonic() - self.began) * 1000)

    @property
    def clock(self) -> datetime:
        return self.now + timedelta(milliseconds=self.elapsed_ms)

    def beat(self) -> None:
        lease_until = self.clock + timedelta(seconds=self.config.lease_seconds)
        if not db.extend_job(self.conn, self.id, owner=self.owner, lease_until=lease_until):
            raise LeaseLost(f"deal finder job {self.id} was taken from {self.owner}")


def _run(job: _Job, settings: Settings, cycle_id: str, since: datetime | None) -> dict[str, Any]:
    from fill_pipeline.deals.market import open_market

    conn = job.conn
    cycles = None if since is None else sorted({cycle_id, *db.cycles_since(conn, since)})
    folder = settings.home / "deals"
    market = open_market(conn, folder, cycle_id=cycle_id, now=job.now)
    if market.built_at == job.now:
        cycles = None
    job.beat()
    closed = db.close_gone(conn, cycles, now=job.now)
    waiting = db.changed_listings(conn, cycles)
    tally = _Tally()
    with ExitStack() as stack:
        oracle = _oracle(stack, job, settings, market)
        for ids in _batches([listing for listing, _ in waiting[: job.config.max_listings]], job.config.batch_size):
            _value_batch(job, oracle, market, db.listings_to_value(conn, ids), tally)
            job.beat()
        if isinstance(oracle, ComparablesOracle) and len(tally.accuracy) < _FEWEST_MEASURED:
            tally.accuracy = max(tally.accuracy, _measured(conn, oracle), key=len)
    kept = market.save(folder, job.id)
    return {
        "listings_analyzed": tally.analyzed,
        "deals_found": len(tally.profits),
        "avg_profit": round(sum(tally.profits) / len(tally.profits)) if tally.profits else None,
        "max_profit": max(tally.profits, default=None),
        "oracle_calls": oracle.calls,
        "oracle_errors": oracle.errors,
        "duration_ms": job.elapsed_ms,
        "oracle": oracle.name,
        "listings_valued": tally.valued,
        "listings_without_value": tally.no_value,
        "listings_without_costs": tally.no_costs,
        "listings_left": max(0, len(waiting) - job.config.max_listings),
        "valuations_closed": closed,
        "market_vehicles": len(market),
        "market_kept": kept,
        "accuracy": tally.accuracy.as_json(),
    }


def _measured(conn: Connection, oracle: ComparablesOracle) -> Accuracy:
    """The oracle measured on vehicles of the largest models: what few listings were valued says little."""
    accuracy = Accuracy()
    found = oracle.measured(_MEASURED_SEGMENTS, _MEASURED_OF_EACH)
    named = {v["vehicle_id"]: v for v in db.comparables_of(conn, [vehicle for vehicle, _, _ in found])}
    for vehicle, price, value in found:
        if said := named.get(vehicle):
            accuracy.add(segment=f"{said['make']} {said['model']} {said['currency']}", price=price, value=value)
    return accuracy


def _value_batch(job: _Job, oracle: Oracle, market: Market, listings: Sequence[ListingToValue], tally: _Tally) -> None:
    """Value a batch and write it in one transaction; what has no value loses the valuation it had."""
    rows: list[tuple[int, dict[str, Any]]] = []
    unvalued: list[int] = []
    payable = [one for one in listings if job.config.costs_of(one.currency) is not None]
    tally.analyzed += len(listings)
    tally.no_costs += len(listings) - len(payable)
    for listing, worth in zip(payable, oracle.value(payable), strict=True):
        costs = job.config.costs_of(listing.currency)
        if worth is None or costs is None:
            unvalued.append(listing.id)
            continue
        supply = market.supply(listing.segment, job.now)
        data = valuation_data(listing, worth, supply, costs, job.config, oracle=oracle.name, now=job.now)
        rows.append((listing.id, data))
        if listing.price_kind == "asking":
            segment = f"{listing.make} {listing.model} {listing.currency}"
            tally.accuracy.add(segment=segment, price=listing.price, value=worth.value)
        if is_deal(data, job.config):
            tally.profits.append(data["net_profit"])
    tally.valued += len(rows)
    tally.no_value += len(unvalued)
    with job.conn.transaction():
        db.close_valuations(job.conn, unvalued, reason="no oracle value", now=job.now)
        db.write_valuations(job.conn, rows, job_id=job.id, now=job.now)


def _oracle(stack: ExitStack, job: _Job, settings: Settings, market: Market) -> Oracle:
    if job.config.oracle is OracleKind.COMPARABLES:
        return ComparablesOracle(market)
    if job.config.http is None:
        raise ValueError("FILL_DEALS_ORACLE is http, but FILL_DEALS_HTTP__ENDPOINT is not set")
    from fill_pipeline.crawl.fetch import Fetcher, FetchSettings
    from fill_pipeline.deals.http_oracle import HttpOracle

    fetcher = stack.enter_context(
        Fetcher(
            FetchSettings(
                allow_nets=settings.allow_nets,
                connect_to=settings.connect_to,
                user_agent=settings.user_agent,
                contact_url=settings.contact_url,
            )
        )
    )
    midnight = job.now.replace(hour=0, minute=0, second=0, microsecond=0)
    left = job.config.http.calls_per_day - db.oracle_calls_since(job.conn, midnight)
    return stack.enter_context(
        HttpOracle(job.config.http, fetcher, folder=settings.home / "deals", now=job.now, calls_left=left)
    )


def _batches(ids: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
