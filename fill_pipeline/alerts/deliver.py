"""Send what waits in the outbox: each alert once through each channel, again and again to one that is down."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from pydantic import SecretStr

from fill_pipeline.alerts.channel import Channel, DeliveryError, Log, log
from fill_pipeline.alerts.message import message_of
from fill_pipeline.db import alerts
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

PASS_SECONDS = 20.0  # a sensor's tick is cut at 60
LEASE = timedelta(minutes=2)  # longer than any channel takes
FIRST_PAUSE = timedelta(seconds=30)  # doubles with each failure
LONGEST_PAUSE = timedelta(hours=1)
PATIENCE = timedelta(days=7)
MIN_SECRET = 6  # shorter ones would tear words apart


def deliver(conn: Connection, settings: Settings, *, now: datetime, seconds: float = PASS_SECONDS) -> int:
    """Send what is due, for about so many seconds; returns how many deliveries succeeded.

    Several processes may do it at once: each alert is one process's at a time. A channel that fails is left alone
    until the next pass. A process killed between sending and noting it sends that one alert again, under the same id.
    """
    channels = channels_of(settings)
    alerts.address(conn, [channel.name for channel in channels], now=now)
    ends = time.monotonic() + seconds
    return sum(_send_due(conn, channel, secrets_of(settings), now, ends) for channel in channels)


def channels_of(settings: Settings) -> list[Channel]:
    """The log, and what the operator set up."""
    channels: list[Channel] = [Log()]
    if settings.alert_webhook is not None:
        from fill_pipeline.alerts.webhook import Webhook

        channels.append(Webhook(settings.alert_webhook, settings.alert_webhook_token))
    if settings.smtp_url is not None and settings.alert_email_to:
        from fill_pipeline.alerts.mail import Mail

        sender, to = settings.alert_email_from or settings.alert_email_to[0], settings.alert_email_to
        channels.append(Mail(settings.smtp_url, settings.smtp_password, sender=sender, to=to))
    return channels


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Every secret among the settings, the longest first."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    secrets = {value.get_secret_value() for value in values if isinstance(value, SecretStr)}
    return tuple(sorted((s for s in secrets if len(s) >= MIN_SECRET), key=len, reverse=True))


def _send_due(conn: Connection, channel: Channel, secrets: tuple[str, ...], now: datetime, ends: float) -> int:
    done = 0
    while time.monotonic() < ends:
        delivery = alerts.claim(conn, channel.name, now=now, lease_until=now + LEASE)
        if delivery is None:
            break
        try:
            channel.send(message_of(delivery, secrets=secrets), now=now)
        except DeliveryError as error:
            pause = min(FIRST_PAUSE * 2 ** min(delivery.attempts - 1, 10), LONGEST_PAUSE)
            give_up = now - delivery.created_at > PATIENCE
            alerts.failed(conn, channel.name, delivery, error=str(error), due_at=now + pause, give_up=give_up)
            log.warning("alert %d did not get through %s: %s", delivery.alert_id, channel.name, error)
            break
        alerts.sent(conn, channel.name, delivery, now=now)
        done += 1
    return done
