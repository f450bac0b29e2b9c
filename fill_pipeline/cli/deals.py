"""``fill deals``: what is worth buying, and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fill_pipeline.cli.database import open_database
from fill_pipeline.cli.output import Json, console, fail, print_json, print_table, say, working
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db import cycles
from fill_pipeline.deals.finder import find_deals, top_deals, why
from fill_pipeline.settings import Settings

app = typer.Typer(help="Deals: oracle value less asking price and friction.", no_args_is_help=True)
TITLE_CHARS = 30
ListingId = Annotated[int, typer.Argument(help="The listing's id.")]


@app.command()
def top(
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many.")] = 20, json: Json = False
) -> None:
    """List the most profitable current deals that are sure enough and not likely frauds."""
    with open_database("deals") as conn:
        rows = top_deals(conn, count)
    if json:
        print_json([{"listing_id": d.listing_id, "url": d.url, "title": d.title, **d.valuation} for d in rows])
        return
    if not rows:
        console.print("no deals; `fill deals run` values what is new, and a listing needs three comparables")
        return
    columns = ("listing", "title", "ask", "value", "profit", "ROI", "sells")
    print_table(f"{len(rows)} deals", columns, [_row(d.listing_id, d.title, d.valuation) for d in rows])


@app.command()
def show(listing_id: ListingId, json: Json = False) -> None:
    """Show a listing's valuation: value, each friction cost, signals."""
    found = _why(listing_id)
    valuation = found["valuation"]["valuation"]
    if json:
        print_json(valuation | {"listing": found["listing"], "valued_at": found["valuation"]["valued_at"]})
        return
    say(f" {found['listing']['url']}", bold=str(found["listing"]["title"] or ""))
    rows = [(name, _flat(value)) for name, value in valuation.items() if name not in ("comparables", "content_hash")]
    print_table(f"listing {listing_id}", ("figure", "value"), rows)


@app.command("why")
def explain(listing_id: ListingId, json: Json = False) -> None:
    """Show everything behind a listing's valuation: the comparables, and what it was valued at before."""
    found = _why(listing_id)
    if json:
        print_json(found)
        return
    show(listing_id)
    facts = ("id", "year", "trim", "price", "mileage", "mileage_unit", "status")
    title = f"the {len(found['comparables'])} nearest of the comparables"
    print_table(
        title, facts, [[c.get("vehicle_id") if f == "id" else c.get(f) for f in facts] for c in found["comparables"]]
    )
    history = ("valued_at", "asking_price", "oracle_value", "net_profit", "closed_at", "close_reason")
    print_table("valuations", history, [[_when(h[name]) for name in history] for h in found["history"]])


@app.command()
def run(json: Json = False) -> None:
    """Value what is new or changed since the last time, and print the job's result."""
    settings, now = Settings(), utc_now()
    with open_database("deals") as conn:
        cycle = cycles.open_one(conn) or next(iter(cycles.last_ended(conn)), None)
        cycle_id = cycle.cycle_id if cycle else window_at(now).key
        with working("valuing what is new"):
            result = find_deals(conn, settings, cycle_id=cycle_id, now=now)
    if json:
        print_json(result)
    else:
        error = (result.get("accuracy") or {}).get("mdape")
        figures = result | {"accuracy": f"median error {error:.1%}" if error is not None else "too few comparables"}
        print_table("deal finder", ("figure", "value"), [(name, _flat(value)) for name, value in figures.items()])


def _why(listing_id: int) -> dict[str, Any]:
    with open_database("deals") as conn:
        found = why(conn, listing_id)
    if found is None:
        fail(f"there is no listing {listing_id}; `fill deals top` names some")
    if found["valuation"] is None:
        fail(f"listing {listing_id} has no valuation: too few comparables, no price, or not yet looked at")
    return found


def _row(listing_id: int, title: str | None, valuation: dict[str, Any]) -> tuple[Any, ...]:
    money = valuation["currency"]
    return (
        listing_id,
        (title or "")[:TITLE_CHARS],
        f"{valuation['asking_price']:,} {money}",
        f"{valuation['oracle_value']:,}",
        f"{valuation['net_profit']:,}",
        f"{valuation['roi']:.0%}",
        valuation["liquidity_tier"],
    )


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(part)}" for name, part in value.items() if part not in (None, [], {}))
    if isinstance(value, list):
        return "; ".join(map(_flat, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _when(value: Any) -> Any:
    return f"{value:%Y-%m-%d %H:%M}" if hasattr(value, "strftime") else value
