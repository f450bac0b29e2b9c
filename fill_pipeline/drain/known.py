"""Pages had before: what a conditional request for them may send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from fill_pipeline.db import archive
from fill_pipeline.db.archive import ArchivedKind, KnownPage
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.queue import ClaimedPage

# Some sites' validators lie. However often they say that nothing has changed, a page is read again after so long.
DETAIL_READ_EVERY = timedelta(days=7)
INDEX_READ_EVERY = timedelta(hours=24)


def known_details(conn: Connection, pages: Sequence[ClaimedPage], now: datetime) -> dict[int, KnownPage]:
    """By queue id: what was had of these pages before, for those that gave one listing each and may be unchanged."""
    revisited = [page for page in pages if page.listing_id is not None]
    asked = [(page.source_id, page.url_hash) for page in revisited]
    known = archive.known_pages(conn, asked, kind=ArchivedKind.DETAIL, since=now - DETAIL_READ_EVERY)
    # A tag that several pages share is no fingerprint of any of them.
    tags = Counter((key[0], page.etag) for key, page in known.items() if page.etag)
    found = {}
    for page in revisited:
        one = known.get((page.source_id, page.url_hash))
        if one is not None and one.listings == 1 and tags[page.source_id, one.etag or ""] < 2:
            found[page.queue_id] = one
    return found
