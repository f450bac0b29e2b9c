"""Real things for tests: a database, the corpus, a piece of work."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url as running_server
from fill_pipeline.db.server import stop_embedded
from fill_pipeline.drain.work import Work
from fill_pipeline.settings import Settings

CORPUS = Path(__file__).parents[2] / "shared" / "corpus"
SPEC = Path(__file__).parents[2] / "shared" / "spec"
LOCK_ATTEMPTS = 50
ROOM_SECONDS = 20.0
ROOM_OF_SLOW_SECONDS = 150.0


def pytest_configure() -> None:
    """Heed Ctrl-C, which a shell has its background jobs ignore; Dagster ignores SIGTERM where that is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
        _empty(connection)
        yield connection


def _empty(connection: Connection) -> None:
    """Delete all rows, also while a server of the test run reads them.

    Such a reader takes its tables in another order, so that both may wait for each other. The wait for a lock ends
    before PostgreSQL looks for deadlocks (1 s), or the reader could be the one that is killed.
    """
    row = connection.execute(
        "SELECT string_agg(format('%I', tablename), ', ') FROM pg_tables "
        "WHERE schemaname = 'public' AND tablename <> 'fill_schema_version'"
    ).fetchone()
    assert row is not None
    for attempt in range(LOCK_ATTEMPTS):
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '300ms'")
                connection.execute(f"TRUNCATE {row[0]} RESTART IDENTITY CASCADE")
            return
        except psycopg.errors.LockNotAvailable:
            if attempt == LOCK_ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0.02, 0.2))  # not in step with what it waits for


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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin a test in the window it will end in: just before a window's end, wait for the next one.

    Many look at the real clock, as Dagster's own processes do, and name the current window more than once.
    """
    room = ROOM_OF_SLOW_SECONDS if "slow" in item.keywords else ROOM_SECONDS
    now = utc_now()
    left = (window_at(now).end - now).total_seconds()
    if left < room:
        time.sleep(left + 1.0)


@pytest.fixture
def work_of(conn: Connection, database_url: str, tmp_path: Path) -> Callable[..., Work]:
    """Makes work in the open cycle of this moment, with a folder of its own."""
    settings = Settings(home=tmp_path, allow_nets="127.0.0.0/8,::1/128", workers=1)  # type: ignore[arg-type]

    def make(after: timedelta = timedelta(0)) -> Work:
        def now() -> datetime:
            return datetime.now(UTC) + after

        cycle = ensure_open(conn, settings, now=now())
        return Work(settings, database_url, cycle.cycle_id, "test", now, now() + timedelta(minutes=10))

    return make


@pytest.fixture
def work(work_of: Callable[..., Work]) -> Work:
    """Work in the open cycle."""
    return work_of()
