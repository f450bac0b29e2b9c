"""Totals that cost the same at ten million rows as at ten thousand."""

from __future__ import annotations

from collections.abc import Sequence

from fill_pipeline.db.connect import Connection, queries

_sql = queries("counters")
FOLD_ABOVE = 2000


def totals(conn: Connection, metrics: Sequence[str]) -> dict[str, int]:
    """Each metric's total over all scopes; 0 where nothing was ever counted."""
    found = dict(_sql.totals(conn, metrics=list(metrics)))
    return {metric: int(found.get(metric, 0)) for metric in metrics}


def of_scope(conn: Connection, metrics: Sequence[str], scope: str) -> dict[str, int]:
    """Each metric's total within one scope: a cycle id, or a source id."""
    found = dict(_sql.of_scope(conn, metrics=list(metrics), scope=scope))
    return {metric: int(found.get(metric, 0)) for metric in metrics}


def by_scope(conn: Connection, metric: str) -> dict[str, int]:
    """A metric's total in each scope that has one."""
    return {scope: int(n) for scope, n in _sql.by_scope(conn, metric=metric)}


def fold(conn: Connection) -> bool:
    """Fold the deltas when they have become many; returns whether it did."""
    if int(_sql.delta_count(conn)) < FOLD_ABOVE:
        return False
    with conn.transaction():
        _sql.fold(conn)
    return True
