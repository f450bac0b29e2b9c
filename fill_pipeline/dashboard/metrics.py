"""The figures for Prometheus, in its text format 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fill_pipeline.cycle.figures import Figures
from fill_pipeline.cycle.forecast import Status
from fill_pipeline.dashboard.poller import Reading
from fill_pipeline.dashboard.snapshot import CycleNow, Overview
from fill_pipeline.db.ledger import RELIABLE_DAYS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], float | None]


def exposition(reading: Reading) -> str:
    """Every metric of a reading; only ``fill_up`` when the database cannot be read, so that no figure looks fresh."""
    lines = list(_metric("fill_up", "Whether the database can be read", [({}, reading.error is None)]))
    if reading.overview is not None and reading.error is None:
        overview = reading.overview
        lines += _metric("fill_reading_seconds", "How long the reading took", [({}, reading.seconds)])
        lines += _metric("fill_reading_timestamp_seconds", "When it was taken", [({}, overview.taken_at.timestamp())])
        if overview.cycle is not None:
            lines += _cycle(overview.cycle, overview.measured)
        lines += _totals(overview)
        lines += _sources(overview)
        lines += _quality(overview)
        lines += _criteria(overview)
    return "\n".join(lines) + "\n"


def _cycle(cycle: CycleNow, measured: Figures) -> Iterator[str]:
    one: dict[str, str] = {}
    yield from _metric("fill_cycle_info", "The open cycle, or the last one", [({"cycle": cycle.cycle_id}, 1)])
    yield from _metric("fill_cycle_open", "Whether a cycle is open", [(one, cycle.open)])
    yield from _metric("fill_cycle_started_timestamp_seconds", "Its start", [(one, cycle.started_at.timestamp())])
    yield from _metric("fill_cycle_target_vehicles", "Vehicles it has to add", [(one, cycle.target)])
    yield from _metric("fill_cycle_vehicles_added", "Vehicles it added", [(one, cycle.vehicles_added)])
    yield from _metric("fill_cycle_gap_vehicles", "Vehicles still to add", [(one, cycle.gap)])
    yield from _metric("fill_cycle_vehicles_queued", "Pages it queued", [(one, cycle.vehicles_queued)])
    yield from _metric("fill_cycle_queue_needed", "Pages the next cycle needs", [(one, measured.queue_needed)])
    yield from _metric("fill_cycle_on_target", "Whether it reached its target", [(one, cycle.on_target)])
    yield from _metric("fill_cycle_pages_fetched", "Pages it fetched", [(one, cycle.pages_fetched)])
    yield from _metric("fill_cycle_pages_failed", "Pages that failed in it", [(one, cycle.pages_failed)])
    yield from _metric("fill_cycle_vehicles_per_hour", "Vehicles added an hour", [(one, cycle.vehicles_per_hour)])
    yield from _metric("fill_cycle_pages_per_hour", "Pages processed an hour", [(one, cycle.queue_per_hour)])
    yield from _metric(
        "fill_cycle_extraction_success_ratio", "Listing pages that showed a vehicle", [(one, cycle.extraction_success)]
    )
    yield from _metric("fill_cycle_quality_ratio", "Mean completeness of touched vehicles", [(one, cycle.quality)])
    if cycle.model is not None:
        yield from _metric(
            "fill_cycle_model_requests", "Questions to the language model", [(one, cycle.model.requests)]
        )
        yield from _metric("fill_cycle_model_tokens", "Tokens it was paid", [(one, cycle.model.tokens)])
    yield from _metric(
        "fill_cycle_action_running",
        "Whether a rung of the ladder is at work",
        [({"action": rung.kind}, rung.last is not None and rung.last.status == "running") for rung in cycle.rungs],
    )


def _totals(overview: Overview) -> Iterator[str]:
    today = overview.today
    yield from _metric("fill_vehicles", "Vehicles in the database", [({}, overview.totals["vehicles"])])
    for family, words in (("queue", "Pages"), ("listings", "Listings"), ("candidates", "Discovered sites")):
        samples = [
            ({"status": name.partition(".")[2]}, n)
            for name, n in overview.totals.items()
            if name.startswith(family + ".")
        ]
        yield from _metric(f"fill_{family}", f"{words} by status", samples)
    yield from _metric("fill_today_vehicles_added", "Vehicles added this UTC day", [({}, today.vehicles_added)])
    yield from _metric("fill_today_target_vehicles", "Vehicles to add this UTC day", [({}, today.target)])
    yield from _metric("fill_today_expected_vehicles", "Vehicles due by now", [({}, today.expected)])
    yield from _metric("fill_today_forecast_vehicles", "Where the day will end", [({}, today.forecast)])
    yield from _metric(
        "fill_today_status", "1 for how the day stands", [({"status": s}, s is today.status) for s in Status]
    )
    yield from _metric(
        "fill_failed_pages",
        "Failed pages of this cycle and the last",
        [({"category": f.category}, f.pages) for f in overview.failures],
    )
    yield from _metric("fill_incidents_open", "Incidents neither over nor dismissed", [({}, overview.incidents_open)])


def _sources(overview: Overview) -> Iterator[str]:
    measured, by_health = overview.measured, overview.sources_by_health()
    yield from _metric("fill_sources_active", "Sources in work", [({}, measured.sources_active)])
    yield from _metric(
        "fill_sources_judged",
        "Sources in work by their health in the cycle",
        [
            ({"health": "healthy"}, measured.sources_healthy),
            ({"health": "degraded"}, measured.sources_degraded),
            ({"health": "failing"}, measured.sources_failing),
        ],
    )
    yield from _metric("fill_sources_paused", "Sources paused or in quarantine", [({}, measured.sources_paused)])
    yield from _metric(
        "fill_sources", "Sources by health at this moment", [({"health": h}, n) for h, n in by_health.items()]
    )
    yield from _metric(
        "fill_reliability_ratio",
        "Mean reliability of the sources",
        [({"days": "7"}, measured.reliability_7d), ({"days": "30"}, measured.reliability_30d)],
    )
    sources = [({"source": s.line.slug}, s) for s in overview.sources]
    yield from _metric(
        "fill_source_health",
        "1 where the source stands so",
        [({**labels, "health": s.health}, 1) for labels, s in sources],
    )
    yield from _metric(
        "fill_source_vehicles_added", "Vehicles added in the cycle", [(n, s.line.vehicles_added) for n, s in sources]
    )
    yield from _metric("fill_source_found", "Listings found in the cycle", [(n, s.line.found) for n, s in sources])
    yield from _metric(
        "fill_source_pages_failed", "Pages failed in the cycle", [(n, s.line.pages_failed) for n, s in sources]
    )
    yield from _metric("fill_source_pending", "Pages waiting", [(n, s.pending) for n, s in sources])
    yield from _metric("fill_source_quality_ratio", "Mean completeness", [(n, s.quality) for n, s in sources])
    yield from _metric(
        "fill_source_reliability_ratio",
        "Mean of its health checks: healthy 1, degraded a half",
        [
            ({**labels, "days": str(days)}, s.reliability[i])
            for labels, s in sources
            for i, days in enumerate(RELIABLE_DAYS)
        ],
    )


def _quality(overview: Overview) -> Iterator[str]:
    heat = overview.heat
    latest = {
        field: next((c for id_ in reversed(heat.cycle_ids) if (c := heat.cells.get((field, id_)))), None)
        for field in heat.fields
    }
    yield from _metric(
        "fill_field_completeness_ratio",
        "Vehicles with the field, last cycle",
        [({"field": name}, cell.completeness) for name, cell in latest.items() if cell],
    )
    yield from _metric(
        "fill_field_accuracy_ratio",
        "Agreement with other evidence",
        [({"field": name}, heat.latest_accuracy(name)) for name in heat.fields],
    )


def _criteria(overview: Overview) -> Iterator[str]:
    """The success criteria as the last summaries have them."""
    found = [
        ({"period": period, "criterion": name}, criterion)
        for period, report in (("day", overview.past.day), ("week", overview.past.week), ("month", overview.past.month))
        for name, criterion in report.get("criteria", {}).items()
    ]
    yield from _metric("fill_criterion", "A success criterion's value", [(at, c["actual"]) for at, c in found])
    yield from _metric("fill_criterion_target", "Its target", [(at, c["target"]) for at, c in found])
    yield from _metric(
        "fill_criterion_status",
        "1 for how it stands",
        [({**at, "status": s}, s == c["status"]) for at, c in found if c["status"] for s in Status],
    )
    yield from _metric(
        "fill_quality_issues", "Quality issues of the last cycle", [({}, len(overview.measured.quality_issues))]
    )


def _metric(name: str, words: str, samples: Iterable[Sample]) -> Iterator[str]:
    """A gauge with its samples; one that is not known is left out, and so is a metric without any."""
    lines = [f"{name}{_labels(labels)} {float(value):.12g}" for labels, value in samples if value is not None]
    if lines:
        yield f"# HELP {name} {words}"
        yield f"# TYPE {name} gauge"
        yield from lines


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escape(str(value))}"' for key, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
