"""A source's own rules: values unlike everything it ever gave are set aside, as general rules set aside others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import exp, log
from statistics import median
from typing import Any

from fill_pipeline.vehicles.clean import Cleaned
from fill_pipeline.vehicles.completeness import CORE_FIELDS, completeness
from fill_pipeline.vehicles.validate import Finding, Verdict, drop_lone_units


class RuleKind(StrEnum):
    """What a rule asks of a value; the value is the rule's name where what it refused is kept."""

    RANGE = "source_range"  # it lies between two numbers
    FORMAT = "source_format"  # the whole of it matches a regular expression
    CONFIDENCE = "source_confidence"  # it was read with at least so much

    @property
    def section(self) -> str:
        """The section of a source's configuration that holds such rules by field."""
        return {"source_range": "ranges", "source_format": "formats"}.get(self, "min_confidence")


@dataclass(frozen=True, slots=True)
class SourceRule:
    """One rule for one field: ``value`` is (least, greatest), a regular expression, or a confidence (0 to 1)."""

    kind: RuleKind
    field: str
    value: Any

    def __str__(self) -> str:
        if self.kind is RuleKind.RANGE:
            return f"{self.field} {self.value[0]} to {self.value[1]}"
        if self.kind is RuleKind.FORMAT:
            return f"{self.field} like {self.value}"
        return f"{self.field} read with at least {self.value:.2f}"

    @classmethod
    def of(cls, kind: str, field: str, value: Any) -> SourceRule:
        """The rule of that kind from plain data."""
        return cls(RuleKind(kind), field, tuple(value) if isinstance(value, list) else value)

    def as_config(self) -> Any:
        """The value as plain data."""
        return list(self.value) if self.kind is RuleKind.RANGE else self.value

    def refuses(self, value: Any, confidence: float) -> bool:
        """Whether a value read with this confidence does not keep to the rule; nothing, and zero, always does."""
        if not value:
            return False
        if self.kind is RuleKind.RANGE:
            low, high = self.value
            return not low <= value <= high
        if self.kind is RuleKind.FORMAT:
            return _compiled(self.value).fullmatch(str(value)) is None
        return confidence < float(self.value)

    def reason(self, confidence: float) -> str:
        """Why a value is refused, as it stands beside the listing."""
        if self.kind is RuleKind.RANGE:
            return f"this source's lie between {self.value[0]} and {self.value[1]}"
        if self.kind is RuleKind.FORMAT:
            return f"this source's look like {self.value}"
        return f"read with confidence {confidence:.2f}; this source's are often wrong below {self.value:.2f}"


def set_aside(cleaned: Cleaned, rules: Sequence[SourceRule], core_fields: Sequence[str] = CORE_FIELDS) -> None:
    """Take values that a source's rules refuse out of their fields, with the reason; changes the listing in place.

    A number of its own is only refused where an address can stand for it, and no year that the VIN confirms.
    """
    listing, refused = cleaned.listing, False
    for rule in rules:
        value, evidence = getattr(listing, rule.field, None), listing.provenance.get(rule.field)
        confidence = 1.0 if evidence is None else evidence.confidence
        if not rule.refuses(value, confidence) or (rule.field == "remote_id" and listing.url is None):
            continue
        if rule.kind is RuleKind.RANGE and cleaned.agreement.get(rule.field):
            continue
        found = Finding(str(rule.kind), Verdict.QUARANTINE, rule.field, value, rule.reason(confidence))
        setattr(listing, rule.field, [] if rule.field == "images" else None)
        listing.provenance.pop(rule.field, None)
        cleaned.quarantine[rule.field] = found.as_json()
        cleaned.issues.append((rule.field, found.rule))
        refused = True
    if refused:
        drop_lone_units(listing)
        cleaned.completeness = completeness(listing, core_fields)


# ── Learning from what a source gave ──

LEAST_VALUES = 100
SPREADS = 6.0
"""Robust deviations from the median within which values are usual: of a normal one 2 in a thousand million."""
LEAST_FORMED = 0.98
"""The share of values that must have the usual form: the rest may be what the rule is for."""
_RUNS = re.compile(r"[0-9A-Za-z]+|[^0-9A-Za-z]")
_DIGIT = r"\d"
_LONGEST = 200
_MOST_RUNS = 15
_MAD = 1.4826  # the standard deviation of a normal distribution, in median absolute deviations


@dataclass(frozen=True, slots=True)
class _Scale:
    """On which scale a field's values lie about their median, and the least spread where nearly all are alike.

    ``open`` below: any source may have a demonstrator that has hardly run.
    """

    to: Callable[[float], float]
    back: Callable[[float], float]
    least_spread: float
    open: bool = False


RANGED = {
    "price": _Scale(log, exp, 0.25),
    "mileage": _Scale(log, exp, 0.25, open=True),
    "year": _Scale(float, float, 8),
}
FORMATTED = ("remote_id", "postal_code")


def learn_range(name: str, values: Iterable[int]) -> SourceRule | None:
    """What is usual among a field's positive values, by the median and its absolute deviation; None of too few.

    Both stand firm while fewer than half of the values are wrong.
    """
    scale = RANGED[name]
    placed = [scale.to(value) for value in values if value > 0]
    if len(placed) < LEAST_VALUES:
        return None
    middle = median(placed)
    spread = SPREADS * max(scale.least_spread, _MAD * median(abs(one - middle) for one in placed))
    low = 0 if scale.open else max(0, int(scale.back(middle - spread)))
    return SourceRule(RuleKind.RANGE, name, (low, int(scale.back(middle + spread)) + 1))


def learn_format(name: str, values: Iterable[str]) -> SourceRule | None:
    """The one form that nearly all of a field's values have; None of too few, or where there is none.

    A form is runs of digits, of letters or of both, and what stands between them: ``[A-Za-z]{2}\\-\\d{5,6}``. A run of
    digits in a number may be one longer than any seen, since counters grow.
    """
    cut = [_RUNS.findall(value[:_LONGEST]) for value in values if value]
    if len(cut) < LEAST_VALUES:
        return None
    forms = Counter(tuple("" if part[0].isalnum() else part for part in parts) for parts in cut)
    form, times = forms.most_common(1)[0]
    if times < LEAST_FORMED * len(cut) or len(form) > _MOST_RUNS:
        return None
    formed = [parts for parts in cut if tuple("" if part[0].isalnum() else part for part in parts) == form]
    grows = name == "remote_id"
    pattern = "".join(
        re.escape(between) or _run([parts[at] for parts in formed], grows=grows) for at, between in enumerate(form)
    )
    return SourceRule(RuleKind.FORMAT, name, pattern)


def _run(parts: Sequence[str], *, grows: bool) -> str:
    """The pattern of a run: the narrowest kind of characters that nearly all have, in nearly all their lengths."""
    for kind in (_DIGIT, "[A-Za-z]", "[0-9A-Za-z]"):
        lengths = sorted(len(part) for part in parts if re.fullmatch(f"{kind}+", part))
        if len(lengths) >= LEAST_FORMED * len(parts):
            break
    odd = int((1 - LEAST_FORMED) / 2 * len(lengths))
    least, most = lengths[odd], lengths[-1 - odd] + (grows and kind == _DIGIT)
    return f"{kind}{{{least}}}" if least == most else f"{kind}{{{least},{most}}}"


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
