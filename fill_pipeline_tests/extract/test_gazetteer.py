"""Titles give year, make and model; names are known however they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.extract.gazetteer import (
    canonical_make,
    canonical_model,
    find_make_model,
    fold,
    known_makes,
    models_of,
    page_spelling,
)


@pytest.mark.parametrize(
    ("title", "year", "make", "model"),
    [
        ("Used 2018 Audi Q3 quattro 2.0T Premium", 2018, "Audi", "Q3"),
        ("1968 CAMARO", 1968, "Chevrolet", "Camaro"),
        ("1957 T-BIRD", 1957, "Ford", "Thunderbird"),
        ("14k-Mile 2005 Ford Thunderbird", 2005, "Ford", "Thunderbird"),
        ("2024 Porsche 911 GT3 RS Weissach", 2024, "Porsche", "911 GT3 RS"),
        ("BMW i4 eDrive40", None, "BMW", "i4"),
        ("1973 Austin MINI", 1973, "Austin", "MINI"),
        ("2010 MINI Cooper", 2010, "MINI", "Cooper"),
        ("1972_Bristol_411", 1972, "Bristol", "411"),
        ("2019 Land Rover Range Rover Sport HSE", 2019, "Land Rover", "Range Rover Sport"),
        ("'65 Mustang fastback", 1965, "Ford", "Mustang"),
        ("1969 MGC Roadster with Overdrive", 1969, "MG", "MGC"),
        ("2016 Mazda Mazda3 i Touring", 2016, "Mazda", "Mazda3"),
        ("2001 Chevrolet S 10 LS", 2001, "Chevrolet", "S10"),
    ],
)
def test_a_title_gives_year_make_and_model(title: str, year: int | None, make: str, model: str) -> None:
    found = find_make_model(title)
    assert found is not None
    assert (found.year, found.make) == (year, make)
    assert fold(found.model or "") in (fold(model), fold(model.removeprefix("MG")))


@pytest.mark.parametrize("words", ["My smart child seat", "a genesis of standard ideas", "Blue sofa, $200", ""])
def test_everyday_words_are_no_makes(words: str) -> None:
    assert find_make_model(words) is None


def test_the_trim_is_what_follows_the_model() -> None:
    found = find_make_model("Certified 2012 Ford F250 XLT Super Duty")
    assert found is not None
    assert (found.model_words, found.rest, found.before) == ("F250", "XLT Super Duty", "Certified")


def test_aliases_and_spellings_are_one_name() -> None:
    assert canonical_make("VW") == canonical_make("volkswagen") == "Volkswagen"
    assert canonical_make("MERCEDES BENZ") == canonical_make("Mercedes") == "Mercedes-Benz"
    assert canonical_model("Ford", "f150") == canonical_model("ford", "F 150") == canonical_model("Ford", "F-150")
    assert canonical_make("Zorblax") is None
    assert canonical_model("Ford", "Zorblax") is None


def test_the_pages_spelling_of_a_model_stays_where_only_punctuation_differs() -> None:
    assert page_spelling("F250", "F-250") == "F250"
    assert page_spelling("CAMRY", "Camry") == "Camry"
    assert page_spelling("f250", "F-250") == "F-250"


def test_every_known_name_is_found_behind_its_own_make() -> None:
    missed = [
        f"2005 {make} {model}"
        for make in known_makes()
        for model in models_of(make)
        if (found := find_make_model(f"2005 {make} {model}")) is None or found.make != make
    ]
    assert missed == []


@given(st.text(max_size=120))
def test_no_title_makes_the_search_raise(title: str) -> None:
    found = find_make_model(title)
    assert found is None or found.make in known_makes()
