"""Vehicle identification numbers: found in text, checked, classified."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache

_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)  # 49 CFR 565.15(c), table IV
_VALUES = {
    **{str(digit): digit for digit in range(10)},
    **dict(zip("ABCDEFGH", range(1, 9), strict=True)),
    **dict(zip("JKLMN", range(1, 6), strict=True)),
    "P": 7,
    "R": 9,
    **dict(zip("STUVWXYZ", range(2, 10), strict=True)),
}  # 49 CFR 565.15(c), table III
# For each position: character → value times weight.
_WEIGHTED = tuple({char: value * weight for char, value in _VALUES.items()} for weight in _WEIGHTS)
_SHAPE = re.compile(r"[A-HJ-NPR-Z0-9]{17}\Z")
_IN_TEXT = re.compile(r"[A-HJ-NPR-Z0-9]{17}(?![A-Za-z0-9])")
_LABELLED = re.compile(
    r"\b(?i:V\.?I\.?N\.?|chassis|serial|fahrgestell\w*|FIN)\s*(?i:no\.?|number|nr\.?|#|num\.?)?\s*[:#\-]?\s*"
    r"([A-Z0-9][A-Z0-9\-/ ]{3,19}[A-Z0-9])(?![A-Za-z0-9*])",
)
_SEPARATORS = re.compile(r"[\s\-'\"*.]")
_SERIAL = re.compile(r"[A-Z0-9]{5,14}\Z")


class VinKind(StrEnum):
    """What a string given as a VIN is."""

    VALID = "valid"  # 17 characters and the check digit agrees
    EUROPEAN = "european"  # 17 characters of a maker outside North America, where no check digit is required
    CLASSIC = "classic"  # a chassis number from before 1981, shorter than 17 characters
    INVALID = "invalid"  # anything else


def check_digit(vin: str) -> str | None:
    """The check digit that a 17-character VIN should have in position 9; None where a character is not allowed."""
    return _check_digit(vin) if len(vin) == len(_WEIGHTS) else None


@lru_cache(maxsize=512)  # asked for several times while a page is read
def _check_digit(vin: str) -> str | None:
    try:
        total = sum(map(dict.__getitem__, _WEIGHTED, vin))
    except KeyError:
        return None
    remainder = total % 11
    return "X" if remainder == 10 else str(remainder)


def clean_vin(text: str) -> str:
    """A VIN as written, in upper case without spaces, hyphens and quotes."""
    text = text[:40]
    return (text if text.isalnum() else _SEPARATORS.sub("", text)).upper()


@lru_cache(maxsize=8192)
def classify_vin(vin: str) -> VinKind:
    """What a cleaned string is. ISO 3779 leaves the check digit to North America and China's law (WMI 1–5, L)."""
    if _SHAPE.match(vin):
        if len(set(vin)) < 5 or vin.isalpha() or vin.isdigit():
            return VinKind.INVALID
        if check_digit(vin) == vin[8]:
            return VinKind.VALID
        return VinKind.INVALID if vin[0] in "12345" else VinKind.EUROPEAN
    if _SERIAL.match(vin) and any(char.isdigit() for char in vin):
        return VinKind.CLASSIC
    return VinKind.INVALID


def find_vins(text: str) -> list[str]:
    """The distinct 17-character VINs in a text, in order, those with a right check digit before others."""
    seen: dict[str, VinKind] = {}
    for match in _IN_TEXT.finditer(text):
        vin = match[0]
        before = text[match.start() - 1 : match.start()]
        if vin in seen or before.isalnum():
            continue
        kind = classify_vin(vin)
        # Without a check digit to prove it, a run of 17 characters must at least look like a VIN.
        if kind is VinKind.VALID or (kind is VinKind.EUROPEAN and _looks_european(vin)):
            seen[vin] = kind
        if len(seen) >= 500:
            break
    return sorted(seen, key=lambda vin: seen[vin] is not VinKind.VALID)


def find_labelled_vin(text: str) -> str | None:
    """The VIN or chassis number that a text names as such ("VIN: 124378N123456"), cleaned; else None."""
    for match in _LABELLED.finditer(text[:50_000]):
        candidate = clean_vin(match[1])
        if len(candidate) > 17:
            candidate = clean_vin(match[1].split()[0])
        if classify_vin(candidate) is not VinKind.INVALID and sum(char.isdigit() for char in candidate) >= 3:
            return candidate
    return None


def _looks_european(vin: str) -> bool:
    """A maker's code of letters, a serial that ends in four digits (ISO 3780, ISO 3779)."""
    return vin[0].isalpha() and vin[13:].isdigit() and not vin[:3].isdigit() and any(c.isalpha() for c in vin[3:9])
