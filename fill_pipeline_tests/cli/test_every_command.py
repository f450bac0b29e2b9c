"""What holds for every command there is: JSON for programs, help, progress for people alone."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner

from fill_pipeline.cli import output
from fill_pipeline.cli.app import app
from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with the words that call it."""
    command = command or get_command(app)
    below = getattr(command, "commands", {})
    if not below or command.invoke_without_command:
        yield " ".join(path), command
    for name, one in below.items():
        yield from commands(one, (*path, name))


COMMANDS = dict(commands())


def test_all_commands_are_met() -> None:
    assert len(COMMANDS) >= 27
    assert {"cycle", "up", "incidents", "incidents dismiss", "sources add", "deals why", "search run"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_it_speaks_json_says_what_it_does_and_explains_every_option(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert any("--json" in parameter.opts for parameter in command.params), f"fill {name} has no --json"
    silent = [p.name for p in command.params if not getattr(p, "help", None) and p.name != "help"]
    assert silent == []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, conn: Connection, database_url: str, settings: Settings) -> None:
    monkeypatch.setenv("FILL_HOME", str(settings.home))
    monkeypatch.setenv("FILL_DATABASE_URL", database_url)
    registry.declare_source(conn, name="somewhere", base_url="https://somewhere.example", config={}, kind="dealer")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("sources list", None),
        ("sources show somewhere", "versions"),
        ("sources pause somewhere", "active"),
        ("sources add https://elsewhere.example --config {}", "added"),
        ("search list", None),
        ("search add cheap --source somewhere --param max_price=8000", "id"),
        ("deals top", None),
        ("deals run", "listings_analyzed"),
        ("incidents", "incidents"),
        ("report --list", None),
    ],
)
def test_json_is_all_there_is_on_standard_output(world: None, line: str, key: str | None) -> None:
    result = CliRunner().invoke(app, [*line.split(), "--json"])
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert isinstance(said, list) if key is None else key in said
    assert result.stderr == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_and_nowhere_else(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(output, "console", Console(file=screen, force_terminal=terminal, width=100))
    with output.working("reading [somewhere] again") as told:
        told({"pages_fetched": 40, "found": 12, "bytes": 0})
    assert ("reading [somewhere] again … 40 pages, 12 listings read" in screen.getvalue()) is terminal
    assert (screen.getvalue() == "") is not terminal
