"""What the words just before an amount or a distance say of it."""

from __future__ import annotations

import re
from enum import Enum
from functools import cache, lru_cache
from importlib import resources

_MOST_PLACES = 200  # where an amount may stand
_BEFORE, _AFTER = 500, 300  # characters of markup between an amount and what is said of it
_LONGEST = 4  # words of the longest phrase
_WORD = re.compile(r"[\w'’.\-]+/?", re.UNICODE)
# Words between a phrase and its amount: "savings of $500", "ab ca. 500 €".
_JOINING = frozenset(
    [
        "of",
        "is",
        "from",
        "up",
        "to",
        "ab",
        "ca",
        "approx",
        "approximately",
        "about",
        "around",
        "at",
        "by",
        "the",
        "a",
        "an",
        "just",
        "as",
        "low",
        "for",
        "usd",
        "eur",
        "us",
        "cad",
    ]
)


class Said(Enum):
    """What is said of an amount."""

    OTHER = "other"  # it is no price of the car
    FORMER = "former"  # it was the price before, or is the price new
    LABEL = "label"  # it is the price
    SOLD = "sold"  # the car was sold for it
    BID = "bid"  # it is a bid
    RANGE = "range"  # the distance is no odometer reading


@lru_cache(maxsize=8192)
def said_before(words: str) -> Said | None:
    """What the last words before an amount say of it; None when they say nothing."""
    lines = words.rsplit("\n", 3)
    if lines[-1].strip():
        return _ending(lines[-1], 1)
    # The amount begins its line: the line above is its label only if it says little else ("XF Premium" is no premium).
    above = next((line for line in reversed(lines) if line.strip()), "")
    if above.rstrip().endswith(":"):
        return _ending(above, 1)
    return _phrases().get(" ".join(_words(above))) or _ending(above, 2)


def may_be_sale(page: str, amount: int) -> bool:
    """Whether a page has words beside an amount that make it a bid, or what was paid: a cheap look at its markup or its
    words before they are read."""
    stems = _of_sales()
    head, tail = str(amount)[:-3], str(amount)[-3:]
    last = head[-1:]
    at = page.find(tail)
    for _ in range(_MOST_PLACES):
        if at < 0:
            break
        # Thousands stand before any separator.
        before = page[max(0, at - 14) : at]
        if last in before and "".join(filter(str.isdigit, before)).endswith(head):
            around = page[max(0, at - _BEFORE) : at + _AFTER].lower()
            for stem in filter(around.__contains__, stems):
                if any(_stands_in(around, phrase) for phrase in stems[stem]):
                    return True
        at = page.find(tail, at + 1)
    return False


def _stands_in(text: str, phrase: str) -> bool:
    """Whether a text holds a phrase as words of its own."""
    at = text.find(phrase)
    while at >= 0:
        end = at + len(phrase)
        if not _is_letter(text[at - 1 : at]) and not _is_letter(text[end : end + 1]):
            return True
        at = text.find(phrase, at + 1)
    return False


def _is_letter(char: str) -> bool:
    return char.isalnum() or char == "_"


@cache
def _of_sales() -> dict[str, tuple[str, ...]]:
    """The phrases of auctions and past sales by the words that they have in common: none of these holds another."""
    known = [phrase for phrase, said in _phrases().items() if said in (Said.SOLD, Said.BID)]
    known += ["reserve not met", "reserve was not met", "did not sell", "no sale"]
    stems = [phrase for phrase in known if not any(other in phrase for other in known if other != phrase)]
    # A phrase that holds another stands as words of its own only where that one does.
    return {stem: _least([phrase for phrase in known if stem in phrase]) for stem in stems}


def _least(phrases: list[str]) -> tuple[str, ...]:
    """Those of some phrases that hold none of the others as words of their own."""
    return tuple(
        phrase for phrase in phrases if not any(other != phrase and _stands_in(phrase, other) for other in phrases)
    )


def _words(text: str) -> list[str]:
    return [word.strip(".'’").lower() for word in _WORD.findall(text)[-_LONGEST - 3 :]]


def _ending(text: str, shortest: int) -> Said | None:
    """What the phrase at the end of a line says, if it has so many words; joining words after it are left out."""
    tail = _words(text)
    phrases = _phrases()
    for drop in range(4):
        end = len(tail) - drop
        if end <= 0 or (drop and tail[end] not in _JOINING):
            return None
        for length in range(min(_LONGEST, end), shortest - 1, -1):
            said = phrases.get(" ".join(tail[end - length : end]))
            if said is not None:
                return said
    return None


@cache
def _phrases() -> dict[str, Said]:
    table: dict[str, Said] = {}
    text = resources.files(__package__).joinpath("data/phrases.txt").read_text(encoding="utf-8").replace("\n  ", " ")
    for line in text.splitlines():
        name, mark, phrases = line.partition(": ")
        if mark and not line.startswith("#"):
            for phrase in phrases.split("|"):
                table.setdefault(phrase.strip(), Said(name))
    return table
