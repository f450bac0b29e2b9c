"""What the keys of a record mean: schema.org's names, the names APIs use, and their translations."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib import resources

# Keys of a name and value pair in a list of attributes.
PAIR_NAMES = (
    "name",
    "label",
    "key",
    "title",
    "attribute",
    "displayName",
    "propertyID",
    "machineKey",
    "canonicalName",
    "displayLabel",
)
PAIR_VALUES = (
    "value",
    "displayValue",
    "values",
    "text",
    "formatted",
    "formattedValue",
    "content",
    "canonicalValue",
    "description",
)
# The plain value inside an object that stands for one value: {"raw": 12, "formatted": "12 km"}.
VALUE_KEYS = ("name", "formatted", "label", "displayValue", "displayName", "value", "raw", "amount", "text", "title",
              "canonicalValue",
              "priceRaw", "price", "total", "localized", "display", "url", "en", "consumerPriceGross", "@value",
              "gross")  # fmt: skip

MOST_KEYS = 200  # of an object whose keys are remembered together

_FOLD = re.compile(r"[^a-z0-9]+")
_TYPED = re.compile(r"_(?:s|i|f|d|l|b|t|ss|txt)\Z")  # how search engines mark the type of a field


@cache
def _by_key() -> dict[str, tuple[str, float]]:
    """Folded key → field and how telling the key is, from ``data/keys.txt``."""
    table: dict[str, tuple[str, float]] = {}
    for row, words in _rows():
        if not row.startswith("*"):
            for rank, key in enumerate(words.split()):
                table.setdefault(key, (row, 1.0 - min(rank, 30) * 0.006))
    return table


@cache
def _rows() -> tuple[tuple[str, str], ...]:
    """The rows of ``data/keys.txt``: name and words."""
    text = resources.files(__package__).joinpath("data/keys.txt").read_text(encoding="utf-8").replace("\n  ", " ")
    parts = (line.partition(": ") for line in text.splitlines() if not line.startswith("#"))
    return tuple((name, words) for name, mark, words in parts if mark)


@lru_cache(maxsize=16384)
def fold_key(key: str) -> str:
    """A key without case, separators, namespace and the affixes of well-known serialisers."""
    if ":" in key or "/" in key:
        key = re.split(r"[:/]", key)[-1]
    return _FOLD.sub("", _TYPED.sub("", key.lower()))


@lru_cache(maxsize=16384)
def field_of_key(key: str) -> tuple[str, float] | None:
    """The field that a record's key names and how telling it is (0 to 1); None for a key of no field."""
    folded = fold_key(key)
    table = _by_key()
    return table.get(folded) or (table.get(folded[7:]) if folded.startswith("vehicle") else None)


@lru_cache(maxsize=16384)
def container_of_key(key: str) -> str | None:
    """The kind of object that a key holds: "seller", "price", "mileage", a field's name, "foreign", or None."""
    folded = fold_key(key)
    kinds, foreign = _containers()
    kind = kinds.get(folded)
    if kind:
        return kind
    return "foreign" if any(word in folded for word in foreign) else None


@cache
def _containers() -> tuple[dict[str, str], tuple[str, ...]]:
    """Folded key of an object → what its parts belong to; words in the keys of objects about other things."""
    kinds: dict[str, str] = {}
    foreign: tuple[str, ...] = ()
    for row, words in _rows():
        if row == "*foreign":
            foreign = tuple(words.split())
        elif row.startswith("*"):
            kinds.update(dict.fromkeys(words.split(), row[1:]))
    return kinds, foreign


@lru_cache(maxsize=16384)
def plan_of_key(key: str) -> tuple[str, float, str | None]:
    """All that a key says: field ("" for none), how telling it is, and the kind of object it holds."""
    known = field_of_key(key)
    return (*(known or ("", 0.0)), container_of_key(key))
