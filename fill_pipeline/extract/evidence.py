"""Collecting what the layers of a page say, and merging it into one listing by confidence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

from fill_pipeline.extract.listing import Evidence, Layer, Listing

# Confidence, value, evidence, and the words it was read from.
Offer = tuple[float, Any, Evidence, str | None]
# A listing with all of these needs no further layer.
CORE_FIELDS = ("title", "year", "make", "model", "price", "mileage", "vin", "images")


@dataclass(slots=True)
class FieldExplanation:
    """One value that one layer offered for one field, and whether it was taken."""

    field: str
    layer: Layer
    locator: str
    value: Any
    confidence: float
    won: bool


@lru_cache(maxsize=8192)
def evidence_of(layer: Layer, locator: str, confidence: float) -> Evidence:
    """Evidence as a listing keeps it: pages of one source give the same again and again."""
    return Evidence(layer, locator, round(confidence, 3))


class Reading:
    """What the layers said about one vehicle: per field the most confident value, ties to the first.

    With ``keep_all`` every offer is kept for an explanation, with ``only`` every one for these fields, and no other
    field is asked for.
    """

    __slots__ = ("_all", "_best", "_notes", "_only", "aliases", "payload")

    def __init__(self, keep_all: bool = False, only: frozenset[str] | None = None) -> None:
        self._only = only
        self._best: dict[str, Offer] = {}
        self._all: list[tuple[str, Layer, str, Any, float]] | None = [] if keep_all or only is not None else None
        self._notes: dict[str, str] = {}
        self.payload: dict[str, Any] | None = None
        self.aliases: set[tuple[str, str]] = set()  # what other readings of the same vehicle are known by

    def offer(
        self, field: str, value: Any, layer: Layer, locator: str, confidence: float, raw: str | None = None
    ) -> None:
        """Put a value forward; ``raw`` is the words it was read from."""
        if not value and (value is None or value == "" or value == []):
            return
        if self._all is not None:
            self._all.append((field, layer, locator, value, confidence))
        held = self._best.get(field)
        if held is None or confidence > held[0]:
            self._best[field] = (confidence, value, evidence_of(layer, locator, confidence), raw)

    def put(self, field: str, offer: Offer) -> None:
        """Put a value forward that is kept ready, if its field is asked for."""
        if self._all is not None:
            if self._only is not None and field not in self._only:
                return
            confidence, value, evidence, _ = offer
            self._all.append((field, evidence.layer, evidence.locator, value, confidence))
        held = self._best.setdefault(field, offer)
        if held is not offer and offer[0] > held[0]:
            self._best[field] = offer

    def note(self, field: str, words: str) -> None:
        """Keep the words that a page has in place of a value ("Call for price")."""
        self._notes.setdefault(field, words)

    @property
    def explains(self) -> bool:
        """Whether every offer is kept, the losing ones too."""
        return self._all is not None

    def is_open(self, field: str, confidence: float) -> bool:
        """Whether an offer of this confidence would count: one that cannot need not be read."""
        held = self._best.get(field)
        if held is not None and confidence <= held[0] and self._all is None:
            return False
        return self._only is None or field in self._only

    def value(self, field: str) -> Any:
        """The value that leads for a field, or None."""
        held = self._best.get(field)
        return held[1] if held else None

    def confidence(self, field: str) -> float:
        """The confidence of the leading value, 0 where there is none."""
        held = self._best.get(field)
        return held[0] if held else 0.0

    def locator(self, field: str) -> str:
        """Where the leading value was read, "" where there is none."""
        held = self._best.get(field)
        return held[2].locator if held else ""

    def raw(self, field: str) -> str | None:
        """The words behind the leading value."""
        held = self._best.get(field)
        return held[3] if held else None

    def has(self, *fields: str) -> bool:
        """Whether every one of the fields has a value."""
        best = self._best
        for field in fields:  # noqa: SIM110  # takes a third of the time of all()
            if field not in best:
                return False
        return True

    def has_all(self, fields: frozenset[str]) -> bool:
        """``has`` for many fields."""
        return self._best.keys() >= fields

    def count(self, *fields: str) -> int:
        """How many of the fields have a value."""
        return sum(field in self._best for field in fields)

    def times_offered(self) -> Counter[str]:
        """How often each field was offered a value; empty unless ``keep_all``."""
        return Counter(offer[0] for offer in self._all or ())

    def drop(self, field: str) -> None:
        """Take a field back: what was read turned out to be something else."""
        self._best.pop(field, None)

    def replace(self, field: str, value: Any, raw: str | None = None) -> None:
        """Put a canonical value in place of the leading one, keeping its evidence and its words."""
        confidence, old, evidence, words = self._best[field]
        if words is None:
            words = raw if raw is not None else (str(old) if old != value else None)
        self._best[field] = (confidence, value, evidence, words)

    def absorb(self, other: Reading, discount: float = 1.0) -> None:
        """Take over what another reading of the same vehicle offers."""
        for field, (confidence, value, evidence, raw) in other._best.items():
            self.offer(field, value, evidence.layer, evidence.locator, confidence * discount, raw)
        if self.payload is None:
            self.payload = other.payload

    def listing(self) -> Listing:
        """The merged listing with its provenance."""
        best = self._best
        _, values, evidence, raws = zip(*best.values(), strict=True) if best else ((), (), (), ())
        words = {field: note[:200] for field, note in self._notes.items() if field not in best}
        for field, raw in filter(itemgetter(1), zip(best, raws, strict=True)):
            words[field] = raw[:200]
        found = dict(zip(best, values, strict=True))
        provenance = dict(zip(best, evidence, strict=True))
        return Listing(**found, raw=words, raw_payload=self.payload, provenance=provenance)

    def explanations(self) -> list[FieldExplanation]:
        """Every offer, field by field, winners first; empty unless ``keep_all``."""
        out: list[FieldExplanation] = []
        for field, layer, locator, value, confidence in self._all or ():
            held = self._best.get(field)
            won = held is not None and (held[0], held[2].layer, held[2].locator) == (confidence, layer, locator)
            out.append(FieldExplanation(field, layer, locator, value, confidence, won))
        out.sort(key=lambda e: (e.field, not e.won, -e.confidence))
        return out
