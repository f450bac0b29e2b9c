"""The ``fill`` command: parse, call, print."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command; errors that a person can mend are one line with the cure, and exit status 1."""
    try:
        # Reading pages needs no database: that command starts in a fifth of the time without the others.
        if sys.argv[1:2] == ["extract"]:
            from fill_pipeline.cli.extract import app
        else:
            from fill_pipeline.cli.app import app
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        from fill_pipeline.cli.output import explain

        line = explain(error)
        if line is None or os.environ.get("FILL_TRACEBACK"):
            raise
        print(f"fill: {line}", file=sys.stderr)
        sys.exit(1)
