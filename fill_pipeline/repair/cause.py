"""What may be wrong with a source, by name."""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """What is wrong with a source; only ``REDESIGNED`` is cured by new rules."""

    WELL = "well"  # nothing is, now
    BLOCKED = "blocked"  # it refuses us
    LOGIN = "login"  # it wants to know who we are first
    CAPTCHA = "captcha"  # it wants to know whether we are human
    THROTTLED = "throttled"  # it asks for fewer requests
    SOFT_404 = "soft_404"  # it answers every address with the same page that says nothing
    MOVED = "moved"  # it lives on another domain now
    REDESIGNED = "redesigned"  # its pages say what they said, in another form
    EMPTY = "empty"  # it works and says that it has nothing
    GONE = "gone"  # its pages are no longer there
    UNREACHABLE = "unreachable"  # no answer: names, connections, time-outs, server errors
    ROBOTS = "robots"  # robots.txt forbids what we want
    OURS = "ours"  # our own configuration or code
    UNKNOWN = "unknown"  # what was seen proves nothing
