"""Induction on real pages: rules are learned from half of each site's pages or cards and read the other half.

The values to learn from are those of our own general extraction, as a repair has them; what the learned rules read on
the other half, alone and without any general extraction, is compared with them.
"""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

from fill_pipeline.db.improvement import KnownListing
from fill_pipeline.extract.cards import find_cards
from fill_pipeline.extract.charset import decode_body
from fill_pipeline.extract.dom import parse
from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.page import extract_page
from fill_pipeline.extract.urls import id_in_url
from fill_pipeline.repair.induce import MIN_VOTES, induce, value_of
from fill_pipeline.repair.truth import FIELDS, Score, Witness, same, witness

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAGE_URL = "https://www.example.com/cars/page"
LEAST_PRECISION = 0.97
MOST_CARDS = 200  # of one site: enough to learn from and to prove on


@dataclass(slots=True)
class Learned:
    """What was learned of one site: pages or cards learned from and read, fields with a rule, and how they read."""

    site: str
    kind: str
    train: int = 0
    proof: int = 0
    fields: list[str] = field(default_factory=list)
    unlearned: list[str] = field(default_factory=list)
    score: Score = field(default_factory=Score)
    known: int = 0

    @property
    def share(self) -> float:
        """The share of all values known on the other half that the rules alone read rightly."""
        return self.score.right / max(1, self.known)

    @property
    def enough(self) -> bool:
        """Whether there was enough to vote and to prove at all."""
        return self.train >= MIN_VOTES and self.proof > 0

    def as_json(self) -> dict[str, Any]:
        """Plain data, one row of the table."""
        return {
            "site": self.site, "kind": self.kind, "train": self.train, "proof": self.proof, "fields": self.fields,
            "unlearned": self.unlearned, "compared": self.score.compared, "precision": round(self.score.precision, 4),
            "f1": round(self.score.f1, 4), "share_read": round(self.share, 4),
        }  # fmt: skip


def corpus_induction(corpus: Path) -> dict[str, Any]:
    """Print what was learned of each site, and sum it up."""
    learned = learn_corpus(corpus)
    for one in learned:
        if not one.enough:
            print(f"  {one.site:<16}{one.kind:<8}{one.train} + {one.proof}: too few that can be known for a vote")
            continue
        unlearned = f"; no rule for {' '.join(one.unlearned)}" if one.unlearned else ""
        print(
            f"  {one.site:<16}{one.kind:<8}{one.train:>3} + {one.proof:<4}F1 {one.score.f1:.3f} precision "
            f"{one.score.precision:.3f}, alone they read {one.share:.0%} of all that is known "
            f"({' '.join(one.fields) or 'no rules'}{unlearned})",
            flush=True,
        )
    scored = [one for one in learned if one.fields]
    total = Score()
    for one in scored:
        total.right += one.score.right
        total.wrong += one.score.wrong
        total.missing += one.score.missing
    return {
        "sites": len(learned), "scored": len(scored), "precision": round(total.precision, 4),
        "f1": round(total.f1, 4), "f1_by_site": round(mean(one.score.f1 for one in scored), 4) if scored else 0.0,
        "by_site": [one.as_json() for one in learned],
        "goals_met": bool(scored) and total.precision >= LEAST_PRECISION,
    }  # fmt: skip


def learn_corpus(corpus: Path) -> list[Learned]:
    """Every site of the corpus with several detail pages or search pages, learned from half and read on the rest."""
    return [learn_site(corpus, site, kind) for site, kind in sorted(_files(corpus))]


def learn_site(corpus: Path, site: str, kind: str) -> Learned:
    """One site's detail pages, or the cards of its search pages, learned from half and read on the rest."""
    files = _files(corpus)[(site, kind)]
    if kind == "detail":
        return _learn(site, kind, [one for path in files if (one := _detail(path)) is not None])
    most = max(1, MOST_CARDS // len(files))
    per_page = [_cards(path) for path in files]
    return _learn(site, kind, [one for cards in per_page for one in cards[:: max(1, len(cards) // most)][:most]])


def _learn(site: str, kind: str, witnesses: Sequence[Witness]) -> Learned:
    train, proof = witnesses[::2], witnesses[1::2]
    told = Learned(site, kind, len(train), len(proof))
    if not told.enough:
        return told
    rules = induce(train, FIELDS)
    known = {name for page in proof for name in page.truth}
    told.known = sum(len(page.truth) for page in proof)
    told.fields = [name for name in FIELDS if name in rules]
    told.unlearned = [name for name in FIELDS if name in known and name not in rules]
    for page in proof:
        tree = parse(page.body.decode())
        for name, rule in rules.items():
            got, truth = value_of(rule, name, tree, page.url), page.truth.get(name)
            if truth is not None:
                told.score.note(name, 2 if got is None else 0 if same(name, got, truth) else 1)
    return told


def _files(corpus: Path) -> dict[tuple[str, str], list[Path]]:
    """The HTML pages of the corpus by site and kind, where a site has several of a kind."""
    groups: defaultdict[tuple[str, str], list[Path]] = defaultdict(list)
    for line in (corpus / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        path, site, kind = line.split("\t")[:3]
        for word in ("detail", "search"):
            if (word in kind or "both" in kind) and ".htm" in path:
                groups[(site, word)].append(corpus / path)
    return {key: files for key, files in groups.items() if len(files) > 1}


def _detail(path: Path) -> Witness | None:
    body = _utf8(path)
    found = extract_page(body, url=PAGE_URL, content_type="text/html; charset=utf-8", kind="detail").listings
    return _known(found[0], body, PAGE_URL) if len(found) == 1 else None


def _cards(path: Path) -> list[Witness]:
    """The cards of a search page, each as a page of its own."""
    body = _utf8(path)
    result = extract_page(body, url=PAGE_URL, content_type="text/html; charset=utf-8", kind="search")
    by_url = {one.url: one for one in result.listings if one.url}
    by_id = {id_in_url(one.url): one for one in result.listings if one.url}
    cards = find_cards(parse(body.decode()), url=PAGE_URL)
    in_order = result.listings if len(cards) == len(result.listings) else [None] * len(cards)
    found = []
    for card, at_its_place in zip(cards, in_order, strict=True):
        listing = by_url.get(card.url) or by_id.get(id_in_url(card.url)) if card.url else at_its_place
        markup = "".join(node.html or "" for node in card.nodes)
        one = _known(listing, f"<html><body>{markup}</body></html>".encode(), PAGE_URL) if listing is not None else None
        if one is not None:
            found.append(one)
    return found


def _known(listing: Listing, body: bytes, url: str) -> Witness | None:
    """A page with what our own extraction says of it, as far as it stands there to be read."""
    values = {name: value for name in (*FIELDS, "title") if (value := getattr(listing, name)) is not None}
    found = witness(url, body, "text/html", KnownListing(url, "", values, listing.raw, None, NOW), now=NOW)
    return found if found.truth else None


def _utf8(path: Path) -> bytes:
    return decode_body(gzip.decompress(path.read_bytes())).encode()
