"""What the system does to become better: new sources, repaired sources, mended data."""

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, asset
from pydantic import Field

from fill_pipeline.assets.action import ActionConfig, carry_out
from fill_pipeline.assets.vehicles import VEHICLES
from fill_pipeline.assets.windows import WINDOWS
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.state import ActionKind
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db import cycles
from fill_pipeline.resources import Fill

GROUP = "improvement"
MOST_SHOWN = 200
"""Fixes that a dry run lists."""


class RepairsConfig(ActionConfig):
    """Which action to carry out, or only what it would do."""

    dry_run: bool = Field(default=False, description="Tell what would be mended, and change nothing")


@asset(deps=[VEHICLES], partitions_def=WINDOWS, group_name=GROUP, kinds={"web"})
def discovered_sources(context: AssetExecutionContext, config: ActionConfig, fill: Fill) -> MaterializeResult[None]:
    """Candidates found, probed and scored; the good ones join the registry on trial."""
    return _done(context, config, fill, ActionKind.DISCOVER)


@asset(deps=[VEHICLES], partitions_def=WINDOWS, group_name=GROUP, kinds={"web"})
def source_repairs(context: AssetExecutionContext, config: ActionConfig, fill: Fill) -> MaterializeResult[None]:
    """Failing sources diagnosed, and those a redesign broke given new rules."""
    return _done(context, config, fill, ActionKind.REPAIR)


@asset(deps=[VEHICLES], partitions_def=WINDOWS, group_name=GROUP, kinds={"postgres"})
def vehicle_repairs(context: AssetExecutionContext, config: RepairsConfig, fill: Fill) -> MaterializeResult[None]:
    """Missing fields filled from other listings, the VIN and the archive, invalid values corrected, duplicates
    joined."""
    if config.dry_run:
        return _would_fix(context.partition_key, config, fill)
    return _done(context, config, fill, ActionKind.IMPROVE)


def _would_fix(window: str, config: RepairsConfig, fill: Fill) -> MaterializeResult[None]:
    """What would be mended of the vehicles that a cycle touched: the window's last one, or the one named."""
    from fill_pipeline.drain.reread import fix_from_archive  # the crawler's libraries; the code location stays light

    with fill.connect("dry run") as conn:
        of_window = cycles.cycles_of_window(conn, window)
        cycle_id = config.cycle_id or (of_window[-1] if of_window else window)
        fixes = fix_from_archive(conn, fill.settings, cycle_id=cycle_id, now=utc_now(), dry_run=True)
    shown = [[r.vehicle_id, r.field_name, r.before, r.after, r.reason] for r in fixes.repairs[:MOST_SHOWN]]
    return MaterializeResult(
        metadata={"cycle": cycle_id, "dry_run": True, "counts": fixes.as_json(), "fixes": MetadataValue.json(shown)}
    )


def _done(
    context: AssetExecutionContext, config: ActionConfig, fill: Fill, kind: ActionKind
) -> MaterializeResult[None]:
    if not config.planned and context.partition_key != window_at(utc_now()).key:
        return MaterializeResult(metadata={"note": "a past window has its archive replayed; this acts on the present"})
    outcome = carry_out(context, config, fill, kind)
    facts = {k: v if isinstance(v, int | float | str) else MetadataValue.json(v) for k, v in outcome.details.items()}
    return MaterializeResult(metadata={"cycle": outcome.cycle_id, "gained": outcome.gained, **facts})


IMPROVEMENT = (discovered_sources, source_repairs, vehicle_repairs)
