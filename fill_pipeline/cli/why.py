"""``fill why``: from a figure to its rows, from a vehicle's value to the page it was read from."""

from __future__ import annotations

from dataclasses import astuple
from enum import StrEnum
from typing import Annotated, Any

import typer

from fill_pipeline.cli.database import open_database
from fill_pipeline.cli.output import fail, print_json, print_table, say
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.dashboard.lineage import (
    LIMIT,
    MOST_ROWS,
    Breakdown,
    Explanation,
    FieldOrigin,
    Figure,
    VehicleStory,
    explain,
    tell_vehicle,
)
from fill_pipeline.db.lineage import PageRef, RepairRef, VehicleRef
from fill_pipeline.settings import Settings

What = StrEnum("What", {**{figure.name: figure.value for figure in Figure}, "VEHICLE": "vehicle"})  # type: ignore[misc]
"""What can be asked about."""


def why(
    what: Annotated[What, typer.Argument(help="A figure, or a vehicle.")],
    vehicle: Annotated[int | None, typer.Argument(min=1, help="The vehicle's id.")] = None,
    cycle: Annotated[str, typer.Option(help="The cycle's id; default: the open one, or the last.")] = "",
    field: Annotated[str, typer.Option(help="Of a vehicle, this field alone.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="How many rows to list.")] = LIMIT,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a figure is made of: its parts, which sum to it, and its rows; or where a vehicle's values are from."""
    settings = Settings()
    if what == "vehicle":
        if vehicle is None:
            fail("name the vehicle: `fill why vehicle 12`; `fill why vehicles_added` lists some")
        with open_database("why") as conn:
            story = tell_vehicle(conn, vehicle, field=field or None, limit=limit)
        print_json(story.as_json()) if json else _print_vehicle(story)
        return
    if vehicle is not None or field:
        fail(f"{what} takes neither an id nor --field; `fill why vehicle 12 --field price` does")
    with open_database("why") as conn:
        found = explain(conn, settings, Figure(what), cycle or None, limit=limit, now=utc_now())
    print_json(found.as_json()) if json else _print_figure(found)


def _print_figure(found: Explanation) -> None:
    of_cycle = f" of cycle {found.cycle_id}" if found.cycle_id else ""
    value = "unknown" if found.value is None else f"{found.value:.4f}" if _is_mean(found) else f"{found.value:,.0f}"
    say(f"{found.figure}{of_cycle}: {value}")
    say(found.meaning)
    for note in found.notes:
        say(note)
    for breakdown in found.breakdowns:
        _print_breakdown(breakdown)
    if found.vehicles:
        columns: tuple[str, ...] = ("vehicle", "what", "price", "complete", "source", "address")
        print_table(f"{len(found.vehicles)} vehicles", columns, [_vehicle(v) for v in found.vehicles])
    if found.pages:
        columns = ("source", "status", "tries", "why", "address")
        print_table(f"{len(found.pages)} pages", columns, [_page(p) for p in found.pages])
    if found.sources:
        columns = ("source", "health", "diagnosis", "reason")
        print_table(f"{len(found.sources)} sources", columns, [astuple(s) for s in found.sources])


def _is_mean(found: Explanation) -> bool:
    return found.figure is Figure.DATA_QUALITY


def _print_breakdown(breakdown: Breakdown) -> None:
    if not breakdown.parts:
        return
    columns = [breakdown.by, "number"]
    rows: list[list[Any]] = [[part.name, f"{part.n:,}"] for part in breakdown.parts]
    if breakdown.has_means:
        columns.append("mean")
        for row, part in zip(rows, breakdown.parts, strict=True):
            row.append("unknown" if part.mean is None else f"{part.mean:.4f}")
    else:
        rows.append(["sum", f"{breakdown.total:,}"])
    if any(part.run_id for part in breakdown.parts):
        columns.append("run id")
        for row, part in zip(rows, breakdown.parts, strict=False):
            row.append(part.run_id)
    print_table(f"by {breakdown.by}", columns, rows)


def _vehicle(vehicle: VehicleRef) -> tuple[Any, ...]:
    words = " ".join(str(w) for w in (vehicle.year, vehicle.make, vehicle.model) if w) or vehicle.title
    price = None if vehicle.price is None else f"{vehicle.price:,} {vehicle.currency or ''}".strip()
    return vehicle.id, words, price, f"{vehicle.completeness:.2f}", vehicle.source, vehicle.url


def _page(page: PageRef) -> tuple[Any, ...]:
    why_failed = ": ".join(w for w in (page.failure_category, page.error_message) if w)
    return page.source, page.status, page.attempts, why_failed, page.url


def _print_vehicle(story: VehicleStory) -> None:
    say(f"vehicle {story.id}: {story.name}, added in cycle {story.vehicle['created_cycle']}, {story.vehicle['status']}")
    columns = ("field", "value", "listing", "source", "read from", "sure", "mended")
    print_table("fields", columns, [_field(origin) for origin in story.fields])
    pages = [
        (
            r.id,
            r.source,
            r.status,
            r.url,
            r.page and f"{r.page.fetched_at:%Y-%m-%d %H:%M:%S}",
            r.page and _place(r.page),
        )
        for r in story.listings
    ]
    print_table(
        f"{len(pages)} listings", ("listing", "source", "status", "address", "fetched", "in the archive"), pages
    )
    if story.repairs:
        rows = [(f"{r.repaired_at:%Y-%m-%d %H:%M}", r.kind, r.field, _change(r), r.reason) for r in story.repairs]
        print_table("what was mended", ("when", "what", "field", "change", "reason"), rows)
    if story.proposals:
        others = [(p.other, p.status, f"{p.score:.2f}", p.decided_by) for p in story.proposals]
        print_table("vehicles it may be the same as", ("vehicle", "status", "score", "decided by"), others)


def _field(origin: FieldOrigin) -> tuple[Any, ...]:
    read_from = " ".join(str(w) for w in (origin.layer, origin.locator) if w)
    sure = None if origin.confidence is None else f"{origin.confidence:.2f}"
    mended = origin.repair.reason if origin.repair else None
    return origin.field, origin.value, origin.listing_id, origin.source, read_from, sure, mended


def _place(page: Any) -> str:
    return f"{page.file} at {page.offset}, {page.length} bytes"


def _change(repair: RepairRef) -> str:
    if repair.other is not None:
        return f"{'with' if repair.kind == 'merge' else 'without'} vehicle {repair.other}"
    return f"{repair.before} → {repair.after}"
