"""Which vehicle each new or changed listing of a batch stands for, and what its vehicle then is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.errors import UniqueViolation

from fill_pipeline.db import listings as db
from fill_pipeline.db import vehicles as vehicles_db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.listings import ListingRow
from fill_pipeline.db.vehicles import BlockQuery, VehicleRow
from fill_pipeline.vehicles import identity
from fill_pipeline.vehicles.merge import derive, merge_vehicles
from fill_pipeline.vehicles.revision import is_other_car
from fill_pipeline.vehicles.survivorship import survive
from fill_pipeline.vehicles.vin import IDENTIFYING, VinStatus, corrected_vins


class WriteConflict(Exception):
    """Another writer was first with the same advertisements or vehicles; roll back and write the batch again."""


@dataclass(slots=True)
class Pending:
    """A new or changed listing on its way into the database.

    ``known`` is the stored row it revises, None for a new one; ``promote`` whether it may stand for
    a vehicle.
    """

    row: ListingRow
    known: ListingRow | None
    promote: bool

    @property
    def vin(self) -> str | None:
        """The VIN, where it tells vehicles apart."""
        return self.row.vin if self.row.vin_status in IDENTIFYING else None

    @property
    def is_other_car(self) -> bool:
        """Whether the advertisement's id went to another car."""
        return self.known is not None and is_other_car(self.known, self.row)


class Assignment:
    """One batch's search for its vehicles. Call the methods in the order in which they stand here."""

    def __init__(
        self, conn: Connection, items: Sequence[Pending], *, now: datetime, cycle_id: str, core_fields: Sequence[str]
    ) -> None:
        self.added: set[int] = set()
        self.updated = 0
        self._conn, self._now, self._cycle_id, self._core_fields = conn, now, cycle_id, core_fields
        self._items = items
        self._ids: Iterator[int] = iter(())
        self._planned: dict[int, list[Pending]] = {}  # vehicle to insert → its listings in this batch
        self._by_block: dict[str, list[tuple[int | None, int]]] = {}  # block → (odometer, vehicle to insert)
        self._vehicle_of_vin: dict[str, int] = {}
        self._claims: dict[str, tuple[int, Pending]] = {}  # VIN → existing vehicle that gets it
        self._absorbed: list[tuple[int, int]] = []  # (vehicle that turned out to be the other one, that one)
        self._touched: set[int] = set()
        self._listing_counts: dict[int, int] = {}
        self._proposals: list[tuple[int, int, float, dict[str, float]]] = []

    def find_vehicles(self) -> None:
        """Give every listing that may stand for a vehicle its ``vehicle_id``, and insert the new vehicles.

        Locks the existing vehicles that will be derived again.
        """
        if not self._items:
            return
        wanting = [item for item in self._items if item.promote]
        fresh = [item for item in self._items if item.known is None]
        listing_ids, vehicle_ids = db.next_ids(self._conn, listings=len(fresh), vehicles=len(wanting))
        self._ids = iter(vehicle_ids)
        for item, listing_id in zip(fresh, listing_ids, strict=True):
            item.row.id = listing_id
        unmatched = self._match_by_vin(wanting)
        self._match_by_description(unmatched)
        self._insert_planned()
        self._lock()
        self._claim_vins()

    def derive_vehicles(self) -> None:
        """Derive every touched vehicle again from all its listings; merge and propose what was found the same."""
        for absorbed, kept in self._absorbed:
            if absorbed in self._touched and kept != absorbed:
                merge_vehicles(
                    self._conn,
                    kept,
                    absorbed,
                    reason="one VIN",
                    evidence={"vin": 20.0},
                    now=self._now,
                    cycle_id=self._cycle_id,
                )
                self._touched.discard(absorbed)
        if self._touched:
            self.updated = derive(
                self._conn,
                self._touched,
                now=self._now,
                cycle_id=self._cycle_id,
                core_fields=self._core_fields,
                at_hand=self._only_children(),
            )
        if self._proposals:
            vehicles_db.propose_merges(self._conn, self._proposals, now=self._now)

    def _only_children(self) -> dict[int, list[ListingRow]]:
        """The vehicles whose one listing was in this batch, and so need not be read again."""
        by_vehicle: dict[int | None, list[Pending]] = {}
        for item in self._items:
            by_vehicle.setdefault(item.row.vehicle_id, []).append(item)
        return {
            vehicle_id: [items[0].row]
            for vehicle_id, items in by_vehicle.items()
            if vehicle_id is not None
            and len(items) == 1
            and self._listing_counts.get(vehicle_id) == 1
            and items[0].known is not None
            and items[0].known.vehicle_id == vehicle_id
        }

    def _match_by_vin(self, wanting: list[Pending]) -> list[Pending]:
        """Join by VIN, keep what is settled; returns the listings still without a vehicle."""
        vins = sorted({item.vin for item in wanting if item.vin is not None})
        vehicles = vehicles_db.vehicles_by_vin(self._conn, vins) if vins else {}
        unmatched: list[Pending] = []
        for item in sorted(wanting, key=lambda i: i.known is None):  # known first: their vehicles may claim a VIN
            row, current = item.row, item.row.vehicle_id
            if current is not None:
                self._touched.add(current)
            vehicle = vehicles.get(item.vin or "")
            if vehicle is not None and current != vehicle.id and identity.vin_contradicted(row, vehicle):
                row.vin_status, vehicle = VinStatus.SHARED, None
            if vehicle is not None:
                row.vehicle_id = vehicle.id
                self._touched.add(vehicle.id)
                if current is not None and current != vehicle.id and not item.is_other_car:
                    self._absorbed.append((current, vehicle.id))
            elif item.vin is not None and current is not None and not item.is_other_car:
                if item.known is None or item.known.vin != item.vin:
                    self._claims[item.vin] = (current, item)
                    self._vehicle_of_vin[item.vin] = current
            elif current is None or item.is_other_car:
                row.vehicle_id = None
                unmatched.append(item)
        return unmatched

    def _match_by_description(self, unmatched: list[Pending]) -> None:
        """Join or plan listings whose VIN has no vehicle yet, or that have none, by comparing inside their block."""
        unmatched = sorted(unmatched, key=lambda i: i.vin is None)  # with VIN first: the others may join them
        blocks = [identity.block_of(item.row) for item in unmatched]
        locks = {identity.lock_key(b[0]) for item, b in zip(unmatched, blocks, strict=True) if b and item.vin is None}
        if locks:
            vehicles_db.lock_blocks(self._conn, sorted(locks))
        wanted = [
            BlockQuery(*b, *identity.window_of(b[1]), item.vin is None, item.row.city, item.row.price)
            for item, b in zip(unmatched, blocks, strict=True)
            if b
        ]
        found = iter(vehicles_db.block_candidates(self._conn, wanted) if wanted else [])
        meant = self._vins_meant(unmatched)
        candidates = [[*(next(found) if b else []), *ids] for b, ids in zip(blocks, meant, strict=True)]
        observed = (
            db.observations(self._conn, sorted({v for ids in candidates for v in ids})) if any(candidates) else {}
        )
        for item, block, ids in zip(unmatched, blocks, candidates, strict=True):
            if item.vin is not None and item.vin in self._vehicle_of_vin:
                self._join_planned(item, self._vehicle_of_vin[item.vin])
                continue
            rivals: dict[int, Sequence[ListingRow]] = {v: observed[v] for v in ids if v in observed}
            if block is not None and item.vin is None:
                rivals |= self._planned_rivals(block)
            rivals |= {v: [p.row for p in self._planned[v]] for v in ids if v in self._planned}
            decision = identity.decide(item.row, rivals) if rivals else identity.NO_MATCH
            if decision.vehicle_id is None:
                self._plan(item, block)
            elif decision.vehicle_id in self._planned:
                self._planned[decision.vehicle_id].append(item)
                item.row.vehicle_id = decision.vehicle_id
            else:
                item.row.vehicle_id = decision.vehicle_id
                self._touched.add(decision.vehicle_id)
                if item.vin is not None and any(row.vin_status in IDENTIFYING for row in rivals[decision.vehicle_id]):
                    item.row.vin_status = VinStatus.INVALID  # a slip that happens to have a right check digit
                elif item.vin is not None:
                    self._claims[item.vin] = (decision.vehicle_id, item)
                    self._vehicle_of_vin[item.vin] = decision.vehicle_id
            for other, score, reasons in decision.proposals:
                self._proposals.append((item.row.vehicle_id or 0, other, score, reasons))

    def _vins_meant(self, unmatched: list[Pending]) -> list[list[int]]:
        """For each listing the vehicles of which its rejected VIN may be a mistyped one."""
        guesses = [[] if item.vin else corrected_vins(identity.vin_as_written(item.row) or "") for item in unmatched]
        every = sorted({guess for of_one in guesses for guess in of_one})
        known = (
            {vin: vehicle.id for vin, vehicle in vehicles_db.vehicles_by_vin(self._conn, every).items()}
            if every
            else {}
        )
        known |= {item.vin: v for v, items in self._planned.items() for item in items if item.vin in set(every)}
        return [[known[guess] for guess in of_one if guess in known] for of_one in guesses]

    def _planned_rivals(self, block: tuple[str, int | None]) -> dict[int, Sequence[ListingRow]]:
        low, high = identity.window_of(block[1])
        return {
            vehicle_id: [p.row for p in self._planned[vehicle_id]]
            for km, vehicle_id in self._by_block.get(block[0], ())
            if km is None or block[1] is None or low <= km <= high
        }

    def _plan(self, item: Pending, block: tuple[str, int | None] | None) -> None:
        vehicle_id = next(self._ids)
        item.row.vehicle_id = vehicle_id
        self._planned[vehicle_id] = [item]
        if item.vin is not None:
            self._vehicle_of_vin[item.vin] = vehicle_id
        if block is not None:
            self._by_block.setdefault(block[0], []).append((block[1], vehicle_id))

    def _join_planned(self, item: Pending, vehicle_id: int) -> None:
        first = self._planned.get(vehicle_id)
        if first is not None and identity.vin_contradicted(item.row, first[0].row):
            item.row.vin_status = VinStatus.SHARED
            self._plan(item, None)
        elif first is not None:
            first.append(item)
            item.row.vehicle_id = vehicle_id
        else:
            item.row.vehicle_id = vehicle_id
            self._touched.add(vehicle_id)

    def _insert_planned(self) -> None:
        if not self._planned:
            return
        self.added = vehicles_db.insert_vehicles(
            self._conn, [self._derived(v, items) for v, items in self._planned.items()]
        )
        lost = {v: items for v, items in self._planned.items() if v not in self.added}
        if not lost:
            return
        # Another writer inserted these VINs between our look and our insert.
        vehicles = vehicles_db.vehicles_by_vin(self._conn, [items[0].vin or "" for items in lost.values()])
        apart: dict[int, list[Pending]] = {}
        for vehicle_id, items in lost.items():
            vehicle = vehicles.get(items[0].vin or "")
            if vehicle is None:
                raise WriteConflict(f"vehicle {items[0].vin} came and went while its listing was written")
            if identity.vin_contradicted(items[0].row, vehicle):
                for item in items:
                    item.row.vin_status = VinStatus.SHARED
                apart[vehicle_id] = items
                continue
            for item in items:
                item.row.vehicle_id = vehicle.id
            self._touched.add(vehicle.id)
            self._proposals = [(vehicle.id if a == vehicle_id else a, b, s, r) for a, b, s, r in self._proposals]
        if apart:
            self.added |= vehicles_db.insert_vehicles(
                self._conn, [self._derived(v, items) for v, items in apart.items()]
            )

    def _derived(self, vehicle_id: int, items: list[Pending]) -> VehicleRow:
        rows = [item.row for item in items]
        return survive(
            rows, vehicle_id=vehicle_id, now=self._now, cycle_id=self._cycle_id, core_fields=self._core_fields
        )

    def _lock(self) -> None:
        if self._touched:
            self._listing_counts = vehicles_db.lock_vehicles(self._conn, sorted(self._touched))
        if self._listing_counts.keys() != self._touched:
            raise WriteConflict("a vehicle of this batch was merged into another meanwhile")

    def _claim_vins(self) -> None:
        for vin, (vehicle_id, item) in sorted(self._claims.items(), key=lambda claim: claim[0]):
            try:
                with self._conn.transaction():
                    vehicles_db.claim_vin(self._conn, vehicle_id, vin)
            except UniqueViolation as error:
                vehicle = vehicles_db.vehicles_by_vin(self._conn, [vin]).get(vin)
                if vehicle is None:
                    raise WriteConflict(f"vehicle {vin} came and went while its listing was written") from error
                item.row.vehicle_id = vehicle.id
                self._touched.add(vehicle.id)
                self._absorbed.append((vehicle_id, vehicle.id))
