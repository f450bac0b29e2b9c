"""A process that stood still for longer than its lease (SIGSTOP, a sleeping laptop, a paused machine) leaves to others
what became theirs, and a cycle closed meanwhile as its report tells it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fill_pipeline.cycle import perform as performing
from fill_pipeline.cycle.accounting import mismatches
from fill_pipeline.cycle.perform import close, perform
from fill_pipeline.cycle.state import Action, ActionKind
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db import cycles, queue
from fill_pipeline.db.connect import connect
from fill_pipeline.db.cycles import CycleClosedError
from fill_pipeline.drain.drain import drain_queue
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.replay import replay_window
from fill_pipeline.drain.write import in_open_cycle
from fill_pipeline.settings import Settings
from fill_pipeline_tests.drain.conftest import DEALER, Crawl, wait_until
from fill_pipeline_tests.drain.test_politeness import draining
from fill_pipeline_tests.end_to_end.reconcile import in_tables

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


class Beside(threading.Thread):
    """Something done beside the test; ``end`` waits for it and raises what it raised."""

    def __init__(self, deed: Callable[[], object]) -> None:
        super().__init__()
        self._deed = deed
        self._problem: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._deed()
        except BaseException as problem:
            self._problem = problem

    def end(self, seconds: float = 30.0) -> None:
        self.join(seconds)
        assert not self.is_alive()
        if self._problem is not None:
            raise self._problem


@pytest.fixture
def window(crawl: Crawl) -> str:
    """The window's scheduled cycle; only such a one can be closed."""
    return window_at(crawl.now()).key


@pytest.fixture
def own(crawl: Crawl) -> Settings:
    """The crawl's settings, which name its database."""
    return crawl.settings.model_copy(update={"database_url": SecretStr(crawl.url)})


def report_holds(crawl: Crawl, report: dict[str, Any], cycle: str) -> bool:
    """Whether the tables say of a cycle what its report said."""
    added = crawl.conn.execute("SELECT count(*) FROM vehicles WHERE created_cycle = %s", (cycle,)).fetchone()
    sums = crawl.conn.execute(
        "SELECT coalesce(sum(pages_fetched), 0), coalesce(sum(queued), 0) FROM source_cycle_stats WHERE cycle_id = %s",
        (cycle,),
    ).fetchone()
    told = tuple(sum(line.get(name, 0) for line in report["sources"]) for name in ("pages", "queued"))
    return added == (report["vehicles_added"],) and sums == told and mismatches(crawl.conn, cycle) == []


def test_a_drain_whose_cycle_was_closed_writes_nothing_into_it_and_loses_nothing(
    crawl: Crawl, own: Settings, window: str
) -> None:
    source, work = crawl.declare(DEALER, detail="always"), crawl.work("asleep", window)
    harvest_sources(work, [source])
    pages = crawl.rows()["pending"]
    crawl.conn.execute('UPDATE scrape_sources SET config = config || \'{"rate_limit": {"requests_per_minute": 300}}\'')
    drain = Beside(lambda: drain_queue(work))
    wait_until(lambda: crawl.rows().get("complete"), 20)
    report = close(window, settings=own)
    with pytest.raises(CycleClosedError, match=re.escape(window)):
        drain.end()
    assert report_holds(crawl, report, window)
    assert crawl.rows().keys() == {"complete", "pending"}
    assert crawl.conn.execute("SELECT max(attempts) FROM import_queue WHERE status = 'pending'").fetchone() == (0,)

    crawl.conn.execute(
        'UPDATE scrape_sources SET config = config || \'{"rate_limit": {"requests_per_minute": 60000}}\''
    )
    next_work = crawl.work("awake", f"{window}+2")
    replay_window(next_work, [source], [window])
    assert next_work.totals.sum("pages_failed") == 0, "a replay may write into what is closed"
    drain_queue(next_work)
    assert crawl.rows() == {"complete": pages}
    assert report_holds(crawl, close(f"{window}+2", settings=own), f"{window}+2")
    assert in_tables(crawl.conn) == []


def test_a_harvest_whose_cycle_was_closed_queues_nothing_into_it(crawl: Crawl, own: Settings, window: str) -> None:
    source = crawl.declare(DEALER, detail="always", rate_limit={"requests_per_minute": 60})
    work = crawl.work("asleep", window)
    harvest = Beside(lambda: harvest_sources(work, [source]))
    wait_until(lambda: crawl.rows().get("pending"))
    report = close(window, settings=own)
    with pytest.raises(CycleClosedError, match=re.escape(window)):
        harvest.end()
    assert report_holds(crawl, report, window)


def test_closing_waits_for_a_batch_on_its_way_and_counts_it_and_the_next_one_is_refused(
    crawl: Crawl, own: Settings, window: str
) -> None:
    source = crawl.declare(DEALER)
    crawl.work("asleep", window)
    written, commit = threading.Event(), threading.Event()
    page = queue.PageToQueue(source.id, source.row.base_url + "/1", source.id)

    def write() -> None:
        queue.enqueue(conn, [page], cycle_id=window, now=crawl.now(), revisit=timedelta(hours=1))
        written.set()
        assert commit.wait(20)

    reports: list[dict[str, Any]] = []
    with connect(crawl.url) as conn, connect(crawl.url) as late:
        batch = Beside(lambda: in_open_cycle(conn, window, write))
        assert written.wait(10)
        closing = Beside(lambda: reports.append(close(window, settings=own)))
        time.sleep(0.5)
        next_batch = Beside(lambda: in_open_cycle(late, window, lambda: None))
        time.sleep(0.5)
        assert closing.is_alive()
        commit.set()
        batch.end()
        closing.end()
        with pytest.raises(CycleClosedError, match=re.escape(window)):
            next_batch.end()
    assert reports[0]["vehicles_queued"] == 1


def test_an_action_taken_for_dead_stops_and_gives_back_what_it_holds(
    crawl: Crawl, own: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(performing, "BEAT_SECONDS", 0.5)
    source = crawl.declare(DEALER, rate_limit={"requests_per_minute": 60})
    crawl.work()
    crawl.put(source, 100)
    wanted: dict[str, Any] = {"level": 0, "attempt": 1, "reason": "test", "parameters": {}}
    assert cycles.request_action(crawl.conn, OPEN_CYCLE, ActionKind.DRAIN, **wanted, now=crawl.now())
    acting = Beside(lambda: perform(Action(ActionKind.DRAIN, **wanted), cycle_id=OPEN_CYCLE, settings=own))
    wait_until(lambda: crawl.rows().get("failed"))
    soon = crawl.now() + timedelta(minutes=1)
    assert cycles.fail_stale(crawl.conn, OPEN_CYCLE, now=soon, running_before=soon, requested_before=soon)
    acting.end(10)
    assert "given up as dead" in caplog.text
    asked = len(crawl.log(DEALER))
    assert crawl.rows() == {"failed": asked, "pending": 100 - asked}


def test_a_heartbeat_says_whether_the_action_still_runs(crawl: Crawl) -> None:
    crawl.work()
    wanted: dict[str, Any] = {"level": 0, "attempt": 1, "now": crawl.now()}
    cycles.request_action(crawl.conn, OPEN_CYCLE, "drain", reason="test", parameters={}, **wanted)
    action_id = cycles.start_action(crawl.conn, OPEN_CYCLE, "drain", run_id="here", **wanted)
    assert action_id is not None
    assert cycles.beat(crawl.conn, action_id, now=crawl.now(), outcome={"found": 1})
    cycles.fail_run(crawl.conn, "here", now=crawl.now(), error="its process died")
    assert not cycles.beat(crawl.conn, action_id, now=crawl.now(), outcome={"found": 2})
    assert cycles.actions(crawl.conn, OPEN_CYCLE)[0].outcome == {"found": 1}
