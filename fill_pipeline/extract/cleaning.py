"""Cleaning words taken from a page: entities, control characters, broken encodings, white space."""

from __future__ import annotations

import html
import re

_CONTROL = re.compile(r"[®™©\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u200e\u200f\u2060\ufeff]")
_TAG = re.compile(r"<[^>]{0,400}>")
_MOJIBAKE = re.compile(r"[ÃÂâ][\x80-\xbf€™œ“”•–—‚ƒ„…†‡ˆ‰Š‹Œ¡-¿]")
_GAPS = ("  ", "\n\n", " \n", "\n ")
_BREAKS = re.compile(r"<\s*(?:br|p|li|div)\b[^>]{0,200}>", re.I)


def single_spaced(text: str) -> str:
    """A text on one line, white space single and none at its ends; most texts are so already."""
    return text.strip() if text.isprintable() and "  " not in text else " ".join(text.split())


def clean(text: str, limit: int = 400) -> str:
    """One line of plain words: entities decoded, control characters gone, white space single, at most ``limit``."""
    text = text[: limit * 4]
    if "&" in text:
        text = html.unescape(text)
    if not (text.isascii() and text.isprintable()):
        text = single_spaced(_CONTROL.sub("", mend_encoding(text)))
    elif "  " in text:
        text = " ".join(text.split())
    return text.strip()[:limit].rstrip()


def clean_markup(text: str, limit: int = 20_000) -> str:
    """Like :func:`clean` for text that may hold tags; line breaks stay."""
    text = text[: limit * 2]
    if "<" in text:
        text = _TAG.sub(" ", _BREAKS.sub("\n", text))
    if "&" in text:
        text = html.unescape(text)
    if text.isascii() and text.replace("\n", "").isprintable():
        if not any(map(text.__contains__, _GAPS)):
            return text.strip()[:limit]
    else:
        text = _CONTROL.sub("", mend_encoding(text))
    return "\n".join(filter(None, map(single_spaced, text.splitlines())))[:limit]


def mend_encoding(text: str) -> str:
    """Undo UTF-8 that was read as Windows-1252 ("GroÃŸ" → "Groß"); any other text comes back as it is."""
    if not _MOJIBAKE.search(text):
        return text
    try:
        return text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return text
