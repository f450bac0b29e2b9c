"""The market's vehicles as rows of numbers, sorted by segment, with what changed since lying on top.

Most runs change a thousandth of a million rows: the sorted rows are then mapped from their file, rows that changed
are written over and rows that no longer hold struck out in memory only, and new ones lie in a small array of their
own. Only when these grow are they sorted in and the file is written anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fill_pipeline.db.deals import MARKET_COLUMNS

ROW = np.dtype([(name, kind) for name, kind in MARKET_COLUMNS], align=True)
Rows = NDArray[Any]
_LARGEST_TABLE = 50_000_000


class Shelf:
    """Rows by segment. ``unsaved`` counts the changes since the rows were written."""

    def __init__(self, rows: Rows) -> None:
        self._sort_in(rows)
        self.unsaved = len(rows)

    def _sort_in(self, rows: Rows) -> None:
        self._base = rows[np.argsort(rows["segment"], kind="stable")]
        self._ids = np.ascontiguousarray(self._base["id"])
        self._segments, starts = np.unique(np.ascontiguousarray(self._base["segment"]), return_index=True)
        self._starts = np.append(starts, len(self._base))
        self._lay_on_top(np.empty(0, ROW))
        self._struck = 0

    def _lay_on_top(self, rows: Rows) -> None:
        self._top = rows[np.argsort(rows["segment"], kind="stable")]
        self._top_segments = np.ascontiguousarray(self._top["segment"])
        self._latest: tuple[int, Rows] | None = None

    def __len__(self) -> int:
        return len(self._base) - self._struck + len(self._top)

    def of(self, segment: int) -> Rows:
        """The rows of a segment."""
        if self._latest is None or self._latest[0] != segment:  # it is asked for several times in a row
            self._latest = (segment, self._found(segment))
        return self._latest[1]

    def _found(self, segment: int) -> Rows:
        place = int(np.searchsorted(self._segments, segment))
        found = place < len(self._segments) and self._segments[place] == segment
        rows = self._base[self._starts[place] : self._starts[place + 1]] if found else self._base[:0]
        if self._struck and not rows["usable"].all():
            rows = rows[rows["usable"] == 1]
        first, last = (np.searchsorted(self._top_segments, segment, side=side) for side in ("left", "right"))
        return _joined(rows, self._top[first:last])

    def largest(self, n: int) -> list[int]:
        """The ``n`` segments with most rows, the largest first; rows since the last sorting are not counted."""
        order = np.argsort(-np.diff(self._starts), kind="stable")[:n]
        return [int(segment) for segment in self._segments[order]]

    def all(self) -> Rows:
        """Every row."""
        rows = self._base[self._base["usable"] == 1] if self._struck else self._base
        return _joined(rows, self._top)

    def patch(self, changed: Rows) -> dict[int, int]:
        """Take over vehicles as they are now: the usable replace their former selves, the others leave.

        Returns how many rows changed, by segment.
        """
        if not len(changed):
            return {}
        dense = int(changed["id"].max()) - int(changed["id"].min()) < _LARGEST_TABLE
        former = np.flatnonzero(np.isin(self._ids, changed["id"], kind="table" if dense else "sort"))
        former = former[self._base["usable"][former] == 1]
        again = np.isin(self._top["id"], changed["id"])
        left = np.concatenate((self._base["segment"][former], self._top["segment"][again]))
        came = changed["segment"][changed["usable"] == 1]

        # Where a vehicle stays in its segment its row is written over, so that the segment needs no copy to be read.
        changed = changed[np.argsort(changed["id"], kind="stable")]
        place = np.searchsorted(changed["id"], self._ids[former])
        stays = (changed["segment"][place] == self._base["segment"][former]) & (changed["usable"][place] == 1)
        self._base[former[stays]] = changed[place[stays]]
        self._base["usable"][former[~stays]] = 0
        self._struck += int((~stays).sum())
        new = changed["usable"] == 1
        new[place[stays]] = False
        self._lay_on_top(_joined(self._top[~again], changed[new]))
        self.unsaved += max(len(former), len(came))
        changes: dict[int, int] = {}
        for segments in (left, came):  # one that left and came again in its segment changed once
            for segment, count in zip(*np.unique(segments, return_counts=True), strict=True):
                changes[int(segment)] = max(changes.get(int(segment), 0), int(count))
        return changes

    def save(self, place: Path) -> None:
        """Sort everything in and write it; raises OSError."""
        if self._struck or len(self._top):
            self._sort_in(self.all())
        np.save(place / "rows.npy", self._base, allow_pickle=False)
        np.save(place / "ids.npy", self._ids, allow_pickle=False)
        np.savez(place / "segments.npz", segments=self._segments, starts=self._starts)
        self.unsaved = 0

    @classmethod
    def load(cls, place: Path) -> Shelf:
        """What ``save`` wrote, mapped; changes to it stay in memory. Raises OSError or ValueError."""
        shelf = cls.__new__(cls)
        shelf._base = np.load(place / "rows.npy", mmap_mode="c", allow_pickle=False).view(np.ndarray)
        shelf._ids = np.load(place / "ids.npy", mmap_mode="r", allow_pickle=False)
        with np.load(place / "segments.npz", allow_pickle=False) as index:
            shelf._segments, shelf._starts = index["segments"], index["starts"]
        if shelf._base.dtype != ROW or len(shelf._ids) != len(shelf._base):
            raise ValueError(f"{place} holds rows of another shape")
        shelf._lay_on_top(np.empty(0, ROW))
        shelf._struck = shelf.unsaved = 0
        return shelf


def _joined(first: Rows, second: Rows) -> Rows:
    """Both, one after the other; numpy's concatenate looks every field of every call up anew."""
    if not len(second):
        return first
    rows = np.empty(len(first) + len(second), ROW)
    rows[: len(first)], rows[len(first) :] = first, second
    return rows
