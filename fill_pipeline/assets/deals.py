"""The deals: what new and changed listings are worth, less what they cost."""

from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, asset

from fill_pipeline.assets.vehicles import VEHICLES
from fill_pipeline.assets.windows import WINDOWS, cycle_of
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.resources import Fill

TOP = 10
CELLS = ("title", "net_profit", "asking_price", "url")


@asset(
    deps=[VEHICLES],
    partitions_def=WINDOWS,
    group_name="deals",
    kinds={"postgres"},
    description="Profit = oracle value - ask - friction, for listings new or changed since the last time.",
)
def arbitrage_valuations(context: AssetExecutionContext, fill: Fill) -> MaterializeResult[None]:
    from fill_pipeline.deals.finder import find_deals, top_deals

    with fill.connect("deals") as conn:
        cycle_id = cycle_of(context, conn)
        result = find_deals(conn, fill.settings, cycle_id=cycle_id, now=utc_now(), run_id=context.run.run_id)
        best = top_deals(conn, TOP)
    rows = [(d.title or "", d.valuation.get("net_profit"), d.valuation.get("asking_price"), d.url) for d in best]
    table = "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in (CELLS, ["---"] * len(CELLS), *rows))
    figures = {name: value for name, value in result.items() if isinstance(value, int | float | str)}
    return MaterializeResult(metadata={"top_deals": MetadataValue.md(table), **figures, **_accuracy(result)})


def _accuracy(result: dict[str, Any]) -> dict[str, MetadataValue[Any]]:
    """How far the oracle was off, leave-one-out: the median over all, and a table by price band and by segment."""
    said = result.get("accuracy") or {}
    if said.get("mdape") is None:
        return {}
    groups = (*said["by_band"].items(), *said["by_segment"].items())
    rows = [f"| {_cell(name)} | {group['n']} | {group['mdape']:.1%} |" for name, group in groups]
    table = "\n".join(("| listings | n | median error |", "| --- | --- | --- |", *rows))
    return {"oracle_mdape": MetadataValue.float(said["mdape"]), "oracle_accuracy": MetadataValue.md(table)}


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
