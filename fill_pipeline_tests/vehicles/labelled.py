"""A labelled set of advertisements: real and simulated cars, each advertised again with what people get wrong.

The truth is known because every advertisement is made from a car whose VIN (or number in the simulated world) is
known; what the advertisement then states of it is what is left after typing errors, omissions and time.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from fill_pipeline.db.connect import Connection
from fill_pipeline.extract.gazetteer import fold
from fill_pipeline.extract.listing import Evidence, Layer, Listing
from fill_pipeline.simweb.world import Ad, Stand, World
from fill_pipeline.vehicles.clean import clean
from fill_pipeline.vehicles.store import ListingToWrite, write_listings
from fill_pipeline_tests.vehicles.snapshots import dealer_files, number, read_day, region_files

START = datetime(2025, 6, 1, tzinfo=UTC)
_BATCH = 300
_VIN_CHARACTERS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
_DRIVEN = 300
"""Miles or kilometres below which an odometer tells no new cars apart."""
_COMPARED = (
    "mileage",
    "price",
    "exterior_color",
    "interior_color",
    "trim",
    "city",
    "postal_code",
    "seller_name",
    "seller_phone",
    "transmission",
    "drivetrain",
    "body_style",
    "fuel_type",
)
"""What two advertisements can agree on beside the VIN."""


@dataclass(frozen=True, slots=True)
class LabelledAd:
    """An advertisement of a car; ``kind`` says what was done to it, such as "vin missing"."""

    car: str
    kind: str
    listing: Listing


@dataclass(frozen=True, slots=True)
class Step:
    """Advertisements that one site shows at one time; what the site showed before and does not show now is gone."""

    site: str
    at: datetime
    ads: list[LabelledAd]


@dataclass(slots=True)
class Judged:
    """How well pairs of advertisements of one car were found, by the kind of the pair.

    ``right`` are the pairs that are one car, ``found`` those of them put together, ``wrong`` pairs put together that
    are not; ``undecidable`` are the right pairs, not found, of which one advertisement without a VIN agrees with
    another car at least as well as with its own, or says nothing that could tell.
    """

    ads: int = 0
    right: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    undecidable: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    missed: list[tuple[int, int, str]] = field(default_factory=list)
    mistaken: list[tuple[int, int, str]] = field(default_factory=list)

    def precision(self) -> float:
        """The share of the pairs put together that are one car."""
        return self.found.total() / max(1, self.found.total() + self.wrong.total())

    def recall(self, *, decidable: bool = False) -> float:
        """The share of the pairs that are one car that were put together."""
        return self.found.total() / max(1, self.right.total() - (self.undecidable.total() if decidable else 0))


# ── Making advertisements ───────────────────────────────────────────────────────────────────────


def marketplace(corpus: Path, rng: random.Random, cars: int) -> list[Step]:
    """Real cars of dealers on a marketplace, on a second one, and relisted; among them twins and strangers.

    Strangers are other real cars, often of the same dealers, that only the second site shows, without their VIN.
    """
    every = autotrader_cars(corpus)
    rng.shuffle(every)
    chosen, strangers = every[:cars], every[cars : cars + cars // 3]
    known = [
        LabelledAd(_vin(car), "as it is", car)
        if rng.random() < 0.9
        else LabelledAd(_vin(car), "vin missing", _copy(car, vin=None))
        for car in chosen
    ]
    twins = [
        LabelledAd(f"twin {car.vin}", "twin", _twin(car, rng, f"t{i}"))
        for i, car in enumerate(chosen)
        if rng.random() < 0.15
    ]
    second = [_again(car, rng, f"e{i}") for i, car in enumerate(chosen) if rng.random() < 0.5]
    second += [
        LabelledAd(_vin(car), "stranger", _elsewhere(_copy(car, vin=None), rng, f"s{i}"))
        for i, car in enumerate(strangers)
    ]
    gone = {ad.car for ad in rng.sample(known, cars // 5)}
    back = [_again(car, rng, f"r{i}", "relisted, ") for i, car in enumerate(chosen) if car.vin in gone]
    standing = [ad for ad in known + twins if ad.car not in gone]
    return [
        Step("one", START, known + twins),
        Step("two", START + timedelta(hours=2), second),
        Step("one", START + timedelta(days=9), standing + back),
    ]


def snapshots(corpus: Path, rng: random.Random, cars: int) -> list[Step]:
    """Cars of a region's daily snapshots, two weeks later on another site; some only there."""
    files = region_files(corpus)
    first, later = _day(files[46], "k"), _day(files[58], "l")
    both = sorted(first.keys() & later.keys())
    only_later = sorted(later.keys() - first.keys())
    rng.shuffle(both)
    rng.shuffle(only_later)
    chosen = both[:cars]
    day = START + timedelta(days=20)
    return [
        Step("region", day, [LabelledAd(vin, "as it is", first[vin]) for vin in chosen]),
        Step(
            "other region",
            day + timedelta(days=14),
            [_hidden(later[vin], rng, f"o{vin}", "snapshot, ") for vin in chosen]
            + [LabelledAd(vin, "stranger", _hide(later[vin], f"n{vin}")) for vin in only_later[: cars // 3]],
        ),
    ]


def dealers(corpus: Path, rng: random.Random, cars: int) -> list[Step]:
    """New cars of one model at dealers of one region, many of them alike, a week later on another site."""
    files = dealer_files(corpus)
    first, later = _day(files[20], "d"), _day(files[27], "e")
    both = sorted(first.keys() & later.keys())
    rng.shuffle(both)
    chosen = both[:cars]
    day = START + timedelta(days=50)
    return [
        Step("dealers", day, [LabelledAd(vin, "as it is", first[vin]) for vin in chosen]),
        Step(
            "other dealers",
            day + timedelta(days=7),
            [_hidden(later[vin], rng, f"d{i}", "new twins, ") for i, vin in enumerate(chosen)],
        ),
    ]


def simulated(rng: random.Random, hours: Sequence[int] = (0, 3)) -> list[Step]:
    """What the simulated web's sites show at these world times, the VIN left out or mistyped in part of it."""
    world = World(seed=11, scale=0.3)
    begin = world.now
    said: dict[tuple[str, int], tuple[str, str | None]] = {}
    steps = []
    for hour in hours:
        world.set_time(begin + hour * 3_600)
        for site in world.sites.values():
            if not site.open:
                continue
            ads = []
            for ad in world.live(site):
                kind, vin = said.setdefault((site.slug, ad.remote_id), _vin_said(ad.vin, rng))
                ads.append(LabelledAd(ad.car.key, f"simulated, {kind}", _simulated_listing(ad, vin, world.now)))
            if ads:
                steps.append(Step(site.slug, START + timedelta(days=90, hours=hour), ads))
    return steps


def autotrader_cars(corpus: Path) -> list[Listing]:
    """The real cars of a marketplace's search pages, one for each VIN."""
    with gzip.open(corpus / "sites" / "autotrader-us" / "truth.jsonl.gz", "rt", encoding="utf-8") as file:
        records = {r["vehicleIdentificationNumber"]: r for r in (json.loads(line)["record"] for line in file)}
    return [_of_record(record) for record in records.values()]


def _of_record(record: dict[str, Any]) -> Listing:
    offer = record["offers"]
    address = offer["seller"].get("address", {})
    return _stated(
        url=record["url"],
        remote_id=str(record["sku"]),
        title=record["name"],
        year=record["productionDate"],
        make=record["brand"]["name"],
        model=record["model"],
        trim=_trim_of(record["name"], record["model"]),
        vin=record["vehicleIdentificationNumber"],
        price=offer.get("price") or None,
        currency="USD",
        mileage=number(record.get("mileageFromOdometer", {}).get("value")),
        mileage_unit="mi",
        condition=offer["itemCondition"].rsplit("/", 1)[-1],
        body_style=record["bodyType"][0] if record.get("bodyType") else None,
        fuel_type=record.get("fuelType"),
        transmission=record.get("vehicleTransmission"),
        drivetrain=record.get("driveWheelConfiguration"),
        exterior_color=record.get("color"),
        interior_color=record.get("vehicleInteriorColor"),
        city=address.get("addressLocality"),
        region=address.get("addressRegion"),
        postal_code=address.get("postalCode"),
        country="US",
        seller_name=offer["seller"].get("name"),
        seller_phone=offer["seller"].get("telephone"),
        images=[record["image"]] if record.get("image") else [],
    )


def _trim_of(name: str, model: str) -> str | None:
    return name.partition(f" {model} ")[2] or None


def _day(path: Path, prefix: str) -> dict[str, Listing]:
    """A snapshot's cars by VIN, each with a number of its site for its address."""
    return {
        _vin(item): _copy(item, remote_id=f"{prefix}{at}", url=f"https://{prefix}.example/{at}")
        for at, item in enumerate(read_day(path)[1])
    }


def _simulated_listing(ad: Ad, vin: str | None, now: int) -> Listing:
    pattern, market = ad.car.pattern, ad.site.market
    return _stated(
        url=f"https://{ad.site.slug}.example{ad.path}",
        remote_id=str(ad.remote_id),
        title=f"{pattern.year} {pattern.make} {pattern.model}",
        year=pattern.year,
        make=pattern.make,
        model=pattern.model,
        vin=vin,
        price=ad.price(now),
        price_kind=ad.price_kind(now),
        currency=market.currency,
        mileage=ad.miles,
        mileage_unit=market.mileage_unit,
        exterior_color=ad.car.colour,
        interior_color=ad.car.interior,
        city=ad.place.city,
        region=ad.place.region,
        postal_code=ad.place.postal_code,
        country=market.value,
        seller_name=None if ad.private else ad.seller,
        status="sold" if ad.stand(now) is Stand.SOLD else None,
    )


def _stated(**values: Any) -> Listing:
    stated = {n: v for n, v in values.items() if v is not None}
    evidence = {n: Evidence(Layer.STRUCTURED, "ld+json", 0.9) for n in stated if n not in ("url", "remote_id")}
    return Listing(**stated, provenance=evidence)


def _vin(listing: Listing) -> str:
    return listing.vin or ""


def _copy(item: Listing, **changes: Any) -> Listing:
    return msgspec.structs.replace(item, **changes)


def _vin_said(vin: str | None, rng: random.Random) -> tuple[str, str | None]:
    """What is done to a VIN, and what then stands there."""
    chance = rng.random()
    if vin is None or chance < 0.35:
        return "vin missing", None
    if chance < 0.5:
        at = rng.randrange(17)
        wrong = rng.choice([c for c in _VIN_CHARACTERS if c != vin[at]])
        return "vin mistyped", vin[:at] + wrong + vin[at + 1 :]
    return "same vin", vin


def _hide(item: Listing, remote_id: str) -> Listing:
    return _copy(item, vin=None, remote_id=remote_id, url=f"https://other.example/{remote_id}")


def _hidden(item: Listing, rng: random.Random, remote_id: str, prefix: str) -> LabelledAd:
    """The car as its later snapshot says, under another number, with its VIN left out or mistyped in half."""
    kind, vin = _vin_said(item.vin, rng)
    return LabelledAd(_vin(item), prefix + kind, _copy(_hide(item, remote_id), vin=vin))


def _again(item: Listing, rng: random.Random, remote_id: str, prefix: str = "") -> LabelledAd:
    kind, vin = _vin_said(item.vin, rng)
    return LabelledAd(_vin(item), prefix + kind, _elsewhere(_copy(item, vin=vin), rng, remote_id))


def _elsewhere(item: Listing, rng: random.Random, remote_id: str) -> Listing:
    """The same car elsewhere or later: price and odometer moved, words left out, other pictures."""
    mileage = item.mileage
    if mileage:
        chance = rng.random()
        mileage = mileage if chance < 0.8 else round(mileage, -2) if chance < 0.9 else mileage + rng.randint(1, 250)
    price = item.price
    if price:
        price = price if rng.random() < 0.5 else round(price * rng.uniform(0.96, 1.02))
    return _copy(
        item,
        remote_id=remote_id,
        url=f"https://two.example/{remote_id}",
        price=price,
        mileage=mileage,
        title=f"{item.make} {item.model} {item.year}",
        exterior_color=item.exterior_color if rng.random() < 0.85 else None,
        city=item.city if rng.random() < 0.9 else None,
        postal_code=item.postal_code if rng.random() < 0.5 else None,
        seller_name=item.seller_name if rng.random() < 0.7 else None,
        seller_phone=None,
        images=[f"https://two.example/{remote_id}.jpg"],
    )


def _twin(item: Listing, rng: random.Random, remote_id: str) -> Listing:
    """Another car of the same lot: all but the odometer and the VIN (not stated) is the same."""
    mileage = None if item.mileage is None else max(0, round(item.mileage * rng.uniform(0.7, 1.4)))
    return _copy(item, remote_id=remote_id, url=f"https://one.example/{remote_id}", vin=None, mileage=mileage)


# ── Writing them, and judging what came of it ───────────────────────────────────────────────────


def judge(conn: Connection, steps: Iterable[Step], add_source: Callable[[str], UUID]) -> Judged:
    """Write the steps in order of time into a clean database and compare its vehicles with the truth."""
    sources: dict[str, UUID] = {}
    listed: dict[str, dict[str, int]] = defaultdict(dict)  # site → what it showed last, by remote id
    label: dict[int, LabelledAd] = {}
    for step in sorted(steps, key=lambda s: s.at):
        source_id = sources.get(step.site) or sources.setdefault(step.site, add_source(step.site))
        now_listed = {}
        gone = [i for r, i in listed[step.site].items() if r not in {ad.listing.remote_id for ad in step.ads}]
        conn.execute("UPDATE listing_records SET status = 'delisted' WHERE id = ANY(%s)", (gone,))
        for ad, listing_id in _written(conn, step, source_id):
            label[listing_id] = ad
            now_listed[ad.listing.remote_id or ""] = listing_id
        listed[step.site] = now_listed
    return _compare(conn, label)


def _written(conn: Connection, step: Step, source_id: UUID) -> Iterator[tuple[LabelledAd, int]]:
    for at in range(0, len(step.ads), _BATCH):
        part = step.ads[at : at + _BATCH]
        rows = [ListingToWrite.of(clean(ad.listing, now=step.at), source_id=source_id, source=step.site) for ad in part]
        with conn.transaction():
            result = write_listings(conn, rows, cycle_id=str(step.at), now=step.at)
        for ad, row in zip(part, result.rows, strict=True):
            yield ad, row.listing_id


def _compare(conn: Connection, label: dict[int, LabelledAd]) -> Judged:
    judged = Judged(ads=len(label))
    vehicle_of: dict[int, int | None] = dict(conn.execute("SELECT id, vehicle_id FROM listing_records").fetchall())
    cars: dict[str, list[int]] = defaultdict(list)
    vehicles: dict[int | None, list[int]] = defaultdict(list)
    alike: dict[str, list[int]] = defaultdict(list)
    for listing_id, ad in label.items():
        cars[ad.car].append(listing_id)
        vehicles[vehicle_of[listing_id]].append(listing_id)
        alike[_block(ad.listing)].append(listing_id)
    for ids in cars.values():
        for a, b in combinations(sorted(ids), 2):
            kind = _kind(label[a], label[b])
            judged.right[kind] += 1
            if vehicle_of[a] is not None and vehicle_of[a] == vehicle_of[b]:
                judged.found[kind] += 1
            else:
                judged.missed.append((a, b, kind))
                judged.undecidable[kind] += _undecidable(label, alike, a, b)
    for ids in vehicles.values():
        for a, b in combinations(sorted(ids), 2):
            if label[a].car != label[b].car:
                kind = _kind(label[a], label[b])
                judged.wrong[kind] += 1
                judged.mistaken.append((a, b, kind))
    return judged


def _kind(a: LabelledAd, b: LabelledAd) -> str:
    if a.kind == b.kind:
        return f"{a.kind} on both sides"
    return " + ".join(sorted(k for k in (a.kind, b.kind) if k != "as it is"))


def _block(item: Listing) -> str:
    return f"{fold(item.make or '')}|{fold(item.model or '')}|{item.year}"


def _undecidable(label: dict[int, LabelledAd], alike: dict[str, list[int]], a: int, b: int) -> bool:
    """Whether one of two advertisements of a car, its VIN aside, agrees with another car at least as well.

    That is so where in everything in which it agrees with its own car it also agrees with the other, and where it
    says neither who sells it nor where nor how far it was driven: it could be any of its kind in the country.
    """
    for one, own in ((a, b), (b, a)):
        item = label[one].listing
        if item.vin is not None:
            continue
        if not (item.mileage or 0) >= _DRIVEN and not (item.city or item.postal_code or item.seller_name):
            return True
        shared = _agreeing(item, label[own].listing)
        for other in alike[_block(item)]:
            if label[other].car != label[one].car and _agreeing(item, label[other].listing) >= shared:
                return True
    return False


def _agreeing(a: Listing, b: Listing) -> frozenset[str]:
    return frozenset(n for n in _COMPARED if getattr(a, n) is not None and getattr(a, n) == getattr(b, n))
