"""Every figure leads to its rows, and its parts sum to it; every value of a vehicle leads to its page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from fill_pipeline.dashboard.lineage import Explanation, Figure, explain, tell_vehicle
from fill_pipeline.dashboard.snapshot import snapshot
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

NOW = datetime(2026, 3, 4, 13, 30, tzinfo=UTC)


def parts(found: Explanation, by: str) -> dict[str, int]:
    breakdown = next(b for b in found.breakdowns if b.by == by)
    return {part.name: part.n for part in breakdown.parts}


def why(conn: Connection, settings: Settings, figure: str, cycle: str | None = None, limit: int = 20) -> Explanation:
    return explain(conn, settings, Figure(figure), cycle, limit=limit, now=NOW)


def list_at(conn: Connection, town: Any, slug: str, first: int, last: int) -> None:
    """Give vehicles ``first`` to ``last`` an advertisement at a source, read from an archived page."""
    conn.execute(
        """INSERT INTO archive_pages (source_id, cycle_id, kind, url, url_hash, fetched_at, http_status, file, "offset",
               length)
           VALUES (%s, %s, 'detail', 'https://example.com/page', gen_random_uuid(), %s, 200, 'day/part.warc.zst', 42,
               777)""",
        (town.sources[slug], town.cycle_id, NOW),
    )
    conn.execute(
        """INSERT INTO listing_records (source_id, source, remote_id, url, first_seen_at, first_cycle, changed_at,
               changed_cycle, content_hash, vehicle_id, archive_id, provenance)
           SELECT %s, %s, i, 'https://example.com/' || i, %s, %s, %s, %s, gen_random_uuid(), i,
               (SELECT max(id) FROM archive_pages), %s::jsonb
           FROM generate_series(%s::int, %s) i""",
        (town.sources[slug], slug, NOW, town.cycle_id, NOW, town.cycle_id,
         '{"price": ["structured", "offers.price", 0.95], "images": ["card", "img", 0.7]}', first, last),
    )  # fmt: skip
    conn.execute(
        """UPDATE vehicles v SET provenance = jsonb_build_object('price', jsonb_build_array(r.id, 0.95))
           FROM listing_records r WHERE r.vehicle_id = v.id AND v.provenance::jsonb = '{}'"""
    )


def test_the_parts_of_vehicles_added_sum_to_it(conn: Connection, settings: Settings, town: Callable[..., Any]) -> None:
    rows = town()
    rows.add_vehicles(50)
    list_at(conn, rows, "dealer_000", 1, 30)
    list_at(conn, rows, "dealer_001", 21, 45)  # 21 to 30 were at dealer_000 first
    rows.act("harvest", "done", run_id="run-1")
    rows.act("drain", "done", run_id="run-2")
    conn.execute("""UPDATE cycle_actions SET outcome = '{"vehicles_added": 40}' WHERE run_id = 'run-1'""")
    conn.execute("""UPDATE cycle_actions SET outcome = '{"vehicles_added": 8}' WHERE run_id = 'run-2'""")
    found = why(conn, settings, "vehicles_added", limit=7)
    assert found.value == 50
    assert found.cycle_id == rows.cycle_id
    assert parts(found, "source") == {"dealer_000": 30, "dealer_001": 15, "no advertisement left": 5}
    assert [b.total for b in found.breakdowns] == [50, 50]
    assert list(parts(found, "run").values()) == [40, 8, 2]  # and two that no run of the cycle claims
    assert [v.id for v in found.vehicles] == [50, 49, 48, 47, 46, 45, 44]


def test_vehicles_merged_after_the_report_are_told(
    conn: Connection, settings: Settings, town: Callable[..., Any]
) -> None:
    rows = town()
    rows.add_vehicles(10)
    conn.execute("UPDATE fill_cycles SET status = 'closed', vehicles_added = 10 WHERE cycle_id = %s", (rows.cycle_id,))
    conn.execute("DELETE FROM vehicles WHERE id <= 3")
    found = why(conn, settings, "vehicles_added", rows.cycle_id)
    assert found.value == 10
    assert parts(found, "source")["merged into others since the report"] == 3
    assert [b.total for b in found.breakdowns] == [10, 10]
    assert "3 vehicles became part of others" in found.notes[0]


def test_the_parts_of_vehicles_queued_sum_to_it(conn: Connection, settings: Settings, town: Callable[..., Any]) -> None:
    rows = town()
    rows.queue("dealer_000", 12)
    rows.queue("dealer_001", 4, "dead")
    found = why(conn, settings, "vehicles_queued", limit=5)
    assert found.value == 16
    assert parts(found, "source") == {"dealer_000": 12, "dealer_001": 4}
    assert parts(found, "status") == {"pending": 12, "dead": 4}
    assert [b.total for b in found.breakdowns] == [16, 16, 16]
    assert len(found.pages) == 5


def test_quality_is_the_mean_of_its_parts_and_shows_what_pulls_it_down(
    conn: Connection, settings: Settings, town: Callable[..., Any]
) -> None:
    rows = town()
    rows.add_vehicles(20)
    list_at(conn, rows, "dealer_000", 1, 20)
    conn.execute("UPDATE vehicles SET completeness = 0.25 WHERE id = 13")
    found = why(conn, settings, "data_quality", limit=3)
    shares = next(b for b in found.breakdowns if b.by == "source").parts
    assert found.value is not None
    assert found.value == pytest.approx(sum(p.n * (p.mean or 0) for p in shares) / 20)
    row = conn.execute("SELECT avg(completeness)::float8 FROM vehicles").fetchone()
    assert row is not None
    assert found.value == pytest.approx(row[0])
    assert found.vehicles[0].id == 13


@pytest.mark.parametrize("figure", ["sources_active", "sources_healthy", "sources_failing"])
def test_sources_are_those_the_dashboard_counts(
    conn: Connection, settings: Settings, town: Callable[..., Any], figure: str
) -> None:
    rows = town()
    found = why(conn, settings, figure)
    assert found.value == getattr(snapshot(conn, settings, NOW).measured, figure)
    assert found.value == sum(part.n for part in found.breakdowns[0].parts) == len(found.sources)
    past = why(conn, settings, figure, rows.past[-1])
    row = conn.execute(
        "SELECT count(*), count(*) FILTER (WHERE status = 'healthy'), count(*) FILTER (WHERE status = 'failing') "
        "FROM source_health WHERE cycle_id = %s",
        (rows.past[-1],),
    ).fetchone()
    assert row is not None
    assert past.value == row[("sources_active", "sources_healthy", "sources_failing").index(figure)]


def test_dead_pages_are_told_by_source_and_reason(
    conn: Connection, settings: Settings, town: Callable[..., Any]
) -> None:
    rows = town()
    rows.queue("dealer_000", 5, "dead")
    rows.queue("dealer_003", 2, "dead")
    conn.execute("UPDATE import_queue SET failure_category = 'http_5xx' WHERE id <= 5")
    found = why(conn, settings, "queue_dead", limit=3)
    assert found.value == 7
    assert parts(found, "source") == {"dealer_000": 5, "dealer_003": 2}
    assert parts(found, "reason") == {"http_5xx": 5, "not told": 2}
    assert len(found.pages) == 3


def test_a_value_leads_to_its_listing_and_its_page(conn: Connection, town: Callable[..., Any]) -> None:
    rows = town()
    rows.add_vehicles(2, image="https://example.com/a.png")
    list_at(conn, rows, "dealer_000", 1, 1)
    conn.execute("""UPDATE vehicles SET provenance = provenance::jsonb || '{"image": [1, 0.7]}' WHERE id = 1""")
    conn.execute(
        """INSERT INTO vehicle_repairs (vehicle_id, field_name, before_value, after_value, kind, reason, repaired_at)
           VALUES (1, 'price', '1', '15000', 'correct', 'a price of 1 is none', %s)""",
        (NOW,),
    )
    conn.execute("INSERT INTO merge_proposals (vehicle_a, vehicle_b, score, created_at) VALUES (1, 2, 0.8, %s)", (NOW,))
    story = tell_vehicle(conn, 1)
    origins = {origin.field: origin for origin in story.fields}
    price = origins["price"]
    assert (price.value, price.source, price.layer, price.locator) == (
        15_000,
        "dealer_000",
        "structured",
        "offers.price",
    )
    assert price.confidence == pytest.approx(0.95)
    assert price.page is not None
    assert (price.page.file, price.page.offset, price.page.length) == ("day/part.warc.zst", 42, 777)
    assert price.repair is not None
    assert price.repair.reason == "a price of 1 is none"
    assert origins["currency"].listing_id == price.listing_id  # read together
    assert origins["image"].locator == "img"
    assert origins["year"].listing_id is None  # nothing is known of it, and nothing is made up
    assert [p.other for p in tell_vehicle(conn, 2).proposals] == [1]
    assert [origin.field for origin in tell_vehicle(conn, 1, field="price").fields] == ["price"]


def test_a_merged_vehicle_tells_what_it_became(conn: Connection, town: Callable[..., Any]) -> None:
    town().add_vehicles(1)
    conn.execute(
        """INSERT INTO vehicle_repairs (vehicle_id, field_name, before_value, kind, reason, repaired_at)
           VALUES (1, 'vehicle', '{"absorbed": {"id": 77}}', 'merge', 'the same VIN', %s)""",
        (NOW,),
    )
    with pytest.raises(LookupError, match=r"vehicle 77 is part of vehicle 1 .*the same VIN.*`fill why vehicle 1`"):
        tell_vehicle(conn, 77)
    assert tell_vehicle(conn, 1).repairs[0].other == 77


def test_what_is_not_there_is_said(conn: Connection, settings: Settings, town: Callable[..., Any]) -> None:
    with pytest.raises(LookupError, match="no cycle has run"):
        why(conn, settings, "vehicles_added")
    town().add_vehicles(1)
    for call in (
        lambda: why(conn, settings, "vehicles_added", "2020-01-01-00:00"),
        lambda: tell_vehicle(conn, 99),
        lambda: tell_vehicle(conn, 1, field="wheels"),
    ):
        with pytest.raises(LookupError, match="no "):
            call()
