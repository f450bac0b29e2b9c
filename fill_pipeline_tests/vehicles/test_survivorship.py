"""The vehicle is what its listings say together, whatever their order, and says where each value is from."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.db.listings import ListingRow
from fill_pipeline.db.vehicles import VehicleRow
from fill_pipeline.vehicles.survivorship import STABLE, survive

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def _row(listing_id: int, *, confidence: float = 0.9, days: int = 0, **fields: Any) -> ListingRow:
    return ListingRow(
        **(
            {
                "id": listing_id,
                "source_id": UUID(int=listing_id),
                "source": "s",
                "remote_id": str(listing_id),
                "url": "https://s.example/",
                "status": "active",
                "first_seen_at": NOW,
                "changed_at": NOW + timedelta(days=days),
                "provenance": dict.fromkeys(fields, ("structured", "x", confidence)),
            }
            | fields
        )
    )


def _survive(*rows: ListingRow) -> VehicleRow:
    return survive(rows, vehicle_id=1, now=NOW, cycle_id="c")


def test_a_stable_field_goes_to_the_greatest_sum_of_confidence() -> None:
    rows = [_row(1, trim="EX", confidence=0.9), _row(2, trim="LX", confidence=0.5), _row(3, trim="LX", confidence=0.6)]
    vehicle = _survive(*rows)
    assert vehicle.trim == "LX"
    assert vehicle.provenance["trim"] == (3, 0.6)


def test_price_and_its_currency_come_from_the_newest_active_listing() -> None:
    old = _row(1, price=20_000, currency="USD", price_kind="asking")
    new = _row(2, price=25_000, currency="CAD", price_kind="asking", days=3)
    gone = _row(3, price=19_000, currency="USD", price_kind="asking", days=9, status="delisted")
    vehicle = _survive(old, new, gone)
    assert (vehicle.price, vehicle.currency, vehicle.provenance["price"]) == (25_000, "CAD", (2, 0.9))
    assert vehicle.listing_count == 3


def test_a_mistyped_mileage_gives_way_to_what_the_other_listings_say() -> None:
    right = _row(1, mileage=42_000, mileage_unit="mi", year=2021)
    typed = _row(2, mileage=420_000, mileage_unit="mi", year=2021, days=3)
    assert _survive(right, typed).mileage == 42_000
    possible = _row(3, mileage=180_000, mileage_unit="mi", year=2005, days=3)
    older = [_row(i, mileage=50_000 + i, mileage_unit="mi", year=2005) for i in (4, 5)]
    assert _survive(older[0], possible).mileage == 180_000
    assert _survive(*older, possible).mileage in (50_004, 50_005)


def test_an_asking_price_comes_before_a_bid() -> None:
    bid = _row(1, price=4_000, price_kind="bid", days=5)
    ask = _row(2, price=20_000, price_kind="asking")
    assert _survive(bid, ask).price == 20_000


def test_a_newer_listing_without_a_value_hides_none() -> None:
    vehicle = _survive(_row(1, mileage=50_000, mileage_unit="km"), _row(2, days=4))
    assert (vehicle.mileage, vehicle.mileage_unit) == (50_000, "km")


def test_status_is_active_while_one_listing_is() -> None:
    assert _survive(_row(1, status="sold"), _row(2)).status == "active"
    assert _survive(_row(1, status="sold"), _row(2, status="delisted")).status == "sold"
    assert _survive(_row(1, status="delisted")).status == "delisted"


def test_only_an_identifying_vin_is_the_vehicles() -> None:
    assert _survive(_row(1, vin="X" * 17, vin_status="shared")).vin is None
    assert _survive(_row(1, vin="X" * 17, vin_status="valid")).vin == "X" * 17


_value = st.sampled_from([None, "a", "b", "c"])
_rows = st.lists(
    st.builds(
        lambda number, confidence, days, trim, engine, price, status: _row(
            number, confidence=confidence, days=days, trim=trim, engine=engine, price=price, status=status
        ),
        st.integers(1, 10**6),
        st.sampled_from([0.3, 0.5, 0.9]),
        st.integers(0, 5),
        _value,
        _value,
        st.one_of(st.none(), st.integers(100, 10**6)),
        st.sampled_from(["active", "delisted", "sold"]),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda row: row.id,
)


@given(_rows, st.integers())
def test_the_order_of_the_listings_does_not_matter(rows: list[ListingRow], seed: int) -> None:
    shuffled = rows[:]
    random.Random(seed).shuffle(shuffled)
    assert _survive(*shuffled) == _survive(*rows)


@given(_rows)
def test_every_value_was_said_by_the_listing_it_names(rows: list[ListingRow]) -> None:
    vehicle = _survive(*rows)
    by_id = {row.id: row for row in rows}
    for name in (*STABLE, "price"):
        value = getattr(vehicle, name)
        if value is None:
            assert all(getattr(row, name) is None for row in rows)
        else:
            assert getattr(by_id[vehicle.provenance[name][0]], name) == value
