"""A cycle over real saved pages, compared with what they truly say."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fill_pipeline.cycle.run import run_cycle
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.server import database_url
from fill_pipeline.simweb import start_simweb
from fill_pipeline_tests.end_to_end.conftest import fresh_world, register

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("corpus")]

ENOUGH = 3600


@pytest.fixture(scope="module")
def filled(
    server_url: str, corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, Any], Connection]]:
    """The report of one cycle over the whole corpus, and its database."""
    with (
        fresh_world(server_url, tmp_path_factory.mktemp("corpus"), f"corpus_{uuid4().hex[:12]}") as world,
        connect(database_url(world), name="test") as db,
        start_simweb(corpus=corpus) as web,
    ):
        register(db, web)
        report = run_cycle(world.model_copy(update={"connect_to": (f"*::127.0.0.1:{web.port}",)}))
        assert report is not None
        yield report, db


def test_the_corpus_fills_the_database_with_what_its_pages_say(
    filled: tuple[dict[str, Any], Connection], corpus: Path
) -> None:
    report, db = filled
    assert (report["reconciled"], report["errors"]) == (True, [])
    truth = {}
    with gzip.open(corpus / "sites" / "autotrader-us" / "truth.jsonl.gz", "rt") as lines:
        for line in lines:
            record = json.loads(line)["record"]
            truth[record["vehicleIdentificationNumber"]] = record
    rows = db.execute(
        "SELECT DISTINCT ON (v.id) v.vin, v.year, v.make, v.model, v.price, v.mileage FROM vehicles v "
        "JOIN listing_records r ON r.vehicle_id = v.id WHERE r.source = 'autotrader_us'"
    ).fetchall()
    assert len(rows) >= ENOUGH
    identified = [(row, truth[row[0]]) for row in rows if row[0] in truth]
    right = [
        row
        for row, record in identified
        if row[1] == record["productionDate"]
        and _same(row[2], record["brand"]["name"])
        and _same(row[3], record["model"])
    ]
    assert len(right) / len(rows) >= 0.99, f"{len(right)} of {len(rows)}"
    priced = [(row[4], record["offers"]["price"]) for row, record in identified if record["offers"].get("price")]
    driven = [(row[5], _number(record["mileageFromOdometer"]["value"])) for row, record in identified]
    driven = [(read, true) for read, true in driven if true]
    assert sum(read == true for read, true in priced) / len(priced) >= 0.97
    assert sum(read == true for read, true in driven) / len(driven) >= 0.97


def test_every_page_of_every_site_gives_a_listing_or_the_report_says_why(
    filled: tuple[dict[str, Any], Connection],
) -> None:
    report, db = filled
    assert len(report["sources"]) >= 16
    notes = [note for line in report["sources"] for note in line.get("notes", [])]
    silent = db.execute("SELECT url FROM archive_pages WHERE listings = 0").fetchall()
    assert [url for (url,) in silent if not any(note.startswith(f"{url}:") for note in notes)] == []
    mute = db.execute(
        "SELECT s.name, array_agg((p.url, p.http_status, p.listings)) FROM scrape_sources s "
        "LEFT JOIN archive_pages p ON p.source_id = s.id GROUP BY s.id HAVING coalesce(max(p.listings), 0) = 0"
    ).fetchall()
    assert mute == [], notes


def _same(read: str | None, true: str) -> bool:
    return _plain(read or "") == _plain(true)


def _plain(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def _number(text: object) -> int | None:
    digits = str(text).replace(",", "")
    return int(digits) if digits.isdigit() else None
