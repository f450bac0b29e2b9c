"""The whole system on one page."""

from __future__ import annotations

import warnings

from dagster import Definitions, PreviewWarning, definitions, in_process_executor
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType

from fill_pipeline.assets.catalogue import Catalogue
from fill_pipeline.assets.checks import build_checks
from fill_pipeline.assets.deals import arbitrage_valuations
from fill_pipeline.assets.improvement import IMPROVEMENT
from fill_pipeline.assets.reports import REPORTS
from fill_pipeline.assets.sources import build_sources
from fill_pipeline.assets.vehicles import build_vehicles
from fill_pipeline.automation.jobs import JOBS
from fill_pipeline.automation.schedules import SCHEDULES
from fill_pipeline.automation.sensors import build_sensors
from fill_pipeline.db import registry
from fill_pipeline.db.connect import connect
from fill_pipeline.db.server import database_url
from fill_pipeline.resources import Fill
from fill_pipeline.settings import Settings

PINNED = "sources"
# Partitioned checks are a preview: dagster is pinned to the version they were tried with.
warnings.filterwarnings("ignore", category=PreviewWarning)


@definitions
def defs() -> Definitions:
    """Assets, checks, jobs, schedules and sensors for the sources that the registry has now.

    A run builds the same graph again from what was pinned when it was asked for, so that it does not
    matter to it whether a source came or went since.
    """
    context = DefinitionsLoadContext.get()
    catalogue = load_catalogue(context)
    # Not Definitions.with_reconstruction_metadata: in 1.13.27 what it keeps never reaches a run.
    context.add_to_pending_reconstruction_metadata(PINNED, catalogue.dumps())
    return Definitions(
        assets=[
            build_sources(catalogue),
            build_vehicles(catalogue),
            *REPORTS,
            *IMPROVEMENT,
            arbitrage_valuations,
        ],
        asset_checks=[build_checks(Settings())],
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=build_sensors(catalogue),
        resources={"fill": Fill()},
        executor=in_process_executor,  # a process per step costs 2 to 3 s of imports
    )


def load_catalogue(context: DefinitionsLoadContext) -> Catalogue:
    """The sources pinned for this run, or those in the registry, the database migrated first."""
    if context.load_type is DefinitionsLoadType.RECONSTRUCTION and PINNED in context.reconstruction_metadata:
        return Catalogue.loads(context.reconstruction_metadata[PINNED])
    from fill_pipeline.db.migrate import migrate  # Alembic, which a run does without

    url = database_url(Settings())
    migrate(url)
    with connect(url, name="fill definitions") as conn:
        return Catalogue.of(registry.sources(conn))
