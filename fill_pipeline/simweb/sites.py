"""The sites of the simulated web: what each is, how it lays out its stock, and how to configure it as a source."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any

from .design import Design
from .faults import Faults
from .places import PLACES, Market, Place, site_name, slug_of


class SiteKind(StrEnum):
    """What a site is. The first five are vehicle sites, the others decoys."""

    MARKETPLACE = "marketplace"
    CLASSIFIEDS = "classifieds"
    AUCTION_HOUSE = "auction_house"
    DEALER = "dealer"
    FEED = "feed"
    BLOG = "blog"  # articles that speak of cars and sell none
    PARTS = "parts"  # a shop of parts: prices, makes and models, no vehicle
    LINK_FARM = "link_farm"  # links to everywhere
    PARKED = "parked"  # a domain for sale
    CALENDAR = "calendar"  # a calendar whose next month never ends


VEHICLE_KINDS = tuple(SiteKind)[:5]


class Layout(StrEnum):
    """How a vehicle site shows its stock; each is one family of pages."""

    API = "api"  # JSON API with a cursor, details with embedded state
    CARDS = "cards"  # search pages carry every field and JSON-LD
    PAGES = "pages"  # classifieds, ?page=N, attribute groups
    OFFSETS = "offsets"  # classifieds, ?s=offset, attribute groups
    LOTS = "lots"  # auction lots and results, JSON-LD on details
    SITEMAP = "sitemap"  # dealer with sitemap index and microdata
    TABLE = "table"  # dealer with label/value tables, no structured data
    DL = "dl"  # dealer with dl lists, no structured data
    NEXT_LINK = "next_link"  # dealer whose pages are joined by next links
    FEED = "feed"  # RSS and JSON feed


@dataclass(frozen=True, slots=True)
class Plan:
    """A site to be: its kind, layout and share of the stream of new ads."""

    kind: SiteKind
    layout: Layout
    share: float
    market: Market = Market.US
    crawl_delay: float | None = None
    private: bool = False
    sly: bool = False  # a decoy that looks more like a vehicle site than its kind usually does


_NUMBER = re.compile(r"(?<!\d)\d{10,12}(?!\d)")  # of an ad, in its URL
K, L = SiteKind, Layout
INITIAL = (
    Plan(K.MARKETPLACE, L.API, 0.20),
    Plan(K.MARKETPLACE, L.CARDS, 0.24),
    Plan(K.CLASSIFIEDS, L.PAGES, 0.12, private=True),
    Plan(K.CLASSIFIEDS, L.OFFSETS, 0.07),
    Plan(K.AUCTION_HOUSE, L.LOTS, 0.05),
    Plan(K.MARKETPLACE, L.DL, 0.05, Market.DE),
    Plan(K.FEED, L.FEED, 0.03),
    Plan(K.DEALER, L.SITEMAP, 0.04),
    Plan(K.DEALER, L.SITEMAP, 0.03),
    Plan(K.DEALER, L.SITEMAP, 0.03),
    Plan(K.DEALER, L.TABLE, 0.03),
    Plan(K.DEALER, L.DL, 0.03),
    Plan(K.DEALER, L.NEXT_LINK, 0.03),
    Plan(K.DEALER, L.TABLE, 0.024, Market.CA),
    Plan(K.DEALER, L.NEXT_LINK, 0.02),
    Plan(K.DEALER, L.TABLE, 0.006, crawl_delay=1.0),
)
HIDDEN = (
    Plan(K.DEALER, L.SITEMAP, 0.03),
    Plan(K.DEALER, L.TABLE, 0.02),
    Plan(K.DEALER, L.DL, 0.02),
    Plan(K.DEALER, L.NEXT_LINK, 0.02),
    Plan(K.MARKETPLACE, L.API, 0.05),
    Plan(K.MARKETPLACE, L.CARDS, 0.05),
    Plan(K.CLASSIFIEDS, L.PAGES, 0.04),
    Plan(K.AUCTION_HOUSE, L.LOTS, 0.03),
    Plan(K.FEED, L.FEED, 0.02),
    *(Plan(kind, L.PAGES, 0.0) for kind in (K.BLOG, K.PARTS, K.LINK_FARM, K.PARKED, K.CALENDAR)),
)
# What a brand-new site of a kind looks like when no hidden one is left.
_NEW_LAYOUTS = {
    K.MARKETPLACE: (L.CARDS, L.API),
    K.CLASSIFIEDS: (L.PAGES, L.OFFSETS),
    K.AUCTION_HOUSE: (L.LOTS,),
    K.DEALER: (L.SITEMAP, L.TABLE, L.DL, L.NEXT_LINK),
    K.FEED: (L.FEED,),
}
_NEW_MARKETS = (Market.US, Market.US, Market.DE, Market.CA)

# Paths of the index and of a detail page; {id} and {words} are filled in. One is chosen per site by seed.
_INDEX_PATHS = {
    L.API: ("/search",),
    L.CARDS: ("/cars-for-sale", "/used-cars"),
    L.PAGES: ("/search/cars", "/vehicles"),
    L.OFFSETS: ("/d/cars-trucks", "/s/autos"),
    L.LOTS: ("/auctions",),
    L.NEXT_LINK: ("/used-vehicles/", "/our-stock/"),
    L.FEED: ("/stock",),
}
_DETAIL_PATHS = {
    L.API: ("/vehicle/{id}/{words}",),
    L.CARDS: ("/cars-for-sale/listing/{id}", "/used-cars/detail/{words}-{id}"),
    L.PAGES: ("/view/{words}/{id}.html", "/ad/{id}"),
    L.OFFSETS: ("/cto/d/{words}/{id}.html",),
    L.LOTS: ("/lot/{words}-{id}/",),
    L.SITEMAP: ("/inventory/{words}-{id}/", "/vehicle-details/{words}/{id}"),
    L.TABLE: ("/used/{words}-{id}.htm", "/car/{id}"),
    L.DL: ("/details/{id}-{words}", "/showroom/{words}/{id}"),
    L.NEXT_LINK: ("/stock/{id}/{words}",),
    L.FEED: ("/stock/{id}",),
}
_GERMAN_INDEX, _GERMAN_DETAIL = "/fahrzeuge", "/fahrzeuge/details/{words}-{id}"


@dataclass(eq=False)
class Site:
    """One site. ``host`` is its present host label; ``slug`` never changes."""

    slug: str
    name: str
    plan: Plan
    place: Place
    phone: str
    seed: int
    id_base: int
    index_path: str
    detail_path: str
    open: bool
    design: Design
    host: str = ""
    revision: int = 0  # counts redesigns
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self.host = self.host or self.slug
        before, _, after = self.detail_path.partition("{id}")
        self.detail_prefix = before.partition("{")[0]
        self.detail_suffix = after if "{" not in after else ""

    @property
    def kind(self) -> SiteKind:
        """What the site is."""
        return self.plan.kind

    @property
    def layout(self) -> Layout:
        """Its family of pages."""
        return self.plan.layout

    @property
    def market(self) -> Market:
        """The country it sells in."""
        return self.plan.market

    def detail_path_of(self, remote_id: int, words: str) -> str:
        """Path of an ad's page."""
        return self.detail_path.format(id=remote_id, words=words)

    def id_in(self, path: str) -> int | None:
        """The ad's number in a path of a detail page, None when it is none."""
        found = _NUMBER.search(path, len(self.detail_prefix)) if path.startswith(self.detail_prefix) else None
        return int(found[0]) if found else None

    def suggested_config(self) -> dict[str, Any]:
        """The source configuration that fits this site."""
        pattern = self.detail_path.replace(".", r"\.").replace("{id}", r"\d{10,12}").replace("{words}", "[^/]+") + "$"
        config: dict[str, Any] = {
            "rate_limit": {"requests_per_minute": 60_000, "delay_between_requests_ms": 0, "max_concurrency": 8},
            "index": {"urls": [self.index_path], "link_pattern": pattern},
        }
        keys = self.design.keys
        size = self.design.page_size
        match self.layout:
            case Layout.API:
                config["pagination"] = {
                    "type": "cursor",
                    "cursor_param": self.design.page_param("cursor"),
                    "cursor_path": keys["next_cursor"],
                    "limit_param": "limit",
                    "page_size": 100,
                }
                config["index"] = {"urls": ["/api/listings"], "items_path": keys["items"]}
                config["index"]["url_template"] = self.detail_path.replace("{words}", "{slug}")
            case Layout.OFFSETS:
                param = self.design.page_param("s")
                config["pagination"] = {"type": "offset", "offset_param": param, "page_size": size}
            case Layout.SITEMAP:
                config["pagination"] = {"type": "sitemap", "sitemap_pattern": pattern}
                del config["index"]
            case Layout.NEXT_LINK:
                config["pagination"] = {"type": "next_link"}
            case Layout.FEED:
                config["pagination"] = {"type": "feed"}
                config["index"] = {"urls": ["/feed.xml"]}
            case _:
                param = self.design.page_param("seite" if self.market is Market.DE else "page")
                config["pagination"] = {"type": "page", "page_param": param, "start": 1}
                if self.layout is Layout.CARDS:
                    config["detail"] = "if_incomplete"
        return config


def make_sites(seed: int) -> list[Site]:
    """The sites of a world: those open from the start, then the hidden ones."""
    rng = Random(f"sites/{seed}")
    taken: set[str] = set()
    return [make_site(plan, rng, taken, is_open=i < len(INITIAL)) for i, plan in enumerate(INITIAL + HIDDEN)]


def new_plan(kind: SiteKind, number: int) -> Plan:
    """The plan of the ``number``-th brand-new site of a kind."""
    layouts = _NEW_LAYOUTS.get(kind, (Layout.PAGES,))
    market = _NEW_MARKETS[number // 2 % 4] if kind in (K.DEALER, K.MARKETPLACE) else Market.US
    if kind not in VEHICLE_KINDS:
        return Plan(kind, Layout.PAGES, 0.0, sly=number % 2 == 0)
    return Plan(kind, layouts[number % len(layouts)], 0.02, market)


def make_site(plan: Plan, rng: Random, taken: set[str], *, is_open: bool) -> Site:
    """A site with a name not yet in ``taken``."""
    name = site_name(rng, plan.kind.value, taken, plan.market)
    seed = rng.getrandbits(32)
    choice = Random(seed)
    german = plan.market is Market.DE
    return Site(
        slug=slug_of(name),
        name=name,
        plan=plan,
        place=choice.choice(PLACES[plan.market]),
        phone=f"({choice.randrange(201, 990)}) 555-01{choice.randrange(100):02d}",
        seed=seed,
        id_base=choice.randrange(1_000_000_000, 8_000_000_000),
        index_path=_GERMAN_INDEX if german else choice.choice(_INDEX_PATHS.get(plan.layout, ("/inventory", "/cars"))),
        detail_path=_GERMAN_DETAIL if german else choice.choice(_DETAIL_PATHS[plan.layout]),
        open=is_open,
        design=Design.first(seed, specs=_SPECS[plan.layout], german=german),
    )


# How a layout writes labels and values, and which structured data its details carry.
_SPECS = {
    L.API: ("divs", "state"),
    L.CARDS: ("list", "jsonld"),
    L.PAGES: ("groups", "none"),
    L.OFFSETS: ("groups", "none"),
    L.LOTS: ("list", "jsonld"),
    L.SITEMAP: ("table", "microdata"),
    L.TABLE: ("table", "none"),
    L.DL: ("dl", "none"),
    L.NEXT_LINK: ("divs", "none"),
    L.FEED: ("dl", "none"),
}
