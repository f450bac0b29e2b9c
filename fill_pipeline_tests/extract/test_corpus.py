"""Real pages of sites the code does not know give what a person reads off them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fill_pipeline.extract.page import PageKind
from fill_pipeline_tests.extract.scoring import (
    AUDITED,
    AUTOTRADER_FIELDS,
    audit_details,
    facts,
    read,
    score_autotrader,
    score_details,
    score_swde,
    searches_short,
)

_PAGES = [
    "Audi__audi_sq8___audi_sq8_2016-2021.html",
    "Ford__ford_f250___ford_f250_2006-2010.html",
    "Honda__honda_s2000___honda_s2000_2000-2005.html",
]


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("kind", ["auto", "detail"])
def test_detail_pages_give_what_a_person_reads(corpus: Path, structured: bool, kind: str) -> None:
    assert score_details(corpus, structured=structured, kind=kind).misses == []


def test_structured_search_pages_are_nearly_exact(corpus: Path) -> None:
    score = score_autotrader(corpus, structured=True, pages=_PAGES)
    assert {name: score.f1(name) for name in AUTOTRADER_FIELDS if score.f1(name) < 0.995} == {}


def test_search_pages_read_by_sight_are_nearly_exact(corpus: Path) -> None:
    score = score_autotrader(corpus, structured=False, pages=_PAGES)
    assert {name: score.f1(name) for name in AUTOTRADER_FIELDS[1:] if score.f1(name) < 0.97} == {}


@pytest.mark.parametrize("structured", [True, False])
def test_model_pages_of_2010_are_read_without_configuration(corpus: Path, structured: bool) -> None:
    score = score_swde(corpus, structured=structured)
    assert all(score.f1(name) >= 0.95 for name in ("model", "price", "fuel_economy")), score.misses


@pytest.mark.parametrize("structured", [True, False])
def test_search_pages_give_their_cards(corpus: Path, structured: bool) -> None:
    assert searches_short(corpus, structured=structured) == []


def test_pages_without_a_vehicle_say_why(corpus: Path) -> None:
    for name in facts()["no_vehicle"]:
        result = read(corpus / "sites" / name)
        assert result.listings == [], name
        assert result.reason, name


def test_every_search_page_is_told_from_a_detail_page(corpus: Path) -> None:
    wrong = [name for name in facts()["search"] if read(corpus / "sites" / name).kind is not PageKind.SEARCH]
    assert wrong == []


@pytest.mark.parametrize(("structured", "recall"), [(True, 0.95), (False, 0.9)])
def test_every_field_of_a_detail_page_is_right_or_absent(corpus: Path, structured: bool, recall: float) -> None:
    audit = audit_details(corpus, structured=structured)
    assert {name: audit.precision(name) for name in AUDITED if audit.precision(name) < 0.95} == {}, audit.misses
    said = sum(audit.right.values()) + sum(audit.missing.values())
    assert sum(audit.right.values()) / said >= recall, audit.misses
