"""Memory that stays flat in a process that runs for weeks."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import _lru_cache_wrapper, cache

MOST = 2
_M_ARENA_MAX = -8  # glibc's <malloc.h>
_USUALLY = gc.get_threshold()
_COLLECT_AFTER = 20_000
"""New containers after which the cyclic garbage collector looks. Fetching, reading and writing pages leave no cycles
behind; what a batch holds would be looked through for them dozens of times before it is done."""


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


def forget_pages() -> None:
    """Empty what reading pages has left in bounded memories (``lru_cache``): tables that are loaded once stay.

    Most of what a page says is never met again after its source's turn, and the memories are sized for a worker that
    reads tens of thousands of pages: in a process that only harvests they would grow for hundreds of cycles.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("fill_pipeline."):
            for value in list(vars(module).values()):
                if isinstance(value, _lru_cache_wrapper) and value.cache_parameters()["maxsize"] not in (None, 1):
                    value.cache_clear()


def collect_rarely() -> None:
    """What is there now is never looked at for cyclic garbage, what comes seldom: while pages are worked on."""
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *_USUALLY[1:])


def collect_as_usual() -> None:
    """Undo ``collect_rarely``."""
    gc.set_threshold(*_USUALLY)
    gc.unfreeze()
