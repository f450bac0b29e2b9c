"""Labels that people read, in English, German, Dutch and French, and the fields they name."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib import resources

_BEFORE = " •·*-–—>|."
_AFTER = " :*.?•·-–—|"
# "Hillside Price": a price named after its dealer; but "Market Price", "Original Price" are no asking prices.
_OWN_PRICE = re.compile(
    r"(?!.*\b(?:market|average|avg|invoice|trade|option|options|base|starting|was|old|list|retail|original|new|reserve|"
    r"estimated|est|lease|finance|financed|wholesale|former|previous|high|low|auction|predicted|fair|compare|about|"
    r"by|monthly|the|see|get|no|per|of|for|in|cpo|msrp|factory|sold|start|opening|check|drop)\b)"
    r"[a-z][\w.'’&-]*(?: [\w.'’&-]+){0,2} price"
)


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
    label = " ".join(text.lower().split()).lstrip(_BEFORE).rstrip(_AFTER)
    field = _by_label().get(label)
    return "price" if field is None and label.endswith(" price") and _OWN_PRICE.fullmatch(label) else field
