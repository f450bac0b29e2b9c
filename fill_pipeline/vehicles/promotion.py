"""Stored listings that were kept from standing for a vehicle, and now may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from fill_pipeline.db import listings as db
from fill_pipeline.db import vehicles as vehicles_db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.listings import ListingRow
from fill_pipeline.vehicles import identity
from fill_pipeline.vehicles.assignment import Assignment, Pending
from fill_pipeline.vehicles.completeness import CORE_FIELDS

_TELLS_CARS_APART = ("vin", "year", "make", "model", "mileage")


def promote(
    conn: Connection,
    rows: Sequence[ListingRow],
    *,
    cycle_id: str,
    now: datetime,
    core_fields: Sequence[str] = CORE_FIELDS,
) -> int:
    """Give stored (locked) listings their vehicles, inside the caller's transaction; returns how many are new.

    A listing that has a vehicle already changes it as its newest observation would have. Nothing else of a
    listing changes: no page was seen. Raises ``WriteConflict`` where another writer was first.
    """
    vehicles = vehicles_db.vehicle_snapshots(
        conn, sorted({row.vehicle_id for row in rows if row.vehicle_id is not None})
    )
    items = []
    for row in rows:
        if identity.is_identifiable(row):
            known = row
            if row.vehicle_id is not None:  # what the vehicle says is what the listing said before it was held
                said = vehicles[row.vehicle_id].row
                known = replace(row, **{name: said[name] for name in _TELLS_CARS_APART})
            items.append(Pending(replace(row), known, promote=True))
    assignment = Assignment(conn, items, now=now, cycle_id=cycle_id, core_fields=core_fields)
    assignment.find_vehicles()
    db.update_listings(conn, [item.row for item in items])
    assignment.derive_vehicles()
    return len(assignment.added)
