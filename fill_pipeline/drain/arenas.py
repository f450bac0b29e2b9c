"""Memory that stays flat in a process that runs for weeks."""

from __future__ import annotations

import ctypes
from functools import cache

MOST = 2
_M_ARENA_MAX = -8  # glibc's <malloc.h>


@cache
def bound_arenas() -> bool:
    """Let the threads of this process share two heaps; returns whether its C library can be told so (glibc can).

    glibc gives new threads heaps of their own, up to eight for each core, and what one has freed no other uses. A cycle
    starts threads all the time (harvest, heartbeat, libcurl's name lookups), so that memory would grow for days. To be
    called before eight heaps are there, from then on the bound stands.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_ARENA_MAX, MOST))
