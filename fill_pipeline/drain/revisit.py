"""Pages the site says are unchanged: detail pages are seen again unread, index pages read from the archive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from fill_pipeline.crawl.archive import ArchiveError, ArchiveReader, ArchiveRef
from fill_pipeline.crawl.harvest import EarlierPage
from fill_pipeline.crawl.response import FetchRequest, FetchResponse
from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db import archive, ledger, queue
from fill_pipeline.db.archive import ArchivedKind, KnownPage
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.ledger import SourceStats
from fill_pipeline.db.queue import ClaimedPage, Completion, QueueStatus
from fill_pipeline.drain.known import INDEX_READ_EVERY
from fill_pipeline.drain.page import WRITTEN
from fill_pipeline.drain.write import in_open_cycle
from fill_pipeline.vehicles.lifecycle import mark_seen


def see_again(
    conn: Connection,
    pages: Sequence[ClaimedPage],
    *,
    cycle_id: str,
    owner: str,
    now: datetime,
    core_fields: Sequence[str],
) -> dict[UUID, SourceStats]:
    """Finish unchanged pages in one transaction: their listings are seen again, nothing is read or archived.

    Returns what was added to each source's account.

    Raises:
        CycleClosedError: the cycle was closed meanwhile; the pages are still held.
    """

    def write() -> dict[UUID, SourceStats]:
        ends = [Completion(page.queue_id, QueueStatus.COMPLETE, page.listing_id) for page in pages]
        ours = queue.complete(conn, ends, owner=owner, now=now)
        by_source: defaultdict[UUID, list[ClaimedPage]] = defaultdict(list)
        for page in pages:
            if page.queue_id in ours:
                by_source[page.source_id].append(page)
        stats = {}
        for source_id, seen in sorted(by_source.items()):
            hashes = [page.url_hash for page in seen]
            mark_seen(conn, source_id, hashes, cycle_id=cycle_id, now=now, core_fields=core_fields)
            counted = sum(not (page.hint and WRITTEN in page.hint) for page in seen)  # the others their card counted
            n = len(seen)
            stats[source_id] = SourceStats(pages_fetched=n, pages_unchanged=n, found=counted, skipped=n)
            ledger.add_stats(conn, source_id, cycle_id, stats[source_id], now=now)
        return stats

    return in_open_cycle(conn, cycle_id, write)


class IndexMemory:
    """The index pages sources had before, for one harvest."""

    def __init__(self, conn: Connection, archive_root: str) -> None:
        self._conn = conn
        self._reader = ArchiveReader(archive_root)
        self._tags: dict[tuple[UUID, str], str] = {}

    def earlier(self, source_id: UUID, url: str, now: datetime) -> EarlierPage | None:
        """What was had of an index page lately, or None. It is read from the archive only where it is unchanged."""
        key = (source_id, url_hash(url))
        known = archive.known_pages(self._conn, [key], kind=ArchivedKind.INDEX, since=now - INDEX_READ_EVERY).get(key)
        if known is None or (known.etag and self._tags.setdefault((source_id, known.etag), url) != url):
            return None
        return EarlierPage(known.etag, known.last_modified, known.archive_id, lambda: self._read(known, url))

    def close(self) -> None:
        """Close the archive's files."""
        self._reader.close()

    def _read(self, known: KnownPage, url: str) -> FetchResponse | None:
        try:
            page = self._reader.read(ArchiveRef(known.file, known.offset, known.length))
        except (ArchiveError, OSError):
            return None
        return FetchResponse(
            request=FetchRequest(url=url),
            status=page.status,
            head=page.head,
            body_received=page.body_received,
            content_encoding=page.content_encoding,
            content_type=page.content_type,
            final_url=url,
        )
