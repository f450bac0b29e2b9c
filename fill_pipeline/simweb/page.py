"""A response body with its headers, compressed once."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from isal import isal_zlib

HTML = "text/html; charset=utf-8"
JSON = "application/json"
XML = "application/xml; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
_GZIP_WINDOW = 31  # zlib's window bits that mean "gzip"


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
