"""From an action of the plan to a run: which job, which assets, which tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dagster import AssetKey, DagsterInstance, DagsterRunStatus, RunRequest, RunsFilter

from fill_pipeline.assets.catalogue import PREFIX, UNLISTED, Catalogue
from fill_pipeline.assets.windows import CYCLE_TAG
from fill_pipeline.cycle.lifecycle import requested
from fill_pipeline.cycle.state import Action, ActionKind
from fill_pipeline.cycle.window import window_of_key
from fill_pipeline.db import counters, cycles, registry
from fill_pipeline.db.connect import Connection

ACTION_TAG = "fill/action"
LANE_TAG = "fill/lane"
# Ahead of backfills and of what people start by hand; never retried by Dagster, since the plan does that.
PLAN_TAGS = {"dagster/priority": "10", "dagster/max_retries": "0"}
IN_FLIGHT = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.MANAGED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
# The job that carries an action out, and the step that reads its configuration.
JOBS = {
    ActionKind.DRAIN: ("drain", "sources"),
    ActionKind.HARVEST: ("harvest", "sources"),
    ActionKind.REPAIR: ("repair", "source_repairs"),
    ActionKind.DISCOVER: ("discover", "discovered_sources"),
    ActionKind.IMPROVE: ("improve", "vehicle_repairs"),
    ActionKind.CLOSE: ("close_cycle", "fill_cycle_report"),
}


def wanted_runs(
    conn: Connection, instance: DagsterInstance, catalogue: Catalogue, kinds: Iterable[ActionKind]
) -> Iterator[RunRequest]:
    """A run for each action of these kinds that the open cycle has requested and nobody has begun.

    Reading the requests back from the table, and not only those the last tick made, lets a request survive
    a daemon killed between recording it and starting its run; the run key keeps it to one run. Nothing is
    asked for while a run for that window and action (a lane) is in flight.
    """
    cycle = cycles.open_one(conn)
    if cycle is None:
        return
    for action in requested(conn, cycle.cycle_id):
        if action.kind not in kinds:
            continue
        if not instance.get_run_ids(
            RunsFilter(tags={LANE_TAG: lane(cycle.cycle_id, action)}, statuses=IN_FLIGHT), limit=1
        ):
            yield run_request(cycle.cycle_id, action, _selection(conn, catalogue, action))


def run_request(cycle_id: str, action: Action, selection: list[AssetKey] | None) -> RunRequest:
    """The run of an action; its key names window, action, level and attempt, since a key works once ever."""
    job, step = JOBS[action.kind]
    return RunRequest(
        run_key=f"{cycle_id}/{action.key}",
        job_name=job,
        partition_key=window_of_key(cycle_id).key,
        asset_selection=selection,
        run_config={"ops": {step: {"config": {"cycle_id": cycle_id, "action": action.key}}}},
        tags={CYCLE_TAG: cycle_id, ACTION_TAG: action.key, LANE_TAG: lane(cycle_id, action), **PLAN_TAGS},
    )


def lane(cycle_id: str, action: Action) -> str:
    """What may run only once at a time: a drain shard, or anything else a cycle does."""
    return f"{cycle_id}/drain/{action.level}" if action.kind is ActionKind.DRAIN else cycle_id


def _selection(conn: Connection, catalogue: Catalogue, action: Action) -> list[AssetKey] | None:
    """The sources an action is about and the vehicles they feed; None stands for the whole job."""
    if action.kind is ActionKind.HARVEST:
        slugs = set(action.parameters.get("slugs", ()))
        chosen = [s for s in registry.sources(conn) if s.slug in slugs]
    elif action.kind is ActionKind.DRAIN:
        waiting = counters.by_scope(conn, "queue.pending")
        chosen = [s for s in registry.sources(conn) if waiting.get(str(s.id), 0) > 0]
    else:
        return None
    return [*(catalogue.keys_of(chosen) or [AssetKey([PREFIX, UNLISTED])]), AssetKey(["vehicles"])]
