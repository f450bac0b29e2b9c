"""The catalogue: which VIN prefix is which vehicle (facts from NHTSA's vPIC, see data/README.md)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CATALOG_FILE = Path(__file__).parent / "data" / "catalog.tsv"
COLUMNS = (
    "prefix",
    "plant",
    "year",
    "make",
    "model",
    "trim",
    "engine",
    "fuel",
    "drivetrain",
    "transmission",
    "body",
    "doors",
    "new_price",
)

# 49 CFR 565.15: value of each character, weight of each position, and the code of the model year.
_VALUES = {
    c: int(v) for c, v in zip("0123456789ABCDEFGHJKLMNPRSTUVWXYZ", "012345678912345678123457923456789", strict=True)
}
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_YEAR_CODES = "ABCDEFGHJKLMNPRSTVWXY123456789"  # from 1980, again from 2010


@dataclass(frozen=True, slots=True)
class Pattern:
    """One vehicle of the catalogue; ``new_price`` is in dollars."""

    prefix: str
    plant: str
    year: int
    make: str
    model: str
    trim: str
    engine: str
    fuel: str
    drivetrain: str
    transmission: str
    body: str
    doors: int
    new_price: int

    def vin(self, serial: int) -> str:
        """The VIN of this vehicle with that serial number (0 to 999,999)."""
        return make_vin(self.prefix, self.year, self.plant, serial)


@cache
def load_catalog() -> tuple[Pattern, ...]:
    """Every pattern of the catalogue file, in its order."""
    with CATALOG_FILE.open(encoding="utf-8", newline="") as file:
        return tuple(_pattern(row) for row in csv.DictReader(file, delimiter="\t"))


def _pattern(row: dict[str, Any]) -> Pattern:
    numbers = {"year": int(row["year"]), "doors": int(row["doors"]), "new_price": round(float(row["new_price"]) * 1000)}
    return Pattern(**{**row, **numbers})


def make_vin(prefix: str, year: int, plant: str, serial: int) -> str:
    """Seventeen characters with the right check digit, from positions 1–8, year, plant and serial number."""
    code = _YEAR_CODES[(year - 1980) % 30]
    head, tail = prefix, f"{code}{plant}{serial:06d}"
    return head + check_digit(f"{head}0{tail}") + tail


def check_digit(vin: str) -> str:
    """The ninth character that 17 characters ought to have (49 CFR 565.15)."""
    remainder = sum(_VALUES[c] * w for c, w in zip(vin, _WEIGHTS, strict=True)) % 11
    return "X" if remainder == 10 else str(remainder)
