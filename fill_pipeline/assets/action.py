"""How a run knows what to do: an action of the plan, or nothing when a person materializes by hand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dagster import AssetExecutionContext, Config
from pydantic import Field

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import open_by_hand
from fill_pipeline.cycle.state import Action, ActionKind
from fill_pipeline.db import cycles, ledger
from fill_pipeline.db.connect import Connection
from fill_pipeline.resources import Fill

if TYPE_CHECKING:
    from fill_pipeline.cycle.perform import Outcome

LOG_SECONDS = 60.0


class ActionConfig(Config):
    """Which action of which cycle to carry out. Left empty, the asset is materialized by hand."""

    cycle_id: str = Field(default="", description="The cycle that asked, such as 2025-12-24-18:00")
    action: str = Field(default="", description="Kind, level and attempt of its action, such as harvest/0/1")

    @property
    def planned(self) -> bool:
        """Whether the plan asked for this run."""
        return bool(self.action)


def carry_out(context: AssetExecutionContext, config: ActionConfig, fill: Fill, kind: ActionKind) -> Outcome:
    """Perform the action that the plan asked for, or one of this kind recorded now for a run by hand."""
    from fill_pipeline.cycle.perform import perform  # the crawler's libraries; the code location stays light

    with fill.connect("action") as conn:
        if config.planned:
            cycle_id, action = config.cycle_id, requested_action(conn, config)
        else:
            cycle_id, action = _request_by_hand(conn, fill, kind)
    context.log.info(f"{cycle_id} {action}")
    return perform(
        action, cycle_id=cycle_id, settings=fill.settings, run_id=context.run.run_id, progress=progress_log(context)
    )


def requested_action(conn: Connection, config: ActionConfig) -> Action:
    """The action as the cycle recorded it.

    Raises:
        LookupError: the cycle has no such action.
    """
    for row in cycles.actions(conn, config.cycle_id):
        action = Action(ActionKind(row.action), row.level, row.attempt, row.reason, row.parameters)
        if action.key == config.action:
            return action
    raise LookupError(f"cycle {config.cycle_id!r} has no action {config.action!r}: leave both empty to run by hand")


def progress_log(context: AssetExecutionContext) -> Any:
    """A progress function that writes a line to the run's log once a minute."""
    last = time.monotonic()

    def log(so_far: dict[str, Any]) -> None:
        nonlocal last
        if time.monotonic() - last >= LOG_SECONDS:
            last = time.monotonic()
            context.log.info(", ".join(f"{name} {value}" for name, value in so_far.items()))

    return log


def _request_by_hand(conn: Connection, fill: Fill, kind: ActionKind) -> tuple[str, Action]:
    now = utc_now()
    cycle = open_by_hand(conn, fill.settings, now=now)
    states = ledger.source_states(conn, cycle.cycle_id, None)
    slugs = [s.slug for s in states if s.active] if kind is ActionKind.REPAIR else []
    attempt = 1 + max((a.attempt for a in cycles.actions(conn, cycle.cycle_id) if a.action == kind), default=0)
    action = Action(kind, 0, attempt, "materialized by hand", {"slugs": slugs} if slugs else {})
    cycles.request_action(
        conn,
        cycle.cycle_id,
        kind,
        level=0,
        attempt=attempt,
        reason=action.reason,
        parameters=action.parameters,
        now=now,
    )
    return cycle.cycle_id, action
