"""A process that stood still for longer than its lease (SIGSTOP, a sleeping laptop, a paused machine) leaves to others
what became theirs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from fill_pipeline.db import queue
from fill_pipeline_tests.drain.conftest import DEALER, Crawl, wait_until
from fill_pipeline_tests.drain.test_politeness import draining

LEASE_SECONDS = 2
PAGES = 10
OPEN_CYCLE = "c1"

DRAIN = f"""
from datetime import timedelta
import sys
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.drain.drain import drain_queue
from fill_pipeline.drain.work import Work
from fill_pipeline.settings import Settings

if __name__ == "__main__":
    settings = Settings().model_copy(update={{"lease_seconds": {LEASE_SECONDS}}})
    url, cycle = sys.argv[1:]
    drain_queue(Work(settings, url, cycle, "asleep", utc_now, utc_now() + timedelta(minutes=10)))
"""


@contextmanager
def drain_process(crawl: Crawl, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A drain of the open cycle as a process of its own, with a short lease."""
    script = folder / "drain.py"
    script.write_text(DRAIN)
    environment = os.environ | {"FILL_HOME": str(folder), "FILL_ALLOW_NETS": "127.0.0.0/8", "FILL_WORKERS": "1"}
    process = subprocess.Popen([sys.executable, str(script), crawl.url, OPEN_CYCLE], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def suspend(crawl: Crawl, process: subprocess.Popen[bytes], after: int) -> None:
    """Stop the process between two requests, once it has finished so many."""
    while True:
        wait_until(lambda: after <= len(crawl.log(DEALER)) == crawl.rows().get("failed", 0), 30)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)  # what had just been sent is answered now
        if len(crawl.log(DEALER)) == crawl.rows()["failed"]:
            return
        process.send_signal(signal.SIGCONT)


def test_a_drain_that_was_suspended_fetches_nothing_that_another_has_taken_over(crawl: Crawl, tmp_path: Path) -> None:
    source = crawl.declare(DEALER, rate_limit={"requests_per_minute": 120})
    work = crawl.work("awake", OPEN_CYCLE)
    crawl.put(source, PAGES)
    with drain_process(crawl, tmp_path) as asleep:
        suspend(crawl, asleep, after=2)
        assert crawl.rows()["processing"] == PAGES - len(crawl.log(DEALER)), "it holds all others"
        wait_until(lambda: queue.reap(crawl.conn, now=crawl.now()) and "processing" not in crawl.rows())
        with draining(crawl, work) as threads:
            wait_until(lambda: queue.held_by(crawl.conn, "awake"))
            asleep.send_signal(signal.SIGCONT)
            assert asleep.wait(30) == 0
            threads[0].join(30)
    asked = [path for _, path, _ in crawl.log(DEALER)]
    assert sorted(asked) == sorted(set(asked)), "no page twice"
    assert crawl.rows() == {"failed": PAGES}, "and all of them"


def test_a_drain_on_a_machine_that_slept_asks_the_database_before_the_site(crawl: Crawl) -> None:
    """A laptop's sleep shows in the time of day only: the clock that slots go by stands still with the machine."""
    source = crawl.declare(DEALER, rate_limit={"requests_per_minute": 60})
    crawl.put(source, PAGES)
    slept = timedelta(seconds=crawl.settings.lease_seconds + 1)
    with draining(crawl) as threads:
        wait_until(lambda: 2 <= len(crawl.log(DEALER)) == crawl.rows().get("failed", 0))
        after = crawl.now() + slept
        queue.reap(crawl.conn, now=after)
        second, minute = timedelta(seconds=1), timedelta(minutes=1)
        taken = queue.claim(
            crawl.conn,
            owner="awake",
            cycle_id=OPEN_CYCLE,
            now=after,
            batch=PAGES,
            lease=minute,
            horizon=20 * second,
            per_source=PAGES,
        )
        asked = len(crawl.log(DEALER))
        assert len(taken) == PAGES - asked
        crawl.later = slept
        threads[0].join(20)
        assert not threads[0].is_alive(), "nothing is left for it to do"
    assert len(crawl.log(DEALER)) == asked
    assert queue.held_by(crawl.conn, "awake") == {page.queue_id for page in taken}


def test_a_drain_that_was_suspended_goes_on_with_what_nobody_took(crawl: Crawl, tmp_path: Path) -> None:
    source = crawl.declare(DEALER, rate_limit={"requests_per_minute": 120})
    crawl.work("nobody", OPEN_CYCLE)
    crawl.put(source, PAGES)
    with drain_process(crawl, tmp_path) as asleep:
        suspend(crawl, asleep, after=2)
        time.sleep(LEASE_SECONDS + 0.5)
        asleep.send_signal(signal.SIGCONT)
        assert asleep.wait(30) == 0
    assert len(crawl.log(DEALER)) == PAGES
    assert crawl.rows() == {"failed": PAGES}
