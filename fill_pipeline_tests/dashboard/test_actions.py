"""Who may act, and what the actions do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fill_pipeline.dashboard.actions import WRONG_TOKENS, Deed, Gate, Order, RefusedError, carry_out, earlier_versions
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

NOW = datetime(2026, 3, 4, 13, 30, tzinfo=UTC)


@pytest.fixture
def here(database_url: str) -> Settings:
    """Settings of the test database."""
    return Settings(database_url=database_url)  # type: ignore[arg-type]


def test_without_a_token_nobody_is_admitted() -> None:
    for token in (None, ""):
        gate = Gate(token)
        assert not gate.exists
        with pytest.raises(RefusedError, match="FILL_DASHBOARD_TOKEN"):
            gate.admit("")


def test_guessing_closes_the_gate_for_a_while() -> None:
    now = NOW
    gate = Gate("right", lambda: now)
    for _ in range(WRONG_TOKENS):
        with pytest.raises(RefusedError, match="not the token"):
            gate.admit("wrong")
    with pytest.raises(RefusedError, match="too many"):
        gate.admit("right")
    now += timedelta(minutes=1)
    gate.admit("right")


def test_what_is_not_there_is_refused(conn: Connection, here: Settings, town: Callable[..., Any]) -> None:
    town()
    for deed in (Deed.PAUSE, Deed.RESUME, Deed.ROLL_BACK):
        with pytest.raises(RefusedError, match="no source"):
            carry_out(here, Order(deed, "nobody'; DROP TABLE vehicles --", "test", 1), now=NOW)
    with pytest.raises(RefusedError, match="never had a configuration 7"):
        carry_out(here, Order(Deed.ROLL_BACK, "dealer_000", "test", 7), now=NOW)
    for subject in ("7", "1; DROP TABLE vehicles", "", "9" * 30):
        with pytest.raises(RefusedError, match=r"does not exist|not the id"):
            carry_out(here, Order(Deed.DISMISS, subject, "test", why="known"), now=NOW)
    with pytest.raises(RefusedError, match="no source"):
        earlier_versions(here, "")


def test_requeueing_one_source_leaves_the_others(conn: Connection, here: Settings, town: Callable[..., Any]) -> None:
    rows = town()
    rows.queue("dealer_000", 3, "dead")
    rows.queue("dealer_001", 4, "dead")
    assert carry_out(here, Order(Deed.REQUEUE, "dealer_000", "test"), now=NOW).startswith("3 dead pages")
    left = conn.execute("SELECT status, count(*) FROM import_queue GROUP BY 1 ORDER BY 1").fetchall()
    assert left == [("dead", 4), ("pending", 3)]


def test_a_second_cycle_is_not_opened_beside_the_first(
    conn: Connection, here: Settings, town: Callable[..., Any]
) -> None:
    rows = town()
    assert carry_out(here, Order(Deed.RUN_CYCLE, "", "test"), now=NOW) == f"cycle {rows.cycle_id} already runs"
