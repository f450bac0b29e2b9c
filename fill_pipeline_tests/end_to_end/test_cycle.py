"""One whole cycle: from an empty database to a report that can be believed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fill_pipeline.cycle.assess import assess
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import open_by_hand
from fill_pipeline.cycle.run import run_cycle
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
