"""Signs of what a page is: a vehicle for sale, or one of the many things that only look like it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from selectolax.lexbor import LexborHTMLParser

from fill_pipeline.crawl.urls import join, same_site, site_of
from fill_pipeline.discovery.candidate import RejectReason
from fill_pipeline.extract.cards import other_things
from fill_pipeline.extract.dom import attribute, css, parse, strip_noise
from fill_pipeline.extract.listing import Layer, Listing
from fill_pipeline.extract.other_goods import Other

_SPOKEN = (Layer.STRUCTURED, Layer.STATE, Layer.LABELS)
_FACTS = (
    "mileage",
    "body_style",
    "engine",
    "fuel_type",
    "transmission",
    "drivetrain",
    "exterior_color",
    "doors",
    "trim",
)
_MIN_FACTS = 3
_PARKED = re.compile(
    r"(?:this )?domain (?:name )?(?:is|may be) (?:available )?for sale|buy this domain|"
    r"domain is parked|parked (?:free|domain)|"
    r"make an offer (?:for|on) (?:this )?(?:domain|\S+\.\S+)|"
    r"diese domain (?:steht|ist) .{0,20}zu[mr]? verkauf|domein(?:naam)? te koop",
    re.I,
)
_ARTICLE = re.compile(
    rb'"@type"\s*:\s*\[?\s*"(?:BlogPosting|NewsArticle|Article|Blog|Recipe)"|property=["\']og:type["\'][^>]{0,40}content=["\']article'
    rb'|content=["\']article["\'][^>]{0,40}property=["\']og:type', re.I)  # fmt: skip
_SHOP = re.compile(rb"add[ -]to[ -](?:cart|bag|basket)|in den warenkorb|ajouter au panier|in winkelwagen", re.I)
_MAX_LINKS = 3000
_FARM_SITES = 8
_FEW_WORDS = 250


def is_for_sale(listing: Listing) -> bool:
    """Whether a page that gave this listing really offers a vehicle.

    A name alone is not enough (every blog names cars), neither is a price in running text, nor a data sheet (magazines
    print those): besides make and model or year there must be a VIN on the page, or facts stated as such (structured
    data or label and value), what only a car on offer has among them: a mileage, or a price in structured data.
    """
    if listing.make is None or (listing.model is None and listing.year is None):
        return False
    evidence = listing.provenance
    if listing.vin is not None and "vin" in evidence and evidence["vin"].layer is not Layer.VIN:
        return True
    spoken = {name for name in _FACTS if getattr(listing, name) is not None and _layer(listing, name) in _SPOKEN}
    priced = listing.price is not None and _layer(listing, "price") in (Layer.STRUCTURED, Layer.STATE)
    driven = "mileage" in spoken
    return (priced and driven) or (len(spoken) >= _MIN_FACTS and (priced or driven))


@dataclass(frozen=True, slots=True)
class Links:
    """Where a page's links lead: within the site by path, and how many other sites."""

    inner: list[tuple[str, str]]
    foreign_sites: int


def read_links(body: bytes, url: str) -> tuple[LexborHTMLParser, Links]:
    """A page's tree and its links (address, words), in page order, each address once."""
    tree = parse(body[:4_000_000].decode("utf-8", errors="replace"))
    inner: dict[str, str] = {}
    foreign: set[str] = set()
    for node in css(tree, "a[href]")[:_MAX_LINKS]:
        target = join(url, attribute(node, "href"))
        if target is None:
            continue
        if same_site(target, url):
            words = " ".join(node.text(separator=" ").split())[:120]
            if len(words) > len(inner.get(target, "")) or target not in inner:
                inner[target] = words
        else:
            foreign.add(site_of(target))
    return tree, Links(list(inner.items()), len(foreign))


def why_no_source(body: bytes, url: str, *, goes_on: bool) -> tuple[RejectReason, str]:
    """What a site is that shows no vehicles on this page; ``goes_on`` when a chain of next pages led nowhere."""
    tree, links = read_links(body, url)
    title = tree.css_first("title")
    heading = " ".join(title.text().split())[:80] if title is not None else ""
    strip_noise(tree)
    words = " ".join(tree.body.text(separator=" ").split()) if tree.body is not None else ""
    if is_parked(words):
        return RejectReason.PARKED, f"a domain for sale: {heading!r}"
    if goes_on:
        return RejectReason.TRAP, "one page leads to the next without end and none lists a vehicle"
    if _ARTICLE.search(body):
        return RejectReason.ARTICLES, f"articles, no vehicles for sale: {heading!r}"
    if _SHOP.search(body) or other_things(tree, url=url) is Other.GOODS:
        return RejectReason.GOODS, f"a shop of other goods: {heading!r}"
    linked = sum(len(text) for _, text in links.inner)
    shapes = Counter(_shape(target) for target, _ in links.inner)
    most = shapes.most_common(1)[0][1] if shapes else 0
    if links.foreign_sites >= _FARM_SITES and (most >= 40 or linked > 0.5 * max(1, len(words))):
        return RejectReason.LINK_FARM, f"{most} links of one kind and links to {links.foreign_sites} other sites"
    return RejectReason.NO_VEHICLES, f"no list of vehicles for sale was found: {heading!r}"


def is_parked(words: str) -> bool:
    """Whether the words of a page say that its domain is for sale."""
    return len(words.split()) < _FEW_WORDS and _PARKED.search(words[:5_000]) is not None


def why_not_for_sale(body: bytes) -> tuple[RejectReason, str]:
    """What a page is that an index page linked to like a vehicle, and that offers none."""
    if _ARTICLE.search(body):
        return RejectReason.ARTICLES, "its pages are articles about cars"
    if _SHOP.search(body):
        return RejectReason.GOODS, "its pages sell goods that are no vehicles"
    return RejectReason.ARTICLES, "its pages name cars but offer none: no VIN, no stated facts"


def _layer(listing: Listing, name: str) -> Layer | None:
    evidence = listing.provenance.get(name)
    return evidence.layer if evidence is not None else None


def _shape(url: str) -> str:
    return re.sub(r"\d+", "0", urlsplit(url).path)
