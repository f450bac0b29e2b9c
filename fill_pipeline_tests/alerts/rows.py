"""Rows to judge: what cycles, sources and jobs leave behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from fill_pipeline.alerts.vitals import Disk
from fill_pipeline.alerts.watch import Look, watch
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.cycle.report import write_cycle_report
from fill_pipeline.cycle.summary import write_summaries
from fill_pipeline.cycle.window import LENGTH, Window
from fill_pipeline.db import cycles
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

START = datetime(2025, 12, 24, tzinfo=UTC)
ROOM = [Disk("data folder", 100 << 30, 200 << 30)]


@dataclass
class Rows:
    """Writes what cycles and sources leave behind, and has the watch look at it."""

    conn: Connection
    settings: Settings
    target: int = 100
    sources: dict[str, UUID] = field(default_factory=dict)

    def source(self, name: str, status: str = "live", reason: str | None = None) -> UUID:
        """A source."""
        row = self.conn.execute(
            "INSERT INTO scrape_sources (name, base_url, status, status_reason) VALUES (%s, %s, %s, %s) "
            "RETURNING id, slug",
            [name, f"https://{name}.example", status, reason],
        ).fetchone()
        assert row is not None
        self.sources[row[1]] = row[0]
        return cast(UUID, row[0])

    def cycle(
        self,
        number: int,
        added: int = 200,
        *,
        quality: float | None = 0.95,
        failing: tuple[str, ...] = (),
        **facts: Any,
    ) -> str:
        """A closed cycle, the ``number``-th window since START, with the health of every source."""
        window = Window(START + number * LENGTH)
        report = {"vehicles_touched": added, "quality_issues": facts.pop("issues", [])}
        self.conn.execute(
            "INSERT INTO fill_cycles (cycle_id, started_at, completed_at, window_start, window_end, target, status, "
            "vehicles_added, on_target, data_quality_score, report, errors, metadata) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                window.key, window.start, window.end - timedelta(minutes=10), window.start, window.end, self.target,
                facts.get("status", "closed"), added, added >= self.target, quality, json.dumps(report),
                facts.get("errors", []), json.dumps(facts.get("metadata", {})),
            ],
        )  # fmt: skip
        for slug, source_id in self.sources.items():
            self.conn.execute(
                "INSERT INTO source_health (source_id, cycle_id, status, reason, diagnosis, last_checked) "
                "VALUES (%s, %s, %s, %s, %s, %s)",
                [source_id, window.key, *(("failing", "90 of 90 pages failed", "unreachable") if slug in failing
                                          else ("healthy", "fine", None)), window.end],
            )  # fmt: skip
        return window.key

    def worked(self, number: int, added: int, *, quality: float, failing: Sequence[str] = ()) -> str:
        """A cycle opened, filled and reported as the system does it, from what its sources did.

        Every source gives as much as the others but for those that fail, whose pages all do.
        """
        window = Window(START + number * LENGTH)
        cycle = ensure_open(self.conn, self.settings, now=window.start + timedelta(seconds=5))
        given = [slug for slug in self.sources if slug not in failing]
        for slug, source_id in self.sources.items():
            n = 0 if slug in failing else added // len(given) + (given.index(slug) < added % len(given))
            self.conn.execute(
                "INSERT INTO vehicles (created_at, created_cycle, updated_at, updated_cycle, completeness) "
                "SELECT %(at)s, %(cycle)s, %(at)s, %(cycle)s, %(quality)s FROM generate_series(1, %(n)s)",
                {"at": window.start + timedelta(hours=1), "cycle": cycle.cycle_id, "quality": quality, "n": n},
            )
            self.conn.execute(
                "INSERT INTO import_queue (source_id, listing_url, url_hash, status, cycle_id, processed_at) "
                "SELECT %s, 'https://example.com', gen_random_uuid(), 'complete', %s, %s FROM generate_series(1, %s)",
                [source_id, cycle.cycle_id, window.start + timedelta(hours=1), n],
            )
            self.conn.execute(
                "INSERT INTO source_cycle_stats (source_id, cycle_id, index_pages, cards_seen, queued, pages_fetched, "
                "pages_failed, found, new, vehicles_added, quality_sum, quality_count, harvests, harvest_complete, "
                "failures, first_at, last_at) VALUES (%(source)s, %(cycle)s, %(index)s, %(n)s, %(n)s, %(n)s, "
                "%(failed)s, %(n)s, %(n)s, %(n)s, %(n)s * %(quality)s::float8, %(n)s, 1, %(whole)s, %(why)s, "
                "%(at)s, %(at)s)",
                {
                    "source": source_id, "cycle": cycle.cycle_id, "index": min(n, 2), "n": n, "whole": n > 0,
                    "quality": quality, "failed": 0 if n else 90, "why": "{}" if n else '{"timeout": 90}',
                    "at": window.start + timedelta(hours=1),
                },
            )  # fmt: skip
        self.conn.execute("UPDATE source_state SET last_harvest_at = %s", [window.start + timedelta(hours=1)])
        now = window.end - timedelta(minutes=10)
        write_cycle_report(self.conn, self.settings, cycle.cycle_id, now=now)
        write_summaries(self.conn, self.settings, window.start.date(), now=now)
        return cycle.cycle_id

    def open_cycle(self, number: int) -> str:
        """The cycle now open."""
        window = Window(START + number * LENGTH)
        cycles.open_cycle(
            self.conn,
            window.key,
            now=window.start,
            window_start=window.start,
            window_end=window.end,
            target=self.target,
        )
        return window.key

    def action(self, cycle_id: str, action: str, *, status: str, at: datetime, attempt: int = 1, **facts: Any) -> None:
        """An action of a cycle."""
        self.conn.execute(
            "INSERT INTO cycle_actions (cycle_id, action, attempt, reason, status, requested_at, started_at, "
            "heartbeat_at, error, outcome) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                cycle_id, action, attempt, facts.get("reason", "asked for"), status, at, at, at, facts.get("error"),
                json.dumps({"gained": facts.get("gained", 0)}),
            ],
        )  # fmt: skip

    def look(self, now: datetime, *, disks: list[Disk] | None = None, **settings: Any) -> Look:
        """One look of the watch."""
        chosen = self.settings.model_copy(update=settings)
        return watch(self.conn, chosen, now=now, disks=ROOM if disks is None else disks)

    def after(self, number: int, minutes: float = -5) -> datetime:
        """A moment so many minutes after the end of the ``number``-th window."""
        return START + (number + 1) * LENGTH + timedelta(minutes=minutes)

    def alerts(self) -> list[tuple[str, str, str]]:
        """Every alert written: (event, kind, subject)."""
        found = self.conn.execute(
            "SELECT a.event, i.kind, i.subject FROM alerts a JOIN incidents i ON i.id = a.incident_id ORDER BY a.id"
        ).fetchall()
        return [(row[0], row[1], row[2]) for row in found]

    def open(self) -> list[tuple[str, str]]:
        """What is open: (kind, subject)."""
        found = self.conn.execute(
            "SELECT kind, subject FROM incidents WHERE closed_at IS NULL ORDER BY 1, 2"
        ).fetchall()
        return [(row[0], row[1]) for row in found]
