"""The vehicles: one asset downstream of every source, its metadata the figures a person asks for first."""

from dagster import AssetExecutionContext, AssetKey, AssetsDefinition, MaterializeResult, asset

from fill_pipeline.assets.catalogue import PREFIX, UNLISTED, Catalogue
from fill_pipeline.assets.windows import WINDOWS, cycle_of
from fill_pipeline.db import counters, cycles, ledger
from fill_pipeline.db.connect import Connection
from fill_pipeline.resources import Fill

VEHICLES = AssetKey(["vehicles"])
TOTALS = ("vehicles", "listings.active", "listings.delisted", "listings.sold", "queue.pending", "queue.dead")


def build_vehicles(catalogue: Catalogue) -> AssetsDefinition:
    """The asset ``vehicles``, fed by every source."""

    @asset(
        key=VEHICLES,
        deps=[AssetKey([PREFIX, UNLISTED]), *(node.key for node in catalogue.nodes)],
        partitions_def=WINDOWS,
        group_name="vehicles",
        kinds={"postgres"},
        description="One row for each real vehicle, derived from its listings.",
    )
    def vehicles(context: AssetExecutionContext, fill: Fill) -> MaterializeResult[None]:
        with fill.connect("vehicles") as conn:
            return MaterializeResult(metadata=figures(conn, cycle_of(context, conn)))

    return vehicles


def figures(conn: Connection, cycle_id: str) -> dict[str, int | float | str]:
    """What the database holds, and what this cycle did to it. ``data_quality`` is 0 to 1."""
    added, touched, quality = ledger.vehicles_of_cycle(conn, cycle_id)
    cycle = cycles.cycle(conn, cycle_id)
    facts: dict[str, int | float | str] = {"cycle": cycle_id, "vehicles_added": added, "vehicles_touched": touched}
    if cycle is not None:
        facts |= {"target": cycle.target, "gap": max(0, cycle.target - added), "cycle_status": cycle.status}
    if quality is not None:
        facts["data_quality"] = round(quality, 4)
    return facts | {f"total {name.replace('.', ' ')}": n for name, n in counters.totals(conn, TOTALS).items()}
