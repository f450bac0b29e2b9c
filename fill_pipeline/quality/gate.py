"""The gate before ``vehicles``: a source's part of a batch that cannot be right is kept, and not promoted.

It evaluates the batch suite without Great Expectations, whose import costs a process 4.3 CPU s and 220 MB and
whose evaluation of the suite over 500 rows costs more than writing them (``benchmarks/quality.py``). A test holds
that both say the same of the same batches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from fill_pipeline.quality.columns import listing_columns
from fill_pipeline.quality.expectations import Columns, Expectation, Kind, Result, Suite, evaluate, holds
from fill_pipeline.quality.suites import GateRules

if TYPE_CHECKING:
    from fill_pipeline.settings import Settings
    from fill_pipeline.vehicles.store import ListingToWrite

REMEMBERED = 200
"""Values of a source that its next part is judged together with, so that parts of a few rows are judged at all."""


@dataclass(slots=True)
class HeldPart:
    """A source's part of a batch that is held back, and the expectation that it missed most."""

    source_id: UUID
    expectation: Expectation
    considered: int
    unexpected: int
    rows: list[ListingToWrite]

    @property
    def reason(self) -> str:
        """Why, in words."""
        return f"{self.expectation.words} Not so for {self.unexpected} of {self.considered}."


@dataclass(slots=True)
class _Seen:
    """How many values were considered lately, and how many of them were unexpected."""

    considered: int = 0
    unexpected: int = 0

    def add(self, considered: int, unexpected: int) -> None:
        self.considered += considered
        self.unexpected += unexpected
        if self.considered > REMEMBERED:
            share = REMEMBERED / self.considered
            self.considered, self.unexpected = REMEMBERED, round(self.unexpected * share)


@dataclass(slots=True)
class Gate:
    """Judges parts of batches; remembers a little of each source. One for each process or thread that writes."""

    rules: GateRules
    _seen: defaultdict[tuple[UUID, str], _Seen] = field(default_factory=lambda: defaultdict(_Seen))

    @classmethod
    def of(cls, settings: Settings, year: int) -> Gate:
        """A gate that asks what the settings say; ``year`` is today's."""
        return cls(GateRules.of(settings, year))

    def screen(self, rows: Sequence[ListingToWrite]) -> list[HeldPart]:
        """Take the promotion from every part that is held back, a part being a source's rows; returns those parts.

        A part is held back if a blocking expectation is unmet by its own and the source's last values together,
        and its own rows have a share in that.
        """
        parts: dict[UUID, dict[str, ListingToWrite]] = {}
        for row in rows:
            # A card and its page in one batch are one advertisement, not two with one VIN.
            parts.setdefault(row.source_id, {})[row.listing.remote_id or ""] = row
        held = []
        for source_id, advertisements in parts.items():
            part = list(advertisements.values())
            worst = self._judge(source_id, part)
            if worst is not None:
                everything = [row for row in rows if row.source_id == source_id]
                for row in everything:
                    row.promote = False
                held.append(HeldPart(source_id, *worst, everything))
        return held

    def _judge(self, source_id: UUID, part: Sequence[ListingToWrite]) -> tuple[Expectation, int, int] | None:
        unmet: list[tuple[Expectation, int, int]] = []
        for result in _results(self.rules.suite, part):
            seen = self._seen[source_id, result.expectation.name]
            considered, unexpected = seen.considered + result.considered, seen.unexpected + len(result.unexpected)
            if result.unexpected and is_unmet(result.expectation, considered, unexpected, self.rules.least):
                unmet.append((result.expectation, considered, unexpected))
            seen.add(result.considered, len(result.unexpected))
        return max(unmet, key=lambda one: one[2] / one[1], default=None)


def _results(suite: Suite, part: Sequence[ListingToWrite]) -> list[Result]:
    """The suite over a part; a card whose own page is still to be read need not say everything."""
    whole = [row for row in part if row.judged]
    if len(whole) == len(part):
        return evaluate(suite, _columns(part))
    asks_all = tuple(one for one in suite.expectations if one.kind is Kind.FILLED)
    others = tuple(one for one in suite.expectations if one.kind is not Kind.FILLED)
    return [
        *evaluate(Suite(suite.name, asks_all), _columns(whole)),
        *evaluate(Suite(suite.name, others), _columns(part)),
    ]


def _columns(part: Sequence[ListingToWrite]) -> Columns:
    return listing_columns([r.listing for r in part], [r.quarantine for r in part], [r.agreement for r in part])


def is_unmet(expectation: Expectation, considered: int, unexpected: int, least: int) -> bool:
    """Whether so many unexpected values hold back what they were found in."""
    return unexpected >= least and not holds(expectation, considered, unexpected)


def unmet(results: Sequence[Result], least: int) -> list[Result]:
    """The results that hold back what they are about."""
    return [r for r in results if is_unmet(r.expectation, r.considered, len(r.unexpected), least)]
