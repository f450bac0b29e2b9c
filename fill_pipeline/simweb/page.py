"""A response body with its headers, compressed once."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from isal import isal_zlib

HTML = "text/html; charset=utf-8"
JSON = "application/json"
XML = "application/xml; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # RFC 1952: deflate, no name, no time
_LAST_BLOCK = b"\x03\x00"  # RFC 1951: an empty final block
_GZIP_WINDOW = 31  # zlib's window bits that mean "gzip"


# One for all: a full flush forgets what came before, and making one costs more than a page's text.
_packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)


class Block:
    """A piece of text that many pages share, compressed once."""

    def __init__(self, text: str) -> None:
        self.raw = text.encode()
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        self.deflated = packer.compress(self.raw) + packer.flush(zlib.Z_FULL_FLUSH)


def gzip_of(parts: Sequence[Block | str]) -> bytes:
    """One gzip stream of blocks and texts; a full flush after each lets compressed blocks be joined (RFC 1951)."""
    pieces, crc, size = [_GZIP_HEAD], 0, 0
    for part in parts:
        if isinstance(part, Block):
            raw, deflated = part.raw, part.deflated
        else:
            raw = part.encode()
            deflated = _packer.compress(raw) + _packer.flush(isal_zlib.Z_FULL_FLUSH)
        pieces.append(deflated)
        crc, size = isal_zlib.crc32(raw, crc), size + len(raw)
    pieces.append(_LAST_BLOCK + struct.pack("<II", crc, size & 0xFFFFFFFF))
    return b"".join(pieces)


@dataclass(slots=True)
class Page:
    """What a site answers. ``stored`` is gzip when ``packed``; ``headers`` are further header lines."""

    status: int
    content_type: str
    stored: bytes
    packed: bool = False
    etag: str = ""
    last_modified: str = ""
    headers: str = ""

    @classmethod
    def text(cls, body: str | bytes, content_type: str = HTML, status: int = 200, headers: str = "") -> Page:
        """A page of text, stored compressed."""
        raw = body.encode() if isinstance(body, str) else body
        return cls(status, content_type, isal_zlib.compress(raw, 1, _GZIP_WINDOW), packed=True, headers=headers)

    @classmethod
    def redirect(cls, location: str, status: int = 302) -> Page:
        """A redirect to that URL."""
        return cls.text("", HTML, status, f"Location: {location}\r\n")

    def plain(self) -> bytes:
        """The body uncompressed."""
        return isal_zlib.decompress(self.stored, _GZIP_WINDOW) if self.packed else self.stored

    def with_etag(self, etag: str, last_modified: str) -> Page:
        """The same page with validators."""
        self.etag, self.last_modified = etag, last_modified
        return self


def png(red: int, green: int, blue: int, width: int = 64, height: int = 48) -> bytes:
    """A picture of one colour."""
    rows = (b"\0" + bytes((red, green, blue)) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
