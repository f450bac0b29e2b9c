"""The world: which ads stand at a time. A pure function of seed, world time and what the control API did."""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import accumulate
from random import Random

from .car import Car, draw_car
from .places import MILES_PER_KM, PLACES, Market, Place, site_name
from .sites import Plan, Site, SiteKind, make_site, make_sites, new_plan

START = int(datetime(2026, 3, 2, 6, tzinfo=UTC).timestamp())
SLOT_SECONDS = 7_200  # ads are drawn two hours at a time
FIRST_STOCK = 3_600  # cars on sale when the world starts, at scale 1
NEW_ADS_PER_SLOT = 2_400
TWICE_LISTED = 0.08  # share of cars that two sites advertise
SHORTEST_LIFE, LONGEST_LIFE = 1.5 * 3600, 12 * 3600  # seconds an ad stands
MEAN_LIFE = 4.5 * 3600
SOLD_PAGE_LIFE = 3_600  # a sold car's page says so that long, then it is gone
RESULT_LIFE = 4 * 3600  # an ended auction stays among the results that long
SIMILAR = 5  # other ads a page shows
_PARTNERS = 36  # dealers without a site of their own
_SLOTS_KEPT = 300  # slots in memory before untouched ones are forgotten; they can be drawn again
SLOTS_ALIVE = int((LONGEST_LIFE + RESULT_LIFE) // SLOT_SECONDS) + 1
CARS_PER_SLOT_LIMIT = 1_000_000  # an ad's number is slot × this + its place in the slot


class Stand(StrEnum):
    """Where an ad stands at a time."""

    UNKNOWN = "unknown"  # not posted yet, or never
    ACTIVE = "active"
    SOLD = "sold"  # sold: the page still says so
    ENDED = "ended"  # auction ended below its reserve
    GONE = "gone"


@dataclass(slots=True, eq=False)
class Ad:
    """One car on one site. Times are epoch seconds; ``prices`` are (from when, whole units of the site's currency)."""

    site: Site
    remote_id: int
    car: Car
    place: Place
    seller: str
    seller_site: Site | None
    private: bool
    miles: int | None  # in the site's unit; None: the seller does not say
    vin: str | None
    posted_at: int
    ends_at: int
    sells: bool  # at its end it is sold; otherwise it expires, or stays below its reserve
    prices: list[tuple[int, int]]  # empty: "call for price"
    negotiable: bool
    reserve: int | None
    wording: int  # seed of its description
    similar: list[Ad] = field(default_factory=list)

    words: str = ""  # the part of the URL that names the car
    path: str = ""  # of its page

    def __post_init__(self) -> None:
        p = self.car.pattern
        self.words = f"{p.year}-{p.make}-{p.model}".lower().replace(" ", "-")
        self.path = self.site.detail_path_of(self.remote_id, self.words)

    @property
    def is_lot(self) -> bool:
        """Whether it is auctioned."""
        return self.site.kind is SiteKind.AUCTION_HOUSE

    def stand(self, now: int) -> Stand:
        """Where it stands at ``now``."""
        if now < self.posted_at:
            return Stand.UNKNOWN
        if now < self.ends_at:
            return Stand.ACTIVE
        if now >= self.ends_at + (RESULT_LIFE if self.is_lot else SOLD_PAGE_LIFE):
            return Stand.GONE
        return Stand.SOLD if self.sells else Stand.ENDED if self.is_lot else Stand.GONE

    def price(self, now: int) -> int | None:
        """Its price at ``now`` (an auction's: the highest bid), None when it names none."""
        found = None
        for since, price in self.prices:
            if since <= now or found is None:
                found = price
        return found

    def price_kind(self, now: int) -> str:
        """What the price means: asking, bid, sold or reserve."""
        stand = self.stand(now)
        if stand is Stand.SOLD:
            return "sold"
        return ("reserve" if stand is Stand.ENDED else "bid") if self.is_lot else "asking"

    def changed_at(self, now: int) -> int:
        """When its page last changed."""
        times = [self.posted_at, *(since for since, _ in self.prices if since <= now)]
        return max([*times, self.ends_at] if now >= self.ends_at else times)


@dataclass
class Stream:
    """A flow of new cars onto some sites, with so many at the start and in every slot."""

    name: str
    sites: list[Site]
    first: int
    per_slot: int


Slot = dict[str, dict[int, Ad]]  # the ads of a slot by site and number
Partner = tuple[str, Site | None]  # a dealer who advertises on marketplaces: name, and site if he has one


class World:
    """Sites and their ads at the present world time."""

    def __init__(self, seed: int = 7, scale: float = 1.0) -> None:
        self.seed, self.scale = seed, scale
        self.reset()

    def reset(self) -> None:
        """Back to the start: time, sites, designs, faults and ads."""
        self.now = START
        self.version = 0  # counts whatever changes what stands
        self.sites: dict[str, Site] = {site.slug: site for site in make_sites(self.seed)}
        self.hosts: dict[str, Site] = dict(self.sites)
        self.linked = [site for site in self.sites.values() if not site.open]  # hidden ones that others link to
        opened = [site for site in self.sites.values() if site.open]
        per_slot = NEW_ADS_PER_SLOT / (1 + TWICE_LISTED)
        main = Stream("main", opened, round(FIRST_STOCK * self.scale), round(per_slot * self.scale))
        self._streams = {site.slug: main for site in opened}
        dealers = [site for site in self.linked if site.kind is SiteKind.DEALER]
        names = {site.name for site in self.sites.values()}
        rng = Random(f"partners/{self.seed}")
        self._partners: list[Partner] = [(site_name(rng, "dealer", names), None) for _ in range(_PARTNERS)]
        self._partners += [(site.name, site) for site in dealers]
        for site in self.linked:
            self._add_stream(site)
        self._slots: dict[tuple[str, int], Slot] = {}
        self._touched: set[tuple[str, int]] = set()  # slots with an ad the control API changed
        self._live: dict[str, tuple[int, list[Ad]]] = {}
        self._made = 0

    def set_time(self, now: int) -> None:
        """Moves the clock, forwards or backwards (not before the start)."""
        self.now = max(START, now)
        self.version += 1
        if len(self._slots) > _SLOTS_KEPT:
            self._slots = {key: ads for key, ads in self._slots.items() if key in self._touched}

    def live(self, site: Site) -> list[Ad]:
        """The ads a site lists now, newest first."""
        version, ads = self._live.get(site.slug, (-1, []))
        if version != self.version:
            ads = sorted(self._standing(site), key=lambda ad: (-ad.posted_at, ad.remote_id))
            self._live[site.slug] = (self.version, ads)
        return [] if site.faults.empty else ads

    def find(self, site: Site, remote_id: int) -> Ad | None:
        """The ad of that number, whatever its state, None when there never was one."""
        slot, place = divmod(remote_id - site.id_base, CARS_PER_SLOT_LIMIT)
        stream = self._streams.get(site.slug)
        if stream is None or place < 0 or not 0 <= slot <= self._slot_now():
            return None
        return self._slot(stream, slot).get(site.slug, {}).get(remote_id)

    def open_site(self, wanted: str) -> Site | None:
        """Opens a hidden site by slug, or by kind the first hidden one or else a brand-new one."""
        site = self.sites.get(wanted)
        if site is None:
            if wanted not in tuple(SiteKind):
                return None
            kind = SiteKind(wanted)
            hidden = [s for s in self.sites.values() if s.kind is kind and not s.open]
            site = hidden[0] if hidden else self._new_site(new_plan(kind, self._made))
        site.open = True
        self.version += 1
        return site

    def move(self, site: Site, host: str) -> None:
        """Gives a site another host; its old one only redirects from now on."""
        self.hosts[host] = site
        site.host = host
        self.version += 1

    def sell(self, ad: Ad) -> None:
        """The car is sold now."""
        ad.ends_at, ad.sells = min(ad.ends_at, self.now), True
        self._touch(ad)

    def set_price(self, ad: Ad, price: int) -> None:
        """The ad asks that much from now on."""
        ad.prices = [p for p in ad.prices if p[0] <= self.now] + [(self.now, price)]
        self._touch(ad)

    def _touch(self, ad: Ad) -> None:
        slot = (ad.remote_id - ad.site.id_base) // CARS_PER_SLOT_LIMIT
        self._touched.add((self._streams[ad.site.slug].name, slot))
        self.version += 1

    def _new_site(self, plan: Plan) -> Site:
        self._made += 1
        names = {site.name for site in self.sites.values()}
        site = make_site(plan, Random(f"new/{self.seed}/{self._made}"), names, is_open=True)
        self.sites[site.slug] = self.hosts[site.slug] = site
        self._add_stream(site)
        return site

    def _add_stream(self, site: Site) -> None:
        share = site.plan.share * self.scale
        if share:
            first, per_slot = round(FIRST_STOCK * share), round(NEW_ADS_PER_SLOT * share)
            self._streams[site.slug] = Stream(site.slug, [site], first, per_slot)

    def _slot_now(self) -> int:
        return (self.now - START) // SLOT_SECONDS + 1

    def _standing(self, site: Site) -> Iterator[Ad]:
        stream = self._streams.get(site.slug)
        if stream is None:
            return
        last = self._slot_now()
        for slot in range(max(0, last - SLOTS_ALIVE), last + 1):
            for ad in self._slot(stream, slot).get(site.slug, {}).values():
                stand = ad.stand(self.now)
                if stand is Stand.ACTIVE or (ad.is_lot and stand in (Stand.SOLD, Stand.ENDED)):
                    yield ad

    def _slot(self, stream: Stream, slot: int) -> Slot:
        """The ads of a slot by site; slot 0 is the stock the world starts with."""
        ads = self._slots.get((stream.name, slot))
        if ads is None:
            ads = self._slots[stream.name, slot] = _draw_slot(self.seed, stream, slot, self._partners)
        return ads


def _draw_slot(seed: int, stream: Stream, slot: int, partners: list[Partner]) -> Slot:
    drawn: dict[str, list[Ad]] = defaultdict(list)
    shares = list(accumulate(site.plan.share for site in stream.sites))
    seconds = [site for site in stream.sites if site.kind is not SiteKind.DEALER and site.market is Market.US]
    for place in range(stream.per_slot if slot else stream.first):
        rng = Random(f"{seed}/{stream.name}/{slot}/{place}")
        home = stream.sites[bisect(shares, rng.random() * shares[-1])]
        car = draw_car(rng, f"{stream.name}-{slot}-{place}", home.market)
        number = slot * CARS_PER_SLOT_LIMIT + place
        ad = _draw_ad(rng, home, car, slot, number, partners)
        drawn[home.slug].append(ad)
        others = [site for site in seconds if site is not home]
        if rng.random() < TWICE_LISTED and home.market is Market.US and others:
            other = rng.choice(others)
            drawn[other.slug].append(_second(rng, ad, other, number))
    for ads in drawn.values():
        ads.sort(key=lambda ad: (ad.posted_at, ad.remote_id))
        for i, ad in enumerate(ads):
            ad.similar = ads[max(0, i - SIMILAR) : i]
    return {slug: {ad.remote_id: ad for ad in ads} for slug, ads in drawn.items()}


def _draw_ad(rng: Random, site: Site, car: Car, slot: int, number: int, partners: list[Partner]) -> Ad:
    if slot:
        posted = START + (slot - 1) * SLOT_SECONDS + rng.randrange(SLOT_SECONDS)
        life = min(LONGEST_LIFE, SHORTEST_LIFE + rng.expovariate(1 / (MEAN_LIFE - SHORTEST_LIFE)))
    else:
        posted = START - rng.randrange(600, 20 * 86_400)
        life = START - posted + min(LONGEST_LIFE, 900 + rng.expovariate(1 / MEAN_LIFE))
    ends = posted + int(life)
    private = site.kind is SiteKind.CLASSIFIEDS and rng.random() < 0.7
    dealer = site.kind in (SiteKind.DEALER, SiteKind.FEED)
    seller, seller_site = ("Private Seller", None) if private else rng.choice(partners)
    place = site.place if dealer else rng.choice(PLACES[site.market])
    ad = Ad(
        site=site,
        remote_id=site.id_base + number,
        car=car,
        place=place,
        seller=site.name if dealer else seller,
        seller_site=site if dealer else seller_site,
        private=private,
        miles=_miles(rng, site, car, private),
        vin=None if site.kind is SiteKind.CLASSIFIEDS and rng.random() < 0.04 else car.vin,
        posted_at=posted,
        ends_at=ends,
        sells=rng.random() < 0.7,
        prices=[],
        negotiable=private and rng.random() < 0.3,
        reserve=None,
        wording=rng.getrandbits(30),
    )
    _set_prices(rng, ad, car.value * site.market.per_dollar)
    return ad


def _second(rng: Random, first: Ad, site: Site, number: int) -> Ad:
    """The same car on another site: a little later, at a slightly other price, in other words."""
    ad = Ad(
        site=site,
        remote_id=site.id_base + number,
        car=first.car,
        place=first.place,
        seller=first.seller,
        seller_site=first.seller_site,
        private=first.private,
        miles=_miles(rng, site, first.car, first.private),
        vin=first.car.vin,
        posted_at=first.posted_at + rng.randrange(60, 900),
        ends_at=first.ends_at,
        sells=first.sells,
        prices=[],
        negotiable=False,
        reserve=None,
        wording=rng.getrandbits(30),
    )
    _set_prices(rng, ad, first.car.value * rng.uniform(0.98, 1.03))
    return ad


def _miles(rng: Random, site: Site, car: Car, private: bool) -> int | None:
    """The odometer as the seller writes it, in the site's unit; private sellers round, a few say nothing."""
    if private and rng.random() < 0.03:
        return None
    miles = car.miles if site.market is Market.US else round(car.miles / MILES_PER_KM)
    step = 100 if private or site.market is Market.DE else 1
    return max(step, miles // step * step)


def _set_prices(rng: Random, ad: Ad, value: float) -> None:
    if ad.is_lot:
        _set_bids(rng, ad, value)
        return
    if rng.random() < (0.03 if ad.private else 0.015):
        return  # "call for price"
    step, end = (100, 0) if ad.private or ad.site.market is Market.DE else (100, -5)
    price = max(900, int(value) // step * step) + end
    ad.prices = [(ad.posted_at, price)]
    if rng.random() < 0.3:  # it drops once, somewhere in the middle of its life
        when = ad.posted_at + int((ad.ends_at - ad.posted_at) * rng.uniform(0.3, 0.8))
        ad.prices.append((when, int(price * rng.uniform(0.93, 0.98)) // step * step + end))


def _set_bids(rng: Random, ad: Ad, value: float) -> None:
    final = int(value * rng.uniform(0.85, 1.1))
    length = ad.ends_at - ad.posted_at
    for part in (0.0, 0.2, 0.45, 0.7, 0.9, 0.99):
        bid = final * (0.3 + 0.7 * part / 0.99)
        ad.prices.append((ad.posted_at + int(length * part), max(500, int(bid) // 250 * 250)))
    reserve = ad.prices[-1][1] if ad.sells else int(final * 1.15) // 500 * 500
    ad.reserve = None if rng.random() < 0.3 and ad.sells else reserve
