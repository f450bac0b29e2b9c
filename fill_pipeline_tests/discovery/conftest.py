"""A simulated web and a piece of work on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain.work import Work
from fill_pipeline.settings import Settings
from fill_pipeline.simweb.handle import SimWeb, start_simweb


@pytest.fixture(scope="module")
def shared_web() -> Iterator[SimWeb]:
    """One small simulated web for the module."""
    with start_simweb(seed=11, scale=0.03) as running:
        yield running


@pytest.fixture
def web(shared_web: SimWeb) -> SimWeb:
    """The simulated web as it was at its start."""
    shared_web.post("reset")
    return shared_web


@pytest.fixture
def work_of(conn: Connection, database_url: str, tmp_path: Path) -> Callable[..., Work]:
    """Makes work in the open cycle of this moment, with a folder of its own."""
    settings = Settings(home=tmp_path, allow_nets="127.0.0.0/8,::1/128", workers=1)  # type: ignore[arg-type]

    def make(after: timedelta = timedelta(0)) -> Work:
        def now() -> datetime:
            return datetime.now(UTC) + after

        cycle = ensure_open(conn, settings, now=now())
        return Work(settings, database_url, cycle.cycle_id, "test", now, now() + timedelta(minutes=10))

    return make


@pytest.fixture
def work(work_of: Callable[..., Work]) -> Work:
    """Work in the open cycle."""
    return work_of()
