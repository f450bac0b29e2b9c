"""Reads behind the asset checks."""

from __future__ import annotations

from fill_pipeline.db.connect import Connection, queries

_sql = queries("checks")


def duplicate_vins(conn: Connection, cycle_id: str) -> int:
    """Of the vehicles a cycle touched, how many share their VIN with another vehicle."""
    return int(_sql.duplicate_vins(conn, cycle_id=cycle_id))
