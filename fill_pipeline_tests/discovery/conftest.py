"""A simulated web."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
