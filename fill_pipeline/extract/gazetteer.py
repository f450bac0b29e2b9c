"""Makes and models: the names people write, and the canonical name behind them.

The facts are in ``data/makes_models.txt`` (its header names the sources). Names are compared
*folded*: lower case, accents dropped, letters and digits only, so that "F-150", "F 150" and
"f150" are one name.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

_WORD = re.compile(r"[^\s_,;:|()\[\]{}\"“”*•·<>=?!]+")
_NOT_ALNUM = re.compile(r"[^a-z0-9]+")
_YEAR = re.compile(r"(?:18[89]|19\d|20[0-4])\d\Z")
_SHORT_YEAR = re.compile(r"['’‘`´]([0-9]{2})\Z")
_YEAR_MONTH = re.compile(r"(?:0?[1-9]|1[0-2])[/.\-]((?:19|20)\d\d)\Z")
_MAX_WORDS = 6  # the longest make or model in the data has this many words


@dataclass(frozen=True, slots=True)
class MakeModel:
    """What a title says: canonical names (None where unknown) and where in the text the model ended."""

    make: str | None
    model: str | None
    year: int | None
    make_words: str | None  # the make as written
    model_words: str | None  # the model as written
    rest: str  # the words after the model: the trim and whatever follows
    before: str  # the words before the year or make


@dataclass(frozen=True, slots=True)
class _Make:
    name: str
    models: dict[str, str]  # folded → canonical
    first: frozenset[str]  # the first three characters of every folded model


@lru_cache(maxsize=65536)
def fold(text: str) -> str:
    """Lower case, without accents, letters and digits only; of a text of none of these, the text itself."""
    lowered = text.lower()
    if not lowered.isascii():
        lowered = unicodedata.normalize("NFKD", lowered).encode("ascii", "ignore").decode()
    return _NOT_ALNUM.sub("", lowered)


def canonical_make(text: str | None) -> str | None:
    """The canonical make for a make as written ("VW" → "Volkswagen"), None where it is unknown."""
    if not text:
        return None
    make = _tables().makes.get(fold(text))
    return make.name if make else None


def canonical_model(make: str | None, text: str | None) -> str | None:
    """The canonical model of that make for a model as written ("f150" → "F-150"), None where it is unknown."""
    if not make or not text:
        return None
    entry = _tables().makes.get(fold(make))
    return entry.models.get(fold(text)) if entry else None


def known_makes() -> list[str]:
    """Every canonical make, sorted."""
    return sorted({make.name for make in _tables().makes.values()})


def models_of(make: str) -> list[str]:
    """Every canonical model of a make, sorted; empty for an unknown make."""
    entry = _tables().makes.get(fold(make))
    return sorted(set(entry.models.values())) if entry else []


@lru_cache(maxsize=8192)
def find_make_model(text: str) -> MakeModel | None:
    """Year, make and model read from a title ("Used 2018 Audi Q3 2.0T Premium"); None where there is no make.

    The make is the first known one, one that follows the year before others; an everyday word
    ("Smart", "Seat") counts only at the start, after the year or before one of its models. A
    model without its make ("1968 Camaro") is taken where only one make has it and the year is there.
    """
    words = _WORD.findall(text[:400])
    if not words:
        return None
    folded = [fold(word) for word in words]
    year, at_year = _find_year(words, folded)
    found = _find_make(words, folded, at_year)
    if found is None:
        return _model_alone(words, folded, year, at_year)
    start, end, make = found
    model_start, model_end, model = _find_model(folded, end, make)
    return MakeModel(
        make=make.name,
        model=model,
        year=year,
        make_words=" ".join(words[start:end]),
        model_words=" ".join(words[model_start:model_end]) if model else None,
        rest=" ".join(words[model_end if model else end :]),
        before=" ".join(words[: min(start, at_year) if at_year >= 0 else start]),
    )


def page_spelling(words: str, canonical: str) -> str:
    """The model as the page spells it where only punctuation differs from the canonical name, else that name.

    "F250" stays "F250" though the list says "F-250"; "CAMRY" becomes "Camry".
    """
    if fold(words) != fold(canonical) or words.casefold() == canonical.casefold():
        return canonical
    shouted = words.isupper() and not canonical.isupper() and not any(c.isdigit() for c in words)
    return canonical if words == words.lower() or shouted else words


def _find_year(words: list[str], folded: list[str]) -> tuple[int | None, int]:
    """The model year and its position; a year followed by a known make wins over any other."""
    makes = _tables().make_starts
    best: tuple[int | None, int] = (None, -1)
    for at, word in enumerate(words):
        value = read_year_word(word)
        if value is None:
            continue
        if at + 1 < len(folded) and folded[at + 1] in makes:
            return value, at
        if best[0] is None:
            best = (value, at)
    return best


def read_year_word(word: str) -> int | None:
    """A year standing alone as a word: "2018", "'65", "08/2022"; None for anything else."""
    if _YEAR.match(word):
        return int(word)
    short = _SHORT_YEAR.match(word)
    if short:
        return (1900 if int(short[1]) > 30 else 2000) + int(short[1])
    month = _YEAR_MONTH.match(word)
    return int(month[1]) if month else None


def _find_make(words: list[str], folded: list[str], at_year: int) -> tuple[int, int, _Make] | None:
    tables = _tables()
    if at_year >= 0:
        hit = _make_at(folded, at_year + 1)
        if hit:
            return at_year + 1, *hit
    for at, word in enumerate(folded):
        if word not in tables.make_starts:
            continue
        hit = _make_at(folded, at)
        if hit is None:
            continue
        if word not in tables.everyday or at == at_year + 1 or _expected(words, folded, at, hit):
            return at, *hit
    return None


def _expected(words: list[str], folded: list[str], at: int, hit: tuple[int, _Make]) -> bool:
    """Whether an everyday word is a make where it stands: at the start or capitalised, one of its models after it."""
    start, _, model = _find_model(folded, *hit)
    if at == 0:
        return model is not None or len(words) == 1
    return words[at][:1].isupper() and model is not None and start == hit[0]


def _make_at(folded: list[str], at: int) -> tuple[int, _Make] | None:
    """The longest make starting at a word: (the word after it, the make)."""
    makes = _tables().makes
    for length in (3, 2, 1):
        if at + length <= len(folded):
            make = makes.get("".join(folded[at : at + length]))
            if make is not None and folded[at] and folded[at + length - 1]:
                return at + length, make
    return None


def _find_model(folded: list[str], at: int, make: _Make) -> tuple[int, int, str | None]:
    """The longest model within the three words after the make: (start, end, canonical name)."""
    for start in range(at, min(at + 3, len(folded))):
        if folded[start][:3] not in make.first and folded[start][:1] not in make.first:
            continue
        for length in range(min(_MAX_WORDS, len(folded) - start), 0, -1):
            name = "".join(folded[start : start + length])
            model = make.models.get(name)
            if model is not None and folded[start + length - 1]:
                return start, start + length, model
    return at, at, None


def _model_alone(words: list[str], folded: list[str], year: int | None, at_year: int) -> MakeModel | None:
    if year is None:
        return None
    owners = _tables().owners
    for at in range(at_year + 1, min(at_year + 3, len(folded))):
        for length in (3, 2, 1):
            name = "".join(folded[at : at + length])
            owner = owners.get(name)
            if owner is not None and at + length <= len(folded) and folded[at + length - 1]:
                return MakeModel(
                    make=owner[0],
                    model=owner[1],
                    year=year,
                    make_words=None,
                    model_words=" ".join(words[at : at + length]),
                    rest=" ".join(words[at + length :]),
                    before=" ".join(words[:at_year]),
                )
    return None


@dataclass(frozen=True, slots=True)
class _Tables:
    makes: dict[str, _Make]  # folded make or alias → make
    make_starts: frozenset[str]  # the first folded word of every make and alias
    owners: dict[str, tuple[str, str]]  # folded model that only one make has → (make, model)
    everyday: frozenset[str]  # folded makes that are also everyday words


@cache
def _tables() -> _Tables:
    text = resources.files(__package__).joinpath("data/makes_models.txt").read_text(encoding="utf-8")
    makes: dict[str, _Make] = {}
    starts: set[str] = set()
    owners: dict[str, tuple[str, str] | None] = {}
    notes: dict[str, frozenset[str]] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("!"):
            note, _, words = line[1:].partition(": ")
            notes[note] = frozenset(words.split())
            continue
        head, _, tail = line.partition(" :: ")
        name, aliases = _names(head)
        models: dict[str, str] = {}
        for item in tail.split(" | "):
            model, others = _names(item)
            for written in (model, *others):
                models.setdefault(fold(written), model)
        first = {folded[:3] for folded in models} | {folded for folded in models if len(folded) < 3}
        # A model of several words starts with its first word, however short ("S 10", "3 Series").
        first |= {fold(word)[:3] for model in models.values() for word in model.split()[:1]}
        first |= {folded[:1] for folded in models if len(folded) > 1 and folded[1:2].isdigit() and folded[0].isalpha()}
        make = _Make(name, models, frozenset(first))
        for written in (name, *aliases):
            makes[fold(written)] = make
            starts.add(fold(written.replace("-", " ").split()[0]))
            starts.add(fold(written.split()[0]))
            starts.add(fold(written))
        for folded, model in models.items() if name not in notes["rebuilders"] else ():
            clash = folded in owners and owners[folded] != (name, model)
            owners[folded] = None if clash else (name, model)
    alone = {
        folded: owner
        for folded, owner in owners.items()
        if owner
        and (len(folded) >= 4 or folded in notes["short"])
        and not folded.isdigit()
        and folded not in notes["weak"]
        and folded not in makes
    }
    return _Tables(makes, frozenset(starts), alone, notes["everyday"])


def _names(item: str) -> tuple[str, list[str]]:
    name, _, aliases = item.partition(" = ")
    return name.strip(), [alias.strip() for alias in aliases.split(",") if alias.strip()]
