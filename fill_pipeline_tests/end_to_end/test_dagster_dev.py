"""The whole edge as an operator runs it: ``dagster dev`` in the checkout, its UI's API, its daemon, real runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.perform import perform_by_hand
from fill_pipeline.cycle.window import Window, window_at
from fill_pipeline.db import cycles, registry
from fill_pipeline.db.connect import connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import start_simweb

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dagster")]
PROJECT = Path(__file__).parents[2]
PATIENCE = 240.0  # seconds for each thing waited for; on two idle cores all of it together takes about 60
BACKFILL = """
mutation ($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""
MATERIALIZATIONS = """
query ($k: AssetKeyInput!) { assetNodeOrError(assetKey: $k) { ... on AssetNode { assetMaterializations(limit: 20) {
  partition metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }
"""
LOCATIONS = (
    "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus locationOrLoadError { __typename } } } } }"
)


@dataclass
class System:
    """A running ``dagster dev`` and its database."""

    process: subprocess.Popen[bytes]
    port: int
    url: str
    windows: list[Window]
    slug: str
    log: Path

    def graphql(self, query: str, **variables: Any) -> Any:
        """What the UI asks with."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read the database beside everybody else."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            return conn.execute(statement, values).fetchall()  # type: ignore[arg-type]

    def wait(self, what: str, condition: Callable[[], Any]) -> Any:
        """The condition's first true value; fails with the end of Dagster's log when it does not come."""
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends and self.process.poll() is None:
            value = condition()
            if value:
                return value
            time.sleep(0.5)
        pytest.fail(f"{what} did not come; the log ends:\n{self.log.read_text()[-4000:]}")


@pytest.fixture(scope="module")
def system(server_url: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Dagster with two small sites, one of which was crawled in three windows of the past."""
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS edge WITH (FORCE)")
        admin.execute("CREATE DATABASE edge")
    url = make_conninfo(server_url, dbname="edge")
    migrate(url)
    log = tmp_path_factory.mktemp("dagster") / "dagster.log"
    environment = {
        "FILL_HOME": str(settings.home),
        "FILL_DATABASE_URL": url,
        "FILL_ALLOW_NETS": "127.0.0.0/8",
        "FILL_TARGET": "5",
        "DAGSTER_HOME": str(PROJECT),
    }
    with start_simweb(scale=0.05) as web, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        slug, windows = _crawl_the_past(url, web.get("/sites"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "dagster", "dev", "-p", str(port)],
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        running = System(process, port, url, windows, slug, log)
        try:
            running.wait("the web server", lambda: _answers(running))
            _add_newcomer(url)  # while the first tests wait for other things
            yield running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _crawl_the_past(url: str, sites: list[dict[str, Any]]) -> tuple[str, list[Window]]:
    settings = Settings()
    chosen = [s for s in sites if s["kind"] == "dealer" and s["live_count"] > 3][:2]
    with connect(url) as conn:
        slugs = [
            registry.declare_source(
                conn, name=s["slug"], base_url=s["base_url"], config=s["suggested_config"], kind=s["kind"]
            ).slug
            for s in chosen
        ]
        windows = [window_at(utc_now() - timedelta(hours=2 * age)) for age in (3, 2, 1)]
        for window in windows:
            then = window.start + timedelta(minutes=10)
            perform_by_hand(slugs[:1], window=window, settings=settings, now_fn=lambda then=then: then)
            conn.execute("UPDATE fill_cycles SET status = 'closed', completed_at = %s", (then,))
    return slugs[0], windows


def _add_newcomer(url: str) -> None:
    with connect(url) as conn:
        registry.declare_source(
            conn, name="newcomer", base_url="http://newcomer.localhost:1/", config={}, kind="dealer", active=False
        )


def _answers(system: System) -> bool:
    try:
        (location,) = system.graphql(LOCATIONS)["workspaceOrError"]["locationEntries"]
        return bool(location["locationOrLoadError"]["__typename"] == "RepositoryLocation")
    except (URLError, OSError, ValueError):
        return False


def runs(system: System, tag: str, value: str) -> list[str]:
    """The statuses of the runs with that tag."""
    found = system.rows(
        "SELECT r.status FROM dagster.runs r JOIN dagster.run_tags t ON t.run_id = r.run_id "
        "WHERE t.key = %s AND t.value = %s",
        tag,
        value,
    )
    return [row[0] for row in found]


def test_a_backfill_of_one_source_over_three_windows_succeeds(system: System) -> None:
    key = {"path": ["sources", system.slug]}
    params = {"assetSelection": [key], "partitionNames": [w.key for w in system.windows]}
    started = system.graphql(BACKFILL, p=params)["launchPartitionBackfill"]
    assert started["__typename"] == "LaunchBackfillSuccess", started
    backfill = started["backfillId"]
    ended = system.wait(
        "three ended runs",
        lambda: (
            [s for s in runs(system, "dagster/backfill", backfill) if s in ("SUCCESS", "FAILURE")][2:]
            and runs(system, "dagster/backfill", backfill)
        ),
    )
    assert ended == ["SUCCESS"] * 3
    done = system.graphql(MATERIALIZATIONS, k=key)["assetNodeOrError"]["assetMaterializations"]
    given = {m["partition"]: {e["label"]: e.get("intValue") for e in m["metadataEntries"]} for m in done}
    # The first window fetched every advertisement, the later ones only looked for new ones.
    assert given[system.windows[0].key]["found"] > 0
    assert all(given[w.key]["pages"] > 0 for w in system.windows), given


def test_the_daemon_opens_a_cycle_fills_from_the_sources_and_closes_it_on_target(system: System) -> None:
    def closed() -> list[tuple[Any, ...]]:
        return system.rows(
            "SELECT vehicles_added, on_target, errors FROM fill_cycles WHERE status = 'closed' AND window_start = %s",
            window_at(utc_now()).start,
        )

    ((added, on_target, errors),) = system.wait("a closed cycle", closed)
    assert (added >= 5, on_target, errors) == (True, True, [])
    assert system.rows("SELECT count(*) FROM dagster.job_ticks WHERE status = 'FAILURE'") == [(0,)]
    ended = "SELECT status FROM dagster.runs WHERE pipeline_name = 'close_cycle' AND end_time IS NOT NULL"
    assert system.wait("the end of the closing run", lambda: system.rows(ended)) == [("SUCCESS",)]


def test_a_source_added_while_the_system_runs_appears_in_the_graph(system: System) -> None:
    def listed() -> bool:
        nodes = system.graphql("{ assetNodes { assetKey { path } } }")["assetNodes"]
        return {"assetKey": {"path": ["sources", "newcomer"]}} in nodes

    assert system.wait("the newcomer's asset", listed)


def test_killing_everything_at_once_leaves_the_database_usable(system: System) -> None:
    os.killpg(system.process.pid, signal.SIGKILL)
    system.process.wait()
    assert system.rows("SELECT count(*) FROM vehicles")[0][0] > 0
    with connect(system.url) as conn:
        assert [s.slug for s in registry.sources(conn)]
        assert cycles.cycles_of_window(conn, system.windows[0].key)
