"""The index of the page archive: which page lies where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from fill_pipeline.db.connect import Connection, queries

_sql = queries("archive")
_PAGE_ROWS = 1000
_COLUMNS = [
    "id",
    "source_id",
    "cycle_id",
    "kind",
    "url",
    "url_hash",
    "fetched_at",
    "http_status",
    "content_type",
    "etag",
    "last_modified",
    "file",
    "offset",
    "length",
    "body_hash",
    "listings",
    "card_number",
    "card_written",
]
_COPY = (
    "COPY archive_pages (id, source_id, cycle_id, kind, url, url_hash, fetched_at, http_status, content_type, etag, "
    'last_modified, file, "offset", length, body_hash, listings, card_number, card_written) FROM STDIN (FORMAT BINARY)'
)
_COPY_TYPES = ["int8", "uuid", *["text"] * 3, "uuid", "timestamptz", "int2", *["text"] * 4, "int8", "int4"]
_COPY_TYPES += ["uuid", "int4", "text", "bool"]


class ArchivedKind(StrEnum):
    """What an archived page is to its source."""

    INDEX = "index"  # lists vehicles
    DETAIL = "detail"  # is one vehicle's own page


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRow:
    """One archived page.

    ``file``, ``offset`` and ``length`` (bytes) say where its record lies in the archive; ``listings`` is how
    many it gave when it was first read. ``card_number`` is the number that the card leading to it gave its listing;
    ``card_written`` whether that listing was stored from the card.
    """

    source_id: UUID
    cycle_id: str
    kind: str
    url: str
    url_hash: UUID
    fetched_at: datetime
    http_status: int
    file: str
    offset: int
    length: int
    content_type: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    body_hash: UUID | None = None
    listings: int = 0
    card_number: str | None = None
    card_written: bool = False
    id: int | None = None


@dataclass(frozen=True, slots=True)
class KnownPage:
    """A page had before: what a conditional request for it sends, how many listings it gave, and where it lies."""

    etag: str | None
    last_modified: str | None
    listings: int
    archive_id: int
    file: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """An archive file as the index knows it; ``size`` is the bytes of its indexed records."""

    source_id: UUID
    file: str
    cycle_id: str
    pages: int
    size: int


def insert_pages(conn: Connection, rows: Sequence[PageRow]) -> list[int]:
    """Add pages (one binary COPY) and return their ids in the order given. Runs in the caller's transaction."""
    if not rows:
        return []
    ids = [int(row[0]) for row in _sql.take_ids(conn, how_many=len(rows))]
    with conn.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for page_id, row in zip(ids, rows, strict=True):
            copy.write_row(
                (
                    page_id,
                    row.source_id,
                    row.cycle_id,
                    str(row.kind),
                    row.url,
                    row.url_hash,
                    row.fetched_at,
                    row.http_status,
                    row.content_type,
                    row.etag,
                    row.last_modified,
                    row.file,
                    row.offset,
                    row.length,
                    row.body_hash,
                    row.listings,
                    row.card_number,
                    row.card_written,
                )
            )
    return ids


def find_page(conn: Connection, source_id: UUID, url_hash: UUID, *, kind: ArchivedKind | None = None) -> PageRow | None:
    """The page of a URL (by its canonical hash) archived last, or None."""
    row = _sql.find_page(conn, source_id=source_id, url_hash=url_hash, kind=kind)
    return _page_row(row) if row is not None else None


def pages_after(
    conn: Connection, source_id: UUID, cycle_id: str, after_id: int, *, kind: ArchivedKind | None = None, most: int
) -> list[PageRow]:
    """A source's next pages of one cycle, in the order they were archived; from the first one after id 0."""
    rows = _sql.pages_of_cycle(
        conn, source_id=source_id, cycle_id=cycle_id, after_id=after_id, kind=kind, max_rows=most
    )
    return [_page_row(row) for row in rows]


def pages_of_cycle(
    conn: Connection, source_id: UUID, cycle_id: str, *, kind: ArchivedKind | None = None, batch: int = _PAGE_ROWS
) -> Iterator[list[PageRow]]:
    """A source's pages of one cycle in batches, in the order they were archived; no transaction stays open between."""
    after_id = 0
    while True:
        rows = pages_after(conn, source_id, cycle_id, after_id, kind=kind, most=batch)
        if rows:
            yield rows
        if len(rows) < batch:
            return
        after_id = rows[-1].id or 0


def pages_of_window(
    conn: Connection,
    source_id: UUID,
    start: datetime,
    end: datetime,
    *,
    kind: ArchivedKind | None = None,
    batch: int = _PAGE_ROWS,
) -> Iterator[list[PageRow]]:
    """A source's pages of all cycles whose window starts in [start, end), in batches, oldest cycle first."""
    cycles = [str(row[0]) for row in _sql.cycles_of_window(conn, window_start=start, window_end=end)]
    for cycle_id in cycles:
        yield from pages_of_cycle(conn, source_id, cycle_id, kind=kind, batch=batch)


def known_pages(
    conn: Connection, pages: Sequence[tuple[UUID, UUID]], *, kind: ArchivedKind, since: datetime
) -> dict[tuple[UUID, UUID], KnownPage]:
    """For (source id, URL hash) pairs: the last whole answer of this kind, if it has a validator.

    Only answers read since ``since`` and with the source's present configuration are known: an older one may have
    been read otherwise, and must be read again even where the site has not changed it.
    """
    if not pages:
        return {}
    sources, hashes = [page[0] for page in pages], [page[1] for page in pages]
    rows = _sql.known_pages(conn, source_ids=sources, hashes=hashes, kind=str(kind), since=since)
    return {(row[0], row[1]): KnownPage(*row[2:]) for row in rows}


def expired_files(
    conn: Connection, *, old: datetime, young: datetime, keep_bytes: int | None, before: str | None = None
) -> list[ArchiveFile]:
    """The files that must go, oldest first: last written to before ``old``, or too many bytes of their source.

    None that was written to since ``young``; only those of cycles before the named one, if one is named.
    """
    rows = _sql.expired_files(conn, old=old, young=young, keep_bytes=keep_bytes, before=before)
    return [ArchiveFile(source, file, cycle, int(pages), int(size)) for source, file, cycle, pages, size in rows]


def files_before(conn: Connection, cycle_id: str) -> list[str]:
    """The files of all cycles before this one."""
    return [row[0] for row in _sql.files_before(conn, before=cycle_id)]


def forget_files(conn: Connection, files: Sequence[ArchiveFile]) -> int:
    """Drop the pages of files of one cycle of a source from the index and return how many; then the files may go."""
    of = files[0]
    return int(
        _sql.forget_files(conn, source_id=of.source_id, cycle_id=of.cycle_id, files=[file.file for file in files])
    )


def _page_row(row: tuple[Any, ...]) -> PageRow:
    return PageRow(**dict(zip(_COLUMNS, row, strict=True)))
