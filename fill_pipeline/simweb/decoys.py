"""Sites that are no source of vehicles: blogs, parts shops, link farms, parked domains, traps without end."""

from __future__ import annotations

from random import Random

import orjson

from .catalog import load_catalog
from .chrome import Chrome
from .page import Page
from .sites import Site, SiteKind

_POSTS = 60
_PARTS = 300
_PART_NAMES = [
    "Brake Pads",
    "Oil Filter",
    "Headlight Assembly",
    "Alternator",
    "Water Pump",
    "Floor Mats",
    "Wheel Bearing",
]
_FARM_PAGES = 5_000


def decoy_page(site: Site, path: str, chrome: Chrome, links: list[tuple[str, str]]) -> Page | None:
    """The page of a decoy at a path, None when it has none; ``links`` are other sites' names and URLs."""
    match site.kind:
        case SiteKind.BLOG:
            return _blog(site, path, chrome)
        case SiteKind.PARTS:
            return _parts(site, path, chrome)
        case SiteKind.LINK_FARM:
            return _link_farm(site, path, chrome, links)
        case SiteKind.CALENDAR:
            return _maze(site, path, chrome) if site.plan.sly else _calendar(path, chrome)
        case _:
            return _parked(site)


def _blog(site: Site, path: str, chrome: Chrome) -> Page | None:
    if path == "/":
        posts = "".join(f'<li><a href="/post/{n}">{_headline(site, n)}</a></li>' for n in range(_POSTS))
        return chrome.page(site.name, f"<h1>{site.name}</h1><ul>{posts}</ul>")
    number = _number(path, "/post/", _POSTS)
    if number is None:
        return None
    rng = Random(f"{site.seed}/{number}")
    pattern = rng.choice(load_catalog())
    body = (
        f"<h1>{_headline(site, number)}</h1><p>Last spring I drove a {pattern.year} {pattern.make} {pattern.model} "
        f"for {rng.randrange(2, 9):,},000 miles and kept notes. A friend paid ${rng.randrange(8, 40)},500 for his; "
        f"mine had the {pattern.engine}. It is not for sale, and this is a story, not an advertisement.</p>"
    )
    if site.plan.sly:  # a magazine that prints the data sheet of what it tests
        sheet = {
            "Engine": pattern.engine,
            "Fuel Type": pattern.fuel,
            "Transmission": pattern.transmission,
            "Drivetrain": pattern.drivetrain,
            "Body Style": pattern.body,
            "Doors": str(pattern.doors),
            "MSRP": f"${rng.randrange(18, 60)},{rng.randrange(100, 990)}",
        }
        rows = "".join(f"<tr><th>{label}</th><td>{value}</td></tr>" for label, value in sheet.items())
        body += f"<h2>Data sheet</h2><table>{rows}</table>"
    return chrome.page(_headline(site, number), body)


def _headline(site: Site, number: int) -> str:
    pattern = Random(f"{site.seed}/{number}").choice(load_catalog())
    return f"Living with the {pattern.year} {pattern.make} {pattern.model}"


def _parts(site: Site, path: str, chrome: Chrome) -> Page | None:
    if path == "/":
        goods = "".join(f'<li><a href="/part/{n}">{_part(site, n)[0]}</a></li>' for n in range(100))
        return chrome.page(site.name, f"<h1>{site.name}</h1><ul>{goods}</ul>")
    number = _number(path, "/part/", _PARTS)
    if number is None:
        return None
    name, price = _part(site, number)
    record = {
        "@context": "https://schema.org",
        "@type": "Product",
        "name": name,
        "sku": f"P{number:05d}",
        "offers": {"@type": "Offer", "price": price, "priceCurrency": "USD"},
    }
    if site.plan.sly:  # a shop without structured data that says which cars its parts fit
        pattern = Random(f"{site.seed}/{number}").choice(load_catalog())
        fits = f"<dl><dt>Fits engine</dt><dd>{pattern.engine}</dd><dt>Drivetrain</dt><dd>{pattern.drivetrain}</dd></dl>"
        return chrome.page(name, f"<h1>{name}</h1><p>${price}</p>{fits}<button>Buy now</button>")
    head = f'<script type="application/ld+json">{orjson.dumps(record).decode()}</script>'
    return chrome.page(name, f"<h1>{name}</h1><p>${price}</p><button>Add to cart</button>", head)


def _part(site: Site, number: int) -> tuple[str, float]:
    rng = Random(f"{site.seed}/{number}")
    pattern = rng.choice(load_catalog())
    return f"{rng.choice(_PART_NAMES)} for {pattern.year} {pattern.make} {pattern.model}", rng.randrange(9, 400) + 0.99


def _link_farm(site: Site, path: str, chrome: Chrome, links: list[tuple[str, str]]) -> Page | None:
    number = 0 if path == "/" else _number(path, "/links/", _FARM_PAGES)
    if number is None:
        return None
    rng = Random(f"{site.seed}/{number}")
    inner = "".join(
        f'<a href="/links/{n}">best cars {n}</a> ' for n in (rng.randrange(_FARM_PAGES) for _ in range(150))
    )
    outer = "".join(f'<a href="{url}">{name}</a> ' for name, url in links)
    return chrome.page("Best links", f"<p>{inner}</p><p>{outer}</p>")


def _parked(site: Site) -> Page:
    if site.plan.sly:  # an advertising page of a registrar
        links = "".join(
            f'<li><a href="/?q={words}">{words}</a></li>' for words in ("used cars", "cheap cars", "suv deals")
        )
        return Page.text(
            f"<!DOCTYPE html><html><head><title>{site.host}</title></head><body><ul>{links}</ul>"
            f"<p>The domain {site.host} may be for sale. Buy this domain.</p></body></html>"
        )
    return Page.text(
        f"<!DOCTYPE html><html><head><title>{site.host} is for sale</title></head><body>"
        f"<h1>This domain is for sale</h1><p>Make an offer for {site.host}.</p>"
        "<p>Related searches: used cars, car loans, car insurance.</p></body></html>"
    )


def _calendar(path: str, chrome: Chrome) -> Page | None:
    year, month = 2026, 3
    if path != "/":
        parts = path.removeprefix("/calendar/").split("/")
        if len(parts) != 2 or not all(part.isdecimal() and len(part) < 7 for part in parts):
            return None
        year, month = int(parts[0]), int(parts[1])
    after = f"/calendar/{year + month // 12}/{month % 12 + 1}"
    days = "".join(f"<td>{day}: cruise night</td>" for day in range(1, 29))
    body = f'<h1>Events {month}/{year}</h1><table><tr>{days}</tr></table><a rel="next" href="{after}">Next month</a>'
    return chrome.page(f"Events {month}/{year}", body)


def _maze(site: Site, path: str, chrome: Chrome) -> Page:
    """Pages made up on the way, that look like lists of cars whose pages are again such lists."""
    rng = Random(f"{site.seed}/{path}")
    patterns = [rng.choice(load_catalog()) for _ in range(20)]
    cards = "".join(
        f'<li><a href="{path.rstrip("/")[-200:]}/{rng.getrandbits(32)}">{p.year} {p.make} {p.model}</a> '
        f"<span>${rng.randrange(5, 60)},{rng.randrange(100, 999)}</span></li>"
        for p in patterns
    )
    following = f'<a rel="next" href="/more/{rng.getrandbits(40)}">Next</a>'
    return chrome.page("Cars for sale", f"<h1>Cars for sale</h1><ul>{cards}</ul>{following}")


def _number(path: str, prefix: str, limit: int) -> int | None:
    text = path.removeprefix(prefix)
    return int(text) if path.startswith(prefix) and text.isdecimal() and int(text) < limit else None
