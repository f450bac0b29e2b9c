"""The market as the oracle sees it: every vehicle with a price as one row of numbers, kept between runs.

A million vehicles are some sixty megabytes. They are read from the database once a day; in between only
the vehicles of the cycles since are read again. The file is a cache and no more: it names the job that
wrote it, and without that job in the database (another database, a restored one) it is built anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray

from fill_pipeline.db import deals as db
from fill_pipeline.db.connect import Connection
from fill_pipeline.deals.segment import TRAITS, Fit, Floats, Ints, Vehicles, fit_segment, market_slopes
from fill_pipeline.deals.shelf import ROW, Shelf

REMEMBERED = timedelta(days=120)
"""A vehicle gone longer ago is no comparable any more."""
REBUILT_AFTER = timedelta(days=1)
REFIT_SHARE = 0.02
"""A segment is fitted again when more than this share of it changed (one vehicle in fifty; any in smaller ones)."""
SAVED_SHARE = 0.01
"""The market is written again when more than this share of it changed."""
SUPPLY_DAYS = 45
"""Over how many days disappearances are counted (market days' supply)."""

_FIT_WIDTH = 4 + 5 + 25 + 4 + 2


@dataclass(frozen=True, slots=True)
class Supply:
    """How fast a segment sells: vehicles for sale, disappearances a day, days until all are gone (None: unknown)."""

    active: int
    gone_per_day: float
    days: float | None


class Fits:
    """Fits by segment, kept as rows of numbers: most runs look at a few of them."""

    def __init__(self, segments: Ints | None = None, rows: Floats | None = None) -> None:
        self._rows: dict[int, Floats] = {}
        if segments is not None and rows is not None:
            self._rows = dict(zip(segments.tolist(), rows.reshape(len(segments), _FIT_WIDTH), strict=True))

    def get(self, segment: int) -> Fit | None:
        """The segment's fit, or None."""
        row = self._rows.get(segment)
        return None if row is None else _unpacked(row)

    def put(self, segment: int, fit: Fit) -> None:
        """Keep a segment's fit in place of its former one."""
        self._rows[segment] = _packed(fit)

    def columns(self) -> tuple[Ints, Floats]:
        """The segments, and a row for each."""
        return np.array(list(self._rows), np.int64), np.array(list(self._rows.values())).reshape(-1, _FIT_WIDTH)


@dataclass(slots=True)
class Market:
    """Vehicles sorted by segment, with the slopes of each currency's market and the fits made so far."""

    shelf: Shelf
    built_at: datetime
    slopes: dict[int, Floats] = field(default_factory=dict)
    fits: Fits = field(default_factory=Fits)
    changes: dict[int, int] = field(default_factory=dict)
    _supplies: dict[int, Supply] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.shelf)

    @property
    def reference_year(self) -> int:
        """The year ages are counted from."""
        return self.built_at.year + 1

    def segment(self, segment: int) -> tuple[Vehicles, Ints]:
        """The vehicles of a segment and their ids."""
        rows = self.shelf.of(segment)
        return _vehicles(rows), rows["id"].astype(np.int64)

    def fit(self, segment: int, vehicles: Vehicles) -> Fit:
        """The segment's fit, made when first asked for and again when enough of it changed."""
        known = self.fits.get(segment)
        if known is None or self.changes.get(segment, 0) > REFIT_SHARE * len(vehicles):
            rows = self.shelf.of(segment)
            known = fit_segment(vehicles, self._slopes_of(int(rows["currency"][0])), self.reference_year)
            self.fits.put(segment, known)
            self.changes.pop(segment, None)
        return known

    def supply(self, segment: int, now: datetime) -> Supply:
        """Market days' supply: vehicles for sale over mean daily disappearances in 45 days (or since the first)."""
        if segment not in self._supplies:
            rows = self.shelf.of(segment)
            active = int((rows["gone_day"] == 0).sum())
            today = now.timestamp() / 86_400
            gone = int((rows["gone_day"] > today - SUPPLY_DAYS).sum())
            observed = min(float(SUPPLY_DAYS), max(1.0, today - float(rows["created_day"].min()))) if len(rows) else 1.0
            per_day = gone / observed
            self._supplies[segment] = Supply(active, per_day, active / per_day if per_day > 0 else None)
        return self._supplies[segment]

    def patch(self, changed: NDArray[Any]) -> None:
        """Take over vehicles as they are now: the usable replace their former selves, the others leave."""
        for segment, count in self.shelf.patch(changed).items():
            self.changes[segment] = self.changes.get(segment, 0) + count
        self._supplies.clear()

    def save(self, folder: Path, job_id: UUID) -> bool:
        """Keep the market for the next runs under the name of this job; False where it cannot be.

        One that differs little from what is kept is not written again: the next run patches it again.
        """
        if self.shelf.unsaved <= SAVED_SHARE * len(self.shelf):
            return True
        place = folder / job_id.hex
        segments, packed = self.fits.columns()
        about = {
            "built_at": self.built_at.isoformat(),
            "slopes": {str(code): slopes.tolist() for code, slopes in self.slopes.items()},
            "changes": {str(segment): n for segment, n in self.changes.items()},
        }
        try:
            place.mkdir(parents=True, exist_ok=True)
            self.shelf.save(place)
            np.savez(place / "fits.npz", segments=segments, fits=packed)
            (place / "market.json").write_bytes(orjson.dumps(about))  # last: a market without it is not taken
            for other in folder.iterdir():
                if other.is_dir() and other != place:
                    shutil.rmtree(other, ignore_errors=True)
        except OSError:
            return False  # a cache that cannot be written costs time, not truth
        return True

    def _slopes_of(self, currency: int) -> Floats:
        if currency not in self.slopes:
            rows = self.shelf.all()
            rows = rows[rows["currency"] == currency]
            if len(rows) > 50_000:
                kept = np.unique(rows["segment"])[:: max(1, len(rows) // 50_000)]
                rows = rows[np.isin(rows["segment"], kept)]
            self.slopes[currency] = market_slopes(
                _vehicles(rows), rows["segment"].astype(np.int64), self.reference_year
            )
        return self.slopes[currency]


def open_market(conn: Connection, folder: Path, *, cycle_id: str, now: datetime) -> Market:
    """The market as it is now: the kept one, with the vehicles of the cycles since and of this one; or a new one."""
    since = now - REMEMBERED
    for market, begun in _kept(conn, folder):
        if now - market.built_at < REBUILT_AFTER and market.built_at.year == now.year:
            cycles = sorted({cycle_id, *db.cycles_since(conn, begun)})
            market.patch(_read(conn, cycles, since))
            return market
    return Market(Shelf(_read(conn, None, since, usable_only=True)), now)


def _read(
    conn: Connection, cycles: Sequence[str] | None, since: datetime, *, usable_only: bool = False
) -> NDArray[Any]:
    count, columns = db.market_vehicles(conn, cycles=cycles, since=since)
    rows = np.empty(count, ROW)
    for (name, kind), column in zip(db.MARKET_COLUMNS, columns, strict=True):
        rows[name] = np.frombuffer(column, ">" + kind)
    return rows[rows["usable"] == 1] if usable_only else rows


def _kept(conn: Connection, folder: Path) -> Iterator[tuple[Market, datetime]]:
    """The markets that finished jobs of this database kept and that can be read, each with when its cycle began."""
    for place in sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else ():
        try:
            begun = db.finished_since(conn, UUID(place.name))
            if begun is None:
                continue
            about = orjson.loads((place / "market.json").read_bytes())
            shelf = Shelf.load(place)
            with np.load(place / "fits.npz", allow_pickle=False) as packed:
                fits = Fits(packed["segments"], packed["fits"])
            slopes = {int(code): np.array(values) for code, values in about["slopes"].items()}
            changes = {int(segment): n for segment, n in about["changes"].items()}
            built_at = datetime.fromisoformat(about["built_at"])
        except (OSError, ValueError, KeyError):
            continue
        yield Market(shelf, built_at, slopes, fits, changes), begun


def _vehicles(rows: NDArray[Any]) -> Vehicles:
    return Vehicles(
        rows["year"].astype(np.float64),
        rows["km"].astype(np.float64),
        rows["log_price"].astype(np.float64),
        np.stack([rows[name].astype(np.int64) for name in TRAITS], axis=1),
    )


def _packed(fit: Fit) -> Floats:
    return np.concatenate(
        (fit.centre, fit.coefficients, fit.inverse.ravel(), fit.slopes, (fit.scale, float(fit.count)))
    )


def _unpacked(row: Floats) -> Fit:
    return Fit(row[:4], row[4:9], row[9:34].reshape(5, 5), row[34:38], float(row[38]), int(row[39]))
