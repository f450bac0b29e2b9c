"""Bytes of a page to text: which charset, and whether it is JSON or markup."""

from __future__ import annotations

import codecs
import re
import zlib

MAX_BODY = 8_000_000  # bytes; what follows is not looked at
_META = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w\-]{2,20})""", re.I)
_XML = re.compile(rb"""<\?xml[^>]{0,80}?encoding\s*=\s*["']([\w\-]{2,20})""", re.I)
_HEADER = re.compile(r"charset\s*=\s*[\"']?([\w\-]{2,20})", re.I)
_LEADING = bytes(range(0xC2, 0x100))  # first bytes of UTF-8 sequences
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_MARKS = tuple(_BOMS)
# Python's codecs that no page is in; that of host names takes the square of a body's length.
_NO_CHARSETS = frozenset({"punycode", "idna", "unicode-escape", "raw-unicode-escape", "undefined"})


def _unpacked(body: bytes) -> bytes:
    """A body that is still compressed, as some servers and archives leave it, decompressed up to the bound."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body, MAX_BODY)
    except zlib.error:
        return body


def _wide(body: bytes) -> str | None:
    """The UTF-16 that a body without a byte order mark is in: markup has a NUL in every second place then."""
    head = body[:400]
    if len(head) < 40 or head.count(0) * 5 < len(head) * 2:
        return None
    even, odd = head[::2].count(0), head[1::2].count(0)
    return "utf-16-le" if odd > 8 * even else "utf-16-be" if even > 8 * odd else None


def decode_body(body: bytes, content_type: str | None = None) -> str:
    """The text of a body, unpacked first if it is still gzip: by byte order mark, then UTF-16 told by its NULs, UTF-8
    if it is valid, the header's word, the page's own, Windows-1252. Never raises; at most :data:`MAX_BODY` bytes are
    read."""
    body = _unpacked(body[:MAX_BODY])
    if body.startswith(_MARKS):
        mark = next(mark for mark in _MARKS if body.startswith(mark))
        return body[len(mark) :].decode(_BOMS[mark], "replace")
    wide = _wide(body)
    if wide is not None:
        return body.decode(wide, "replace")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        pass
    declared: list[str] = []
    if content_type and (header := _HEADER.search(content_type)):
        declared.append(header[1])
    head = body[:4096]
    declared.extend(found[1].decode("ascii") for found in (_META.search(head), _XML.search(head)) if found)
    for name in declared:
        try:
            codec = codecs.lookup(name).name
            if codec in ("utf-8", "ascii", "iso8859-1", *_NO_CHARSETS) or codec.startswith(("utf-16", "utf-32")):
                continue
            return body.decode(codec, "replace")
        except (LookupError, ValueError):
            continue
    broken = body.decode("utf-8", "replace")
    # A few broken sequences in UTF-8 text are damage; in most other text every accent is one.
    accents = len(body) - len(body.translate(None, _LEADING))
    return broken if broken.count("\ufffd") * 10 < accents else body.decode("cp1252", "replace")


def looks_like_json(text: str, content_type: str | None = None) -> bool:
    """Whether a text is a JSON body (its first character says so, whatever the header claims)."""
    head = text[:64].lstrip("\ufeff \t\r\n")
    if head.startswith(("{", "[")):
        return True
    return bool(content_type and "json" in content_type.lower() and not head.startswith("<"))


def strip_json_prefix(text: str) -> str:
    """The JSON of a body that is guarded against inclusion (")]}',", "for(;;);") or wrapped in a callback."""
    start = text[:200]
    for guard in (")]}',", ")]}'", "for(;;);", "while(1);"):
        if start.lstrip().startswith(guard):
            return text.lstrip()[len(guard) :]
    callback = re.match(r"\s*[\w$.]{1,60}\(\s*(?=[{\[])", start)
    return text[callback.end() :].rstrip().rstrip(");") if callback else text
