"""The registry keeps every configuration, whoever wrote it."""

from __future__ import annotations

from datetime import UTC, datetime

from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection

NOW = datetime(2025, 12, 24, 18, tzinfo=UTC)


def declare(conn: Connection, name: str = "offerup", **config: object) -> registry.SourceRow:
    return registry.declare_source(conn, name=name, base_url="https://x.example", config=config, kind="dealer")


def test_declaring_a_source_twice_changes_nothing(conn: Connection) -> None:
    first = declare(conn, robots="obey")
    again = declare(conn, robots="obey")
    assert (again.id, again.config_version) == (first.id, 1)
    assert len(registry.versions(conn, first.id)) == 1


def test_every_change_of_a_config_is_a_version_also_one_made_with_sql(conn: Connection) -> None:
    source = declare(conn, rate_limit={"requests_per_minute": 10})
    conn.execute(
        "UPDATE sources SET config = jsonb_set(config, '{rate_limit,requests_per_minute}', '5') WHERE name = 'offerup'"
    )
    registry.change_config(conn, source.id, {"robots": "obey"}, made_by="repair", reason="redesigned", score=0.97)
    versions = registry.versions(conn, source.id)
    assert [(v.version, v.made_by, v.live) for v in versions] == [
        (1, "operator", False),
        (2, "operator", False),
        (3, "repair", True),
    ]
    assert float(versions[2].measured_score or 0) == 0.97
    assert versions[1].config == {"rate_limit": {"requests_per_minute": 5}}


def test_rolling_back_brings_the_old_config_as_a_new_version(conn: Connection) -> None:
    source = declare(conn, robots="obey")
    registry.change_config(conn, source.id, {"robots": "ignore"}, made_by="repair", reason="tried")
    assert registry.roll_back(conn, source.id, 1, made_by="operator", reason="worse")
    assert not registry.roll_back(conn, source.id, 9, made_by="operator", reason="no such")
    now = registry.find_source(conn, "offerup")
    assert now is not None
    assert (now.config, now.config_version) == ({"robots": "obey"}, 3)
    assert registry.versions(conn, source.id)[2].restored_from == 1


def test_an_operators_pause_survives_a_new_declaration(conn: Connection) -> None:
    source = declare(conn, robots="obey")
    registry.set_active(conn, source.slug, False)
    assert not declare(conn, robots="ignore").active
    assert registry.stopped_sources(conn, [source.id]) == {source.id}
