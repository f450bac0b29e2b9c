"""Whether two advertisements are for one vehicle, decided without asking the database."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from fill_pipeline.db.listings import ListingRow
from fill_pipeline.extract.gazetteer import fold
from fill_pipeline.extract.listing import ListingStatus
from fill_pipeline.vehicles.vin import IDENTIFYING, VinStatus, same_make

MERGE_AT = 0.95
"""From this score on two records are one vehicle."""
PROPOSE_AT = 0.80
"""From this score on a person or a later pass is asked."""

_KM_PER_MILE = 1.609344
_WINDOW = 0.03
"""How far apart two odometers of one car may read in its advertisements, as a share."""
_WINDOW_KM = 3_000
_PRIOR = -12.0
"""Log2 odds that two records of one block are one vehicle: a block holds thousands, one ad in ten is a second one."""
_DELIVERY_KM = 300
_CLEARLY_BETTER = 7.0
"""Log2 odds by which one of several sure matches must stand out to be chosen."""
_RIVAL_WITHIN = 3.5
"""Log2 odds within which another vehicle of the lot may as well be the one advertised."""
_ONLY_ONE_THERE = 4.5
_MOST_ALIKE = 10
"""From so many look-alikes in one city on the database may know of more than were looked at."""
_TEST_DRIVE_KM = 160
_TEST_DRIVES_KM = 450
_KM_A_DAY = 50
_SAME_DAY = timedelta(hours=36)
_LOCK_BUCKETS = 4_096


class _Named(Protocol):
    @property
    def make(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def year(self) -> int | None: ...


class _Described(_Named, Protocol):
    @property
    def mileage(self) -> int | None: ...
    @property
    def mileage_unit(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a record: join ``vehicle_id``, or be a new vehicle with perhaps proposals.

    ``proposals`` are (vehicle id, score, reasons), best first.
    """

    vehicle_id: int | None
    score: float
    reasons: dict[str, float]
    proposals: tuple[tuple[int, float, dict[str, float]], ...] = ()


NO_MATCH = Decision(None, 0.0, {})
"""Nothing to compare with: a new vehicle."""


def block_of(record: _Described) -> tuple[str, int | None] | None:
    """(block key, odometer in km): only records of one block are ever compared; None where too little is known.

    The odometer is None where it tells no cars apart: not stated, or a new car's.
    """
    if not record.make or not record.model or not record.year:
        return None
    km = odometer_km(record)
    # New cars have all been driven off the train: a reading of a few kilometres finds nothing.
    return f"{fold(record.make)}|{fold(record.model)}|{record.year}", km if km is None or km >= _DELIVERY_KM else None


def odometer_km(record: _Described) -> int | None:
    """The odometer in kilometres; a reading without a unit is taken as kilometres."""
    if record.mileage is None:
        return None
    return round(record.mileage * _KM_PER_MILE) if record.mileage_unit == "mi" else record.mileage


def window_of(km: int | None) -> tuple[int, int]:
    """The odometer readings (km) another advertisement of the same vehicle may show."""
    if km is None:
        return 0, -1
    slack = max(int(km * _WINDOW), min(_WINDOW_KM, 200 + km // 10))
    return max(0, km - slack), km + slack


def lock_key(block_key: str) -> int:
    """The advisory lock of a block, one of 4,096, so that a batch never fills the server's lock table."""
    return zlib.crc32(block_key.encode()) % _LOCK_BUCKETS


def is_identifiable(record: ListingRow) -> bool:
    """Whether a listing says enough to be a vehicle: an identifying VIN, or a make with a model or a year."""
    return record.vin_status in IDENTIFYING or bool(record.make and (record.model or record.year))


def vin_contradicted(a: _Named, b: _Named) -> bool:
    """Whether two records of one VIN cannot be one vehicle: another make, or model years apart by more than one."""
    if a.make and b.make and not same_make(a.make, b.make):
        return True
    return bool(a.year and b.year and abs(a.year - b.year) > 1)


def score(a: ListingRow, b: ListingRow) -> tuple[float, dict[str, float]]:
    """The probability (0 to 1) that two listings of one block are one vehicle, and the weight of each reason.

    Weights are log2 likelihood ratios added to prior odds (Fellegi and Sunter, 1969, "A Theory for
    Record Linkage"): how much more often the agreement or disagreement is seen between two
    advertisements of one car than between those of two cars of one make, model and year.
    """
    reasons: dict[str, float] = {}
    for weigh in (_weigh_vin, _weigh_odometer, _weigh_price, _weigh_place, _weigh_seller, _weigh_traits, _weigh_images):
        weigh(a, b, reasons)
    if _both_live_on_one_site(a, b):
        # One site does not list one car twice at a time; twins at one dealer look exactly like this.
        reasons["both live on one site"] = -12.0
    return _probability(_log_odds(reasons)), reasons


def _log_odds(reasons: dict[str, float]) -> float:
    return _PRIOR + sum(reasons.values())


def _probability(log_odds: float) -> float:
    odds: float = 2.0 ** max(-60.0, min(60.0, log_odds))
    return odds / (1.0 + odds)


def decide(listing: ListingRow, candidates: dict[int, Sequence[ListingRow]]) -> Decision:
    """Match a listing against vehicles of its block, each given by its listings.

    A vehicle scores as its best listing does, unless one of its listings rules the match out. Of
    several sure matches one is chosen only where it is far ahead; else they are twins, and none is.
    """
    scored: list[tuple[float, int, dict[str, float]]] = []  # log2 odds, minus id, reasons
    for vehicle_id, rows in candidates.items():
        results = [score(listing, row)[1] for row in rows]
        if results and not any(r.get("both live on one site") or r.get("vin", 0) < 0 for r in results):
            reasons = max(results, key=_log_odds)
            scored.append((_log_odds(reasons), -vehicle_id, reasons))
    if not scored:
        return NO_MATCH
    scored.sort(key=lambda s: (s[0], s[1]), reverse=True)
    lead = scored[0][0] - scored[1][0] if len(scored) > 1 else None
    if _is_only_one_there(scored, lead):
        reasons = scored[0][2] | {"only such car there": _ONLY_ONE_THERE}
        scored[0] = (_log_odds(reasons), scored[0][1], reasons)
    best, reasons = _probability(scored[0][0]), scored[0][2]
    sure = sum(_probability(odds) >= MERGE_AT for odds, _, _ in scored)
    if sure == 1 or (sure and lead is not None and lead >= _CLEARLY_BETTER):
        return Decision(-scored[0][1], best, reasons)
    return Decision(None, best, reasons, _proposals(scored))


def _proposals(scored: list[tuple[float, int, dict[str, float]]]) -> tuple[tuple[int, float, dict[str, float]], ...]:
    return tuple((-v, _probability(o), r) for o, v, r in scored if _probability(o) >= PROPOSE_AT)[:3]


def _is_only_one_there(scored: list[tuple[float, int, dict[str, float]]], lead: float | None) -> bool:
    """Whether the best match stands at the listing's own dealer or in its city, contradicts it in nothing, and
    nothing else there comes near.

    Odometers aside a pair of new cars says too little, but a lot holds few cars of one model, year, price and
    colour: where it holds one, that is the one advertised.
    """
    reasons = scored[0][2]
    if not reasons.keys() & _SAME_LOT or not reasons.keys() & _TELLING or "prices differ" in reasons:
        return False
    if any(weight < 0 for name, weight in reasons.items() if name != "odometer says nothing"):
        return False
    alike = sum(bool(r.keys() & _SAME_LOT) and ("same price" in r) >= ("same price" in reasons) for _, _, r in scored)
    return alike < _MOST_ALIKE and (lead is None or lead > _RIVAL_WITHIN)


_SAME_LOT = frozenset(("same seller", "same phone", "same postal code", "same city"))
_TELLING = frozenset(
    ("same price", "exterior_color", "same odometer", "same odometer, rounded", "odometer a little further")
)


def _weigh_vin(a: ListingRow, b: ListingRow, reasons: dict[str, float]) -> None:
    one, other = vin_as_written(a), vin_as_written(b)
    if not one or not other:
        return
    certain = a.vin_status in IDENTIFYING and b.vin_status in IDENTIFYING
    if one == other:
        reasons["vin"] = 20.0 if certain and not vin_contradicted(a, b) else 8.0
    elif _one_slip(one, other) and VinStatus.EUROPEAN in (a.vin_status, b.vin_status):
        reasons["vin but for a slip"] = -3.0  # without a check digit as likely its neighbour on the assembly line
    elif _one_slip(one, other):
        # The check digit makes neighbours on the assembly line differ in two places at least, so that a VIN that
        # fails it and is one slip away from a right one is next to never another car's.
        reasons["vin but for a slip"] = 8.0 if certain else 15.0
    elif certain:
        reasons["vin"] = -40.0


def vin_as_written(row: ListingRow) -> str | None:
    """The VIN the page states, also where it was rejected; None where there is hardly one."""
    if row.vin is not None:
        return row.vin
    rejected = row.quarantine.get("vin", {}).get("value")
    return rejected if isinstance(rejected, str) and len(rejected) >= 11 else None


def _one_slip(one: str, other: str) -> bool:
    """Whether one character is wrong, missing or one too many, or two neighbours are swapped."""
    if len(one) == len(other):
        wrong = [i for i, (x, y) in enumerate(zip(one, other, strict=True)) if x != y]
        swapped = len(wrong) == 2 and wrong[1] == wrong[0] + 1 and one[wrong[0]] == other[wrong[1]]
        return len(wrong) == 1 or (swapped and one[wrong[1]] == other[wrong[0]])
    short, long = sorted((one, other), key=len)
    return len(long) == len(short) + 1 and any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def _weigh_odometer(a: ListingRow, b: ListingRow, reasons: dict[str, float]) -> None:
    one, other = odometer_km(a), odometer_km(b)
    if one is None or other is None or max(one, other) < _DELIVERY_KM:
        reasons["odometer says nothing"] = -1.5  # a dealer's new cars and a fleet's used ones are all alike
        return
    apart = abs(one - other)
    # One car in a hundred thousand has this very reading; round figures meet a hundred times as often.
    if apart <= 1:
        reading = a.mileage or 0
        reasons["same odometer"] = 6.0 if reading % 1000 == 0 else 8.5 if reading % 100 == 0 else 14.0
    elif _is_rounded(a, b, 100):
        reasons["same odometer, rounded"] = 8.0
    elif _is_rounded(a, b, 1000):
        reasons["same odometer, rounded"] = 5.5
    elif apart <= _driven_km(a, b):
        later = abs(a.changed_at - b.changed_at) > _SAME_DAY
        reasons["odometer a little further"] = (6.0 if later else 4.0) if apart <= _TEST_DRIVE_KM else 3.5
    else:
        reasons["odometers differ"] = -3.0 if apart <= max(one, other) * _WINDOW else -6.0


def _is_rounded(a: ListingRow, b: ListingRow, step: int) -> bool:
    """Whether one reading is the other rounded to ``step``."""
    if a.mileage is None or b.mileage is None or a.mileage_unit != b.mileage_unit:
        return False
    return abs(a.mileage - b.mileage) < step and (a.mileage % step == 0) != (b.mileage % step == 0)


def _driven_km(a: ListingRow, b: ListingRow) -> float:
    """How far a car for sale may have been driven from one observation to the other; 0 if the odometer fell."""
    earlier, later = (a, b) if a.changed_at <= b.changed_at else (b, a)
    if (odometer_km(later) or 0) < (odometer_km(earlier) or 0) and later.changed_at != earlier.changed_at:
        return 0.0
    return _TEST_DRIVES_KM + _KM_A_DAY * ((later.changed_at - earlier.changed_at) / timedelta(days=1))


def _weigh_price(a: ListingRow, b: ListingRow, reasons: dict[str, float]) -> None:
    if a.price is None or b.price is None or a.currency != b.currency or a.price_kind != b.price_kind:
        return
    apart = abs(a.price - b.price) / max(a.price, b.price)
    if apart == 0:
        new = "odometer says nothing" in reasons  # new cars of one trim all cost the same
        reasons["same price"] = 2.4 if new else 4.5
    elif apart <= 0.04:
        reasons["price within 4 %"] = 1.5
    else:
        reasons["prices differ"] = -4.0 if apart > 0.3 else -2.5 if apart > 0.15 else -1.0 if apart > 0.07 else 0.0


def _weigh_place(a: ListingRow, b: ListingRow, reasons: dict[str, float]) -> None:
    if a.postal_code and b.postal_code and fold(a.postal_code) == fold(b.postal_code):
        reasons["same postal code"] = 8.0
    elif a.city and b.city:
        same = fold(a.city) == fold(b.city) and (not a.region or not b.region or fold(a.region) == fold(b.region))
        reasons["same city" if same else "other city"] = 5.5 if same else -2.5
    elif a.region and b.region and fold(a.region) != fold(b.region):
        reasons["other region"] = -4.0
    elif a.place and b.place and a.place != a.region and fold(a.place) == fold(b.place):
        reasons["same place"] = 5.5


def _weigh_seller(a: ListingRow, b: ListingRow, reasons: dict[str, float]) -> None:
    if a.seller_phone and b.seller_phone:
        one, other = _digits(a.seller_phone), _digits(b.seller_phone)
        if len(one) >= 7 and one[-7:] == other[-7:]:
            reasons["same phone"] = 3.0
    if a.seller_name and b.seller_name and fold(a.seller_name) == fold(b.seller_name):
        # One dealer in several thousand is this one; where the place agrees too that says less.
        reasons["same seller"] = 2.0 if "same postal code" in reasons else 3.5 if "same city" in reasons else 8.0


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isdigit())


_TRAITS = (
    ("exterior_color", 2.3, -6.0),
    ("interior_color", 0.8, -1.5),
    ("transmission", 0.3, -4.0),
    ("drivetrain", 0.5, -2.5),
    ("fuel_type", 0.2, -4.0),
    ("body_style", 0.3, -2.0),
    ("doors", 0.1, -1.0),
)
"""Canonical fields, and the weight of agreeing and of disagreeing."""

_EASILY_CONFUSED = (
    frozenset(("gray", "silver", "blue")),
    frozenset(("gray", "black")),
    frozenset(("beige", "gold", "brown")),
    frozenset(("beige", "white")),
    frozenset(("red", "orange", "brown")),
    frozenset(("automatic", "cvt", "dual_clutch")),
    frozenset(("awd", "4wd")),
    frozenset(("2wd", "fwd", "rwd")),
    frozenset(("gasoline", "flex_fuel", "hybrid")),
    frozenset(("suv", "wagon", "hatchback")),
    frozenset(("coupe", "sedan", "hatchback")),
    frozenset(("van", "minivan")),
)
"""Terms that two people use for one thing."""


def _weigh_traits(a: ListingRow, b: ListingRow, reasons: dict[str, float]) -> None:
    for name, agree, disagree in _TRAITS:
        one, other = getattr(a, name), getattr(b, name)
        if one is not None and other is not None:
            if one == other:
                reasons[name] = agree
            elif not any(one in group and other in group for group in _EASILY_CONFUSED):
                reasons[f"other {name}"] = disagree
    if a.trim and b.trim:
        one, other = fold(a.trim), fold(b.trim)
        if one and other:
            alike = one in other or other in one
            reasons["trim" if alike else "other trim"] = 2.0 if one == other else 1.0 if alike else -2.5


def _weigh_images(a: ListingRow, b: ListingRow, reasons: dict[str, float]) -> None:
    if a.images and b.images and {_picture(u) for u in a.images[:3]} & {_picture(u) for u in b.images[:3]}:
        reasons["same picture"] = 4.0


def _picture(url: str) -> str:
    return url.partition("?")[0]


def _both_live_on_one_site(a: ListingRow, b: ListingRow) -> bool:
    if a.source_id != b.source_id or a.remote_id == b.remote_id:
        return False
    if a.status != ListingStatus.ACTIVE or b.status != ListingStatus.ACTIVE:
        return False
    seen_a, seen_b = a.last_seen_at or a.changed_at, b.last_seen_at or b.changed_at
    return abs(seen_a - seen_b) <= _SAME_DAY
