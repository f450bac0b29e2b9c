"""Canonical terms, whatever the site and its language; the site's words are kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.extract.listing import Listing
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.normalise import normalise, unknown_terms
from fill_pipeline.vehicles.text import clean_text

Make = Callable[..., Listing]


@pytest.mark.parametrize(
    ("field", "words", "term"),
    [
        ("body_style", "Sport Utility", "suv"),
        ("body_style", "SUV/Geländewagen/Pickup", "suv"),
        ("body_style", "Limousine", "sedan"),
        ("body_style", "Stationwagen", "wagon"),
        ("body_style", "Crew Cab Pickup", "pickup"),
        ("body_style", "Coupé", "coupe"),
        ("fuel_type", "Benzin", "gasoline"),
        ("fuel_type", "Essence", "gasoline"),
        ("fuel_type", "Gas/Electric Hybrid", "hybrid"),
        ("fuel_type", "Plug-in Hybrid (Benzin/Elektro)", "plug_in_hybrid"),
        ("fuel_type", "Elektrisch", "electric"),
        ("transmission", "8-Speed Automatic w/OD", "automatic"),
        ("transmission", "Schaltgetriebe", "manual"),
        ("transmission", "Handgeschakeld", "manual"),
        ("transmission", "7-Speed Dual-Clutch", "dual_clutch"),
        ("drivetrain", "All-wheel drive (AWD)", "awd"),
        ("drivetrain", "4 x 4", "4wd"),
        ("drivetrain", "Vorderradantrieb", "fwd"),
        ("exterior_color", "Deep Crystal Blue Mica", "blue"),
        ("exterior_color", "Grün metallic", "green"),
        ("exterior_color", "noir", "black"),
        ("condition", ["https://schema.org", "UsedCondition"][-1], "used"),
        ("country", "Deutschland", "DE"),
        ("fuel_type", "Gasóleo", "diesel"),
        ("fuel_type", "Elettrica/Benzina", "hybrid"),
        ("fuel_type", "Benzyna+LPG", "lpg"),
        ("fuel_type", "Laddhybrid", "plug_in_hybrid"),
        ("transmission", "Manuale", "manual"),
        ("drivetrain", "Na przednie koła", "fwd"),
        ("drivetrain", "Fyrhjulsdriven", "awd"),
        ("body_style", "Halvkombi", "hatchback"),
        ("body_style", "Monovolumen", "minivan"),
        ("exterior_color", "BIAŁY PERŁOWY", "white"),
        ("exterior_color", "Röd metallic", "red"),
        ("condition", "Begagnad", "used"),
        ("condition", "Usato", "used"),
    ],
)
def test_words_become_the_canonical_term_and_are_kept(listing: Make, field: str, words: str, term: str) -> None:
    result = normalise(listing(**{field: words}))
    assert getattr(result, field) == term
    assert result.raw[field] == words


def test_an_unknown_term_stays_unknown_and_can_be_counted(listing: Make) -> None:
    result = normalise(listing(exterior_color="Urban Rock", transmission="Other"))
    assert result.exterior_color is None
    assert result.raw["exterior_color"] == "Urban Rock"
    assert unknown_terms(result) == ["exterior_color"], "a word that says nothing is no unknown term"


def test_makes_models_and_regions_get_their_usual_names(listing: Make) -> None:
    result = normalise(listing(make="vw", model="golf", region="Ontario", country="Canada"))
    assert (result.make, result.model, result.region, result.country) == ("Volkswagen", "Golf", "ON", "CA")
    assert result.raw["region"] == "Ontario"


def test_an_unknown_make_is_kept_as_written(listing: Make) -> None:
    assert normalise(listing(make="Zorblax Motors", model="X9")).make == "Zorblax Motors"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Caf&eacute; &amp;amp; Co", "Café & Co"),
        ("CoupÃ© 2.0", "Coupé 2.0"),
        ("8-cylinder â€“ clean", "8-cylinder – clean"),
        ("a\x00b\ufeff c", "a b c"),
        ("\U0001f525 HOT \U0001f697 deal", "HOT deal"),
        ("Škoda Octavia", "Škoda Octavia"),
        (" \t\n", None),
    ],
)
def test_text_is_mended(text: str, expected: str | None) -> None:
    assert clean_text(text, 100) == expected


def test_the_unit_and_currency_of_the_country_are_used_only_where_none_is_stated(listing: Make) -> None:
    german = normalise(listing(country="DE", currency=None, mileage_unit=None))
    assert (german.currency, german.mileage_unit) == ("EUR", "km")
    stated = normalise(listing(country="DE", currency="$", mileage_unit="Miles"))
    assert (stated.currency, stated.mileage_unit) == ("USD", "mi")
    assert normalise(listing(country="CA", currency="$")).currency == "CAD"
    assert normalise(listing(country=None, currency=None)).currency is None


_TEXT = st.one_of(st.none(), st.text(max_size=40), st.sampled_from(["Ã\x82Â£", "&#0;", "\ud800", "&amp;" * 9]))


@given(
    st.fixed_dictionaries(
        dict.fromkeys(("title", "make", "model", "trim", "vin", "body_style", "exterior_color", "region"), _TEXT)
        | dict.fromkeys(("country", "currency", "mileage_unit", "description", "fuel_type", "condition"), _TEXT)
        | {
            "price": st.one_of(st.none(), st.integers(-10, 10**12)),
            "mileage": st.one_of(st.none(), st.integers(-10, 10**12)),
            "year": st.one_of(st.none(), st.integers(-5, 99_999)),
            "raw": st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4),
            "raw_payload": st.one_of(
                st.none(), st.dictionaries(st.text(max_size=5), st.floats() | st.text(), max_size=3)
            ),
            "images": st.lists(st.text(max_size=12), max_size=4),
        }
    )
)
def test_whatever_a_page_says_comes_out_storable_and_stable(fields: dict[str, object]) -> None:
    now = datetime(2025, 6, 1, tzinfo=UTC)
    once = clean(Listing(**fields), now=now).listing  # type: ignore[arg-type]
    stored = msgspec.json.encode(once).decode()  # fails on what JSON or UTF-8 cannot hold
    assert "\\u0000" not in stored
    again = clean(once, now=now).listing
    for name in ("make", "model", "body_style", "fuel_type", "price", "mileage", "year", "vin", "currency", "title"):
        assert getattr(again, name) == getattr(once, name), name
