"""The simulated web as a process: it starts, says where it is, and never outlives who started it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fill_pipeline.simweb import start_simweb

from .conftest import Browser

PARENT = """
import sys, time
from fill_pipeline.simweb import start_simweb
web = start_simweb(scale=0.02)
print(web.process.pid, web.port, flush=True)
time.sleep(60)
"""


def test_it_writes_its_port_and_ends_on_sigterm(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = [
        sys.executable,
        "-m",
        "fill_pipeline.simweb",
        "--port",
        "0",
        "--scale",
        "0.02",
        "--ready-file",
        str(ready),
    ]
    process = subprocess.Popen(command)
    try:
        _wait_until(ready.exists)
        record = json.loads(ready.read_text())
        assert record["pid"] == process.pid
        socket.create_connection(("127.0.0.1", record["port"]), timeout=2).close()
    finally:
        process.terminate()
    assert process.wait(timeout=5) == 0


def test_it_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child, port = map(int, parent.stdout.readline().split())
    parent.send_signal(signal.SIGKILL)
    parent.wait(timeout=5)
    parent.stdout.close()
    _wait_until(lambda: not _listens(port))
    _wait_until(lambda: not _runs(child))


def test_two_processes_with_one_seed_serve_the_same_bytes() -> None:
    with start_simweb(seed=3, scale=0.02) as one, start_simweb(seed=3, scale=0.02) as other:
        pages = []
        for web in (one, other):
            urls = [ad["url"] for ad in web.get("/truth")][::7]
            urls += [f"{site['base_url']}/" for site in web.get("/sites") if site["open"]]
            browser = Browser(web)
            pages.append([browser.get(url).body.replace(str(web.port).encode(), b"PORT") for url in urls])
        assert pages[0] == pages[1]


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(RuntimeError, match="Address already in use"):
        start_simweb(port=taken.getsockname()[1], scale=0.02)


def _wait_until(done: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z" and os.getpid() != pid
