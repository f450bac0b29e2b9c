"""What is known of a page: the values we hold of its listing, as far as the page itself still states them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fill_pipeline.db.improvement import KnownListing
from fill_pipeline.drain.page import RawPage, Reading
from fill_pipeline.drain.read import read_page
from fill_pipeline.extract.listing import Layer, Listing
from fill_pipeline.extract.page import extract_page

FIELDS = (
    "vin", "year", "make", "model", "trim", "price", "mileage", "body_style", "engine", "fuel_type", "transmission",
    "drivetrain", "exterior_color", "interior_color", "doors",
)  # fmt: skip
"""The fields a repair is measured by: those that name or describe a vehicle and stand on its page."""
STABLE = frozenset(FIELDS) - {"price", "mileage"}
TELLING = ("price", "mileage", "vin")
"""What tells one car from another, and what varies most."""
NUMBERS = frozenset(("year", "price", "mileage", "doors"))
_STATED = (Layer.STRUCTURED, Layer.STATE, Layer.LABELS)
_STRUCK = re.compile(
    r"<(s|del|strike)\b[^>]{0,300}>.{0,200}?</\1\s*>|"
    r"<(\w+)\b[^>]{0,300}\b(?:class|style)=[\"'][^\"'>]{0,200}(?:\bwas\b|\bold\b|strike|line-through|previous|original)"
    r"[^>]{0,300}>[^<]{0,80}</\2\s*>",
    re.I | re.S,
)
_TAG = re.compile(r"<[^>]{0,2000}>")


@dataclass(slots=True)
class Witness:
    """A page whose content is known: what it must give."""

    url: str
    body: bytes
    content_type: str
    truth: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Score:
    """How readings compare with what is known: counts over pages and fields."""

    right: int = 0
    wrong: int = 0
    missing: int = 0
    by_field: dict[str, list[int]] = field(default_factory=dict)
    misread: set[tuple[str, str, str]] = field(default_factory=set)
    """Page, field and value of what was read wrongly."""

    def compare(self, url: str, name: str, got: Any, value: Any) -> None:
        """Count what a page gave of a field beside what it must give."""
        if got is None or same(name, got, value):
            self.note(name, 2 if got is None else 0)
        else:
            self.note(name, 1)
            self.misread.add((url, name, str(got)))

    def note(self, name: str, outcome: int) -> None:
        """Count one comparison: 0 right, 1 wrong, 2 missing."""
        self.by_field.setdefault(name, [0, 0, 0])[outcome] += 1
        if outcome == 0:
            self.right += 1
        elif outcome == 1:
            self.wrong += 1
        else:
            self.missing += 1

    @property
    def compared(self) -> int:
        """How many values could be compared."""
        return self.right + self.wrong + self.missing

    @property
    def precision(self) -> float:
        """Right among those read; 1 where nothing was read."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    def precision_beside(self, before: Score) -> float:
        """Right among those read, where rules answer for what they change: what was misread just so before is no sign
        against them."""
        wrong = len(self.misread - before.misread)
        return self.right / (self.right + wrong) if self.right + wrong else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where nothing is right."""
        return 2 * self.right / (2 * self.right + 2 * self.wrong + self.missing) if self.right else 0.0

    def weak_fields(self) -> list[str]:
        """Fields that were misread or missed at least once."""
        return [name for name, (_, wrong, missing) in self.by_field.items() if wrong or missing]


def witness(page_url: str, body: bytes, content_type: str, known: KnownListing, *, now: datetime) -> Witness:
    """A page with what it must give: known values it states, none that its own structured statements deny."""
    text = _text(body)
    found = Witness(page_url, body, content_type)
    if not _is_about(text, known):
        return found
    generic = read(found, None, now=now)
    for name in FIELDS:
        value = known.values.get(name)
        before = known.before.get(name)
        if before is not None and generic is not None and before == getattr(generic, name):
            value = before  # what was read before is still what the page says: what we hold now was misread
        if value is None:  # it could be read once, and no longer; or it can be read where else this vehicle stands
            value = before if before is not None else known.elsewhere.get(name)
        if value is None or not _states(text, name, value, known.raw.get(name)):
            continue
        if generic is not None:
            other, evidence = getattr(generic, name), generic.provenance.get(name)
            stated = evidence is not None and evidence.layer in _STATED
            if other is not None and stated and not same(name, other, value):
                continue
        found.truth[name] = value
    return found


def read(page: Witness, reading: Reading | None, *, now: datetime) -> Listing | None:
    """The page's listing as the drain would store it, or None where it gives none; no reading means no rules."""
    raw = RawPage.unkept(page.url, page.body, page.content_type, now=now)
    rows = read_page(raw, reading or Reading("", None, 0.0, ()), now=now).rows
    return rows[0].listing if len(rows) == 1 else None


def is_listing(page: Witness) -> bool:
    """Whether a page reads, without any rules, as one vehicle with a price, a mileage or a VIN."""
    found = extract_page(page.body, url=page.url, content_type=page.content_type, kind="detail").listings
    return len(found) == 1 and found[0].make is not None and any((found[0].price, found[0].mileage, found[0].vin))


def score(pages: Iterable[Witness], reading: Reading, *, now: datetime) -> Score:
    """How well a reading gives what is known of the pages."""
    total = Score()
    for page in pages:
        listing = read(page, reading, now=now)
        for name, value in page.truth.items():
            got = getattr(listing, name) if listing is not None else None
            total.compare(page.url, name, got, value)
    return total


def same(name: str, one: Any, other: Any) -> bool:
    """Whether two values of a field mean the same."""
    if name in NUMBERS:
        return bool(one == other)
    return _plain(str(one)) == _plain(str(other))


def split(pages: Sequence[Witness], first: Sequence[str] = ()) -> tuple[list[Witness], list[Witness]]:
    """Pages to learn from and pages to prove on, alternately, those that say most (of some fields) first."""
    ordered = sorted(pages, key=lambda page: (-sum(name in page.truth for name in first), -len(page.truth)))
    return ordered[::2], ordered[1::2]


def _is_about(text: str, known: KnownListing) -> bool:
    """Whether a page is about this listing at all: it names the VIN, the title, or both price and mileage."""
    stated = {
        name
        for name in ("vin", "title", "price", "mileage")
        if (value := known.values.get(name)) is not None and _states(text, name, value, known.raw.get(name))
    }
    return bool(stated & {"vin", "title"}) or {"price", "mileage"} <= stated


def _states(text: str, name: str, value: Any, raw: str | None) -> bool:
    """Whether a page's text holds a value: a number with any grouping, or words as the page once wrote them."""
    if name in NUMBERS:
        digits = str(value)
        grouped = r"[.,' \u00a0\u202f]?".join(reversed([digits[max(0, i - 3) : i] for i in range(len(digits), 0, -3)]))
        return re.search(rf"(?<![\d.,]){grouped}(?!\d|[.,]\d{{3}})", text) is not None
    return any(_plain(words) in _plain(text) for words in (str(value), raw) if words)


def _text(body: bytes) -> str:
    """The words of a page, without what is struck out: a price that was is not the price."""
    return _TAG.sub(" ", _STRUCK.sub(" ", body[:4_000_000].decode("utf-8", errors="replace")))


def _plain(text: str) -> str:
    return re.sub(r"[^0-9a-zà-ÿ]+", "", text.casefold())
