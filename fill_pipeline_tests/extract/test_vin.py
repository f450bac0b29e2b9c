"""VINs are checked where the rules demand it, and kept and marked where they do not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.extract.vin import VinKind, check_digit, classify_vin, find_labelled_vin, find_vins

_ALPHABET = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"


def test_the_check_digit_of_the_regulation_s_example() -> None:
    assert check_digit("1M8GDM9AXKP042788") == "X"
    assert check_digit("11111111111111111") == "1"
    assert check_digit("1M8GDM9AXKP04278O") is None


def test_kinds() -> None:
    assert classify_vin("1M8GDM9AXKP042788") is VinKind.VALID
    assert classify_vin("1M8GDM9A0KP042788") is VinKind.INVALID  # North American with a wrong check digit
    assert classify_vin("WDBBA48D0JA087816") is VinKind.EUROPEAN  # no check digit is asked of a European maker
    assert classify_vin("P6FH233347") is VinKind.CLASSIC
    assert classify_vin("11111111111111111") is VinKind.INVALID  # a placeholder, though its check digit agrees
    assert classify_vin("UNKNOWN") is VinKind.INVALID


def test_vins_are_found_in_text_and_other_runs_are_not() -> None:
    text = "call 1234567890123456789 VIN 1M8GDM9AXKP042788. ref ABCDEFGHJKLMNPRST x1M8GDM9AXKP042788"
    assert find_vins(text) == ["1M8GDM9AXKP042788"]


def test_a_labelled_chassis_number_is_found() -> None:
    assert find_labelled_vin("Chassis No. 194377S101234, matching numbers") == "194377S101234"
    assert find_labelled_vin("VIN available on request") is None


@given(st.text(_ALPHABET, min_size=17, max_size=17), st.integers(0, 16), st.sampled_from(_ALPHABET))
def test_a_valid_vin_is_one_whose_ninth_character_is_its_check_digit(vin: str, at: int, other: str) -> None:
    digit = check_digit(vin)
    assert digit is not None
    right = vin[:8] + digit + vin[9:]
    kind = classify_vin(right)
    assert kind in (VinKind.VALID, VinKind.INVALID)
    if kind is VinKind.VALID:
        changed = right[:at] + other + right[at + 1 :]
        assert classify_vin(changed) is not VinKind.VALID or check_digit(changed) == changed[8]


@given(st.text(max_size=400))
def test_no_text_makes_the_search_raise(text: str) -> None:
    for vin in find_vins(text):
        assert classify_vin(vin) in (VinKind.VALID, VinKind.EUROPEAN)
    find_labelled_vin(text)
