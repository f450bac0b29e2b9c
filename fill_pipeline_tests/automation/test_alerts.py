"""The watch over incidents at the edge: a cycle's close, the sensor, the asset checks and the command line."""

from __future__ import annotations

from datetime import timedelta

import orjson
from dagster import AssetCheckKey, AssetKey, DagsterInstance, SkipReason, build_sensor_context
from typer.testing import CliRunner

from fill_pipeline.automation.alerts import incident_sensor
from fill_pipeline.cli.app import app
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.cycle.perform import close
from fill_pipeline.cycle.window import LENGTH, window_at
from fill_pipeline.db import cycles, incidents
from fill_pipeline.db.connect import Connection
from fill_pipeline.definitions import defs
from fill_pipeline.resources import Fill
from fill_pipeline.settings import Settings


def test_the_second_cycle_that_closes_below_target_is_told_by_its_close(edge: Settings, conn: Connection) -> None:
    start = window_at(utc_now()).start - 4 * LENGTH
    for number in range(2):
        now = start + number * LENGTH
        cycle = ensure_open(conn, edge, now=now)
        assert incidents.open_incidents(conn) == []
        close(cycle.cycle_id, settings=edge, now_fn=lambda now=now: now + timedelta(minutes=90))
    found = {row.kind: row for row in incidents.open_incidents(conn)}
    assert found["below_target"].message.startswith("2 cycles in a row are below target; the last added 0 of 2,000")
    assert found["below_target"].opened_at == start + LENGTH + timedelta(minutes=90)


def test_the_sensor_notices_a_cycle_that_never_came_and_tells_once(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    past = window_at(utc_now()).start - 3 * LENGTH
    cycles.open_cycle(conn, "past", now=past, window_start=past, window_end=past + LENGTH, target=1)
    conn.execute("UPDATE fill_cycles SET status = 'closed', on_target = true, vehicles_added = 5")
    said = []
    for _ in range(2):
        tick = incident_sensor(build_sensor_context(instance=instance, resources={"fill": Fill()}))
        assert isinstance(tick, SkipReason)
        said.append(tick.skip_message)
    assert said == [
        "1 incidents open, 1 new, 0 over; 1 alerts sent",
        "1 incidents open, 0 new, 0 over; 0 alerts sent",
    ]
    [row] = incidents.open_incidents(conn)
    assert row.kind == "missed_cycle"


def test_a_check_that_fails_in_dagster_is_an_incident(edge: Settings, conn: Connection) -> None:
    cycle_id = ensure_open(conn, edge, now=utc_now()).cycle_id
    conn.execute(
        "INSERT INTO vehicles (price, currency, price_kind, created_at, created_cycle, updated_at, updated_cycle) "
        "VALUES (90000000, 'USD', 'asking', now(), %s, now(), %s)",
        [cycle_id, cycle_id],
    )
    keys = {AssetCheckKey(AssetKey("vehicles"), name) for name in ("price_range", "year_range")}
    job = defs().get_repository_def().get_job("__ASSET_JOB")
    run = job.get_subset(asset_selection=set(), asset_check_selection=keys)
    run.execute_in_process(instance=DagsterInstance.ephemeral(), partition_key=window_at(utc_now()).key)
    close(cycle_id, settings=edge)
    told = [(row.kind, row.subject) for row in incidents.open_incidents(conn)]
    assert ("check_failed", "price_range") in told
    assert ("check_failed", "year_range") not in told


def test_the_command_lists_what_is_wrong_and_what_is_left_to_do(edge: Settings, conn: Connection) -> None:
    run = CliRunner().invoke(app, ["incidents"])
    assert run.exit_code == 0
    now = utc_now()
    for kind, subject in (
        (incidents.IncidentKind.SOURCE_FAILING, "al[/bold]pha"),
        (incidents.IncidentKind.DEAD_ROWS, ""),
    ):
        found = incidents.Incident(kind, subject, f"\x1b[31m{kind} is wrong", incidents.Severity.CRITICAL)
        incidents.open_incident(conn, found, now=now - timedelta(hours=2))
    run = CliRunner().invoke(app, ["incidents"])
    assert run.exit_code == 0
    for said in ("al[/bold]pha", "2 h 0 min", "fill sources show", "requeue"):
        assert said in run.stdout + run.stderr
    assert "\x1b[31m" not in run.stdout
    run = CliRunner().invoke(app, ["incidents", "--check", "--json"])
    assert run.exit_code == 0, "what is not wrong any more is closed by the look"
    assert orjson.loads(run.stdout)["incidents"] == []
    run = CliRunner().invoke(app, ["incidents", "--all", "--json"])
    listed = orjson.loads(run.stdout)["incidents"]
    assert [(one["kind"], one["severity"], one["closed_at"] is not None) for one in listed] == [
        ("dead_rows", "critical", True),
        ("source_failing", "critical", True),
    ]
    conn.execute("INSERT INTO counters (metric, n) VALUES ('queue.dead', 99999)")
    assert CliRunner().invoke(app, ["incidents", "--check", "--json"]).exit_code == 3
