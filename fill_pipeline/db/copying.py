"""Rows copied into a table in PostgreSQL's binary form: the fastest way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from struct import pack
from typing import Any

import msgspec
from psycopg import sql

from fill_pipeline.db.connect import Connection

_TYPES = {
    "int8": {"id", "listing_id", "price", "archive_id", "vehicle_id"},
    "int4": {"mileage", "listing_count", "block_km"},
    "int2": {"year", "doors", "seats"},
    "uuid": {"source_id", "content_hash"},
    "float8": {"latitude", "longitude"},
    "float4": {"completeness", "confidence"},
    "timestamptz": {
        "posted_at",
        "first_seen_at",
        "last_seen_at",
        "changed_at",
        "created_at",
        "updated_at",
        "observed_at",
    },
    "bytea": {"raw", "raw_payload", "provenance", "quarantine", "images"},  # JSON as text, and an array: written below
}
"""The columns of listings and vehicles that are no text."""
_TEXT_OID = 25
_NUL, _INSTEAD = b"\\u0000", b"\\ufffd"
"""A character of JSON that PostgreSQL cannot make text of, and what stands for a lost one."""
encode = msgspec.json.Encoder().encode


class RowCopy:
    """How rows of one kind, objects with attributes, are copied into a table."""

    def __init__(self, table: str, columns: Sequence[str], other_names: Mapping[str, str] | None = None) -> None:
        """``other_names`` gives for a column the attribute that holds its value, where that has another name."""
        self._statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        self._types = [next((t for t, names in _TYPES.items() if c in names), "text") for c in columns]
        names = other_names or {}
        self._values = attrgetter(*(names.get(c, c) for c in columns))
        self._lists = tuple(i for i, c in enumerate(columns) if c == "images")
        self._jsons = tuple(i for i, c in enumerate(columns) if self._types[i] == "bytea" and i not in self._lists)

    def write(self, conn: Connection, rows: Sequence[object]) -> None:
        """Copy the rows."""
        with conn.cursor() as cursor, cursor.copy(self._statement) as copy:
            copy.set_types(self._types)
            for row in rows:
                values = list(self._values(row))
                for at in self._jsons:
                    if values[at] is not None:
                        values[at] = encode(values[at]).replace(_NUL, _INSTEAD)
                for at in self._lists:
                    values[at] = _text_array(values[at])
                copy.write_row(values)


def _text_array(texts: Sequence[Any]) -> bytes:
    """A one-dimensional ``text[]`` as PostgreSQL sends and receives it."""
    parts = [pack("!iiI", 1, 0, _TEXT_OID), pack("!ii", len(texts), 1)] if texts else [pack("!iiI", 0, 0, _TEXT_OID)]
    for text in texts:
        data = text.encode()
        parts += (pack("!i", len(data)), data)
    return b"".join(parts)
