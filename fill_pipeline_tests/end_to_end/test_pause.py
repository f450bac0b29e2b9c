"""A source that is switched off, and a cycle that is told to stop, leave a slow site alone at once and lose nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from fill_pipeline.cycle.run import run_cycle
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb
from fill_pipeline_tests.end_to_end.conftest import register, start_cycle
from fill_pipeline_tests.end_to_end.reconcile import disagreements

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pause")]

PROMISED = 2.0  # seconds, on a machine that has a core for it
PATIENCE = 60.0
STOPPED = 1  # the status of a command that did not do all it was asked for


@pytest.fixture
def slug(db: Connection, simweb: SimWeb) -> str:
    """A dealer with a sitemap and some pages, as a source that is read slowly."""
    simweb.post("reset")
    dealers = [
        s for s in simweb.get("/sites") if s["open"] and s["suggested_config"]["pagination"]["type"] == "sitemap"
    ]
    slug = str(min((site["live_count"], site["slug"]) for site in dealers if site["live_count"] >= 15)[1])
    register(db, simweb, slug)
    db.execute('UPDATE sources SET config = config || \'{"rate_limit": {"requests_per_minute": 120}}\'')
    return slug


def queue(db: Connection) -> dict[str, int]:
    return dict(db.execute("SELECT status, count(*) FROM import_queue GROUP BY 1").fetchall())


def requests(web: SimWeb, slug: str) -> int:
    """How many requests the site has had."""
    return len(web.get(f"/log?slug={slug}"))


def seconds_until(condition: Callable[[], object]) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.02)
    return time.monotonic() - began


def at_once() -> float:
    """What was promised, in the time of a machine as busy as this one."""
    return PROMISED * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.mark.parametrize("how", ["switched off in SQL", "Ctrl-C"])
def test_a_stop_in_the_middle_of_slow_pages_takes_effect_at_once_and_loses_nothing(
    how: str, world: Settings, db: Connection, simweb: SimWeb, slug: str
) -> None:
    process = start_cycle(world)
    try:
        seconds_until(lambda: queue(db).get("complete"))
        simweb.post("hang", slug=slug, seconds=600)
        before = requests(simweb, slug)
        seconds_until(lambda: requests(simweb, slug) > before)  # a page that will not come is waited for
        assert queue(db)["processing"]
        if how == "Ctrl-C":
            process.send_signal(signal.SIGINT)
            took = seconds_until(lambda: process.poll() is not None)
            assert process.returncode == STOPPED
        else:
            db.execute("UPDATE sources SET active = false")
            took = seconds_until(lambda: "processing" not in queue(db))
        assert took <= at_once()
        asked = requests(simweb, slug)
        time.sleep(1.0)
        assert requests(simweb, slug) == asked
        assert process.wait(PATIENCE) in (0, STOPPED)
    finally:
        end(process)
    left = queue(db)
    assert set(left) == {"complete", "pending"}
    assert db.execute("SELECT max(attempts) FROM import_queue WHERE status = 'pending'").fetchone() == (0,)

    simweb.post("heal", slug=slug)
    fast = '{"rate_limit": {"requests_per_minute": 60000}}'
    db.execute("UPDATE scrape_sources SET active = true, config = config || %s::jsonb", [fast])
    report = run_cycle(world)
    assert report is not None
    assert report["reconciled"] is True, report["errors"]
    assert disagreements(db, world.archive_root) == []
    assert queue(db) == {"complete": left["complete"] + left["pending"]}


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
