"""Text from the web made fit to store: entities, mojibake, control characters, length."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

import msgspec

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
    if len(text) <= longest and text.isascii() and "&" not in text:
        line = text.replace("\n", " ")
        if line.isprintable() and "  " not in line:
            return line.strip() or None  # nearly every text
    if "&" in text:
        text = html.unescape(html.unescape(text[: longest * 6]))
    if not text.isascii():
        text = _repair_mojibake(text)
        if not keep_emoji:
            text = _EMOJI.sub(" ", text)
    text = " ".join(text.split())
    if not text.isprintable():
        text = " ".join(_UNSTORABLE.sub(" ", text.replace("\u00ad", "")).split())
    return text[:longest].rstrip() or None


def storable(text: str) -> str:
    """The text with only what PostgreSQL cannot hold taken out."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    return text if text.isascii() else text.encode("utf-8", "ignore").decode("utf-8")


def all_storable(texts: Iterable[str]) -> bool:
    """Whether these need no ``storable``; False also for some that do not."""
    together = "".join(texts)
    return together.isascii() and "\x00" not in together


def storable_payload(payload: dict[str, Any], largest: int) -> dict[str, Any] | None:
    """A JSON object whose strings and keys PostgreSQL can hold; nothing nested deeper than twelve levels.

    None where it takes more than ``largest`` bytes or cannot be written as JSON.
    """
    try:
        written = msgspec.json.encode(payload)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        written = b"\\u0000"
    deep = written.count(b"{") + written.count(b"[") > _DEEPEST and _is_deeper(payload, _DEEPEST)
    if not deep and b"\\u0000" not in written:  # nearly every payload
        return payload if len(written) <= largest else None
    mended: dict[str, Any] = _storable_json(payload)
    try:
        return mended if len(msgspec.json.encode(mended)) <= largest else None
    except (TypeError, ValueError, msgspec.MsgspecError):
        return None


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether containers are nested deeper than so many levels."""
    if levels == 0:
        return True
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, dict | list | tuple) and _is_deeper(child, levels - 1):
            return True
    return False


def _storable_json(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        if depth >= _DEEPEST:
            return None
        return {storable(str(k)): _storable_json(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return None if depth >= _DEEPEST else [_storable_json(v, depth + 1) for v in value]
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
