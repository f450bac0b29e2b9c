"""What a page states of a number that nobody knows of its car: told by what such cars are advertised with.

Where a source lost its prices and all that it listed before is sold, no page states a price that is known. But the
numbers in one place of its pages, car by car, either follow what such cars usually cost or they do not. Those of the
one place that do, on half of the pages and then on the other half, are the prices; where the numbers of two places do
and differ, nothing is told.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import StatisticsError, correlation, fmean, median
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from fill_pipeline.db.improvement import NumberLike
from fill_pipeline.extract.dom import parse
from fill_pipeline.extract.rules import Rule
from fill_pipeline.repair.induce import MIN_COVERAGE, Place, firmest, places, value_of
from fill_pipeline.repair.truth import Witness

FIELDS = ("price", "mileage")
LEAST_PAGES = 10
LEAST_LIKE = 3
LEAST_SHARED = 10  # cars that show what another currency or unit is worth
WITHIN = math.log(2.5)  # of what is usual; hardly any car is further off
WITHIN_SHARE = 0.85
CENTRE = math.log(1.5)  # how far off all of them together may be
CORRELATION = 0.8
HALF_CORRELATION = 0.6
DISTINCT = 0.7
RIVAL_SHARE = 0.1
_NUMBER = re.compile(r"\D{0,40}\d[\d.,' \u00a0\u202f]{2,12}\D{0,40}")

Likes = Sequence[tuple[NumberLike, float]]  # each with the natural logarithm of its number, in the source's own unit


@dataclass(slots=True)
class Usual:
    """What is usual of cars by make, model and year: a straight line for each model, with one slope for all."""

    name: str
    year_now: int
    slope: float = 0.0
    levels: dict[tuple[str, str], float] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, numbers: Sequence[NumberLike], *, year_now: int) -> Usual:
        """Learn from such cars; models with too few of them are left out.

        What is stated in another currency or unit counts too, as far as cars stated in the source's own show its worth.
        """
        likes = [(one, math.log(one.value)) for one in numbers]
        ours = [like for like in likes if like[0].is_ours]
        for unit in {one.unit for one in numbers if not one.is_ours}:
            theirs = [like for like in likes if like[0].unit == unit]
            usual = cls._fit(name, theirs, year_now)
            off = [log - there for one, log in ours if one.is_ours and (there := usual._log_like(one)) is not None]
            if len(off) >= LEAST_SHARED:
                ours += [(one, log + median(off)) for one, log in theirs]
        return cls._fit(name, ours, year_now)

    @classmethod
    def _fit(cls, name: str, likes: Likes, year_now: int) -> Usual:
        found = cls(name, year_now)
        by_model: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for one, log in likes:
            by_model[one.make, one.model].append((found._age(one.year), log))
        above = below = 0.0
        for stated in by_model.values():
            age, log = fmean(one for one, _ in stated), fmean(one for _, one in stated)
            above += sum((one - age) * (other - log) for one, other in stated)
            below += sum((one - age) ** 2 for one, _ in stated)
        found.slope = above / below if below else 0.0
        found.levels = {
            model: median(log - found.slope * age for age, log in stated)
            for model, stated in by_model.items()
            if len(stated) >= LEAST_LIKE
        }
        return found

    def log_of(self, make: str, model: str, year: int) -> float | None:
        """The natural logarithm of what is usual, None where too few such cars are known."""
        level = self.levels.get((make, model))
        return None if level is None else level + self.slope * self._age(year)

    def _log_like(self, one: NumberLike) -> float | None:
        return self.log_of(one.make, one.model, one.year)

    def _age(self, year: int) -> float:
        """A price falls by a share every year; a mileage grows with the years, ever more slowly by share."""
        age = max(0, self.year_now - year)
        return math.log(age + 1) if self.name == "mileage" else float(age)


@dataclass(frozen=True, slots=True)
class Unread:
    """A page that is read without a number, and what is usual of its car (natural logarithm)."""

    page: Witness
    usual: float


def told(pages: Sequence[Unread], name: str) -> dict[str, int]:
    """By address, the price or mileage of each page that states one in the place that proves to be its place."""
    if len(pages) < LEAST_PAGES:
        return {}
    read = [(page, parse(page.page.body.decode("utf-8", errors="replace"))) for page in pages]
    learn, proof = read[::2], read[1::2]
    offered: Counter[Place] = Counter()
    for page, tree in learn:
        offered.update(set(_places(page, tree, name)))
    first: dict[str, int] | None = None
    for place in firmest(offered, math.ceil(MIN_COVERAGE * len(learn))):
        stated = _stated(place.rule, name, learn)
        if not _follow(stated, learn, HALF_CORRELATION):
            continue
        stated |= _stated(place.rule, name, proof)
        if first is not None and _differ(first, stated):
            return {}
        if first is None:
            if not (_follow(stated, proof, HALF_CORRELATION) and _follow(stated, read, CORRELATION)):
                return {}
            first = stated
    return first or {}


def _stated(rule: Rule, name: str, pages: Sequence[tuple[Unread, LexborHTMLParser]]) -> dict[str, int]:
    read = ((page.page.url, value_of(rule, name, tree, page.page.url)) for page, tree in pages)
    return {url: value for url, value in read if value}


def _places(page: Unread, tree: LexborHTMLParser, name: str) -> Iterator[Place]:
    def fits(value: Any) -> bool:
        return bool(value) and abs(math.log(value) - page.usual) <= WITHIN

    return places(tree, name, page.page.url, worth=lambda words: _NUMBER.fullmatch(words) is not None, fits=fits)


def _follow(stated: Mapping[str, int], pages: Sequence[tuple[Unread, LexborHTMLParser]], least: float) -> bool:
    """Whether numbers, car by car, go with what is usual: near it, most of them different, high where it is high."""
    pairs = [(math.log(stated[page.page.url]), page.usual) for page, _ in pages if page.page.url in stated]
    if len(pairs) < MIN_COVERAGE * len(pages) or len({one for one, _ in pairs}) < DISTINCT * len(pairs):
        return False
    off = [one - usual for one, usual in pairs]
    if sum(abs(one) <= WITHIN for one in off) < WITHIN_SHARE * len(off) or abs(median(off)) > CENTRE:
        return False
    try:
        return correlation([one for one, _ in pairs], [usual for _, usual in pairs]) >= least
    except StatisticsError:  # all alike
        return False


def _differ(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    both = one.keys() & other.keys()
    return sum(one[url] != other[url] for url in both) > RIVAL_SHARE * len(both)
