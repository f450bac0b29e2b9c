"""A way to people. The log is always one."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Protocol

import orjson

from fill_pipeline.alerts.message import Message
from fill_pipeline.db.incidents import AlertEvent

log = logging.getLogger("fill_pipeline.alerts")


class DeliveryError(Exception):
    """An alert did not get through; the message says why, without addresses and secrets."""


class Channel(Protocol):
    """Somewhere that alerts are sent."""

    @property
    def name(self) -> str:
        """Its name in ``alert_deliveries``."""

    def send(self, message: Message, *, now: datetime) -> None:
        """Send it once, within half a minute; raises DeliveryError."""


class Log:
    """Writes each alert as one line of JSON: what is critical as an error, what is over as information."""

    name = "log"

    def send(self, message: Message, *, now: datetime) -> None:
        """Write it."""
        level = logging.ERROR if message.critical else logging.WARNING
        settled = message.event in (AlertEvent.DISMISSED, AlertEvent.RESOLVED)
        log.log(logging.INFO if settled else level, "%s", orjson.dumps(message.data).decode())
