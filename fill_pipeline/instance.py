"""Dagster's own storage on our PostgreSQL, and its files under ``FILL_HOME``. Named by ``dagster.yaml``.

Nothing here takes configuration: every process (webserver, daemon, code server, run) finds the same
server and folder by the same settings, so a plain ``dagster dev`` in a checkout works as it stands.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, Self

import psycopg
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from sqlalchemy import Engine, create_engine

from fill_pipeline.db.migrate import sqlalchemy_url
from fill_pipeline.db.server import database_url
from fill_pipeline.settings import Settings

SCHEMA = "dagster"
_LOCK = 7_301_002
_POOL = {"pool_size": 2, "max_overflow": 30, "pool_recycle": 1800, "pool_pre_ping": True, "pool_use_lifo": True}


class _Pooled:
    """Keeps connections open between statements, one pool for all pieces of storage in a process.

    dagster-postgres opens a connection per statement, which costs more than the statement.
    """

    _engine: Engine
    postgres_url: str

    def __init__(self, postgres_url: str, should_autocreate_tables: bool = False, **kwargs: Any) -> None:
        super().__init__(postgres_url, should_autocreate_tables, **kwargs)  # type: ignore[call-arg]
        self._engine = _engine(postgres_url)

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """As upstream: the webserver's statements end after ``statement_timeout`` milliseconds."""
        self._engine = _engine(self.postgres_url, statement_timeout)


class FillRunStorage(_Pooled, PostgresRunStorage):
    """Runs."""


class FillEventLogStorage(_Pooled, PostgresEventLogStorage):
    """Events."""


class FillScheduleStorage(_Pooled, PostgresScheduleStorage):
    """Ticks of schedules and sensors."""


class FillStorage(DagsterPostgresStorage):
    """Dagster's storage in schema ``dagster`` of ``FILL_DAGSTER_URL``, or of the application's database."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False, inst_data=inst_data)
        self._run_storage = FillRunStorage(postgres_url)
        self._event_log_storage = FillEventLogStorage(postgres_url)
        self._schedule_storage = FillScheduleStorage(postgres_url)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Find the server (starting the embedded one if need be) and make Dagster's tables if they are missing."""
        return cls(storage_url(Settings()), inst_data=inst_data)

    @property
    def event_storage_data(self) -> None:
        """Upstream's names of its own pieces, which do not apply here: only the whole is ever named."""

    run_storage_data = schedule_storage_data = event_storage_data


class FillComputeLogs(LocalComputeLogManager):
    """What runs print, under ``FILL_HOME/dagster/logs``."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """In the settings' home."""
        return cls(base_dir=str(files_folder(Settings()) / "logs"), inst_data=inst_data)


class FillArtifacts(LocalArtifactStorage):
    """Whatever else Dagster keeps in files, under ``FILL_HOME/dagster``."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """In the settings' home."""
        return cls(base_dir=str(files_folder(Settings())), inst_data=inst_data)


def files_folder(settings: Settings) -> Path:
    """The folder of Dagster's files."""
    return settings.home / "dagster"


def storage_url(settings: Settings) -> str:
    """The SQLAlchemy address of Dagster's storage, its schema and tables made."""
    # Children must mean the same folder wherever they run: a relative FILL_HOME would follow their cwd.
    os.environ["FILL_HOME"] = str(settings.home)
    conninfo = settings.dagster_url.get_secret_value() if settings.dagster_url else database_url(settings)
    url = sqlalchemy_url(conninfo, "postgresql+psycopg2")  # bare postgresql:// means psycopg 3 to SQLAlchemy 2.1
    options = " ".join(filter(None, [str(url.query.get("options", "")), f"-csearch_path={SCHEMA}"]))
    rendered = url.update_query_dict({"options": options}).render_as_string(hide_password=False)
    _make_tables(conninfo, rendered)
    return rendered


def _make_tables(conninfo: str, url: str) -> None:
    """Make schema and tables, one process at a time; a look at the catalogue when they are there."""
    with psycopg.connect(conninfo, autocommit=True, connect_timeout=10) as conn:
        if _tables_exist(conn):
            return
        conn.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        if not _tables_exist(conn):
            conn.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            for piece in (PostgresRunStorage, PostgresEventLogStorage, PostgresScheduleStorage):
                piece(url, should_autocreate_tables=True)


def _tables_exist(conn: psycopg.Connection[Any]) -> bool:
    # The last table of each piece that dagster-postgres itself looks for before it makes any.
    row = conn.execute(
        "SELECT to_regclass('dagster.runs') IS NOT NULL AND to_regclass('dagster.event_logs') IS NOT NULL "
        "AND to_regclass('dagster.jobs') IS NOT NULL"
    ).fetchone()
    return bool(row and row[0])


@cache
def _engine(url: str, statement_timeout: int | None = None) -> Engine:
    timeout = {"connect_args": {"options": _options(url, statement_timeout)}} if statement_timeout else {}
    return create_engine(url, isolation_level="AUTOCOMMIT", **timeout, **_POOL)


def _options(url: str, statement_timeout: int) -> str:
    from sqlalchemy import make_url

    return f"{make_url(url).query['options']} -cstatement_timeout={statement_timeout}"
