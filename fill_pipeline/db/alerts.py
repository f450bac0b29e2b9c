"""The outbox: what people are to be told, and how far it got through each channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from fill_pipeline.db.connect import Connection, queries

_sql = queries("alerts")


class DeliveryStatus(StrEnum):
    """Where an alert stands in one channel."""

    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Delivery:
    """An alert to send now; ``incident`` is its row as it was when the alert was written."""

    alert_id: int
    incident_id: int
    event: str
    incident: dict[str, Any]
    created_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Undelivered:
    """What waits in a channel."""

    channel: str
    alerts: int
    since: datetime
    error: str | None


def address(conn: Connection, channels: Sequence[str], *, now: datetime) -> None:
    """Put each new alert on its way through these channels, once."""
    _sql.address(conn, channels=list(channels), now=now)


def claim(conn: Connection, channel: str, *, now: datetime, lease_until: datetime) -> Delivery | None:
    """The next alert to send through a channel, this process's own until the lease ends; None when nothing is due."""
    return next((Delivery(*row) for row in _sql.claim(conn, channel=channel, now=now, lease_until=lease_until)), None)


def sent(conn: Connection, channel: str, delivery: Delivery, *, now: datetime) -> None:
    """It arrived."""
    _sql.sent(conn, channel=channel, alert_id=delivery.alert_id, attempts=delivery.attempts, now=now)


def failed(conn: Connection, channel: str, delivery: Delivery, *, error: str, due_at: datetime, give_up: bool) -> None:
    """It did not arrive: try again at ``due_at``, or never."""
    _sql.failed(
        conn,
        channel=channel,
        alert_id=delivery.alert_id,
        attempts=delivery.attempts,
        status=DeliveryStatus.GIVEN_UP if give_up else DeliveryStatus.WAITING,
        due_at=due_at,
        error=error[:300],
    )


def undelivered(conn: Connection) -> list[Undelivered]:
    """What waits, by channel."""
    return [Undelivered(*row) for row in _sql.undelivered(conn)]
