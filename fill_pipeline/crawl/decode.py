"""Undoing the content encoding of a body, never past a limit."""

from __future__ import annotations

import importlib
import zlib
from typing import Any

from deflate import DeflateError, gzip_decompress

from fill_pipeline.crawl.response import FetchResponse

MAX_LAYERS = 3
_MAX_MEMBERS = 1000
_GZIP = 31  # window bits that mean a gzip wrapper
_ZLIB = 15  # a zlib one
_RAW = -15  # and none at all
_CHUNK = 1 << 20


try:
    brotli: Any = importlib.import_module("brotli")
except ImportError:  # it is not everywhere; without it such a body is a DecodeError
    brotli = None


class DecodeError(ValueError):
    """The body cannot be decoded: ``too_large`` where it would pass the limit, else broken or unknown."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


def decode_body(response: FetchResponse, limit: int) -> bytes:
    """The body with its content encodings undone, at most ``limit`` bytes; raises DecodeError."""
    return decode_bytes(response.body_received, response.content_encoding, limit)


def decode_bytes(body: bytes, content_encoding: str, limit: int) -> bytes:
    """As ``decode_body``, for a body and the value of its Content-Encoding header."""
    if content_encoding:
        layers = [name.strip().lower() for name in content_encoding.split(",")]
        layers = [name for name in layers if name and name != "identity"]
        if len(layers) > MAX_LAYERS:
            raise DecodeError(f"{len(layers)} nested encodings, {MAX_LAYERS} at most")
        for name in reversed(layers):
            body = _undo(name, body, limit)
    if len(body) > limit:
        raise DecodeError(f"more than {limit} bytes", too_large=True)
    return body


def gunzip(body: bytes, limit: int) -> bytes:
    """A gzip file's content, at most ``limit`` bytes; raises DecodeError."""
    whole = _gunzip_at_once(body, limit)
    if whole is not None:
        return whole
    parts: list[bytes] = []
    room = limit
    for _ in range(_MAX_MEMBERS):
        part, body = _inflate(body, _GZIP, room)
        parts.append(part)
        room -= len(part)
        if not body.startswith(b"\x1f\x8b"):  # what follows the last member is padding or rubbish
            break
    else:
        raise DecodeError(f"more than {_MAX_MEMBERS} gzip members", too_large=True)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _gunzip_at_once(body: bytes, limit: int) -> bytes | None:
    """The content of a body that is one gzip member and nothing else, as pages are; None for any other body.

    Its last four bytes say how much that is (RFC 1952), and are not trusted: no more than the limit is made room for,
    and where they lie, unpacking fails. That a member of this size ends where the body does, and is not followed by
    another, is known from these four bytes being nowhere else: it ends in them.
    """
    last = body[-4:]
    size = int.from_bytes(last, "little")
    if not 0 < size <= limit or body.find(last) != len(body) - 4:
        return None
    try:
        plain = gzip_decompress(body, size)
    except DeflateError:
        return None
    return bytes(plain) if len(plain) == size else None


def _undo(name: str, body: bytes, limit: int) -> bytes:
    if not body:
        return body
    if name in ("gzip", "x-gzip"):
        # A server that announces gzip and sends plain text is common enough to be understood.
        return gunzip(body, limit) if body.startswith(b"\x1f\x8b") else body
    if name == "deflate":
        wrapped = body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0  # RFC 1950
        return _inflate(body, _ZLIB if wrapped else _RAW, limit)[0]
    if name == "br" and brotli is not None:
        return _unbrotli(body, limit)
    # A zstd frame names the memory its decoder needs, up to terabytes; nobody has to answer us with one.
    raise DecodeError(f"content encoding {name[:20]!r} was not asked for and is not undone")


def _inflate(body: bytes, window_bits: int, limit: int) -> tuple[bytes, bytes]:
    """One deflate stream's content and what follows it."""
    stream = zlib.decompressobj(window_bits)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise DecodeError(f"broken deflate stream: {error}") from None
    if len(plain) > limit:
        raise DecodeError(f"unpacks to more than {limit} bytes", too_large=True)
    if not stream.eof:
        raise DecodeError("the compressed stream ends too early")
    return plain, stream.unused_data


def _unbrotli(body: bytes, limit: int) -> bytes:
    stream: Any = brotli.Decompressor()
    parts: list[bytes] = []
    size = 0
    try:
        piece = stream.process(body, output_buffer_limit=min(_CHUNK, limit + 1))
        while True:
            parts.append(piece)
            size += len(piece)
            if size > limit:
                raise DecodeError(f"unpacks to more than {limit} bytes", too_large=True)
            if stream.is_finished():
                return b"".join(parts)
            if stream.can_accept_more_data():
                raise DecodeError("the compressed stream ends too early")
            piece = stream.process(b"", output_buffer_limit=min(_CHUNK, limit + 1))
    except brotli.error as error:
        raise DecodeError(f"broken brotli stream: {error}") from None
