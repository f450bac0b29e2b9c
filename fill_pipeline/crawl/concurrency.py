"""How many requests at once a source takes: more while its answers come as fast as ever, fewer when they do not.

Additive increase, multiplicative decrease (Chiu & Jain 1989), with latency against its own best as the early sign
of a queue building up at the server (the idea of TCP Vegas, Brakmo & Peterson 1995).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

START = 2.0
FLOOR = 1.0
SMOOTHING = 0.2  # the weight of one answer in the smoothed latency
SLOWER = 2.0  # times the best latency, from which on answers count as slow
SLACK_SECONDS = 0.05  # beside that, so that very fast servers are not judged by jitter
AFTER_ERROR = 0.5  # the limit's factor when requests fail, and the least one when answers come slowly
FORGET = 0.005  # by how much the best latency grows each second, so that a server that changed is learnt anew


@dataclass(frozen=True, slots=True)
class Concurrency:
    """What is known of one source. ``limit`` is how many requests at once it may be sent; latencies in seconds.

    ``seen_at`` (monotonic) is when the last answer came, ``settled_at`` when the last decrease may have shown its
    effect (0: there was none, and the limit grows fast).
    """

    limit: float = START
    latency: float | None = None
    best: float | None = None
    seen_at: float = 0.0
    settled_at: float = 0.0

    @property
    def slots(self) -> int:
        """The limit as a whole number of requests."""
        return int(self.limit)


UNKNOWN = Concurrency()
"""A source that was never asked."""


def observe(known: Concurrency, *, elapsed: float, failed: bool, in_flight: int, bound: int, now: float) -> Concurrency:
    """What is known after one more answer.

    ``elapsed`` is how long it took, ``failed`` that it was an error of the server or none came, ``in_flight`` how
    many requests were under way with it (itself included), ``bound`` the most the configuration allows, ``now``
    monotonic seconds. The limit falls at most once in the time an answer takes, and grows only while it is used.
    """
    limit = min(max(known.limit, FLOOR), float(bound))
    if failed:
        # How long a failure took says nothing about how fast the server answers.
        answer_takes = max(known.latency or 0.0, elapsed)
        return _less(replace(known, limit=limit, seen_at=now), AFTER_ERROR, answer_takes, now)
    latency = elapsed if known.latency is None else known.latency + SMOOTHING * (elapsed - known.latency)
    grown = 1 + FORGET * max(0.0, now - known.seen_at)
    best = elapsed if known.best is None else min(elapsed, known.best * grown)
    if latency > SLOWER * best + SLACK_SECONDS:
        # By Little's law this many are worked on; the others only wait.
        after = Concurrency(limit, latency, best, now, known.settled_at)
        return _less(after, max(best / latency, AFTER_ERROR), latency, now)
    if in_flight >= int(limit):
        step = 1.0 / limit if known.settled_at else 1.0  # doubling with each round until the first sign of trouble
        limit = min(limit + step, float(bound))
    return Concurrency(limit, latency, best, now, known.settled_at)


def _less(known: Concurrency, factor: float, answer_takes: float, now: float) -> Concurrency:
    if now < known.settled_at:
        return known
    return replace(known, limit=max(FLOOR, known.limit * factor), settled_at=now + answer_takes)
