"""Sources that are read from their index alone: a card whose content is known is a witness, as a page is elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from fill_pipeline.crawl.choices import DetailPolicy
from fill_pipeline.crawl.urls import canonical_url
from fill_pipeline.db.archive import ArchivedKind
from fill_pipeline.db.improvement import KnownListing
from fill_pipeline.db.ledger import FieldFall
from fill_pipeline.drain.page import RawPage, Reading
from fill_pipeline.drain.read import read_cards
from fill_pipeline.drain.work import Source
from fill_pipeline.extract.cards import find_cards
from fill_pipeline.extract.charset import decode_body, looks_like_json, strip_json_prefix
from fill_pipeline.extract.dom import parse
from fill_pipeline.extract.evidence import Reading as FieldReading
from fill_pipeline.extract.finish import finish
from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.records import find_record_groups
from fill_pipeline.extract.rules import Rule, apply_paths, search_path
from fill_pipeline.extract.scripts import parse_tolerant
from fill_pipeline.extract.urls import absolute, id_in_url
from fill_pipeline.repair.ask import FreshPage
from fill_pipeline.repair.induce import MIN_VOTES, holds, induce
from fill_pipeline.repair.loss import LACKING_SHARE, LEAST_PAGES
from fill_pipeline.repair.truth import Score, Witness, same, witness
from fill_pipeline.vehicles.normalise import normalise

_VIN = re.compile(r"\b[A-HJ-NPR-Z0-9]{17}\b")
_MAX_PATHS = 200  # of a record
_KEY = re.compile(r"[A-Za-z_]\w*")


@dataclass(slots=True)
class CardWitness(Witness):
    """A card, or a record of JSON, as a page of its own; ``index`` is the page it stands on, ``identity`` how what is
    read from it is known again."""

    index: FreshPage | None = None
    identity: frozenset[tuple[str, str]] = frozenset()
    record: dict[str, Any] | None = None


def is_index_only(source: Source) -> bool:
    """Whether nothing but the source's index is ever read."""
    return source.config.detail is DetailPolicy.NEVER


def card_witnesses(
    pages: Sequence[FreshPage], known: Sequence[KnownListing], reading: Reading, *, now: datetime
) -> list[Witness]:
    """The cards of index pages whose listing is known, with what they must give."""
    listings: dict[tuple[str, str], KnownListing] = {}
    for listing in reversed(known):
        listings.update(dict.fromkeys(_identity(listing.url, listing.remote_id, listing.values.get("vin")), listing))
    found: list[Witness] = []
    for page in pages:
        if page.failure is not None:
            continue
        for body, content_type, names, record in _cards(page, reading):
            matches = [listings[name] for name in names if name in listings]
            if not matches:
                continue
            held = matches[0]
            told = witness(page.final_url, body, content_type, held, now=now)
            identity = _identity(held.url, held.remote_id, held.values.get("vin"))
            found.append(CardWitness(told.url, body, content_type, told.truth, page, frozenset(identity), record))
    return found


def score_cards(pages: Iterable[Witness], reading: Reading, *, now: datetime) -> Score:
    """How well a reading of the index pages gives what is known of their cards."""
    total = Score()
    read: dict[int, dict[tuple[str, str], Listing]] = {}
    for card in pages:
        if not isinstance(card, CardWitness) or card.index is None:
            continue
        index = card.index
        if id(index) not in read:
            read[id(index)] = _by_identity(_listings(index, reading, now))
        listing = next((read[id(index)][name] for name in card.identity if name in read[id(index)]), None)
        for name, value in card.truth.items():
            got = getattr(listing, name) if listing is not None else None
            total.compare(card.url, name, got, value)
    return total


def induce_cards(pages: Sequence[Witness], fields: Sequence[str]) -> dict[str, Rule]:
    """A rule for each of the fields that one could be voted for: a selector inside a card, or a path in a record."""
    records = [page for page in pages if isinstance(page, CardWitness) and page.record is not None]
    if records:
        return {name: rule for name in fields if (rule := _induce_path(records, name)) is not None}
    # By position from the page's top, which a card of its own is not, no rule can be meant.
    return {name: rule for name, rule in induce(pages, fields).items() if not (rule.css or "").startswith("body > ")}


def lacking_on_cards(
    pages: Sequence[FreshPage], lost: Sequence[FieldFall], reading: Reading, *, now: datetime
) -> list[str]:
    """Which of the lost fields a reading does not get from these index pages either."""
    read = [listing for page in pages if page.failure is None for listing in _listings(page, reading, now)]
    if len(read) < LEAST_PAGES:
        return []
    return [
        fall.name
        for fall in lost
        if sum(getattr(one, fall.name) is not None for one in read) < LACKING_SHARE * fall.usually * len(read)
    ]


def _listings(index: FreshPage, reading: Reading, now: datetime) -> list[Listing]:
    """An index page's listings as the drain would store them."""
    raw = RawPage.unkept(index.final_url, index.body, index.content_type, now=now)
    raw.kind = ArchivedKind.INDEX
    return [row.listing for row in read_cards(raw, DetailPolicy.NEVER, reading).rows]


def _by_identity(listings: Iterable[Listing]) -> dict[tuple[str, str], Listing]:
    return {name: one for one in listings for name in _identity(one.url or "", one.remote_id or "", one.vin)}


def _identity(url: str, remote_id: str, vin: str | None) -> list[tuple[str, str]]:
    """By what a listing is known again, the firmest first."""
    names = [("vin", vin)] if vin else []
    with suppress(ValueError):
        names.append(("url", canonical_url(url)))
    return [*names, ("id", remote_id)] if remote_id else names


_Card = tuple[bytes, str, list[tuple[str, str]], dict[str, Any] | None]


def _cards(page: FreshPage, reading: Reading) -> Iterator[_Card]:
    """The cards of a page: each as a page of its own, by what it may be known, and the record it is, if any."""
    text = decode_body(page.body, page.content_type)
    if looks_like_json(text, page.content_type):
        yield from _records(page, text, reading)
        return
    for card in find_cards(parse(text), url=page.final_url, rules=reading.rules):
        markup = "".join(node.html or "" for node in card.nodes)
        url = absolute(page.final_url, card.url) if card.url else None
        names = _identity(url or "", (id_in_url(url) or "") if url else "", None)
        names = [("vin", vin) for vin in _VIN.findall(markup)[:1]] + names
        yield f"<html><body>{markup}</body></html>".encode(), "text/html; charset=utf-8", names, None


def _records(page: FreshPage, text: str, reading: Reading) -> Iterator[_Card]:
    """The records of a JSON index, known by any of their values."""
    data = parse_tolerant(strip_json_prefix(text))
    items = reading.rules.items_path if reading.rules is not None else None
    groups = [records for _, records in find_record_groups(data, "")]
    found = search_path(items, data) if items else max(groups, key=len, default=[])
    for record in found if isinstance(found, list) else ():
        if not isinstance(record, dict):
            continue
        words = [str(value) for _, value in _leaves(record)]
        names = [(kind, word) for word in words for kind in ("vin", "id") if len(word) >= 4]
        names += [("url", url) for word in words if "/" in word and (url := absolute(page.final_url, word))]
        yield orjson.dumps(record, default=str), "application/json", names, record


# ── Paths in records ──


def _induce_path(cards: Sequence[CardWitness], name: str) -> Rule | None:
    known = [card for card in cards if name in card.truth and card.record is not None]
    if len(known) < MIN_VOTES:
        return None
    votes: Counter[str] = Counter()
    for card in known:
        votes.update(
            path for path, _ in _leaves(card.record or {}) if same(name, _at(path, name, card), card.truth[name])
        )
    if len({str(card.truth[name]) for card in known}) < 2:
        return None  # the same value everywhere proves no place
    for path, _ in votes.most_common():
        if holds(name, ((_at(path, name, card), card.truth[name]) for card in known), len(known)):
            return Rule(jmespath=path)
    return None


def _at(path: str, name: str, card: CardWitness) -> Any:
    """What a path gives in a card's record, canonical like everything that is stored."""
    reading = FieldReading()
    apply_paths({name: Rule(jmespath=path)}, card.record, reading, card.url)
    return None if reading.value(name) is None else getattr(normalise(finish(reading, url=card.url)), name)


def _leaves(record: Mapping[str, Any], path: str = "", depth: int = 4) -> list[tuple[str, Any]]:
    """The values of a record that are no records themselves, each with its JMESPath."""
    found: list[tuple[str, Any]] = []
    for key, value in record.items():
        step = key if _KEY.fullmatch(key) else orjson.dumps(key).decode()
        here = f"{path}.{step}" if path else step
        if isinstance(value, dict) and depth:
            found += _leaves(value, here, depth - 1)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            found.append((here, value))
        if len(found) >= _MAX_PATHS:
            break
    return found[:_MAX_PATHS]
