"""Connections, and the named SQL that runs on them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import aiosql
import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]


def connect(url: str, *, name: str = "fill", autocommit: bool = True) -> Connection:
    """Open a connection that speaks UTC and gives up on locks and lost peers instead of hanging.

    Autocommit is the default: a transaction is opened by name (``with conn.transaction():``) and
    never left open while something slow happens.
    """
    return psycopg.connect(
        url,
        autocommit=autocommit,
        application_name=name,
        connect_timeout=10,
        keepalives_idle=30,
        options="-c timezone=UTC -c lock_timeout=30s -c idle_in_transaction_session_timeout=120s",
    )


@cache
def queries(group: str) -> Any:
    """The named statements of ``db/sql/<group>.sql``, each a method taking a connection and keywords."""
    return aiosql.from_path(Path(__file__).parent / "sql" / f"{group}.sql", "psycopg", mandatory_parameters=False)
