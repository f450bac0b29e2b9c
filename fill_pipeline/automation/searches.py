"""Saved searches on Dagster: a sensor that follows their schedules, and a run for each of their jobs."""

from collections.abc import Iterator
from uuid import UUID

from dagster import (
    Config,
    DefaultSensorStatus,
    Failure,
    MetadataValue,
    OpExecutionContext,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SkipReason,
    job,
    op,
    sensor,
)
from pydantic import Field

from fill_pipeline.automation.requests import IN_FLIGHT
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.db import searches
from fill_pipeline.drain.search_schedule import create_jobs
from fill_pipeline.resources import SENSOR_SECONDS, Fill

SECONDS = 15
MOST_RUNS = 20
"""Runs asked for by one tick; the other jobs wait for the next."""
SEARCH_TAG = "fill/search"
JOB_TAG = "fill/search_job"


class SearchJobConfig(Config):
    """Which job to run."""

    job_id: str = Field(description="A row of offerup_jobs that waits")


@op
def search(context: OpExecutionContext, fill: Fill, config: SearchJobConfig) -> None:
    """Run one job of a saved search; the run fails when the job ends in error."""
    from fill_pipeline.cycle.searches import run_search

    result = run_search(UUID(config.job_id), fill.settings, run_id=context.run_id)
    if result is None:
        context.log.info(f"job {config.job_id} waits no more: another run has it, or it is done")
        return
    figures = {name: MetadataValue.text(str(value)) for name, value in result.items() if value is not None}
    if result["error"]:
        raise Failure(f"search {result['search']!r}: {result['error']}", metadata=figures, allow_retries=False)
    context.add_output_metadata(figures)
    context.log.info(f"search {result['search']!r} found {result['listings_found']}, {result['new_listings']} new")


@job(tags={"dagster/priority": "10"})
def run_saved_search() -> None:
    """Ask a source for what a saved search wants and store what matches."""
    search()


@sensor(
    job=run_saved_search,
    description="Queues a job for each due search, and a run for each job that waits (run_now first).",
    minimum_interval_seconds=SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
)
def search_sensor(context: SensorEvaluationContext, fill: Fill) -> Iterator[RunRequest | SkipReason]:
    """A job has one run at a time, and another one only after its worker died or gave it back."""
    now = utc_now()
    with fill.connect("search_sensor", statement_seconds=SENSOR_SECONDS) as conn:
        create_jobs(conn, now)
        waiting = searches.waiting_jobs(conn, now=now)[:MOST_RUNS]
    asked = 0
    for waits in waiting:
        in_flight = RunsFilter(tags={JOB_TAG: str(waits.id)}, statuses=IN_FLIGHT)
        if context.instance.get_run_ids(in_flight, limit=1):
            continue
        asked += 1
        yield RunRequest(
            run_config={"ops": {"search": {"config": {"job_id": str(waits.id)}}}},
            tags={SEARCH_TAG: str(waits.search_id), JOB_TAG: str(waits.id)},
        )
    if not asked:
        yield SkipReason(f"{len(waiting)} jobs have their runs" if waiting else "no search is due")
