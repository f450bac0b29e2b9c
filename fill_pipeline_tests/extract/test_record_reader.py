"""A record is read by its keys: what is known of them from the records before never stands for its values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.listing import Layer
from fill_pipeline.extract.record_reader import read_record
from fill_pipeline.extract.records import is_linked_vehicle

_WORDS = st.sampled_from(["", "Ford", "2019", "12,500", "Black", "1FTFW1E40KKE46828", "https://schema.org/InStock"])
_PLAIN = _WORDS | st.none() | st.booleans() | st.integers(0, 90_000) | st.floats(0, 9e4)
_KEYS = ("name", "sku", "brand", "color", "offers", "price", "seller", "mileageFromOdometer", "type", "value", "image",
         "url", "@id", "vehicleModelDate")  # fmt: skip
_RECORDS = st.recursive(
    st.dictionaries(st.sampled_from(_KEYS), _PLAIN, max_size=6),
    lambda inner: st.dictionaries(st.sampled_from(_KEYS), _PLAIN | inner | st.lists(inner | _PLAIN, max_size=2)),
    max_leaves=6,
)


def read(record: dict[str, Any], layer: Layer = Layer.STRUCTURED) -> dict[str, Any]:
    """The values that a record gives, by field."""
    reading = Reading()
    read_record(record, reading, layer=layer, locator="json-ld", base_url="https://x.example/")
    listing = reading.listing()
    return {
        field: (getattr(listing, field), evidence.layer, evidence.locator, evidence.confidence)
        for field, evidence in listing.provenance.items()
    }


@settings(max_examples=40)
@given(_RECORDS)
def test_a_record_reads_the_same_with_a_key_more_that_says_nothing(record: dict[str, Any]) -> None:
    assert read(record) == read({**record, "@context": "https://schema.org"})
    assert is_linked_vehicle(record) == is_linked_vehicle({**record, "@context": "https://schema.org"})


@settings(max_examples=40)
@given(_RECORDS)
def test_more_keys_than_are_remembered_change_nothing(record: dict[str, Any]) -> None:
    many = {f"@{number}": number for number in range(300)}
    assert read(record) == read({**record, **many})
    assert is_linked_vehicle(record) == is_linked_vehicle({**record, **many})


@pytest.mark.parametrize("empty", ["", None])
def test_records_of_the_same_keys_are_read_by_their_own_values(empty: object) -> None:
    full = {"name": "2019 Ford F-150", "sku": "A1", "color": "Black", "offers": {"price": 12_500, "url": "/a"}}
    bare = {"name": "2016 Kia Soul", "sku": empty, "color": empty, "offers": {"price": empty, "url": "/b"}}
    assert [read(full)[name][0] for name in ("title", "remote_id", "price")] == ["2019 Ford F-150", "A1", 12_500]
    assert read(bare).keys() == {"title", "url"}
    assert read(full)["remote_id"][0] == "A1"


@pytest.mark.parametrize("odd", ["", "https://x.example/tour.mp4", {"name": "none"}, None, ["https://x.example/1.jpg"]])
def test_pictures_are_the_same_whatever_stands_among_them(odd: object) -> None:
    pictures = [f"https://x.example/{number}.jpg" for number in (1, 2, 3)]
    assert read({"name": "2019 Ford F-150", "image": [*pictures, pictures[0]]})["images"][0] == pictures
    assert read({"name": "2019 Ford F-150", "image": [*pictures, odd, "/4.jpg"]})["images"][0] == [
        *pictures,
        "https://x.example/4.jpg",
    ]


def test_the_evidence_is_that_of_the_layer_and_place_it_was_read_in() -> None:
    record = {"name": "2019 Ford F-150", "offers": {"seller": {"name": "Harbor Motors"}}}
    for layer, confidence in ((Layer.STRUCTURED, 0.95), (Layer.STATE, 0.9)):
        found = read(record, layer)
        assert found["title"] == ("2019 Ford F-150", layer, "json-ld.name", confidence)
        assert found["seller_name"][1:3] == (layer, "json-ld.offers.seller.name")
