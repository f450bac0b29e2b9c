"""Candidates: which addresses are worth a look, and why a look may end in a refusal."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fill_pipeline.crawl.guard import BlockedAddress, Network, check_url
from fill_pipeline.crawl.urls import origin, site_of, wire_url
from fill_pipeline.db.improvement import FoundCandidate

_DATA = Path(__file__).parent / "data"
_MAX_EVIDENCE_CHARS = 300


class RejectReason(StrEnum):
    """Why a candidate becomes no source."""

    BAD_URL = "bad_url"  # not an address that can be fetched
    PRIVATE_ADDRESS = "private_address"  # leads into a network that is nobody's business
    DUPLICATE = "duplicate"  # its domain is a source already
    UNREACHABLE = "unreachable"  # no answer now; looked at again later
    BLOCKED = "blocked"  # refuses us now; looked at again later
    THROTTLED = "throttled"  # asks for silence; looked at again later
    ROBOTS = "robots"  # robots.txt forbids what we would need
    PARKED = "parked"  # a domain for sale, nothing behind it
    ARTICLES = "articles"  # writes about cars and sells none
    GOODS = "goods"  # sells things, but no vehicles
    LINK_FARM = "link_farm"  # links to everywhere and holds nothing
    TRAP = "trap"  # pages without end that list nothing
    NO_VEHICLES = "no_vehicles"  # none of the above, and no vehicles for sale either
    LOW_QUALITY = "low_quality"  # vehicles, but too little is said about them
    NO_YIELD = "no_yield"  # taken on trial and gave nothing


PASSING = (RejectReason.UNREACHABLE, RejectReason.BLOCKED, RejectReason.THROTTLED)
"""Reasons that may have passed by the next look."""


def candidate_of(url: str, channel: str, **evidence: Any) -> FoundCandidate | None:
    """A candidate from a link, or None where it leads to no site of its own worth a look (social networks, shops …).

    Evidence is kept short; words from the web are cut, not trusted.
    """
    try:
        url = wire_url(url)
        domain = site_of(url)
    except ValueError:
        return None
    host = urlsplit(url).hostname or ""
    if "." not in host or domain in _no_sources() or host in _no_sources():
        return None
    kept = {name: value[:_MAX_EVIDENCE_CHARS] if isinstance(value, str) else value for name, value in evidence.items()}
    return FoundCandidate(
        domain, url, channel, {name: value for name, value in kept.items() if value not in (None, "")}
    )


def refuse_early(url: str, nets: tuple[Network, ...]) -> tuple[RejectReason, str] | None:
    """What can be said against an address before anything is asked of it."""
    try:
        origin(url)
        check_url(url, nets)
    except BlockedAddress as error:
        return RejectReason.PRIVATE_ADDRESS, str(error)
    except ValueError as error:
        return RejectReason.BAD_URL, str(error)
    return None


def is_own_machine(url: str) -> bool:
    """Whether the address is this machine's own (RFC 6761: every name under ``localhost`` is), which needs no pause."""
    host = (urlsplit(url).hostname or "").lower()
    return host == "localhost" or host.endswith(".localhost") or host.startswith("127.")


@lru_cache(maxsize=1)
def _no_sources() -> frozenset[str]:
    lines = (_DATA / "not_sources.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))
