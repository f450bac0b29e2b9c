"""Fixing data: missing fields filled, wrong ones corrected, duplicates merged, each with its record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

import psycopg

from fill_pipeline.db import fixes as db
from fill_pipeline.db import listings as rows_db
from fill_pipeline.db import vehicles as vehicles_db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.fixes import Repair, RepairKind, SellerPlace
from fill_pipeline.db.listings import ListingRow
from fill_pipeline.db.vehicles import VehicleRow
from fill_pipeline.extract.listing import Evidence, Layer, Listing
from fill_pipeline.vehicles import identity, revision
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.completeness import CORE_FIELDS, completeness
from fill_pipeline.vehicles.merge import MergeError, derive, merge_vehicles
from fill_pipeline.vehicles.survivorship import STABLE, TOGETHER, survive
from fill_pipeline.vehicles.vin import IDENTIFYING, same_make

BATCH = 200
"""Vehicles mended in one transaction."""
MOST_VEHICLES = 50_000
"""Vehicles looked at in one call, the least complete first."""
MOST_MERGES = 5_000
MOST_REREAD = 1_000
"""Listings whose archived pages are read again in one call."""
SELLER_CONFIDENCE = 0.6
"""How far a place is trusted that only the seller's other listings state: as far as an index page's hint."""

_BUSY = (psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable, psycopg.errors.UniqueViolation)
_ATTEMPTS = 3
_VALUES = ("vin", *STABLE, *(name for group in TOGETHER for name in group), "image", "status")
_PLACE = ("place", "city", "region", "postal_code", "country")
_LISTING_FIELDS = tuple(Listing.__struct_fields__)
_NOT_FILLED = frozenset(("price", "currency", "price_kind", "mileage", "mileage_unit", "status", "posted_at", "raw"))
_CLEANED = tuple(
    f.name
    for f in fields(ListingRow)
    if f.name in _LISTING_FIELDS and f.name not in ("provenance", "remote_id", "url", "raw_payload")
)
_FILLED_TOGETHER = (
    ("price", "currency", "price_kind"),
    ("mileage", "mileage_unit"),
    *((name,) for name in _CLEANED if name in Listing.__struct_fields__ and name not in _NOT_FILLED),
)
"""Fields that archived pages may fill, in groups that are taken together."""
_RETRIED = ("body_style", "fuel_type", "transmission", "drivetrain", "exterior_color", "interior_color", "condition")
"""Fields whose words are kept where the vocabulary did not know them; today's may."""

Reread = Callable[[Sequence[ListingRow]], Mapping[int, Sequence[Listing]]]
"""What the archived pages of these listings say today, by listing id, the page that tells most first; cleaned."""

_Why = dict[tuple[int, str], str]
"""Why a field of a listing (by id) was changed."""


@dataclass(slots=True)
class Fixes:
    """What was mended: the vehicles looked at, the listings whose archived pages were read again, and every repair."""

    checked: int = 0
    repairs: list[Repair] = field(default_factory=list)
    reread: int = 0
    skipped_batches: int = 0
    dry_run: bool = False

    @property
    def total(self) -> int:
        """How many fields were mended and vehicles merged."""
        return len(self.repairs)

    def as_json(self) -> dict[str, Any]:
        """Counts by kind, field and reason, for reports."""
        kinds = Counter(repair.kind.value for repair in self.repairs)
        return {
            "checked": self.checked,
            "fixed": self.total,
            "backfilled": kinds[RepairKind.BACKFILL],
            "corrected": kinds[RepairKind.CORRECT],
            "merged": kinds[RepairKind.MERGE],
            "fields": dict(Counter(r.field_name for r in self.repairs if r.kind is not RepairKind.MERGE)),
            "reread": self.reread,
            "skipped_batches": self.skipped_batches,
            "dry_run": self.dry_run,
        }


def fix_data(
    conn: Connection,
    *,
    cycle_id: str,
    now: datetime,
    dry_run: bool = False,
    core_fields: Sequence[str] = CORE_FIELDS,
    reread: Reread | None = None,
) -> Fixes:
    """Mend the vehicles this cycle touched; ``conn`` must be in autocommit.

    - Duplicates are merged: a vehicle without a VIN whose listing states another's, and proposals
      that identity is sure of and that name no third vehicle.
    - Listings are read again with today's rules and vocabulary: what no longer passes is quarantined,
      what a VIN or kept words now say is filled; what is still missing is taken from the listing's
      archived page as it is read today (by ``reread``, which may do so outside of any transaction);
      a place that all other listings of the seller agree on is taken over. Then the vehicle is derived from them anew.

    Each mended field is a row of ``vehicle_repairs``. A second call finds nothing to do. Work is
    bounded by the cycle's own vehicles and done in batches, each its own transaction; a batch that
    other writers keep busy is left for the next call. A dry run rolls every batch back.
    """
    found = Fixes(dry_run=dry_run)
    task = _Task(cycle_id, now, tuple(core_fields))
    _merge_duplicates(conn, found, task)
    ids = db.touched_vehicles(conn, cycle_id, most=MOST_VEHICLES)
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        again = _read_again(conn, batch, task, reread, found)
        for attempt in range(_ATTEMPTS):
            try:
                with conn.transaction(force_rollback=dry_run):
                    repairs = _mend(conn, batch, task, again)
                    if repairs:
                        db.add_repairs(conn, repairs, cycle_id=cycle_id, now=now)
            except _BUSY:
                found.skipped_batches += attempt == _ATTEMPTS - 1
            else:
                found.repairs += repairs
                found.checked += len(batch)
                break
    return found


@dataclass(frozen=True, slots=True)
class _Task:
    """For which cycle, when (UTC), and what counts for completeness."""

    cycle_id: str
    now: datetime
    core_fields: tuple[str, ...]


def _merge_duplicates(conn: Connection, found: Fixes, task: _Task) -> None:
    for vehicle, owner, vin in db.same_vin(conn, task.cycle_id, [s.value for s in IDENTIFYING], most=MOST_MERGES):
        _merge(conn, found, owner, vehicle, f"both have the VIN {vin}", {"vin": vin}, task)
    for one, other, score in db.sure_proposals(conn, identity.MERGE_AT, most=MOST_MERGES):
        evidence = _still_alike(conn, one, other)
        if evidence is not None:
            reason = f"proposed with {score:.2f}, and scored again"
            _merge(conn, found, one, other, reason, evidence, task)


def _still_alike(conn: Connection, one: int, other: int) -> dict[str, float] | None:
    """Why two vehicles are one by what their listings say today, or None where that is not sure."""
    observed = rows_db.observations(conn, [one, other])
    reasons: dict[str, float] | None = None
    for row in observed.get(one, ()):
        decision = identity.decide(row, {other: observed.get(other, [])})
        if any(weight <= -12.0 for weight in decision.reasons.values()):
            return None
        if decision.vehicle_id == other:
            reasons = decision.reasons
    return reasons


def _merge(
    conn: Connection, found: Fixes, keep: int, absorb: int, reason: str, evidence: dict[str, Any], task: _Task
) -> None:
    observed = rows_db.observations(conn, [keep, absorb])
    pairs = [(a, b) for a in observed.get(keep, ()) for b in observed.get(absorb, ())]
    if any(identity.vin_contradicted(a, b) for a, b in pairs):
        return
    try:
        with conn.transaction(force_rollback=found.dry_run):
            merge_vehicles(
                conn,
                keep,
                absorb,
                reason=reason,
                evidence=evidence,
                now=task.now,
                cycle_id=task.cycle_id,
                decided_by="fix",
                core_fields=task.core_fields,
            )
    except (MergeError, *_BUSY):
        return  # merged meanwhile, or both have VINs of their own: not a duplicate to be mended here
    found.repairs.append(Repair(keep, "*", absorb, keep, RepairKind.MERGE, reason, dict(evidence)))


def _read_again(
    conn: Connection, ids: Sequence[int], task: _Task, reread: Reread | None, found: Fixes
) -> Mapping[int, Sequence[Listing]]:
    """What archived pages say today of those listings of a batch that lack a core field."""
    if reread is None or found.reread >= MOST_REREAD:
        return {}
    rows = [row for of_one in rows_db.observations(conn, ids).values() for row in of_one]
    lacking = [row for row in rows if completeness(row, task.core_fields) < 1.0][: MOST_REREAD - found.reread]
    found.reread += len(lacking)
    return reread(lacking) if lacking else {}


def _mend(conn: Connection, ids: Sequence[int], task: _Task, again: Mapping[int, Sequence[Listing]]) -> list[Repair]:
    """Mend a batch of vehicles inside the caller's transaction."""
    unlocked = vehicles_db.vehicle_snapshots(conn, ids)
    listings = rows_db.lock_listings(conn, [i for snapshot in unlocked.values() for i in snapshot.listings])
    alive = vehicles_db.lock_vehicles(conn, sorted(unlocked))
    listings = {i: row for i, row in listings.items() if row.vehicle_id in alive}
    why: _Why = {}
    changed = list(_reread(listings, again, task.now, why))
    changed += _placed(conn, {**listings, **{row.id: row for row in changed}}, changed, task.cycle_id, why)
    if changed:
        _store(conn, list({row.id: row for row in changed}.values()), listings, task)
    before = vehicles_db.vehicle_snapshots(conn, sorted(alive))
    stale = _stale(conn, {i: snapshot.row for i, snapshot in before.items()}, task)
    if not stale:
        return []
    derive(conn, stale, now=task.now, cycle_id=task.cycle_id, core_fields=task.core_fields)
    after = vehicles_db.vehicle_snapshots(conn, sorted(stale))
    return [r for i in sorted(stale) for r in _differences(i, before[i].row, after[i].row, why)]


def _reread(
    listings: dict[int, ListingRow], again: Mapping[int, Sequence[Listing]], now: datetime, why: _Why
) -> Iterator[ListingRow]:
    """The listings that today's rules and vocabulary read differently, as they read them."""
    for row in listings.values():
        listing = _listing_of(row)
        archived = _fill_from_pages(listing, row, again.get(row.id, ()))
        for name in _RETRIED:
            if getattr(listing, name) is None and row.raw.get(name) and name not in row.quarantine:
                setattr(listing, name, row.raw[name])
        cleaned = clean(listing, now=now)
        good = cleaned.listing
        new = replace(
            row, quarantine={**row.quarantine, **cleaned.quarantine}, provenance=dict(row.provenance), raw=good.raw
        )
        differs = False
        for name in _CLEANED:
            value = getattr(good, name)
            if value == getattr(row, name) or name in ("raw", "status"):
                continue
            differs = True
            setattr(new, name, value)
            evidence = good.provenance.get(name)
            if evidence is not None:
                new.provenance[name] = (evidence.layer.value, evidence.locator, round(evidence.confidence, 3))
            elif value is None:
                new.provenance.pop(name, None)
            why[row.id, name] = (
                _FROM_ARCHIVE
                if name in archived and value is not None
                else _reason(row, name, value, evidence, cleaned.quarantine)
            )
        if cleaned.vin_status is not None and row.vin_status != "shared" and new.vin is not None:
            new.vin_status = cleaned.vin_status
        if differs:
            yield new


_FROM_ARCHIVE = "read from its archived page with today's rules"


def _fill_from_pages(listing: Listing, row: ListingRow, pages: Sequence[Listing]) -> set[str]:
    """Fill what a stored listing lacks from its archived pages as they are read today; returns the fields filled."""
    filled: set[str] = set()
    for page in pages:
        if row.make and page.make and not same_make(row.make, page.make):
            continue  # the page shows another car by now
        for group in _FILLED_TOGETHER:
            if getattr(listing, group[0]) not in (None, []) or group[0] in row.quarantine:
                continue
            for name in group:
                value = getattr(page, name)
                if value not in (None, []) and getattr(listing, name) in (None, []):
                    setattr(listing, name, value)
                    filled.add(name)
                    if name in page.provenance:
                        listing.provenance[name] = page.provenance[name]
                    if name in page.raw:
                        listing.raw[name] = page.raw[name]
    return filled


def _reason(
    row: ListingRow, name: str, value: Any, evidence: Evidence | None, quarantine: dict[str, dict[str, Any]]
) -> str:
    if name in quarantine and value is None:
        return f"rule {quarantine[name]['rule']}: {quarantine[name]['reason']}"
    if evidence is not None and evidence.layer is Layer.VIN:
        return f"decoded from the VIN {row.vin}"
    if getattr(row, name) is None and row.raw.get(name):
        return f"the page's word {row.raw[name]!r}, known to today's vocabulary"
    return "cleaned by today's rules"


def _listing_of(row: ListingRow) -> Listing:
    """The row as a listing to clean again; its payload stays as it is stored."""
    said = {name: getattr(row, name) for name in _LISTING_FIELDS if name not in ("provenance", "raw_payload")}
    provenance = {name: Evidence(Layer(e[0]), str(e[1]), float(e[2])) for name, e in row.provenance.items()}
    return Listing(**said, provenance=provenance)


def _placed(
    conn: Connection, listings: dict[int, ListingRow], changed: list[ListingRow], cycle_id: str, why: _Why
) -> list[ListingRow]:
    """The listings without a place that get the one place of their seller."""
    nowhere = [
        r for r in listings.values() if not any(getattr(r, n) for n in _PLACE[:4]) and "place" not in r.quarantine
    ]
    if not nowhere:
        return []
    sellers = sorted({(r.source_id, r.seller_name or "") for r in nowhere})
    places = db.seller_places(conn, cycle_id, sellers)
    placed = []
    for row in nowhere:
        place = places.get((row.source_id, row.seller_name or ""))
        if place is not None and (row.country is None or row.country == place.country):
            placed.append(_put(row, place))
            why[row.id, "place"] = f"all {place.count} other listings of the seller that name a place name this one"
    return placed


def _put(row: ListingRow, place: SellerPlace) -> ListingRow:
    new = replace(row, provenance=dict(row.provenance))
    for name in _PLACE:
        value = getattr(place, name)
        if value is not None:
            setattr(new, name, value)
            new.provenance[name] = (Layer.HINT.value, "seller's other listings", SELLER_CONFIDENCE)
    return new


def _store(conn: Connection, changed: list[ListingRow], before: dict[int, ListingRow], task: _Task) -> None:
    """Write mended listings. When they were observed (``changed_at``) does not change: no page was seen."""
    for row in changed:
        row.completeness = completeness(row, task.core_fields)
        row.content_hash = revision.content_hash(row)
        row.changed_cycle = task.cycle_id
    rows_db.update_listings(conn, changed)
    rows_db.add_history(conn, [row.id for row in changed], cycle_id=task.cycle_id, now=task.now)
    set_aside = [found for row in changed for found in revision.newly_quarantined(row, before.get(row.id))]
    if set_aside:
        rows_db.add_quarantined(conn, set_aside, cycle_id=task.cycle_id, now=task.now)


def _stale(conn: Connection, before: dict[int, dict[str, Any]], task: _Task) -> set[int]:
    """The vehicles that are no longer what their listings say they are."""
    stale: dict[int, VehicleRow] = {}
    for vehicle_id, rows in rows_db.observations(conn, sorted(before)).items():
        derived = survive(rows, vehicle_id=vehicle_id, now=task.now, cycle_id=task.cycle_id)
        if any(getattr(derived, name) != before[vehicle_id][name] for name in _VALUES):
            stale[vehicle_id] = derived
    claimed = {v.vin: i for i, v in stale.items() if v.vin is not None and v.vin != before[i]["vin"]}
    taken = vehicles_db.vehicles_by_vin(conn, sorted(claimed)) if claimed else {}
    return stale.keys() - {claimed[vin] for vin in taken}


def _differences(vehicle_id: int, before: dict[str, Any], after: dict[str, Any], why: _Why) -> Iterator[Repair]:
    for name in _VALUES:
        old, new = before[name], after[name]
        if old == new:
            continue
        kind = RepairKind.BACKFILL if old is None else RepairKind.CORRECT
        group = next((g[0] for g in TOGETHER if name in g), name)
        origin = after["provenance"].get(group)
        lost = before["provenance"].get(group)
        reason = next((why[o[0], n] for o in (origin, lost) if o for n in (name, group) if (o[0], n) in why), None)
        if reason is None:
            reason = f"what its listing {origin[0]} states" if origin else "no listing of it states it"
        evidence = {"listing": origin[0], "confidence": origin[1]} if origin else {"listing": lost[0]} if lost else {}
        yield Repair(vehicle_id, name, old, new, kind, reason, evidence)
