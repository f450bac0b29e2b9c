"""Whole cycles on real components: an own home, an own database, the simulated web."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb, start_simweb


@pytest.fixture(scope="session")
def simweb() -> Iterator[SimWeb]:
    """A small simulated web of its own."""
    with start_simweb(scale=0.15, seed=11) as web:
        yield web


@contextmanager
def fresh_world(server_url: str, home: Path, name: str) -> Iterator[Settings]:
    """Settings on an empty, migrated database and home of their own; loopback allowed."""
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name}")
    url = make_conninfo(server_url, dbname=name)
    migrate(url)
    yield Settings(
        home=home,
        database_url=SecretStr(url),
        allow_nets="127.0.0.0/8",  # type: ignore[arg-type]
        workers=2,
        retry_seconds=0.1,
    )
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def world(server_url: str, tmp_path: Path) -> Iterator[Settings]:
    """An empty world of this test alone."""
    with fresh_world(server_url, tmp_path, f"e2e_{uuid4().hex[:12]}") as settings:
        yield settings


@pytest.fixture
def db(world: Settings) -> Iterator[Connection]:
    """A connection to the test's database."""
    with connect(database_url(world), name="test") as conn:
        yield conn


def register(conn: Connection, web: SimWeb, *slugs: str) -> None:
    """Declare the sites of a simulated web (all that are open, or these) as sources."""
    for site in web.get("/sites"):
        if site["slug"] in slugs or (not slugs and site["open"]):
            registry.declare_source(
                conn,
                name=site["slug"],
                base_url=site["base_url"],
                config=site["suggested_config"],
                kind=site["kind"],
            )


def start_cycle(world: Settings, *program: str) -> subprocess.Popen[bytes]:
    """``fill cycle`` (or this program of Python's) as a process of its own on this world."""
    assert world.database_url is not None
    environment = os.environ | {
        "FILL_HOME": str(world.home),
        "FILL_DATABASE_URL": world.database_url.get_secret_value(),
        "FILL_ALLOW_NETS": "127.0.0.0/8",
        "FILL_WORKERS": "2",
        "FILL_BATCH_SIZE": "60",
        "FILL_RETRY_SECONDS": "0.1",
    }
    return subprocess.Popen(
        [sys.executable, *(program or ("-m", "fill_pipeline.cli", "cycle"))],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
