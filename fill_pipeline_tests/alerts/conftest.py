"""Rows to judge, and receivers of alerts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings
from fill_pipeline_tests.alerts.receivers import Letterbox, Receiver, serve_letterbox, serve_receiver
from fill_pipeline_tests.alerts.rows import Rows


@pytest.fixture
def rows(conn: Connection, settings: Settings) -> Rows:
    """An empty database to write rows into, and quickly: what a crash would take is not looked at here."""
    conn.execute("SET synchronous_commit = off")
    return Rows(conn, settings)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A web server that keeps what is posted to it."""
    with serve_receiver() as told:
        yield told


@pytest.fixture
def letterbox() -> Iterator[Letterbox]:
    """A mail server that keeps the letters it gets."""
    with serve_letterbox() as told:
        yield told
