"""What is checked of a cycle: its suites, and the columns they are evaluated over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from fill_pipeline.db import checks, cycles, holds, ledger
from fill_pipeline.db.connect import Connection
from fill_pipeline.quality import suites
from fill_pipeline.quality.columns import vehicle_columns
from fill_pipeline.quality.engine import Checked, check
from fill_pipeline.quality.expectations import Columns, Suite
from fill_pipeline.quality.metrics import Evidence, quality_rows
from fill_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Subject:
    """What a suite is evaluated over: columns, what each row is called, and more to say by expectation."""

    columns: Columns
    labels: Sequence[str | int]
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CycleCheck:
    """How one expectation was met in a cycle; ``value`` is the share as expected, or the figure itself of a figure."""

    checked: Checked
    value: float | None
    labels: tuple[str | int, ...]
    words: str


def cycle_suites(settings: Settings, year: int) -> list[Suite]:
    """Everything that is expected of a cycle; names are unique over all. ``year`` is today's."""
    return [
        suites.vehicles_suite(settings, year),
        suites.fields_suite(settings),
        suites.sources_suite(settings),
        suites.figures_suite(settings),
    ]


def check_cycle(
    conn: Connection,
    settings: Settings,
    cycle_id: str,
    names: Iterable[str],
    *,
    mismatches: Callable[[Connection, str], list[str]],
    now: datetime,
) -> dict[str, CycleCheck]:
    """Check these expectations of a cycle with Great Expectations, by name.

    Vehicles are sampled (``settings.check_sample``); what is read does not grow with the tables. ``mismatches``
    tells where two ways of counting differ.
    """
    wanted = set(names)
    found: dict[str, CycleCheck] = {}
    for suite in cycle_suites(settings, now.year):
        chosen = replace(suite, expectations=tuple(one for one in suite.expectations if one.name in wanted))
        if not chosen.expectations:
            continue
        if suite.name == "figures":
            subject = _figures(conn, settings, cycle_id, mismatches(conn, cycle_id))
        else:
            subject = _SUBJECTS[suite.name](conn, settings, cycle_id, now)
        for one in check(chosen, subject.columns):
            found[one.expectation.name] = _told(one, subject, is_figure=suite.name == "figures")
    return found


def _told(one: Checked, subject: Subject, *, is_figure: bool) -> CycleCheck:
    labels = tuple(subject.labels[i] for i in one.positions)
    words = subject.words.get(one.expectation.name, "")
    if is_figure:
        return CycleCheck(one, subject.columns[one.expectation.column][0], (), words)
    value = None if one.unexpected_percent is None or one.elements == one.missing else 1 - one.unexpected_percent / 100
    if value is None:
        words = "nothing to check in this cycle"
    elif one.unexpected:
        words = f"{one.unexpected} of {one.elements - one.missing} are not as expected"
    return CycleCheck(one, value, labels, one.error or words)


def _vehicles(conn: Connection, settings: Settings, cycle_id: str, now: datetime) -> Subject:
    touched = ledger.vehicles_of_cycle(conn, cycle_id)[1]
    sample = checks.sample_vehicles(conn, cycle_id, touched=touched, most=settings.check_sample)
    return Subject(vehicle_columns(sample, settings.core_fields), [vehicle.id for vehicle in sample])


def _fields(conn: Connection, settings: Settings, cycle_id: str, now: datetime) -> Subject:
    rows = quality_rows(Evidence(ledger.tallies(conn, cycle_id)), settings)
    known = [row for row in rows if row.source_id is None and row.accuracy is not None]
    return Subject({"accuracy": [row.accuracy for row in known]}, [row.field_name for row in known])


def _sources(conn: Connection, settings: Settings, cycle_id: str, now: datetime) -> Subject:
    silences = checks.silences(conn, now=now)
    return Subject({"hours_silent": [hours for _, hours in silences]}, [slug for slug, _ in silences])


def _figures(conn: Connection, settings: Settings, cycle_id: str, mismatches: Sequence[str]) -> Subject:
    added, touched, quality = ledger.vehicles_of_cycle(conn, cycle_id)
    cycle = cycles.cycle(conn, cycle_id)
    held = holds.held_of_cycle(conn, cycle_id)
    columns: Columns = {
        "data_quality": [quality],
        "mismatches": [len(mismatches)],
        "gap": [max(0, (cycle.target if cycle else settings.target) - added)],
        "held": [sum(batch.listings - batch.released for batch in held)],
    }
    words = {
        "data_quality_score": "" if touched else "no vehicle was touched",
        "counters_reconcile": "; ".join(mismatches),
        "nothing_held_back": "; ".join(f"{b.slug}: {b.reason}" for b in held if b.listings > b.released)[:1000],
    }
    return Subject(columns, [cycle_id], words)


_SUBJECTS: dict[str, Callable[[Connection, Settings, str, datetime], Subject]] = {
    "vehicles": _vehicles,
    "fields": _fields,
    "sources": _sources,
}
