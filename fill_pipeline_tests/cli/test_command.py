"""What a script may rely on: exit statuses, one line for an error, JSON, a clean end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from fill_pipeline.cli import main
from fill_pipeline.cli.output import visible
from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

WRONG = {
    2: (
        "bogus",
        "--bogus",
        "why",
        "why figures",
        "why vehicle x",
        "why vehicle 0",
        "why vehicles_added --limit 0",
        "replay",
        "report --kind yearly",
        "deals show x",
        "deals top -n 0",
        "incidents dismiss 5",
        "incidents dismiss x --why y",
        "sources rollback somewhere one",
        "dashboard --port 99999",
    ),
    1: (
        "why vehicle",
        "why vehicle 99",
        "why vehicle 99999999999999999999",
        "why vehicle 1 --field wheels",
        "why vehicles_added --cycle ';drop",
        "why queue_dead 5",
        "status",
        "report nosuch",
        "replay nosuch",
        "sources show nosuch",
        "sources add /nonexistent.yaml",
        "sources pause nosuch",
        "sources rollback nosuch 1",
        "search run nosuch",
        "incidents dismiss 5 --why known",
        "deals why 99",
        "cycle --corpus /nonexistent",
        "dashboard --host 203.0.113.1",
    ),
}


@pytest.fixture(autouse=True)
def environment(conn: Connection, settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands work on the test database."""
    monkeypatch.setenv("FILL_HOME", str(settings.home))
    monkeypatch.setenv("FILL_DATABASE_URL", database_url)


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["fill", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(("status", "line"), [(status, line) for status, lines in WRONG.items() for line in lines])
def test_an_error_is_one_line_with_a_status(
    status: int, line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(line, monkeypatch) == status
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("fill: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FILL_DATABASE_URL", "postgre://me:hush@host/db"),
        ("FILL_TARGET", "many"),
        ("FILL_UI_URL", "javascript:alert(1)"),
        ("FILL_DATABASE_URL", "nonsense"),
        ("FILL_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere"),
    ],
)
def test_a_wrong_setting_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert run("status", monkeypatch) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert name in err
    assert "hush" not in err


def test_a_secret_setting_is_not_repeated(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FILL_MODEL_KEY", "hush\N{BULLET}hush")
    assert run("status", monkeypatch) == 1
    err = capfd.readouterr().err
    assert "FILL_MODEL_KEY" in err
    assert "hush" not in err


def test_a_taken_port_is_named(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("FILL_SIMWEB_PORT", str(port))
        assert run("cycle --demo", monkeypatch) == 1
        assert run(f"dashboard --port {port}", monkeypatch) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 2
    assert err.startswith(f"fill: FILL_SIMWEB_PORT={port}: ")
    assert f"port {port}" in err


def test_help_is_no_error(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--help", monkeypatch) == 0
    assert "watch" in capfd.readouterr().out
    assert run("sources", monkeypatch) == 2  # no command was named


def test_what_was_done_is_told_as_json(
    conn: Connection, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    registry.declare_source(conn, name="somewhere", base_url="https://somewhere.example", config={}, kind="dealer")
    assert run("sources pause somewhere --json", monkeypatch) == 0
    assert json.loads(capfd.readouterr().out)["active"] is False
    assert run("why queue_dead --json", monkeypatch) == 0
    assert json.loads(capfd.readouterr().out)["value"] == 0


def test_watch_prints_a_line_for_each_update_and_leaves_cleanly(conn: Connection) -> None:
    conn.execute(
        """INSERT INTO fill_cycles (cycle_id, started_at, window_start, window_end, target)
           VALUES ('2026-03-04-12:00', %(at)s, %(at)s, %(at)s + interval '2 hours', 2000)""",
        {"at": datetime(2026, 3, 4, 12, tzinfo=UTC)},
    )
    command = [sys.executable, "-m", "fill_pipeline.cli", "watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == b""
    assert [line["cycle_id"] for line in lines] == ["2026-03-04-12:00"] * 2
    assert (lines[0]["vehicles_added"], lines[0]["gap"], lines[0]["error"]) == (0, 2000, None)
    assert lines[0]["taken_at"] < lines[1]["taken_at"]


def test_what_the_web_wrote_cannot_speak_to_the_terminal() -> None:
    assert visible("\x1b[2J\x9bred\x07 car\r[bold]").replace("\N{REPLACEMENT CHARACTER}", "?") == "?[2J?red? car?[bold]"
