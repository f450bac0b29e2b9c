"""``fill cycle`` and ``fill replay``."""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

from fill_pipeline.cli import demo as simulated
from fill_pipeline.cli.output import AlwaysJson, console, fail, in_words, print_json, visible, working
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.perform import Outcome, perform_by_hand
from fill_pipeline.cycle.run import run_cycle
from fill_pipeline.cycle.state import Action, ActionKind
from fill_pipeline.cycle.window import window_at, window_of_key
from fill_pipeline.db import registry
from fill_pipeline.db.connect import connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url
from fill_pipeline.settings import Settings


def run(
    demo: Annotated[bool, typer.Option("--demo", help="Fill from the simulated web.")] = False,
    corpus: Annotated[Path | None, typer.Option(help="Fill from the saved pages in this folder.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Below target, stay for what later minutes bring.")] = False,
    json: AlwaysJson = True,
) -> None:
    """Run one whole fill cycle and print its report as JSON."""
    settings = Settings()
    if corpus is not None and not (corpus / "MANIFEST.tsv").is_file():
        fail(f"--corpus {corpus}: no MANIFEST.tsv there; name a folder of saved pages")
    if corpus is not None:
        with simulated.saved_pages(settings, corpus) as permitted:
            _print_report(_run(permitted, wait))
            console.print(
                f"\nThese vehicles are in a database of their own: FILL_HOME={permitted.home}", soft_wrap=True
            )
    elif demo:
        with simulated.simulated_web(settings) as (_web, permitted):
            _print_report(_run(permitted, wait))
        console.print(
            "\nLook around: [bold]make up[/] (or .venv/bin/fill up) starts the Dagster UI on "
            f"http://127.0.0.1:{settings.ui_port} and the dashboard on http://127.0.0.1:{settings.dashboard_port}.",
            soft_wrap=True,
        )
    else:
        _print_report(_run(settings, wait))


def replay(
    source: Annotated[str, typer.Argument(help="The source's slug.")],
    window: Annotated[
        str, typer.Option(help="The window, such as 2025-12-24-18:00; default: the one before this.")
    ] = "",
    json: AlwaysJson = True,
) -> None:
    """Read a past window's archived pages again with today's rules; no network is needed."""
    settings = Settings()
    now = utc_now()
    with working("opening the database"):
        url = database_url(settings)
        migrate(url)
    try:
        chosen = window_of_key(window) if window else window_at(now - timedelta(hours=2))
    except ValueError as error:
        fail(str(error))
    with connect(url, name="fill replay") as conn:
        if registry.find_source(conn, source) is None:
            fail(f"source {source!r} is not registered; `fill sources list` names those that are")
    if chosen.start >= window_at(now).start:
        fail(f"window {chosen.key} is not over; name a past one")
    began = time.monotonic()
    with working(f"reading {source}'s pages of {chosen.key} again") as told:
        outcome = perform_by_hand([source], window=chosen, settings=settings, progress=told)
    seconds = time.monotonic() - began
    rate = {"seconds": round(seconds, 2), "pages_per_second": round(outcome.details["pages_fetched"] / seconds, 1)}
    print_json({"window": chosen.key, "source": source, **outcome.details, **rate})


def _run(settings: Settings, wait: bool) -> dict[str, Any] | None:
    stopped: list[int] = []

    def stop(signum: int, _frame: object) -> None:
        stopped.append(signum)
        console.print("[yellow]stopping: what is under way is given back to the queue …[/]")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _Display() as display:
            return run_cycle(
                settings,
                wait=wait,
                should_stop=lambda: bool(stopped),
                on_action=display.action,
                on_progress=display.progress,
            )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_report(report: dict[str, Any] | None) -> None:
    if report is None:
        fail("stopped before the cycle was done; `fill cycle` goes on where it was left")
    print_json(report)


class _Display:
    """A cycle's progress on standard error: one line per action, the running one alive."""

    def __init__(self) -> None:
        self._figures: dict[str, Any] = {}
        self._running: list[Action] = []
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._render)

    def __enter__(self) -> _Display:
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if console.is_terminal:
            self._live.stop()

    def action(self, action: Action, outcome: Outcome | None) -> None:
        """An action begins (no outcome yet) or has ended."""
        if outcome is None:
            self._running.append(action)
            console.print(f"[cyan]▸[/] {escape(visible(action))}")
            return
        self._running.remove(action)
        self._figures = {}
        if "error" in outcome.details:
            console.print(f"  [red]✗ {escape(visible(outcome.details['error']))}[/]", highlight=False)
        elif action.kind is not ActionKind.CLOSE:
            console.print(f"  [green]✓[/] {in_words(outcome.details) or 'nothing to do'}", highlight=False)

    def progress(self, figures: dict[str, Any]) -> None:
        """What the running action did so far."""
        self._figures = figures

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        if not self._running:
            grid.add_row(Spinner("dots"), "deciding what to do …", "")
        for action in self._running:
            grid.add_row(Spinner("dots"), f"{action.kind}", escape(in_words(self._figures)))
        return grid
