"""Crash safety: whatever is killed whenever, nothing is lost and nothing counts twice."""

from __future__ import annotations

import random
import signal
import subprocess
import time

import psutil
import pytest

from fill_pipeline.cycle.run import run_cycle
from fill_pipeline.db import cycles
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb
from fill_pipeline_tests.end_to_end.conftest import register, start_cycle
from fill_pipeline_tests.end_to_end.reconcile import in_tables

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("crash")]

KILLS = 6


def is_worker(child: psutil.Process) -> bool:
    try:
        return child.name() == "fill worker"
    except psutil.Error:  # it just died
        return False


def wait_for_victim(process: subprocess.Popen[bytes], blow: str, db: Connection) -> psutil.Process:
    """The process to kill, once pages are in work."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the cycle ended before all blows had fallen"
        busy = db.execute("SELECT EXISTS (SELECT FROM import_queue WHERE status = 'processing')").fetchone()
        workers = [child for child in psutil.Process(process.pid).children(recursive=True) if is_worker(child)]
        if busy == (True,) and workers:
            return psutil.Process(process.pid) if blow == "parent" else workers[0]
        time.sleep(0.05)
    raise AssertionError("no page was ever in work")


def strike(process: subprocess.Popen[bytes], blow: str, db: Connection, chance: random.Random) -> None:
    """Kill the parent or a worker at a random moment of its work."""
    while True:
        victim = wait_for_victim(process, blow, db)
        time.sleep(chance.uniform(0.05, 0.5))
        try:
            victim.kill()
        except psutil.NoSuchProcess:  # that drain had just ended; the next one has workers of its own
            continue
        return


KILLED_AT = """
import os, signal, sys
from fill_pipeline.cycle import perform
from fill_pipeline.cycle.run import run_cycle
from fill_pipeline.settings import Settings

if __name__ == "__main__":
    setattr(perform, sys.argv[1], lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    run_cycle(Settings())
"""


@pytest.mark.parametrize(("moment", "closed"), [("write_summaries", False), ("watch_after", True)])
def test_a_cycle_killed_while_it_closes_is_closed_whole_or_still_open(
    world: Settings, db: Connection, simweb: SimWeb, moment: str, closed: bool
) -> None:
    simweb.post("reset")
    register(db, simweb, "pinecrest-auto-sales")
    script = world.home / "killed.py"
    script.write_text(KILLED_AT)
    assert start_cycle(world, str(script), moment).wait(60) == -signal.SIGKILL

    cycle = cycles.open_one(db) or cycles.latest(db, 1)[0]
    ended = {action.status for action in cycles.actions(db, cycle.cycle_id)} == {"done"}
    summary = cycles.report(db, "daily", f"{cycle.window_start:%Y-%m-%d}")
    assert (cycle.status == "closed", cycle.report is not None, ended, summary is not None) == (closed,) * 4

    report = run_cycle(world.model_copy(update={"target": 1}))
    assert report is not None
    assert report["reconciled"], report["errors"]
    assert in_tables(db) == []


def test_workers_killed_at_random_lose_no_row_and_count_no_vehicle_twice(
    world: Settings, db: Connection, simweb: SimWeb
) -> None:
    simweb.post("reset")
    register(db, simweb)
    # Every listing page is fetched, and slowly enough that each blow falls in the middle of the work.
    db.execute(
        "UPDATE scrape_sources SET config = config || "
        """'{"detail": "always", "rate_limit": {"requests_per_minute": 120}}' """
    )
    chance = random.Random(5)
    blows = ["parent", "worker"] * (KILLS // 2)
    chance.shuffle(blows)
    process = start_cycle(world)
    for blow in blows:
        strike(process, blow, db, chance)
        if blow == "parent":
            process.wait()
            process = start_cycle(world)
    process.kill()
    process.wait()
    db.execute('UPDATE scrape_sources SET config = config || \'{"rate_limit": {"requests_per_minute": 60000}}\'')

    report = run_cycle(world.model_copy(update={"target": 100}))
    while report is not None and db.execute(
        "SELECT EXISTS (SELECT FROM import_queue WHERE status IN ('pending', 'processing'))"
    ).fetchone() == (True,):
        report = run_cycle(world.model_copy(update={"target": 100}))
    assert report is not None
    assert report["reconciled"] is True, report["errors"]

    ends = dict(db.execute("SELECT status, count(*) FROM import_queue GROUP BY 1").fetchall())
    assert set(ends) <= {"complete", "skipped", "failed", "dead"}, ends
    assert ends["complete"] >= 300
    unexplained = db.execute(
        "SELECT count(*) FROM import_queue WHERE (status = 'complete' AND listing_id IS NULL)"
        " OR (status <> 'complete' AND failure_category IS NULL)"
    ).fetchone()
    assert unexplained == (0,)
    assert (
        db.execute("SELECT vin FROM vehicles WHERE vin IS NOT NULL GROUP BY vin HAVING count(*) > 1").fetchall() == []
    )
    counted = db.execute(
        "SELECT (SELECT count(*) FROM vehicles), (SELECT sum(n) FROM counters WHERE metric = 'vehicles'),"
        " (SELECT sum(vehicles_added) FROM fill_cycles WHERE status = 'closed')"
    ).fetchone()
    assert counted is not None
    assert counted[0] == counted[1] == counted[2]
    orphans = db.execute(
        "SELECT count(*) FROM listing_records r"
        " WHERE NOT EXISTS (SELECT FROM listing_sightings s WHERE s.listing_id = r.id)"
    ).fetchone()
    assert orphans == (0,)
