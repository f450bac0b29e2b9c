"""The ``fill`` command: parse, call, print."""

from __future__ import annotations

import atexit
import gc
import os
import sys


def main() -> None:
    """Run the command and end with its exit status; what a person can mend is one line with the cure.

    0 done, 1 not done, 2 asked wrongly, 130 interrupted.
    """
    atexit.register(gc.freeze)  # looking through all that is left for circles would be most of what leaving costs
    sys.exit(_run())


def _run() -> int:
    try:
        # Reading pages needs no database: that command starts in a fifth of the time without the others.
        if sys.argv[1:2] == ["extract"]:
            from fill_pipeline.cli.extract import app
        else:
            from fill_pipeline.cli.app import app
        status = app(prog_name="fill", standalone_mode=False)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from fill_pipeline.cli.output import asked_wrongly, explain

        if asked_wrongly(error):
            return 2
        line = explain(error)
        if line is None or os.environ.get("FILL_TRACEBACK"):
            raise
        print(f"fill: {line}", file=sys.stderr)
        return 1
    return status if isinstance(status, int) else 0
