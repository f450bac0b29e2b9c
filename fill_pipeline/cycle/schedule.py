"""How often a source is harvested: as often as it changes. What a cycle taught is kept when it closes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from math import log

from fill_pipeline.cycle.replacement import Replaced, balance
from fill_pipeline.db import learning
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.learning import Harvested

SHORTEST = timedelta(hours=2)  # a cycle
LONGEST = timedelta(hours=12)  # so that every source is seen twice a day and none counts as stale
LEAST_HARVESTS = 4
REMEMBERED = 24
WORTH_A_LOOK = 0.05  # the share of a source's listings, changed, at which it is looked at again


def harvest_interval(past: Sequence[Harvested]) -> timedelta | None:
    """How long to leave a source alone, from its harvests, newest first; None while too few are known.

    Changes come as a Poisson process: where a harvest after ``t`` hours finds the share ``c`` changed, a listing's rate
    is ``-ln(1 - c) / t`` (Cho and Garcia-Molina, "Estimating frequency of change", 2003, for visits at one interval).
    The interval is the time in which ``WORTH_A_LOOK`` of them, or one listing of a small source, changes.
    """
    gaps = [
        (newer, (newer.at - older.at) / timedelta(hours=1))
        for newer, older in pairwise(past)
        if newer.at > older.at and newer.found > 0
    ]
    if len(gaps) < LEAST_HARVESTS - 1:
        return None
    hours = sum(gap for _, gap in gaps)
    listed = sum(one.found for one, _ in gaps) / len(gaps)
    # Half an event is added, so that a source that did not change while we looked is not thought never to change.
    changed = min(0.99, sum(one.changed + 0.5 / len(gaps) for one, _ in gaps) / (listed * len(gaps)))
    rate = -log(1 - changed) * len(gaps) / hours
    wanted = max(WORTH_A_LOOK, 1 / listed)
    interval = timedelta(hours=-log(1 - min(wanted, 0.99)) / rate)
    return min(LONGEST, max(SHORTEST, interval))


def learn(conn: Connection, cycle_id: str, *, now: datetime) -> Replaced:
    """Keep what a cycle that was settled has taught: each source's interval, since when it fails, what is replaced."""
    learning.note_failing(conn, cycle_id, now=now)
    histories = learning.harvest_histories(conn, cycle_id, REMEMBERED)
    known = {source: interval for source, past in histories.items() if (interval := harvest_interval(past)) is not None}
    learning.set_harvest_hours(conn, {source: interval / timedelta(hours=1) for source, interval in known.items()})
    standing = Replaced()
    balance(conn, standing, now=now)
    return standing
