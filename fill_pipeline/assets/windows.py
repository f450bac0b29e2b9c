"""The partitions of every asset of the cycle: its two-hour windows."""

from __future__ import annotations

from datetime import UTC, datetime

from dagster import AssetCheckExecutionContext, AssetExecutionContext, TimeWindowPartitionsDefinition

from fill_pipeline.cycle.window import CRON, KEY_FORMAT
from fill_pipeline.db import cycles
from fill_pipeline.db.connect import Connection

FIRST = datetime(2025, 1, 1, tzinfo=UTC)
WINDOWS = TimeWindowPartitionsDefinition(
    start=FIRST,
    cron_schedule=CRON,
    fmt=KEY_FORMAT,
    timezone="UTC",
    end_offset=1,  # the window now running is a partition too
)
CYCLE_TAG = "fill/cycle"


def cycle_of(context: AssetExecutionContext | AssetCheckExecutionContext, conn: Connection) -> str:
    """The cycle a run is about: the one its tag names, else the last one of its window."""
    tagged = context.run.tags.get(CYCLE_TAG)
    if tagged:
        return tagged
    of_window = cycles.cycles_of_window(conn, context.partition_key)
    return of_window[-1] if of_window else context.partition_key
