"""Dagster's instance as ``dagster.yaml`` makes it, and what the edge reads from the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef

from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def module_env(settings: Settings, database_url: str) -> Iterator[None]:
    """The environment that every process of the edge shares."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FILL_HOME", str(settings.home))
        patch.setenv("FILL_DATABASE_URL", database_url)
        patch.setenv("FILL_ALLOW_NETS", "127.0.0.0/8")
        yield


@pytest.fixture(scope="module")
def _instance(module_env: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterInstance]:
    folder = str(tmp_path_factory.mktemp("dagster-home"))
    with DagsterInstance.from_ref(InstanceRef.from_dir(folder, config_dir=str(PROJECT))) as instance:
        yield instance


@pytest.fixture
def instance(_instance: DagsterInstance) -> DagsterInstance:
    """The instance on real storage, without runs."""
    for run in _instance.get_runs():
        _instance.delete_run(run.run_id)
    return _instance


@pytest.fixture
def edge(module_env: None, conn: Connection) -> Settings:
    """The settings the edge will find; the database is empty of rows."""
    return Settings()
