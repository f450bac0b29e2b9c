"""Single listings read again from their archived pages with today's rules, for what they lack."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from fill_pipeline.crawl.archive import ArchiveError, ArchiveReader, ArchiveRef
from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db import fixes
from fill_pipeline.db.archive import ArchivedKind
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.fixes import ListingPage
from fill_pipeline.db.listings import ListingRow
from fill_pipeline.drain.page import reading_of
from fill_pipeline.drain.read import ReadPage, read_cards, read_page
from fill_pipeline.drain.replay import raw_of
from fill_pipeline.drain.work import load_sources
from fill_pipeline.extract.listing import Listing
from fill_pipeline.settings import Settings
from fill_pipeline.vehicles.fix import Fixes, fix_data

_TAKEN_BACK = ("price", "currency", "price_kind")
"""A newer page may have withdrawn these; an older one must not bring them back."""


def fix_from_archive(
    conn: Connection, settings: Settings, *, cycle_id: str, now: datetime, dry_run: bool = False
) -> Fixes:
    """``fix_data`` that also reads the archived pages of listings with missing core fields again.

    ``conn`` must be in autocommit. A page that is gone from the archive or unreadable fixes nothing.
    """
    sources = load_sources(conn, crawlable_only=False)
    with ArchiveReader(settings.archive_root) as archived:

        def reread(rows: Sequence[ListingRow]) -> dict[int, list[Listing]]:
            wanted = [row for row in rows if row.source_id in sources]
            pages = fixes.pages_of_listings(conn, [(row.id, row.source_id, _hash(row.url)) for row in wanted])
            found: dict[int, list[Listing]] = {}
            by_id = {row.id: row for row in wanted}
            for page in pages:
                source = sources[page.row.source_id]
                try:
                    raw = raw_of(page.row, archived.read(ArchiveRef(page.row.file, page.row.offset, page.row.length)))
                except (ArchiveError, OSError):
                    continue
                reading = reading_of(source, settings)
                read = (
                    read_cards(raw, source.config.detail, reading)
                    if page.row.kind == ArchivedKind.INDEX
                    else read_page(raw, reading, now=raw.fetched_at)
                )
                listing = _listing_on(read, by_id[page.listing_id], page)
                if listing is not None:
                    found.setdefault(page.listing_id, []).append(listing)
            return found

        return fix_data(
            conn, cycle_id=cycle_id, now=now, dry_run=dry_run, core_fields=settings.core_fields, reread=reread
        )


def _hash(url: str) -> UUID | None:
    try:
        return url_hash(url)
    except ValueError:
        return None


def _listing_on(read: ReadPage, row: ListingRow, page: ListingPage) -> Listing | None:
    """What a page says of a listing: the one of its number, or a page of one vehicle's only one."""
    own = [r.listing for r in read.rows if r.listing.remote_id == row.remote_id]
    if not own and page.row.kind == ArchivedKind.DETAIL and len(read.rows) == 1:
        own = [read.rows[0].listing]
    if len(own) != 1:
        return None
    return own[0] if page.is_newest else msgspec.structs.replace(own[0], **dict.fromkeys(_TAKEN_BACK))
