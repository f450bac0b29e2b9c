"""A whole fill cycle in one process: assess, plan, act, until the plan closes it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import psycopg

from fill_pipeline.crawl.archive import ArchiveFullError
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import open_by_hand, policy_of, requested, tick
from fill_pipeline.cycle.perform import Outcome, in_a_line, perform
from fill_pipeline.cycle.state import Action, ActionKind
from fill_pipeline.db import cycles
from fill_pipeline.db.connect import connect_again
from fill_pipeline.db.cycles import CycleClosedError
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import DatabaseUnavailableError, database_url
from fill_pipeline.drain.arenas import bound_arenas, forget_pages
from fill_pipeline.drain.worker import WorkersDieError
from fill_pipeline.settings import Settings

log = logging.getLogger(__name__)
IDLE_SECONDS = 1.0
GLANCE_SECONDS = 0.1  # how soon an idle cycle sees that it should stop
TOLD_IN_A_LINE = (
    psycopg.OperationalError,
    DatabaseUnavailableError,
    ArchiveFullError,
    WorkersDieError,
    CycleClosedError,
)
"""What is wrong around us, and the line says it; of a fault of ours the traceback is needed."""


class CycleNotClosedError(RuntimeError):
    """A cycle's account cannot be written; the message says why."""


OnAction = Callable[[Action, Outcome | None], None]
OnProgress = Callable[[dict[str, Any]], None]


def run_cycle(
    settings: Settings,
    *,
    wait: bool = False,
    now_fn: Callable[[], datetime] = utc_now,
    should_stop: Callable[[], bool] = lambda: False,
    on_action: OnAction | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any] | None:
    """Run one cycle to its end and return its report; None when told to stop before.

    Joins the cycle that is open, if any, beside whoever else works on it. ``wait`` keeps a cycle below
    target open for what later minutes may bring. A failing action is recorded and the plan goes on, and so it does
    when the database was away for a while.

    Raises:
        CycleNotClosedError: its account could not be written, time after time.
        psycopg.OperationalError: the database is away for longer than a restart takes.
    """
    bound_arenas()  # before any thread has a heap of its own
    migrate(database_url(settings))
    policy = policy_of(settings, wait=wait)
    cycle_id: str | None = None

    def act(action: Action) -> None:
        assert cycle_id is not None
        if on_action is not None:
            on_action(action, None)
        try:
            outcome = perform(
                action,
                cycle_id=cycle_id,
                settings=settings,
                now_fn=now_fn,
                should_stop=should_stop,
                progress=on_progress,
            )
        except Exception as error:
            outcome = Outcome(cycle_id, action, details={"error": in_a_line(error)})
            if not isinstance(error, TOLD_IN_A_LINE):
                log.exception("%s failed", action.kind)
            if action.kind is ActionKind.CLOSE and action.attempt >= policy.max_attempts:
                raise CycleNotClosedError(f"cycle {cycle_id} could not be closed: {in_a_line(error)}") from error
        if on_action is not None:
            on_action(action, outcome)

    while not should_stop():
        # A connection for each turn: the one before may have been cut while the actions were at work.
        with connect_again(database_url(settings), name="fill cycle") as conn:
            try:
                if cycle_id is None:
                    cycle_id = open_by_hand(conn, settings, now=now_fn()).cycle_id
                cycle = cycles.cycle(conn, cycle_id)
                assert cycle is not None
                if cycle.status != "open":
                    forget_pages()
                    return cycle.report
                tick(conn, settings, now=now_fn(), policy=policy)
                actions = requested(conn, cycle_id)
            except psycopg.OperationalError as error:
                if not conn.broken:
                    raise
                log.warning("the connection to the database was lost (%s); the cycle goes on", error)
                continue
        if not actions:
            _idle(should_stop)
            continue
        with ThreadPoolExecutor(len(actions)) as pool:
            list(pool.map(act, actions))
    return None


def _idle(should_stop: Callable[[], bool]) -> None:
    until = time.monotonic() + IDLE_SECONDS
    while time.monotonic() < until and not should_stop():
        time.sleep(GLANCE_SECONDS)
