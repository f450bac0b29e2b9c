"""The schedules: a cycle every two hours, and housekeeping every night."""

from __future__ import annotations

from dagster import DefaultScheduleStatus, RunRequest, ScheduleDefinition, ScheduleEvaluationContext, schedule

from fill_pipeline.automation.jobs import fill_cycle, prune_dagster
from fill_pipeline.cycle.window import CRON, window_at


@schedule(
    job=fill_cycle,
    cron_schedule=CRON,
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Opens the cycle of each two-hour window and assesses it.",
)
def fill_cycle_schedule(context: ScheduleEvaluationContext) -> RunRequest:
    key = window_at(context.scheduled_execution_time).key
    return RunRequest(run_key=key, tags={"fill/cycle": key})


prune_schedule = ScheduleDefinition(
    name="prune_schedule",
    job=prune_dagster,
    cron_schedule="40 3 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
)
SCHEDULES = (fill_cycle_schedule, prune_schedule)
