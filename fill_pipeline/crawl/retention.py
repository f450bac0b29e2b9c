"""How long the archive keeps pages: by age, and by size."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from fill_pipeline.crawl.archive import remove, remove_cycles
from fill_pipeline.db.archive import expired_files, files_before, forget_file
from fill_pipeline.db.connect import Connection

_STILL_WRITTEN = timedelta(hours=2)  # a cycle's length: a file this young may have a writer


@dataclass(frozen=True, slots=True)
class Pruned:
    """What retention took away: files, the pages in them, their bytes; and files that the index never knew."""

    files: int = 0
    pages: int = 0
    size: int = 0
    unknown: int = 0


def prune(
    conn: Connection, root: str, *, now: datetime, keep_for: timedelta, first_kept: str, keep_bytes: int | None = None
) -> Pruned:
    """Delete the files that are too old, then each source's oldest until the rest fits into ``keep_bytes``.

    Each goes from index and store together: one that cannot be deleted stays in both. A file written to within the
    last two hours always stays. By age only the index of cycles before ``first_kept`` is read; their folders go with
    what the index never knew: the file of a drain that was killed before its first commit.
    """
    before = first_kept if keep_bytes is None else None
    young = now - _STILL_WRITTEN
    gone = expired_files(conn, old=now - keep_for, young=young, keep_bytes=keep_bytes, before=before)
    for file in gone:
        with conn.transaction():
            forget_file(conn, file)
            remove(root, file.file)
    unknown = remove_cycles(root, before=first_kept, known=files_before(conn, first_kept))
    return Pruned(len(gone), sum(file.pages for file in gone), sum(file.size for file in gone), unknown)
