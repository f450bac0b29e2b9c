"""The checks on ``vehicles``: one per expectation. They report and never block: they cannot silence the report."""

from collections.abc import Iterator
from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    MetadataValue,
    multi_asset_check,
)

from fill_pipeline.assets.vehicles import VEHICLES
from fill_pipeline.assets.windows import WINDOWS, cycle_of
from fill_pipeline.cycle.accounting import mismatches
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.db import vitals
from fill_pipeline.db.connect import Connection
from fill_pipeline.quality.cycle_checks import CycleCheck, check_cycle, cycle_suites
from fill_pipeline.quality.expectations import Severity
from fill_pipeline.resources import Fill
from fill_pipeline.settings import Settings

SEVERITIES = {Severity.WARN: AssetCheckSeverity.WARN, Severity.ERROR: AssetCheckSeverity.ERROR}


def build_checks(settings: Settings) -> AssetChecksDefinition:
    """One step that has Great Expectations evaluate every expectation of a cycle."""
    expected = [one for suite in cycle_suites(settings, utc_now().year) for one in suite.expectations]

    @multi_asset_check(
        name="vehicle_checks",
        can_subset=True,
        specs=[
            AssetCheckSpec(one.name, asset=VEHICLES, description=one.words, partitions_def=WINDOWS) for one in expected
        ],
    )
    def vehicle_checks(context: AssetCheckExecutionContext, fill: Fill) -> Iterator[AssetCheckResult]:
        names = [key.name for key in context.selected_asset_check_keys]
        with fill.connect("checks") as conn:
            cycle_id = cycle_of(context, conn)
            found = check_cycle(conn, fill.settings, cycle_id, names, mismatches=mismatches, now=utc_now())
            with conn.transaction():
                for name in names:
                    _keep(conn, cycle_id, found[name])
        for name in names:
            yield _result(found[name], cycle_id)

    return vehicle_checks


def _keep(conn: Connection, cycle_id: str, found: CycleCheck) -> None:
    """In the database too: alerts are judged from there."""
    one = found.checked.expectation
    passed, words = found.checked.success, found.words
    vitals.save_check(conn, cycle_id, one.name, passed=passed, severity=one.severity, words=words, now=utc_now())


def _result(found: CycleCheck, cycle_id: str) -> AssetCheckResult:
    checked = found.checked
    one = checked.expectation
    facts: dict[str, Any] = {
        "cycle": cycle_id,
        "expectation": one.kind.value,
        "arguments": MetadataValue.json(one.arguments()),
        "mark": one.mostly,
        "sample_size": checked.elements - checked.missing,
        "unexpected_count": checked.unexpected,
    }
    if checked.unexpected_percent is not None:
        facts["unexpected_percent"] = checked.unexpected_percent
    if checked.unexpected_values:
        facts["unexpected_values"] = MetadataValue.json(list(checked.unexpected_values))
    if found.labels:
        facts["unexpected_at"] = MetadataValue.json(list(found.labels))
    if found.value is not None:
        facts["value"] = round(float(found.value), 4)
    return AssetCheckResult(
        asset_key=VEHICLES,
        check_name=one.name,
        passed=checked.success,
        severity=SEVERITIES[one.severity],
        description=found.words or None,
        metadata=facts,
    )
