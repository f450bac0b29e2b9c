"""Levers of scale: what a cycle below target can turn up, how far, and whether turning it has helped.

Document 1's "When below target": bigger batches and more workers in a drain, all healthy sources, higher extraction
limits, shorter rests between two runs, more candidates probed. A use of a lever is an action whose parameters carry
``lever``, ``step`` and ``expects``; its outcome says what it gave and cost. From these records alone a lever is chosen
(what gave most for its cost, untried ones first), turned further (while it helps) and left alone (the longer, the
more often in a row it did not help). On target none is used, so everything runs as the settings say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


class Lever(StrEnum):
    """What can be turned up, in document 1's order; ``DRAIN`` is the drain as the settings have it, to compare with."""

    DRAIN = "drain"
    BATCH = "batch"  # queue rows claimed, and listings written, at once
    WORKERS = "workers"  # extraction processes of a drain
    SOURCES = "sources"  # healthy sources that are not due yet
    LIMITS = "limits"  # pages and listings a run may read, as a factor
    FREQUENCY = "frequency"  # minutes between two runs of a source within a cycle
    DISCOVERY = "discovery"  # candidates probed in a round


DIALS = (Lever.BATCH, Lever.WORKERS)
MEMORY = timedelta(days=7)
"""How long a use counts; what it taught must then be learned anew, since sources and machines change."""
REMEMBERED = 12
"""Uses of each lever that count."""
LONGEST_REST = timedelta(hours=24)
LEAST_YIELD = 0.01  # vehicles a request: with fewer, a lever does not help
LEAST_FASTER = 1.05  # pages a minute, against the drain as set
LEAST_PAGES = 200  # fewer pages say nothing about a drain's speed

# What a unit of each cost is worth in seconds of a processor, so that three yields become one order.
REQUEST_PRICE = 0.1
PACING_MINUTE_PRICE = 1.0


@dataclass(frozen=True, slots=True)
class LeverUse:
    """One use: what it gave and cost. ``expected`` is vehicles, or pages a minute for a dial of the drain.

    ``pacing_minutes`` is how long the sources' paces kept these requests' slots; ``minutes`` how long it all took.
    """

    lever: Lever
    step: int
    at: datetime
    vehicles: int = 0
    requests: int = 0
    cpu_seconds: float = 0.0
    pacing_minutes: float = 0.0
    minutes: float = 0.0
    expected: float | None = None

    @property
    def pages_per_minute(self) -> float | None:
        """Its speed; None where it was too little to say."""
        return self.requests / self.minutes if self.requests >= LEAST_PAGES and self.minutes > 0 else None

    @property
    def helped(self) -> bool | None:
        """Whether it was worth its while; None where that cannot be said."""
        if self.lever not in DIALS:
            return self.vehicles > 0 and self.vehicles >= LEAST_YIELD * self.requests
        rate = self.pages_per_minute
        return None if rate is None or self.expected is None else rate >= LEAST_FASTER * self.expected


@dataclass(frozen=True, slots=True)
class Yield:
    """What a lever gives: vehicles for each request, CPU second and minute of pacing budget, and a use; for all in one
    ``per_cost`` (vehicles for a CPU second's worth of everything it takes)."""

    per_request: float
    per_cpu_second: float
    per_pacing_minute: float
    per_use: float
    per_cost: float


@dataclass(frozen=True, slots=True)
class Record:
    """Every use that counts, newest first."""

    uses: tuple[LeverUse, ...] = ()

    @classmethod
    def of(cls, uses: Iterable[LeverUse], now: datetime) -> Record:
        """Those that are not too long ago."""
        return cls(tuple(sorted((u for u in uses if u.at > now - MEMORY), key=lambda u: u.at, reverse=True)))

    def of_lever(self, lever: Lever) -> list[LeverUse]:
        """Its uses, newest first."""
        return [use for use in self.uses if use.lever is lever][:REMEMBERED]

    def measured(self, lever: Lever) -> Yield | None:
        """What it gave for what it cost, over its uses; None before the first."""
        uses = self.of_lever(lever)
        if not uses:
            return None
        vehicles = sum(use.vehicles for use in uses)
        requests = sum(use.requests for use in uses)
        cpu = sum(use.cpu_seconds for use in uses)
        pacing = sum(use.pacing_minutes for use in uses)
        cost = cpu + REQUEST_PRICE * requests + PACING_MINUTE_PRICE * pacing
        return Yield(
            per_request=_ratio(vehicles, requests),
            per_cpu_second=_ratio(vehicles, cpu),
            per_pacing_minute=_ratio(vehicles, pacing),
            per_use=vehicles / len(uses),
            per_cost=_ratio(vehicles, cost),
        )

    def misses(self, lever: Lever) -> int:
        """How often in a row, up to now, it did not help."""
        count = 0
        for use in self.of_lever(lever):
            if use.helped is True:
                break
            count += use.helped is False
        return count

    def rests(self, lever: Lever, now: datetime, cycle: timedelta) -> bool:
        """Whether it is left alone for now: 1, 3, 7 … cycles after 1, 2, 3 … misses in a row, a day at most."""
        misses = self.misses(lever)
        if not misses:
            return False
        pause: timedelta = min(cycle * (2 ** min(misses, 10) - 1), LONGEST_REST)
        return now < self.of_lever(lever)[0].at + pause

    def step(self, lever: Lever, highest: int) -> int:
        """How far to turn it next, 1 to ``highest``: on where it helped, back where it did not."""
        uses = self.of_lever(lever)
        if not uses:
            return 1
        last = uses[0]
        by = 0 if last.helped is None else 1 if last.helped else -1
        return max(1, min(highest, last.step + by))

    def proven(self, dial: Lever, highest: int) -> int:
        """How far a dial is known to help, each step against the one before; 0 where it is not."""
        return next((min(use.step, highest) for use in self.of_lever(dial) if use.helped is True), 0)

    def rate(self) -> float | None:
        """Pages a minute of a drain with its dials as far as they are proven; None before it was measured as set."""
        turned = [use for use in self.uses if use.lever in DIALS and use.helped is True]
        if turned:
            return turned[0].pages_per_minute
        rates = [rate for use in self.of_lever(Lever.DRAIN) if (rate := use.pages_per_minute) is not None]
        return sum(rates) / len(rates) if rates else None

    def order(self, levers: Sequence[Lever]) -> list[Lever]:
        """The most yielding first; those never tried before all others, in the order given."""
        known = {lever: self.measured(lever) for lever in levers}
        return sorted(levers, key=lambda one: -y.per_cost if (y := known[one]) is not None else float("-inf"))

    def expects(self, lever: Lever) -> dict[str, Any]:
        """What a use may be expected to give, as an action's parameters say it; empty before the first use."""
        known = self.measured(lever)
        if known is None:
            return {}
        return {
            "vehicles": round(known.per_use, 1),
            "per_request": round(known.per_request, 4),
            "per_cpu_second": round(known.per_cpu_second, 3),
            "per_pacing_minute": round(known.per_pacing_minute, 2),
        }


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far each lever can be turned: the values of steps 1, 2, 3 …, after the one the settings give (step 0)."""

    batch: tuple[int, ...] = (1000, 2000, 4000)
    workers: tuple[int, ...] = ()
    limits: tuple[int, ...] = (2, 4, 8, 16)
    rest_minutes: tuple[int, ...] = (30, 20, 15)
    probes: tuple[int, ...] = (24, 48, 96)

    @classmethod
    def around(cls, *, batch: int, workers: int, cores: int) -> Bounds:
        """Bounds for these settings: batches up to 5,000 rows, workers up to two for each core."""
        return cls(
            batch=tuple(batch * factor for factor in (2, 4, 8) if batch * factor <= 5000),
            workers=tuple(range(workers + 1, 2 * cores + 1)),
        )

    def values(self, lever: Lever) -> tuple[int, ...]:
        """The values of a lever's steps; none for a lever that is only used or not."""
        return {
            Lever.BATCH: self.batch,
            Lever.WORKERS: self.workers,
            Lever.LIMITS: self.limits,
            Lever.FREQUENCY: self.rest_minutes,
            Lever.DISCOVERY: self.probes,
        }.get(lever, ())


def proven_dials(record: Record, bounds: Bounds) -> dict[str, Any]:
    """The values of the drain's dials as far as they are known to help."""
    steps = {dial: record.proven(dial, len(bounds.values(dial))) for dial in DIALS}
    return {str(dial): bounds.values(dial)[step - 1] for dial, step in steps.items() if step}


def drain_parameters(record: Record, bounds: Bounds, now: datetime, cycle: timedelta) -> dict[str, Any]:
    """How a drain below target with a deep queue runs: dials as far as they are proven, at most one a step further.

    The first one runs as the settings say, so that there is something to compare with.
    """
    rate = record.rate()
    if rate is None:
        return {"lever": Lever.DRAIN, "step": 0}
    parameters = proven_dials(record, bounds)
    steps = {dial: record.proven(dial, len(bounds.values(dial))) + 1 for dial in DIALS}
    free = [d for d in DIALS if steps[d] <= len(bounds.values(d)) and not record.rests(d, now, cycle)]
    if not free:
        return parameters or {"lever": Lever.DRAIN, "step": 0}
    turned = min(free, key=lambda dial: len(record.of_lever(dial)))
    parameters[str(turned)] = bounds.values(turned)[steps[turned] - 1]
    expects = {"pages_per_minute": round(rate, 1)}
    return parameters | {"lever": turned, "step": steps[turned], "expects": expects}


def _ratio(value: float, cost: float) -> float:
    return value / cost if cost > 0 else float(value)
