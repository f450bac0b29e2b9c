"""Stops the embedded server when its last user has gone: ``python -m fill_pipeline.db.watcher DATA``."""

from __future__ import annotations

import fcntl
import sys
import time
from pathlib import Path

import psycopg

from fill_pipeline.db import server

GRACE_SECONDS = 3.0


def watch(data: Path) -> None:
    """Return once the server on ``data`` is stopped, by this process or by anyone."""
    with (data.parent / "postgres.watcher").open("a") as only:
        try:
            fcntl.flock(only, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        while server.is_running(data):
            with server.exclusive(data, wait=True):
                pass
            time.sleep(GRACE_SECONDS)  # one command often follows another
            with server.exclusive(data, wait=False) as alone:
                if alone and server.is_running(data) and not _used_by_strangers(data):
                    server.stop(data)


def _used_by_strangers(data: Path) -> bool:
    """Whether somebody is connected who holds no lock, such as psql."""
    try:
        return server.other_clients(server.embedded_url(data)) > 0
    except (OSError, IndexError, psycopg.Error):
        return False


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
