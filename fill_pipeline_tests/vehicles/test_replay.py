"""Months of real snapshots, replayed day by day, give exactly what the files say.

A few files here; `benchmarks/identity.py --lifecycle` replays every file of both sets.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from fill_pipeline.db.connect import Connection
from fill_pipeline_tests.vehicles.snapshots import dealer_files, region_files, replay


@pytest.mark.parametrize(("files_of", "start", "count"), [(region_files, 6, 4), (dealer_files, 0, 10)])
def test_real_snapshots_give_the_vehicles_prices_and_disappearances_of_their_files(
    conn: Connection,
    corpus: Path,
    source: UUID,
    files_of: Callable[[Path], list[Path]],
    start: int,
    count: int,
) -> None:
    result = replay(conn, source, files_of(corpus)[start : start + count])
    assert result.days > 1
    assert result.wrong_days == []
    assert result.vehicles == dict.fromkeys(result.expected, 1)
    assert result.told == result.expected
