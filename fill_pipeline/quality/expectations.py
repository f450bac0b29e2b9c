"""What is expected of a column of values, in Great Expectations' words, and a light way to see whether it holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Columns = Mapping[str, Sequence[Any]]
"""Named columns of equal length; None where there is no value."""


class Severity(StrEnum):
    """How bad it is when an expectation is not met; Great Expectations' own words."""

    WARN = "warning"  # worse than it should be
    ERROR = "critical"  # cannot be used as it is


class Kind(StrEnum):
    """The expectations in use, by Great Expectations' names. Each judges every value by itself or among its column."""

    FILLED = "expect_column_values_to_not_be_null"
    EMPTY = "expect_column_values_to_be_null"
    BETWEEN = "expect_column_values_to_be_between"
    IN_SET = "expect_column_values_to_be_in_set"
    MATCHES = "expect_column_values_to_match_regex"
    UNIQUE = "expect_column_values_to_be_unique"


@dataclass(frozen=True, slots=True)
class Expectation:
    """The one definition of a rule: at least the share ``mostly`` of a column's values is as ``kind`` says.

    ``low`` and ``high`` are inclusive bounds, ``allowed`` a set, ``pattern`` a regular expression that must match
    from the value's beginning; each belongs to the kind that needs it. ``about`` is the field a person would name.
    """

    name: str
    words: str
    kind: Kind
    column: str
    severity: Severity
    mostly: float = 1.0
    low: float | None = None
    high: float | None = None
    allowed: tuple[Any, ...] = ()
    pattern: str = ""
    about: str = ""

    @property
    def field(self) -> str:
        """The field of a listing or vehicle it is about."""
        return self.about or self.column

    def arguments(self) -> dict[str, Any]:
        """The arguments that Great Expectations takes for this expectation."""
        given: dict[str, Any] = {"column": self.column, "mostly": self.mostly}
        match self.kind:
            case Kind.BETWEEN:
                given |= {"min_value": self.low, "max_value": self.high}
            case Kind.IN_SET:
                given["value_set"] = list(self.allowed)
            case Kind.MATCHES:
                given["regex"] = self.pattern
        return given


@dataclass(frozen=True, slots=True)
class Suite:
    """Expectations of one set of columns."""

    name: str
    expectations: tuple[Expectation, ...]


@dataclass(slots=True)
class Result:
    """How a column met an expectation: values considered, and the positions of those that are not as expected."""

    expectation: Expectation
    success: bool
    considered: int
    unexpected: list[int] = field(default_factory=list)


def evaluate(suite: Suite, columns: Columns) -> list[Result]:
    """Evaluate a suite without Great Expectations, in its order; agrees with it on every kind used here.

    Missing values are left out, except where missing values are what is asked about.
    """
    return [_evaluate(one, columns[one.column]) for one in suite.expectations]


def holds(expectation: Expectation, considered: int, unexpected: int) -> bool:
    """Whether so many unexpected values are few enough; true where there is nothing to consider."""
    return considered == 0 or (considered - unexpected) / considered >= expectation.mostly


def _evaluate(one: Expectation, values: Sequence[Any]) -> Result:
    if one.kind is Kind.FILLED:
        considered, unexpected = len(values), [i for i, v in enumerate(values) if v is None]
    elif one.kind is Kind.EMPTY:
        considered, unexpected = len(values), [i for i, v in enumerate(values) if v is not None]
    else:
        considered = len(values) - values.count(None)
        unexpected = _UNEXPECTED[one.kind](one, values) if considered else []
    return Result(one, holds(one, considered, len(unexpected)), considered, unexpected)


def _not_between(one: Expectation, values: Sequence[Any]) -> list[int]:
    low = float("-inf") if one.low is None else one.low
    high = float("inf") if one.high is None else one.high
    return [i for i, v in enumerate(values) if v is not None and not low <= v <= high]


def _not_in_set(one: Expectation, values: Sequence[Any]) -> list[int]:
    allowed = {*one.allowed, None}
    return [i for i, v in enumerate(values) if v not in allowed]


def _not_matching(one: Expectation, values: Sequence[Any]) -> list[int]:
    matches = re.compile(one.pattern).match
    return [i for i, v in enumerate(values) if v is not None and not matches(v)]


def _not_unique(one: Expectation, values: Sequence[Any]) -> list[int]:
    if len(set(values)) == len(values):
        return []
    times = Counter(values)
    return [i for i, v in enumerate(values) if v is not None and times[v] > 1]


_UNEXPECTED: dict[Kind, Callable[[Expectation, Sequence[Any]], list[int]]] = {
    Kind.BETWEEN: _not_between,
    Kind.IN_SET: _not_in_set,
    Kind.MATCHES: _not_matching,
    Kind.UNIQUE: _not_unique,
}
