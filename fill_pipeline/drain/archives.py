"""The archive files a drain has open, one for each source it fetches from."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from fill_pipeline.crawl.archive import ArchiveWriter
from fill_pipeline.drain.work import Source, Work

MOST_OPEN = 100


class OpenArchives:
    """Writers by source; of too many the one unused for longest is closed."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._writers: dict[UUID, ArchiveWriter] = {}

    def of(self, source: Source) -> ArchiveWriter:
        """The source's writer."""
        writer = self._writers.pop(source.id, None)
        if writer is None:
            if len(self._writers) >= MOST_OPEN:
                self._writers.pop(next(iter(self._writers))).close()
            work = self._work
            writer = ArchiveWriter(work.settings.archive_root, source.slug, work.cycle_id, work.owner)
        self._writers[source.id] = writer
        return writer

    def flush(self, source_ids: Iterable[UUID]) -> None:
        """What was appended for these sources can be read from now on."""
        for source_id in source_ids:
            if source_id in self._writers:
                self._writers[source_id].flush()

    def close(self) -> None:
        """Close them all."""
        for writer in self._writers.values():
            writer.close()
