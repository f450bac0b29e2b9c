"""Below target levers are turned, each on record with what was expected and what it gave; on target none is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.levers import Lever
from fill_pipeline.cycle.run import run_cycle
from fill_pipeline.db import learning, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb
from fill_pipeline_tests.end_to_end.conftest import register

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cycle")]
OUT_OF_REACH = 1_000_000


def test_levers_are_used_below_target_recorded_with_their_yield_rested_when_idle_and_let_go_on_target(
    world: Settings, db: Connection, simweb: SimWeb
) -> None:
    stocked = [site for site in simweb.get("/sites") if site["open"] and site["live_count"]]
    slug = min(stocked, key=lambda site: site["live_count"])["slug"]
    register(db, simweb, slug)
    (source,) = registry.sources(db)

    def levers(hours: float, target: int) -> dict[str, dict[str, Any]]:
        """What a cycle at that hour turned, by lever."""
        learning.set_harvest_hours(db, {source.id: 12.0})  # changes seldom, and is not due before noon
        settings = world.model_copy(update={"target": target})
        report = run_cycle(settings, now_fn=lambda: utc_now() + timedelta(hours=hours))
        assert report is not None
        assert report["errors"] == []
        return {line["lever"]: line for line in report["actions"] if "lever" in line}

    first = levers(0, OUT_OF_REACH)
    assert list(first) == [Lever.DISCOVERY]  # every source was due
    assert first[Lever.DISCOVERY]["expects"] == {}
    assert first[Lever.DISCOVERY]["outcome"]["promised"] == 0

    assert levers(2, 0) == {}

    second = levers(4, OUT_OF_REACH)
    used = second[Lever.SOURCES]
    assert (used["step"], used["expects"]) == (1, {})
    assert used["outcome"]["pages_fetched"] > 0
    assert {"vehicles_added", "cpu_seconds", "pacing_minutes"} <= used["outcome"].keys()
    uses = learning.lever_uses(db, [*Lever], since=utc_now() - timedelta(days=1), n=12)
    assert {use.lever: use.requests for use in uses}[Lever.SOURCES] == used["outcome"]["pages_fetched"]

    # It asked again what had just been asked, and gave nothing: left alone for a cycle.
    assert Lever.SOURCES not in levers(5.9, OUT_OF_REACH)
