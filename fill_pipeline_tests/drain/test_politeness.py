"""How a drain behaves towards sites, as the sites' own logs tell it. The pages asked for are not there: 404 will do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db import pace, queue
from fill_pipeline.db.pace import Breaker, Pace
from fill_pipeline.db.queue import PageToQueue
from fill_pipeline.drain.drain import drain_queue
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.work import Source, Work
from fill_pipeline_tests.drain.conftest import DEALER, OTHER_DEALER, Crawl, wait_until

AT_ONCE = 2.0  # seconds


def how(crawl: Crawl, source_id: UUID) -> Pace:
    return pace.paces(crawl.conn, [source_id], now=crawl.now())[source_id]


@contextmanager
def draining(crawl: Crawl, *works: Work) -> Iterator[list[threading.Thread]]:
    """Drains at work, told to stop at the end."""
    threads = [threading.Thread(target=drain_queue, args=(work,)) for work in works or [crawl.work()]]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        crawl.stop.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        crawl.stop.clear()


def most_in(times: list[float], seconds: float) -> int:
    """The most requests in any window of that length."""
    return max(sum(start <= at < start + seconds for at in times) for start in times)


def test_four_drains_together_keep_the_sources_rate_and_use_it(crawl: Crawl) -> None:
    source = crawl.declare(DEALER, rate_limit={"requests_per_minute": 600})
    rates = []
    for _ in range(3):  # a machine busy with other things may miss slots; it never sends too early
        crawl.web.post("reset")
        crawl.put(source, 24, f"/no-such-page/{len(rates)}-{{}}")
        with draining(crawl, *[crawl.work(name) for name in ("one", "two", "three", "four")]) as threads:
            for thread in threads:
                thread.join(20)
        times = [at for at, _, _ in crawl.log(DEALER)]
        paths = [path for _, path, _ in crawl.log(DEALER)]
        assert len(paths) == len(set(paths)) == 24
        # n gaps have n + 1 ends, and a slot may be missed by a tenth of a second before it is given up.
        assert most_in(times, 1.0) <= 10 + 1 + 1
        rates.append((len(times) - 1) / (times[-1] - times[0]))
        if rates[-1] >= 0.90 * 10:
            break
    assert max(rates) <= 10 * 1.05
    assert max(rates) >= 10 * 0.90


def test_a_throttled_source_is_left_alone_until_it_says_and_asked_more_slowly_then(crawl: Crawl) -> None:
    crawl.web.post("throttle", slug=DEALER, rps=8, retry_after=1.8)
    source = crawl.declare(DEALER, rate_limit={"requests_per_minute": 1200, "max_concurrency": 2})
    crawl.put(source, 40)
    with draining(crawl, crawl.work("one"), crawl.work("two")):
        wait_until(lambda: any(status == 429 for _, _, status in crawl.log(DEALER)))
        wait_until(lambda: how(crawl, source.id).hold_until)
        held = how(crawl, source.id)
        assert held.hold_reason == "it asked us to slow down (HTTP 429)"
        assert held.pace_ms == pytest.approx(100, abs=2), "half of 20 a second"
        told = next(at for at, _, status in crawl.log(DEALER) if status == 429)
        # What was on its way in the other drain may come until that has looked.
        time.sleep(max(0.0, told + 1.8 - time.monotonic()))
        assert [at for at, _, _ in crawl.log(DEALER) if told + 1.2 < at < told + 1.8] == []
        answers = crawl.log(DEALER)
        wait_until(lambda: len(crawl.log(DEALER)) > len(answers))
    crawl.web.post("heal", slug=DEALER)


def test_a_harvest_that_is_throttled_holds_the_source_for_everybody(crawl: Crawl) -> None:
    crawl.web.post("throttle", slug=DEALER, rps=0.001, retry_after=600)
    crawl.web.get("/sites")
    source = crawl.declare(DEALER)
    while not any(status == 429 for _, _, status in crawl.log(DEALER)):  # the first one is let through
        harvest_sources(crawl.work(), [source])
    until = how(crawl, source.id).hold_until
    assert until is not None
    assert timedelta(seconds=590) < until - crawl.now() <= timedelta(seconds=600)
    asked = len(crawl.log(DEALER))
    work = crawl.work()
    harvest_sources(work, [source])
    assert len(crawl.log(DEALER)) == asked
    assert "held" in str(work.totals.by_source()[source.id].notes)


def test_a_failing_source_opens_its_breaker_and_one_page_closes_it(crawl: Crawl) -> None:
    crawl.web.post("fail", slug=DEALER, status=500)
    source = crawl.declare(DEALER)
    crawl.put(source, 60)
    with draining(crawl):
        wait_until(lambda: how(crawl, source.id).breaker == Breaker.OPEN)
        time.sleep(0.3)
        asked = len(crawl.log(DEALER))
        assert pace.BREAKER_THRESHOLD <= asked <= pace.BREAKER_THRESHOLD + source.config.rate_limit.max_concurrency
        assert crawl.rows()["pending"] == 60
        crawl.later = timedelta(seconds=31)
        wait_until(lambda: len(crawl.log(DEALER)) > asked)
        time.sleep(0.3)
        assert len(crawl.log(DEALER)) == asked + 1, "half open: one page finds out"
        wait_until(lambda: how(crawl, source.id).breaker == Breaker.OPEN)
    crawl.web.post("heal", slug=DEALER)
    crawl.later = timedelta(minutes=2)
    with draining(crawl):
        wait_until(lambda: how(crawl, source.id).breaker == Breaker.CLOSED)
        wait_until(lambda: crawl.rows() == {"failed": 60})  # 404, each of them


def test_a_days_budget_is_spent_to_the_last_request_and_no_further(crawl: Crawl) -> None:
    source = crawl.declare(DEALER, limits={"daily_requests": 7})
    crawl.put(source, 20)
    with draining(crawl, crawl.work("one"), crawl.work("two")) as threads:
        for thread in threads:
            thread.join(20)
    assert len(crawl.log(DEALER)) == 7
    assert crawl.rows() == {"failed": 7, "pending": 13}


def test_what_was_taken_from_yesterdays_budget_is_not_given_back_to_todays(crawl: Crawl) -> None:
    source = crawl.declare(DEALER, rate_limit={"requests_per_minute": 60})
    crawl.put(source, 100)
    midnight = (crawl.now() + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    crawl.later = midnight - crawl.now() - timedelta(seconds=1)
    spent_by_others = 50
    with draining(crawl):
        wait_until(lambda: crawl.rows().get("processing", 0) > 10)
        wait_until(lambda: 0 < how(crawl, source.id).budget_used < 10)  # a day has begun, and with it another budget
        crawl.conn.execute("UPDATE source_state SET budget_used = budget_used + %s", [spent_by_others])
        crawl.stop.set()
    assert crawl.rows().keys() == {"failed", "pending"}
    assert how(crawl, source.id).budget_used == spent_by_others


def redirected(crawl: Crawl, pages: int, **config: Any) -> Source:
    """A source all of whose pages, so many of them queued, lead to another site."""
    source, moved = crawl.declare(DEALER, **config), crawl.declare(OTHER_DEALER)
    crawl.web.post("redirect_to", slug=DEALER, url=moved.row.base_url + "/moved-away")
    crawl.put(source, pages)
    return source


def test_a_source_that_redirects_every_page_is_asked_no_faster(crawl: Crawl) -> None:
    source = redirected(crawl, 15, rate_limit={"requests_per_minute": 600})
    drain_queue(crawl.work())
    asked = sorted(at for at, _, _ in crawl.log(DEALER) + crawl.log(OTHER_DEALER))
    assert len(asked) == 30
    assert most_in(asked, 1.0) <= 11
    assert crawl.rows() == {"failed": 15}
    assert how(crawl, source.id).budget_used == 30


def test_redirects_come_out_of_the_days_budget_and_lose_nothing(crawl: Crawl) -> None:
    redirected(crawl, 40, limits={"daily_requests": 31})
    drain_queue(crawl.work())
    assert len(crawl.log(DEALER)) + len(crawl.log(OTHER_DEALER)) == 31
    assert crawl.rows() == {"pending": 40}
    crawl.later = timedelta(days=1)
    crawl.web.post("heal", slug=DEALER)
    drain_queue(crawl.work())
    assert crawl.rows() == {"failed": 31, "pending": 9}


def test_where_a_page_leads_robots_txt_is_obeyed(crawl: Crawl) -> None:
    crawl.web.post("robots", slug=OTHER_DEALER, body="User-agent: *\nDisallow: /moved")
    redirected(crawl, 3)
    drain_queue(crawl.work())
    assert len(crawl.log(DEALER)) == 3
    assert crawl.log(OTHER_DEALER) == []
    failed = crawl.conn.execute("SELECT status, failure_category, count(*) FROM import_queue GROUP BY 1, 2").fetchall()
    assert failed == [("failed", "robots", 3)]


def test_a_page_that_leads_where_robots_txt_cannot_be_had_is_tried_again_later_and_counts(crawl: Crawl) -> None:
    crawl.web.post("robots", slug=OTHER_DEALER, status=503)
    redirected(crawl, 3)
    drain_queue(replace(crawl.work(), deadline=crawl.now() + timedelta(seconds=3)))
    assert crawl.log(OTHER_DEALER) == []
    tried = crawl.conn.execute("SELECT DISTINCT status, failure_category, attempts FROM import_queue").fetchall()
    assert tried == [("pending", "connect", 1)]


@pytest.mark.parametrize("how_stopped", ["switched off", "told to stop"])
def test_a_stop_takes_effect_at_once_and_loses_nothing(crawl: Crawl, how_stopped: str) -> None:
    source = crawl.declare(DEALER, rate_limit={"requests_per_minute": 600})
    crawl.web.post("robots", slug=OTHER_DEALER, hang=60)
    waiting = crawl.declare(OTHER_DEALER)
    crawl.put(source, 100)
    crawl.put(waiting, 20)
    with draining(crawl) as threads:
        wait_until(lambda: len(crawl.log(DEALER)) >= 3)
        crawl.web.post("hang", slug=DEALER, seconds=60)
        time.sleep(0.4)
        assert crawl.rows()["processing"] > 0
        if how_stopped == "told to stop":
            crawl.stop.set()
            threads[0].join(AT_ONCE)
            assert not threads[0].is_alive()
        else:
            crawl.conn.execute("UPDATE scrape_sources SET active = false")
            wait_until(lambda: "processing" not in crawl.rows(), AT_ONCE)  # not even what was on its way
            asked = len(crawl.log(DEALER))
            time.sleep(0.3)
            assert len(crawl.log(DEALER)) == asked
    left = crawl.rows()
    assert left["pending"] + left["failed"] == 120
    assert left["failed"] <= len(crawl.log(DEALER))
    tried = crawl.conn.execute("SELECT sum(attempts) FROM import_queue WHERE status = 'pending'").fetchone()
    assert tried == (0,)
    assert how(crawl, source.id).budget_used == len(crawl.log(DEALER))


def test_a_harvest_told_to_stop_ends_at_once_and_stays_due(crawl: Crawl) -> None:
    crawl.web.post("hang", slug=DEALER, seconds=60)
    source, work = crawl.declare(DEALER), crawl.work()
    harvest = threading.Thread(target=harvest_sources, args=(work, [source]))
    harvest.start()
    wait_until(lambda: crawl.log(DEALER))
    crawl.stop.set()
    harvest.join(AT_ONCE)
    assert not harvest.is_alive()
    crawl.stop.clear()
    crawl.web.post("heal", slug=DEALER)
    assert source.id not in work.totals.by_source()  # whoever stops all of them needs no note of each
    last = crawl.conn.execute("SELECT last_harvest_at FROM source_state WHERE source_id = %s", [source.id]).fetchone()
    assert last == (None,)


def test_a_site_whose_robots_txt_hangs_holds_up_no_other(crawl: Crawl) -> None:
    crawl.web.post("robots", slug=OTHER_DEALER, hang=60)
    slow, quick = crawl.declare(OTHER_DEALER), crawl.declare(DEALER)
    crawl.put(slow, 20)
    crawl.put(quick, 20)
    began = time.monotonic()
    with draining(crawl):
        wait_until(lambda: crawl.rows().get("failed") == 20)
        assert time.monotonic() - began < 3.0
    assert crawl.log(OTHER_DEALER) == []
    assert crawl.rows()["pending"] == 20


def test_a_site_whose_robots_txt_cannot_be_had_waits_until_it_can(crawl: Crawl) -> None:
    crawl.web.post("robots", slug=DEALER, status=503)
    source = crawl.declare(DEALER)
    crawl.put(source, 20)
    with draining(crawl):
        wait_until(lambda: how(crawl, source.id).hold_until)
        wait_until(lambda: crawl.rows() == {"pending": 20})
        assert how(crawl, source.id).hold_reason == "its robots.txt cannot be had"
        assert crawl.log(DEALER) == []
    crawl.web.post("heal", slug=DEALER)
    crawl.later = timedelta(minutes=31)
    with draining(crawl):
        wait_until(lambda: crawl.rows() == {"failed": 20})


def test_a_host_whose_robots_txt_cannot_be_had_holds_up_its_own_pages_and_no_others_of_the_source(
    crawl: Crawl,
) -> None:
    crawl.web.post("robots", slug=OTHER_DEALER, status=503)
    source, elsewhere = crawl.declare(DEALER), crawl.declare(OTHER_DEALER)
    links = [f"{elsewhere.row.base_url}/no-such-page/{n}" for n in range(5)]
    pages = [PageToQueue(source.id, url, url_hash(url), priority=1) for url in links]
    queue.enqueue(crawl.conn, pages, cycle_id="c1", now=crawl.now(), revisit=timedelta(hours=1))
    crawl.put(source, 20)
    began = crawl.now()
    drain_queue(crawl.work())
    assert crawl.rows() == {"failed": 20, "pending": 5}
    assert crawl.log(OTHER_DEALER) == []
    waiting = crawl.conn.execute("SELECT attempts, not_before FROM import_queue WHERE status = 'pending'").fetchall()
    assert all(tried == 0 and until > began + timedelta(minutes=29) for tried, until in waiting)
    assert how(crawl, source.id).hold_until is None
    crawl.web.post("heal", slug=OTHER_DEALER)
    crawl.later = timedelta(minutes=31)
    drain_queue(crawl.work())
    assert crawl.rows() == {"failed": 25}


def test_robots_txt_binds_page_by_page_and_its_delay_sets_the_pace(crawl: Crawl) -> None:
    rules = "Crawl-delay: 0.5", "Disallow: /*/no-such", "Disallow: /no-such-page/1", "Allow: /no-such-page/11$"
    body = "\ufeffUser-agent: *\n" + "\n".join(rules)
    crawl.web.post("robots", slug=DEALER, body=body)
    source = crawl.declare(DEALER)
    crawl.put(source, 12)
    with draining(crawl):
        wait_until(lambda: len(crawl.log(DEALER)) >= 4)
    times = [at for at, _, _ in crawl.log(DEALER)]
    assert min(after - before for before, after in pairwise(times)) > 0.2, "also of what was claimed before"
    assert (times[-1] - times[0]) / (len(times) - 1) >= 0.45
    asked = {path for _, path, _ in crawl.log(DEALER)}
    assert not {"/no-such-page/1", "/no-such-page/10"} & asked
    rows = crawl.conn.execute("SELECT listing_url FROM import_queue WHERE failure_category = 'robots'").fetchall()
    assert {url.rpartition("/")[2] for (url,) in rows} <= {"1", "10"}


def test_what_a_source_takes_at_once_is_found_out_and_kept(crawl: Crawl) -> None:
    source = crawl.declare(DEALER, rate_limit={"requests_per_minute": 60_000, "max_concurrency": 12})
    crawl.put(source, 60)
    with draining(crawl):
        wait_until(lambda: crawl.rows() == {"failed": 60})
    kept = how(crawl, source.id)
    assert kept.concurrency is not None
    assert 2 < kept.concurrency <= 12
    assert kept.latency_ms is not None
