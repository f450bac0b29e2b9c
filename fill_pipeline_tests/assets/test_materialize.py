"""Materializing assets in this process, on a real database and the simulated web."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, ExecuteInProcessResult

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.cycle.perform import UnusableSourceError, perform_by_hand
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db import cycles, ledger, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.ledger import Tally
from fill_pipeline.definitions import defs
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb, start_simweb

CLOSED: dict[str, Any] = {
    "vehicles_added": 0,
    "vehicles_queued": 0,
    "sources_active": 0,
    "sources_discovered": 0,
    "quality": None,
    "on_target": False,
    "next_actions": [],
    "errors": [],
    "report": {},
    "metadata": {},
}


@pytest.fixture(scope="module")
def web() -> Iterator[SimWeb]:
    with start_simweb(scale=0.05) as running:
        yield running


def declare(conn: Connection, web: SimWeb, *kinds: str) -> list[str]:
    """Registers one site of each kind that has something for sale; returns their slugs."""
    slugs = []
    for kind in kinds:
        site = next(s for s in web.get("/sites") if s["kind"] == kind and s["live_count"] > 3)
        row = registry.declare_source(
            conn, name=site["slug"], base_url=site["base_url"], config=site["suggested_config"], kind=kind
        )
        slugs.append(row.slug)
    return slugs


def materialize(
    *keys: str, job: str = "__ASSET_JOB", window: str = "", config: dict[str, Any] | None = None
) -> ExecuteInProcessResult:
    """What the UI's button does: these assets, one window, by default without configuration."""
    selection = {AssetKey(key.split("/")) for key in keys}
    run = defs().get_repository_def().get_job(job).get_subset(asset_selection=selection)
    return run.execute_in_process(
        instance=DagsterInstance.ephemeral(),
        partition_key=window or window_at(utc_now()).key,
        run_config={"ops": {key: {"config": config} for key in keys}} if config else None,
        raise_on_error=False,
    )


def facts(result: ExecuteInProcessResult, key: str) -> dict[str, Any]:
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == AssetKey(key.split("/"))]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def failed_checks(result: ExecuteInProcessResult) -> set[str]:
    return {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}


def test_one_source_alone_is_fetched_now_and_what_it_gave_stands_in_its_metadata(
    edge: Settings, conn: Connection, web: SimWeb
) -> None:
    one, _other = declare(conn, web, "dealer", "auction_house")
    result = materialize(f"sources/{one}", "vehicles")
    assert result.success
    given = facts(result, f"sources/{one}")
    live = len(web.get(f"/truth?slug={one.replace('_', '-')}"))
    assert given["found"] == given["vehicles_added"] == live > 0
    assert "at once" in str(given["pace"])
    assert facts(result, "vehicles")["vehicles_added"] == live
    assert conn.execute("SELECT DISTINCT source FROM listing_records").fetchall() == [(one,)]
    assert {e.asset_key.path[-1] for e in result.get_asset_materialization_events() if e.asset_key} == {one, "vehicles"}
    assert "counters_reconcile" not in failed_checks(result)


def test_a_past_window_is_replayed_from_its_archive_without_the_network(
    edge: Settings, conn: Connection, web: SimWeb
) -> None:
    (one,) = declare(conn, web, "dealer")
    past = window_at(utc_now() - timedelta(hours=6))
    perform_by_hand([one], window=past, settings=edge, now_fn=lambda: past.start + timedelta(minutes=5))
    cycles.close_cycle(conn, past.key, now=past.end, **CLOSED)
    before = conn.execute("SELECT id, title, price, last_seen_at FROM listings ORDER BY id").fetchall()
    conn.execute("UPDATE scrape_sources SET base_url = 'http://nowhere.localhost:1/'")
    result = materialize(f"sources/{one}", window=past.key)
    assert result.success
    assert facts(result, f"sources/{one}")["found"] == len(before) > 0
    assert conn.execute("SELECT id, title, price, last_seen_at FROM listings ORDER BY id").fetchall() == before
    cycle = cycles.cycle(conn, past.key)
    assert cycle is not None
    assert cycle.report is not None
    assert cycle.report["vehicles_added"] == len(before), "it was closed with a report that told of none"


def test_a_past_window_of_a_source_whose_configuration_cannot_be_used_is_not_read_as_nothing(
    edge: Settings, conn: Connection, web: SimWeb
) -> None:
    (one,) = declare(conn, web, "dealer")
    conn.execute("""UPDATE source_config_versions SET config = '{"detail": "sometimes"}'""")
    conn.execute("""UPDATE scrape_sources SET config = '{"detail": "sometimes"}'""")
    with pytest.raises(UnusableSourceError, match=rf"{one}: .*detail.*sometimes"):
        perform_by_hand([one], window=window_at(utc_now() - timedelta(hours=6)), settings=edge)


def test_a_source_that_gives_nothing_has_its_result_and_sources_that_share_an_asset_a_row_each(
    edge: Settings, conn: Connection
) -> None:
    for name, group in (("dead", None), ("left", "platform"), ("right", "platform")):
        url = f"http://{name}.localhost:1/"
        registry.declare_source(conn, name=name, base_url=url, config={}, kind="dealer", asset_group=group)
    result = materialize("sources/dead", "sources/platform", "sources/_unlisted")
    assert result.success
    assert facts(result, "sources/dead")["found"] == 0
    assert facts(result, "sources/_unlisted")["found"] == 0
    rows = facts(result, "sources/platform")["sources"].splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| left", "| right"]


def test_checks_that_fail_never_silence_the_report(edge: Settings, conn: Connection) -> None:
    cycle = ensure_open(conn, edge, now=utc_now())
    row = registry.declare_source(conn, name="a", base_url="http://a.localhost:1/", config={}, kind="dealer")
    ledger.add_tallies(conn, cycle.cycle_id, [Tally("price", row.id, "a", knowable=10, filled=2)])
    conn.execute(
        "INSERT INTO vehicles (created_at, created_cycle, updated_at, updated_cycle, completeness) "
        "VALUES (now(), %(c)s, now(), %(c)s, 0.2)",
        {"c": cycle.cycle_id},
    )
    cycles.request_action(
        conn, cycle.cycle_id, "close", level=0, attempt=1, reason="test", parameters={}, now=utc_now()
    )
    config = {"cycle_id": cycle.cycle_id, "action": "close/0/1"}
    result = (
        defs()
        .get_repository_def()
        .get_job("close_cycle")
        .execute_in_process(
            instance=DagsterInstance.ephemeral(),
            partition_key=window_at(utc_now()).key,
            run_config={"ops": {"fill_cycle_report": {"config": config}}},
        )
    )
    assert result.success
    # The vehicle was written past the sources' accounts, so the sums cannot agree either.
    assert failed_checks(result) == {
        *(f"completeness_{name}" for name in edge.core_fields),
        "data_quality_score",
        "on_target",
        "counters_reconcile",
    }
    report = cycles.report(conn, "cycle", cycle.cycle_id)
    assert report is not None
    assert report["vehicles_added"] == facts(result, "fill_cycle_report")["vehicles_added"] == 1
    assert facts(result, "daily_summary")["status"] == "BELOW_TARGET"
    assert "|" in facts(result, "fill_cycle_report")["report"]
    closed = cycles.cycle(conn, cycle.cycle_id)
    assert closed is not None
    assert closed.status == "closed"


def test_the_report_of_a_running_cycle_is_shown_by_hand_and_does_not_end_it(edge: Settings, conn: Connection) -> None:
    ensure_open(conn, edge, now=utc_now())
    result = materialize("fill_cycle_report", "daily_summary")
    assert result.success
    assert facts(result, "fill_cycle_report")["cycle_status"] == "open"
    assert cycles.open_one(conn) is not None


def test_the_job_that_follows_a_failed_run_writes_the_report_with_the_error_in_it(
    edge: Settings, conn: Connection
) -> None:
    cycle, now = ensure_open(conn, edge, now=utc_now()), utc_now()
    wanted: dict[str, Any] = {"level": 0, "attempt": 1, "now": now}
    cycles.request_action(conn, cycle.cycle_id, "harvest", reason="test", parameters={}, **wanted)
    cycles.start_action(conn, cycle.cycle_id, "harvest", run_id="dead", **wanted)
    cycles.fail_run(conn, "dead", now=now, error="the machine went away")
    conn.execute("UPDATE fill_cycles SET status = 'closed', completed_at = now()")
    job = defs().get_repository_def().get_job("write_report")
    assert job.execute_in_process(instance=DagsterInstance.ephemeral(), partition_key=cycle.cycle_id).success
    report = cycles.report(conn, "cycle", cycle.cycle_id)
    assert report is not None
    assert report["errors"] == ["harvest/0/1 failed: the machine went away"]


def test_data_is_mended_by_hand_in_the_present_and_never_in_a_past_window(edge: Settings, conn: Connection) -> None:
    past = window_at(utc_now() - timedelta(hours=2)).key
    assert "note" in facts(materialize("vehicle_repairs", window=past), "vehicle_repairs")
    would = facts(materialize("vehicle_repairs", window=past, config={"dry_run": True}), "vehicle_repairs")
    assert would["counts"]["dry_run"]
    assert would["fixes"] == []
    assert cycles.open_one(conn) is None
    assert facts(materialize("vehicle_repairs"), "vehicle_repairs")["gained"] == 0
    cycle = cycles.open_one(conn)
    assert cycle is not None
    assert [(a.action, a.status) for a in cycles.actions(conn, cycle.cycle_id)] == [("improve", "done")]


def test_a_run_told_to_do_what_no_cycle_asked_for_fails_and_says_so(edge: Settings, conn: Connection) -> None:
    ensure_open(conn, edge, now=utc_now())
    run = (
        defs().get_repository_def().get_job("harvest").get_subset(asset_selection={AssetKey(["sources", "_unlisted"])})
    )
    result = run.execute_in_process(
        instance=DagsterInstance.ephemeral(),
        partition_key=window_at(utc_now()).key,
        run_config={"ops": {"sources": {"config": {"cycle_id": "x", "action": "harvest/0/1"}}}},
        raise_on_error=False,
    )
    assert not result.success
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    assert "cycle 'x' has no action" in str(failure.step_failure_data.error)
