"""CPU a listing costs from cleaning to commit: `python benchmarks/write.py [--rows 6000] [--batch 500] [--statements]`.

Writes listings of made-up advertisements with real VINs into a migrated database of its own: new ones, the same
again unchanged, then with another price. CPU is counted in this process and in its server process. `--statements`
also prints where the wall time of the three passes goes. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import psutil
import psycopg
import ultravin
from psycopg.conninfo import make_conninfo

from fill_pipeline.db import listings, vehicles
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url, stop_embedded
from fill_pipeline.extract.listing import Evidence, Layer, Listing
from fill_pipeline.settings import Settings
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.store import ListingToWrite, write_listings
from fill_pipeline.vehicles.vin_decoder import decode

NOW = datetime(2025, 6, 1, tzinfo=UTC)
STATED = ("title", "year", "make", "model", "vin", "price", "mileage", "exterior_color", "city", "region", "images")
PLACES = (("Dayton", "OH", "45402"), ("Reno", "NV", "89501"), ("Austin", "TX", "78701"), ("Boise", "ID", "83702"))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=6_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--statements", action="store_true")
    arguments = parser.parse_args()
    advertisements = make_listings(arguments.rows, random.Random(5))
    figures: dict[str, object] = {"rows": len(advertisements), "batch": arguments.batch}
    figures["decoder"] = measure_decoder(advertisements)
    rows = measure_clean(advertisements, figures)
    with tempfile.TemporaryDirectory(prefix="bench-write-") as home:
        settings = Settings(home=Path(home))
        try:
            url = make_conninfo(database_url(settings), dbname="postgres")
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute("CREATE DATABASE bench")
            measure_writes(make_conninfo(url, dbname="bench"), rows, arguments.batch, arguments.statements, figures)
        finally:
            stop_embedded(settings)
    print(json.dumps(figures))


def make_listings(count: int, rng: random.Random) -> list[Listing]:
    """Advertisements of so many vehicles whose VINs decode."""
    result: list[Listing] = []
    seen: set[str] = set()
    for vin in ultravin.generate(count * 2, seed=3, min_year=2008, max_year=2024, vehicle_type=2, invalid_rate=0):
        facts = decode(vin)
        if facts is None or not facts.make or not facts.model or vin in seen or len(result) >= count:
            continue
        seen.add(vin)
        city, region, postal_code = rng.choice(PLACES)
        number = len(result)
        result.append(
            Listing(
                url=f"https://cars.example/listing/{number}",
                remote_id=str(number),
                title=f"{facts.year} {facts.make} {facts.model}",
                year=facts.year,
                make=facts.make,
                model=facts.model,
                vin=vin,
                price=rng.randrange(4_000, 60_000),
                currency="USD",
                mileage=rng.randrange(500, 180_000),
                mileage_unit="mi",
                transmission="8-Speed Automatic",
                exterior_color=rng.choice(("Midnight Black Metallic", "Oxford White", "Silver", "Meteor Shower")),
                city=city,
                region=region,
                postal_code=postal_code,
                country="US",
                seller_name=f"{city} Motors",
                images=[f"https://img.example/{number}/{i}.jpg" for i in range(8)],
                description="One owner, no accidents, new tires, all service records. " * 12,
                raw={"price": "$12,345", "mileage": "61,234 miles"},
                provenance={name: Evidence(Layer.STRUCTURED, "ld+json", 0.9) for name in STATED},
            )
        )
    return result


def measure_decoder(advertisements: list[Listing]) -> dict[str, object]:
    """What VIN decoding adds to a worker's memory (in a process of its own), and its time per VIN."""
    command = [sys.executable, "-c", _DECODE_ALL]
    answer = subprocess.run(
        command, input="\n".join(item.vin or "" for item in advertisements), capture_output=True, text=True, check=True
    )
    figures: dict[str, object] = json.loads(answer.stdout)
    print("VIN decoder in a fresh process:", figures)
    return figures


_DECODE_ALL = """
import json, sys, time, psutil
from fill_pipeline.vehicles.vin_decoder import decode, decoder_memory
vins = sys.stdin.read().split()
before = psutil.Process().memory_info()
times = [time.process_time()]
for turn in "cold", "warm":
    for vin in vins: decode(vin)
    times.append(time.process_time())
after = psutil.Process().memory_info()
own = (after.rss - after.shared) - (before.rss - before.shared)
cold, warm = (round((b - a) / len(vins) * 1e6, 1) for a, b in zip(times, times[1:]))
print(json.dumps({
    "vins": len(vins), "cold_us_per_vin": cold, "warm_us_per_vin": warm, "own_memory_mb": round(own / 2**20),
    "file_pages_shared_by_workers_mb": round((after.shared - before.shared) / 2**20),
    "descriptors_kept": decoder_memory().kept, "descriptors_most": decoder_memory().most,
}))
"""


def measure_clean(advertisements: list[Listing], figures: dict[str, object]) -> list[ListingToWrite]:
    """CPU of normalising, decoding, validating."""
    source_id = UUID(int=0)
    start = time.process_time()
    rows = [ListingToWrite.of(clean(item, now=NOW), source_id=source_id, source="bench") for item in advertisements]
    spent = (time.process_time() - start) / len(rows) * 1e3
    figures["clean_ms_per_row"] = round(spent, 4)
    print(f"clean: {spent:.3f} CPU ms a row")
    return rows


def measure_writes(
    url: str, rows: list[ListingToWrite], batch: int, by_statement: bool, figures: dict[str, object]
) -> None:
    """CPU of writing new, unchanged and changed listings, client and server apart."""
    migrate(url)
    with connect(url, name="bench") as conn:
        found = conn.execute(
            "INSERT INTO scrape_sources (name, base_url) VALUES ('bench', 'https://cars.example') RETURNING id"
        ).fetchone()
        assert found is not None
        for row in rows:
            row.source_id = found[0]
        changed = [msgspec.structs.replace(row.listing, price=(row.listing.price or 0) - 200) for row in rows]
        spent: Counter[str] = Counter()
        if by_statement:
            _watch(spent)
        for hours, name in enumerate(("new", "unchanged", "changed")):
            if name == "changed":
                for row, item in zip(rows, changed, strict=True):
                    row.listing = item
            spent.clear()
            figures[f"{name}_ms_per_row"] = _write_all(conn, rows, batch, NOW + timedelta(hours=hours), name)
            for call, seconds in spent.most_common(12):
                print(f"    {call:24} {seconds / len(rows) * 1e6:7.1f} us wall a row")


def _write_all(conn: Connection, rows: list[ListingToWrite], batch: int, now: datetime, name: str) -> dict[str, float]:
    server = psutil.Process(conn.info.backend_pid)
    client_start, server_start, wall_start = time.process_time(), sum(server.cpu_times()[:2]), time.perf_counter()
    for at in range(0, len(rows), batch):
        with conn.transaction():
            write_listings(conn, rows[at : at + batch], cycle_id=name, now=now)
    count = len(rows) / 1e3
    client = (time.process_time() - client_start) / count
    in_server = (sum(server.cpu_times()[:2]) - server_start) / count
    wall = (time.perf_counter() - wall_start) / count
    print(
        f"{name}: {client + in_server:.3f} CPU ms a row (client {client:.3f}, server {in_server:.3f}), wall {wall:.3f}"
    )
    return {"client": round(client, 4), "server": round(in_server, 4), "total": round(client + in_server, 4)}


def _watch(spent: Counter[str]) -> None:
    """Adds up the wall time of every function of ``db.listings`` and ``db.vehicles``."""

    def timed(name: str, function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def run(*arguments: object, **options: object) -> object:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                spent[name] += time.perf_counter() - start

        return run

    for db in listings, vehicles:
        for name, function in list(vars(db).items()):
            if callable(function) and getattr(function, "__module__", "") == db.__name__ and name.islower():
                setattr(db, name, timed(name, function))


if __name__ == "__main__":
    main()
