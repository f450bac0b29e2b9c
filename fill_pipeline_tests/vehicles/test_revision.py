"""A new observation adds to what was known; it never quietly takes away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.db.listings import ListingRow
from fill_pipeline.vehicles.revision import content_hash, is_corrected_vin, revise

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def _row(**fields: Any) -> ListingRow:
    values: dict[str, Any] = {
        "id": 1,
        "source_id": UUID(int=1),
        "source": "s",
        "remote_id": "1",
        "url": "https://s.example/1",
        "status": "active",
        "first_seen_at": NOW,
        "changed_at": NOW,
    }
    return ListingRow(**(values | fields))


def test_the_hash_ignores_what_changes_without_the_advertisement_changing() -> None:
    one = _row(title="Car", images=["https://cdn.example/1.jpg?token=a"], posted_at=NOW, raw={"price": "$1"})
    other = _row(
        id=9,
        title="Car",
        images=["https://cdn.example/1.jpg?token=b"],
        posted_at=NOW + timedelta(hours=1),
        archive_id=4,
    )
    assert content_hash(one) == content_hash(other)
    assert content_hash(one) != content_hash(_row(title="Car!"))
    assert content_hash(one) != content_hash(_row(title="Car", images=["https://cdn.example/2.jpg"]))


def test_evidence_follows_its_value() -> None:
    old = _row(trim="EX", price=9, provenance={"trim": ("labels", "dl", 0.8), "price": ("state", "a", 0.9)})
    new = _row(price=8, changed_at=NOW + timedelta(hours=1), provenance={"price": ("card", "b", 0.6)})
    row = revise(old, new)
    assert row.provenance == {"trim": ("labels", "dl", 0.8), "price": ("card", "b", 0.6)}


def test_what_only_a_language_model_read_replaces_nothing_but_fills_gaps_and_gives_way() -> None:
    old = _row(price=9_000, currency="USD", raw={"price": "$9,000"}, provenance={"price": ("labels", "dl", 0.8)})
    model = _row(
        price=7_000,
        currency="EUR",
        mileage=61_420,
        changed_at=NOW + timedelta(hours=1),
        raw={"price": "7 000", "mileage": "61 420"},
        provenance={"price": ("model", "listing_v1", 0.5), "mileage": ("model", "listing_v1", 0.5)},
    )
    row = revise(old, model)
    assert (row.price, row.currency, row.raw["price"], row.mileage) == (9_000, "USD", "$9,000", 61_420)
    assert row.provenance == {"price": ("labels", "dl", 0.8), "mileage": ("model", "listing_v1", 0.5)}
    later = _row(mileage=61_500, changed_at=NOW + timedelta(hours=2), provenance={"mileage": ("labels", "dl", 0.8)})
    assert revise(row, later).mileage == 61_500


def test_the_same_page_read_again_corrects_what_was_misread_though_the_advertisement_ended_since() -> None:
    ended = {"status": "delisted", "changed_at": NOW + timedelta(days=1), "changed_cycle": "c2"}
    old = _row(mileage=239_900, mileage_unit="mi", price=9_495, trim="EX", archive_id=4, **ended)
    now = _row(mileage=238_501, mileage_unit="mi", price=9_195, archive_id=4)
    row = revise(old, now)
    assert (row.mileage, row.price, row.trim, row.quarantine) == (238_501, 9_195, "EX", {})
    assert (row.status, row.changed_at, row.changed_cycle) == tuple(ended.values())
    of_another_page = revise(old, _row(mileage=239_501, price=9_195, archive_id=3))
    assert (of_another_page.mileage, of_another_page.price) == (239_900, 9_495)


def _seen(mileage: int, hours: int, **fields: Any) -> ListingRow:
    at = {"changed_at": NOW + timedelta(hours=hours), "changed_cycle": f"c{hours}"}
    return _row(mileage=mileage, mileage_unit="mi", **(at | fields))


def test_a_mileage_that_no_car_of_its_age_has_gives_way_to_the_right_one_at_once() -> None:
    row = revise(_seen(420_000, 0, year=2021), _seen(42_000, 2, year=2021))
    assert row.mileage == 42_000
    assert row.quarantine["mileage"]["rule"] == "mileage_typo"
    assert row.quarantine["mileage"]["value"] == 420_000


def test_a_possible_but_mistyped_mileage_gives_way_when_three_cycles_agree() -> None:
    row = _seen(142_000, 0, year=2008)
    for hours, mileage in ((2, 42_000), (2, 42_000), (4, 42_010)):
        row = revise(row, _seen(mileage, hours, year=2008))
        assert row.mileage == 142_000
        assert row.quarantine["mileage"]["rule"] == "mileage_falling"
    row = revise(row, _seen(42_020, 6, year=2008))
    assert (row.mileage, row.quarantine["mileage"]["value"]) == (42_020, 142_000)
    assert revise(row, _seen(42_030, 8, year=2008)).mileage == 42_030


def test_readings_that_fall_without_agreeing_change_nothing() -> None:
    row = _seen(142_000, 0, year=2008)
    for hours, mileage in ((2, 42_000), (4, 12_000), (6, 90_000), (8, 42_000)):
        row = revise(row, _seen(mileage, hours, year=2008))
        assert row.mileage == 142_000


def test_a_typing_error_put_right_is_the_same_car_and_another_vin_is_not() -> None:
    old = _row(vin="WVWZZZ1KZ8W123450", make="VW", model="Golf", year=2008, mileage=90_100)
    assert is_corrected_vin(old, _row(vin="WVWZZZ1KZ8W123459", make="VW", model="Golf", year=2008, mileage=90_150))
    assert not is_corrected_vin(old, _row(vin="WVWZZZ1KZ8W123459", make="VW", model="Golf", year=2008, mileage=12_000))
    assert not is_corrected_vin(old, _row(vin="WVWZZZ3CZ9E555555", make="VW", model="Golf", year=2008, mileage=90_100))


_maybe = st.one_of(st.none(), st.integers(1_000, 200_000))
_rows = st.builds(
    _row,
    price=_maybe,
    currency=st.sampled_from([None, "USD"]),
    mileage=_maybe,
    mileage_unit=st.sampled_from([None, "mi", "km"]),
    trim=st.sampled_from([None, "EX", "LX"]),
    city=st.sampled_from([None, "Dayton"]),
    make=st.sampled_from([None, "Honda"]),
    images=st.lists(st.sampled_from(["https://a.example/1", "https://a.example/2"]), max_size=2),
    raw=st.dictionaries(st.sampled_from(["price", "trim"]), st.just("words"), max_size=2),
    changed_at=st.integers(-3, 3).map(lambda h: NOW + timedelta(hours=h)),
)


@given(_rows, _rows)
def test_nothing_but_a_price_in_words_is_ever_lost(old: ListingRow, new: ListingRow) -> None:
    row = revise(old, new)
    for name in ("mileage", "trim", "city", "make"):
        assert getattr(row, name) is not None or (getattr(old, name) is None and getattr(new, name) is None), name
    if old.price is not None and row.price is None:
        assert new.price is None
        assert "price" in new.raw
    if new.changed_at >= old.changed_at:
        assert row.trim == (new.trim or old.trim)
        assert row.price == new.price or new.price is None
    else:
        assert row.price == old.price or old.price is None
        assert row.changed_at == old.changed_at


@given(_rows, _rows)
def test_the_same_observation_again_changes_nothing(old: ListingRow, new: ListingRow) -> None:
    once = revise(old, new)
    twice = revise(once, new)
    assert content_hash(twice) == content_hash(once)
