"""Scores of cards on the corpus's search pages other than those with a truth file, field by field.

``python -m fill_pipeline_tests.extract.search_scoring [CORPUS]`` prints precision and recall of every field asked for:
by the facts read off the pages, and by sight against the page's own structured data.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.urls import id_in_url
from fill_pipeline_tests.extract.scoring import CORPUS, Score, read

CARDS = Path(__file__).with_name("card_facts.json")
# Pages whose structured data tells of the cards that are seen, and whose cards link to what it names.
DOUBLE = (
    "autoscout24/autoscout24_de_search.html.gz",
    "autoscout24/autoscout24_nl_search.html.gz",
    "carvana/_f150_page_2__385040e8.html.gz",
    "carvana/dbug_inventory__361c5433.html.gz",
)
FIELDS = ("year", "make", "model", "price", "mileage")


def facts() -> dict[str, dict[str, dict[str, Any]]]:
    """Page → part of a card's link → what a person reads on that card."""
    loaded: dict[str, dict[str, dict[str, Any]]] = json.loads(CARDS.read_text(encoding="utf-8"))
    return loaded


def score_cards(corpus: Path, *, structured: bool) -> Score:
    """Every card with facts, found by its own link."""
    score = Score()
    for name, cards in facts().items():
        listings = read(corpus / "sites" / name, structured=structured).listings
        for link, truth in cards.items():
            found = [item for item in listings if link in (item.url or "")]
            listing = found[0] if len(found) == 1 else Listing()
            for key, value in truth.items():
                score.add(key, value, getattr(listing, key), f"{name}#{link}")
    return score


def score_by_sight(corpus: Path) -> Score:
    """What is read by sight beside what the same page's structured data says of the same card."""
    score = Score()
    for name in DOUBLE:
        told = {id_in_url(item.url or ""): item for item in read(corpus / "sites" / name).listings}
        seen = {id_in_url(item.url or ""): item for item in read(corpus / "sites" / name, structured=False).listings}
        for identity, truth in told.items():
            listing = seen.get(identity, Listing())
            for key in FIELDS:
                score.add(key, getattr(truth, key), getattr(listing, key), f"{name}#{identity}")
    return score


def rates(score: Score) -> dict[str, tuple[float, float]]:
    """Field → precision and recall."""
    out: dict[str, tuple[float, float]] = {}
    for name in sorted({*score.right, *score.wrong, *score.missing}):
        right, wrong, missing = score.right[name], score.wrong[name], score.missing[name]
        out[name] = (
            right / (right + wrong) if right + wrong else 1.0,
            right / (right + missing) if right + missing else 1.0,
        )
    return out


def main(corpus: Path) -> None:
    """Print every score."""
    for title, score in (
        ("cards by facts, with structured data", score_cards(corpus, structured=True)),
        ("cards by facts, by sight", score_cards(corpus, structured=False)),
        ("by sight beside structured data", score_by_sight(corpus)),
    ):
        print(f"== {title}")
        for name, (precision, recall) in rates(score).items():
            print(f"  {name:16} precision {precision:.4f} recall {recall:.4f}")
        print(*score.misses[:12], sep="\n  ")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CORPUS)
