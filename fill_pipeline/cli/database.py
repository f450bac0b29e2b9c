"""The database a command works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fill_pipeline.cli.output import working
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url
from fill_pipeline.settings import Settings


@contextmanager
def open_database(name: str) -> Iterator[Connection]:
    """A connection to the database of the settings, started and migrated; ``name`` shows in ``pg_stat_activity``."""
    with working("opening the database"):
        url = database_url(Settings())
        migrate(url)
    with connect(url, name=f"fill {name}") as conn:
        yield conn
