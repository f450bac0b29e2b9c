"""The jobs: one that opens and assesses a cycle, one for each kind of action, and housekeeping."""

from datetime import timedelta

from dagster import (
    AssetSelection,
    Config,
    OpExecutionContext,
    RunsFilter,
    define_asset_job,
    job,
    op,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from pydantic import Field

from fill_pipeline.assets.catalogue import PREFIX
from fill_pipeline.assets.reports import REPORTS
from fill_pipeline.assets.vehicles import VEHICLES
from fill_pipeline.automation.requests import IN_FLIGHT
from fill_pipeline.automation.searches import run_saved_search
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import ensure_open, open_by_hand, policy_of, tick
from fill_pipeline.resources import Fill

ASSESS_TIMEOUT = 300  # seconds; document 1, "Cron Schedule"
SCHEDULE_TAG = "dagster/schedule_name"
PRUNE_BATCH = 500


@op
def assess(context: OpExecutionContext, fill: Fill) -> None:
    """Open this window's cycle (by hand: an extra one, if it is over), assess it, and ask for what comes next."""
    now = utc_now()
    scheduled = SCHEDULE_TAG in context.run.tags
    with fill.connect("assess") as conn:
        cycle = (ensure_open if scheduled else open_by_hand)(conn, fill.settings, now=now)
        asked = tick(conn, fill.settings, now=now, policy=policy_of(fill.settings, wait=waits(cycle.cycle_id)))
    context.log.info(f"cycle {cycle.cycle_id} is {cycle.status}; asked for: {[str(a) for _, a in asked] or 'nothing'}")


def waits(cycle_id: str) -> bool:
    """Whether a cycle below target stays open for later chances; one run by hand would keep the next window waiting."""
    return "+" not in cycle_id


@job(tags={"dagster/max_runtime": str(ASSESS_TIMEOUT), "dagster/priority": "20"})
def fill_cycle() -> None:
    """Open a cycle and assess it; sensors then carry out what the plan asks for."""
    assess()


def _asset_job(name: str, selection: AssetSelection, words: str) -> UnresolvedAssetJobDefinition:
    return define_asset_job(name, selection=selection, description=words)


_SOURCES = AssetSelection.key_prefixes(PREFIX) | AssetSelection.assets(VEHICLES)
harvest = _asset_job("harvest", _SOURCES, "Read sources' index pages and drain what they give.")
drain = _asset_job("drain", _SOURCES, "Fetch the pages that wait in the queue.")
discover = _asset_job("discover", AssetSelection.assets("discovered_sources"), "Find new sources.")
repair = _asset_job("repair", AssetSelection.assets("source_repairs"), "Diagnose failing sources and mend them.")
improve = _asset_job("improve", AssetSelection.assets("vehicle_repairs"), "Mend data.")
close_cycle = _asset_job(
    "close_cycle", AssetSelection.assets(VEHICLES, *REPORTS), "Check the vehicles, write the report, end the cycle."
)
find_deals = _asset_job("find_deals", AssetSelection.assets("arbitrage_valuations"), "Value new and changed listings.")
write_report = _asset_job("write_report", AssetSelection.assets(*REPORTS), "Write reports again, errors included.")


class PruneConfig(Config):
    """How long Dagster remembers."""

    run_days: int = Field(default=30, ge=1, description="Runs and their events are deleted after so many days")
    max_runs: int = Field(default=20_000, ge=1, description="The most to delete in one go")


@op
def prune(context: OpExecutionContext, config: PruneConfig) -> int:
    """Delete old runs with their events and logs; returns how many. Nothing else bounds Dagster's event log."""
    instance, deleted = context.instance, 0
    old = RunsFilter(created_before=utc_now() - timedelta(days=config.run_days))
    while deleted < config.max_runs:
        runs = [r.dagster_run for r in instance.get_run_records(old, limit=PRUNE_BATCH, ascending=True)]
        ended = [run for run in runs if run.status not in IN_FLIGHT]
        for run in ended:
            instance.delete_run(run.run_id)
            instance.compute_log_manager.delete_logs(prefix=[run.run_id])
        deleted += len(ended)
        if not ended:
            break
    context.log.info(f"{deleted} runs older than {config.run_days} days deleted")
    return deleted


@job
def prune_dagster() -> None:
    """Keep Dagster's own tables and logs from growing for ever."""
    prune()


ACTION_JOBS = (harvest, drain, discover, repair, improve, close_cycle)
JOBS = (fill_cycle, *ACTION_JOBS, find_deals, run_saved_search, write_report, prune_dagster)
