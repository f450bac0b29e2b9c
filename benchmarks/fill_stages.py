"""Where the drain's CPU goes: every process of it sums up the CPU seconds it spends in each stage, none twice."""

from __future__ import annotations

import functools
import importlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from multiprocessing import util
from typing import Any

STAGES = {
    "queue: claim, leases": (
        "fill_pipeline.drain.drain:Drain._claim",
        "fill_pipeline.db.queue:extend_leases",
        "fill_pipeline.db.queue:next_ready",
    ),
    "queue: completion": ("fill_pipeline.db.queue:complete", "fill_pipeline.drain.drain:Drain._finish_unchanged"),
    "pace, robots, submit": ("fill_pipeline.drain.drain:Drain._start_due",),
    "fetch": ("fill_pipeline.crawl.fetch:Fetcher.poll",),
    "archive": ("fill_pipeline.crawl.archive:ArchiveWriter.append", "fill_pipeline.crawl.archive:ArchiveWriter.flush"),
    "receive": ("fill_pipeline.drain.drain:Drain._receive",),
    "hand over to workers": (
        "fill_pipeline.drain.drain:Drain._hand_over",
        "fill_pipeline.drain.drain:Drain._collect",
        "multiprocessing.connection:_ConnectionBase.recv",
    ),
    "sources, statistics": ("fill_pipeline.drain.drain:load_sources", "fill_pipeline.drain.drain:Drain._flush_stats"),
    "start of workers": ("fill_pipeline.drain.worker:Worker.__init__", "fill_pipeline.drain.service:connect_again"),
    "decompress": ("fill_pipeline.drain.read:decode_bytes",),
    "extract": ("fill_pipeline.drain.read:extract_page",),
    "validate": ("fill_pipeline.drain.read:clean",),
    "read, the rest": ("fill_pipeline.drain.service:read_pages",),
    "archive index": ("fill_pipeline.db.archive:insert_pages",),
    "identity": (
        "fill_pipeline.vehicles.assignment:Assignment.find_vehicles",
        "fill_pipeline.vehicles.assignment:Assignment.derive_vehicles",
    ),
    "listings": ("fill_pipeline.drain.write:write_listings",),
    "copy rows": ("fill_pipeline.db.copying:RowCopy.write",),
    "accounts": ("fill_pipeline.db.ledger:add_stats", "fill_pipeline.db.ledger:add_tallies"),
    "transaction, the rest": ("fill_pipeline.drain.service:in_open_cycle",),
}


def watch(folder: str) -> None:
    """Wrap every stage of this process; the sums go to a file in the folder when the process ends."""
    sums: defaultdict[str, float] = defaultdict(float)
    stack: list[float] = []
    clock = time.process_time

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            stack.append(0.0)
            began = clock()
            try:
                return function(*arguments, **options)
            finally:
                spent = clock() - began
                sums[stage] += spent - stack.pop()
                if stack:
                    stack[-1] += spent

        return run

    began = clock()
    for stage, places in STAGES.items():
        for place in places:
            module, _, path = place.partition(":")
            holder: Any = importlib.import_module(module)
            *outer, name = path.split(".")
            for part in outer:
                holder = getattr(holder, part)
            setattr(holder, name, timed(stage, getattr(holder, name)))
    sums["start: imports"] += clock() - began

    def keep() -> None:
        sums["elsewhere"] = clock() - sum(sums.values())
        with open(f"{folder}/{os.getpid()}.json", "w") as file:
            json.dump(sums, file)

    def keep_at_exit(_: object) -> None:
        util.Finalize(None, keep, exitpriority=0)

    keep_at_exit(None)
    util.register_after_fork(keep, keep_at_exit)  # a forked process forgets what its parent would do at its end
