"""The archive: every page as received, in WARC files, before anything reads it.

One file per source, cycle and worker, written front to back and never changed. Records are stored
uncompressed around bodies that are as the server sent them (its own gzip included).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import IO, Any, cast

import fsspec

from fill_pipeline.crawl.response import FetchResponse, encoding_of, find_header, parse_headers, read_head

_VERSION = b"WARC/1.1\r\n"
_MAX_RECORD_HEADER = 64 * 1024
_BUFFER_BYTES = 1 << 18
_READ_BYTES = 1 << 20
_MAX_OPEN_FILES = 64
_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_CYCLE = re.compile(r"\d{4}-\d\d-\d\d-\d\d_00(_\d+)?")  # the folder of a cycle; their names are in the order of time
# A body is kept without the transfer coding it came in; the header that announced it keeps its place under this name.
_TRANSFER_ENCODING = re.compile(rb"(?im)^(transfer-encoding[ \t]*:)")
_RENAMED = rb"X-Archive-\1"
_BLANK_LINE = re.compile(rb"\n\r?\n")  # servers end their lines with LF alone too (RFC 9112, section 2.2)


class ArchiveFullError(OSError):
    """The archive takes no more pages: its disk is full, or its store is away. The message says where and why."""


class ArchiveError(ValueError):
    """The archive does not hold, at this place, a whole record."""


@dataclass(frozen=True, slots=True)
class ArchiveRef:
    """Where a record lies: the file's path below the archive's root, its first byte and its length in bytes."""

    file: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ArchivedPage:
    """A page as it was received: ``head`` is status line and headers, ``body_received`` still encoded."""

    url: str
    status: int
    head: bytes = field(repr=False)
    body_received: bytes = field(repr=False)
    fetched_at: datetime
    ref: ArchiveRef

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All headers, in their order and with their names as sent."""
        return parse_headers(self.head)

    def header(self, name: str) -> str:
        """The first header of this (lower-case) name, or ''."""
        return find_header(self.head, name.encode()) or ""

    @property
    def content_encoding(self) -> str:
        """What ``decode.decode_bytes`` needs beside the body."""
        return encoding_of(self.head)

    @property
    def content_type(self) -> str:
        """The media type as the server named it, or ''."""
        return self.header("content-type")


class ArchiveWriter:
    """Appends pages to one worker's file of one source and cycle.

    ``append`` returns where the page will be; ``flush`` makes all appended pages readable and must
    come before the rows that point to them are committed: from then on they outlive this process (a power cut
    may still cost them, and ``read_record`` then says so). On a store that cannot append (S3) each
    flush closes a part and the next page opens another.
    """

    def __init__(self, root: str, source: str, cycle_id: str, worker: str) -> None:
        self._filesystem, self._root = fsspec.core.url_to_fs(root)
        self._folder = f"{_plain(source)}/{_plain(cycle_id)}"
        self._stem = f"{_plain(worker)}-{uuid.uuid4().hex[:8]}"
        self._ids = _record_ids()
        self._local = "file" in _protocols(self._filesystem)
        self._stream: IO[bytes] | None = None
        self._part = 0
        self._file = ""
        self._offset = 0

    def append(self, response: FetchResponse, fetched_at: datetime) -> ArchiveRef:
        """Add a response; raises ArchiveFullError when the store is full or away."""
        record = _response_record(response, fetched_at, next(self._ids))
        try:
            with _one_error():
                stream = self._stream or self._open(fetched_at)
                for piece in record:
                    stream.write(piece)
        except OSError as error:
            raise self._abandoned(error) from error
        length = sum(map(len, record))
        ref = ArchiveRef(self._file, self._offset, length)
        self._offset += length
        return ref

    def flush(self) -> None:
        """Hand everything appended to the store; raises ArchiveFullError when it is full or away."""
        if self._stream is None:
            return
        try:
            with _one_error():
                if self._local:
                    self._stream.flush()
                else:
                    self._stream.close()
                    self._stream = None
        except OSError as error:
            raise self._abandoned(error) from error

    def close(self) -> None:
        """Finish the file. What was not flushed is lost where the store is full: no row points to it."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(OSError), _one_error():
                stream.close()

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self, fetched_at: datetime) -> IO[bytes]:
        # Every opening is a file of its own: what a killed worker or a full disk left behind stays as it is.
        self._file = f"{self._folder}/{self._stem}-{self._part}.warc"
        self._part += 1
        path = f"{self._root}/{self._file}"
        self._filesystem.makedirs(os.path.dirname(path), exist_ok=True)
        # Local files are opened so that they are never opened twice; the stream outlives this call.
        opened = open(path, "xb", buffering=_BUFFER_BYTES) if self._local else self._filesystem.open(path, "wb")  # noqa: SIM115
        stream = cast("IO[bytes]", opened)
        self._stream = stream
        information = _information_record(self._file, fetched_at, next(self._ids))
        stream.write(information)
        self._offset = len(information)
        return stream

    def _abandoned(self, error: OSError) -> ArchiveFullError:
        """Leave a file whose last write failed (the next page starts another one) and say so."""
        self.close()
        return ArchiveFullError(
            f"the archive {self._root} takes no more pages: {error.strerror or error}; "
            "free space there, or name another folder or store in FILL_ARCHIVE_URL"
        )


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    """Whatever a store's driver raises when it is away or refuses becomes an OSError, as of a local disk."""
    try:
        yield
    except (OSError, ArchiveError):
        raise
    except Exception as error:  # each driver has its own kinds: those of boto are no OSError
        raise OSError(f"{type(error).__name__}: {error}") from error


def _record_ids() -> Iterator[bytes]:
    """Names for the records of one writer: a random UUID, counted up in its last part."""
    prefix = str(uuid.uuid4())[:-12].encode()
    return (b"%s%012x" % (prefix, number) for number in count())


def _response_record(
    response: FetchResponse, fetched_at: datetime, record_id: bytes
) -> tuple[bytes, bytes, bytes, bytes]:
    """A WARC response record in pieces: its header, the HTTP head, the body, the end."""
    body = response.body_received
    head = _TRANSFER_ENCODING.sub(_RENAMED, response.head or b"HTTP/1.1 %d\r\n\r\n" % response.status)
    block = hashlib.sha1(head, usedforsecurity=False)
    block.update(body)
    payload = hashlib.sha1(body, usedforsecurity=False)
    truncated = b"WARC-Truncated: %s\r\n" % _truncation(response) if response.failure and body else b""
    header = b"".join(
        (
            _VERSION,
            b"WARC-Type: response\r\nWARC-Record-ID: <urn:uuid:",
            record_id,
            b">\r\nWARC-Target-URI: ",
            response.final_url.encode("ascii", "replace"),
            b"\r\nWARC-Date: ",
            _timestamp(fetched_at),
            b"\r\nWARC-Block-Digest: sha1:",
            block.hexdigest().encode(),
            b"\r\nWARC-Payload-Digest: sha1:",
            payload.hexdigest().encode(),
            b"\r\n",
            truncated,
            b"Content-Type: application/http; msgtype=response\r\nContent-Length: ",
            str(len(head) + len(body)).encode(),
            b"\r\n\r\n",
        )
    )
    return header, head, body, b"\r\n\r\n"


class ArchiveReader:
    """Reads pages by their place, keeping local files open between reads. A context manager."""

    def __init__(self, root: str) -> None:
        self._filesystem, self._root = fsspec.core.url_to_fs(root)
        self._local = "file" in _protocols(self._filesystem)
        self._open: OrderedDict[str, int] = OrderedDict()

    def read(self, ref: ArchiveRef) -> ArchivedPage:
        """The page at a place; raises ArchiveError if no whole record is there, OSError if the file is away."""
        path = f"{self._root}/{ref.file}"
        end = ref.offset + ref.length
        if self._local:
            data = os.pread(self._descriptor(path), ref.length, ref.offset)
        else:
            with _one_error():
                data = cast("bytes", self._filesystem.cat_file(path, start=ref.offset, end=end))
        if len(data) < ref.length:
            raise ArchiveError(f"{ref.file} ends inside the record at {ref.offset}")
        page, _ = _page(data, 0, ref.file, ref.offset)
        if page is None:
            raise ArchiveError(f"{ref.file} has no response at {ref.offset}")
        return page

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _descriptor(self, path: str) -> int:
        descriptor = self._open.get(path)
        if descriptor is None:
            if len(self._open) >= _MAX_OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
            descriptor = self._open[path] = os.open(path, os.O_RDONLY)
        else:
            self._open.move_to_end(path)
        return descriptor


def read_record(root: str, ref: ArchiveRef) -> ArchivedPage:
    """The page at a place; raises ArchiveError if no whole record is there, OSError if the file is away."""
    with ArchiveReader(root) as reader:
        return reader.read(ref)


def iterate(root: str, file: str) -> Iterator[ArchivedPage]:
    """All pages of one file in order, read in large pieces; a torn last record is left out.

    Raises OSError if the file is away.
    """
    filesystem, base = fsspec.core.url_to_fs(root)
    with _one_error(), filesystem.open(f"{base}/{file}", "rb") as stream:
        yield from _pages(cast("IO[bytes]", stream), file)


def files(root: str, source: str, cycle_id: str | None = None) -> list[str]:
    """The archive's files of a source, of one cycle or all, sorted; raises OSError if the store is away."""
    filesystem, base = fsspec.core.url_to_fs(root)
    folder = f"{base}/{_plain(source)}" + (f"/{_plain(cycle_id)}" if cycle_id else "")
    with _one_error():
        if not filesystem.exists(folder):
            return []
        return sorted(_below(base, path) for path in filesystem.find(folder) if path.endswith(".warc"))


def remove(root: str, *names: str) -> None:
    """Delete files of the archive, of a store in as few requests as it takes; one that is gone already is fine.

    Raises OSError if one cannot be deleted; others may be gone then.
    """
    filesystem, base = fsspec.core.url_to_fs(root)
    with _one_error():
        try:
            filesystem.rm([f"{base}/{name}" for name in names])
        except FileNotFoundError:  # the rest was not tried
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    filesystem.rm(f"{base}/{name}")


def remove_cycles(root: str, *, before: str, known: Iterable[str]) -> int:
    """Delete the folders of all cycles before one, except those of ``known`` files; returns how many files were there.

    Lists the folders of every source, once. Raises OSError if one cannot be deleted.
    """
    filesystem, base = fsspec.core.url_to_fs(root)
    filesystem.invalidate_cache()
    kept = {file.rpartition("/")[0] for file in known}
    gone = 0
    with _one_error():
        for source in filesystem.ls(base, detail=False) if filesystem.exists(base) else ():
            for folder in filesystem.ls(source, detail=False):
                cycle = os.path.basename(folder.rstrip("/"))
                if _CYCLE.fullmatch(cycle) and cycle < _plain(before) and _below(base, folder) not in kept:
                    gone += len(filesystem.find(folder))
                    filesystem.rm(folder, recursive=True)
    return gone


def _below(base: str, path: str) -> str:
    return path[len(base) :].strip("/")


def _pages(stream: IO[bytes], file: str) -> Iterator[ArchivedPage]:
    buffer, start, offset = b"", 0, 0
    ended = False
    while True:
        try:
            page, size = _page(buffer, start, file, offset)
        except ArchiveError:
            if ended:
                return
            wanted = max(_READ_BYTES, len(buffer) - start)
            more = stream.read(wanted)
            ended = len(more) < wanted
            buffer, start = buffer[start:] + more, 0
            continue
        start += size
        offset += size
        if page is not None:
            yield page


def _page(data: bytes, start: int, file: str, offset: int) -> tuple[ArchivedPage | None, int]:
    """The record that starts here (None if it is no response) and its length; ArchiveError if it is not whole."""
    header_end = data.find(b"\r\n\r\n", start, start + _MAX_RECORD_HEADER)
    if header_end < 0 or not data.startswith(b"WARC/1.", start):
        raise ArchiveError(f"{file} has no record at {offset}")
    fields: dict[bytes, bytes] = {}
    for line in data[start:header_end].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    block_start = header_end + 4
    try:
        block_end = block_start + int(fields[b"content-length"])
    except (KeyError, ValueError):
        raise ArchiveError(f"{file} has a record without a length at {offset}") from None
    if data[block_end : block_end + 4] != b"\r\n\r\n":
        raise ArchiveError(f"{file} ends inside the record at {offset}")
    size = block_end + 4 - start
    if fields.get(b"warc-type") != b"response":
        return None, size
    blank_line = _BLANK_LINE.search(data, block_start, block_end)
    head_end = blank_line.end() if blank_line else block_end
    head = data[block_start:head_end]
    status, _ = read_head(head.splitlines(keepends=True)[:1])
    page = ArchivedPage(
        url=fields.get(b"warc-target-uri", b"").decode("ascii", "replace"),
        status=status,
        head=head,
        body_received=data[head_end:block_end],
        fetched_at=_parsed_timestamp(fields.get(b"warc-date", b"")),
        ref=ArchiveRef(file, offset, size),
    )
    return page, size


def _information_record(file: str, created_at: datetime, record_id: bytes) -> bytes:
    body = b"software: fill_pipeline\r\nformat: WARC File Format 1.1\r\n"
    return b"".join(
        (
            _VERSION,
            b"WARC-Type: warcinfo\r\nWARC-Record-ID: <urn:uuid:",
            record_id,
            b">\r\nWARC-Filename: ",
            os.path.basename(file).encode(),
            b"\r\nWARC-Date: ",
            _timestamp(created_at),
            b"\r\nContent-Type: application/warc-fields\r\nContent-Length: ",
            str(len(body)).encode(),
            b"\r\n\r\n",
            body,
            b"\r\n\r\n",
        )
    )


def _truncation(response: FetchResponse) -> bytes:
    return {"too_large": b"length", "timeout": b"time"}.get(str(response.failure), b"disconnect")


def _timestamp(time: datetime) -> bytes:
    return b"%sZ" % time.astimezone(UTC).isoformat(timespec="microseconds")[:-6].encode()


def _parsed_timestamp(text: bytes) -> datetime:
    try:
        return datetime.fromisoformat(text.decode("ascii"))
    except ValueError:
        raise ArchiveError("a record without a date") from None


def _plain(name: str) -> str:
    return _NAME.sub("_", name).strip(".") or "_"


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
