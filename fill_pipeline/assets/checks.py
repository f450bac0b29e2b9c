"""The checks on ``vehicles``: one per rule. They report and never block, so that they cannot silence the report."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    multi_asset_check,
)

from fill_pipeline.assets.vehicles import VEHICLES
from fill_pipeline.assets.windows import WINDOWS, cycle_of
from fill_pipeline.cycle.accounting import mismatches
from fill_pipeline.db import checks, cycles, ledger
from fill_pipeline.db.connect import Connection
from fill_pipeline.quality.metrics import LOW_ACCURACY, quality_rows
from fill_pipeline.resources import Fill
from fill_pipeline.settings import Settings

WARN, ERROR = AssetCheckSeverity.WARN, AssetCheckSeverity.ERROR


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found; ``value`` against ``mark`` in the rule's own unit, None where there was nothing to measure."""

    passed: bool
    value: float | None
    mark: float
    words: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A named rule over the vehicles of one cycle."""

    name: str
    words: str
    severity: AssetCheckSeverity
    find: Callable[[Connection, Settings, str], Finding]


def build_checks(settings: Settings) -> AssetChecksDefinition:
    """One step that evaluates every rule."""
    rules = {rule.name: rule for rule in (*map(_completeness_rule, settings.core_fields), *RULES)}

    @multi_asset_check(
        name="vehicle_checks",
        can_subset=True,
        specs=[
            AssetCheckSpec(rule.name, asset=VEHICLES, description=rule.words, partitions_def=WINDOWS)
            for rule in rules.values()
        ],
    )
    def vehicle_checks(context: AssetCheckExecutionContext, fill: Fill) -> Iterator[AssetCheckResult]:
        with fill.connect("checks") as conn:
            cycle_id = cycle_of(context, conn)
            for key in context.selected_asset_check_keys:
                yield _result(rules[key.name], rules[key.name].find(conn, fill.settings, cycle_id), cycle_id)

    return vehicle_checks


def _result(rule: Rule, finding: Finding, cycle_id: str) -> AssetCheckResult:
    facts: dict[str, str | float] = {"cycle": cycle_id, "mark": finding.mark}
    if finding.value is not None:
        facts["value"] = round(finding.value, 4)
    return AssetCheckResult(
        asset_key=VEHICLES,
        check_name=rule.name,
        passed=finding.passed,
        severity=rule.severity,
        description=finding.words or None,
        metadata=facts,
    )


def _completeness_rule(field: str) -> Rule:
    def find(conn: Connection, settings: Settings, cycle_id: str) -> Finding:
        rows = quality_rows(ledger.tallies(conn, cycle_id), settings.core_fields, settings.quality_target)
        row = next((r for r in rows if r.field_name == field and r.source_id is None), None)
        if row is None or row.completeness is None:
            return Finding(True, None, settings.quality_target, "nothing was read in this cycle")
        passed = row.completeness >= settings.quality_target
        return Finding(passed, row.completeness, settings.quality_target, "; ".join(row.issues))

    return Rule(f"completeness_{field}", f"Of the listings read, the share that has a {field}.", WARN, find)


def _accuracy(conn: Connection, settings: Settings, cycle_id: str) -> Finding:
    rows = quality_rows(ledger.tallies(conn, cycle_id), settings.core_fields, settings.quality_target)
    known = {r.field_name: r.accuracy for r in rows if r.source_id is None and r.accuracy is not None}
    if not known:
        return Finding(True, None, LOW_ACCURACY, "nothing could be compared in this cycle")
    worst = min(known, key=lambda name: known[name])
    return Finding(known[worst] >= LOW_ACCURACY, known[worst], LOW_ACCURACY, f"{worst} agrees least")


def _data_quality(conn: Connection, settings: Settings, cycle_id: str) -> Finding:
    quality = ledger.vehicles_of_cycle(conn, cycle_id)[2]
    passed = quality is None or quality >= settings.quality_target
    return Finding(passed, quality, settings.quality_target, "" if quality is not None else "no vehicle was touched")


def _duplicate_vins(conn: Connection, settings: Settings, cycle_id: str) -> Finding:
    twice = checks.duplicate_vins(conn, cycle_id)
    return Finding(twice == 0, twice, 0, f"{twice} vehicles share their VIN with another" if twice else "")


def _reconciles(conn: Connection, settings: Settings, cycle_id: str) -> Finding:
    found = mismatches(conn, cycle_id)
    return Finding(not found, len(found), 0, "; ".join(found))


def _on_target(conn: Connection, settings: Settings, cycle_id: str) -> Finding:
    added, cycle = ledger.vehicles_of_cycle(conn, cycle_id)[0], cycles.cycle(conn, cycle_id)
    target = cycle.target if cycle else settings.target
    return Finding(added >= target, added, target)


RULES = (
    Rule("data_quality_score", "Mean completeness of the vehicles touched in this cycle.", ERROR, _data_quality),
    Rule("accuracy", "Every field agrees with the decoded VIN and the page's other evidence.", WARN, _accuracy),
    Rule("no_duplicate_vin", "No two vehicles have the same VIN.", ERROR, _duplicate_vins),
    Rule("counters_reconcile", "Rows, counters and the sources' accounts give the same sum.", ERROR, _reconciles),
    Rule("on_target", "This cycle's new vehicles reach its target.", WARN, _on_target),
)
