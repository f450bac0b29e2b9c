"""Typed Dagster resources: the way from an asset, check or sensor to settings and database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import ConfigurableResource
from psycopg import sql

from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.server import database_url
from fill_pipeline.settings import Settings

SENSOR_SECONDS = 25  # a tick is cut at 60 s; a statement that takes longer than this is an error of its own


class Fill(ConfigurableResource):  # type: ignore[type-arg]
    """Settings from the environment, and connections to the application's database."""

    @property
    def settings(self) -> Settings:
        """The settings, as the environment has them now."""
        return Settings()

    @contextmanager
    def connect(self, name: str, *, statement_seconds: int | None = None) -> Iterator[Connection]:
        """A connection (autocommit), closed at the end; ``name`` shows in ``pg_stat_activity``."""
        with connect(database_url(self.settings), name=f"fill-{name}") as conn:
            if statement_seconds:
                limit = sql.Literal(f"{statement_seconds}s")
                conn.execute(sql.SQL("SET statement_timeout = {}").format(limit))
            yield conn
