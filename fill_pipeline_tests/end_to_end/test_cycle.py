"""One whole cycle: from an empty database to a report that can be believed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from fill_pipeline.cli.app import app
from fill_pipeline.cli.show import BELOW_TARGET
from fill_pipeline.cycle.assess import assess
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.figures import FIGURES
from fill_pipeline.cycle.lifecycle import open_by_hand
from fill_pipeline.cycle.run import run_cycle
from fill_pipeline.dashboard.metrics import exposition
from fill_pipeline.dashboard.poller import Reading
from fill_pipeline.dashboard.snapshot import snapshot
from fill_pipeline.db import cycles
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.server import database_url
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb
from fill_pipeline_tests.end_to_end.conftest import fresh_world, register

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cycle")]


def documented_keys(spec: Path, heading: str) -> list[str]:
    """The keys of a JSON example in document 1, in their order."""
    text = (spec / "1_database_fill_accountability.md").read_text()
    example = re.search(rf"### {heading}.*?```json\n(.*?)```", text, re.DOTALL)
    assert example is not None
    return list(json.loads(example.group(1)))


@dataclass(frozen=True)
class Filled:
    """A world after its first cycle."""

    report: dict[str, Any]
    world: Settings
    db: Connection


@pytest.fixture(scope="module")
def filled(server_url: str, simweb: SimWeb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    simweb.post("reset")
    with (
        fresh_world(server_url, tmp_path_factory.mktemp("cycle"), f"cycle_{uuid4().hex[:12]}") as world,
        connect(database_url(world), name="test") as db,
    ):
        register(db, simweb)
        report = run_cycle(world.model_copy(update={"target": 300}))
        assert report is not None
        yield Filled(report, world, db)


def test_a_cycle_fills_the_database_and_its_report_reconciles_with_the_tables(filled: Filled, simweb: SimWeb) -> None:
    report, db = filled.report, filled.db
    added = db.execute("SELECT count(*) FROM vehicles").fetchone()
    assert added is not None
    assert report["vehicles_added"] == added[0] >= 300
    assert report["on_target"] is True
    assert report["reconciled"] is True, report["errors"]
    assert report["errors"] == []
    stored = db.execute("SELECT action || '/' || level, status FROM cycle_actions ORDER BY id").fetchall()
    assert [(line["action"], line["status"]) for line in report["actions"]] == stored
    assert stored[-1] == ("close/0", "done")
    assert float(str(report["data_quality"])) >= 0.90
    unsettled = db.execute("SELECT count(*) FROM import_queue WHERE status IN ('pending', 'processing')").fetchone()
    assert unsettled == (0,)
    complete_without_listing = db.execute(
        "SELECT count(*) FROM import_queue WHERE status = 'complete' AND listing_id IS NULL"
    ).fetchone()
    assert complete_without_listing == (0,)
    twice = db.execute("SELECT vin FROM vehicles WHERE vin IS NOT NULL GROUP BY vin HAVING count(*) > 1").fetchall()
    assert twice == []
    row = db.execute("SELECT vehicles_added, on_target, status, data_quality_score FROM fill_cycles").fetchone()
    assert row is not None
    assert row[:3] == (report["vehicles_added"], True, "closed")
    for table in ("source_health", "quality_metrics", "archive_pages", "listing_history"):
        counted = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - names from this test
        assert counted is not None
        assert counted[0] > 0, table

    truth = [car for site in simweb.get("/sites") if site["open"] for car in simweb.get(f"/truth?slug={site['slug']}")]
    by_vin = {car["vin"]: car for car in truth if car["vin"]}
    read = db.execute("SELECT vin, year, make, model FROM vehicles WHERE vin IS NOT NULL").fetchall()
    assert len(read) > 200
    right = sum(
        vin in by_vin and (year, make) == (by_vin[vin]["year"], by_vin[vin]["make"]) for vin, year, make, _ in read
    )
    assert right / len(read) >= 0.99


def test_reports_have_the_documents_keys_first_and_are_rows_files_and_summaries(filled: Filled, spec: Path) -> None:
    report, world, db = filled.report, filled.world, filled.db
    wanted = documented_keys(spec, "Every Cycle")
    assert list(report)[: len(wanted)] == wanted
    cycle_id = str(report["cycle_id"])
    stored = cycles.report(db, "cycle", cycle_id)
    assert stored is not None
    assert list(stored)[: len(wanted)] == wanted
    assert stored["total_progress"] == stored["vehicles_added"] + stored["vehicles_queued"]
    on_disk = json.loads((world.reports_folder / "cycle" / f"{cycle_id.replace(':', '')}.json").read_text())
    assert on_disk == stored
    daily = cycles.report(db, "daily", cycle_id[:10])
    assert daily is not None
    wanted = documented_keys(spec, "Daily Summary")
    assert list(daily)[: len(wanted)] == wanted
    assert daily["vehicles_added"] == report["vehicles_added"]
    assert cycles.reports(db, "weekly", 1)
    assert cycles.reports(db, "monthly", 1)


def test_every_figure_of_document_1_is_the_same_in_tables_assets_dashboard_command_and_metrics(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five readers of one cycle, the first of them plain SQL over the rows themselves."""
    from dagster import materialize

    from fill_pipeline.assets.reports import fill_cycle_report
    from fill_pipeline.resources import Fill

    world, db, cycle_id = filled.world, filled.db, str(filled.report["cycle_id"])
    tables = _from_tables(db, cycle_id, world)
    assert set(tables) == set(FIGURES)
    stored = cycles.report(db, "cycle", cycle_id)
    assert stored is not None
    assert {name: stored[name] for name in FIGURES} == tables

    shown = snapshot(db, world, utc_now())
    assert {name: shown.measured.as_json()[name] for name in FIGURES} == tables
    live = shown.cycle
    assert live is not None
    for name in ("vehicles_added", "gap", "vehicles_queued", "vehicles_per_hour", "queue_per_hour"):
        assert getattr(live, name) == tables[name], name

    assert world.database_url is not None
    monkeypatch.setenv("FILL_HOME", str(world.home))
    monkeypatch.setenv("FILL_DATABASE_URL", world.database_url.get_secret_value())
    monkeypatch.setenv("FILL_TARGET", str(tables["target"]))
    status = CliRunner().invoke(app, ["status", "--json"])
    assert status.exit_code in (0, BELOW_TARGET), status.output
    said = json.loads(status.stdout)
    assert {name: said[name] for name in FIGURES} == tables
    printed = json.loads(CliRunner().invoke(app, ["report", cycle_id]).stdout)
    assert {name: printed[name] for name in FIGURES} == tables

    served = exposition(Reading(shown, 0.01, (), None, None))
    for name, metric in METRICS.items():
        assert f"{metric} {float(tables[name]):.12g}\n" in served, name

    # Last, since it writes the report of the closed cycle again.
    run = materialize([fill_cycle_report], partition_key=cycle_id[:16], resources={"fill": Fill()})
    (event,) = run.get_asset_materialization_events()
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    for name in FIGURES:
        if isinstance(tables[name], int | float):
            assert metadata[name] == tables[name], name
    for field, quality in tables["quality_by_field"].items():
        assert metadata.get(f"completeness {field}") == quality["completeness"]


METRICS = {
    "vehicles_added": "fill_cycle_vehicles_added",
    "target": "fill_cycle_target_vehicles",
    "gap": "fill_cycle_gap_vehicles",
    "on_target": "fill_cycle_on_target",
    "vehicles_queued": "fill_cycle_vehicles_queued",
    "queue_needed": "fill_cycle_queue_needed",
    "data_quality": "fill_cycle_quality_ratio",
    "sources_active": "fill_sources_active",
    "sources_healthy": 'fill_sources_judged{health="healthy"}',
    "sources_degraded": 'fill_sources_judged{health="degraded"}',
    "sources_failing": 'fill_sources_judged{health="failing"}',
    "sources_paused": "fill_sources_paused",
    "vehicles_per_hour": "fill_cycle_vehicles_per_hour",
    "queue_per_hour": "fill_cycle_pages_per_hour",
    "total_vehicles": "fill_vehicles",
    "queue_pending": 'fill_queue{status="pending"}',
    "queue_processing": 'fill_queue{status="processing"}',
    "queue_dead": 'fill_queue{status="dead"}',
    "extraction_success": "fill_cycle_extraction_success_ratio",
    "reliability_7d": 'fill_reliability_ratio{days="7"}',
    "reliability_30d": 'fill_reliability_ratio{days="30"}',
}


def _from_tables(db: Connection, cycle_id: str, world: Settings) -> dict[str, Any]:
    """Document 1's figures counted from the rows, without the program's own queries."""

    def one(statement: str) -> Any:
        row = db.execute(statement, {"c": cycle_id}).fetchone()
        assert row is not None
        return row[0]

    added = one("SELECT count(*) FROM vehicles WHERE created_cycle = %(c)s")
    target = one("SELECT target FROM fill_cycles WHERE cycle_id = %(c)s")
    hours = one(
        "SELECT extract(epoch FROM completed_at - started_at)::float8 / 3600 FROM fill_cycles WHERE cycle_id = %(c)s"
    )
    work = "FROM source_cycle_stats WHERE cycle_id = %(c)s"
    fetched, details, empty = (
        one(f"SELECT sum({what})::int {work}")
        for what in ("pages_fetched", "pages_fetched - index_pages", "pages_empty")
    )
    waiting = {
        status: one(f"SELECT count(*) FROM import_queue WHERE status = '{status}'")  # noqa: S608
        for status in ("pending", "processing", "dead")
    }
    judged = {
        status: one(f"SELECT count(*) FROM source_health WHERE cycle_id = %(c)s AND status = '{status}'")  # noqa: S608
        for status in ("healthy", "degraded", "failing")
    }
    fields = db.execute(
        "SELECT field_name, completeness::float8, accuracy::float8, sample_size, issues FROM quality_metrics "
        "WHERE cycle_id = %s AND source_id IS NULL ORDER BY field_name",
        (cycle_id,),
    ).fetchall()
    reliable = db.execute(
        "SELECT slug, reliability_7d::float8, reliability_30d::float8 FROM source_health h "
        "JOIN scrape_sources s ON s.id = h.source_id WHERE cycle_id = %s ORDER BY slug",
        (cycle_id,),
    ).fetchall()
    needed = ceil(target / min(1.0, max(0.05, added / details)))
    return {
        "vehicles_added": added,
        "target": target,
        "gap": max(0, target - added),
        "on_target": added >= target,
        "vehicles_queued": one("SELECT count(*) FROM import_queue WHERE cycle_id = %(c)s"),
        "queue_needed": needed,
        "queued_for_next_target": waiting["pending"] >= needed,
        "data_quality": one(
            "SELECT round(avg(completeness)::numeric, 4)::float8 FROM vehicles WHERE updated_cycle = %(c)s"
        ),
        "quality_target": world.quality_target,
        "quality_issues": [issue for row in fields for issue in row[4]],
        "sources_active": one("SELECT count(*) FROM scrape_sources WHERE active AND status IN ('live', 'trial')"),
        **{f"sources_{status}": n for status, n in judged.items()},
        "sources_paused": 0,
        "vehicles_per_hour": round(added / hours, 1),
        "queue_per_hour": round(fetched / hours, 1),
        "total_vehicles": one("SELECT count(*) FROM vehicles"),
        **{f"queue_{status}": n for status, n in waiting.items()},
        "extraction_success": round(1 - empty / details, 4),
        "quality_by_field": {
            name: {"completeness": complete, "accuracy": accurate, "sample_size": n}
            for name, complete, accurate, n, _ in fields
        },
        "reliability_7d": round(sum(row[1] for row in reliable) / len(reliable), 4),
        "reliability_30d": round(sum(row[2] for row in reliable) / len(reliable), 4),
        "source_reliability": {
            slug: {"reliability_7d": short, "reliability_30d": long} for slug, short, long in reliable
        },
    }


def test_a_second_cycle_counts_no_vehicle_twice(filled: Filled, simweb: SimWeb) -> None:
    world, db = filled.world, filled.db
    before = db.execute("SELECT count(*) FROM vehicles").fetchone()
    simweb.post("clock", advance_seconds=7200)
    db.execute("UPDATE source_state SET last_harvest_at = last_harvest_at - interval '3 hours'")
    report = run_cycle(world.model_copy(update={"target": 50}))
    after = db.execute("SELECT count(*) FROM vehicles").fetchone()
    assert report is not None
    assert before is not None
    assert after is not None
    assert report["cycle_id"] != filled.report["cycle_id"]
    assert report["vehicles_added"] == after[0] - before[0] > 0
    assert report["reconciled"] is True, report["errors"]


def test_a_window_nobody_opened_is_recorded_and_two_cycles_are_never_open(world: Settings, db: Connection) -> None:
    now = utc_now()
    first = open_by_hand(db, world, now=now - timedelta(hours=9))
    assert open_by_hand(db, world, now=now).cycle_id == first.cycle_id
    db.execute("UPDATE fill_cycles SET status = 'closed', completed_at = now()")
    second = open_by_hand(db, world, now=now)
    missed = db.execute("SELECT count(*) FROM fill_cycles WHERE status = 'missed'").fetchone()
    assert missed is not None
    assert missed[0] in (3, 4)
    assert second.cycle_id > first.cycle_id
    assert db.execute("SELECT count(*) FROM fill_cycles WHERE status = 'open'").fetchone() == (1,)


def test_a_cycle_opened_late_in_its_window_still_has_time_to_work(world: Settings, db: Connection) -> None:
    now = datetime(2025, 12, 24, 19, 58, tzinfo=UTC)
    cycle = open_by_hand(db, world, now=now)
    state = assess(db, world, cycle, now)
    assert state.deadline == now + timedelta(minutes=30)
    early = datetime(2025, 12, 24, 18, 0, 5, tzinfo=UTC)
    db.execute("UPDATE fill_cycles SET started_at = %s", [early])
    reread = cycles.cycle(db, cycle.cycle_id)
    assert reread is not None
    assert assess(db, world, reread, now).deadline == early + timedelta(minutes=115)
