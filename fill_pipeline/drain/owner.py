"""Who holds a lease: a name from which it can be told, on the same machine, that its process is gone."""

from __future__ import annotations

import os
from datetime import datetime

from fill_pipeline.db import cycles, queue
from fill_pipeline.db.connect import Connection


def owner(name: str) -> str:
    """This process's name in leases and archive files: ``host:pid:name``."""
    return f"{os.uname().nodename}:{os.getpid()}:{name}"


def is_dead(owner: str) -> bool:
    """Whether the owner ran on this machine and is gone; False for owners elsewhere, whose leases must run out."""
    host, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    if host != os.uname().nodename or not pid.isdigit():
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
