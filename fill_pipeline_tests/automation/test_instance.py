"""Dagster's storage on our PostgreSQL: found without configuration, shared by processes, cheap, and kept small."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from psycopg.conninfo import make_conninfo

from fill_pipeline.assets.vehicles import VEHICLES
from fill_pipeline.automation.jobs import prune_dagster
from fill_pipeline.db.connect import Connection
from fill_pipeline.instance import FillStorage, storage_url
from fill_pipeline.settings import Settings


@pytest.fixture
def new_database(server_url: str) -> Iterator[str]:
    """A database that Dagster has never seen."""
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS dagster_new WITH (FORCE)")
        admin.execute("CREATE DATABASE dagster_new")
        yield make_conninfo(server_url, dbname="dagster_new")
        admin.execute("DROP DATABASE dagster_new WITH (FORCE)")


def test_several_that_start_at_once_on_an_empty_database_make_its_tables_once(
    module_env: None, new_database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each connects for itself, as the processes of ``dagster dev`` do; those are tried end to end."""
    monkeypatch.setenv("FILL_DAGSTER_URL", new_database)
    with ThreadPoolExecutor(4) as several:
        urls = list(several.map(lambda _: storage_url(Settings()), range(4)))
    assert len(set(urls)) == 1
    assert "Retrying" not in caplog.text  # what upstream says when two made the same table
    with psycopg.connect(new_database) as conn:
        schemas = conn.execute("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = 'event_logs'").fetchall()
    assert schemas == [("dagster",)]
    assert FillStorage(urls[0]).run_storage.get_run_ids() == []


def test_storage_goes_to_its_own_database_when_one_is_named(
    module_env: None, new_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILL_DAGSTER_URL", new_database)
    monkeypatch.setenv("FILL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    assert FillStorage(storage_url(Settings())).run_storage.get_run_ids() == []


def test_a_hundred_statements_share_one_connection(instance: DagsterInstance, edge: Settings, conn: Connection) -> None:
    for _ in range(50):
        instance.get_runs(limit=1)
        instance.get_latest_materialization_event(VEHICLES)
    connections = conn.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%event_logs%' AND pid <> pg_backend_pid()"
    ).fetchone()
    assert connections is not None
    assert connections[0] <= 1


def test_logs_and_files_stay_under_the_home_folder(instance: DagsterInstance, settings: Settings) -> None:
    with instance.compute_log_manager.capture_logs(["some_run", "compute_logs", "step"]):
        print("hello")
    assert Path(instance.storage_directory()).is_relative_to(settings.home)
    (log,) = (settings.home / "dagster" / "logs").rglob("some_run/**/*.out")
    assert log.read_text() == "hello\n"


def test_the_instance_forgets_nothing_about_safety(instance: DagsterInstance) -> None:
    assert not instance.telemetry_enabled
    assert instance.run_monitoring_enabled
    assert 0 < instance.run_monitoring_max_runtime_seconds < 7200
    assert instance.run_retries_enabled
    assert not instance.run_retries_retry_on_asset_or_op_failure


def test_pruning_deletes_old_runs_with_their_events_and_keeps_young_and_running_ones(
    instance: DagsterInstance, edge: Settings, conn: Connection
) -> None:
    old, young = (create_run_for_test(instance, status=DagsterRunStatus.SUCCESS) for _ in range(2))
    stuck = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
    instance.report_engine_event("long ago", old)
    conn.execute(
        "UPDATE dagster.runs SET create_timestamp = create_timestamp - interval '40 days' WHERE run_id = ANY(%s)",
        ([old.run_id, stuck.run_id],),
    )
    config = {"ops": {"prune": {"config": {"run_days": 30}}}}
    done = prune_dagster.execute_in_process(instance=instance, run_config=config)
    assert done.output_for_node("prune") == 1
    left = set(instance.get_run_ids())
    assert {stuck.run_id, young.run_id} <= left
    assert old.run_id not in left
    assert instance.all_logs(old.run_id) == []
