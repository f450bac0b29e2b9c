"""Fields that a source used to state and no longer gives: whether its pages of today lack them, and what proves it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fill_pipeline.crawl.urls import canonical_url
from fill_pipeline.db import improvement
from fill_pipeline.db.archive import ArchivedKind
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import KnownListing
from fill_pipeline.db.ledger import FieldFall
from fill_pipeline.drain.page import Reading
from fill_pipeline.drain.work import Source, Work
from fill_pipeline.quality.health import HealthStatus
from fill_pipeline.repair.evidence import KNOWN_LISTINGS, archived_witness
from fill_pipeline.repair.truth import FIELDS, Witness, read

HISTORY = 36  # cycles in which a healthy time is looked for: three days
LEAST_LISTINGS = 10
REPLAYED_CYCLES = 12
LACKING_SHARE = 0.6  # of what is usual, as a fall is judged
LEAST_PAGES = 3
ENOUGH = 6  # pages that state a lost field: to learn from and to prove on
ARCHIVED_PAGES = 400


def lost_fields(conn: Connection, source: Source) -> list[FieldFall]:
    """The fields a repair is measured by that the source stated while it was healthy and hardly states since."""
    falls = improvement.lost_fields(conn, source.id, cycles=HISTORY, least=LEAST_LISTINGS)
    return [fall for fall in falls if fall.name in FIELDS]


def lacking(pages: Sequence[Witness], lost: Sequence[FieldFall], reading: Reading, *, now: datetime) -> list[str]:
    """Which of the lost fields a reading does not get from these pages either."""
    if len(pages) < LEAST_PAGES:
        return []
    read_now = [read(page, reading, now=now) for page in pages]
    return [
        fall.name
        for fall in lost
        if sum(one is not None and getattr(one, fall.name) is not None for one in read_now)
        < LACKING_SHARE * fall.usually * len(pages)
    ]


def knows(listing: KnownListing, name: str) -> bool:
    """Whether a value of the field is known: read now, read before, or read where else the vehicle stands."""
    return any(name in values for values in (listing.values, listing.before, listing.elsewhere))


def broken_cycles(conn: Connection, work: Work, source: Source) -> list[str]:
    """The source's cycles since it was last healthy, this one included, newest first."""
    found = {work.cycle_id: None}
    for cycle_id, health in improvement.troubled_cycles(conn, source.id, REPLAYED_CYCLES):
        if health == HealthStatus.HEALTHY:
            break
        found[cycle_id] = None
    return list(found)


def broken_witnesses(
    conn: Connection, work: Work, source: Source, fields: Sequence[str], reading: Reading, n: int
) -> list[Witness]:
    """Pages archived in the broken time that state a value known from before it, and are read without it.

    Their listings may have ended since: what is known of them was read before the site changed.
    """
    cycles = broken_cycles(conn, work, source)
    known = {
        canonical_url(one.url): one
        for one in improvement.known_listings(conn, source.id, KNOWN_LISTINGS, changed_in=cycles)
        if any(knows(one, name) for name in fields)
    }
    found: dict[str, Witness] = {}
    for row in improvement.recent_pages(
        conn, source.id, kind=ArchivedKind.DETAIL, cycles=len(cycles), n=ARCHIVED_PAGES
    ):
        url = canonical_url(row.url)
        if url not in known or url in found:
            continue
        page = archived_witness(work, row, known[url])
        if page is None or not any(name in page.truth for name in fields):
            continue
        today = read(page, reading, now=row.fetched_at)
        if today is None or any(getattr(today, name) is None for name in fields if name in page.truth):
            found[url] = page
        if len(found) >= n:
            break
    return list(found.values())
