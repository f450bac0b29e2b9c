"""Labels that people read, in English, German, Dutch and French, and the fields they name."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib import resources

_EDGES = re.compile(r"^[\s•·*\-–—>|.]+|[\s:*.?•·\-–—|]+$")
_SPACES = re.compile(r"\s+")


@cache
def _by_label() -> dict[str, str]:
    """Label → field, from ``data/labels.txt``."""
    table: dict[str, str] = {}
    text = resources.files(__package__).joinpath("data/labels.txt").read_text(encoding="utf-8").replace("\n  ", " ")
    for line in text.splitlines():
        field, mark, words = line.partition(": ")
        if mark and not line.startswith("#"):
            for label in words.split("|"):
                table.setdefault(label.strip(), "" if field == "-" else field)
    return table


@lru_cache(maxsize=16384)
def field_of_label(text: str) -> str | None:
    """The field a label names ("Mileage:" → "mileage"); "" for a label of no field of ours; None for no label."""
    if len(text) > 48:
        return None
    return _by_label().get(_SPACES.sub(" ", _EDGES.sub("", text.lower())))
