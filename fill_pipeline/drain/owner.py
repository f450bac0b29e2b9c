"""Who holds a lease: a name from which it can be told, on the same machine, that its process is gone."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from functools import cache

from fill_pipeline.db import cycles, queue
from fill_pipeline.db.connect import Connection

_MACHINE = 0xEFFFFFFC
"""The number of a Linux machine's own process namespace (``PROC_PID_INIT_INO``, include/linux/proc_ns.h)."""


def owner(name: str) -> str:
    """This process's name in leases and archive files: ``host:pid:name``."""
    return f"{_host()}:{os.getpid()}:{name}"


@cache
def _host() -> str:
    """Where a process number means one process: the machine, or a container of it, whatever name that was given."""
    name = os.uname().nodename
    with suppress(OSError):
        processes = os.stat("/proc/self/ns/pid").st_ino
        return name if processes == _MACHINE else f"{name}-{processes}"
    return name


def is_dead(owner: str) -> bool:
    """Whether the owner ran on this machine and is gone; False for owners elsewhere, whose leases must run out."""
    host, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    if host != _host() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def take_back(conn: Connection, *, now: datetime) -> int:
    """Give back at once what processes of this machine held when they died; returns how many pages.

    Leases would do the same later, and do it for other machines.
    """
    dead = [name for name in queue.owners(conn) if is_dead(name)]
    released = sum(queue.release_owner(conn, name, now=now) for name in dead)
    for run_id in cycles.running_runs(conn):
        if is_dead(run_id):
            cycles.fail_run(conn, run_id, now=now, error="its process died")
    return released


def cores() -> int:
    """How many cores this process may use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
