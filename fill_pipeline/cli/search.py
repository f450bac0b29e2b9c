"""``fill search``: saved searches by hand."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

from fill_pipeline.cli.database import open_database
from fill_pipeline.cli.output import AlwaysJson, Json, console, fail, print_json, print_table, working
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.searches import run_search
from fill_pipeline.db import registry
from fill_pipeline.db import searches as db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.searches import Search
from fill_pipeline.drain.search_schedule import add_search
from fill_pipeline.settings import Settings

app = typer.Typer(help="Saved searches: what to look for, where, and when.", no_args_is_help=True)
Which = Annotated[str, typer.Argument(help="The search's name or id.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    param: Annotated[
        list[str], typer.Option(help="What to look for, such as make=Honda or max_price=8000; again for each.")
    ] = [],  # noqa: B006 - Typer reads the default, nobody changes it
    source: Annotated[str, typer.Option(help="The source to ask, by its slug.")] = "offerup",
    schedule: Annotated[str, typer.Option(help="When, as a cron line of five fields.")] = "0 */2 * * *",
    time_zone: Annotated[str, typer.Option(help="The IANA zone of the schedule.")] = "UTC",
    json: Json = False,
) -> None:
    """Save a search; its first run is at the schedule's next time, or with `fill search run`."""
    params = dict(_param(text) for text in param)
    with open_database("search") as conn:
        if registry.find_source(conn, source) is None:
            fail(f"source {source!r} is not registered; `fill sources list` names those that are")
        try:
            new = add_search(
                conn, name=name, params=params, schedule=schedule, now=utc_now(), source=source, time_zone=time_zone
            )
        except ValueError as error:
            fail(str(error))
    if json:
        print_json(_plain(new, None))
        return
    console.print(f"saved {new.name} ({new.id}); `fill search run` runs it at once", markup=False)


@app.command("list")
def list_searches(json: Json = False) -> None:
    """List every search, its schedule, and how its last job ended."""
    with open_database("search") as conn:
        rows = [_plain(search, db.last_job(conn, search.id)) for search in db.searches(conn)]
    if json:
        print_json(rows)
        return
    columns = ("name", "source", "schedule", "time_zone", "params", "last")
    table = [
        (
            r["name"] if r["active"] else f"{r['name']} (paused)",
            r["source"],
            r["schedule"],
            r["time_zone"],
            ", ".join(f"{key}={value}" for key, value in r["params"].items()),
            _told(r["last_job"]),
        )
        for r in rows
    ]
    print_table(f"{len(rows)} searches", columns, table)


@app.command()
def run(which: Which, json: AlwaysJson = True) -> None:
    """Run a search now, whatever its schedule says, and print the job's result."""
    settings = Settings()
    with open_database("search") as conn:
        search = _find(conn, which)
        job_id = db.run_now(conn, search.id, now=utc_now())
        assert job_id is not None
    with working(f"searching {search.source} for {search.name}"):
        result = run_search(job_id, settings)
    if result is None:
        fail(f"another process runs job {job_id} of {search.name!r}; `fill search list` tells how it ends")
    print_json(result)
    if result["error"]:
        fail(f"search {search.name!r}: {result['error']}")


@app.command()
def pause(which: Which, json: Json = False) -> None:
    """Run a search no more until it is resumed."""
    _switch(which, False, json)


@app.command()
def resume(which: Which, json: Json = False) -> None:
    """Run a search on its schedule again."""
    _switch(which, True, json)


def _switch(which: str, active: bool, json: bool) -> None:
    with open_database("search") as conn:
        search = _find(conn, which)
        db.set_active(conn, search.id, active)
        if json:
            print_json(_plain(_find(conn, which), db.last_job(conn, search.id)))
            return
    console.print(f"{search.name} {'runs on its schedule' if active else 'is paused'}", markup=False)


def _param(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        fail(f"--param {text!r} is not name=value, such as make=Honda")
    try:
        return key, orjson.loads(value)
    except orjson.JSONDecodeError:
        return key, value


def _find(conn: Connection, which: str) -> Search:
    found = [s for s in db.searches(conn) if which in (s.name, str(s.id))]
    if not found:
        fail(f"there is no search {which!r}; `fill search list` names them")
    if len(found) > 1:
        fail(f"{len(found)} searches are called {which!r}; use an id: {', '.join(str(s.id) for s in found)}")
    return found[0]


def _plain(search: Search, job: db.JobEnd | None) -> dict[str, Any]:
    return {
        "id": search.id,
        "name": search.name,
        "source": search.source,
        "active": search.active,
        "schedule": search.schedule,
        "time_zone": search.time_zone,
        "params": search.params,
        "last_job": None if job is None else job.as_json(),
    }


def _told(job: dict[str, Any] | None) -> str:
    if job is None:
        return "never ran"
    if job["status"] == "finished":
        return f"{job['finished_at']:%m-%d %H:%M} found {(job['result'] or {}).get('listings_found')}"
    return f"{job['status']} {job['error_message'] or ''}".strip()
