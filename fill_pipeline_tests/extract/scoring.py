"""Scores of the extraction against the corpus: what it reads beside what a person or the site's own data says.

``python -m fill_pipeline_tests.extract.scoring [CORPUS]`` prints every score and what was missed.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fill_pipeline.extract.gazetteer import fold
from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.page import PageResult, extract_page

FACTS = Path(__file__).with_name("corpus_facts.json")
CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
PAGE_URL = "https://www.example.com/cars/page"
# Fields that every detail page's facts are complete for: what has no entry is not said on the page.
AUDITED = (
    "trim", "price_kind", "engine", "fuel_type", "transmission", "drivetrain", "body_style", "exterior_color",
    "interior_color", "doors", "seats", "condition", "place", "city", "region", "postal_code", "country", "seller_name",
    "seller_type", "seller_phone", "status", "images", "description",
)  # fmt: skip
AUTOTRADER_FIELDS = ("vin", "title", "make", "model", "year", "price", "mileage")


@dataclass
class Score:
    """Right, wrong and missing values per field."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    misses: list[str] = field(default_factory=list)

    def add(self, name: str, truth: Any, value: Any, where: str) -> None:
        """Count one field of one vehicle; a truth of None means that the page does not say."""
        if truth is not None and value is not None and same(truth, value):
            self.right[name] += 1
            return
        if truth is None and value is None:
            return
        self.missing[name] += truth is not None
        self.wrong[name] += value is not None
        self.misses.append(f"{where}: {name} is {value!r}, should be {truth!r}")

    def f1(self, name: str) -> float:
        """Harmonic mean of precision and recall."""
        right, wrong, missing = self.right[name], self.wrong[name], self.missing[name]
        return 2 * right / (2 * right + wrong + missing) if right else 0.0

    def precision(self, name: str) -> float:
        """Right values among those given; 1 where none was given."""
        right, wrong = self.right[name], self.wrong[name]
        return right / (right + wrong) if right + wrong else 1.0

    def recall(self, name: str) -> float:
        """Right values among those that the pages say; 1 where none says any."""
        right, missing = self.right[name], self.missing[name]
        return right / (right + missing) if right + missing else 1.0

    def accuracy(self) -> float:
        """Right values among all that were asked for."""
        right = sum(self.right.values())
        return right / max(1, right + len(self.misses))


def same(truth: Any, value: Any) -> bool:
    """Equality as a person sees it: numbers exactly, words without case and punctuation; any of a list of truths."""
    if isinstance(truth, list):
        return any(same(item, value) for item in truth)
    if isinstance(truth, str) and isinstance(value, str):
        return fold(truth) == fold(value)
    return bool(truth == value)


def read(path: Path, **options: Any) -> PageResult:
    """The extraction of one gzipped page."""
    return extract_page(gzip.decompress(path.read_bytes()), url=options.pop("url", PAGE_URL), **options)


def facts() -> dict[str, Any]:
    """The facts read off the corpus's pages."""
    loaded: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8"))
    return loaded


def score_details(corpus: Path, *, structured: bool, kind: str = "auto") -> Score:
    """Every detail page against its facts; without structured data only what stands on the page is asked for."""
    score = Score()
    for name, truth in facts()["detail"].items():
        if not structured and name.endswith(".json.gz"):
            continue
        result = read(corpus / "sites" / name, structured=structured, kind=kind)
        listing = result.listings[0] if result.listings else Listing()
        for key, value in _asked(truth, structured):
            if key not in AUDITED:
                score.add(key, value, getattr(listing, key), name)
    return score


def _asked(truth: dict[str, Any], structured: bool) -> Iterator[tuple[str, Any]]:
    yield from ((key, value) for key, value in truth.items() if key != "unseen")
    if structured:
        yield from truth.get("unseen", {}).items()


def audit_details(corpus: Path, *, structured: bool) -> Score:
    """Every audited field of every detail page, also those that the page does not say."""
    score = Score()
    for name, truth in facts()["detail"].items():
        if not structured and name.endswith(".json.gz"):
            continue
        result = read(corpus / "sites" / name, structured=structured)
        listing = result.listings[0] if result.listings else Listing()
        said = dict(_asked(truth, structured))
        hidden = set() if structured else set(truth.get("unseen", {})) - set(said)
        for key in AUDITED:
            wanted, got = said.get(key), getattr(listing, key)
            if key == "images":
                wanted, got = wanted or None, bool(got) or None
            elif key == "description" and isinstance(wanted, str) and got is not None:
                wanted, got = (got, got) if wanted in got else (wanted, got[:60])
            if key not in hidden or got is not None:
                score.add(key, wanted, got, name)
    return score


def autotrader_truth(corpus: Path) -> dict[str, list[dict[str, Any]]]:
    """Per page the records of the site's own data, in page order."""
    pages: dict[str, list[dict[str, Any]]] = {}
    truth = gzip.decompress((corpus / "sites/autotrader-us/truth.jsonl.gz").read_bytes())
    for line in truth.splitlines():
        entry = json.loads(line)
        pages.setdefault(entry["page"], []).append(_autotrader_facts(entry["record"]))
    return pages


def _autotrader_facts(record: dict[str, Any]) -> dict[str, Any]:
    digits = re.sub(r"\D", "", str(record.get("mileageFromOdometer", {}).get("value") or ""))
    price = record["offers"].get("price")
    return {
        "id": str(record["sku"]),
        "vin": record.get("vehicleIdentificationNumber"),
        "title": record["name"],
        "make": record["brand"]["name"],
        "model": record["model"],
        "year": record["productionDate"],
        "price": int(price) if price else None,
        "mileage": int(digits) if digits else None,
    }


def score_autotrader(corpus: Path, *, structured: bool, pages: Iterable[str] | None = None) -> Score:
    """Search pages against the site's own data, matched by the id in each card's link."""
    score = Score()
    truth = autotrader_truth(corpus)
    for page in pages if pages is not None else sorted(truth):
        path = corpus / "sites/autotrader-us" / f"{page}.gz"
        result = read(path, url="https://www.autotrader.com/cars-for-sale/search", structured=structured, kind="search")
        found: dict[str, Listing] = {}
        for listing in result.listings:
            identity = re.search(r"listingId=(\d+)", listing.url or "")
            found.setdefault(identity[1] if identity else str(listing.remote_id), listing)
        expected = {facts["id"]: facts for facts in truth[page]}
        for identity_, wanted in expected.items():
            got = found.get(identity_, Listing())
            for key in AUTOTRADER_FIELDS:
                score.add(key, wanted[key], getattr(got, key), f"{page}#{identity_}")
    return score


def score_swde(corpus: Path, *, structured: bool) -> Score:
    """SWDE's ``auto`` pages against its ground truth, with no configuration."""
    folder = corpus / "sites/swde-aol"
    truth: dict[str, dict[str, str]] = {}
    for key in ("model", "price", "fuel_economy"):
        lines = (folder / f"groundtruth/auto-aol-{key}.txt").read_text(encoding="utf-8-sig").splitlines()[2:]
        for page, _, value, *_ in (line.split("\t") for line in lines):
            truth.setdefault(page, {})[key] = value
    score = Score()
    for path in sorted(folder.glob("*.htm.gz")):
        page = path.name.partition(".")[0]
        result = read(path, structured=structured, kind="detail")
        got = result.listings[0] if result.listings else Listing()
        score.add("model", truth[page]["model"], f"{got.year} {got.make} {got.model}", page)
        score.add("price", int(re.sub(r"\D", "", truth[page]["price"])), got.price, page)
        score.add("fuel_economy", truth[page]["fuel_economy"], got.fuel_economy, page)
    return score


def searches_short(corpus: Path, *, structured: bool) -> list[str]:
    """Search pages that give fewer listings, or less complete ones, than a person sees on them."""
    short: list[str] = []
    for name, wanted in facts()["search"].items():
        if not structured and name.endswith(".json.gz"):
            continue
        result = read(corpus / "sites" / name, structured=structured, kind="search")
        full = sum(all(getattr(item, key) not in (None, []) for key in wanted["complete"]) for item in result.listings)
        if len(result.listings) < wanted["least"] or full < min(wanted["least"], 0.9 * len(result.listings)):
            short.append(f"{name}: {len(result.listings)} listings, {full} complete; wanted {wanted['least']}")
    return short


def main(corpus: Path) -> None:
    """Print every score."""
    for structured in (True, False):
        print(f"== {'with' if structured else 'without'} structured data")
        details = score_details(corpus, structured=structured)
        print(
            f"detail pages: {sum(details.right.values())} right, accuracy {details.accuracy():.4f}",
            *details.misses[:20],
            sep="\n  ",
        )
        audit = audit_details(corpus, structured=structured)
        print("audited fields of detail pages: precision, recall (right, wrong, missing)")
        for key in AUDITED:
            counts = (audit.right[key], audit.wrong[key], audit.missing[key])
            print(f"  {key:15} {audit.precision(key):.3f} {audit.recall(key):.3f} {counts}")
        print(*audit.misses, sep="\n  ")
        swde = score_swde(corpus, structured=structured)
        print("swde-aol F1:", {name: round(swde.f1(name), 4) for name in ("model", "price", "fuel_economy")})
        print("search pages short of their facts:", searches_short(corpus, structured=structured) or "none")
        cars = score_autotrader(corpus, structured=structured)
        names = AUTOTRADER_FIELDS if structured else AUTOTRADER_FIELDS[1:]
        print("autotrader-us F1:", {name: round(cars.f1(name), 4) for name in names})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CORPUS)
