"""One piece of work: for which cycle, on which database, until when, and who wants to know how it goes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

from fill_pipeline.crawl.config import ConfigError, SourceConfig, parse_source_config
from fill_pipeline.crawl.fetch_settings import FetchSettings
from fill_pipeline.crawl.pagination import StopReason
from fill_pipeline.crawl.urls import origin
from fill_pipeline.db import pace, registry
from fill_pipeline.db.connect import Connection, connect_again
from fill_pipeline.db.ledger import SourceStats
from fill_pipeline.db.registry import SourceRow
from fill_pipeline.db.seal import SealError
from fill_pipeline.settings import Settings

MAX_SLOT_WAIT = timedelta(minutes=5)


@dataclass(frozen=True)
class Source:
    """A source ready to be crawled: its row and its checked configuration."""

    row: SourceRow
    config: SourceConfig

    @cached_property
    def id(self) -> UUID:
        """Its key in the database."""
        return self.row.id

    @cached_property
    def origin(self) -> str:
        """Where its secrets may be sent."""
        return origin(self.row.base_url)

    @property
    def slug(self) -> str:
        """Its short name."""
        return self.row.slug


class Totals:
    """What the work did so far, by source; safe to add to from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stats: dict[UUID, SourceStats] = defaultdict(SourceStats)

    def add(self, source_id: UUID, part: SourceStats) -> None:
        """Add a batch's part."""
        with self._lock:
            self._stats[source_id].add(part)

    def by_source(self) -> dict[UUID, SourceStats]:
        """A copy of the sums."""
        with self._lock:
            return dict(self._stats)

    def sum(self, name: str) -> int:
        """One figure over all sources."""
        with self._lock:
            return sum(int(getattr(stats, name)) for stats in self._stats.values())


@dataclass(frozen=True)
class Work:
    """What harvest, drain and replay share. ``deadline`` is UTC; ``owner`` names this worker in leases and files."""

    settings: Settings
    url: str
    cycle_id: str
    owner: str
    now_fn: Callable[[], datetime]
    deadline: datetime
    should_stop: Callable[[], bool] = lambda: False
    totals: Totals = field(default_factory=Totals)

    def connect(self, name: str) -> Connection:
        """A connection named in ``pg_stat_activity``; a server that restarts is waited for."""
        return connect_again(self.url, name=f"fill {name}")

    def stopping(self) -> bool:
        """Whether to leave off: told to, or out of time."""
        return self.should_stop() or self.now_fn() >= self.deadline

    def fetch_settings(self) -> FetchSettings:
        """The fetcher's limits from the settings."""
        return FetchSettings(
            allow_nets=self.settings.allow_nets,
            connect_to=self.settings.connect_to,
            user_agent=self.settings.user_agent,
            contact_url=self.settings.contact_url,
        )


def reserve_slot(conn: Connection, work: Work, source_id: UUID, n: int) -> float | StopReason:
    """Reserve ``n`` fetch times of a source: when the first is (monotonic), or why there is none soon."""
    now = work.now_fn()
    slots = pace.reserve_slots(conn, source_id, n, now=now)
    if not slots.within_budget:
        return StopReason.BUDGET
    if slots.first > now + MAX_SLOT_WAIT:
        return StopReason.HELD
    return time.monotonic() + max(0.0, (slots.first - now).total_seconds())


def load_sources(
    conn: Connection, *, crawlable_only: bool = True, known: Mapping[UUID, Source] | None = None
) -> dict[UUID, Source]:
    """Every crawlable source (or every one) with its configuration checked; the unusable are marked and left out.

    ``known`` is what the last call gave: what has not changed since is taken from there.
    """
    found: dict[UUID, Source] = {}
    for row in registry.sources(conn):
        if crawlable_only and not (row.active and row.status in ("live", "trial")):
            continue
        before = known.get(row.id) if known is not None else None
        if before is not None and before.row == row:
            found[row.id] = before
            continue
        try:
            row = registry.seal_secrets(conn, row)
            config = parse_source_config(row.config)
        except (ConfigError, SealError) as error:
            registry.set_config_error(conn, row.id, str(error))
            continue
        if row.config_error is not None:
            registry.set_config_error(conn, row.id, None)
        pace.set_pace(
            conn,
            row.id,
            delay_ms=round(config.delay_seconds * 1000),
            max_concurrency=config.rate_limit.max_concurrency,
            daily_requests=config.limits.daily_requests,
        )
        found[row.id] = Source(row, config)
    return found
