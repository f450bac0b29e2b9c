"""What judging costs: `python benchmarks/quality.py [--rows 500] [--vehicles 5000]`.

CPU of the gate over a batch of listings, alone and beside Great Expectations evaluating the same suite; CPU of the
expectations of a cycle's vehicles, and what importing Great Expectations adds to a process. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from uuid import UUID

from fill_pipeline.db.checks import SampledVehicle
from fill_pipeline.extract.listing import Listing
from fill_pipeline.quality import suites
from fill_pipeline.quality.columns import listing_columns, vehicle_columns
from fill_pipeline.quality.gate import Gate
from fill_pipeline.settings import Settings
from fill_pipeline.vehicles.store import ListingToWrite

YEAR = 2025
SOURCE = UUID(int=1)
ADDED = """
import sys, time
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
if sys.argv[1] == "beside_dagster":
    import dagster
before, began = rss(), time.process_time()
import great_expectations
print(round(time.process_time() - began, 2), round(rss() - before))
"""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--vehicles", type=int, default=5_000)
    arguments = parser.parse_args()
    rng, settings = random.Random(7), Settings()
    rows = [ListingToWrite(source_id=SOURCE, source="bench", listing=listing(n, rng)) for n in range(arguments.rows)]
    for row in rows:
        row.agreement = {"year": True, "make": True, "model": rng.random() < 0.9}
    gate = Gate.of(settings, YEAR)
    figures: dict[str, object] = {"rows": len(rows), "vehicles": arguments.vehicles}
    figures["gate_ms"] = cpu_ms(lambda: gate.screen(rows), 20)
    for where in ("alone", "beside_dagster"):
        out = subprocess.run([sys.executable, "-c", ADDED, where], capture_output=True, text=True, check=True).stdout
        seconds, megabytes = out.split()
        figures[f"import_{where}"] = {"cpu_s": float(seconds), "added_mb": int(megabytes)}
    from fill_pipeline.quality.engine import check

    columns = listing_columns([r.listing for r in rows], [r.quarantine for r in rows], [r.agreement for r in rows])
    suite = suites.batch_suite(settings, YEAR)
    check(suite, columns)  # the first call imports
    figures["great_expectations_same_ms"] = cpu_ms(lambda: check(suite, columns), 3)
    sample = [vehicle(n, rng) for n in range(arguments.vehicles)]
    whole = suites.vehicles_suite(settings, YEAR)
    figures["vehicles_expectations"] = len(whole.expectations)
    figures["vehicles_ms"] = cpu_ms(lambda: check(whole, vehicle_columns(sample, settings.core_fields)), 1)
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(json.dumps(figures))


def cpu_ms(deed: Callable[[], object], times: int) -> float:
    """CPU milliseconds of this process for one call."""
    began = time.process_time()
    for _ in range(times):
        deed()
    return round((time.process_time() - began) / times * 1000, 2)


def listing(n: int, rng: random.Random) -> Listing:
    """An ordinary advertisement; some fields are missing."""
    return Listing(
        remote_id=str(n),
        url=f"https://cars.example/{n}",
        year=rng.randint(2000, YEAR),
        make="Honda",
        model=rng.choice(("Accord", "Civic", None)),
        price=rng.randint(2_000, 60_000),
        currency="USD",
        mileage=rng.randint(500, 200_000),
        mileage_unit="mi",
        vin=f"1HGCV1F30KA{n:06d}" if n % 2 else None,
    )


def vehicle(n: int, rng: random.Random) -> SampledVehicle:
    """An ordinary vehicle."""
    return SampledVehicle(
        id=n,
        vin=f"1HGCV1F30KA{n:06d}" if n % 2 else None,
        year=rng.randint(2000, YEAR),
        make="Honda",
        model=rng.choice(("Accord", "Civic")),
        price=rng.choice((None, rng.randint(2_000, 60_000))),
        currency="USD",
        price_kind="asking",
        mileage=rng.randint(500, 200_000),
        mileage_unit="mi",
        body_style="sedan",
        fuel_type="gasoline",
        transmission="automatic",
        drivetrain="fwd",
        condition="used",
        place="Dayton, OH",
        city="Dayton",
        region="OH",
        postal_code=None,
        latitude=None,
        image="https://cars.example/1.jpg",
    )


if __name__ == "__main__":
    main()
