"""``fill sources``: the registry by hand."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import orjson
import typer

from fill_pipeline.cli.database import open_database
from fill_pipeline.cli.output import Json, console, fail, print_json, print_table, say, visible, working
from fill_pipeline.crawl.choices import SourceKind
from fill_pipeline.crawl.config import ConfigError, parse_source_config
from fill_pipeline.crawl.source_files import load_source_file
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.db import cycles, ledger, pace, registry, rules
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.registry import SourceRow
from fill_pipeline.db.server import database_url
from fill_pipeline.settings import Settings
from fill_pipeline.vehicles.source_rules import SourceRule

app = typer.Typer(help="The registry of sources.", no_args_is_help=True)
MOST_RULES = 20
Slug = Annotated[str, typer.Argument(help="The source's slug or name.")]


@app.command("list")
def list_sources(json: Json = False) -> None:
    """List every source and how it stands."""
    with open_database("sources") as conn:
        rows = registry.sources(conn)
        last = next(iter(cycles.last_ended(conn)), None)
        health = {h.slug: h for h in ledger.health(conn, last.cycle_id)} if last else {}
    if json:
        print_json([_plain(row) | {"health": health[row.slug].status if row.slug in health else None} for row in rows])
        return
    table = [
        (row.slug, row.kind, _standing(row), health[row.slug].status if row.slug in health else "", row.base_url)
        for row in rows
    ]
    print_table(f"{len(rows)} sources", ("source", "kind", "standing", "health", "base URL"), table)


@app.command()
def show(slug: Slug, json: Json = False) -> None:
    """Show one source: its configuration (secrets masked), versions, last health, and the rules learned for it."""
    with open_database("sources") as conn:
        row = _find(conn, slug)
        versions = registry.versions(conn, row.id)
        last = next(iter(cycles.last_ended(conn)), None)
        health = next((h for h in ledger.health(conn, last.cycle_id) if h.source_id == row.id), None) if last else None
        how = pace.paces(conn, [row.id], now=utc_now())[row.id]
        learned = rules.rules_of_source(conn, row.id, MOST_RULES)
    plain = _plain(row) | {
        "health": None if health is None else {"status": health.status, "reason": health.reason},
        "pace": how.in_words,
        "versions": [
            {"version": v.version, "live": v.live, "made_by": v.made_by, "reason": v.reason, "created_at": v.created_at}
            for v in versions
        ],
        "learned_rules": [asdict(rule) for rule in learned],
    }
    if json:
        print_json(plain)
        return
    for key, value in plain.items():
        if key not in ("config", "versions", "learned_rules"):
            say(f": {value}", bold=key)
    print_json(plain["config"])
    print_table(
        "configuration versions",
        ("version", "live", "made by", "reason", "when"),
        [(v.version, "●" if v.live else "", v.made_by, v.reason, f"{v.created_at:%Y-%m-%d %H:%M}") for v in versions],
    )
    if learned:
        told = [(str(SourceRule.of(r.rule, r.field, r.value)), r.status, r.reason) for r in learned]
        print_table("rules learned for it", ("its values", "status", "why"), told)


@app.command()
def add(
    what: Annotated[str, typer.Argument(help="A YAML file of sources, or the URL of a site.")],
    name: Annotated[str, typer.Option(help="Its name; default: from the URL.")] = "",
    kind: Annotated[SourceKind, typer.Option(help="What sort of site it is.")] = SourceKind.DEALER,
    config: Annotated[str, typer.Option(help="Its configuration: JSON, or @FILE. Without it the site is probed.")] = "",
    json: Json = False,
) -> None:
    """Add sources from a YAML file, a site with a configuration, or a site that is probed first."""
    if not what.startswith(("http://", "https://")):
        _add_file(Path(what), json)
        return
    with open_database("sources") as conn:
        if config:
            text = _read(config)
            parse_source_config(text)
            row = registry.declare_source(
                conn,
                name=name or _name_of(what),
                base_url=what,
                config=orjson.loads(text),
                kind=kind,
                reason="added on the command line",
            )
            if json:
                print_json({"added": [_plain(row)]})
            else:
                console.print(f"added [bold]{row.slug}[/], configuration version {row.config_version}")
            return
        _probe(conn, what, json)


@app.command()
def pause(slug: Slug, json: Json = False) -> None:
    """Stop crawling a source at once, also in the middle of a run."""
    _switch(slug, False, json)


@app.command()
def resume(slug: Slug, json: Json = False) -> None:
    """Crawl a source again."""
    _switch(slug, True, json)


@app.command()
def rollback(
    slug: Slug, version: Annotated[int, typer.Argument(help="The version to bring back.")], json: Json = False
) -> None:
    """Bring back an earlier configuration, as a new version."""
    with open_database("sources") as conn:
        row = _find(conn, slug)
        if not registry.roll_back(conn, row.id, version, made_by="operator", reason="rolled back on the command line"):
            fail(f"source {row.slug!r} has no version {version}; `fill sources show {row.slug}` lists them")
        if json:
            print_json(_plain(_find(conn, row.slug)))
            return
        console.print(f"version {version} of [bold]{row.slug}[/] is live again")


@app.command("test")
def try_out(slug: Slug, json: Json = False) -> None:
    """Fetch a source's first index page and one listing, and show what would be read. Nothing is stored."""
    from fill_pipeline.drain.trial import try_source
    from fill_pipeline.drain.work import Source, Work

    settings = Settings()
    with open_database("sources") as conn:
        row = _find(conn, slug)
        source = Source(row, parse_source_config(row.config))
        now = utc_now()
        work = Work(settings, database_url(settings), "test", "test", utc_now, now + timedelta(minutes=2))
        with working(f"asking {row.slug}"):
            result = try_source(conn, work, source)
    if json:
        print_json(result.as_json())
    else:
        for step in result.steps:
            console.print(visible(step), markup=False, highlight=False)
        for listing in result.listings[:5]:
            print_json(listing)
    if not result.listings:
        fail(f"nothing could be read from {row.slug!r}: {result.reason}")


def _add_file(path: Path, json: bool) -> None:
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files or not all(f.is_file() for f in files):
        fail(f"{path}: no such file; name a YAML file of sources, a folder of them, or a URL")
    declarations = [declaration for file in files for declaration in load_source_file(file)]
    with open_database("sources") as conn:
        added = []
        for d in declarations:
            row = registry.declare_source(
                conn,
                name=d.name,
                base_url=d.base_url,
                config=_config_as_written(files, d.name),
                kind=d.kind,
                active=d.active,
                note=d.note,
                asset_group=d.asset_group,
                expected_count=d.expected_count,
                reason=f"declared in {path.name}",
            )
            added.append(_plain(row))
            if not json:
                console.print(f"[bold]{row.slug}[/]: {_standing(row)}, configuration version {row.config_version}")
    if json:
        print_json({"added": added})


def _config_as_written(files: list[Path], name: str) -> dict[str, object]:
    """The configuration as the file has it, without defaults, so that declaring it again changes nothing."""
    import yaml

    for file in files:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        for item in data["sources"] if isinstance(data, dict) else data:
            if item["name"] == name:
                written: dict[str, object] = item.get("config") or {}
                return written
    return {}


def _probe(conn: Connection, url: str, json: bool) -> None:
    from fill_pipeline.discovery.discover import probe_url
    from fill_pipeline.drain.work import Work

    settings = Settings()
    now = utc_now()
    work = Work(settings, database_url(settings), "by-hand", "probe", utc_now, now + timedelta(minutes=10))
    with working(f"looking at {url}"):
        report = probe_url(conn, work, url)
    for step in [] if json else report.steps:
        console.print(visible(step), markup=False, highlight=False)
    if report.source is None:
        fail(f"{url} did not become a source: {report.reason}")
    if json:
        print_json({"added": [_plain(report.source)], "steps": report.steps})
    else:
        console.print(f"added [bold]{report.source.slug}[/]")


def _switch(slug: str, active: bool, json: bool) -> None:
    with open_database("sources") as conn:
        row = _find(conn, slug)
        registry.set_active(conn, row.slug, active)
        if json:
            print_json(_plain(_find(conn, row.slug)))
            return
        console.print(f"[bold]{row.slug}[/] is {'active again' if active else 'paused'}")


def _find(conn: Connection, slug: str) -> SourceRow:
    row = registry.find_source(conn, slug)
    if row is None:
        fail(f"source {slug!r} is not registered; `fill sources list` names those that are")
    return row


def _standing(row: SourceRow) -> str:
    if row.config_error:
        return f"unusable: {row.config_error.splitlines()[0]}"
    return row.status if row.active else "paused"


def _plain(row: SourceRow) -> dict[str, object]:
    try:
        config = parse_source_config(row.config).redacted()
    except ConfigError as error:
        config = {"unusable": error.lines}
    return {
        "source": row.slug,
        "name": row.name,
        "kind": row.kind,
        "base_url": row.base_url,
        "active": row.active,
        "status": row.status,
        "status_reason": row.status_reason,
        "config_version": row.config_version,
        "config": config,
        "note": row.note,
    }


def _read(config: str) -> str:
    if not config.startswith("@"):
        return config
    path = Path(config[1:])
    if not path.is_file():
        fail(f"--config {config}: no such file")
    return path.read_text(encoding="utf-8")


def _name_of(url: str) -> str:
    from urllib.parse import urlsplit

    return (urlsplit(url).hostname or "source").removeprefix("www.").replace(".", "_")
