"""The named SQL of a file, each statement read when it is first sent: most processes send few of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

_NAME = re.compile(r"^-- name: *(\w+)([!$^#]?) *$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*$\n?", re.MULTILINE)
# Quoted text stays as it is; ``:word`` is a parameter, ``::word`` a cast.
_PARAMETER = re.compile(r"""(?P<quoted>"[^"]+"|'[^']*')|(?<!:):(?P<name>\w+)""")


class Statement:
    """A statement, called with a connection and its parameters as keywords.

    What it gives hangs on the sign after its name in the file: ``!`` how many rows it changed, ``$`` the first
    column of the first row, ``^`` the first row (both None where there is none), ``#`` nothing, being several
    statements without parameters; without a sign the rows.
    """

    __slots__ = ("_kind", "sql")

    def __init__(self, kind: str, text: str) -> None:
        self._kind = kind
        self.sql = _PARAMETER.sub(_placeholder, _COMMENT.sub("", text).strip())
        """As the driver takes it."""

    def __call__(self, conn: psycopg.Connection[Any], **parameters: Any) -> Any:
        """Send it."""
        with conn.cursor() as cursor:
            cursor.execute(self.sql, None if self._kind == "#" else parameters)
            return _GIVES[self._kind](cursor)


class Statements:
    """The statements of one file, each an attribute by its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: dict[str, tuple[str, str]] | None = None

    def __getattr__(self, name: str) -> Statement:
        if self._texts is None:
            self._texts = {found: (kind, text) for found, kind, text in _parts(self._path.read_text(encoding="utf-8"))}
        if name not in self._texts:
            raise AttributeError(f"{self._path.name} has no statement {name!r}")
        statement = Statement(*self._texts[name])
        setattr(self, name, statement)
        return statement


def _parts(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, sign and text of each statement."""
    _, *parts = _NAME.split(text)
    yield from zip(parts[0::3], parts[1::3], parts[2::3], strict=True)


def _placeholder(match: re.Match[str]) -> str:
    quoted: str | None = match["quoted"]
    return quoted if quoted is not None else f"%({match['name']})s"


def _value(cursor: psycopg.Cursor[Any]) -> Any:
    row = cursor.fetchone()
    return row[0] if row is not None else None


_GIVES: dict[str, Callable[[psycopg.Cursor[Any]], Any]] = {
    "": lambda cursor: iter(cursor.fetchall()),
    "!": lambda cursor: cursor.rowcount,
    "$": _value,
    "^": lambda cursor: cursor.fetchone(),
    "#": lambda cursor: None,
}
