"""Connections, and the named SQL that runs on them."""

from __future__ import annotations

import re
import time
from functools import cache
from pathlib import Path
from typing import Any

import aiosql
import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]
RESTART_SECONDS = 60.0  # how long work already begun waits for a server that restarts


def connect(url: str, *, name: str = "fill", autocommit: bool = True) -> Connection:
    """Open a connection that speaks UTC and gives up on locks and lost peers instead of hanging.

    Autocommit is the default: a transaction is opened by name (``with conn.transaction():``) and
    never left open while something slow happens. Statements are not compiled (``jit``): ours are done in
    milliseconds, and compiling one whose cost is overestimated takes longer than that.
    """
    return psycopg.connect(
        url,
        autocommit=autocommit,
        application_name=name,
        connect_timeout=10,
        keepalives_idle=30,
        keepalives_interval=10,
        tcp_user_timeout=60_000,  # milliseconds: a server whose machine vanished does not even refuse
        options="-c timezone=UTC -c jit=off -c lock_timeout=30s -c idle_in_transaction_session_timeout=120s",
    )


def connect_again(url: str, *, name: str = "fill", patience: float = RESTART_SECONDS) -> Connection:
    """Open a connection in the middle of work, also while the server restarts; an embedded one that died is started.

    Raises:
        psycopg.OperationalError: the server did not come back within ``patience`` seconds.
    """
    until = time.monotonic() + patience
    pause = 0.1
    while True:
        try:
            return connect(url, name=name)
        except psycopg.OperationalError:
            if time.monotonic() + pause > until:
                raise
        from fill_pipeline.db.server import revive  # who reads and writes pages does without, and without its settings

        revive(url)
        time.sleep(pause)
        pause = min(2 * pause, 2.0)


class Statements:
    """The named statements of a group, each a method taking a connection and keywords; read when it is first sent."""

    def __init__(self, group: str) -> None:
        self._path = Path(__file__).parent / "sql" / f"{group}.sql"

    def __getattr__(self, name: str) -> Any:
        found = re.search(rf"^-- name: {name}\b.*?(?=^-- name: |\Z)", self._path.read_text(), re.MULTILINE | re.DOTALL)
        if found is None:
            raise AttributeError(f"{self._path.name} has no statement {name!r}")
        loaded = aiosql.from_str(found[0], "psycopg", mandatory_parameters=False)
        statement = getattr(loaded, name)
        setattr(self, name, statement)
        return statement


@cache
def queries(group: str) -> Statements:
    """The named statements of ``db/sql/<group>.sql``."""
    return Statements(group)
