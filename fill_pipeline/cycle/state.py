"""What the brain sees: the assessed state of one cycle, and the actions it can ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


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
    """An action of this cycle so far; ``gained`` is the number of queue rows and listings it moved."""

    kind: ActionKind
    level: int
    attempt: int
    status: ActionStatus
    gained: int = 0
    finished_at: datetime | None = None

    @property
    def in_flight(self) -> bool:
        """Whether it still runs or is about to."""
        return self.status in (ActionStatus.REQUESTED, ActionStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source as the brain sees it. ``broken``: it fails, or still gives something but was redesigned."""

    slug: str
    crawlable: bool
    failing: bool = False
    broken: bool = False
    due: bool = True
    harvests: int = 0
    complete: bool = False
    breaker_open: bool = False


@dataclass(frozen=True, slots=True)
class CycleState:
    """Everything the next decision depends on. Times are UTC. ``limited``: only what a person asked for is done."""

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

    ``patience`` is how long a ready page may lie in the future and still be waited for; ``rest`` the
    shortest time between two harvests of a source within a cycle; ``wait`` whether a cycle below
    target stays open for that rest (a scheduled one does, a one-shot command does not).
    """

    shards: int = 1
    pages_per_shard: int = 5000
    patience: timedelta = timedelta(seconds=45)
    rest: timedelta = timedelta(minutes=30)
    wait: bool = False
    max_attempts: int = 3
    max_discoveries: int = 2
    closing_time: timedelta = timedelta(minutes=5)
