"""Engines and transmissions in short lines that bear no label: "EcoTec3 6.2L V8 8-Speed Automatic"."""

from __future__ import annotations

import re
from functools import lru_cache

from fill_pipeline.extract.dom import Words
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.listing import Layer

_BREATH = (
    r"(?:Twin-? ?Turbo(?:charged)?|Bi-?Turbo|Turbo(?:charged)?|Supercharged|DOHC|SOHC|OHV|Hybrid|Diesel|Flex-? ?Fuel|"
    r"EcoBoost|HEMI|TFSI|TSI|TDI|Gas|Intercooled|L\d{2})"
)
_LITRES = r"\d{1,2}\.\d(?: ?L|[- ]?Lit(?:er|re)s?)\b"
_CYLINDERS = (
    r"(?:[VIHWL]-?\d{1,2}|(?:Inline|Flat|Straight)[- ](?:Three|Four|Five|Six|Eight|\d)|\d{1,2}[- ]?Cyl(?:inder)?s?)\b"
)
_ENGINE = re.compile(
    rf"{_LITRES}(?:[- ]{_BREATH})*[- ]{_CYLINDERS}(?: {_BREATH})*|"
    rf"{_CYLINDERS}(?:,? {_BREATH})*,? {_LITRES}(?: {_BREATH})*",
    re.I,
)
_TRANSMISSION = re.compile(
    r"\b(?:\d{1,2}|Three|Four|Five|Six|Seven|Eight|Nine|Ten)[- ](?:Speed|Spd)\.? (?:[\w\-]+ )??"
    r"(?:Automatic|Manual|DCT|PDK|CVT|Auto|Dual-Clutch|Transaxle|Shiftable Automatic)\b|"
    r"\b(?:Automatic|Manual|CVT)(?= Transmission\b)",
    re.I,
)
_LONGEST = 110  # characters of a line that lists facts; sentences tell of other engines too
_MAX_LINES = 600


def offer_specs(reading: Reading, words: Words) -> None:
    """Offer the engine and the transmission, where all short lines that name one name the same."""
    for field in ("engine", "transmission"):
        if reading.has(field):
            continue
        found: dict[str, str] = {}
        for _, line in words.lines[:_MAX_LINES]:
            if len(line) <= _LONGEST and (named := _named(field, line)):
                found.setdefault(_core(named), named)
        if len(found) == 1:
            reading.offer(field, next(iter(found.values())), Layer.TEXT, "text", 0.45)


@lru_cache(maxsize=8192)
def _named(field: str, line: str) -> str | None:
    """The engine or the transmission that a line names."""
    match = (_ENGINE if field == "engine" else _TRANSMISSION).search(line)
    return match[0] if match else None


def _core(words: str) -> str:
    """What tells one engine or gearbox from another: its displacement, or its gears and kind."""
    number = re.search(r"\d{1,2}\.\d", words)
    return number[0] if number else words.lower().replace("-", " ")
