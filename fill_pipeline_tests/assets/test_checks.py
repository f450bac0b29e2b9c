"""The asset checks: what Great Expectations finds wrong fails with its severity and is told in the metadata."""

from __future__ import annotations

from typing import Any

from dagster import AssetCheckEvaluation, AssetCheckKey, AssetCheckSeverity, AssetKey, DagsterInstance

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.db.connect import Connection
from fill_pipeline.definitions import defs
from fill_pipeline.quality.cycle_checks import cycle_suites
from fill_pipeline.settings import Settings

SOUND = {
    "vin": None,
    "year": 2019,
    "make": "Honda",
    "model": "Accord",
    "price": 18_995,
    "currency": "USD",
    "price_kind": "asking",
    "mileage": 61_234,
    "mileage_unit": "mi",
    "fuel_type": "gasoline",
    "place": "Dayton, OH",
    "image": "https://cars.example/1.jpg",
    "completeness": 1.0,
}


def run_checks(cycle_id: str, *names: str) -> dict[str, AssetCheckEvaluation]:
    """What the UI's "execute checks" does to a cycle's partition; by name."""
    job = defs().get_repository_def().get_job("__ASSET_JOB")
    keys = {AssetCheckKey(AssetKey("vehicles"), name) for name in names}
    run = job.get_subset(asset_selection=set(), asset_check_selection=keys)
    result = run.execute_in_process(instance=DagsterInstance.ephemeral(), partition_key=cycle_id, raise_on_error=False)
    assert result.success  # a failed check is a finding, not a failed run
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def add_vehicles(conn: Connection, cycle_id: str, n: int, **wrong: Any) -> list[int]:
    values = SOUND | wrong
    columns, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    ids = []
    for _ in range(n):
        row = conn.execute(
            f"INSERT INTO vehicles ({columns}, created_at, created_cycle, updated_at, updated_cycle) "  # noqa: S608
            f"VALUES ({marks}, now(), %s, now(), %s) RETURNING id",
            [*values.values(), cycle_id, cycle_id],
        ).fetchone()
        assert row is not None
        ids.append(row[0])
    return ids


def test_corrupt_vehicles_fail_their_check_with_severity_and_great_expectations_result(
    edge: Settings, conn: Connection
) -> None:
    cycle_id = ensure_open(conn, edge, now=utc_now()).cycle_id
    names = [one.name for suite in cycle_suites(edge, 2025) if suite.name == "vehicles" for one in suite.expectations]
    add_vehicles(conn, cycle_id, 20)
    assert [name for name, found in run_checks(cycle_id, *names).items() if not found.passed] == []

    dear = add_vehicles(conn, cycle_id, 3, price=90_000_000)
    add_vehicles(conn, cycle_id, 1, fuel_type="<script>plutonium</script>", price_kind="guess", vin="IOQ")
    add_vehicles(conn, cycle_id, 4, mileage=None, condition="used")
    add_vehicles(conn, cycle_id, 4, mileage=None, condition="new")  # a new car's odometer is not missing
    found = run_checks(cycle_id, *names)
    failed = {name: one.severity for name, one in found.items() if not one.passed}
    assert failed == {
        "price_range": AssetCheckSeverity.ERROR,
        "fuel_type_terms": AssetCheckSeverity.ERROR,
        "price_kinds": AssetCheckSeverity.ERROR,
        "vin_format": AssetCheckSeverity.ERROR,
        "completeness_mileage": AssetCheckSeverity.WARN,
    }
    facts = {name: value.value for name, value in found["price_range"].metadata.items()}
    assert facts["expectation"] == "expect_column_values_to_be_between"
    assert facts["unexpected_values"] == [90_000_000.0] * 3
    assert facts["unexpected_at"] == dear
    assert (facts["unexpected_count"], facts["sample_size"], facts["mark"]) == (3, 32, 0.99)
    assert facts["unexpected_percent"] == 9.375
    shown = found["fuel_type_terms"].metadata["unexpected_values"].value
    assert shown == ["‹script›plutonium‹/script›"]
    assert found["completeness_mileage"].metadata["value"].value == 0.8571  # 24 of 28


def test_a_cycles_sums_stale_sources_and_held_back_listings_are_checked(edge: Settings, conn: Connection) -> None:
    cycle_id = ensure_open(conn, edge, now=utc_now()).cycle_id
    names = ("accuracy", "freshness", "nothing_held_back", "counters_reconcile", "data_quality_score")
    # An empty database has nothing wrong in it.
    assert all(found.passed for found in run_checks(cycle_id, *names).values())
    row = conn.execute(
        "INSERT INTO scrape_sources (name, base_url, created_at) "
        "VALUES ('old', 'https://old.example', now() - interval '3 days') RETURNING id"
    ).fetchone()
    assert row is not None
    conn.execute(
        "INSERT INTO field_tallies (cycle_id, source_id, field_name, compared, agreed) VALUES (%s, %s, 'year', 10, 8)",
        [cycle_id, row[0]],
    )
    conn.execute(
        "INSERT INTO held_batches (cycle_id, source_id, expectation, field_name, reason, listings, checked, "
        "unexpected, held_at) VALUES (%s, %s, 'price_range', 'price', 'Too dear.', 7, 7, 7, now())",
        [cycle_id, row[0]],
    )
    add_vehicles(conn, cycle_id, 1, completeness=0.2)
    found = run_checks(cycle_id, *names)
    assert {name for name, one in found.items() if one.passed} == set()
    assert found["accuracy"].metadata["unexpected_at"].value == ["year"]
    assert found["freshness"].metadata["unexpected_at"].value == ["old"]
    assert found["nothing_held_back"].description == "old: Too dear."
    assert found["nothing_held_back"].metadata["value"].value == 7
    assert "the sources' accounts sum to 0" in (found["counters_reconcile"].description or "")
