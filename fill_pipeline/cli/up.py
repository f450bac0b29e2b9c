"""``fill up``, ``fill down`` and ``fill dashboard``: the system as processes of one machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from fill_pipeline.cli import demo
from fill_pipeline.cli.output import Json, console, fail, print_json, working
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url, stop_embedded
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb

STOP_SECONDS = 20
CLOCK_SECONDS = 30.0
READY_SECONDS = 240.0


def up(
    no_dashboard: Annotated[bool, typer.Option("--no-dashboard", help="Leave the dashboard out.")] = False,
    json: Json = False,
) -> None:
    """Run the system on this machine: the Dagster UI, its daemon, and the live dashboard; Ctrl-C stops it all."""
    settings = Settings()
    with working("opening the database"):
        migrate(database_url(settings))
    _own(settings)
    addresses: dict[str, str] = {}
    with ExitStack() as stack:
        if demo.has_simulated_sources(settings):
            web, settings = stack.enter_context(demo.simulated_web(settings))
            stack.enter_context(_Clock(web))
            addresses["simulated web"] = f"http://control.localhost:{web.port}/sites"
        home = settings.home / "dagster"
        home.mkdir(parents=True, exist_ok=True)
        os.environ |= {"FILL_HOME": str(settings.home), "DAGSTER_HOME": str(_dagster_home(home))}
        ui, board = _free(settings.ui_port), _free(settings.dashboard_port)
        os.environ["FILL_UI_PORT"] = str(ui)
        processes = [
            _start(["-m", "dagster", "dev", "-m", "fill_pipeline.definitions", "-p", str(ui)], home / "dagster.log")
        ]
        if not no_dashboard:
            processes.append(
                _start(["-m", "fill_pipeline.cli", "dashboard", "--port", str(board)], settings.home / "dashboard.log")
            )
        stack.callback(_stop, processes)
        _wait_until_up(ui, processes[0], home / "dagster.log")
        addresses["Dagster UI"] = f"http://127.0.0.1:{ui}"
        if not no_dashboard:
            addresses["dashboard"] = f"http://127.0.0.1:{board}"
        if json:
            print_json({name.lower().replace(" ", "_"): url for name, url in addresses.items()}, indent=False)
        for name, url in {} if json else addresses.items():
            console.print(f"{name:16} {url}")
        console.print("Ctrl-C stops everything; the database stops with its last user.")
        _watch(processes)


def down(json: Json = False) -> None:
    """Stop the system started by ``fill up`` and the embedded database."""
    settings = Settings()
    pid_file = settings.home / "up.pid"
    with working("stopping"):
        if (pid := _pid(pid_file)) is not None:
            os.kill(pid, signal.SIGTERM)
            for _ in range(10 * STOP_SECONDS):
                if _pid(pid_file) is None:
                    break
                time.sleep(0.1)
        database = stop_embedded(settings)
    if json:
        print_json({"stopped_process": pid, "stopped_database": database})
        return
    if pid is not None:
        console.print(f"the system (process {pid}) is stopped")
    if database:
        console.print("the embedded database is stopped")
    if pid is None and not database:
        console.print("nothing was running")


def dashboard(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Its port; default: FILL_DASHBOARD_PORT.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    json: Json = False,
) -> None:
    """Serve the live dashboard alone."""
    from fill_pipeline.dashboard.app import serve

    settings = Settings()
    port = settings.dashboard_port if port is None else port
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            port = probe.getsockname()[1]
    except OSError as error:
        fail(f"nothing can listen on {host} port {port}: {error.strerror}; choose with --host and --port")
    with working("opening the database"):
        migrate(database_url(settings))
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print_json({"dashboard": address}, indent=False) if json else console.print(f"dashboard        {address}")
    token = settings.dashboard_token.get_secret_value() if settings.dashboard_token else None
    serve(
        settings,
        host=host,
        port=port,
        token=token,
        dagster_url=settings.ui_url or f"http://127.0.0.1:{settings.ui_port}",
    )


class _Clock:
    """Lets the simulated web's time run with ours."""

    def __init__(self, web: SimWeb) -> None:
        self._web, self._done = web, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Clock:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(CLOCK_SECONDS):
            try:
                self._web.post("clock", advance_seconds=CLOCK_SECONDS)
            except OSError:
                return


def _own(settings: Settings) -> None:
    """One system per data folder: two daemons on one instance would both tick."""
    settings.home.mkdir(parents=True, exist_ok=True)
    pid_file = settings.home / "up.pid"
    if (pid := _pid(pid_file)) is not None:
        fail(f"already up in {settings.home} (process {pid}); `fill down` stops it")
    pid_file.write_text(str(os.getpid()))


def _pid(pid_file: Path) -> int | None:
    """The process that ``fill up`` runs in, if it does."""
    try:
        pid = int(pid_file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes() if Path("/proc").is_dir() else b"up"
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid if b"up" in command.split(b"\0") or command == b"up" else None


def _dagster_home(home: Path) -> Path:
    """A DAGSTER_HOME under our own, holding the project's dagster.yaml."""
    project = Path(__file__).parents[2] / "dagster.yaml"
    target = home / "dagster.yaml"
    if not target.is_file() or target.read_text() != project.read_text():
        target.write_text(project.read_text())
    return home


def _start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # its children are ended with it, as a group
        )


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End every process group, politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                continue
        ends = time.monotonic() + (STOP_SECONDS if number == signal.SIGTERM else 2)
        while time.monotonic() < ends and any(process.poll() is None for process in processes):
            time.sleep(0.1)


def _wait_until_up(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + READY_SECONDS
    with console.status("starting …"):
        while time.monotonic() < ends:
            if process.poll() is not None:
                fail(f"Dagster ended at once; its log is {log}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.2)
    fail(f"Dagster did not answer on port {port} within {READY_SECONDS:.0f} s; its log is {log}")


def _free(port: int) -> int:
    """The port wanted, or another one if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _watch(processes: list[subprocess.Popen[bytes]]) -> None:
    """Stay until told to stop, or until something that should run has ended."""
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    while not done.wait(1.0):
        for process in processes:
            if process.poll() is not None:
                console.print(f"[red]{' '.join(map(str, process.args[1:4]))} ended with status {process.returncode}[/]")  # type: ignore[index]
                return
    console.print("stopping …")
