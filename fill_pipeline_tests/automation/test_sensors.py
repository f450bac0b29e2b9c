"""The sensors carry out what the plan asks for: each action once, never two in a lane, no error swallowed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from dagster import (
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    RunRequest,
    SensorDefinition,
    SkipReason,
    build_run_status_sensor_context,
    build_sensor_context,
)
from dagster._core.test_utils import create_run_for_test

from fill_pipeline.assets.catalogue import Catalogue
from fill_pipeline.automation.jobs import fill_cycle
from fill_pipeline.automation.requests import LANE_TAG
from fill_pipeline.automation.schedules import fill_cycle_schedule
from fill_pipeline.automation.sensors import build_sensors, failed_run_sensor
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db import cycles, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.definitions import defs
from fill_pipeline.resources import Fill
from fill_pipeline.settings import Settings


def declare(conn: Connection, *names: str, **facts: Any) -> None:
    for name in names:
        registry.declare_source(
            conn, name=name, base_url=f"http://{name}.example.com/", config={}, kind="dealer", **facts
        )


def sensor(conn: Connection, name: str) -> SensorDefinition:
    catalogue = Catalogue.of(registry.sources(conn))
    return next(s for s in build_sensors(catalogue) if s.name == name)


def ticked(conn: Connection, name: str, instance: DagsterInstance) -> list[RunRequest]:
    """What a tick of that sensor asks for, as the daemon would resolve it."""
    context = build_sensor_context(instance=instance, definitions=defs(), resources={"fill": Fill()})
    result = sensor(conn, name).evaluate_tick(context)
    return list(result.run_requests or [])


def statuses(conn: Connection, cycle_id: str) -> list[tuple[str, str]]:
    return [(f"{a.action}/{a.level}/{a.attempt}", a.status) for a in cycles.actions(conn, cycle_id)]


def launched(instance: DagsterInstance, request: RunRequest, status: DagsterRunStatus) -> Any:
    """A run of that request, as far as the instance knows."""
    return create_run_for_test(instance, job_name=request.job_name or "", tags=dict(request.tags), status=status)


def test_the_close_sensor_opens_the_window_whose_tick_was_lost(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    declare(conn, "a")
    assert cycles.open_one(conn) is None
    ticked(conn, "close_cycle_sensor", instance)
    cycle = cycles.open_one(conn)
    assert cycle is not None
    assert cycle.cycle_id == window_at(utc_now()).key


def test_an_open_cycle_with_due_sources_asks_for_one_harvest_of_exactly_these(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    declare(conn, "a", "b")
    declare(conn, "paused", active=False)
    cycle = ensure_open(conn, edge, now=utc_now())
    (request,) = ticked(conn, "target_gap_sensor", instance)
    assert request.run_key == f"{cycle.cycle_id}/harvest/0/1"
    assert request.job_name == "harvest"
    assert request.partition_key == cycle.cycle_id
    assert request.asset_selection == [AssetKey(["sources", "a"]), AssetKey(["sources", "b"]), AssetKey(["vehicles"])]
    assert request.tags[LANE_TAG] == cycle.cycle_id
    assert statuses(conn, cycle.cycle_id) == [("harvest/0/1", "requested")]


def test_a_request_whose_daemon_died_is_made_again_under_the_same_key(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    declare(conn, "a")
    ensure_open(conn, edge, now=utc_now())
    first = ticked(conn, "target_gap_sensor", instance)
    assert [r.run_key for r in ticked(conn, "target_gap_sensor", instance)] == [r.run_key for r in first]


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED])
def test_nothing_is_asked_for_while_a_run_for_that_window_and_action_is_in_flight(
    edge: Settings, conn: Connection, instance: DagsterInstance, status: DagsterRunStatus
) -> None:
    declare(conn, "a")
    cycle = ensure_open(conn, edge, now=utc_now())
    (request,) = ticked(conn, "target_gap_sensor", instance)
    launched(instance, request, status)
    # Even if the plan lost sight of it and asks anew:
    cycles.fail_stale(
        conn,
        cycle.cycle_id,
        now=utc_now(),
        running_before=utc_now(),
        requested_before=utc_now() + timedelta(seconds=1),
    )
    conn.execute("UPDATE cycle_actions SET finished_at = finished_at - interval '1 minute'")
    assert ticked(conn, "target_gap_sensor", instance) == []
    assert statuses(conn, cycle.cycle_id) == [("harvest/0/1", "failed"), ("harvest/0/2", "requested")]


def test_a_sensor_asks_only_for_its_own_kinds(edge: Settings, conn: Connection, instance: DagsterInstance) -> None:
    declare(conn, "a")
    cycle = ensure_open(conn, edge, now=utc_now())
    assert ticked(conn, "queue_depth_sensor", instance) == []
    assert ticked(conn, "close_cycle_sensor", instance) == []
    assert statuses(conn, cycle.cycle_id) == []


def test_shards_of_a_drain_have_lanes_of_their_own(edge: Settings, conn: Connection, instance: DagsterInstance) -> None:
    declare(conn, "a")
    cycle = ensure_open(conn, edge, now=utc_now())
    for shard in range(2):
        cycles.request_action(
            conn, cycle.cycle_id, "drain", level=shard, attempt=1, reason="test", parameters={}, now=utc_now()
        )
    first, second = ticked(conn, "queue_depth_sensor", instance)
    assert first.tags[LANE_TAG] != second.tags[LANE_TAG]
    launched(instance, first, DagsterRunStatus.STARTED)
    assert [r.run_key for r in ticked(conn, "queue_depth_sensor", instance)] == [second.run_key]


def test_a_database_that_cannot_be_read_is_a_failed_tick(
    edge: Settings, conn: Connection, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_sensor = sensor(conn, "target_gap_sensor")
    context = build_sensor_context(instance=instance, definitions=defs(), resources={"fill": Fill()})
    monkeypatch.setenv("FILL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Exception, match="connection"):
        plan_sensor.evaluate_tick(context)


def failure_context(instance: DagsterInstance, run: Any, message: str) -> Any:
    instance.report_run_failed(run, message)
    (event,) = instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_FAILURE)
    assert event.dagster_event is not None
    return build_run_status_sensor_context(
        sensor_name="run_failure_sensor",
        dagster_event=event.dagster_event,
        dagster_instance=instance,
        dagster_run=run,
    ).for_run_failure()


def sensed(context: Any) -> RunRequest | SkipReason:
    result: Iterable[RunRequest | SkipReason] | RunRequest | SkipReason = failed_run_sensor(context, fill=Fill())
    assert isinstance(result, RunRequest | SkipReason)
    return result


def test_a_failed_run_ends_its_action_even_if_it_never_began_and_has_the_report_written(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    declare(conn, "a")
    cycle = ensure_open(conn, edge, now=utc_now())
    (request,) = ticked(conn, "target_gap_sensor", instance)
    tags = {**request.tags, "dagster/partition": cycle.cycle_id}
    run = create_run_for_test(instance, job_name="harvest", tags=tags, status=DagsterRunStatus.STARTED)
    asked = sensed(failure_context(instance, run, "the machine went away"))
    assert isinstance(asked, RunRequest)
    assert asked.partition_key == cycle.cycle_id
    (action,) = cycles.actions(conn, cycle.cycle_id)
    assert (action.status, action.error) == ("failed", "the machine went away")


def test_a_failed_backfill_run_too_has_the_report_of_its_own_window_written(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    tags = {"dagster/partition": "2026-01-01-04:00"}
    run = create_run_for_test(instance, job_name="__ASSET_JOB", tags=tags, status=DagsterRunStatus.STARTED)
    asked = sensed(failure_context(instance, run, "no"))
    assert isinstance(asked, RunRequest)
    assert asked.partition_key == "2026-01-01-04:00"


def test_a_failed_report_is_not_asked_for_again(edge: Settings, conn: Connection, instance: DagsterInstance) -> None:
    run = create_run_for_test(instance, job_name="write_report", status=DagsterRunStatus.STARTED)
    assert isinstance(sensed(failure_context(instance, run, "no")), SkipReason)


def test_the_registry_sensor_asks_for_a_new_graph_once_when_sources_came(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    declare(conn, "a")
    registry_sensor = sensor(conn, "registry_sensor")

    def tick(cursor: str | None) -> tuple[str, str | None]:
        context = build_sensor_context(instance=instance, definitions=defs(), resources={"fill": Fill()}, cursor=cursor)
        result = registry_sensor.evaluate_tick(context)
        return result.skip_message or "", result.cursor

    assert tick(None) == ("1 sources, all in the graph", None)
    declare(conn, "b", "c")
    words, cursor = tick(None)
    assert words.startswith("2 sources came, 0 went")
    assert cursor is not None
    again, same = tick(cursor)
    assert "restart it" in again
    assert same == cursor
    registry.set_active(conn, "a", False)
    assert tick(cursor)[1] == cursor


def test_the_deals_of_a_closed_cycle_are_looked_for_once(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    cycle = ensure_open(conn, edge, now=utc_now())
    assert ticked(conn, "deals_sensor", instance) == []
    conn.execute("UPDATE fill_cycles SET status = 'closed'")
    (request,) = ticked(conn, "deals_sensor", instance)
    assert (request.run_key, request.partition_key) == (f"{cycle.cycle_id}/deals", cycle.cycle_id)
    context = build_sensor_context(
        instance=instance, definitions=defs(), resources={"fill": Fill()}, cursor=cycle.cycle_id
    )
    assert not sensor(conn, "deals_sensor").evaluate_tick(context).run_requests


def test_the_schedule_opens_the_cycle_and_asks_for_its_first_action(
    edge: Settings, conn: Connection, instance: DagsterInstance
) -> None:
    declare(conn, "a")
    for tags, cycle_id in (({"dagster/schedule_name": fill_cycle_schedule.name}, ""), ({}, "+2")):
        assert fill_cycle.execute_in_process(instance=instance, resources={"fill": Fill()}, tags=tags).success
        cycle = cycles.open_one(conn)
        assert cycle is not None
        assert cycle.cycle_id == window_at(utc_now()).key + cycle_id
        assert statuses(conn, cycle.cycle_id) == [("harvest/0/1", "requested")]
        conn.execute("UPDATE fill_cycles SET status = 'closed'")
