"""VINs: what kind they are, what they say, and what that costs."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fill_pipeline.extract.listing import Listing
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.vin import VinStatus, decode, decoder_memory, same_make, same_value, vin_status


@pytest.mark.parametrize(
    ("vin", "year", "status"),
    [
        ("1HGCV1F30KA000018", 2019, VinStatus.VALID),
        ("1HGCV1F39KA000018", 2019, VinStatus.INVALID),
        ("WVWZZZ1KZ8W123450", 2008, VinStatus.EUROPEAN),
        ("9F02C123450", 1969, VinStatus.CLASSIC),
        ("9F02C123450", 2009, VinStatus.INVALID),
        ("9F02C123450", None, VinStatus.INVALID),
        ("11111111111111111", None, VinStatus.PLACEHOLDER),
        ("1M8GDM9AXKP042788", None, VinStatus.PLACEHOLDER),
        ("1HGCM82633A123456", None, VinStatus.PLACEHOLDER),
    ],
)
def test_each_kind_of_vin_is_told_apart(vin: str, year: int | None, status: VinStatus) -> None:
    assert vin_status(vin, year) is status


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"country": "DE", "year": 2008}, True),
        ({"country": "US", "year": 2008}, False),
        ({"currency": "USD", "year": 2008}, False),
        ({"country": "US", "year": 1989}, True),  # a private import
    ],
)
def test_a_car_built_for_north_america_must_have_a_check_digit(fields: dict[str, Any], kept: bool) -> None:
    now = datetime(2025, 6, 1, tzinfo=UTC)
    result = clean(Listing(vin="WVWZZZ1KZ8W123450", price=9_000, **fields), now=now)
    assert (result.listing.vin is not None) == kept
    assert ("vin" in result.quarantine) != kept


def test_only_a_perfect_vin_is_decoded() -> None:
    assert decode("1HGCV1F39KA000018") is None, "wrong check digit"
    assert decode("WVWZZZ1KZ8W123450") is None, "European"
    assert decode("9F02C123450") is None, "too short"
    assert decode("11111111111111111") is None, "no maker has that code"
    facts = decode("1HGCV1F30KA000018")
    assert facts is not None
    assert (facts.year, facts.make, facts.model, facts.body_style) == (2019, "Honda", "Accord", "sedan")


def test_vins_of_one_descriptor_cost_one_decoding() -> None:
    assert decode("1HGCV1F30KA000018") is decode("1HGCV1F32KA000019")
    assert decoder_memory().kept <= decoder_memory().most


def test_real_vins_decode_to_what_their_sites_say(corpus: Path) -> None:
    with (corpus / "reference" / "vin_truth_1000.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::4]
    facts = [(row, decode(row["vin"])) for row in rows]
    decoded = [(row, f) for row, f in facts if f is not None]
    assert len(decoded) >= 0.99 * len(rows)
    assert sum(f.year == int(row["year"]) for row, f in decoded) >= 0.995 * len(decoded)
    assert sum(same_make(f.make or "", row["make"]) for row, f in decoded) >= 0.995 * len(decoded)
    assert sum(same_value("model", f.model or "", row["model"]) for row, f in decoded) >= 0.97 * len(decoded)
