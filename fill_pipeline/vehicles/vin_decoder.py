"""What a VIN decodes to, by NHTSA's vPIC tables.

The first VIN of a maker's code and model year costs the decoder a third of a millisecond, as much as reading a page
does. So what it said of a descriptor, the characters that carry meaning, is kept, also in a file for later processes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import msgspec

from fill_pipeline.extract.gazetteer import canonical_make, canonical_model
from fill_pipeline.extract.vin import check_digit
from fill_pipeline.vehicles.vocabulary import canonical_term

log = logging.getLogger(__name__)
_MOST_FACTS = 8_192
_MOST_BYTES = 8_000_000  # of the file: some twenty thousand descriptors
_ASKED = (
    "Model Year",
    "Make",
    "Model",
    "Trim",
    "Body Class",
    "Displacement (L)",
    "Engine Number of Cylinders",
    "Engine Configuration",
    "Fuel Type - Primary",
    "Fuel Type - Secondary",
    "Electrification Level",
    "Transmission Style",
    "Drive Type",
    "Doors",
)
_ELECTRIFICATION = (
    ("plug-in", "plug_in_hybrid"),
    ("phev", "plug_in_hybrid"),
    ("bev", "electric"),
    ("hev", "hybrid"),
    ("fcev", "hydrogen"),
)
_LAYOUT = {"V-Shaped": "V", "In-Line": "I", "Horizontally opposed (boxer)": "H", "W Shape": "W"}

_Answer = dict[str, str]
"""What the decoder said of a descriptor, in vPIC's names and words; empty where it found an error."""
_answers = msgspec.json.Decoder(_Answer)


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


@dataclass(slots=True)
class _Memory:
    """Answers by descriptor, as JSON: those the file held, and those it is still to hold."""

    file: Path
    edition: bytes
    known: dict[bytes, bytes]
    begins_anew: bool
    learned: dict[bytes, bytes] = field(default_factory=dict)


_memory: _Memory | None = None


def decode(vin: str) -> VinFacts | None:
    """What the VIN says, or None unless it has 17 characters and decodes without any error.

    The decoder's data loads at the first call. Facts are kept for at most 8,192 descriptors, so memory stays bounded.
    """
    if len(vin) != 17 or check_digit(vin) != vin[8]:
        return None
    # Small makers (third character 9) are told apart by positions 12 to 14 (49 CFR 565.15 (d)).
    serial = vin[11:14] if vin[2] == "9" else ""
    return _decode_descriptor(vin[:8], vin[9:11], serial)


def remember_in(file: Path, year: int) -> None:
    """Take over what was kept in a file, and let ``keep`` add to it.

    Only what this decoder said by these tables when asked the same in this calendar year, by which model years thirty
    years apart are told.
    """
    global _memory
    import ultravin

    decoder = ultravin.provenance()
    edition = msgspec.json.encode([decoder["decoder_version"], decoder["data_month"], year, _ASKED])
    try:
        head, *lines = file.read_bytes().split(b"\n")
    except OSError:  # none was kept yet
        head, lines = b"", []
    full = sum(map(len, lines)) > _MOST_BYTES
    entries = [line.split(b"\t") for line in lines] if head == edition else []
    # A full disk may have torn a line.
    known = {entry[0]: entry[1] for entry in entries if len(entry) == 2}
    _memory = _Memory(file, edition, known, begins_anew=full or head != edition)


def keep() -> None:
    """Add what was learned since to the file; what cannot be kept is decoded again by the next process."""
    global _memory
    if _memory is None or not _memory.learned:
        return
    lines = b"".join(b"%s\t%s\n" % entry for entry in _memory.learned.items())
    try:
        if _memory.begins_anew:
            _memory.file.write_bytes(_memory.edition + b"\n" + lines)
        else:
            with _memory.file.open("ab", buffering=0) as file:  # in one piece: others write too
                file.write(lines)
    except OSError as error:
        log.warning("what VINs decode to is not kept (%s)", error)
        _memory = None
        return
    _memory.begins_anew = False
    _memory.learned.clear()


class DecoderMemory(msgspec.Struct, frozen=True):
    """What the decoder costs a process: descriptors kept, of at most so many."""

    kept: int
    most: int


def decoder_memory() -> DecoderMemory:
    """How many facts are kept in this process."""
    return DecoderMemory(_decode_descriptor.cache_info().currsize, _MOST_FACTS)


@lru_cache(maxsize=_MOST_FACTS)
def _decode_descriptor(front: str, back: str, serial: str) -> VinFacts | None:
    descriptor = f"{front}{back}{serial}".encode()
    answer = _recall(descriptor)
    if answer is None:
        answer = _ask(front, back, serial)
        if _memory is not None:
            _memory.learned[descriptor] = msgspec.json.encode(answer)
    return _facts(answer) if answer else None


def _recall(descriptor: bytes) -> _Answer | None:
    said = _memory.known.get(descriptor) if _memory is not None else None
    if said is None:
        return None
    try:
        return _answers.decode(said)
    except msgspec.DecodeError:
        return None


def _ask(front: str, back: str, serial: str) -> _Answer:
    import ultravin  # loads tens of megabytes of tables; only processes that decode pay for them

    vin = f"{front}0{back}{serial or '000'}001"
    vin = f"{front}{check_digit(vin)}{vin[9:]}"
    try:
        answer = ultravin.decode(vin)
    except (ValueError, RuntimeError):
        return {}
    if answer.get("error_codes") != [0]:
        return {}
    return {name: said for name in _ASKED if isinstance(said := answer["attributes"].get(name), str)}


def _facts(said: _Answer) -> VinFacts:
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


def _fuel(said: _Answer) -> str | None:
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


def _engine(said: _Answer) -> str | None:
    litres, cylinders = said.get("Displacement (L)"), said.get("Engine Number of Cylinders")
    parts = []
    if litres:
        parts.append(f"{float(litres):.1f}L")
    if cylinders:
        layout = _LAYOUT.get(said.get("Engine Configuration") or "")
        parts.append(f"{layout}{cylinders}" if layout else f"{cylinders}-cylinder")
    return " ".join(parts) or None
