"""What is usual for a source, from its own history: its yield, its quiet hours, its outages, its trend.

Medians and median absolute deviations, since one wild cycle must not move what counts as usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import sqrt
from statistics import median

from fill_pipeline.db.ledger import PastRun

LEAST_HARVESTS = 3  # fewer say nothing about what is usual
LEAST_AT_HOUR = 5  # harvests at one hour of day before that hour has a baseline of its own
QUIET_SHARE = 0.8  # so often nothing at an hour, and the hour is a quiet one
DAY = 12  # cycles
OUTAGE_MEMORY = 24  # cycles in which outages are counted
LARGE_DROP = 0.5  # less than this share of the median is far below it
SIGMAS = 3.0
MAD_TO_SIGMA = 1.4826  # makes the median absolute deviation estimate a normal deviation (Rousseeuw & Croux 1993)
DOWN_RATE = 0.5  # so many of its pages fail, and the source is down
DECLINE = 0.7  # a day's median below this share of the time before may be a decline ...
DECLINE_Z = -3.0  # ... if the whole history falls that surely (Mann 1945, Kendall 1975)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a source usually lists in one harvest: the median, and the least that is still usual.

    ``hour`` is the UTC hour of day at which it does; None where it was taken over all hours.
    """

    harvests: int
    median: float
    low: float
    hour: int | None


@dataclass(frozen=True, slots=True)
class Outages:
    """Cycles in which a source gave nothing: ``streak`` of them up to now, the newest included; earlier ones ended.

    ``down`` counts all of them in the last ``of`` cycles in which it was asked.
    """

    streak: int
    ended: tuple[int, ...]
    down: int
    of: int

    @property
    def intermittent(self) -> bool:
        """Whether it comes and goes: it came back at least twice, and is not away for longer than it was before."""
        return len(self.ended) >= 2 and self.streak <= max(2, *self.ended)


def listed(run: PastRun) -> float | None:
    """Advertisements a harvest of that cycle listed; None where nothing was harvested."""
    return run.cards_seen / run.harvests if run.harvests else None


def is_down(run: PastRun) -> bool | None:
    """Whether the source gave nothing that can be used in that cycle; None where it was not asked."""
    attempts = run.pages_fetched + run.pages_failed
    if attempts == 0:
        return None
    asked, failed = attempts - run.excused, run.pages_failed - run.excused
    if asked > 0 and failed / asked >= DOWN_RATE:
        return True
    # Who says that it has nothing is not down.
    return run.harvests > 0 and run.found == 0 and run.cards_seen == 0 and run.expected_count != 0


def yield_baseline(now: PastRun, past: Sequence[PastRun]) -> Baseline | None:
    """What a harvest like this one usually lists, at its hour of day where that is known; None while it is not.

    Harvests that reached the index's end are compared with such, those that were cut short with such.
    """
    alike = [run for run in past if run.harvests and run.harvest_complete == now.harvest_complete]
    at_hour = [value for run in alike if run.hour == now.hour and (value := listed(run)) is not None]
    if len(at_hour) >= LEAST_AT_HOUR:
        return _baseline(at_hour, now.hour)
    values = [value for run in alike if (value := listed(run))]
    return _baseline(values, None) if len(values) >= LEAST_HARVESTS else None


def is_quiet_hour(hour: int, past: Sequence[PastRun]) -> bool:
    """Whether the source nearly always gives nothing at this hour of day, yet gave something within the last day."""
    at_hour = [down for run in past if run.hour == hour and (down := is_down(run)) is not None]
    if len(at_hour) < LEAST_AT_HOUR or sum(at_hour) < QUIET_SHARE * len(at_hour):
        return False
    return any(is_down(run) is False for run in past[:DAY])


def outages(now: PastRun, past: Sequence[PastRun]) -> Outages:
    """How often it gave nothing lately, and for how long; quiet hours are no outages."""
    quiet = {hour for hour in {run.hour for run in past} if is_quiet_hour(hour, past)}
    asked = [down for run in (now, *past) if run.hour not in quiet and (down := is_down(run)) is not None]
    asked = asked[: OUTAGE_MEMORY + 1]
    spells = [(down, len(list(group))) for down, group in groupby(asked)]
    streak = spells[0][1] if spells and spells[0][0] else 0
    ended = tuple(length for down, length in (spells[1:] if streak else spells) if down)
    return Outages(streak, ended, sum(asked), len(asked))


def decline(now: PastRun, past: Sequence[PastRun]) -> tuple[float, float] | None:
    """(median listed over the last day, median of the time before) where the whole history surely falls; else None."""
    values = [
        value
        for run in (now, *past)
        if run.harvest_complete == now.harvest_complete and (value := listed(run)) is not None
    ]
    recent, before = values[:DAY], values[DAY:]
    if len(before) < 2 * DAY:
        return None
    late, early = median(recent), median(before)
    if late >= DECLINE * early or _mann_kendall(values[::-1]) > DECLINE_Z:
        return None
    return late, early


def _baseline(values: Sequence[float], hour: int | None) -> Baseline:
    centre = median(values)
    # Counts vary by their root even where the history happens to be constant (Poisson).
    sigma = max(MAD_TO_SIGMA * median(abs(value - centre) for value in values), sqrt(centre))
    return Baseline(len(values), centre, max(0.0, min(LARGE_DROP * centre, centre - SIGMAS * sigma)), hour)


def _mann_kendall(values: Sequence[float]) -> float:
    """The z score of the Mann-Kendall trend test, oldest value first; ties are taken into account."""
    n = len(values)
    s = sum((b > a) - (b < a) for i, a in enumerate(values) for b in values[i + 1 :])
    ties = [values.count(value) for value in set(values)]
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18
    return (s - (s > 0) + (s < 0)) / sqrt(variance) if variance > 0 else 0.0
