"""What the brain sees: the assessed state of one cycle, and the actions it can ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from fill_pipeline.cycle.levers import Bounds, Lever, Record


class ActionKind(StrEnum):
    """The rungs of the ladder (document 1), in the order they are tried."""

    DRAIN = "drain"  # process the import queue
    HARVEST = "harvest"  # read sources' index pages, and drain what they give
    REPAIR = "repair"  # diagnose failing sources and mend what can be mended
    DISCOVER = "discover"  # find new sources and take them on trial
    IMPROVE = "improve"  # measure quality and fix data
    CLOSE = "close"  # write the account and end the cycle


class ActionStatus(StrEnum):
    """Where a requested action stands."""

    REQUESTED = "requested"  # asked for, not yet begun
    RUNNING = "running"  # at work, with a heartbeat
    DONE = "done"  # ended well
    FAILED = "failed"  # ended badly, or its process died


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do next. Equal (kind, level, attempt) within a cycle is the same action."""

    kind: ActionKind
    level: int
    attempt: int
    reason: str
    parameters: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        """Its name within the cycle."""
        return f"{self.kind}/{self.level}/{self.attempt}"

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


@dataclass(frozen=True, slots=True)
class PastAction:
    """An action of this cycle so far; ``gained`` is the number of queue rows and listings it moved.

    ``lever`` is what it turned up, ``vehicles`` what it added.
    """

    kind: ActionKind
    level: int
    attempt: int
    status: ActionStatus
    gained: int = 0
    finished_at: datetime | None = None
    vehicles: int = 0
    lever: Lever | None = None

    @property
    def in_flight(self) -> bool:
        """Whether it still runs or is about to."""
        return self.status in (ActionStatus.REQUESTED, ActionStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source as the brain sees it. ``broken``: it fails, or still gives something but was redesigned.

    ``hopeless``: it fails for so long that it is given up. ``cut_short``: its harvest ended at a limit of ours.
    """

    slug: str
    crawlable: bool
    failing: bool = False
    broken: bool = False
    due: bool = True
    harvests: int = 0
    complete: bool = False
    breaker_open: bool = False
    vehicles_added: int = 0
    cut_short: bool = False
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class CycleState:
    """Everything the next decision depends on. Times are UTC. ``limited``: only what a person asked for is done.

    ``record`` says how the levers did; ``loss`` is what sources given up were worth and nothing has replaced, in
    vehicles a day times quality.
    """

    cycle_id: str
    open: bool
    deadline: datetime
    target: int
    vehicles_added: int = 0
    vehicles_queued: int = 0
    pending: int = 0
    processing: int = 0
    dead: int = 0
    next_ready_at: datetime | None = None
    quality: float | None = None
    quality_target: float = 0.9
    total_vehicles: int = 0
    limited: bool = False
    untried_candidates: int = 0
    sources: tuple[SourceState, ...] = ()
    actions: tuple[PastAction, ...] = ()
    record: Record = field(default_factory=Record)
    loss: float = 0.0

    @property
    def gap(self) -> int:
        """Vehicles still to add; 0 on target."""
        return max(0, self.target - self.vehicles_added)

    @property
    def on_target(self) -> bool:
        """Whether this cycle's vehicles alone reach the target."""
        return self.vehicles_added >= self.target

    def past(self, kind: ActionKind, level: int | None = None) -> list[PastAction]:
        """This cycle's actions of a kind (and level), in order."""
        return [a for a in self.actions if a.kind == kind and (level is None or a.level == level)]


@dataclass(frozen=True, slots=True)
class Policy:
    """The bounds the brain works in.

    ``patience`` is how long a ready page may lie in the future and still be waited for; ``wait`` whether a cycle below
    target stays open until its sources may be harvested again (a scheduled one does, a one-shot command does not). A
    queue of ``deep_queue`` pages is worth turning up the drain for; a loss of less than ``least_loss`` vehicles a day
    is borne; while quality is low, rules for up to ``learners`` sources a cycle are learned. What failed is tried
    again after ``retry_pause`` at the soonest.
    """

    shards: int = 1
    pages_per_shard: int = 5000
    patience: timedelta = timedelta(seconds=45)
    wait: bool = False
    max_attempts: int = 3
    retry_pause: timedelta = timedelta(seconds=10)
    max_discoveries: int = 2
    closing_time: timedelta = timedelta(minutes=5)
    cycle: timedelta = timedelta(hours=2)
    deep_queue: int = 1000
    least_loss: float = 1.0
    learners: int = 20
    bounds: Bounds = field(default_factory=Bounds)
