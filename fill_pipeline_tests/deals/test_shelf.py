"""Promises of the shelf: however it was patched, saved and loaded, it holds what a plain dictionary would."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fill_pipeline.deals.shelf import ROW, Shelf

Vehicle = tuple[int, int, int]  # id, segment, usable
VEHICLES = st.lists(
    st.tuples(st.integers(1, 12), st.integers(-3, 3), st.integers(0, 1)), max_size=10, unique_by=lambda v: v[0]
)


def _rows(vehicles: list[Vehicle], price: int = 0) -> Any:
    rows = np.zeros(len(vehicles), ROW)
    rows["log_price"] = price
    for place, (vehicle, segment, usable) in enumerate(vehicles):
        rows[place]["id"], rows[place]["segment"], rows[place]["usable"] = vehicle, segment, usable
    return rows


@settings(max_examples=60, deadline=None)
@given(first=VEHICLES, patches=st.lists(VEHICLES, max_size=4), saves=st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_patched_shelf_holds_what_a_dictionary_would(
    first: list[Vehicle], patches: list[list[Vehicle]], saves: list[bool]
) -> None:
    known = {vehicle: (segment, 0) for vehicle, segment, usable in first if usable}
    shelf = Shelf(_rows([v for v in first if v[2]]))
    with tempfile.TemporaryDirectory() as folder:
        for number, (patch, save) in enumerate(zip(patches, saves, strict=False)):
            shelf.patch(_rows(patch, number + 1))
            for vehicle, segment, usable in patch:
                known.pop(vehicle, None)
                if usable:
                    known[vehicle] = (segment, number + 1)
            if save:
                place = Path(folder) / str(number)
                place.mkdir()
                shelf.save(place)
                assert shelf.unsaved == 0
                shelf = Shelf.load(place)
        assert len(shelf) == len(known)
        assert sorted(shelf.all()["id"].tolist()) == sorted(known)
        for segment in range(-4, 5):
            rows = shelf.of(segment)
            found = dict(zip(rows["id"].tolist(), rows["log_price"].tolist(), strict=True))
            assert len(found) == len(rows)
            assert found == {vehicle: price for vehicle, (s, price) in known.items() if s == segment}


def test_patching_a_loaded_shelf_leaves_its_file_alone(tmp_path: Path) -> None:
    Shelf(_rows([(1, 1, 1), (2, 1, 1)])).save(tmp_path)
    loaded = Shelf.load(tmp_path)
    loaded.patch(_rows([(1, 1, 0)]))
    assert len(loaded) == 1
    assert len(Shelf.load(tmp_path)) == 2
