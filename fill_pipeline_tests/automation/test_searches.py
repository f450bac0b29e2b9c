"""Saved searches on Dagster: due ones get one job and one run, asked-for ones at the next tick."""

from __future__ import annotations

from datetime import timedelta

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunRequest, build_sensor_context
from dagster._core.test_utils import create_run_for_test
from typer.testing import CliRunner

from fill_pipeline.automation.searches import run_saved_search, search_sensor
from fill_pipeline.automation.sensors import deals_sensor
from fill_pipeline.cli.app import app
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.db import deals, registry, searches
from fill_pipeline.db.connect import Connection
from fill_pipeline.definitions import defs
from fill_pipeline.drain.search_schedule import add_search
from fill_pipeline.resources import Fill
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb, start_simweb


@pytest.fixture
def site(conn: Connection):
    """A dealer that can be searched, as a source."""
    with start_simweb(scale=0.05, seed=3) as web:
        found = next(s for s in web.get("/sites") if s["kind"] == "dealer" and s["live_count"] > 3)
        row = registry.declare_source(
            conn, name="lot", base_url=found["base_url"], config=found["suggested_config"], kind="dealer"
        )
        yield web, row.slug


def saved(conn: Connection, source: str = "lot") -> searches.Search:
    past = utc_now() - timedelta(days=1)
    return add_search(conn, name="all of it", params={}, schedule="*/15 * * * *", now=past, source=source)


def ticked(instance: DagsterInstance) -> list[RunRequest]:
    context = build_sensor_context(instance=instance, definitions=defs(), resources={"fill": Fill()})
    return list(search_sensor.evaluate_tick(context).run_requests or [])


def in_flight(instance: DagsterInstance, request: RunRequest) -> None:
    tags = dict(request.tags)
    create_run_for_test(instance, job_name="run_saved_search", tags=tags, status=DagsterRunStatus.STARTED)


def test_a_due_search_gets_one_run_and_the_row_names_it(
    edge: Settings, conn: Connection, instance: DagsterInstance, site: tuple[SimWeb, str]
) -> None:
    search = saved(conn)
    (request,) = ticked(instance)
    done = run_saved_search.execute_in_process(
        run_config=request.run_config, instance=instance, resources={"fill": Fill()}, tags=dict(request.tags)
    )
    assert done.success
    job = searches.last_job(conn, search.id)
    assert job is not None
    assert (job.status, job.run_id) == ("finished", done.run_id)
    assert job.result is not None
    assert job.result["listings_found"] == job.result["new_listings"] > 0
    assert ticked(instance) == []


def test_no_second_run_is_asked_for_while_one_is_in_flight(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    registry.declare_source(conn, name="lot", base_url="http://lot.example", config={}, kind="dealer")
    saved(conn)
    (request,) = ticked(instance)
    in_flight(instance, request)
    assert ticked(instance) == []


def test_run_now_set_by_sql_is_picked_up_at_the_next_tick(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    search = add_search(conn, name="later", params={}, schedule="0 0 1 1 *", now=utc_now())
    assert ticked(instance) == []
    conn.execute("INSERT INTO offerup_jobs (search_id, run_now) VALUES (%s, true)", [search.id])
    assert len(ticked(instance)) == 1


def test_a_search_that_cannot_run_fails_its_run_and_says_why_in_the_row(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    search = saved(conn, source="nowhere")
    (request,) = ticked(instance)
    done = run_saved_search.execute_in_process(
        run_config=request.run_config, instance=instance, resources={"fill": Fill()}, raise_on_error=False
    )
    assert not done.success
    job = searches.last_job(conn, search.id)
    assert job is not None
    assert job.status == "error"
    assert "there is no source 'nowhere'" in (job.error_message or "")


def test_a_deal_finder_job_that_somebody_asked_for_gets_its_run(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    conn.execute("INSERT INTO deal_finder_jobs (run_now) VALUES (true)")
    context = build_sensor_context(instance=instance, definitions=defs(), resources={"fill": Fill()})
    (request,) = deals_sensor.evaluate_tick(context).run_requests or []
    assert (request.run_key or "").startswith("deals/")


def test_a_killed_deal_finders_job_ends_in_error_at_the_sensors_next_tick(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    long_ago = utc_now() - timedelta(hours=1)
    deals.start_job(conn, cycle_id="c", owner="doomed", now=long_ago, lease_until=long_ago + timedelta(minutes=5))
    context = build_sensor_context(instance=instance, definitions=defs(), resources={"fill": Fill()})
    deals_sensor.evaluate_tick(context)
    [(status, message)] = conn.execute("SELECT status, error_message FROM deal_finder_jobs").fetchall()
    assert status == "error"
    assert "silent" in message


def test_the_command_line_adds_lists_runs_and_pauses(
    edge: Settings, conn: Connection, site: tuple[SimWeb, str]
) -> None:
    def fill(*words: str) -> str:
        result = CliRunner().invoke(app, ["search", *words])
        assert result.exit_code == 0, result.output
        return result.output

    fill("add", "Hondas", "--param", "make=Honda", "--param", "max_price=9000", "--source", "lot")
    (search,) = searches.searches(conn)
    assert search.params == {"make": "Honda", "max_price": 9000}
    assert '"pages_scraped"' in fill("run", "Hondas")
    assert "found" in fill("list")
    fill("pause", str(search.id))
    assert not searches.searches(conn)[0].active


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["add", "x", "--source", "lot", "--param", "make"], "is not name=value"),
        (["add", "x", "--source", "elsewhere"], "fill sources list"),
        (["add", "x", "--source", "lot", "--schedule", "daily"], "cron line of five fields"),
        (["add", "x", "--source", "lot", "--param", "min_year=new"], "not a number from 0, such as 2015"),
        (["run", "x"], "fill search list"),
    ],
)
def test_bad_words_end_with_one_line_that_names_the_cure(
    edge: Settings, conn: Connection, words: list[str], cure: str
) -> None:
    registry.declare_source(conn, name="lot", base_url="http://lot.example", config={}, kind="dealer")
    result = CliRunner().invoke(app, ["search", *words])
    assert result.exit_code == 1
    assert cure in result.stderr
    assert searches.searches(conn) == []
