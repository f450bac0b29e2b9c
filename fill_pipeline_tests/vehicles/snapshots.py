"""Daily snapshots of real sites, by VIN, and what came of writing them day after day."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from fill_pipeline.db.connect import Connection
from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.vin import VinKind, classify_vin
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.lifecycle import mark_absent
from fill_pipeline.vehicles.store import ListingToWrite, write_listings

DELIST_AFTER = 2
_BATCH = 500
_DATE = re.compile(r"(\d{4})[-_](\d{2})[-_](\d{2})")
_CLOSED_LOT = 10  # fewer cars than this in a snapshot: a failed one, not a harvest
_LOWEST_PRICE = 100  # below it a price is none

History = dict[str, list[tuple[int | None, str]]]
"""VIN → (price, status) after each change of either."""


@dataclass(slots=True)
class Replayed:
    """What the files say and what the database says after all of them were written in order of date."""

    files: int = 0
    days: int = 0
    expected: History = field(default_factory=dict)
    told: History = field(default_factory=dict)
    vehicles: dict[str, int] = field(default_factory=dict)
    """VIN → how many vehicles have it."""
    wrong_days: list[str] = field(default_factory=list)
    """Files after which vehicles added or listings given up were not what the file says."""

    def counts(self) -> dict[str, tuple[int, int]]:
        """Expected and found: vehicles, price changes, disappearances, returns."""
        return {
            "vehicles": (len(self.expected), sum(self.vehicles.values())),
            "price_changes": (_price_changes(self.expected), _price_changes(self.told)),
            "disappearances": (_turns(self.expected, "delisted"), _turns(self.told, "delisted")),
            "returns": (_turns(self.expected, "active"), _turns(self.told, "active")),
        }


def _price_changes(history: History) -> int:
    return sum(a[0] != b[0] for past in history.values() for a, b in pairwise(past))


def _turns(history: History, status: str) -> int:
    return sum(a[1] != b[1] == status for past in history.values() for a, b in pairwise(past))


def region_files(corpus: Path) -> list[Path]:
    """The files of one marketplace's region, in order of date."""
    return sorted((corpus / "lifecycle" / "kijiji-daily").glob("*.gz"))


def dealer_files(corpus: Path) -> list[Path]:
    """The files of dealers' inventories of one model, in order of date."""
    return sorted((corpus / "lifecycle" / "dealer-daily").glob("*.gz"))


def read_day(path: Path) -> tuple[datetime, list[Listing]]:
    """The day of a file of either set, and its cars, one for each VIN."""
    found = _region_cars(path) if path.suffixes[-2:] == [".csv", ".gz"] else _dealers_cars(path)
    year, month, day = _DATE.findall(path.name)[0]
    by_vin: dict[str, Listing] = {}
    for item in found:
        if item.vin and classify_vin(item.vin) is VinKind.VALID:
            by_vin.setdefault(item.vin, item)
    return datetime(int(year), int(month), int(day), tzinfo=UTC), list(by_vin.values())


def _region_cars(path: Path) -> list[Listing]:
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        return [
            Listing(
                url=f"https://market.example/{row['vin_number']}",
                remote_id=row["vin_number"],
                vin=row["vin_number"],
                make=row["brand"],
                model=row["model"],
                year=number(row["model_year"]),
                price=number(row["list_price"]),
                currency="CAD",
                mileage=number(row["mileage"]),
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


def _dealers_cars(path: Path) -> list[Listing]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [
            Listing(
                url=row["detail_url"] or f"https://dealers.example/{row['vin']}",
                remote_id=row["vin"],
                vin=row["vin"],
                make="Toyota",
                model="RAV4",
                year=number(row["year"]),
                trim=row["trim"],
                price=number(row["total_price"]),
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


def number(value: object) -> int | None:
    """A figure as such files write it, None where there is none."""
    digits = str(value or "").replace(",", "")
    return round(float(digits)) if digits.replace(".", "", 1).isdigit() else None


def replay(
    conn: Connection, source_id: UUID, files: Iterable[Path], *, tell: Callable[[str], None] = lambda line: None
) -> Replayed:
    """Write the files' cars into a clean database day by day, each day a complete harvest of the one source."""
    result = Replayed()
    absences: dict[str, int] = {}
    for path in files:
        result.files += 1
        day, found = read_day(path)
        if len(found) < _CLOSED_LOT:
            continue
        result.days += 1
        new = {item.vin for item in found} - result.expected.keys()
        added, delisted = _write_day(conn, source_id, found, day)
        gone = _follow(result.expected, absences, {item.vin or "": item.price for item in found})
        if (added, delisted) != (len(new), gone):
            result.wrong_days.append(path.name)
        if result.days % 50 == 0:
            tell(f"{path.name}: {len(result.expected)} cars so far, {len(result.wrong_days)} days wrong")
    rows = conn.execute("SELECT vin, count(*) FROM vehicles GROUP BY vin").fetchall()
    result.vehicles = {vin or "none": count for vin, count in rows}
    result.told = _told(conn)
    return result


def _write_day(conn: Connection, source_id: UUID, found: list[Listing], day: datetime) -> tuple[int, int]:
    """Returns (vehicles added, listings given up)."""
    cleaned = [ListingToWrite.of(clean(item, now=day), source_id=source_id, source="daily") for item in found]
    added = 0
    for at in range(0, len(cleaned), _BATCH):
        with conn.transaction():
            added += write_listings(conn, cleaned[at : at + _BATCH], cycle_id=str(day), now=day).vehicles_added
    with conn.transaction():
        return added, mark_absent(conn, source_id, cycle_id=str(day), now=day, complete=True, delist_after=DELIST_AFTER)


def _follow(expected: History, absences: dict[str, int], prices: dict[str, int | None]) -> int:
    """What a day's file changes, told in the plainest way; returns how many cars are given up."""
    for vin, price in prices.items():
        past = expected.setdefault(vin, [])
        stated = price if price is not None and price >= _LOWEST_PRICE else (past[-1][0] if past else None)
        absences[vin] = 0
        if not past or past[-1] != (stated, "active"):
            past.append((stated, "active"))
    gone = 0
    for vin, past in expected.items():
        if vin not in prices and past[-1][1] == "active":
            absences[vin] += 1
            if absences[vin] == DELIST_AFTER:
                past.append((past[-1][0], "delisted"))
                gone += 1
    return gone


def _told(conn: Connection) -> History:
    told: History = defaultdict(list)
    for vin, price, status in conn.execute(
        "SELECT r.remote_id, h.price, h.status FROM listing_history h JOIN listing_records r ON r.id = h.listing_id "
        "ORDER BY h.id"
    ):
        past = told[vin]
        if not past or past[-1] != (price, status):  # the mileage alone may have changed
            past.append((price, status))
    return dict(told)
