"""Rows to judge: what cycles, sources and jobs leave behind."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from fill_pipeline.alerts.vitals import Disk
from fill_pipeline.alerts.watch import Look, watch
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
