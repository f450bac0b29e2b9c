"""The commands."""

from __future__ import annotations

import typer

from fill_pipeline.cli import cycle, deals, extract, incidents, search, show, sources, up, watch, why

app = typer.Typer(
    name="fill",
    help="Fill a database with accurate vehicle data, at scale, and account for it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("cycle")(cycle.run)
app.command("replay")(cycle.replay)
app.command("up")(up.up)
app.command("down")(up.down)
app.command("dashboard")(up.dashboard)
app.command("status")(show.status)
app.command("report")(show.report)
app.command("watch")(watch.watch)
app.command("why")(why.why)
app.command("extract")(extract.extract)
app.add_typer(incidents.app, name="incidents")
app.add_typer(sources.app, name="sources")
app.add_typer(search.app, name="search")
app.add_typer(deals.app, name="deals")
