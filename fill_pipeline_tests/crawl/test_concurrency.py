"""How many requests at once: found out from the server's answers, never beyond the bound. Time is simulated."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.crawl.concurrency import FLOOR, START, Concurrency, observe

BOUND = 64
NOTHING = Concurrency()


@dataclass
class Server:
    """Works on ``capacity`` requests at once; what is more waits, and beyond ``breaks`` it fails at once."""

    capacity: int
    service: float = 0.1
    breaks: int = 1000


def crawl(server: Server, seconds: float, known: Concurrency = NOTHING, *, start: float = 0.0) -> Concurrency:
    """Send as many requests at once as the limit allows, for so long."""
    now, in_flight = start, 0
    workers = [start] * server.capacity  # when each is free
    ends: list[tuple[float, float, bool]] = []
    while now < start + seconds:
        while in_flight < min(known.slots, BOUND):
            in_flight += 1
            if in_flight > server.breaks:
                heapq.heappush(ends, (now + 0.01, now, True))
                continue
            free = max(heapq.heappop(workers), now)
            heapq.heappush(workers, free + server.service)
            heapq.heappush(ends, (free + server.service, now, False))
        now, sent, failed = heapq.heappop(ends)
        known = observe(known, elapsed=now - sent, failed=failed, in_flight=in_flight, bound=BOUND, now=now)
        in_flight -= 1
    return known


def test_it_grows_to_what_the_server_takes_and_not_far_beyond():
    limit = crawl(Server(capacity=16), 60).limit
    assert 14 <= limit <= 40
    assert 14 <= crawl(Server(capacity=16), 300).limit <= 40, "nor by and by"


def test_a_server_that_takes_everything_gets_the_bound_and_no_more():
    assert crawl(Server(capacity=1000), 20).limit == BOUND


def test_errors_keep_it_below_where_the_server_breaks():
    assert crawl(Server(capacity=100, breaks=10), 60).limit <= 11


def test_it_backs_off_when_the_server_grows_slow_and_comes_back_when_it_recovers():
    before = crawl(Server(capacity=32), 60)
    slow = crawl(Server(capacity=2), 20, before, start=60)
    assert slow.limit < before.limit / 3
    again = crawl(Server(capacity=32), 60, slow, start=80)
    assert again.limit > 3 * slow.limit


def test_one_burst_of_errors_counts_once():
    known = Concurrency(limit=32.0, latency=0.2, best=0.2)
    for n in range(16):
        known = observe(known, elapsed=0.1, failed=True, in_flight=16, bound=BOUND, now=100.0 + n / 1000)
    assert known.limit == 16.0


def test_a_limit_that_is_not_used_does_not_grow():
    known = Concurrency()
    for n in range(1000):
        known = observe(known, elapsed=0.1, failed=False, in_flight=1, bound=BOUND, now=float(n))
    assert known.limit == START


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.integers(1, 64), st.floats(0, 10)), max_size=60),
)
def test_it_stays_between_one_and_the_bound_whatever_comes(bound, answers):
    known, now = Concurrency(), 0.0
    for elapsed, failed, in_flight, passed in answers:
        now += passed
        known = observe(known, elapsed=elapsed, failed=failed, in_flight=in_flight, bound=bound, now=now)
        assert FLOOR <= known.limit <= max(bound, FLOOR)
        assert known.slots >= 1
