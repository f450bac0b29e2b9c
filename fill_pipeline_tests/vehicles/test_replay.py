"""Months of real snapshots, replayed day by day, give exactly what the files say.

Set FILL_REPLAY=all to replay every file of both sets (minutes) instead of a few.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from fill_pipeline.db.connect import Connection
from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.vin import VinKind, classify_vin
from fill_pipeline.vehicles.lifecycle import mark_absent
from fill_pipeline.vehicles.store import ListingToWrite, write_listings

_DELIST_AFTER = 2
_BATCH = 500
_CLOSED_LOT = 10  # fewer cars than this in a snapshot: a failed one, not a harvest

Snapshot = tuple[datetime, list[Listing]]


def _number(value: object) -> int | None:
    digits = str(value or "").replace(",", "")
    return round(float(digits)) if digits.replace(".", "", 1).isdigit() else None


def _first_of_each_vin(found: list[Listing]) -> list[Listing]:
    by_vin: dict[str, Listing] = {}
    for item in found:
        if item.vin and classify_vin(item.vin) is VinKind.VALID:
            by_vin.setdefault(item.vin, item)
    return list(by_vin.values())


def _marketplace_day(path: Path) -> Snapshot:
    day = datetime.strptime(path.name[12:22], "%Y-%m-%d").replace(tzinfo=UTC)
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        found = [
            Listing(
                url=f"https://market.example/{row['vin_number']}",
                remote_id=row["vin_number"],
                vin=row["vin_number"],
                make=row["brand"],
                model=row["model"],
                year=_number(row["model_year"]),
                price=_number(row["list_price"]),
                currency="CAD",
                mileage=_number(row["mileage"]),
                mileage_unit="km",
                exterior_color=row["color"],
                condition=row["condition"],
                body_style=row["body_type"],
                drivetrain=row["wheel_config"],
                transmission=row["transmission"],
                fuel_type=row["fuel_type"],
                country="CA",
                images=[row["image_link"]] if row["image_link"] else [],
            )
            for row in csv.DictReader(file)
        ]
    return day, _first_of_each_vin(found)


def _dealers_day(path: Path) -> Snapshot:
    day = datetime.strptime(path.name[10:20], "%Y_%m_%d").replace(tzinfo=UTC)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        found = [
            Listing(
                url=row["detail_url"] or f"https://dealers.example/{row['vin']}",
                remote_id=row["vin"],
                vin=row["vin"],
                make="Toyota",
                model="RAV4",
                year=_number(row["year"]),
                trim=row["trim"],
                price=_number(row["total_price"]),
                currency="USD",
                drivetrain=row["drivetrain"],
                exterior_color=row["exterior_color"],
                interior_color=row["interior_color"],
                condition="new",
                seller_name=row["dealer_name"],
            )
            for row in json.load(file)
            if row["vin"]
        ]
    return day, _first_of_each_vin(found)


def _files(folder: Path, start: int, count: int) -> list[Path]:
    files = sorted(folder.glob("*.gz"))
    return files if os.environ.get("FILL_REPLAY") == "all" else files[start : start + count]


@pytest.mark.parametrize(
    ("folder", "read", "start", "count"),
    [("kijiji-daily", _marketplace_day, 6, 4), ("dealer-daily", _dealers_day, 0, 10)],
)
def test_real_snapshots_give_the_vehicles_prices_and_disappearances_of_their_files(
    conn: Connection,
    corpus: Path,
    source: UUID,
    to_write: Callable[..., ListingToWrite],
    folder: str,
    read: Callable[[Path], Snapshot],
    start: int,
    count: int,
) -> None:
    expected: dict[str, list[tuple[int | None, str]]] = {}  # VIN → its (price, status) after each change
    absences: dict[str, int] = {}
    first_seen: dict[str, int] = {}
    for turn, path in enumerate(_files(corpus / "lifecycle" / folder, start, count)):
        day, found = read(path)
        if len(found) < _CLOSED_LOT:
            continue
        rows = [to_write(source, item, now=day) for item in found]
        added = 0
        for at in range(0, len(rows), _BATCH):
            with conn.transaction():
                added += write_listings(conn, rows[at : at + _BATCH], cycle_id=str(day), now=day).vehicles_added
        with conn.transaction():
            delisted = mark_absent(conn, source, cycle_id=str(day), now=day, complete=True, delist_after=_DELIST_AFTER)
        new = {i.vin for i in found if i.vin} - first_seen.keys()
        assert added == len(new), path.name
        first_seen |= dict.fromkeys(new, turn)
        gone = _follow(expected, absences, {i.vin or "": i.price for i in found})
        assert delisted == gone, path.name
    assert _vehicles(conn) == [(len(expected), len(expected), len(expected))]
    assert _history(conn) == expected


def _follow(
    expected: dict[str, list[tuple[int | None, str]]], absences: dict[str, int], prices: dict[str, int | None]
) -> int:
    """What a day's file changes, told in the plainest way; returns how many cars are given up."""
    for vin, price in prices.items():
        past = expected.setdefault(vin, [])
        stated = price if price is not None and price >= 100 else (past[-1][0] if past else None)
        absences[vin] = 0
        if not past or past[-1] != (stated, "active"):
            past.append((stated, "active"))
    gone = 0
    for vin, past in expected.items():
        if vin not in prices and past[-1][1] == "active":
            absences[vin] += 1
            if absences[vin] == _DELIST_AFTER:
                past.append((past[-1][0], "delisted"))
                gone += 1
    return gone


def _vehicles(conn: Connection) -> list[tuple[Any, ...]]:
    return conn.execute("SELECT count(*), count(DISTINCT vin), sum(listing_count)::int FROM vehicles").fetchall()


def _history(conn: Connection) -> dict[str, list[tuple[int | None, str]]]:
    """VIN → (price, status) after each change of either."""
    told: dict[str, list[tuple[int | None, str]]] = {}
    for vin, price, status in conn.execute(
        "SELECT r.remote_id, h.price, h.status FROM listing_history h JOIN listing_records r ON r.id = h.listing_id "
        "ORDER BY h.id"
    ):
        past = told.setdefault(vin, [])
        if not past or past[-1] != (price, status):  # the mileage alone may have changed
            past.append((price, status))
    return told
