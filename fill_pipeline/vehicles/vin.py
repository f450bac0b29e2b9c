"""Vehicle identification numbers: what one is worth, and what it says about its vehicle."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from fill_pipeline.extract.gazetteer import canonical_make, canonical_model, fold
from fill_pipeline.extract.listing import Evidence, Layer, Listing
from fill_pipeline.extract.vin import VinKind, check_digit, classify_vin
from fill_pipeline.vehicles.vocabulary import canonical_term


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
_DECODER_CACHE = 8_192
_FIRST_STANDARD_YEAR = 1981  # 17 characters since then (49 CFR 565)
# Numbers of textbooks and form examples.
_EXAMPLES = frozenset(
    ("1M8GDM9AXKP042788", "1HGCM82633A004352", "1HGCM82633A123456", "5GZCZ43D13S812715", "WBA00000000000000")
)
_ELECTRIFICATION = (
    ("plug-in", "plug_in_hybrid"),
    ("phev", "plug_in_hybrid"),
    ("bev", "electric"),
    ("hev", "hybrid"),
    ("fcev", "hydrogen"),
)
_LAYOUT = {"V-Shaped": "V", "In-Line": "I", "Horizontally opposed (boxer)": "H", "W Shape": "W"}
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


@dataclass(frozen=True, slots=True)
class VinFacts:
    """What a VIN decodes to, in canonical terms; None where it does not say."""

    year: int | None = None
    make: str | None = None
    model: str | None = None
    trim: str | None = None
    body_style: str | None = None
    engine: str | None = None
    fuel_type: str | None = None
    transmission: str | None = None
    drivetrain: str | None = None
    doors: int | None = None


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


def decode(vin: str) -> VinFacts | None:
    """What the VIN says, or None unless it has 17 characters and decodes without any error.

    The decoder's data loads at the first call. Results are kept for the vehicle descriptor (the
    characters that carry meaning), at most 8,192 of them, so memory stays bounded.
    """
    if len(vin) != 17 or check_digit(vin) != vin[8]:
        return None
    # Small makers (third character 9) are told apart by positions 12 to 14 (49 CFR 565.15 (d)).
    serial = vin[11:14] if vin[2] == "9" else ""
    return _decode_descriptor(vin[:8], vin[9:11], serial)


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


@lru_cache(maxsize=_DECODER_CACHE)
def _decode_descriptor(front: str, back: str, serial: str) -> VinFacts | None:
    import ultravin  # loads tens of megabytes of tables; only processes that decode pay for them

    vin = f"{front}0{back}{serial or '000'}001"
    vin = f"{front}{check_digit(vin)}{vin[9:]}"
    try:
        answer = ultravin.decode(vin)
    except (ValueError, RuntimeError):
        return None
    if answer.get("error_codes") != [0]:
        return None
    return _facts(answer["attributes"])


def _facts(said: dict[str, Any]) -> VinFacts:
    make = canonical_make(said.get("Make")) or _title(said.get("Make"))
    model = said.get("Model")
    doors = said.get("Doors")
    drive = _term("drivetrain", said.get("Drive Type"))
    year = said.get("Model Year")
    return VinFacts(
        year=int(year) if year else None,
        make=make,
        model=canonical_model(make, model) or model,
        trim=said.get("Trim"),
        body_style=_term("body_style", said.get("Body Class")),
        engine=_engine(said),
        fuel_type=_fuel(said),
        transmission=_term("transmission", said.get("Transmission Style")),
        drivetrain=None if drive == "2wd" else drive,  # it does not say which two
        doors=int(doors) if doors and doors.isdigit() else None,
    )


def _term(field: str, text: str | None) -> str | None:
    return canonical_term(field, text) if text else None


def _title(text: str | None) -> str | None:
    return text.title() if text else None


def _fuel(said: dict[str, Any]) -> str | None:
    electrification = (said.get("Electrification Level") or "").lower()
    for word, term in _ELECTRIFICATION:
        if word in electrification and "mild" not in electrification:
            return term
    primary = _term("fuel_type", said.get("Fuel Type - Primary"))
    secondary = said.get("Fuel Type - Secondary") or ""
    if primary == "gasoline" and secondary.startswith(("Ethanol", "Flexible")):
        return "flex_fuel"
    if primary == "gasoline" and secondary == "Electric":
        return "hybrid"
    return primary


def _engine(said: dict[str, Any]) -> str | None:
    litres, cylinders = said.get("Displacement (L)"), said.get("Engine Number of Cylinders")
    parts = []
    if litres:
        parts.append(f"{float(litres):.1f}L")
    if cylinders:
        layout = _LAYOUT.get(said.get("Engine Configuration") or "")
        parts.append(f"{layout}{cylinders}" if layout else f"{cylinders}-cylinder")
    return " ".join(parts) or None


class DecoderMemory(msgspec.Struct, frozen=True):
    """What the decoder costs a process: descriptors kept, of at most so many."""

    kept: int
    most: int


def decoder_memory() -> DecoderMemory:
    """How full the decoder's cache is in this process."""
    return DecoderMemory(_decode_descriptor.cache_info().currsize, _DECODER_CACHE)
