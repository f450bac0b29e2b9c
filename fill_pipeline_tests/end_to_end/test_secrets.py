"""A cycle with cookies and authorisation: they are sent, and stand nowhere else."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier

from fill_pipeline.cycle.run import run_cycle
from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.seal import KEY_VARIABLE
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb

SECRETS = ("hush-authorisation", "hush-cookie")
KEY = "a key of forty characters for these tests"


def declare(db: Connection, site: dict[str, object]) -> None:
    secret = {"headers": {"Authorization": f"Bearer {SECRETS[0]}"}, "cookies": {"session": SECRETS[1]}}
    config = {**site["suggested_config"], **secret, "rate_limit": {"requests_per_minute": 60_000}}  # type: ignore[dict-item]
    registry.declare_source(
        db, name=str(site["slug"]), base_url=str(site["base_url"]), config=config, kind=str(site["kind"])
    )


def tables(db: Connection) -> dict[str, str]:
    """All rows of all tables, as text."""
    names = [row[0] for row in db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    return {
        name: str(db.execute(SQL("SELECT t::text FROM {} t").format(Identifier(name))).fetchall()) for name in names
    }


def fill(world: Settings, *command: str) -> str:
    """What a command says, on both its outputs."""
    assert world.database_url is not None
    more = {"FILL_HOME": str(world.home), "FILL_DATABASE_URL": world.database_url.get_secret_value()}
    done = subprocess.run(
        [sys.executable, "-m", "fill_pipeline.cli", *command],
        env=os.environ | more,
        capture_output=True,
        check=False,  # below target is a status of its own
        text=True,
    )
    return done.stdout + done.stderr


def test_secrets_are_in_no_table_log_report_file_or_answer_of_a_command(
    world: Settings,
    db: Connection,
    simweb: SimWeb,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    caplog.set_level(logging.DEBUG)
    simweb.post("reset")
    well, failing, leading_away = sorted(
        (site for site in simweb.get("/sites") if site["open"]), key=lambda site: site["live_count"]
    )[:3]
    for site in (well, failing, leading_away):
        declare(db, site)
    simweb.post("fail", slug=failing["slug"], status=500)
    simweb.post("redirect_to", slug=leading_away["slug"], url="http://10.0.0.1/login")
    report = run_cycle(world.model_copy(update={"target": 1}))
    assert report is not None
    assert report["vehicles_added"] > 0

    found = tables(db) | {"log": caplog.text, "report": str(report)}
    found |= {"show": fill(world, "sources", "show", well["slug"]), "status": fill(world, "status", "--json")}
    found |= {str(p): p.read_bytes().decode("latin-1") for p in Path(world.home).rglob("*") if p.is_file()}
    assert any(name.endswith(".warc") for name in found)
    assert [name for name, text in found.items() if any(secret in text for secret in SECRETS)] == []
    assert "sealed:" in found["scrape_sources"]
