"""Whether the tables of a database agree with each other and with the archive, told in words where they do not."""

from __future__ import annotations

from fill_pipeline.crawl.archive import ArchiveError, ArchiveReader, ArchiveRef
from fill_pipeline.db.connect import Connection

# Each finds what must not be; the words say what was found.
_MUST_BE_NONE = {
    "queue rows in work after the end": "SELECT count(*) FROM import_queue WHERE status = 'processing'",
    "complete queue rows without a listing": (
        "SELECT count(*) FROM import_queue WHERE status = 'complete' AND listing_id IS NULL"
    ),
    "failed, skipped or dead queue rows without a reason": (
        "SELECT count(*) FROM import_queue WHERE status IN ('failed', 'skipped', 'dead') AND failure_category IS NULL"
    ),
    "queue rows still leased though nobody works on them": (
        "SELECT count(*) FROM import_queue WHERE status <> 'processing' AND lease_owner IS NOT NULL"
    ),
    "VINs with several vehicles": (
        "SELECT count(*) FROM (SELECT FROM vehicles WHERE vin IS NOT NULL GROUP BY vin HAVING count(*) > 1) twice"
    ),
    "listings nobody has seen": (
        "SELECT count(*) FROM listing_records r"
        " WHERE NOT EXISTS (SELECT FROM listing_sightings s WHERE s.listing_id = r.id)"
    ),
    "actions of closed cycles that never ended": (
        "SELECT count(*) FROM cycle_actions a JOIN fill_cycles c USING (cycle_id)"
        " WHERE c.status = 'closed' AND a.status IN ('requested', 'running')"
    ),
}


def disagreements(conn: Connection, archive_root: str) -> list[str]:
    """What does not agree, once no cycle is at work; empty where everything does."""
    return in_tables(conn) + _unreadable(conn, archive_root)


def in_tables(conn: Connection) -> list[str]:
    """As ``disagreements``, without a look into the archive."""
    found = []
    for words, statement in _MUST_BE_NONE.items():
        row = conn.execute(statement.encode()).fetchone()
        if row is None or row[0]:
            found.append(f"{row[0] if row else '?'} {words}")
    row = conn.execute(
        # A vehicle may turn out to be another one after its cycle's report was written.
        "SELECT (SELECT count(*) FROM vehicles), (SELECT coalesce(sum(n), 0) FROM counters WHERE metric = 'vehicles'),"
        " (SELECT coalesce(sum(vehicles_added + (report->>'vehicles_merged')::int), 0) FROM fill_cycles"
        "  WHERE status = 'closed')"
        " - (SELECT coalesce(sum(n), 0) FROM counters WHERE metric = 'cycle.vehicles_merged')"
    ).fetchone()
    assert row is not None
    if not row[0] == row[1] == row[2]:
        found.append(f"{row[0]} vehicles, the counter says {row[1]}, the reports sum to {row[2]}")
    for status, counted, rows in conn.execute(
        "SELECT s, (SELECT coalesce(sum(n), 0) FROM counters WHERE metric = 'queue.' || s),"
        " (SELECT count(*) FROM import_queue WHERE status = s) FROM unnest(%s::text[]) AS s",
        [["pending", "processing", "dead"]],
    ):
        if counted != rows:
            found.append(f"{rows} queue rows are {status}, the counter says {counted}")
    return found


def _unreadable(conn: Connection, archive_root: str) -> list[str]:
    found = []
    with ArchiveReader(archive_root) as reader:
        for url, file, offset, length in conn.execute('SELECT url, file, "offset", length FROM archive_pages'):
            try:
                page = reader.read(ArchiveRef(file, offset, length))
            except (ArchiveError, OSError) as error:
                found.append(f"the archive has no record of {url}: {error}")
                continue
            if page.url != url:
                found.append(f"the archive has {page.url} where its index says {url}")
    return found
