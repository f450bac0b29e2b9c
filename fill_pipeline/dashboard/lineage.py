"""Why a figure is what it is: its parts, which sum to it, and its rows; and where each value of a vehicle came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from fill_pipeline.dashboard.snapshot import snapshot
from fill_pipeline.dashboard.source_view import SourceHealth
from fill_pipeline.db import counters, cycles, ledger, lineage, overview, rules
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import ActionRow
from fill_pipeline.db.lineage import (
    ArchivedPage,
    CycleFigures,
    ListingRef,
    PageRef,
    ProposalRef,
    RepairRef,
    SourceShare,
    VehicleRef,
)
from fill_pipeline.quality.health import HealthStatus, is_in_work
from fill_pipeline.settings import Settings
from fill_pipeline.vehicles.source_rules import SourceRule
from fill_pipeline.vehicles.survivorship import STABLE, TOGETHER

LIMIT = 20  # rows shown unless told
MOST_ROWS = 1000
MOST_LISTINGS = 100  # advertisements of a vehicle that are looked at
NO_LISTING = "no advertisement left"
_GROUPS = {name: group[0] for group in TOGETHER for name in group}
_FIELDS = ("vin", *STABLE, *_GROUPS, "image")
_LISTING_FIELDS = {"image": "images"}  # where a listing calls it otherwise


class Figure(StrEnum):
    """A figure that can be explained."""

    VEHICLES_ADDED = "vehicles_added"
    VEHICLES_QUEUED = "vehicles_queued"
    DATA_QUALITY = "data_quality"
    SOURCES_ACTIVE = "sources_active"
    SOURCES_HEALTHY = "sources_healthy"
    SOURCES_FAILING = "sources_failing"
    QUEUE_DEAD = "queue_dead"


MEANING = {
    Figure.VEHICLES_ADDED: "vehicles first committed in this cycle and not merged into others since",
    Figure.VEHICLES_QUEUED: "pages newly put in the queue in this cycle",
    Figure.DATA_QUALITY: "mean completeness over the core fields of the vehicles this cycle wrote",
    Figure.SOURCES_ACTIVE: "sources that may be crawled",
    Figure.SOURCES_HEALTHY: "sources that do what they usually do",
    Figure.SOURCES_FAILING: "sources that give nothing that can be used",
    Figure.QUEUE_DEAD: "pages given up, now; each was tried as often as it may be",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a figure: how many, their mean where the figure is a mean (0 to 1), and the run that did it."""

    name: str
    n: int
    mean: float | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A figure in parts; the parts' numbers sum to it, or their weighted mean is it."""

    by: str
    parts: tuple[Part, ...]

    @property
    def has_means(self) -> bool:
        """Whether the figure is a mean."""
        return any(part.mean is not None for part in self.parts)

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return sum(part.n for part in self.parts)


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A source behind a figure, how it stands, and why."""

    slug: str
    health: str
    reason: str
    diagnosis: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A figure with what it is made of. ``notes`` say what the rows cannot; the rows are the first so many."""

    figure: Figure
    cycle_id: str | None
    value: float | None
    meaning: str
    notes: tuple[str, ...] = ()
    breakdowns: tuple[Breakdown, ...] = ()
    vehicles: tuple[VehicleRef, ...] = ()
    pages: tuple[PageRef, ...] = ()
    sources: tuple[SourceRef, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain data; ``rows`` are vehicles, pages or sources."""
        plain = asdict(self)
        rows = [*plain.pop("vehicles"), *plain.pop("pages"), *plain.pop("sources")]
        return plain | {"rows": rows}


@dataclass(frozen=True, slots=True)
class FieldOrigin:
    """A vehicle's value: the advertisement it is from, how that was read (layer, locator), and from which page.

    ``confidence`` (0 to 1) is the reading's; ``repair`` is the last time the field was mended.
    """

    field: str
    value: Any
    listing_id: int | None
    source: str | None
    layer: str | None
    locator: str | None
    confidence: float | None
    page: ArchivedPage | None
    repair: RepairRef | None


@dataclass(frozen=True, slots=True)
class VehicleStory:
    """A vehicle, where each value came from, and what happened to it."""

    id: int
    name: str
    vehicle: dict[str, Any]
    fields: tuple[FieldOrigin, ...]
    listings: tuple[ListingRef, ...]
    repairs: tuple[RepairRef, ...]
    proposals: tuple[ProposalRef, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def explain(
    conn: Connection, settings: Settings, figure: Figure, cycle_id: str | None, *, limit: int, now: datetime
) -> Explanation:
    """A figure of a cycle (the open one, or the last, when none is named), its parts and its first ``limit`` rows.

    Raises:
        LookupError: there is no such cycle.
    """
    if figure is Figure.QUEUE_DEAD:
        return _dead(conn, limit)
    line = next(iter(cycles.last_ended(conn)), None) if cycle_id is None else None
    cycle_id = cycle_id or getattr(cycles.open_one(conn) or line, "cycle_id", None)
    known = lineage.cycle(conn, cycle_id) if cycle_id else None
    if known is None and cycle_id is None:
        raise LookupError("no cycle has run yet; `fill cycle` runs one")
    if known is None:
        raise LookupError(f"there is no cycle {cycle_id!r}; `fill report --list` names the last ones")
    if figure is Figure.VEHICLES_ADDED:
        return _added(conn, known, limit)
    if figure is Figure.VEHICLES_QUEUED:
        return _queued(conn, known, limit)
    if figure is Figure.DATA_QUALITY:
        return _quality(conn, settings, known, limit)
    return _sources(conn, settings, figure, known, limit, now)


def tell_vehicle(conn: Connection, vehicle_id: int, *, field: str | None = None, limit: int = LIMIT) -> VehicleStory:
    """Where each value of a vehicle came from, or one field's alone.

    Raises:
        LookupError: there is no such vehicle, it is now part of another, or no such field.
    """
    if field is not None and field not in _FIELDS:
        raise LookupError(f"a vehicle has no field {field!r}; it has {', '.join(_FIELDS)}")
    vehicle = lineage.vehicle(conn, vehicle_id)
    if vehicle is None:
        merged = lineage.merged_into(conn, vehicle_id)
        if merged is None:
            raise LookupError(f"there is no vehicle {vehicle_id}")
        raise LookupError(
            f"vehicle {vehicle_id} is part of vehicle {merged.into} since {merged.merged_at:%Y-%m-%d %H:%M} UTC"
            f" ({merged.reason}); `fill why vehicle {merged.into}` tells of it"
        )
    listings = lineage.listings_of_vehicle(conn, vehicle_id, MOST_LISTINGS)
    repairs = lineage.repairs_of_vehicle(conn, vehicle_id, limit)
    by_id = {listing.id: listing for listing in listings}
    names = [field] if field else [name for name in _FIELDS if vehicle.get(name) is not None]
    words = (vehicle.get(name) for name in ("year", "make", "model", "trim"))
    return VehicleStory(
        id=vehicle_id,
        name=" ".join(str(word) for word in words if word) or str(vehicle.get("title") or f"vehicle {vehicle_id}"),
        vehicle=vehicle,
        fields=tuple(_origin(name, vehicle, by_id, repairs) for name in names),
        listings=tuple(listings[:limit]),
        repairs=tuple(r for r in repairs if field in (None, r.field)),
        proposals=() if field else tuple(lineage.proposals_of_vehicle(conn, vehicle_id, limit)),
    )


def _origin(
    name: str, vehicle: dict[str, Any], listings: dict[int, ListingRef], repairs: Sequence[RepairRef]
) -> FieldOrigin:
    group = _GROUPS.get(name, name)
    listing_id, confidence = (*(vehicle["provenance"].get(group) or ()), None, None)[:2]
    listing = listings.get(listing_id) if listing_id is not None else None
    said = listing.provenance if listing else {}
    wanted = _LISTING_FIELDS.get(name, name)
    layer, locator, read_with = (*(said.get(wanted) or said.get(group) or ()), None, None, None)[:3]
    return FieldOrigin(
        field=name,
        value=vehicle.get(name),
        listing_id=listing_id,
        source=listing.source if listing else None,
        layer=layer,
        locator=locator,
        confidence=confidence if read_with is None else read_with,
        page=listing.page if listing else None,
        repair=next((r for r in repairs if r.field in (name, group) and r.kind in ("backfill", "correct")), None),
    )


def _added(conn: Connection, known: CycleFigures, limit: int) -> Explanation:
    shares = lineage.added_by_source(conn, known.cycle_id)
    rows = sum(share.vehicles for share in shares)
    value = rows if known.status == "open" else known.vehicles_added
    gone = value - rows  # merged after the report was written
    merged = counters.of_scope(conn, ("cycle.vehicles_merged",), known.cycle_id)["cycle.vehicles_merged"]
    by_source = _by_source(shares)
    notes = []
    if gone:
        by_source = (*by_source, Part("merged into others since the report", gone))
        notes.append(f"{rows:,} rows today: {gone:,} vehicles became part of others after the report was written")
    runs = _runs(conn, known.cycle_id, "vehicles_added")
    return Explanation(
        figure=Figure.VEHICLES_ADDED,
        cycle_id=known.cycle_id,
        value=value,
        meaning=MEANING[Figure.VEHICLES_ADDED],
        notes=tuple(notes),
        breakdowns=(
            Breakdown("source", by_source),
            Breakdown("run", _balanced(runs, value, Part("merged into others in the cycle", -(merged - gone)))),
        ),
        vehicles=tuple(lineage.added_vehicles(conn, known.cycle_id, limit)),
    )


def _queued(conn: Connection, known: CycleFigures, limit: int) -> Explanation:
    counts = lineage.queued_by_source(conn, known.cycle_id)
    rows = sum(n for _, _, n in counts)
    value = rows if known.status == "open" else known.vehicles_queued
    rest = (Part("no longer in the queue", value - rows),) if value != rows else ()
    return Explanation(
        figure=Figure.VEHICLES_QUEUED,
        cycle_id=known.cycle_id,
        value=value,
        meaning=MEANING[Figure.VEHICLES_QUEUED],
        breakdowns=(
            Breakdown("source", _summed((slug, n) for slug, _, n in counts) + rest),
            Breakdown("status", _summed((status, n) for _, status, n in counts) + rest),
            Breakdown("run", _balanced(_runs(conn, known.cycle_id, "queued"), value)),
        ),
        pages=tuple(lineage.queued_pages(conn, known.cycle_id, limit)),
    )


def _quality(conn: Connection, settings: Settings, known: CycleFigures, limit: int) -> Explanation:
    shares = lineage.touched_by_source(conn, known.cycle_id)
    rows = sum(share.vehicles for share in shares)
    now = sum(share.vehicles * share.completeness for share in shares) / rows if rows else None
    notes = []
    if known.vehicles_touched is not None and known.vehicles_touched != rows:
        notes.append(
            f"the report's figure is over {known.vehicles_touched:,} vehicles; {rows:,} of them were not written again"
            f" by later cycles, and their mean is {'unknown' if now is None else f'{now:.4f}'}"
        )
    for rule in rules.rules_of_cycle(conn, known.cycle_id, limit):
        words = SourceRule.of(rule.rule, rule.field, rule.value)
        notes.append(f"a rule of {rule.slug}'s own {rule.status.replace('_', ' ')}: {words}; {rule.reason}")
    fields = [f for f in overview.quality_so_far(conn, known.cycle_id) if f.field_name in settings.core_fields]
    fields.sort(key=lambda f: 1.0 if f.completeness is None else f.completeness)
    return Explanation(
        figure=Figure.DATA_QUALITY,
        cycle_id=known.cycle_id,
        value=now if known.status == "open" else known.quality,
        meaning=MEANING[Figure.DATA_QUALITY],
        notes=tuple(notes),
        breakdowns=(
            Breakdown("source", _by_source(shares, means=True)),
            Breakdown("core field", tuple(Part(f.field_name, f.sample_size, f.completeness) for f in fields)),
        ),
        vehicles=tuple(lineage.least_complete(conn, known.cycle_id, limit)),
    )


def _sources(
    conn: Connection, settings: Settings, figure: Figure, known: CycleFigures, limit: int, now: datetime
) -> Explanation:
    notes = []
    if known.status == "open":
        views = [s for s in snapshot(conn, settings, now).sources if is_in_work(s.line)]
        found = [SourceRef(s.line.slug, s.health, s.reason, s.diagnosis) for s in views]
        notes.append("the cycle is open: as the sources stand now; each is judged again when the cycle ends")
    else:
        found = [SourceRef(h.slug, h.status, h.reason, h.diagnosis) for h in ledger.health(conn, known.cycle_id)]
    wanted = {Figure.SOURCES_HEALTHY: HealthStatus.HEALTHY, Figure.SOURCES_FAILING: HealthStatus.FAILING}.get(figure)
    chosen = [source for source in found if wanted is None or source.health == wanted]
    chosen.sort(key=lambda s: (list(SourceHealth).index(SourceHealth(s.health)), s.slug))
    by = "health" if wanted is None else "diagnosis"
    return Explanation(
        figure=figure,
        cycle_id=known.cycle_id,
        value=len(chosen),
        meaning=MEANING[figure],
        notes=tuple(notes),
        breakdowns=(
            Breakdown(by, _summed(((s.health if by == "health" else s.diagnosis or "none"), 1) for s in chosen)),
        ),
        sources=tuple(chosen[:limit]),
    )


def _dead(conn: Connection, limit: int) -> Explanation:
    by_source = lineage.dead_by_source(conn)
    sample = lineage.dead_pages(conn, MOST_ROWS)
    value = sum(n for _, n in by_source)
    reasons = _summed((page.failure_category or "not told", 1) for page in sample)
    rest = (Part(f"older than the last {len(sample):,}", value - len(sample)),) if value > len(sample) else ()
    return Explanation(
        figure=Figure.QUEUE_DEAD,
        cycle_id=None,
        value=value,
        meaning=MEANING[Figure.QUEUE_DEAD],
        breakdowns=(
            Breakdown("source", tuple(Part(slug, n) for slug, n in by_source)),
            Breakdown("reason", reasons + rest),
        ),
        pages=tuple(sample[:limit]),
    )


def _by_source(shares: Iterable[SourceShare], *, means: bool = False) -> tuple[Part, ...]:
    return tuple(Part(s.source or NO_LISTING, s.vehicles, s.completeness if means else None) for s in shares)


def _summed(counts: Iterable[tuple[str, int]]) -> tuple[Part, ...]:
    sums: dict[str, int] = {}
    for name, n in counts:
        sums[name] = sums.get(name, 0) + n
    return tuple(Part(name, n) for name, n in sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def _runs(conn: Connection, cycle_id: str, outcome: str) -> tuple[Part, ...]:
    return tuple(_run(a, n) for a in cycles.actions(conn, cycle_id) if (n := int(a.outcome.get(outcome) or 0)))


def _run(action: ActionRow, n: int) -> Part:
    when = f"{action.started_at:%H:%M}" if action.started_at else "not begun"
    return Part(f"{action.action} {action.level}/{action.attempt}, {when}", n, run_id=action.run_id)


def _balanced(runs: tuple[Part, ...], value: float, *known: Part) -> tuple[Part, ...]:
    """The runs' parts, what is known to be missing, and the rest, so that all of them sum to the figure."""
    parts = (*runs, *(part for part in known if part.n))
    rest = int(value) - sum(part.n for part in parts)
    return (*parts, Part("outside the cycle's actions: searches, replays, commands", rest)) if rest else parts
