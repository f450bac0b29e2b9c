"""A whole cycle on the simulated web, watched in a browser from its first second to its report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fill_pipeline.db import cycles, registry
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.server import database_url
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import start_simweb
from fill_pipeline_tests.dashboard.conftest import serve_dashboard
from fill_pipeline_tests.end_to_end.conftest import fresh_world, start_cycle

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cycle")]

WATCHED = ("vehicles_added", "total_vehicles", "vehicles_queued")
KEEP_A_RECORD = """names => {
    window.record = names.map(() => []);
    setInterval(() => names.forEach((name, i) => {
        const shown = document.querySelector(`[data-figure=${name}]`)?.textContent;
        if (shown !== undefined && shown !== window.record[i].at(-1)) window.record[i].push(shown);
    }), 50);
}"""


@pytest.fixture
def world(server_url: str, tmp_path: Path) -> Iterator[Settings]:
    """An empty world that knows dealers of a small simulated web, asked slowly enough to be watched."""
    with (
        start_simweb(scale=0.3, seed=11) as web,
        fresh_world(server_url, tmp_path, f"live_{uuid4().hex[:12]}") as settings,
    ):
        sites = [site for site in web.get("/sites") if site["open"] and site["layout"] == "sitemap"]
        with connect(database_url(settings), name="test") as conn:
            for site in sites:
                registry.declare_source(
                    conn,
                    name=site["slug"],
                    base_url=site["base_url"],
                    config=site["suggested_config"] | {"rate_limit": {"delay_between_requests_ms": 100}},
                    kind=site["kind"],
                )
        yield settings


def one(conn: Connection, query: str, *values: object) -> Any:
    row = conn.execute(query, values).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return row[0]


def test_the_figures_move_while_a_cycle_runs_and_end_equal_to_the_tables(
    world: Settings, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILL_TARGET", "100")
    url = database_url(world)
    with serve_dashboard(world.home, url) as address, connect(url, name="test") as conn:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_function("() => document.body.innerText.includes('No cycle yet')")
        page.evaluate(KEEP_A_RECORD, WATCHED)
        cycle = start_cycle(world)
        assert cycle.wait(90) == 0
        [ended] = cycles.last_ended(conn)
        added = one(conn, "SELECT count(*) FROM vehicles WHERE created_cycle = %s", ended.cycle_id)
        page.wait_for_function(
            "words => words.every(w => document.querySelector('.card').innerText.includes(w))",
            arg=[f"Cycle {ended.cycle_id}", "ended"],
        )
        page.wait_for_timeout(300)  # every panel is of the same reading
        record = dict(zip(WATCHED, page.evaluate("window.record"), strict=True))
        shown = {name: int(seen[-1].replace(",", "")) for name, seen in record.items()}
        assert shown == {
            "vehicles_added": added,
            "total_vehicles": one(conn, "SELECT count(*) FROM vehicles"),
            "vehicles_queued": one(conn, "SELECT count(*) FROM import_queue WHERE cycle_id = %s", ended.cycle_id),
        }
        report = cycles.report(conn, "cycle", ended.cycle_id)
        assert report is not None
        assert {name: report[name] for name in WATCHED} == shown
        assert report["reconciled"]
        steps = [int(value.replace(",", "")) for value in record["vehicles_added"]]
        assert steps == sorted(steps)
        assert len(steps) >= 3, steps  # none, some, all; and never a reload, which would have lost the record
        table = (
            "[...document.querySelectorAll('.sources tbody tr')].map(r => [r.dataset.key, +r.children[2].textContent])"
        )
        accounts = (
            "SELECT s.slug, t.vehicles_added FROM source_cycle_stats t JOIN scrape_sources s ON s.id = t.source_id"
        )
        assert sorted(map(tuple, page.evaluate(table))) == sorted(conn.execute(accounts).fetchall())
        page.close()
