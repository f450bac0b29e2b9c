"""What a listing lacks is read from its archived page with today's rules, once, with a record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fill_pipeline.crawl.archive import ArchiveWriter
from fill_pipeline.crawl.fetch import FetchRequest
from fill_pipeline.crawl.response import FetchResponse
from fill_pipeline.db import registry
from fill_pipeline.db.archive import ArchivedKind
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain.page import RawPage, reading_of
from fill_pipeline.drain.read import read_page
from fill_pipeline.drain.reread import fix_from_archive
from fill_pipeline.drain.work import load_sources
from fill_pipeline.drain.write import Commit, in_transaction, write_pages
from fill_pipeline.quality.gate import Gate
from fill_pipeline.settings import Settings

NOW = datetime(2026, 3, 2, 9, 7, tzinfo=UTC)
LATER = NOW + timedelta(minutes=20)
CYCLE = "2026-03-02T08:00"
URL = "http://alpha.example/car/1"
PAGE = b"""<!doctype html><html><head><title>2014 Honda Civic EX</title></head><body><h1>2014 Honda Civic EX</h1>
<img src="/1.jpg" width="800"><table><tr><th>Price</th><td>$8,750</td></tr>
<tr><th>Mileage</th><td>61,420 miles</td></tr>
<tr><th>Location</th><td>Salem, OR</td></tr><tr><th>Transmission</th><td>Automatic</td></tr></table></body></html>"""


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def page(conn: Connection, here: Settings) -> str:
    """One listing read, written and archived; returns its archive file."""
    row = registry.declare_source(conn, name="Alpha", base_url="http://alpha.example", config={}, kind="dealer")
    source = load_sources(conn)[row.id]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    response = FetchResponse(
        request=FetchRequest(url=URL),
        final_url=URL,
        status=200,
        head=head,
        body_received=PAGE,
        content_type="text/html",
    )
    with ArchiveWriter(here.archive_root, source.slug, CYCLE, "w1") as writer:
        ref = writer.append(response, NOW)
    raw = RawPage.of(response, ref, source_id=source.id, kind=ArchivedKind.DETAIL, fetched_at=NOW)
    read = read_page(raw, reading_of(source, here), now=NOW)
    commit = Commit(CYCLE, "test", NOW, here.core_fields, Gate.of(here, NOW.year))
    in_transaction(conn, lambda: write_pages(conn, [read], commit))
    assert _vehicle(conn)["mileage"] == 61_420
    return ref.file


def _vehicle(conn: Connection) -> dict[str, Any]:
    row = conn.execute("SELECT to_jsonb(v) FROM vehicles v").fetchone()
    assert row is not None
    found: dict[str, Any] = row[0]
    return found


def _forget(conn: Connection, *names: str) -> None:
    """As if the rules that read the page first had not known these fields."""
    for name in names:
        for table in ("listing_records", "vehicles"):
            conn.execute(f"UPDATE {table} SET {name} = NULL, provenance = provenance::jsonb - '{name}'")  # type: ignore[arg-type]  # noqa: S608


def test_what_is_missing_comes_from_the_archived_page_with_a_record(
    conn: Connection, here: Settings, page: str
) -> None:
    before = _vehicle(conn)
    _forget(conn, "mileage", "mileage_unit", "transmission")
    fixes = fix_from_archive(conn, here, cycle_id=CYCLE, now=LATER)
    after = _vehicle(conn)
    assert {n: after[n] for n in ("mileage", "mileage_unit", "transmission")} == {
        n: before[n] for n in ("mileage", "mileage_unit", "transmission")
    }
    assert fixes.reread == 1
    rows = conn.execute(
        "SELECT field_name, before_value, after_value, kind, reason FROM vehicle_repairs ORDER BY field_name"
    ).fetchall()
    assert [row[:4] for row in rows] == [
        ("mileage", None, 61_420, "backfill"),
        ("mileage_unit", None, "mi", "backfill"),
        ("transmission", None, "automatic", "backfill"),
    ]
    assert all("archived page" in row[4] for row in rows)
    assert fix_from_archive(conn, here, cycle_id=CYCLE, now=LATER).total == 0


def test_a_price_withdrawn_since_does_not_come_back(conn: Connection, here: Settings, page: str) -> None:
    _forget(conn, "price", "currency", "price_kind")
    conn.execute("UPDATE listing_records SET archive_id = NULL")  # a newer observation, of another page
    fix_from_archive(conn, here, cycle_id=CYCLE, now=LATER)
    assert _vehicle(conn)["price"] is None


def test_a_page_gone_from_the_archive_fixes_nothing(conn: Connection, here: Settings, page: str) -> None:
    _forget(conn, "mileage", "mileage_unit")
    for file in Path(here.archive_root).rglob("*.warc*"):
        file.unlink()
    fixes = fix_from_archive(conn, here, cycle_id=CYCLE, now=LATER)
    assert (fixes.reread, fixes.total) == (1, 0)


def test_a_dry_run_tells_what_the_archive_would_fill(conn: Connection, here: Settings, page: str) -> None:
    _forget(conn, "mileage", "mileage_unit")
    fixes = fix_from_archive(conn, here, cycle_id=CYCLE, now=LATER, dry_run=True)
    assert [(r.field_name, r.after) for r in fixes.repairs] == [("mileage", 61_420), ("mileage_unit", "mi")]
    assert _vehicle(conn)["mileage"] is None
    assert conn.execute("SELECT count(*) FROM vehicle_repairs").fetchone() == (0,)
