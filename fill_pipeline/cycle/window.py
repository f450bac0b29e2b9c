"""The two-hour windows of the fill cycle; a window's key names its cycle and its Dagster partition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

CRON = "0 */2 * * *"
KEY_FORMAT = "%Y-%m-%d-%H:%M"
LENGTH = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Window:
    """One window ``[start, end)``, UTC."""

    start: datetime

    @property
    def end(self) -> datetime:
        """When the next window begins."""
        return self.start + LENGTH

    @property
    def key(self) -> str:
        """Its name, such as ``2025-12-24-18:00``."""
        return self.start.strftime(KEY_FORMAT)

    @property
    def next(self) -> Window:
        """The window after this one."""
        return Window(self.end)


def window_at(now: datetime) -> Window:
    """The window that ``now`` (aware) lies in."""
    now = now.astimezone(UTC)
    return Window(now.replace(hour=now.hour - now.hour % 2, minute=0, second=0, microsecond=0))


def window_of_key(key: str) -> Window:
    """The window of a partition key or cycle id (the suffix of a cycle run by hand is ignored).

    Raises:
        ValueError: the key names no window.
    """
    text = key.partition("+")[0]
    try:
        start = datetime.strptime(text, KEY_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        start = None
    if start is None or window_at(start).start != start:
        raise ValueError(f"window {key!r} is none: write an even UTC hour such as 2025-12-24-18:00")
    return Window(start)


def windows_between(start: datetime, end: datetime) -> Iterator[Window]:
    """The windows that begin in ``[start, end)``."""
    window = window_at(start)
    if window.start < start:
        window = window.next
    while window.start < end:
        yield window
        window = window.next
