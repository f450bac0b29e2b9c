"""The canonical vocabulary: which words, in which language, mean which term."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from pathlib import Path

_SEPARATORS = re.compile(r"[^\w$€£¥]+|_+")
_LONGEST_TEXT = 120
_WHOLE_TEXT_ONLY = frozenset({"country", "currency", "region", "condition", "seller_type"})


def canonical_term(field: str, text: str) -> str | None:
    """The canonical term of ``field`` that ``text`` names, or None where it names none.

    ``field`` is one of the vocabulary's (body_style, fuel_type, transmission, drivetrain, condition,
    seller_type, color, country, currency, region). The whole text is tried first; for descriptive
    fields then the longest known term inside it ("Deep Crystal Blue Mica" is blue), the earliest
    of equally long ones.
    """
    return _lookup(field, text[:_LONGEST_TEXT])


def terms_of(field: str) -> tuple[str, ...]:
    """Every canonical term of ``field``, in alphabetical order."""
    return tuple(sorted(set(_vocabulary()[field].values())))


def key_of(text: str) -> str:
    """The text as the vocabulary compares it: casefolded, without accents, single spaces."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.casefold())
        text = "".join(c for c in decomposed if not unicodedata.combining(c))
    return _SEPARATORS.sub(" ", text.casefold()).strip()


@lru_cache(maxsize=20_000)
def _lookup(field: str, text: str) -> str | None:
    terms = _vocabulary()[field]
    key = key_of(text)
    whole = terms.get(key)
    if whole is not None or field in _WHOLE_TEXT_ONLY:
        return whole
    words = key.split()
    for length in range(min(len(words), 6), 0, -1):
        for start in range(len(words) - length + 1):
            term = " ".join(words[start : start + length])
            if len(term) > 1 and term in terms:
                return terms[term]
    return None


@cache
def _vocabulary() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = {}
    for line in (Path(__file__).parent / "vocabulary.tsv").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            field, canonical, terms = line.split("\t")
            known = table.setdefault(field, {})
            for term in (canonical, *terms.split("|")):
                known.setdefault(key_of(term), canonical)
    return table
