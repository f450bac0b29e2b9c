"""Validation learned from a source's history: its ranges, proposed, proven by replay, applied as a config version.

A range goes live only where, of all values in the archived pages it would set aside, each is contradicted by what other
sources ask for the same make, model and year. It is rolled back like any other version of a config.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fill_pipeline.crawl.archive import ArchiveError, ArchiveReader, ArchiveRef
from fill_pipeline.db import improvement, learning, registry
from fill_pipeline.db.archive import ArchivedKind
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain.page import RawPage, reading_of
from fill_pipeline.drain.read import read_page
from fill_pipeline.drain.work import Source, Work, load_sources
from fill_pipeline.vehicles.ranges import RANGED, Ranges, learn_range

HISTORY = 2000
PROOF_PAGES = 200
LEAST_PAGES = 30
PROOF_CYCLES = 12
FAR_OFF = 3.0  # so many times, or this part, of what others ask contradicts a value
MADE_BY = "learning"


@dataclass(slots=True)
class Proof:
    """What a replay with proposed ranges gave: pages read, values set aside, and those that nothing contradicts."""

    pages: int = 0
    set_aside: list[str] = field(default_factory=list)
    unfounded: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether the ranges may go live."""
        return self.pages >= LEAST_PAGES and not self.unfounded


def learn_ranges(conn: Connection, work: Work, slugs: Sequence[str]) -> dict[str, str]:
    """Learn the ranges of these sources, those that have none yet; returns what became of each, in words."""
    told = {}
    for source in load_sources(conn).values():
        if source.slug not in slugs or source.config.ranges or work.stopping():
            continue
        proposed = propose(conn, source)
        if not proposed:
            continue
        proof = prove(conn, work, source, proposed)
        words = ", ".join(f"{name} {low} to {high}" for name, (low, high) in proposed.items())
        seen = f"over {proof.pages} archived pages {len(proof.set_aside)} values lie outside"
        if proof.holds:
            apply(conn, source, proposed, f"ranges learned: {words}; {seen}, each contradicted by other sources")
            told[source.slug] = f"applied: {words}"
        else:
            told[source.slug] = f"not proven: {words}; {seen}, {len(proof.unfounded)} of them uncontradicted"
    return told


def propose(conn: Connection, source: Source) -> Ranges:
    """The ranges that a source's listings suggest; empty where it has too few."""
    known = improvement.known_listings(conn, source.id, HISTORY)
    found = {name: learn_range(one.values[name] for one in known if name in one.values) for name in RANGED}
    return {name: learned for name, learned in found.items() if learned is not None}


def prove(conn: Connection, work: Work, source: Source, ranges: Ranges) -> Proof:
    """Read archived pages with the present reading, and look at what the ranges would set aside."""
    proof = Proof()
    reading = replace(reading_of(source, work.settings), ranges={})
    archive = ArchiveReader(work.settings.archive_root)
    try:
        for row in improvement.recent_pages(
            conn, source.id, kind=ArchivedKind.DETAIL, cycles=PROOF_CYCLES, n=PROOF_PAGES
        ):
            try:
                page = archive.read(ArchiveRef(row.file, row.offset, row.length))
            except (ArchiveError, OSError):
                continue
            raw = RawPage.unkept(row.url, page.body_received, page.content_type, now=row.fetched_at)
            raw.content_encoding = page.content_encoding
            proof.pages += 1
            for listing in read_page(raw, reading, now=row.fetched_at).rows:
                for name, (low, high) in ranges.items():
                    value = getattr(listing.listing, name)
                    if not value or low <= value <= high:
                        continue
                    words = f"{name} {value} at {row.url}"
                    proof.set_aside.append(words)
                    car = listing.listing
                    usual = learning.usual(conn, name, car.make, car.model, car.year, but=source.id)
                    if usual is None or usual / FAR_OFF < value < usual * FAR_OFF:
                        proof.unfounded.append(words)
    finally:
        archive.close()
    return proof


def apply(conn: Connection, source: Source, ranges: Ranges, reason: str) -> None:
    """Make them part of the source's configuration, as a new version."""
    config = source.row.config | {"ranges": {name: list(pair) for name, pair in ranges.items()}}
    registry.change_config(conn, source.id, config, made_by=MADE_BY, reason=reason)
