"""Real things for tests: a database, the corpus."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url as running_server
from fill_pipeline.db.server import stop_embedded
from fill_pipeline.settings import Settings

CORPUS = Path(__file__).parents[2] / "shared" / "corpus"
SPEC = Path(__file__).parents[2] / "shared" / "spec"


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """The test run's own FILL_HOME.

    Not below pytest's folder, which only its owner may enter: as root the embedded server is another user.
    """
    folder = Path(tempfile.mkdtemp(prefix="fill-tests-"))
    folder.chmod(0o755)
    yield folder
    stop_embedded(Settings(home=folder))
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def settings(home: Path) -> Settings:
    """Settings on the run's embedded server, with loopback allowed."""
    return Settings(home=home, allow_nets="127.0.0.0/8")  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def server_url(settings: Settings) -> str:
    """The embedded server of this test run."""
    return running_server(settings)


@pytest.fixture(scope="session")
def database_url(server_url: str) -> str:
    """A migrated database of this worker's own."""
    name = "test_" + os.environ.get("PYTEST_XDIST_WORKER", "main")
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name}")
    url = make_conninfo(server_url, dbname=name)
    migrate(url)
    return url


@pytest.fixture
def conn(database_url: str) -> Iterator[Connection]:
    """A connection (autocommit) to the migrated database, emptied of rows."""
    with connect(database_url, name="test") as connection:
        row = connection.execute(
            "SELECT string_agg(format('%I', tablename), ', ') FROM pg_tables "
            "WHERE schemaname = 'public' AND tablename <> 'fill_schema_version'"
        ).fetchone()
        assert row is not None
        connection.execute(f"TRUNCATE {row[0]} RESTART IDENTITY CASCADE")
        yield connection


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real pages; skips where it is absent."""
    if not CORPUS.is_dir():
        pytest.skip("the corpus of real pages is not beside this checkout (../shared/corpus)")
    return CORPUS


@pytest.fixture(scope="session")
def spec() -> Path:
    """The folder of the user's two documents; skips where it is absent."""
    if not SPEC.is_dir():
        pytest.skip("the specification is not beside this checkout (../shared/spec)")
    return SPEC


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow ones, so that none of them is still under way when all the others are done."""
    items.sort(key=lambda item: "slow" not in item.keywords)
