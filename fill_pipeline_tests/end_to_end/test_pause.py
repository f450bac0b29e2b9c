"""A source that is switched off is left alone at once."""

from __future__ import annotations

import time

import pytest

from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb
from fill_pipeline_tests.end_to_end.conftest import register, start_cycle

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pause")]

AT_ONCE = 3.0  # seconds, of which one until the drain looks again and the rest for a loaded machine


def test_switching_a_source_off_in_sql_stops_it_in_the_middle_of_a_run_and_loses_nothing(
    world: Settings, db: Connection, simweb: SimWeb
) -> None:
    simweb.post("reset")
    dealers = [
        s for s in simweb.get("/sites") if s["open"] and s["suggested_config"]["pagination"]["type"] == "sitemap"
    ]
    slug = max(dealers, key=lambda site: site["live_count"])["slug"]
    register(db, simweb, slug)
    db.execute('UPDATE sources SET config = config || \'{"rate_limit": {"requests_per_minute": 90}}\'')
    process = start_cycle(world)
    try:
        deadline = time.monotonic() + 60
        while db.execute("SELECT EXISTS (SELECT FROM import_queue WHERE status = 'complete')").fetchone() != (True,):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        db.execute("UPDATE sources SET active = false")
        time.sleep(AT_ONCE)
        stopped_at = requests(simweb, slug)
        time.sleep(2.0)
        assert requests(simweb, slug) == stopped_at
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    left = dict(db.execute("SELECT status, count(*) FROM import_queue GROUP BY 1").fetchall())
    assert left["pending"] > 0
    assert "processing" not in left
    assert "failed" not in left
    assert "dead" not in left


def requests(web: SimWeb, slug: str) -> int:
    """How many requests the site has had."""
    answer = web.get(f"/log?slug={slug}")
    return len(answer["entries"] if isinstance(answer, dict) else answer)
