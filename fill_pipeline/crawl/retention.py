"""How long the archive keeps pages: by age, and by size."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from fill_pipeline.crawl.archive import remove, remove_cycles
from fill_pipeline.db.archive import ArchiveFile, expired_files, files_before, forget_files
from fill_pipeline.db.connect import Connection

log = logging.getLogger(__name__)
_AWAY = 3  # files in a row that cannot be deleted
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

    Each goes from index and store together: one that cannot be deleted stays in both, and the others go. A file
    written to within the last two hours always stays. By age only the index of cycles before ``first_kept`` is read;
    their folders go with what the index never knew: the file of a drain that was killed before its first commit.

    Raises:
        OSError: several in a row could not be deleted: the store is away. What was deleted before is gone from both.
    """
    before = first_kept if keep_bytes is None else None
    young = now - _STILL_WRITTEN
    gone: list[ArchiveFile] = []
    of_cycles: dict[tuple[UUID, str], list[ArchiveFile]] = {}
    for file in expired_files(conn, old=now - keep_for, young=young, keep_bytes=keep_bytes, before=before):
        of_cycles.setdefault((file.source_id, file.cycle_id), []).append(file)
    in_a_row = 0
    for together in of_cycles.values():
        with suppress(OSError):
            _delete(conn, root, together)
            gone += together
            continue
        for file in together:
            try:
                _delete(conn, root, [file])
            except OSError as error:
                log.warning("the archive file %s could not be deleted: %s", file.file, error)
                in_a_row += 1
                if in_a_row == _AWAY:
                    raise
            else:
                in_a_row = 0
                gone.append(file)
    unknown = remove_cycles(root, before=first_kept, known=files_before(conn, first_kept))
    return Pruned(len(gone), sum(file.pages for file in gone), sum(file.size for file in gone), unknown)


def _delete(conn: Connection, root: str, files: Sequence[ArchiveFile]) -> None:
    """Delete files of one cycle of a source: the index forgets them, or none."""
    with conn.transaction():
        forget_files(conn, files)
        remove(root, *(file.file for file in files))
