"""Text from the web made fit to store: entities, mojibake, control characters, length."""

from __future__ import annotations

import html
import re
from typing import Any

# C0 and C1 controls, zero-width and direction marks, BOM, lone surrogates, non-characters.
_UNSTORABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff0-\uffff]"
)
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0e\ufe0f\u20e3\U000e0000-\U000e007f]")
# UTF-8 read as Windows-1252 or Latin-1 shows as these lead characters followed by a continuation byte.
_MOJIBAKE = re.compile("[ÂÃâÅÄÐÑ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")
_DEEPEST = 12


def clean_text(text: str, longest: int, *, keep_emoji: bool = False) -> str | None:
    """One line of storable text of at most ``longest`` characters, or None when nothing is left."""
    if len(text) <= longest and text.isascii() and text.isprintable() and "&" not in text and "  " not in text:
        return text.strip() or None  # nearly every text
    if "&" in text:
        text = html.unescape(html.unescape(text[: longest * 6]))
    if not text.isascii():
        text = _repair_mojibake(text)
        if not keep_emoji:
            text = _EMOJI.sub(" ", text)
    if not text.isprintable():
        text = _UNSTORABLE.sub(" ", text.replace("\u00ad", ""))
    return " ".join(text.split())[:longest].rstrip() or None


def storable(text: str) -> str:
    """The text with only what PostgreSQL cannot hold taken out."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    if not text.isascii():
        text = text.encode("utf-8", "ignore").decode("utf-8")
    return text


def storable_json(value: Any, depth: int = 0) -> Any:
    """A JSON value whose strings and keys PostgreSQL can hold; nothing nested deeper than twelve levels."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        if depth >= _DEEPEST:
            return None
        return {storable(str(k)): storable_json(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return None if depth >= _DEEPEST else [storable_json(v, depth + 1) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def _repair_mojibake(text: str) -> str:
    for _ in range(2):  # text mangled twice is common, three times is noise
        if not _MOJIBAKE.search(text):
            return text
        for charset in ("cp1252", "latin-1"):
            try:
                text = text.encode(charset).decode("utf-8")
                break
            except UnicodeError:
                continue
        else:
            return text
    return text
