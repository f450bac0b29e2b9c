"""The valuations as an asset: what Dagster shows of a run."""

from __future__ import annotations

import random
from datetime import timedelta

from dagster import DagsterInstance, MarkdownMetadataValue, materialize

from fill_pipeline.assets.deals import arbitrage_valuations
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.extract.listing import Listing
from fill_pipeline.resources import Fill
from fill_pipeline.settings import Settings
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.store import ListingToWrite, write_listings


def test_every_run_tells_how_far_the_oracle_was_off_and_the_row_names_the_run(edge: Settings, conn: Connection) -> None:
    now = utc_now()
    source = registry.declare_source(conn, name="lot", base_url="http://lot.example", config={}, kind="dealer").id
    cycle = ensure_open(conn, edge, now=now)
    dice = random.Random(1)
    cars = [
        Listing(
            url=f"http://lot.example/{i}",
            remote_id=str(i),
            year=2015,
            make="Honda",
            model="Civic",
            price=10_000 + dice.randrange(1_000),
            currency="USD",
            mileage=60_000 + 1_000 * i,
            mileage_unit="mi",
            condition="used",
        )
        for i in range(12)
    ]
    rows = [ListingToWrite.of(clean(one, now=now), source_id=source, source="lot") for one in cars]
    with conn.transaction():
        write_listings(conn, rows, cycle_id=cycle.cycle_id, now=now - timedelta(minutes=1))
    with DagsterInstance.ephemeral() as instance:
        done = materialize(
            [arbitrage_valuations],
            instance=instance,
            resources={"fill": Fill()},
            partition_key=window_at(now).key,
        )
    [event] = done.asset_materializations_for_node("arbitrage_valuations")
    assert event.metadata["listings_valued"].value == 12
    error = event.metadata["oracle_mdape"].value
    assert isinstance(error, float)
    assert 0 < error < 0.1
    table = event.metadata["oracle_accuracy"]
    assert isinstance(table, MarkdownMetadataValue)
    assert "Honda Civic USD | 12 |" in str(table.value)
    assert conn.execute("SELECT run_id FROM deal_finder_jobs").fetchall() == [(done.run_id,)]
