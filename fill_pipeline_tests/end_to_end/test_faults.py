"""Faults in the middle of a cycle: it goes on, or stops with a clear line, and the tables agree afterwards.

Killed workers and killed cycles are in ``test_crash``.
"""

from __future__ import annotations

import random
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from fill_pipeline.cycle import perform
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.cycle.perform import Outcome
from fill_pipeline.cycle.run import run_cycle
from fill_pipeline.cycle.state import Action, ActionKind
from fill_pipeline.db.connect import Connection, connect, connect_again
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url, stop, stop_embedded
from fill_pipeline.drain.drain import drain_queue
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.work import Work, load_sources
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb
from fill_pipeline_tests.end_to_end.conftest import register
from fill_pipeline_tests.end_to_end.reconcile import disagreements

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

SITES = ("granite-auto-group", "riverbend-automotive")
PAGES = 40  # at least; every listing page of these sites is fetched
PER_SECOND = 10.0  # requests to each of them, as ``declare`` has it
PATIENCE = 60.0  # seconds


class Running:
    """A cycle at work in a thread of its own, on a clock that can be set."""

    def __init__(self, settings: Settings, later: timedelta = timedelta(0)) -> None:
        self.later = later
        self.stop = threading.Event()
        self._end: list[Any] = []
        self._thread = threading.Thread(target=self._run, args=(settings,))
        self._thread.start()

    def now(self) -> datetime:
        return utc_now() + self.later

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def report(self) -> Any:
        """Wait for its end: the report (None when it was stopped); raises what it raised."""
        self._thread.join(PATIENCE)
        assert not self.alive, "the cycle hangs"
        if isinstance(self._end[0], Exception):
            raise self._end[0]
        return self._end[0]

    def _run(self, settings: Settings) -> None:
        try:
            self._end.append(run_cycle(settings, now_fn=self.now, should_stop=self.stop.is_set))
        except Exception as error:
            self._end.append(error)


@pytest.fixture
def small(world: Settings) -> Settings:
    """The world of a test, with one worker, content with a single vehicle."""
    return world.model_copy(update={"workers": 1, "target": 1, "batch_size": 20})


def declare(db: Connection, web: SimWeb) -> None:
    """Two sites, read so slowly that a fault falls in the middle."""
    web.post("reset")
    register(db, web, *SITES)
    db.execute(
        "UPDATE scrape_sources SET config = config || "
        """'{"detail": "always", "rate_limit": {"requests_per_minute": 600}}' """
    )


def completed(db: Connection) -> int:
    row = db.execute("SELECT count(*) FROM import_queue WHERE status = 'complete'").fetchone()
    assert row is not None
    return int(row[0])


def some_are(db: Connection, status: str, category: str = "%") -> bool:
    """Whether some queue rows have this status, with a failure of this category."""
    found = db.execute(
        "SELECT FROM import_queue WHERE status = %s AND coalesce(failure_category, '') LIKE %s LIMIT 1",
        [status, category],
    )
    return found.rowcount > 0


def wait_for(condition: Callable[[], object], running: Running) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert running.alive, f"the cycle ended before the fault: {running.report()}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_all_is_well(db: Connection, settings: Settings) -> None:
    """Every page ended well, and all that was counted agrees."""
    assert disagreements(db, settings.archive_root) == []
    ends: dict[str, int] = dict(db.execute("SELECT status, count(*) FROM import_queue GROUP BY 1").fetchall())
    assert set(ends) <= {"complete", "skipped"}, ends
    assert ends["complete"] >= PAGES


def cut_connections(db: Connection, whose: str = "fill %") -> int:
    """End the connections of the cycle, or only some, as a failing network would; returns how many."""
    return len(
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE %s",
            [whose],
        ).fetchall()
    )


def test_connections_cut_again_and_again_cost_no_page_and_no_attempt(
    small: Settings, db: Connection, simweb: SimWeb
) -> None:
    declare(db, simweb)
    chance = random.Random(3)
    running = Running(small)
    cut = 0
    for at, whose in ((3, "fill %"), (12, "fill %"), (22, "fill worker")):
        wait_for(lambda at=at: completed(db) >= at, running)  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 0.1))
        cut += cut_connections(db, whose)
    report = running.report()
    tried_again = db.execute("SELECT count(*) FROM import_queue WHERE attempts > 1").fetchone()
    assert cut >= 3
    assert tried_again == (0,)  # a lost connection is nobody's failure
    assert not [error for error in report["errors"] if error.startswith("drain")]
    assert report["reconciled"] is True, report["errors"]
    assert_all_is_well(db, small)


@pytest.fixture
def own_server(simweb: SimWeb) -> Iterator[Settings]:
    """A world on an embedded server that no other test uses."""
    folder = Path(tempfile.mkdtemp(prefix="fill-faults-"))
    folder.chmod(0o755)
    settings = Settings(home=folder, allow_nets="127.0.0.0/8", workers=1, target=1, batch_size=20)  # type: ignore[arg-type]
    try:
        yield settings
    finally:
        stop_embedded(settings)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_server_restarted_in_the_middle_of_a_cycle_is_waited_for(own_server: Settings, simweb: SimWeb) -> None:
    url = database_url(own_server)
    migrate(url)
    with connect(url, name="test") as db:
        declare(db, simweb)
        running = Running(own_server)
        wait_for(lambda: completed(db) >= 5, running)
    stop(own_server.home / "postgres")
    database_url(own_server)
    report = running.report()
    assert report["reconciled"] is True, report["errors"]
    with connect(url, name="test") as db:
        assert_all_is_well(db, own_server)


def kill_server(settings: Settings) -> None:
    """Kill the postmaster and every process of its server at once, as a machine out of memory or power does."""
    postmaster = psutil.Process(int((settings.home / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0]))
    for process in (postmaster, *postmaster.children()):
        process.kill()


def test_a_server_killed_outright_is_started_again_and_every_page_is_done_once_at_its_sources_pace(
    own_server: Settings, simweb: SimWeb
) -> None:
    url = database_url(own_server)
    migrate(url)
    with connect(url, name="test") as db:
        declare(db, simweb)
        cycle = ensure_open(db, own_server, now=utc_now())
        harvest, *drains = (
            Work(own_server, url, cycle.cycle_id, owner, utc_now, utc_now() + timedelta(minutes=5))
            for owner in ("harvest", "drain a", "drain b")
        )
        harvest_sources(harvest, list(load_sources(db).values()))
    before = {slug: len(simweb.get(f"/log?slug={slug}")) for slug in SITES}
    with ThreadPoolExecutor(len(drains)) as pool:
        ends = [pool.submit(drain_queue, work) for work in drains]
        for at in (5, 25):
            with connect_again(url, name="test") as db:
                while completed(db) < at:
                    time.sleep(0.02)
            kill_server(own_server)
        for end in ends:
            end.result(PATIENCE)
    report = run_cycle(own_server)
    assert report is not None
    assert report["reconciled"] is True, report["errors"]
    with connect(url, name="test") as db:
        assert db.execute("SELECT DISTINCT attempts, status FROM import_queue").fetchall() == [(1, "complete")]
        assert sum(work.totals.sum("pages_fetched") for work in drains) <= completed(db)  # none was counted twice
        assert_all_is_well(db, own_server)
    for slug in SITES:
        asked = [entry["monotonic"] for entry in simweb.get(f"/log?slug={slug}")[before[slug] :]]
        in_two_seconds = max(sum(at <= other < at + 2.0 for other in asked) for at in asked)
        assert in_two_seconds <= 2.0 * PER_SECOND + PER_SECOND  # for a second two may take one slot


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_archive_ends_the_cycle_with_a_clear_line_and_the_next_goes_on(
    small: Settings, db: Connection, simweb: SimWeb
) -> None:
    declare(db, simweb)
    running = Running(small)
    wait_for(lambda: completed(db) >= 5, running)
    with full_disk():
        report = running.report()
    assert report["reconciled"] is True
    told = [error for error in report["errors"] if "takes no more pages: File too large; free space there" in error]
    assert told
    assert all("\n" not in error for error in told)
    assert disagreements(db, small.archive_root) == []
    assert some_are(db, "pending")

    db.execute("UPDATE source_state SET last_harvest_at = last_harvest_at - interval '3 hours'")
    report = Running(small).report()
    assert report["errors"] == []
    assert_all_is_well(db, small)


def test_pages_wait_until_names_can_be_resolved_again(small: Settings, db: Connection, simweb: SimWeb) -> None:
    declare(db, simweb)
    running = Running(small)
    wait_for(lambda: completed(db) >= 5, running)
    running.stop.set()
    assert running.report() is None

    running = Running(small.model_copy(update={"connect_to": ("*::names.invalid:80",)}))
    wait_for(lambda: some_are(db, "pending", "dns"), running)
    running.stop.set()
    assert running.report() is None
    assert not some_are(db, "dead")

    report = Running(small, later=timedelta(minutes=20)).report()
    assert report["reconciled"] is True, report["errors"]
    assert_all_is_well(db, small)


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(minutes=-10)], ids=["forward", "back"])
def test_a_clock_that_jumps_stops_nothing(jump: timedelta, small: Settings, db: Connection, simweb: SimWeb) -> None:
    declare(db, simweb)
    running = Running(small.model_copy(update={"batch_size": 4}))  # so that much is still to be claimed
    wait_for(lambda: completed(db) >= 5, running)
    running.later = jump
    report = running.report()
    assert report["reconciled"] is True, report["errors"]
    assert report["errors"] == []
    if some_are(db, "pending"):  # the deadline was passed by the jump
        assert disagreements(db, small.archive_root) == []
        Running(small, later=jump).report()
    assert_all_is_well(db, small)


def test_where_an_action_fails_through_a_fault_of_ours_is_told_once(
    small: Settings, db: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Outcome:
        return Outcome(len(None))  # type: ignore[arg-type]

    for kind in set(ActionKind) - {ActionKind.CLOSE}:
        monkeypatch.setitem(perform._DEEDS, kind, broken)
    failed: list[str] = []

    def told(_action: Action, outcome: Outcome | None) -> None:
        if outcome is not None and "error" in outcome.details:
            failed.append(outcome.details["error"])

    run_cycle(small, on_action=told)
    logged = [record for record in caplog.records if record.exc_info and record.exc_info[2]]
    assert failed
    assert len(logged) == len(failed)
    assert "in broken" in caplog.text
    assert "test_faults.py" in caplog.text
