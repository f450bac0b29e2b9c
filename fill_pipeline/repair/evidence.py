"""What a repair rests on: the archive's pages with what is known of them, and what was asked and came."""

from __future__ import annotations

from typing import Any

from fill_pipeline.crawl.archive import ArchiveError, ArchiveRef, read_record
from fill_pipeline.crawl.decode import DecodeError, decode_bytes
from fill_pipeline.crawl.urls import canonical_url
from fill_pipeline.db import improvement
from fill_pipeline.db.archive import ArchivedKind, PageRow
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import KnownListing
from fill_pipeline.drain.work import Source, Work
from fill_pipeline.repair.ask import MAX_DECODED
from fill_pipeline.repair.diagnose import Checkup
from fill_pipeline.repair.truth import Witness, witness

KNOWN_LISTINGS = 400
ARCHIVED_WITNESSES = 30
EVIDENCE_PAGES = 12


def archived_witnesses(conn: Connection, work: Work, source: Source) -> list[Witness]:
    """Listings' pages of the latest cycle in the archive, with what is known of them."""
    known = {canonical_url(one.url): one for one in improvement.known_listings(conn, source.id, KNOWN_LISTINGS)}
    found: list[Witness] = []
    for row in improvement.recent_pages(conn, source.id, kind=ArchivedKind.DETAIL, cycles=1, n=ARCHIVED_WITNESSES):
        listing = known.get(canonical_url(row.url))
        if listing is None:
            continue
        page = archived_witness(work, row, listing)
        if page is not None:
            found.append(page)
    return [one for one in found if one.truth]


def archived_witness(work: Work, row: PageRow, listing: KnownListing) -> Witness | None:
    """A page of the archive with what is known of its listing; None where it cannot be read."""
    try:
        page = read_record(work.settings.archive_root, ArchiveRef(row.file, row.offset, row.length))
        body = decode_bytes(page.body_received, page.content_encoding, MAX_DECODED)
    except (ArchiveError, DecodeError, OSError):
        return None
    return witness(row.url, body, row.content_type or "", listing, now=row.fetched_at)


def evidence_of(conn: Connection, source: Source, seen: Checkup) -> dict[str, Any]:
    """What the diagnosis rests on: what was asked and what came, and the ids of the latest pages in the archive."""
    archived = improvement.recent_pages(conn, source.id, cycles=1, n=EVIDENCE_PAGES)
    asked = [
        {
            "url": page.url,
            "status": page.response.status if page.response is not None else 0,
            "led_to": page.final_url if page.final_url != page.url else None,
            "failure": page.failure and str(page.failure),
            "error": page.error[:200],
            "bytes": len(page.body),
        }
        for page in seen.pages[:EVIDENCE_PAGES]
    ]
    return {
        "asked": asked,
        "archive_pages": [row.id for row in archived],
        "witnesses": len(seen.witnesses),
        "lacking": seen.lacking,
    }
