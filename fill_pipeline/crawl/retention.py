"""How long the archive keeps pages: by age, and by size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from fill_pipeline.crawl.archive import remove
from fill_pipeline.db.archive import ArchiveFile, files_of_source, forget_file
from fill_pipeline.db.connect import Connection

_STILL_WRITTEN = timedelta(hours=2)  # a cycle's length: a file this young may have a writer


@dataclass(frozen=True, slots=True)
class Pruned:
    """What retention took away: files, the pages in them, and their bytes."""

    files: int = 0
    pages: int = 0
    size: int = 0


def expired(
    files: Sequence[ArchiveFile], *, now: datetime, keep_for: timedelta | None, keep_bytes: int | None
) -> list[ArchiveFile]:
    """Which of one source's files must go, oldest first: those too old, then the oldest until the rest fits.

    None means no bound. A file written to within the last two hours always stays.
    """
    total = sum(file.size for file in files)
    gone: list[ArchiveFile] = []
    for file in sorted(files, key=lambda each: each.newest_at):
        age = now - file.newest_at
        too_old = keep_for is not None and age > keep_for
        too_much = keep_bytes is not None and total > keep_bytes
        if age > _STILL_WRITTEN and (too_old or too_much):
            gone.append(file)
            total -= file.size
    return gone


def prune(
    conn: Connection,
    root: str,
    source_id: UUID,
    *,
    now: datetime,
    keep_for: timedelta | None = None,
    keep_bytes: int | None = None,
    before: str | None = None,
) -> Pruned:
    """Delete a source's expired files, each from index and store together: one that cannot be deleted stays in both.

    Only files of cycles before the one named ``before`` are looked at, if one is named.
    """
    gone = expired(files_of_source(conn, source_id, before=before), now=now, keep_for=keep_for, keep_bytes=keep_bytes)
    for file in gone:
        with conn.transaction():
            forget_file(conn, source_id, file)
            remove(root, file.file)
    return Pruned(len(gone), sum(file.pages for file in gone), sum(file.size for file in gone))
