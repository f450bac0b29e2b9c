"""What valuing costs and how right it is: `python benchmarks/deals.py [--listings 5000] [--comparables 50000]`.

Fills a database of its own with made-up vehicles, values the listings among them, then once more after one in a
hundred changed; CPU is counted in this process and in its server process. `--full` is 100,000 listings against
1,000,000 comparables. Then, where a corpus is beside the checkout (`--corpus`), the comparables oracle is scored
leave-one-out on its real advertisements by price band, beside two baselines computed on the same advertisements:
the median of make, model and year, and ordinary least squares on year and mileage per model, both leave-one-out.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
from numpy.typing import NDArray
from psycopg.conninfo import make_conninfo

from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url, stop_embedded
from fill_pipeline.deals import segment
from fill_pipeline.deals.accuracy import BANDS, band_of
from fill_pipeline.deals.finder import find_deals
from fill_pipeline.deals.segment import Vehicles, fit_segment, market_slopes, value_subjects
from fill_pipeline.extract.listing import Listing
from fill_pipeline.settings import Settings
from fill_pipeline.vehicles.clean import clean

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EARLIER, FIRST, SECOND = "2026-02-01T12:00", "2026-03-01T12:00", "2026-03-01T14:00"
KM_PER_MILE = 1.609344
SEGMENTS = 2_000

MAKE_VEHICLES = """
INSERT INTO vehicles (
    id, year, make, model, trim, engine, drivetrain, condition, body_style, fuel_type, transmission, price, currency,
    price_kind, mileage, mileage_unit, status, created_at, created_cycle, updated_at, updated_cycle)
OVERRIDING SYSTEM VALUE
SELECT i, year, 'Make ' || segment / 25, 'Model ' || segment, 'Trim ' || trim, (1 + trim) || '.0L', 'fwd', 'used',
       'sedan', 'gasoline', 'automatic',
       (exp(9.6 + (segment %% 97) / 60.0 + 0.09 * (year - 2020) - miles / 250000.0 + trim * 0.05)
        * (0.9 + 0.2 * random()))::bigint,
       'USD', 'asking', miles, 'mi', 'active', %(now)s, %(cycle)s, %(now)s, %(cycle)s
FROM (
    SELECT i, year, trim, segment, (9000 * (2026 - year) * (0.5 + random()))::int AS miles
    FROM (SELECT i, 2006 + (random() * 19)::int AS year, (random() * 4)::int AS trim,
                 (power(random(), 3) * %(segments)s)::int AS segment -- few models have most of the cars
          FROM generate_series(1, %(count)s) i) a
) b
"""
MAKE_LISTINGS = """
INSERT INTO listing_records (
    id, source_id, source, remote_id, url, title, price, currency, price_kind, mileage, mileage_unit, year, make, model,
    trim, engine, drivetrain, condition, body_style, fuel_type, transmission, images, description, status,
    first_seen_at, first_cycle, changed_at, changed_cycle, content_hash, vehicle_id)
OVERRIDING SYSTEM VALUE
SELECT v.id, %(source)s, 'bench', v.id::text, 'http://bench.example/' || v.id, concat_ws(' ', v.year, v.make, v.model),
       v.price, v.currency, v.price_kind, v.mileage, v.mileage_unit, v.year, v.make, v.model, v.trim, v.engine,
       v.drivetrain, v.condition, v.body_style, v.fuel_type, v.transmission, ARRAY['http://bench.example/1.jpg'],
       repeat('Well kept, one owner, all books and both keys. ', 10), 'active', %(now)s, %(cycle)s, %(now)s, %(cycle)s,
       md5(v.id::text)::uuid, v.id
FROM vehicles v WHERE v.id <= %(count)s
"""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listings", type=int, default=5_000)
    parser.add_argument("--comparables", type=int, default=50_000)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--corpus", type=Path, default=Path(__file__).parents[2] / "shared" / "corpus")
    parser.add_argument("--accuracy-only", action="store_true")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    if not arguments.accuracy_only:
        listings, comparables = (100_000, 1_000_000) if arguments.full else (arguments.listings, arguments.comparables)
        figures["cost"] = measure_cost(listings, comparables)
    if arguments.corpus.is_dir():
        figures["accuracy"] = {
            "autotrader USD": measure_accuracy(autotrader(arguments.corpus), 2022),
            "kijiji CAD": measure_accuracy(kijiji(arguments.corpus), 2025),
        }
    else:
        print(f"no corpus at {arguments.corpus}: accuracy not measured")
    print(json.dumps(figures))


# ── Cost ──


def measure_cost(listings: int, comparables: int) -> dict[str, Any]:
    """CPU seconds of a first run over all listings and of one after 1 % changed."""
    with tempfile.TemporaryDirectory(prefix="bench-deals-") as home:
        settings = Settings(home=Path(home))
        try:
            url = make_conninfo(database_url(settings), dbname="postgres")
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute("CREATE DATABASE bench")
            url = make_conninfo(url, dbname="bench")
            migrate(url)
            with connect(url, name="bench") as conn:
                fill(conn, listings, comparables)
                first = measure_run(conn, settings, FIRST, NOW)
                change(conn, listings)
                second = measure_run(conn, settings, SECOND, NOW + timedelta(hours=2))
        finally:
            stop_embedded(settings)
    share = second["cpu_s"] / first["cpu_s"]
    print(f"re-run with 1 % changed: {share:.1%} of the first run's CPU")
    return {
        "listings": listings,
        "comparables": comparables,
        "first": first,
        "rerun": second,
        "rerun_share": round(share, 4),
    }


def fill(conn: Connection, listings: int, comparables: int) -> None:
    """Make the vehicles, and listings of the first of them."""
    add_cycle(conn, EARLIER, NOW - timedelta(days=28))
    conn.execute("UPDATE fill_cycles SET status = 'closed'")
    add_cycle(conn, FIRST, NOW)
    conn.execute("SELECT setseed(0.5)")
    conn.execute(MAKE_VEHICLES, {"now": NOW, "cycle": EARLIER, "count": comparables, "segments": SEGMENTS})
    [(source,)] = conn.execute(
        "INSERT INTO scrape_sources (name, base_url) VALUES ('bench', 'http://bench.example') RETURNING id"
    ).fetchall()
    conn.execute(MAKE_LISTINGS, {"source": source, "now": NOW, "cycle": EARLIER, "count": listings})
    conn.execute(
        "INSERT INTO listing_history (listing_id, observed_at, cycle_id, price, currency, status) "
        "SELECT id, changed_at, changed_cycle, price, currency, status FROM listing_records"
    )
    conn.execute("ANALYZE")


def change(conn: Connection, listings: int) -> None:
    """One listing in a hundred drops its price in the next cycle."""
    conn.execute("UPDATE fill_cycles SET status = 'closed'")
    add_cycle(conn, SECOND, NOW + timedelta(hours=2))
    conn.execute(
        "UPDATE listing_records SET price = price * 0.95, changed_cycle = %s, content_hash = md5('new' || id)::uuid "
        "WHERE id %% 100 = 0 AND id <= %s",
        [SECOND, listings],
    )
    conn.execute(
        "UPDATE vehicles v SET price = r.price, updated_cycle = r.changed_cycle FROM listing_records r "
        "WHERE r.vehicle_id = v.id AND r.changed_cycle = %s",
        [SECOND],
    )
    conn.execute("ANALYZE")


def add_cycle(conn: Connection, cycle_id: str, at: datetime) -> None:
    """An open cycle."""
    conn.execute(
        "INSERT INTO fill_cycles (cycle_id, started_at, window_start, window_end) VALUES (%s, %s, %s, %s)",
        [cycle_id, at, at, at + timedelta(hours=2)],
    )


def measure_run(conn: Connection, settings: Settings, cycle_id: str, now: datetime) -> dict[str, Any]:
    """One run of the deal finder."""
    spent: dict[str, float] = {}
    with measured(conn, spent):
        result = find_deals(conn, settings, cycle_id=cycle_id, now=now)
    print(
        f"{result['listings_valued']} of {result['listings_analyzed']} listings valued against "
        f"{result['market_vehicles']} vehicles: {spent['cpu_s']:.2f} CPU s (client {spent['client_cpu_s']:.2f}, "
        f"server {spent['server_cpu_s']:.2f}), {spent['wall_s']:.1f} s wall"
    )
    valued = {name: result[name] for name in ("listings_analyzed", "listings_valued", "market_vehicles", "deals_found")}
    return {**valued, "mdape": result["accuracy"]["mdape"], **spent}


@contextmanager
def measured(conn: Connection, spent: dict[str, float]) -> Iterator[None]:
    """CPU seconds of this process and of the connection's server process."""
    server = psutil.Process(conn.info.backend_pid)

    def cpu() -> tuple[float, float]:
        own, other = psutil.Process(os.getpid()).cpu_times(), server.cpu_times()
        return own.user + own.system, other.user + other.system

    before, wall = cpu(), time.monotonic()
    yield
    after = cpu()
    spent["client_cpu_s"] = round(after[0] - before[0], 2)
    spent["server_cpu_s"] = round(after[1] - before[1], 2)
    spent["cpu_s"] = round(spent["client_cpu_s"] + spent["server_cpu_s"], 2)
    spent["wall_s"] = round(time.monotonic() - wall, 2)


# ── Accuracy ──


def autotrader(corpus: Path) -> list[Listing]:
    """The advertisements of the corpus's search pages, one per VIN."""
    listings: dict[str, Listing] = {}
    for line in gzip.decompress((corpus / "sites" / "autotrader-us" / "truth.jsonl.gz").read_bytes()).splitlines():
        record = json.loads(line)["record"]
        offer = record.get("offers") or {}
        new = offer.get("itemCondition", "").endswith("/NewCondition")
        listings[record["vehicleIdentificationNumber"]] = Listing(
            title=record["name"],
            vin=record["vehicleIdentificationNumber"],
            make=record["brand"]["name"],
            model=record["model"],
            year=whole(record["productionDate"]),
            price=whole(offer.get("price")),
            currency="USD",
            mileage=whole((record.get("mileageFromOdometer") or {}).get("value")),
            mileage_unit="mi",
            condition="new" if new else "used",
            body_style=(record.get("bodyType") or [None])[0],
            drivetrain=record.get("driveWheelConfiguration"),
            fuel_type=record.get("fuelType"),
            transmission=record.get("vehicleTransmission"),
        )
    return [clean(one, now=NOW).listing for one in listings.values()]


def kijiji(corpus: Path) -> list[Listing]:
    """The advertisements of the corpus's daily snapshots, each VIN as it stood last."""
    rows: dict[str, dict[str, str]] = {}
    for file in sorted((corpus / "lifecycle" / "kijiji-daily").iterdir()):
        with gzip.open(file, "rt") as lines:
            for row in csv.DictReader(lines):
                if row.get("vin_number"):
                    rows[row["vin_number"]] = row
    return [
        clean(
            Listing(
                vin=vin,
                make=row.get("brand"),
                model=row.get("model"),
                year=whole(row.get("model_year")),
                price=whole(row.get("list_price")),
                currency="CAD",
                mileage=whole(row.get("mileage")),
                mileage_unit="km",
                condition=row.get("condition"),
                body_style=row.get("body_type"),
                drivetrain=row.get("wheel_config"),
                fuel_type=row.get("fuel_type"),
                transmission=row.get("transmission"),
                trim=row.get("configuration") or row.get("configration") or None,
            ),
            now=NOW,
        ).listing
        for vin, row in rows.items()
    ]


def whole(value: object) -> int | None:
    """The whole number a text states, or None."""
    digits = "".join(c for c in str(value).partition(".")[0] if c.isdigit()) if value is not None else ""
    return int(digits) if digits else None


def measure_accuracy(listings: list[Listing], reference_year: int) -> dict[str, Any]:
    """Median absolute percentage error, leave-one-out, of the oracle and two baselines where all three have a value."""
    priced = [one for one in listings if one.price and one.make and one.model and one.year]
    vehicles = columns(priced)
    by_segment: defaultdict[tuple[str | None, str | None], list[int]] = defaultdict(list)
    for place, one in enumerate(priced):
        by_segment[one.make, one.model].append(place)
    groups = [np.array(places) for places in by_segment.values()]
    price = np.exp(vehicles.log_price)
    began = time.process_time()
    value, confidence = oracle_values(vehicles, groups, reference_year)
    cpu = time.process_time() - began
    methods = {
        "oracle": value,
        "median of make-model-year": median_values(vehicles.year, price, groups),
        "regression per model": regression_values(vehicles.year, vehicles.km, price, groups),
    }
    common = ~np.isnan(np.stack(list(methods.values()))).any(axis=0)
    bands = np.array([band_of(round(p)) for p in price])
    report: dict[str, Any] = {
        "listings": len(priced),
        "valued": int((~np.isnan(value)).sum()),
        "compared": int(common.sum()),
        "cpu_ms_per_listing": round(cpu * 1000 / len(priced), 3),
    }
    for name, values in methods.items():
        error = np.abs(values - price) / price
        report[name] = {"mdape": share(error[common])} | {
            band: share(error[common & (bands == band)]) for band in sorted(set(bands[common].tolist()))
        }
        print(f"{name:26} {report[name]}")
    known = ~np.isnan(value)
    within = np.abs(value[known] / price[known] - 1) < segment.WITHIN
    report["confidence"] = {
        f"{low:.1f}-{low + 0.2:.1f}": {
            "n": int(chosen.sum()),
            "stated": share(confidence[known][chosen], np.mean),
            "true": share(within[chosen], np.mean),
        }
        for low in (0.2, 0.4, 0.6, 0.8)
        if (chosen := (confidence[known] >= low) & (confidence[known] < low + 0.2)).any()
    }
    print(f"confidence {report['confidence']}; {report['cpu_ms_per_listing']} CPU ms a listing, bands at {BANDS}")
    return report


def share(values: NDArray[Any], how: Any = np.median) -> float:
    """A statistic, rounded."""
    return round(float(how(values)), 4)


def columns(listings: list[Listing]) -> Vehicles:
    """The listings as the arithmetic wants them; mileage NaN where unknown."""

    def km(one: Listing) -> float:
        if one.mileage is None:
            return 0.0 if one.condition == "new" else float("nan")
        return one.mileage * (KM_PER_MILE if one.mileage_unit == "mi" else 1.0)

    def code(text: str | None) -> int:
        return zlib.crc32(text.lower().encode()) | 1 if text else 0

    return Vehicles(
        np.array([one.year for one in listings], np.float64),
        np.array([km(one) for one in listings]),
        np.log(np.array([one.price for one in listings], np.float64)),
        np.array([[code(getattr(one, trait)) for trait in segment.TRAITS] for one in listings], np.int64),
    )


def oracle_values(
    vehicles: Vehicles, groups: list[NDArray[Any]], reference_year: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The comparables oracle's value of each vehicle and its confidence."""
    usable = ~np.isnan(vehicles.km)
    group_of = np.zeros(len(vehicles), np.int64)
    for number, group in enumerate(groups):
        group_of[group] = number
    slopes = market_slopes(vehicles.take(usable), group_of[usable], reference_year)
    value, confidence = np.full(len(vehicles), np.nan), np.zeros(len(vehicles))
    for group in groups:
        places = group[usable[group]]
        if not len(places):
            continue
        comparables = vehicles.take(places)
        own = np.array([np.flatnonzero(places == i)[0] if usable[i] else -1 for i in group], np.int64)
        fit = fit_segment(comparables, slopes, reference_year)
        worth = value_subjects(vehicles.take(group), own, comparables, fit, reference_year)
        value[group], confidence[group] = np.exp(worth.log_value), worth.confidence
    return value, confidence


def median_values(year: NDArray[Any], price: NDArray[Any], groups: list[NDArray[Any]]) -> NDArray[Any]:
    """The median price of the others of the same make, model and year."""
    value = np.full(len(price), np.nan)
    for group in groups:
        for place in group:
            others = group[(year[group] == year[place]) & (group != place)]
            if len(others):
                value[place] = np.median(price[others])
    return value


def regression_values(
    year: NDArray[Any], km: NDArray[Any], price: NDArray[Any], groups: list[NDArray[Any]]
) -> NDArray[Any]:
    """Ordinary least squares of price on year and mileage per model, each vehicle left out (exact, by its leverage)."""
    value = np.full(len(price), np.nan)
    for group in groups:
        known = group[~np.isnan(km[group])]
        if len(known) < 4:
            continue
        x = np.stack(
            (np.ones(len(known)), year[known] - year[known].mean(), (km[known] - km[known].mean()) / 1e4), axis=1
        )
        inverse = np.linalg.pinv(x.T @ x)
        leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
        residual = price[known] - x @ (inverse @ (x.T @ price[known]))
        sound = leverage < 0.999
        value[known[sound]] = price[known[sound]] - residual[sound] / (1 - leverage[sound])
    return value


if __name__ == "__main__":
    main()
