"""What the system does to become better: new sources, repaired sources, mended data."""

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, asset

from fill_pipeline.assets.action import ActionConfig, carry_out
from fill_pipeline.assets.vehicles import VEHICLES
from fill_pipeline.assets.windows import WINDOWS
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.state import ActionKind
from fill_pipeline.cycle.window import window_at
from fill_pipeline.resources import Fill

GROUP = "improvement"


@asset(deps=[VEHICLES], partitions_def=WINDOWS, group_name=GROUP, kinds={"web"})
def discovered_sources(context: AssetExecutionContext, config: ActionConfig, fill: Fill) -> MaterializeResult[None]:
    """Candidates found, probed and scored; the good ones join the registry on trial."""
    return _done(context, config, fill, ActionKind.DISCOVER)


@asset(deps=[VEHICLES], partitions_def=WINDOWS, group_name=GROUP, kinds={"web"})
def source_repairs(context: AssetExecutionContext, config: ActionConfig, fill: Fill) -> MaterializeResult[None]:
    """Failing sources diagnosed, and those a redesign broke given new rules."""
    return _done(context, config, fill, ActionKind.REPAIR)


@asset(deps=[VEHICLES], partitions_def=WINDOWS, group_name=GROUP, kinds={"postgres"})
def vehicle_repairs(context: AssetExecutionContext, config: ActionConfig, fill: Fill) -> MaterializeResult[None]:
    """Missing fields filled from other listings and the VIN, invalid values corrected, duplicates joined."""
    return _done(context, config, fill, ActionKind.IMPROVE)


def _done(
    context: AssetExecutionContext, config: ActionConfig, fill: Fill, kind: ActionKind
) -> MaterializeResult[None]:
    if not config.planned and context.partition_key != window_at(utc_now()).key:
        return MaterializeResult(metadata={"note": "a past window has its archive replayed; this acts on the present"})
    outcome = carry_out(context, config, fill, kind)
    facts = {k: v if isinstance(v, int | float | str) else MetadataValue.json(v) for k, v in outcome.details.items()}
    return MaterializeResult(metadata={"cycle": outcome.cycle_id, "gained": outcome.gained, **facts})


IMPROVEMENT = (discovered_sources, source_repairs, vehicle_repairs)
