"""`python -m fill_pipeline.simweb`: serves the simulated web, or saved pages, on loopback until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

from .app import App
from .connection import Connection, Request
from .control import control
from .corpus import CorpusApp
from .page import Page
from .world import World

Answer = Callable[[Request, Connection], Page | Coroutine[None, None, None]]
_PARENT_POLL = 1.0  # seconds


def main() -> None:
    """Parses the arguments and serves."""
    parser = argparse.ArgumentParser(prog="python -m fill_pipeline.simweb", description=__doc__)
    parser.add_argument("--port", type=int, default=8801, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is about 3,600 cars and 2,400 new ads in 2 hours")
    parser.add_argument("--corpus", type=Path, help="serve the saved pages of this folder instead")
    parser.add_argument("--ready-file", type=Path, help="gets {port, pid} once it listens")
    parser.add_argument("--also", action="append", default=[], metavar="ADDRESS", help="listen there beside loopback")
    parser.add_argument("--parent", type=int, help="end when this process is no longer the parent")
    arguments = parser.parse_args()
    with socket.create_server(("127.0.0.1", arguments.port), backlog=1024) as listener:
        port = listener.getsockname()[1]
        if arguments.corpus:
            answer: Answer = CorpusApp(arguments.corpus, port).answer
        else:
            app = App(World(arguments.seed, arguments.scale), port, control)
            app.router.warm()
            answer = app.answer
        gc.freeze()  # thousands of ads that stay: not worth looking at in every collection
        asyncio.run(_serve(listener, arguments.also, answer, arguments.ready_file, arguments.parent))


async def _serve(
    listener: socket.socket, also: list[str], answer: Answer, ready_file: Path | None, parent: int | None
) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: Connection(answer), sock=listener)
    if also:
        await loop.create_server(lambda: Connection(answer), also, listener.getsockname()[1])
    if ready_file:
        written = ready_file.with_suffix(".tmp")
        written.write_text(json.dumps({"port": listener.getsockname()[1], "pid": os.getpid()}))
        written.replace(ready_file)
    while not stopped.is_set():
        if parent is not None and os.getppid() != parent:
            break
        try:
            await asyncio.wait_for(stopped.wait(), _PARENT_POLL)
        except TimeoutError:
            continue
    server.close()


if __name__ == "__main__":
    main()
