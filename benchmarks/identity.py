"""How well identity tells cars apart: `python benchmarks/identity.py [--corpus FOLDER] [--cars N] [--lifecycle]`.

Writes a labelled set of advertisements (real cars of the corpus and simulated ones; VINs missing or mistyped, prices
and odometers moved, relistings, twins, strangers) through the one writer path into a database of its own, and compares
its vehicles with the truth, pair by pair. `--lifecycle` replays every file of both sets of daily snapshots instead
and compares vehicles, price changes and disappearances with what the files say. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg.conninfo import make_conninfo

from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url, stop_embedded
from fill_pipeline.settings import Settings

sys.path.insert(0, str(Path(__file__).parent.parent))

from fill_pipeline_tests.vehicles import labelled, snapshots
from fill_pipeline_tests.vehicles.labelled import Judged


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path(__file__).parent.parent.parent / "shared" / "corpus")
    parser.add_argument("--cars", type=int, default=2_700, help="real cars of each set, at most")
    parser.add_argument("--show", type=int, default=0, help="so many missed and mistaken pairs of each set")
    parser.add_argument("--lifecycle", action="store_true")
    arguments = parser.parse_args()
    if arguments.lifecycle:
        print(json.dumps(lifecycle(arguments.corpus)))
        return
    rng, cars = random.Random(20), arguments.cars
    sets = {
        "marketplace": labelled.marketplace(arguments.corpus, rng, cars),
        "snapshots": labelled.snapshots(arguments.corpus, rng, cars),
        "new twins": labelled.dealers(arguments.corpus, rng, cars),
        "simulated": labelled.simulated(rng),
    }
    figures = {}
    total = Judged()
    for name, steps in sets.items():
        with database() as conn:
            judged = labelled.judge(conn, steps, lambda site, conn=conn: add_source(conn, site))  # type: ignore[misc]
            figures[name] = tell(name, judged)
            show(conn, judged, arguments.show)
        for counter in ("right", "found", "undecidable", "wrong"):
            getattr(total, counter).update(getattr(judged, counter))
        total.ads += judged.ads
    figures["all"] = tell("all", total)
    print(json.dumps(figures))


def lifecycle(corpus: Path) -> dict[str, object]:
    """Replays both sets of daily snapshots in full and prints what was expected and found; they must be equal."""
    figures: dict[str, object] = {}
    for name, files in (("region", snapshots.region_files(corpus)), ("dealers", snapshots.dealer_files(corpus))):
        with database() as conn:
            result = snapshots.replay(conn, add_source(conn, name), files, tell=print)
        equal = result.told == result.expected and result.vehicles == dict.fromkeys(result.expected, 1)
        print(f"{name}: {result.files} files, {result.days} of them with cars")
        for what, (expected, found) in result.counts().items():
            print(f"  {what:16} expected {expected:8,}   found {found:8,}")
        print(f"  every history equal: {equal}; days that differ: {len(result.wrong_days)}")
        figures[name] = {
            "files": result.files,
            "days": result.days,
            "equal": equal and not result.wrong_days,
            **{what: {"expected": expected, "found": found} for what, (expected, found) in result.counts().items()},
        }
    return figures


@contextmanager
def database() -> Iterator[Connection]:
    """A connection to a migrated, empty database that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-identity-") as home:
        settings = Settings(home=Path(home))
        try:
            url = make_conninfo(database_url(settings), dbname="postgres")
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute("CREATE DATABASE bench")
            migrate(make_conninfo(url, dbname="bench"))
            with connect(make_conninfo(url, dbname="bench"), name="bench") as conn:
                yield conn
        finally:
            stop_embedded(settings)


def add_source(conn: Connection, name: str) -> UUID:
    """Registers a source and returns its id."""
    row = conn.execute(
        "INSERT INTO scrape_sources (name, base_url) VALUES (%s, 'https://cars.example') RETURNING id", (name,)
    ).fetchone()
    assert row is not None
    return UUID(str(row[0]))


def tell(name: str, judged: Judged) -> dict[str, object]:
    """Prints precision and recall by kind of pair; returns the totals."""
    print(f"\n{name}: {judged.ads} advertisements")
    print(f"  {'kind of pair':52} {'pairs':>6} {'found':>6} {'undecid.':>8} {'wrong':>6} {'recall':>7}")
    for kind in sorted(judged.right | judged.wrong):
        right, found = judged.right[kind], judged.found[kind]
        recall = f"{found / right:7.4f}" if right else "      –"
        print(f"  {kind:52} {right:6} {found:6} {judged.undecidable[kind]:8} {judged.wrong[kind]:6} {recall}")
    figures: dict[str, object] = {
        "ads": judged.ads,
        "pairs": judged.right.total(),
        "precision": round(judged.precision(), 4),
        "recall": round(judged.recall(), 4),
        "recall_of_decidable": round(judged.recall(decidable=True), 4),
    }
    print("  " + ", ".join(f"{k} {v}" for k, v in figures.items()))
    return figures


_SHOWN = """
    SELECT year, make, model, trim, vin, vin_status, price, mileage, exterior_color, city, seller_name, status
    FROM listing_records WHERE id = ANY(%s)
"""


def show(conn: Connection, judged: Judged, most: int) -> None:
    """Prints some pairs that were missed or mistaken, as they are stored."""
    for title, pairs in (("missed", judged.missed), ("mistaken", judged.mistaken)):
        for a, b, kind in pairs[:most]:
            print(f"  {title}: {kind}")
            for row in conn.execute(_SHOWN, ([a, b],)):
                print("   ", row)


if __name__ == "__main__":
    main()
