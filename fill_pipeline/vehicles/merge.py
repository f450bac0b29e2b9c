"""Putting two vehicles together, and taking them apart again exactly as they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fill_pipeline.db import listings as db
from fill_pipeline.db import vehicles as vehicles_db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.listings import ListingRow
from fill_pipeline.vehicles.completeness import CORE_FIELDS
from fill_pipeline.vehicles.survivorship import survive


class MergeError(Exception):
    """The vehicles cannot be merged, or the merge cannot be undone; the message says why."""


def merge_vehicles(
    conn: Connection,
    keep: int,
    absorb: int,
    *,
    reason: str,
    evidence: dict[str, Any],
    now: datetime,
    cycle_id: str,
    decided_by: str = "identity",
    core_fields: Sequence[str] = CORE_FIELDS,
) -> int:
    """Make vehicle ``keep`` stand for the listings of ``absorb`` too, inside the caller's transaction.

    Returns the id of the row of ``vehicle_repairs`` that ``unmerge`` takes. Raises ``MergeError``
    where a vehicle is missing or both have a VIN of their own.
    """
    if keep == absorb or vehicles_db.lock_vehicles(conn, sorted((keep, absorb))).keys() != {keep, absorb}:
        raise MergeError(f"vehicles {keep} and {absorb} are not two existing vehicles")
    before = vehicles_db.vehicle_snapshots(conn, [keep, absorb])
    kept, absorbed = before[keep], before[absorb]
    vin = absorbed.row["vin"]
    if vin and kept.row["vin"]:
        raise MergeError(f"vehicles {keep} and {absorb} have VINs of their own: {kept.row['vin']}, {vin}")
    db.move_listings(conn, absorbed.listings, origin=absorb, target=keep)
    vehicles_db.delete_vehicle(conn, absorb)
    if vin:
        vehicles_db.claim_vin(conn, keep, vin)
    derive(conn, {keep}, now=now, cycle_id=cycle_id, core_fields=core_fields)
    vehicles_db.decide_proposal(conn, keep, absorb, status="merged", decided_by=decided_by, now=now)
    return vehicles_db.record_repair(
        conn,
        vehicle_id=keep,
        kind="merge",
        before={
            "kept": kept.row,
            "absorbed": absorbed.row,
            "kept_listings": kept.listings,
            "absorbed_listings": absorbed.listings,
        },
        after=vehicles_db.vehicle_snapshots(conn, [keep])[keep].row,
        reason=reason,
        evidence=evidence,
        cycle_id=cycle_id,
        now=now,
    )


def unmerge(
    conn: Connection,
    repair_id: int,
    *,
    reason: str,
    now: datetime,
    cycle_id: str,
    core_fields: Sequence[str] = CORE_FIELDS,
) -> tuple[int, int]:
    """Undo a merge inside the caller's transaction; returns (kept vehicle, restored vehicle).

    Both vehicles and their listings are exactly as before the merge, in whatever order several merges
    are undone. Where listings came or changed since, those go to the kept vehicle and the vehicles
    concerned are derived anew. Raises ``MergeError`` where there is no such merge in force.
    """
    found = vehicles_db.merge_record(conn, repair_id)
    if found is None:
        raise MergeError(f"no merge {repair_id} is in force")
    keep, before, _ = found
    absorbed_id = int(before["absorbed"]["id"])
    if keep not in vehicles_db.lock_vehicles(conn, [keep]):
        raise MergeError(f"vehicle {keep} was itself merged since; undo that merge first")
    now_kept = vehicles_db.vehicle_snapshots(conn, [keep])[keep]
    if now_kept.row["vin"] is not None and now_kept.row["vin"] == before["absorbed"]["vin"]:
        vehicles_db.write_vehicle(conn, now_kept.row | {"vin": None})  # the VIN goes back with its vehicle
    vehicles_db.restore_vehicle(conn, before["absorbed"])
    db.move_listings(conn, before["absorbed_listings"], origin=keep, target=absorbed_id)
    derive(conn, {keep, absorbed_id}, now=now, cycle_id=cycle_id, core_fields=core_fields)
    _take_back_as_it_was(conn, keep, absorbed_id, before)
    vehicles_db.decide_proposal(conn, keep, absorbed_id, status="undone", decided_by=reason, now=now)
    vehicles_db.record_repair(
        conn,
        vehicle_id=keep,
        kind="unmerge",
        before=now_kept.row,
        after=vehicles_db.vehicle_snapshots(conn, [keep])[keep].row,
        reason=reason,
        evidence={"merge": repair_id, "restored": absorbed_id},
        cycle_id=cycle_id,
        now=now,
    )
    return keep, absorbed_id


def _take_back_as_it_was(conn: Connection, keep: int, absorbed: int, before: Mapping[str, Any]) -> None:
    """Put vehicles that are what they were before some merge back as their snapshot says, to the last column."""
    past = [before, *vehicles_db.merges_into(conn, [keep, absorbed])]
    snapshots = [(one[part], one[f"{part}_listings"]) for one in past for part in ("kept", "absorbed")]
    for vehicle_id, now in vehicles_db.vehicle_snapshots(conn, [keep, absorbed]).items():
        for row, listings in snapshots:
            if row["id"] == vehicle_id and set(listings) == set(now.listings) and _values(row) == _values(now.row):
                vehicles_db.write_vehicle(conn, row)
                break


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("updated_at", "updated_cycle")}


def derive(
    conn: Connection,
    vehicle_ids: Iterable[int],
    *,
    now: datetime,
    cycle_id: str,
    core_fields: Sequence[str] = CORE_FIELDS,
    at_hand: Mapping[int, Sequence[ListingRow]] | None = None,
) -> int:
    """Derive these (locked) vehicles again from their listings; returns how many.

    ``at_hand`` gives all listings of some of them, which then are not read. One without listings
    keeps its values and is delisted.
    """
    wanted = set(vehicle_ids)
    observed: dict[int, Sequence[ListingRow]] = {v: rows for v, rows in (at_hand or {}).items() if v in wanted}
    to_read = sorted(wanted - observed.keys())
    if to_read:
        observed |= db.observations(conn, to_read)
    derived = [
        survive(rows, vehicle_id=vehicle_id, now=now, cycle_id=cycle_id, core_fields=core_fields)
        for vehicle_id, rows in observed.items()
    ]
    count = vehicles_db.update_vehicles(conn, derived) if derived else 0
    unlisted = wanted - observed.keys()
    if unlisted:
        count += vehicles_db.unlist_vehicles(conn, sorted(unlisted), cycle_id=cycle_id, now=now)
    return count
