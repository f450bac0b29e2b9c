"""Builds the catalogue of vehicles: `python -m fill_pipeline.simweb.make_catalog`.

The facts (which VIN prefix is which year, make, model, engine, body) come from NHTSA's vPIC through the
package `ultravin`; a prefix is kept only when VINs made of it with other serial numbers decode with error
code 0 to the same vehicle. New prices are round figures of our own, in thousands of dollars of 2025.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from typing import Any

import ultravin

from .catalog import CATALOG_FILE, COLUMNS, make_vin

YEARS = range(1998, 2026)
PASSENGER_CAR, TRUCK, MPV = 2, 3, 7  # vPIC's ids of vehicle types
DRAWS = 160  # VINs drawn per make, year and vehicle type
PATTERNS_PER_MODEL = 7  # spread over the model's years

# make -> model -> price when new, thousand dollars
NEW_PRICES: dict[str, dict[str, float]] = {
    "Acura": {"Integra": 33, "MDX": 52, "RDX": 46, "TL": 38, "TLX": 42, "TSX": 34},
    "Audi": {"A3": 37, "A4": 43, "A6": 59, "Q3": 40, "Q5": 47, "Q7": 61},
    "BMW": {"328i": 41, "330i": 45, "528i": 54, "X1": 42, "X3": 50, "X5": 67, "Z4": 55},
    "Buick": {"Enclave": 47, "Encore": 27, "LaCrosse": 34, "LeSabre": 30},
    "Cadillac": {"CTS": 48, "Escalade": 88, "SRX": 42, "XT5": 47},
    "Chevrolet": {
        "Camaro": 34,
        "Corvette": 68,
        "Cruze": 22,
        "Equinox": 31,
        "Impala": 32,
        "Malibu": 27,
        "Silverado": 46,
        "Tahoe": 60,
        "Traverse": 40,
    },
    "Chrysler": {"200": 25, "300": 36, "Pacifica": 43, "Town and Country": 35},
    "Dodge": {"Challenger": 36, "Charger": 36, "Durango": 44, "Grand Caravan": 29, "Journey": 27},
    "Ford": {
        "Edge": 39,
        "Escape": 31,
        "Explorer": 42,
        "F-150": 45,
        "Focus": 21,
        "Fusion": 26,
        "Mustang": 36,
        "Ranger": 34,
    },
    "GMC": {"Acadia": 43, "Sierra": 48, "Terrain": 32, "Yukon": 66},
    "Honda": {"Accord": 30, "Civic": 25, "CR-V": 32, "Fit": 19, "Odyssey": 40, "Pilot": 42, "Ridgeline": 42},
    "Hyundai": {"Elantra": 23, "Kona": 26, "Santa Fe": 36, "Sonata": 28, "Tucson": 30, "Veloster": 24},
    "Infiniti": {"G35": 38, "Q50": 44, "QX60": 51},
    "Jaguar": {"F-Pace": 58, "XF": 52, "XJ": 78},
    "Jeep": {"Cherokee": 33, "Compass": 30, "Grand Cherokee": 44, "Liberty": 27, "Patriot": 22, "Wrangler": 38},
    "Kia": {"Forte": 21, "Optima": 25, "Sorento": 34, "Soul": 22, "Sportage": 30, "Telluride": 40},
    "Land Rover": {"Discovery": 62, "Range Rover": 110, "Range Rover Sport": 85},
    "Lexus": {"ES": 45, "GX": 66, "IS": 44, "RX": 51},
    "Lincoln": {"MKZ": 40, "Navigator": 85, "Town Car": 50},
    "Mazda": {"CX-5": 31, "CX-9": 39, "Mazda3": 25, "Mazda6": 27, "MX-5": 32},
    "Mercedes-Benz": {"C-Class": 47, "E-Class": 63, "GLC": 49, "M-Class": 52, "S-Class": 115},
    "MINI": {"Cooper": 30, "Cooper S Countryman": 36, "Cooper S": 33},
    "Mitsubishi": {"Eclipse": 24, "Lancer": 20, "Outlander": 30},
    "Nissan": {"Altima": 27, "Frontier": 33, "Leaf": 31, "Maxima": 39, "Murano": 38, "Rogue": 30, "Sentra": 22},
    "Porsche": {"911": 118, "Boxster": 66, "Cayenne": 80, "Macan": 62},
    "RAM": {"1500": 45, "2500": 55},
    "Saab": {"9-3": 34, "9-5": 42},
    "Subaru": {"Crosstrek": 27, "Forester": 31, "Impreza": 24, "Legacy": 27, "Outback": 33},
    "Tesla": {"Model 3": 43, "Model S": 82, "Model Y": 48},
    "Toyota": {
        "4Runner": 43,
        "Camry": 29,
        "Corolla": 23,
        "Highlander": 41,
        "Prius": 29,
        "RAV4": 31,
        "Sienna": 40,
        "Tacoma": 35,
        "Tundra": 45,
    },
    "Volkswagen": {"Atlas": 39, "Beetle": 24, "Golf": 25, "Jetta": 23, "Passat": 28, "Tiguan": 30},
    "Volvo": {"S60": 43, "V60": 48, "V70": 38, "XC60": 47, "XC90": 60},
}

BODIES = {
    "Sedan/Saloon": "Sedan",
    "Hatchback/Liftback/Notchback": "Hatchback",
    "Sport Utility Vehicle [SUV]/Multipurpose Vehicle [MPV]": "SUV",
    "Crossover Utility Vehicle [CUV]": "SUV",
    "Pickup": "Pickup",
    "Minivan": "Minivan",
    "Wagon": "Wagon",
    "Coupe": "Coupe",
    "Convertible/Cabriolet": "Convertible",
    "Roadster": "Convertible",
}
DRIVES = {
    "FWD/Front-Wheel Drive": "FWD",
    "RWD/Rear-Wheel Drive": "RWD",
    "AWD/All-Wheel Drive": "AWD",
    "4WD/4-Wheel Drive/4x4": "4WD",
}
# vPIC's "4x2" names no axle; these are driven at the rear.
REAR_DRIVEN_MAKES = {"BMW", "Infiniti", "Jaguar", "Land Rover", "Mercedes-Benz", "Porsche", "RAM", "Tesla"}
REAR_DRIVEN_MODELS = {"300", "4Runner", "Camaro", "Challenger", "Charger", "Corvette", "CTS", "Durango", "Escalade"}
REAR_DRIVEN_MODELS |= {"Explorer", "GX", "IS", "Mustang", "MX-5", "Navigator", "Tahoe", "Town Car", "Wrangler", "Yukon"}
DIESEL_MAKES = {"Audi", "BMW", "Chevrolet", "GMC", "Jeep", "Mercedes-Benz", "RAM", "Volkswagen"}
LARGE_ENGINES = {
    "300",
    "4Runner",
    "Camaro",
    "Cayenne",
    "Challenger",
    "Charger",
    "Corvette",
    "CTS",
    "Durango",
    "E-Class",
}
LARGE_ENGINES |= {
    "Escalade",
    "Explorer",
    "Grand Cherokee",
    "GX",
    "M-Class",
    "Mustang",
    "Navigator",
    "Range Rover",
    "X5",
}
LARGE_ENGINES |= {"Range Rover Sport", "S-Class", "Tahoe", "Town Car", "Wrangler", "XF", "XJ", "Yukon"}
ELECTRIC_MODELS = {"Focus", "Golf", "Kona", "Leaf", "Model 3", "Model S", "Model Y", "Soul"}
TRANSMISSIONS = {
    "Automatic": "Automatic",
    "Manual/Standard": "Manual",
    "Continuously Variable Transmission (CVT)": "CVT",
    "Electronic Continuously Variable (e-CVT)": "CVT",
    "Dual-Clutch Transmission (DCT)": "Dual-Clutch",
}
FUELS = {"Gasoline": "Gasoline", "Diesel": "Diesel", "Electric": "Electric"}


def main() -> None:
    """Writes the catalogue file."""
    rng = random.Random(1998)
    rows: list[dict[str, str]] = []
    for make, models in NEW_PRICES.items():
        found = _patterns_of(make, models, rng)
        for model in models:
            by_year = found.get(model, {})
            picked = [rng.choice(by_year[year]) for year in sorted(by_year)]
            rng.shuffle(picked)
            rows += sorted(picked[:PATTERNS_PER_MODEL], key=lambda row: row["year"])
    with CATALOG_FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} patterns, {len({row['make'] for row in rows})} makes")


def _patterns_of(make: str, models: dict[str, float], rng: random.Random) -> dict[str, dict[str, list[dict[str, str]]]]:
    """Patterns of one make: model -> year -> rows."""
    found: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    names = {model.casefold(): model for model in models}
    for year in YEARS:
        for kind in (PASSENGER_CAR, TRUCK, MPV):
            vins = ultravin.generate(
                DRAWS, seed=year * 10 + kind, make=make.upper(), year=year, vehicle_type=kind, invalid_rate=0
            )
            for vin, decoded in zip(vins, ultravin.decode_batch(vins), strict=True):
                row = _row(vin, decoded, make, names)
                if row and _is_stable(row, rng):
                    found[row["model"]][row["year"]].append(row)
    return found


def _row(vin: str, decoded: dict[str, Any], make: str, names: dict[str, str]) -> dict[str, str] | None:
    facts = decoded["attributes"]
    model = names.get(str(facts.get("Model") or "").casefold())
    body = BODIES.get(facts.get("Body Class") or "")
    engine, fuel = _engine(facts)
    small_maker = vin[2] == "9"  # its identity continues in positions 12 to 14
    if decoded["error_codes"] != [0] or not model or not body or not engine or small_maker:
        return None
    # The generator fills what a pattern leaves open at random; these are combinations nobody built.
    if (fuel == "Diesel" and make not in DIESEL_MAKES) or (fuel == "Electric" and model not in ELECTRIC_MODELS):
        return None
    litres = float(facts.get("Displacement (L)") or 2.0)
    if not litres <= (
        7 if body == "Pickup" or model in LARGE_ENGINES else 2.5 if NEW_PRICES[make][model] < 26 else 3.8
    ):
        return None
    if fuel in ("Hybrid", "Plug-in Hybrid") and (body == "Pickup" or decoded["model_year"] < 2004):
        return None
    drive = DRIVES.get(facts.get("Drive Type") or "")
    if drive is None:
        drive = "RWD" if body == "Pickup" or make in REAR_DRIVEN_MAKES or model in REAR_DRIVEN_MODELS else "FWD"
    trim = str(facts.get("Trim") or "")
    gearbox = "Automatic" if fuel == "Electric" else TRANSMISSIONS.get(facts.get("Transmission Style") or "")
    return {
        "prefix": vin[:8],
        "plant": vin[10],
        "year": str(decoded["model_year"]),
        "make": make,
        "model": model,
        "trim": trim if 0 < len(trim) <= 14 and not set(trim) & set("/,;()&") else "",
        "engine": engine,
        "fuel": fuel,
        "drivetrain": drive,
        "transmission": gearbox or "Automatic",
        "body": body,
        "doors": str(facts.get("Doors") or {"Coupe": 2, "Convertible": 2, "Hatchback": 5, "SUV": 5}.get(body, 4)),
        "new_price": f"{NEW_PRICES[make][model]:g}",
    }


def _engine(facts: dict[str, Any]) -> tuple[str, str]:
    """The engine in words ("2.0L I4 Turbo") and the fuel; empty when vPIC does not say."""
    fuel = FUELS.get(facts.get("Fuel Type - Primary") or "", "")
    electrification = str(facts.get("Electrification Level") or "")
    if fuel == "Electric" and facts.get("Fuel Type - Secondary") != "Gasoline":
        return "Electric Motor", fuel
    litres, cylinders = facts.get("Displacement (L)"), facts.get("Engine Number of Cylinders")
    if not litres or not cylinders or not fuel:
        return "", ""
    layout = str(facts.get("Engine Configuration") or ("V" if int(cylinders) >= 6 else "In-Line"))
    shape = {"V": "V", "H": "H"}.get(layout[0], "I")
    turbo = " Turbo" if facts.get("Turbo") == "Yes" else ""
    if electrification or "Electric" in (fuel, facts.get("Fuel Type - Secondary")):
        fuel = "Plug-in Hybrid" if "PHEV" in electrification else "Hybrid"
    return f"{float(litres):.1f}L {shape}{cylinders}{turbo}", fuel


def _is_stable(row: dict[str, str], rng: random.Random) -> bool:
    """Whether other serial numbers decode to the same vehicle."""
    vins = [make_vin(row["prefix"], int(row["year"]), row["plant"], rng.randrange(1_000_000)) for _ in range(3)]
    for decoded in ultravin.decode_batch(vins):
        facts = decoded["attributes"]
        same = (str(facts.get("Make")).casefold(), str(facts.get("Model")).casefold(), str(decoded["model_year"]))
        if decoded["error_codes"] != [0] or same != (row["make"].casefold(), row["model"].casefold(), row["year"]):
            return False
        if BODIES.get(facts.get("Body Class") or "") != row["body"] or _engine(facts)[0] != row["engine"]:
            return False
    return True


if __name__ == "__main__":
    main()
