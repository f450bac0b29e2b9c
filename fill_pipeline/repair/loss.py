"""Fields that a source used to state and no longer gives: whether its pages of today lack them, and what proves it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from fill_pipeline.crawl.urls import canonical_url
from fill_pipeline.db import improvement
from fill_pipeline.db.archive import ArchivedKind, PageRow
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import KnownListing
from fill_pipeline.db.ledger import FieldFall
from fill_pipeline.drain.page import Reading
from fill_pipeline.drain.work import Source, Work
from fill_pipeline.quality.health import HealthStatus
from fill_pipeline.repair.evidence import KNOWN_LISTINGS, archived_witness
from fill_pipeline.repair.likes import Unread, Usual, told
from fill_pipeline.repair.truth import FIELDS, Witness, read

HISTORY = 36  # cycles in which a healthy time is looked for: three days
LEAST_LISTINGS = 10
REPLAYED_CYCLES = 12
LACKING_SHARE = 0.6  # of what is usual, as a fall is judged
LEAST_PAGES = 3
ENOUGH = 6  # pages that state a lost field: to learn from and to prove on
ARCHIVED_PAGES = 400
LIKE_PAGES = 60  # on which the place of a number is looked for
_NAMES = ("make", "model", "year")


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
    """The source's cycles since it was last healthy, this one included, newest first.

    A cycle of few listings shows nothing amiss, and does not prove that all is well.
    """
    found = {work.cycle_id: None}
    for cycle_id, health, listings in improvement.latest_cycles(conn, source.id, REPLAYED_CYCLES):
        if health == HealthStatus.HEALTHY and listings >= LEAST_LISTINGS:
            break
        found[cycle_id] = None
    return list(found)


def broken_witnesses(
    conn: Connection, work: Work, source: Source, fields: Sequence[str], reading: Reading, n: int
) -> list[Witness]:
    """Pages archived in the broken time that state a value known from before it, and are read without it.

    Their listings may have ended since: what is known of them was read before the site changed.
    """
    found: list[Witness] = []
    for row, listing in _broken_pages(conn, work, source):
        if not any(knows(listing, name) for name in fields):
            continue
        page = archived_witness(work, row, listing)
        if page is None or not any(name in page.truth for name in fields):
            continue
        today = read(page, reading, now=row.fetched_at)
        if today is None or any(getattr(today, name) is None for name in fields if name in page.truth):
            found.append(page)
        if len(found) >= n:
            break
    return found


def told_witnesses(conn: Connection, work: Work, source: Source, fields: Sequence[str], n: int) -> list[Witness]:
    """Pages archived in the broken time with the numbers that what is usual of their cars tells; see ``likes``."""
    pages: list[tuple[Witness, KnownListing]] = []
    for row, listing in _broken_pages(conn, work, source):
        page = archived_witness(work, row, listing)
        if page is not None and page.truth and all(listing.values.get(name) for name in _NAMES):
            pages.append((page, listing))
        if len(pages) >= LIKE_PAGES:
            break
    cars = {(one.values["make"], one.values["model"]) for _, one in pages}
    found: dict[str, Witness] = {}
    for name in fields:
        numbers = improvement.numbers_like(conn, source.id, name, cars)
        usual = Usual.of(name, numbers, year_now=work.now_fn().year)
        unread = [
            Unread(page, log)
            for page, one in pages
            if not knows(one, name) and (log := usual.log_of(*(one.values[part] for part in _NAMES))) is not None
        ]
        values = told(unread, name)
        for one in unread:
            if one.page.url in values:
                one.page.truth[name] = values[one.page.url]
                found[one.page.url] = one.page
    return list(found.values())[:n]


def _broken_pages(conn: Connection, work: Work, source: Source) -> Iterator[tuple[PageRow, KnownListing]]:
    """The listings' pages archived in the broken time, the newest of each, with what is known of the listing."""
    cycles = broken_cycles(conn, work, source)
    listings = improvement.known_listings(conn, source.id, KNOWN_LISTINGS, changed_in=cycles)
    known = {canonical_url(one.url): one for one in listings}
    for row in improvement.recent_pages(
        conn, source.id, kind=ArchivedKind.DETAIL, cycles=len(cycles), n=ARCHIVED_PAGES
    ):
        listing = known.pop(canonical_url(row.url), None)
        if listing is not None:
            yield row, listing
