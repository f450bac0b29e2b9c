"""``fill incidents``: what is wrong, and what is left to do about it."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from rich.markup import escape

from fill_pipeline.alerts.message import duration, one_line, what_to_do
from fill_pipeline.alerts.watch import watch
from fill_pipeline.cli.database import open_database
from fill_pipeline.cli.output import Json, console, fail, print_json, print_table
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.db import alerts
from fill_pipeline.db.incidents import IncidentRow, Severity, latest_incidents, open_incidents
from fill_pipeline.db.incidents import dismiss as take_off
from fill_pipeline.settings import Settings

OPEN = 3
"""Exit status of ``--check`` while something is critical."""


app = typer.Typer(help="What is wrong now, since when, and what is left for a person.")


@app.callback(invoke_without_command=True)
def incidents(
    context: typer.Context,
    json: Json = False,
    all_: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="At most how many.")] = 100,
    check: Annotated[
        bool, typer.Option("--check", help="Look now and send alerts that are due; exit status 3 if any is critical.")
    ] = False,
) -> None:
    """List what is wrong now, since when, and what is left for a person."""
    if context.invoked_subcommand is not None:
        return
    now = utc_now()
    with open_database("incidents") as conn:
        if check:
            watch(conn, Settings(), now=now)
        rows = latest_incidents(conn, count) if all_ else open_incidents(conn, count)
        waiting = alerts.undelivered(conn)
    if json:
        listed = [row.as_json() | {"to_do": what_to_do(row.kind, row.subject).split("\n")} for row in rows]
        print_json({"incidents": listed, "undelivered": [_undelivered(u) for u in waiting]})
    else:
        if rows:
            lasted = [duration((row.closed_at or now) - row.opened_at) for row in rows]
            cells = [(*_cells(row), words) for row, words in zip(rows, lasted, strict=True)]
            print_table(f"{len(rows)} incidents", ("id", "what", "severity", "message", "state", "since", "for"), cells)
        else:
            console.print("no incidents" if all_ else "no incident is open; `fill incidents --all` lists those over")
        for row in [] if all_ else [row for row in rows if row.is_open][:5]:
            console.print(f"\n{row.id}: {one_line(row.message)}", markup=False, highlight=False)
            console.print(what_to_do(row.kind, row.subject), markup=False, highlight=False)
        for u in waiting:
            console.print(f"{u.alerts} alerts wait for {u.channel}: {u.error or 'not tried yet'}", markup=False)
    if check and any(row.severity == Severity.CRITICAL and row.is_open for row in rows):
        raise typer.Exit(OPEN)


@app.command()
def dismiss(
    number: Annotated[int, typer.Argument(metavar="ID", help="The incident's id.")],
    why: Annotated[str, typer.Option(help="The reason; it is kept with the incident and told to everybody.")],
    json: Json = False,
) -> None:
    """Take an incident off the list; it comes back if it gets worse, stays for a week, or happens again later."""
    with open_database("incidents") as conn:
        try:
            row = take_off(conn, number, who=getpass.getuser(), why=why, now=utc_now())
        except ValueError as error:
            fail(f"--why {why!r}: {error}")
    if json:
        print_json(row.as_json())
    else:
        console.print(f"incident {row.id} is dismissed: {one_line(row.message)}", markup=False, highlight=False)


def _cells(row: IncidentRow) -> tuple[object, ...]:
    what = row.kind.replace("_", " ") + (f" ({one_line(row.subject, 60)})" if row.subject else "")
    state = "open" if row.closed_at is None else "over"
    if row.dismissed_at is not None:
        state = escape(one_line(f"dismissed by {row.dismissed_by}: {row.dismissed_why}", 200))
    severity = Severity(row.severity).name.lower()
    return row.id, escape(what), severity, escape(one_line(row.message, 300)), state, f"{row.opened_at:%Y-%m-%d %H:%M}"


def _undelivered(waiting: alerts.Undelivered) -> dict[str, object]:
    return {"channel": waiting.channel, "alerts": waiting.alerts, "since": waiting.since, "error": waiting.error}
