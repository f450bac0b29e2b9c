"""Signals: what an advertisement's own words and history say about it beside its price."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from fill_pipeline.db.deals import ListingToValue
from fill_pipeline.vehicles.vin import IDENTIFYING


class RedFlag(StrEnum):
    """A kind of warning in an advertisement's words."""

    BRANDED_TITLE = "branded_title"  # salvage, rebuilt, flood, lemon
    NO_TITLE = "no_title"  # no papers
    NOT_RUNNING = "not_running"  # does not run, for parts
    NEEDS_WORK = "needs_work"  # to be repaired
    ODOMETER = "odometer"  # mileage unknown or not actual
    REMOTE_DEAL = "remote_deal"  # shipped unseen, seller abroad
    ODD_PAYMENT = "odd_payment"  # wire, gift card, deposit before a look
    OFF_PLATFORM = "off_platform"  # asks to be written elsewhere
    FINANCE_BAIT = "finance_bait"  # the price is a down payment


_NEGATED = re.compile(r"\b(?:no|not|never|non|without|isn'?t|keine?|geen|nicht)\s+(?:a\s+|any\s+)?$", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+")
_LOOK_BACK = 14

# Log-odds of a fraud; the base is about one advertisement in two hundred. Judgement, not measurement:
# far too cheap, payment that cannot be got back and a car nobody may see are what warnings agree on.
_BASE = -5.3
_SCAM = {
    RedFlag.ODD_PAYMENT: 2.5,
    RedFlag.REMOTE_DEAL: 1.5,
    RedFlag.OFF_PLATFORM: 1.2,
}


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known about an advertisement beside its price; amounts in its currency."""

    days_on_market: int
    price_drops: int
    price_dropped: int
    red_flags: tuple[RedFlag, ...]
    scam_probability: float
    scam_reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The signals by name."""
        return {
            "days_on_market": self.days_on_market,
            "price_drops": self.price_drops,
            "price_dropped": self.price_dropped,
            "red_flags": [flag.value for flag in self.red_flags],
            "scam_probability": self.scam_probability,
            "scam_reasons": list(self.scam_reasons),
        }


def red_flags(text: str) -> tuple[RedFlag, ...]:
    """The warnings in a text (bounded by the caller), each once, in the order of ``RedFlag``; "no accident" is none."""
    text = text.lower()
    known = _words()
    found: set[RedFlag] = set()
    for word in known.keys() & _WORD.findall(text):
        for flag, pattern in known[word]:
            if flag not in found and any(
                not _NEGATED.search(text[max(0, match.start() - _LOOK_BACK) : match.start()])
                for match in pattern.finditer(text)
            ):
                found.add(flag)
    return tuple(flag for flag in RedFlag if flag in found) if found else ()


@cache
def _words() -> dict[str, list[tuple[RedFlag, re.Pattern[str]]]]:
    """The warnings by a word that they cannot do without."""
    table: dict[str, list[tuple[RedFlag, re.Pattern[str]]]] = {}
    for line in (Path(__file__).parent / "red_flags.tsv").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            flag, words, pattern = line.split("\t")
            for word in words.split("|"):
                table.setdefault(word, []).append((RedFlag(flag), re.compile(pattern)))
    return table


def signals_of(listing: ListingToValue, *, value: int, now: datetime) -> Signals:
    """The signals of a listing that is worth ``value``."""
    flags = red_flags(f"{listing.title or ''}\n{listing.description or ''}")
    since = min(d for d in (listing.posted_at, listing.first_seen_at) if d is not None)
    probability, reasons = _scam(listing, flags, value)
    return Signals(
        days_on_market=max(0, (now - since).days),
        price_drops=listing.price_drops,
        price_dropped=listing.price_dropped,
        red_flags=flags,
        scam_probability=probability,
        scam_reasons=tuple(reasons),
    )


def _scam(listing: ListingToValue, flags: tuple[RedFlag, ...], value: int) -> tuple[float, list[str]]:
    odds, reasons = _BASE, []

    def add(weight: float, reason: str) -> None:
        nonlocal odds
        odds += weight
        reasons.append(reason)

    share = listing.price / value if value else 1.0
    explained = any(
        f in flags for f in (RedFlag.BRANDED_TITLE, RedFlag.NOT_RUNNING, RedFlag.NEEDS_WORK, RedFlag.FINANCE_BAIT)
    )
    if share < 0.6:
        add((0.6 - share) * (4.0 if explained else 9.0), f"asks {share:.0%} of its value")
    for flag, weight in _SCAM.items():
        if flag in flags:
            add(weight, flag.value.replace("_", " "))
    if listing.vin is None or listing.vin_status not in IDENTIFYING:
        if share < 0.8:
            add(0.7, "cheap and without a VIN")
    else:
        odds -= 0.7
    if listing.images == 0:
        add(0.6, "no picture")
    if listing.seller_type == "dealer":
        odds -= 1.0
    elif not listing.has_phone and share < 0.7:
        add(0.4, "cheap, private and without a phone number")
    return round(1.0 / (1.0 + math.exp(-odds)), 3), reasons
