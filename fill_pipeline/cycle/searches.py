"""Saved searches as a part of the fill: their jobs feed the open cycle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import open_by_hand
from fill_pipeline.db import searches
from fill_pipeline.db.connect import connect
from fill_pipeline.db.server import database_url
from fill_pipeline.drain.owner import owner
from fill_pipeline.drain.searches import run_search_job
from fill_pipeline.drain.work import Work
from fill_pipeline.settings import Settings

LONGEST = timedelta(minutes=30)
"""How long one job may run; what it has not read by then is left for the next tick."""


def run_search(
    job_id: UUID,
    settings: Settings,
    *,
    run_id: str | None = None,
    now_fn: Callable[[], datetime] = utc_now,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Run one waiting job; returns the result written to it, None where it waits no more.

    What it finds counts for the open cycle, or for an extra one that drains and closes when this window's
    is closed.
    """
    now, url = now_fn(), database_url(settings)
    with connect(url, name="fill search") as conn:
        job = next((job for job in searches.waiting_jobs(conn, now=now) if job.id == job_id), None)
        if job is None:
            return None
        cycle = open_by_hand(conn, settings, now=now, limited=True)
    work = Work(settings, url, cycle.cycle_id, owner("search"), now_fn, now + LONGEST, should_stop)
    return run_search_job(work, job, run_id=run_id)
