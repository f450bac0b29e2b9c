"""Vehicle identification numbers: what one is worth, and whether its page says the same."""

from __future__ import annotations

from enum import StrEnum
from operator import attrgetter
from typing import Any

from fill_pipeline.extract.gazetteer import fold
from fill_pipeline.extract.listing import Evidence, Layer, Listing
from fill_pipeline.extract.vin import VinKind, check_digit, classify_vin
from fill_pipeline.vehicles.vin_decoder import VinFacts


class VinStatus(StrEnum):
    """What kind of VIN it is, and so what may be concluded from it."""

    VALID = "valid"  # 17 characters with a right check digit (49 CFR 565)
    EUROPEAN = "european"  # 17 characters from where no check digit is demanded (ISO 3779)
    CLASSIC = "classic"  # a chassis number from before 1981
    SHARED = "shared"  # well-formed, but another vehicle has it too; identifies nothing
    PLACEHOLDER = "placeholder"  # typed in to fill the box
    INVALID = "invalid"  # cannot be a VIN


IDENTIFYING = frozenset({VinStatus.VALID, VinStatus.EUROPEAN, VinStatus.CLASSIC})
"""The kinds that tell vehicles apart."""

CONFIDENCE = {
    "year": 0.85,
    "make": 0.85,
    "model": 0.8,
    "trim": 0.5,
    "body_style": 0.65,
    "engine": 0.7,
    "fuel_type": 0.7,
    "transmission": 0.55,
    "drivetrain": 0.7,
    "doors": 0.6,
}
"""Fields a decoded VIN can fill, and how far each is trusted: below what a page states itself."""

_COMPARED = ("year", "make", "model", "body_style", "fuel_type", "drivetrain", "transmission", "doors")
_compared = attrgetter(*_COMPARED)
_filled = attrgetter(*CONFIDENCE)

_ALPHABET = frozenset("ABCDEFGHJKLMNPRSTUVWXYZ0123456789")  # 49 CFR 565.15: without I, O and Q
_FIRST_STANDARD_YEAR = 1981  # 17 characters since then (49 CFR 565)
# Numbers of textbooks and form examples.
_EXAMPLES = frozenset(
    ("1M8GDM9AXKP042788", "1HGCM82633A004352", "1HGCM82633A123456", "5GZCZ43D13S812715", "WBA00000000000000")
)
# Makes that one decoded name and one badge may both stand for.
_SAME_MAKER = tuple(
    frozenset(group)
    for group in (
        {"ram", "dodge", "chrysler", "jeep"},
        {"gmc", "chevrolet"},
        {"mercedesbenz", "freightliner", "dodge", "mercedesmaybach", "maybach", "mercedesamg", "smart"},
        {"scion", "toyota"},
        {"geo", "chevrolet", "suzuki"},
        {"datsun", "nissan", "infiniti"},
        {"landrover", "rangerover", "jaguar"},
        {"mini", "bmw"},
        {"genesis", "hyundai"},
        {"ford", "mercury", "lincoln", "shelby"},
        {"volvo", "polestar"},
        {"fiat", "abarth", "ram"},
        {"porsche", "volkswagen"},
    )
)


def vin_status(vin: str, year: int | None = None) -> VinStatus:
    """The kind of an upper-case VIN; ``year`` is the model year the page states, if any.

    A short chassis number is one only on a car known to be older than the standard.
    """
    if len(set(vin)) <= 4 or vin in _EXAMPLES or (len(vin) == 17 and vin[-6:] in ("000000", "123456")):
        return VinStatus.PLACEHOLDER
    kind = classify_vin(vin)
    if kind is VinKind.CLASSIC:
        return VinStatus.CLASSIC if year is not None and year < _FIRST_STANDARD_YEAR else VinStatus.INVALID
    return VinStatus(kind.value)


def corrected_vins(vin: str) -> list[str]:
    """The VINs with a right check digit of which this one, that has a wrong one, may be a typing error.

    One character wrong, missing or one too many, or two neighbours swapped: about fifty VINs. Empty
    for anything but 16 to 18 characters of a VIN's alphabet.
    """
    if not 16 <= len(vin) <= 18 or not _ALPHABET.issuperset(vin):
        return []
    if len(vin) == 18:
        guesses = {vin[:i] + vin[i + 1 :] for i in range(18)}
    elif len(vin) == 16:
        guesses = {vin[:i] + c + vin[i:] for i in range(17) for c in _ALPHABET}
    else:
        guesses = {vin[:i] + c + vin[i + 1 :] for i in range(17) for c in _ALPHABET}
        guesses |= {vin[:i] + vin[i + 1] + vin[i] + vin[i + 2 :] for i in range(16)}
    return sorted(guess for guess in guesses - {vin} if check_digit(guess) == guess[8])


def fill_from_vin(listing: Listing, facts: VinFacts) -> None:
    """Fill the listing's missing fields from the decoded VIN, with lower confidence and their evidence."""
    said = _filled(listing)
    if None not in said:
        return
    for (field, confidence), stated, decoded in zip(CONFIDENCE.items(), said, _filled(facts), strict=True):
        if stated is None and decoded is not None:
            setattr(listing, field, decoded)
            listing.provenance[field] = Evidence(Layer.VIN, "vin", confidence)


def agreement(listing: Listing, facts: VinFacts) -> dict[str, bool]:
    """Whether the page and its VIN say the same, for each field that both state (before filling)."""
    result: dict[str, bool] = {}
    for field, said, decoded in zip(_COMPARED, _compared(listing), _compared(facts), strict=True):
        if said is not None and decoded is not None:
            result[field] = same_value(field, said, decoded)
    return result


def same_value(field: str, one: Any, other: Any) -> bool:
    """Whether two canonical values of a field mean the same as far as a VIN can tell them apart."""
    if one == other:
        return True
    if field == "make":
        return same_make(one, other)
    if field == "model":
        a, b = (fold(name.replace("&", " and ")) for name in (one, other))
        short, long = sorted((a, b), key=len)
        return long.startswith(short) if len(short) in (1, 2) else bool(short) and short in long
    return any(one in group and other in group for group in _ALIKE.get(field, ()))


def same_make(one: str, other: str) -> bool:
    """Whether two makes are one name, or badges one maker's VINs stand for."""
    a, b = fold(one), fold(other)
    return a == b or any(a in group and b in group for group in _SAME_MAKER)


_ALIKE: dict[str, tuple[frozenset[Any], ...]] = {
    "body_style": (
        frozenset(("suv", "wagon", "hatchback")),
        frozenset(("coupe", "hatchback", "sedan")),
        frozenset(("van", "minivan", "wagon", "bus")),
        frozenset(("pickup", "chassis_cab")),
        frozenset(("van", "chassis_cab", "motorhome")),
        frozenset(("sedan", "hatchback", "wagon")),
        frozenset(("suv", "pickup")),
    ),
    "fuel_type": (
        frozenset(("gasoline", "flex_fuel", "ethanol")),
        frozenset(("hybrid", "gasoline")),
        frozenset(("hybrid", "plug_in_hybrid")),
        frozenset(("gasoline", "natural_gas", "lpg")),
    ),
    "drivetrain": (frozenset(("awd", "4wd")), frozenset(("2wd", "fwd")), frozenset(("2wd", "rwd"))),
    "transmission": (frozenset(("automatic", "cvt", "dual_clutch")),),
    "doors": (frozenset((4, 5)), frozenset((2, 3))),
}
