"""Rules learned for single sources: what they are learned and judged from, and how each fared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from fill_pipeline.db.connect import Connection, queries

_sql = queries("rules")


class RuleStatus(StrEnum):
    """How a learned rule stands."""

    APPLIED = "applied"  # it is part of the source's configuration
    NOT_PROVEN = "not_proven"  # a replay did not bear it out
    TAKEN_BACK = "taken_back"  # it was applied, and refused what was right or had nothing more to do


@dataclass(frozen=True, slots=True)
class RecentValues:
    """What one listing said of the fields that rules are learned for."""

    url: str
    remote_id: str
    postal_code: str | None
    year: int | None
    price: int | None
    mileage: int | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A listing as it stands: its values, its evidence (layer, locator, confidence) by field, and its page."""

    archive_id: int | None
    provenance: dict[str, Sequence[Any]]
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RuleAtWork:
    """An applied rule: the share of a cycle's listings that it ``refused``, and the one that was ``expected``."""

    id: int
    source_id: UUID
    rule: str
    field: str
    value: Any
    judged_at: datetime
    refused: float
    expected: float


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A learned rule for people: how it stands and why, what was expected of it and what it did."""

    slug: str
    rule: str
    field: str
    value: Any
    status: str
    reason: str
    expectation: dict[str, Any]
    outcome: dict[str, Any]


def to_learn(conn: Connection, cycle_id: str, n: int, *, before: datetime, accuracy: float | None) -> list[UUID]:
    """At most ``n`` sources of a cycle for which no rules were looked for since ``before``.

    With an ``accuracy`` (0 to 1) only those that give doubtful values: a field agrees with the VINs more rarely than
    that, or more than one value in fifty of it was set aside.
    """
    return [row[0] for row in _sql.to_learn(conn, cycle_id=cycle_id, n=n, before=before, accuracy=accuracy)]


def note_learned(conn: Connection, source_id: UUID, *, now: datetime) -> None:
    """Rules were looked for."""
    _sql.note_learned(conn, source_id=source_id, now=now)


def recent_values(conn: Connection, source_id: UUID, n: int) -> list[RecentValues]:
    """What at most ``n`` listings of a source say that changed in its latest 84 cycles."""
    return [RecentValues(*row) for row in _sql.recent_values(conn, source_id=source_id, n=n)]


def stored_values(conn: Connection, source_id: UUID, remote_ids: Sequence[str]) -> dict[str, Stored]:
    """By remote id how these listings of a source stand."""
    rows = _sql.stored_values(conn, source_id=source_id, remote_ids=list(remote_ids))
    return {row[0]: Stored(*row[1:]) for row in rows}


def stated_elsewhere(conn: Connection, vins: Sequence[str], *, but: UUID) -> dict[str, list[dict[str, Any]]]:
    """By VIN the values of a few listings of other sources than ``but``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for vin, values in _sql.stated_elsewhere(conn, vins=list(vins), but=but):
        found.setdefault(vin, []).append(values)
    return found


def add_rule(
    conn: Connection,
    source_id: UUID,
    rule: str,
    field: str,
    value: Any,
    status: RuleStatus,
    reason: str,
    *,
    expectation: dict[str, Any],
    cycle_id: str,
    now: datetime,
) -> None:
    """Keep a proposed rule and what came of it."""
    _sql.add_rule(
        conn,
        source_id=source_id,
        rule=rule,
        field_name=field,
        value=orjson.dumps(value).decode(),
        status=str(status),
        reason=reason[:1000],
        expectation=orjson.dumps(expectation).decode(),
        cycle_id=cycle_id,
        now=now,
    )


def judge_rule(
    conn: Connection,
    rule_id: int,
    status: RuleStatus,
    reason: str,
    *,
    outcome: dict[str, Any],
    cycle_id: str,
    now: datetime,
) -> None:
    """Keep what an applied rule did, and whether it stays."""
    _sql.judge_rule(
        conn,
        id=rule_id,
        status=str(status),
        reason=reason[:1000],
        outcome=orjson.dumps(outcome).decode(),
        cycle_id=cycle_id,
        now=now,
    )


def rules_lately(conn: Connection, source_id: UUID, since: datetime) -> dict[tuple[str, str], str]:
    """By rule and field how the last one stands that is applied or changed since then."""
    return {(row[0], row[1]): row[2] for row in _sql.rules_lately(conn, source_id=source_id, since=since)}


def rules_at_work(conn: Connection, cycle_id: str, *, least: int) -> list[RuleAtWork]:
    """The applied rules of sources of which at least so many listings were judged in a cycle, busiest first."""
    return [RuleAtWork(*row) for row in _sql.rules_at_work(conn, cycle_id=cycle_id, least=least)]


def rules_of_cycle(conn: Connection, cycle_id: str, n: int) -> list[RuleRow]:
    """What became of learned rules in a cycle."""
    return [RuleRow(*row) for row in _sql.rules_of_cycle(conn, cycle_id=cycle_id, n=n)]


def rules_of_source(conn: Connection, source_id: UUID, n: int) -> list[RuleRow]:
    """A source's learned rules, the last changed first."""
    return [RuleRow(*row) for row in _sql.rules_of_source(conn, source_id=source_id, n=n)]
