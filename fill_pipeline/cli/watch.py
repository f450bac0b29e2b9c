"""``fill watch``: the dashboard's figures, live in the terminal."""

from __future__ import annotations

import signal
import time
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fill_pipeline.cli.output import print_json, say, stdout, visible
from fill_pipeline.dashboard.poller import Poller, Reading
from fill_pipeline.dashboard.snapshot import CycleNow, Overview
from fill_pipeline.dashboard.source_view import SourceHealth
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url
from fill_pipeline.settings import Settings

MOST_PROBLEMS = 6
_STYLES = {
    "done": "green", "running": "cyan", "failed": "red", "ON_TARGET": "green", "AT_RISK": "yellow",
    "BELOW_TARGET": "red", SourceHealth.FAILING: "red", SourceHealth.DEGRADED: "yellow", SourceHealth.HEALTHY: "green",
}  # fmt: skip


def watch(json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each update.")] = False) -> None:
    """Show how the fill stands, live, until Ctrl-C."""
    settings = Settings()
    migrate(database_url(settings))
    poller = Poller(settings)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if json:
            _print(poller, as_json=True)
        elif stdout.is_terminal:
            _live(poller)
        else:
            _print(poller, as_json=False)
    except KeyboardInterrupt:
        pass  # the way out
    finally:
        signal.signal(signal.SIGTERM, before)
        poller.close()


def _live(poller: Poller) -> None:
    with Live(console=stdout, auto_refresh=False, transient=False, vertical_overflow="crop") as live:
        while True:
            live.update(screen(poller.read()), refresh=True)
            time.sleep(poller.pause)


def _print(poller: Poller, *, as_json: bool) -> None:
    last = None
    while True:
        reading = poller.read()
        figures = reading.overview.as_line() if reading.overview else {}
        figures |= {"error": reading.error}
        news = {k: v for k, v in figures.items() if k != "taken_at"}
        if as_json:
            print_json(figures, indent=False)
        elif news != last:
            say(reading.error or _in_a_line(reading))
        last = news
        time.sleep(poller.pause)


def _in_a_line(reading: Reading) -> str:
    o = reading.overview
    if o is None or o.cycle is None:
        return "no cycle has run yet"
    doing = ", ".join(o.cycle.running) or ("open" if o.cycle.open else "closed")
    return (
        f"{o.taken_at:%H:%M:%S} cycle {o.cycle.cycle_id} {doing}: "
        f"{o.cycle.vehicles_added:,} of {o.cycle.target:,} vehicles, {o.totals['queue.pending']:,} pages wait"
    )


def screen(reading: Reading) -> Group:
    """What the terminal shows of a reading."""
    parts: list[Text | Table] = []
    if reading.error is not None:
        parts.append(Text(visible(f"The database cannot be read: {reading.error}"), style="red"))
    if reading.overview is not None:
        o = reading.overview
        if o.cycle is None:
            parts.append(Text("No cycle has run yet: `fill cycle` runs one."))
        else:
            parts += _cycle(o.cycle, reading)
        parts += [_totals(o), *_problems(o)]
        parts.append(Text(f"read {o.taken_at:%H:%M:%S} UTC; Ctrl-C leaves", style="dim"))
    return Group(*parts)


def _cycle(cycle: CycleNow, reading: Reading) -> list[Text | Table]:
    state = "on target" if cycle.on_target else "running" if cycle.open else "below target"
    head = Text.assemble(
        ("Cycle ", "bold"), (cycle.cycle_id, "bold"), f"  {state}  ",
        (f"{cycle.vehicles_added:,}", "bold"), f" of {cycle.target:,} vehicles, {cycle.gap:,} to go",
    )  # fmt: skip
    bar = Table.grid()  # ends its line, which the bar alone does not
    bar.add_row(ProgressBar(total=max(cycle.target, 1), completed=min(cycle.vehicles_added, cycle.target), width=60))
    ladder = Table.grid(padding=(0, 2))
    for rung in cycle.rungs:
        status = rung.last.status if rung.last else "waiting"
        why = (rung.last.error or rung.last.reason) if rung.last else ""
        ladder.add_row(rung.kind, Text(status, style=_STYLES.get(status, "dim")), Text(visible(why)[:100], style="dim"))
    facts = (
        f"{_n(cycle.vehicles_per_hour)} vehicles an hour (now {_n(reading.rate_per_hour('vehicles_added'))}), "
        f"{_n(cycle.queue_per_hour)} pages an hour (now {_n(reading.rate_per_hour('pages_fetched'))}), "
        f"{cycle.vehicles_queued:,} queued, quality {_share(cycle.quality)}, "
        f"extraction {_share(cycle.extraction_success)}"
    )
    steps = Text(visible("Next: " + ("; ".join(cycle.next_steps) or "harvest what is due")))
    return [head, bar, Text(facts), ladder, steps]


def _totals(o: Overview) -> Table:
    grid = Table.grid(padding=(0, 2))
    today = o.today
    words = f"{today.vehicles_added:,} of {today.target:,}, {today.expected:,} due by now; {today.says}"
    grid.add_row("Today", Text.assemble((today.status.value, _STYLES[today.status]), f"  {words}"))
    queue = (f"{o.totals[f'queue.{name}']:,} {words}" for name, words in _QUEUE)
    grid.add_row("Queue", ", ".join(queue))
    sources = Text(f"{o.sources_active:,} active")
    for health, n in o.sources_by_health().items():
        if n:
            sources.append(", ")
            sources.append(f"{n:,} {health}", style=_STYLES.get(health, ""))
    grid.add_row("Sources", sources)
    grid.add_row("Database", f"{o.totals['vehicles']:,} vehicles, {o.totals['listings.active']:,} active listings")
    return grid


_QUEUE = (("pending", "waiting"), ("processing", "in work"), ("dead", "dead"))


def _problems(o: Overview) -> list[Text]:
    lines = [f"{i.kind.replace('_', ' ')} {i.subject}: {i.message}" for i in o.incidents if i.is_open]
    bad = [s for s in o.sources if s.health in (SourceHealth.FAILING, SourceHealth.DEGRADED)]
    lines += [f"{s.line.slug} {s.health}: {s.reason}" for s in sorted(bad, key=lambda s: s.health != "failing")]
    more = len(lines) - MOST_PROBLEMS
    shown = [Text(visible(f"! {line}")[:200], style="yellow") for line in lines[:MOST_PROBLEMS]]
    return [*shown, Text(f"  and {more:,} more", style="dim")] if more > 0 else shown


def _n(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{int(value * 1000) / 10:.1f} %"
