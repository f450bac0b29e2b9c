"""The registry of sources and their pace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from fill_pipeline.db.connect import Connection, queries
from fill_pipeline.db.seal import seal_config

_sql = queries("registry")


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row of ``scrape_sources``."""

    id: UUID
    slug: str
    name: str
    kind: str
    base_url: str
    config: dict[str, Any]
    config_version: int
    active: bool
    status: str
    status_reason: str | None
    config_error: str | None
    asset_group: str | None
    expected_count: int | None
    discovered_via: str | None
    note: str | None
    created_at: datetime

    @property
    def crawlable(self) -> bool:
        """Whether it may be crawled at all."""
        return self.active and self.status in ("live", "trial") and self.config_error is None


@dataclass(frozen=True, slots=True)
class ConfigVersion:
    """One config a source ever had."""

    version: int
    config: dict[str, Any]
    made_by: str
    reason: str | None
    measured_score: float | None
    restored_from: int | None
    live: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RobotsRow:
    """An origin's robots.txt as last had (``fetched_at`` None: never), and the failure to have it since, if any."""

    status: int
    body: str
    fetched_at: datetime | None
    failed_status: int | None
    failed_at: datetime | None


def sources(conn: Connection) -> list[SourceRow]:
    """Every source, by slug."""
    return [SourceRow(*row) for row in _sql.all_sources(conn, only_slug=None)]


def find_source(conn: Connection, slug_or_name: str) -> SourceRow | None:
    """The source of that slug or name."""
    rows = [SourceRow(*row) for row in _sql.all_sources(conn, only_slug=slug_or_name)]
    return rows[0] if rows else None


def declare_source(
    conn: Connection,
    *,
    name: str,
    base_url: str,
    config: dict[str, Any],
    kind: str,
    active: bool = True,
    status: str = "live",
    note: str | None = None,
    asset_group: str | None = None,
    expected_count: int | None = None,
    discovered_via: str | None = None,
    discovered_at: datetime | None = None,
    made_by: str = "operator",
    reason: str = "",
) -> SourceRow:
    """Insert a source, or bring it to this declaration; an operator's pause is kept. Returns it as it stands."""
    with conn.transaction():
        _name_author(conn, made_by, reason)
        list(
            _sql.upsert_source(
                conn,
                name=name,
                base_url=base_url,
                config=orjson.dumps(seal_config(config)).decode(),
                active=active,
                kind=kind,
                status=status,
                note=note,
                asset_group=asset_group,
                expected_count=expected_count,
                discovered_via=discovered_via,
                discovered_at=discovered_at,
            )
        )
    found = find_source(conn, name)
    assert found is not None
    return found


def change_config(
    conn: Connection,
    source_id: UUID,
    config: dict[str, Any],
    *,
    made_by: str,
    reason: str,
    score: float | None = None,
    restored_from: int | None = None,
) -> None:
    """Make this config the live one, as a new version."""
    with conn.transaction():
        _name_author(conn, made_by, reason, score, restored_from)
        _sql.set_config(conn, source_id=source_id, config=orjson.dumps(seal_config(config)).decode())


def move(
    conn: Connection, source_id: UUID, base_url: str, config: dict[str, Any], *, made_by: str, reason: str
) -> None:
    """Give a source another address, as a new version also where its config needs no change."""
    with conn.transaction():
        before = _sql.version_of(conn, source_id=source_id)
        _name_author(conn, made_by, reason)
        sealed = orjson.dumps(seal_config(config)).decode()
        _sql.move_source(conn, source_id=source_id, base_url=base_url, config=sealed)
        if _sql.version_of(conn, source_id=source_id) == before:
            _sql.retire_version(conn, source_id=source_id)
            _sql.add_version(conn, source_id=source_id, made_by=made_by, reason=reason)


def roll_back(conn: Connection, source_id: UUID, version: int, *, made_by: str, reason: str) -> bool:
    """Bring back an earlier config as a new version; False when there is no such version."""
    config = _sql.version_config(conn, source_id=source_id, version=version)
    if config is None:
        return False
    change_config(conn, source_id, config, made_by=made_by, reason=reason, restored_from=version)
    return True


def versions(conn: Connection, source_id: UUID) -> list[ConfigVersion]:
    """Every config this source had, oldest first."""
    return [ConfigVersion(*row) for row in _sql.versions(conn, source_id=source_id)]


def seal_secrets(conn: Connection, source: SourceRow) -> SourceRow:
    """Seal what of this source's configs, past ones too, was written as plain text; returns it as it stands.

    That makes a new version, equal but for the sealing.
    """
    if seal_config(source.config) == source.config:
        return source
    with conn.transaction():
        change_config(conn, source.id, source.config, made_by="fill", reason="secrets sealed")
        for past in versions(conn, source.id):
            config = orjson.dumps(seal_config(past.config)).decode()
            _sql.set_version_config(conn, source_id=source.id, version=past.version, config=config)
    return find_source(conn, source.slug) or source


def set_active(conn: Connection, slug: str, active: bool) -> bool:
    """Pause or resume; False when there is no such source."""
    return int(_sql.set_active(conn, slug=slug, active=active)) > 0


def set_status(conn: Connection, source_id: UUID, status: str, reason: str) -> None:
    """Move a source in its life: candidate, trial, live, quarantined, retired."""
    _sql.set_status(conn, source_id=source_id, status=status, reason=reason)


def set_config_error(conn: Connection, source_id: UUID, error: str | None) -> None:
    """Say that a config cannot be used (it is then not crawled), or that it can again."""
    _sql.set_config_error(conn, source_id=source_id, error=error)


def is_active(conn: Connection, source_id: UUID) -> bool:
    """Whether this source may be crawled at this moment."""
    return bool(_sql.is_active(conn, source_id=source_id))


def stopped_sources(conn: Connection, source_ids: Iterable[UUID]) -> set[UUID]:
    """Which of these may no longer be crawled."""
    return {row[0] for row in _sql.stopped_sources(conn, source_ids=list(source_ids))}


def note_harvest(conn: Connection, source_id: UUID, *, now: datetime, expected: int | None) -> None:
    """A harvest ended; ``expected`` is the number of listings the site says it has."""
    _sql.note_harvest(conn, source_id=source_id, now=now)
    if expected is not None:
        _sql.note_expected(conn, source_id=source_id, expected=expected)


def robots_of(conn: Connection, origin: str) -> RobotsRow | None:
    """What is known of this origin's robots.txt, or None."""
    rows = list(_sql.robots_of(conn, origin=origin))
    return RobotsRow(*rows[0]) if rows else None


def save_robots(conn: Connection, origin: str, *, status: int, body: str, fetched_at: datetime) -> None:
    """Keep a robots.txt for every worker to read."""
    _sql.save_robots(conn, origin=origin, status=status, body=body.replace("\x00", ""), fetched_at=fetched_at)


def save_robots_failure(conn: Connection, origin: str, *, status: int, failed_at: datetime) -> None:
    """An origin's robots.txt could not be had; what was had of it before is kept."""
    _sql.save_robots_failure(conn, origin=origin, status=status, failed_at=failed_at)


def _name_author(
    conn: Connection, made_by: str, reason: str, score: float | None = None, restored_from: int | None = None
) -> None:
    list(
        _sql.name_author(
            conn,
            made_by=made_by,
            reason=reason,
            score="" if score is None else str(score),
            restored_from="" if restored_from is None else str(restored_from),
        )
    )
