"""Starts the simulated web in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from os import getpid
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any
from urllib.request import Request, urlopen

START_TIMEOUT = 30.0  # seconds
_POLL = 0.02


@dataclass
class SimWeb:
    """A running simulated web; a context manager that stops it."""

    process: subprocess.Popen[bytes]
    port: int

    def base_url(self, slug: str) -> str:
        """URL of a site, without a slash at its end."""
        return f"http://{slug}.localhost:{self.port}"

    def get(self, path: str) -> Any:
        """GET of the control API: the decoded answer. Raises urllib's HTTPError when refused."""
        return self._control(Request(f"http://127.0.0.1:{self.port}{path}"))

    def post(self, action: str, **body: Any) -> Any:
        """POST to the control API, e.g. ``post("clock", advance_seconds=7200)``."""
        data = json.dumps(body).encode()
        return self._control(Request(f"http://127.0.0.1:{self.port}/{action}", data=data, method="POST"))

    def stop(self) -> None:
        """Ends the process and waits for it."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _control(self, request: Request) -> Any:
        request.add_header("Host", "control.localhost")
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def __enter__(self) -> SimWeb:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def start_simweb(
    port: int = 0, seed: int = 7, scale: float = 1.0, corpus: Path | str | None = None, also: Sequence[str] = ()
) -> SimWeb:
    """Starts the simulated web, or with ``corpus`` a server of saved pages, and waits until it listens.

    It listens on loopback, and on the addresses in ``also``.

    It ends with ``stop()``, or by itself within two seconds of this process' death. Raises RuntimeError with the
    child's error output when it does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready, errors = Path(folder) / "ready.json", Path(folder) / "errors"
        command = [sys.executable, "-m", "fill_pipeline.simweb", "--port", str(port), "--ready-file", str(ready)]
        command += ["--parent", str(getpid())]
        command += ["--corpus", str(corpus)] if corpus is not None else ["--seed", str(seed), "--scale", str(scale)]
        command += [word for address in also for word in ("--also", address)]
        with errors.open("wb") as stderr:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
        deadline = monotonic() + START_TIMEOUT
        while not ready.exists():
            if process.poll() is not None or monotonic() > deadline:
                process.kill()
                process.wait()
                raise RuntimeError(f"the simulated web did not start: {errors.read_text(errors='replace')[-2000:]}")
            sleep(_POLL)
        return SimWeb(process, int(json.loads(ready.read_text())["port"]))
