"""The code location: it loads anywhere, stays light, and rebuilds the graph a run was asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from dagster import AssetKey, DefaultScheduleStatus, DefaultSensorStatus
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType
from dagster._core.definitions.reconstruct import (
    initialize_repository_def_from_pointer,
    reconstruct_repository_def_from_pointer,
)
from psycopg.conninfo import make_conninfo

from fill_pipeline.assets.windows import WINDOWS
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.definitions import defs
from fill_pipeline.settings import Settings

KINDS = ("dealer", "marketplace", "classifieds", "auction_house", "feed")


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch, conn: Connection, database_url: str, settings: Settings) -> Connection:
    """An empty registry that the definitions will read."""
    monkeypatch.setenv("FILL_HOME", str(settings.home))
    monkeypatch.setenv("FILL_DATABASE_URL", database_url)
    return conn


@pytest.fixture
def new_database(server_url: str) -> Iterator[str]:
    """A database that nobody has migrated."""
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS never_seen WITH (FORCE)")
        admin.execute("CREATE DATABASE never_seen")
        yield make_conninfo(server_url, dbname="never_seen")
        admin.execute("DROP DATABASE never_seen WITH (FORCE)")


def declare(conn: Connection, n: int) -> None:
    for i in range(n):
        registry.declare_source(
            conn, name=f"Site {i:02d}", base_url=f"https://s{i}.example.com/", config={}, kind=KINDS[i % len(KINDS)]
        )


def test_a_fresh_interpreter_loads_it_from_a_database_nobody_has_migrated_and_stays_light(
    new_database: str, settings: Settings
) -> None:
    script = (
        "import json, sys\n"
        "from fill_pipeline.definitions import defs\n"
        "repository = defs().get_repository_def()\n"
        "repository.load_all_definitions()\n"
        "heavy = {'pycurl', 'selectolax', 'ultravin', 'pandas', 'numpy', 'great_expectations', 'nicegui'}\n"
        "jobs = [job.name for job in repository.get_all_jobs()]\n"
        "print(json.dumps({'jobs': jobs, 'heavy': sorted(heavy & set(sys.modules))}))"
    )
    environment = {**os.environ, "FILL_DATABASE_URL": new_database, "FILL_HOME": str(settings.home)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert {"fill_cycle", "harvest", "drain", "close_cycle", "find_deals", "write_report", "prune_dagster"} <= set(
        loaded["jobs"]
    )
    assert loaded["heavy"] == []


def test_fifty_sources_are_fifty_assets_grouped_by_kind_and_all_feed_the_vehicles(edge: Connection) -> None:
    declare(edge, 50)
    graph = defs().resolve_asset_graph()
    sources = {key for key in graph.get_all_asset_keys() if key.path[0] == "sources"}
    assert len(sources) == 51
    assert graph.get(AssetKey(["vehicles"])).parent_keys == sources
    assert {graph.get(AssetKey(["sources", f"site_{i:02d}"])).group_name for i in range(5)} == set(KINDS)
    assert graph.get(AssetKey(["sources", "site_07"])).metadata["base_url"].value == "https://s7.example.com/"


def test_the_report_follows_the_vehicles_and_no_check_can_stop_it(edge: Connection) -> None:
    graph = defs().resolve_asset_graph()
    assert graph.get(AssetKey(["fill_cycle_report"])).parent_keys == {AssetKey(["vehicles"])}
    checks = {key.name: graph.get(key) for key in graph.asset_check_keys}
    assert {"data_quality_score", "on_target", "no_duplicate_vin", "counters_reconcile"} <= set(checks)
    assert "completeness_price" in checks
    assert not any(check.blocking for check in checks.values())


def test_every_asset_has_the_windows_as_partitions_and_the_one_now_running_is_among_them(edge: Connection) -> None:
    graph = defs().resolve_asset_graph()
    assert {graph.get(key).partitions_def for key in graph.get_all_asset_keys()} == {WINDOWS}
    assert WINDOWS.get_last_partition_key() == window_at(utc_now()).key


def test_schedules_and_sensors_run_from_the_start(edge: Connection) -> None:
    repository = defs().get_repository_def()
    assert {s.name for s in repository.schedule_defs} == {"fill_cycle_schedule", "prune_schedule"}
    assert {s.name for s in repository.sensor_defs} == {
        "queue_depth_sensor",
        "target_gap_sensor",
        "close_cycle_sensor",
        "registry_sensor",
        "deals_sensor",
        "search_sensor",
        "incident_sensor",
        "run_failure_sensor",
    }
    assert all(s.default_status is DefaultScheduleStatus.RUNNING for s in repository.schedule_defs)
    assert all(s.default_status is DefaultSensorStatus.RUNNING for s in repository.sensor_defs)
    assert repository.get_schedule_def("fill_cycle_schedule").cron_schedule == "0 */2 * * *"
    assert repository.get_job("fill_cycle").tags["dagster/max_runtime"] == "300"


def test_a_run_asked_for_before_a_source_came_builds_its_own_graph_and_reads_no_database(
    edge: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(edge, 3)
    code = CodePointer.from_module("fill_pipeline.definitions", "defs", working_directory=None)
    with DefinitionsLoadContext.scoped(DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION)):
        before = initialize_repository_def_from_pointer(code)
        declare(edge, 5)
        monkeypatch.setenv("FILL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
        again = reconstruct_repository_def_from_pointer(code, before.repository_load_data)
    keys = set(again.asset_graph.get_all_asset_keys())
    assert keys == set(before.asset_graph.get_all_asset_keys())
    assert AssetKey(["sources", "site_02"]) in keys
    assert AssetKey(["sources", "site_04"]) not in keys


def test_a_database_that_cannot_be_read_is_an_error_and_not_an_empty_graph(
    edge: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Exception, match="connection"):
        defs()
