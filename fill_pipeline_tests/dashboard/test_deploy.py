"""The files in ``deploy/`` speak of things that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from typer.main import get_command

from fill_pipeline.cli.app import app
from fill_pipeline.cycle.summary import write_summaries
from fill_pipeline.dashboard.metrics import exposition
from fill_pipeline.dashboard.poller import Reading
from fill_pipeline.dashboard.snapshot import snapshot
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
NOW = datetime(2026, 3, 4, 13, 30, tzinfo=UTC)


def test_grafana_asks_only_for_metrics_that_are_served(
    conn: Connection, settings: Settings, town: Callable[..., Any]
) -> None:
    rows = town()
    rows.add_vehicles(3)
    rows.queue("dealer_000", 1)
    write_summaries(conn, settings, NOW.date(), now=NOW)
    text = exposition(Reading(snapshot(conn, settings, NOW), 0.01, (), None, None))
    served = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    asked = {name for query in queries for name in re.findall(r"\bfill_\w+", query)}
    assert len(asked) >= 25
    assert asked <= served


def test_every_fill_command_of_the_deployment_exists() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    values = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
    lines = [service.get("command", []) for service in compose["services"].values()]
    for manifest in values["extraManifests"]:
        if manifest["kind"] == "Deployment":
            lines += [container["args"] for container in manifest["spec"]["template"]["spec"]["containers"]]
    ours = [line for line in lines if line and line[0] == "fill"]
    assert len(ours) == 2
    assert all(line[1] in commands for line in ours)


def test_no_port_is_published_beyond_loopback() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
