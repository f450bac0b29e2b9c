"""What the edge reads from the environment, pointed at the test's own database."""

from __future__ import annotations

import pytest

from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch, conn: Connection, database_url: str, settings: Settings) -> Settings:
    """The settings every asset of this test will find; the database is empty of rows."""
    monkeypatch.setenv("FILL_HOME", str(settings.home))
    monkeypatch.setenv("FILL_DATABASE_URL", database_url)
    monkeypatch.setenv("FILL_ALLOW_NETS", "127.0.0.0/8")
    return Settings()
