"""Sources whose listings go through the drain's own write, gate included."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import pytest

from fill_pipeline.db import ledger, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain.page import RawPage
from fill_pipeline.drain.read import ReadPage
from fill_pipeline.drain.write import Commit, in_transaction, write_pages
from fill_pipeline.extract.listing import Listing
from fill_pipeline.quality.gate import Gate
from fill_pipeline.settings import Settings
from fill_pipeline_tests.quality.cars import CYCLE, NOW, to_write


@pytest.fixture
def add_source(conn: Connection) -> Callable[[str], UUID]:
    """Registers a source and returns its id."""

    def add(name: str) -> UUID:
        row = registry.declare_source(conn, name=name, base_url=f"https://{name}.example", config={}, kind="dealer")
        return row.id

    return add


@pytest.fixture
def drain(conn: Connection, settings: Settings) -> Callable[..., None]:
    """Writes one batch of listings by source as a drain does: one transaction, gate, tallies and accounts."""
    offsets = itertools.count()

    def write(
        batch: dict[UUID, Sequence[Listing]],
        *,
        cycle_id: str = CYCLE,
        now: datetime = NOW,
        gate: Gate | None = None,
    ) -> None:
        read = []
        for source_id, listings in batch.items():
            for listing in listings:
                page = RawPage(
                    source_id=source_id,
                    url=listing.url or "",
                    body=b"",
                    content_encoding="",
                    content_type="text/html",
                    http_status=200,
                    fetched_at=now,
                    kind="detail",
                    file="f",
                    offset=next(offsets),
                    length=1,
                )
                read.append(ReadPage(page, [to_write(source_id, listing, now=now)]))
        commit = Commit(cycle_id, "test", now, settings.core_fields, gate or Gate.of(settings, now.year))

        def deed() -> None:
            for source_id, stats in write_pages(conn, read, commit).items():
                ledger.add_stats(conn, source_id, cycle_id, stats, now=now)

        in_transaction(conn, deed)

    return write
