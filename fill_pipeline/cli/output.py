"""What the command prints: JSON for programs, tables and one-line errors for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import orjson
import psycopg
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from typer.exceptions import TyperException

from fill_pipeline.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""What every command takes that has something to say."""
AlwaysJson = Annotated[bool, typer.Option("--json", help="Print JSON (it always is).")]
"""The same of a command that prints nothing else, so that a script need not know which one it calls."""
USAGE = 2  # the exit status of a command asked wrongly
console = Console(stderr=True)
stdout = Console()


def print_json(value: Any, *, indent: bool = True) -> None:
    """Print a value as JSON on standard output."""
    option = orjson.OPT_INDENT_2 if indent else 0
    sys.stdout.buffer.write(orjson.dumps(value, default=str, option=option | orjson.OPT_NON_STR_KEYS) + b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def working(what: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show on a terminal that something takes its time, with figures as they come; nothing where it is piped.

    Yields a function that takes the figures so far.
    """
    if not console.is_terminal:
        yield lambda figures: None
        return
    with console.status(f"{escape(what)} …") as status:
        yield lambda figures: status.update(f"{escape(what)} … {escape(in_words(figures))}")


def in_words(figures: dict[str, Any]) -> str:
    """What a piece of work did so far, in a line."""
    known = [f"{figures[name]} {word}" for name, word in _WORDS.items() if figures.get(name)]
    other = [f"{name.replace('_', ' ')}: {value}" for name, value in figures.items() if name not in _WORDS and value]
    return ", ".join(known + other)


_WORDS: dict[str, str] = {
    "pages_fetched": "pages",
    "pages_failed": "failed",
    "found": "listings read",
    "queued": "queued",
    "vehicles_added": "vehicles added",
}


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows as a table on standard output."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else visible(cell)) for cell in row))
    stdout.print(table)


def visible(value: object) -> str:
    """A value as text that cannot move a terminal's cursor: what the web wrote may hold control characters."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def say(text: str, *, bold: str = "") -> None:
    """Print a line on standard output as it stands, after words in bold."""
    stdout.print(Text.assemble((visible(bold), "bold"), visible(text)), soft_wrap=True)


def fail(message: str) -> NoReturn:
    """End the command with one line on standard error and exit status 1."""
    print(f"fill: {message}", file=sys.stderr)
    raise typer.Exit(1)


def asked_wrongly(error: Exception) -> bool:
    """Say in one line what was wrong with the command as it was typed; False for any other error."""
    if not isinstance(error, TyperException) or error.exit_code != USAGE:
        return False
    said = error.format_message().strip()
    if "Usage:" in said:  # the help, where no command was named
        print(said, file=sys.stderr)
    else:
        asked = getattr(getattr(error, "ctx", None), "command_path", None) or "fill"
        print(f"fill: {' '.join(said.split()).rstrip('.')}; `{asked} --help` says how", file=sys.stderr)
    return True


def explain(error: Exception) -> str | None:
    """One line for an error that a person can mend; None for a fault of ours."""
    from fill_pipeline.crawl.archive import ArchiveFullError
    from fill_pipeline.crawl.config import ConfigError
    from fill_pipeline.cycle.run import CycleNotClosedError
    from fill_pipeline.db.server import DatabaseUnavailableError
    from fill_pipeline.drain.worker import WorkersDieError

    if isinstance(error, ValidationError):
        return "; ".join(_setting(e["loc"], e["input"], e["msg"]) for e in error.errors())
    if isinstance(error, ConfigError):
        return "\n      ".join(error.lines)
    if isinstance(
        error, DatabaseUnavailableError | ArchiveFullError | CycleNotClosedError | WorkersDieError | LookupError
    ):
        return str(error)
    if isinstance(error, psycopg.OperationalError):
        said = " ".join(str(error).split())
        return f"the database does not answer: {said} (see FILL_DATABASE_URL, or unset it)"
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:  # it never reached a server
        # libpq repeats what it was given, and with it a password.
        return "FILL_DATABASE_URL is not an address of PostgreSQL, such as postgresql://user:password@host/database"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return None


def _setting(where: tuple[int | str, ...], value: object, said: str) -> str:
    known = Settings.model_fields.get(str(where[0])) if where else None
    secret = known is not None and "SecretStr" in str(known.annotation)
    name = "_".join(str(part) for part in where).upper()
    return f"FILL_{name}{'' if secret else f'={value!r}'}: {said}"
