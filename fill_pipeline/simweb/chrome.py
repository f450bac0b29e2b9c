"""What surrounds every page of a site: head, styles, navigation, footer. Built once per design."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import orjson

from .catalog import load_catalog
from .page import HTML, Block, Page, gzip_of
from .places import Market
from .sites import Layout, Site

_RULES = (
    "display:flex;flex-wrap:wrap;gap:{n}px;margin:0 auto;padding:{n}px 16px",
    "font-size:1.{n}rem;line-height:1.5;color:#2{n}2{n}33;letter-spacing:.0{n}em",
    "border:1px solid #d{n}dde{n};border-radius:{n}px;background:#fafb{n}c",
    "position:relative;overflow:hidden;min-height:{n}0px;box-shadow:0 1px {n}px rgba(0,0,0,.1{n})",
    "text-decoration:none;font-weight:600;transition:color .{n}s ease-in-out",
)
_LEGAL = (
    "Vehicles are subject to prior sale. Photographs and equipment lists are supplied by the seller and may not show "
    "the exact vehicle. Please confirm price, equipment and condition with the seller before you travel. Estimated "
    "payments are for illustration, assume good credit and are no offer of finance. Taxes, title, registration and "
    "documentation fees are not included unless the page says so. "
)
_LEGAL_DE = (
    "Alle Angaben ohne Gewähr, Irrtum und Zwischenverkauf vorbehalten. Die Preise verstehen sich als Endpreise. "
    "Fotos und Ausstattungslisten stammen vom Anbieter und können vom tatsächlichen Fahrzeug abweichen. "
)
_STATIC_PAGES = ("about", "contact", "privacy", "terms", "careers", "financing", "trade-in", "reviews", "help", "faq")
_RIBBONS = 45  # style rules per role, so that a page weighs what real pages weigh


_LANGUAGES = {Market.US: "en", Market.CA: "en-CA", Market.DE: "de"}


@dataclass(frozen=True)
class Chrome:
    """The fixed parts of a site's pages."""

    head: Block  # up to the title, which the page adds
    top: Block  # from the end of the head to the beginning of the main part
    bottom: Block

    def page(self, title: str, body: str, head: str = "", status: int = 200) -> Page:
        """A whole page."""
        parts = (self.head, f"<title>{title}</title>{head}", self.top, body, self.bottom)
        return Page(status, HTML, gzip_of(parts), packed=True)


def make_chrome(site: Site, base: str, partners: list[tuple[str, str]]) -> Chrome:
    """The chrome of a site at its present design; ``partners`` are (name, URL) in the footer."""
    c, rng = site.design.classes, Random(site.seed)
    german = site.market is Market.DE
    makes = sorted({pattern.make for pattern in load_catalog()})
    head = (
        f'<!DOCTYPE html>\n<html lang="{_LANGUAGES[site.market]}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta property="og:site_name" content="{site.name}">\n<style>{_styles(site, rng)}</style>\n'
    )
    if site.layout is Layout.FEED:
        head += '<link rel="alternate" type="application/rss+xml" title="Stock" href="/feed.xml">\n'
        head += '<link rel="alternate" type="application/feed+json" title="Stock" href="/feed.json">\n'
    config = {
        "site": site.slug,
        "locale": "de-DE" if german else "en-US",
        "flags": {f"exp_{rng.getrandbits(20):05x}": bool(rng.getrandbits(1)) for _ in range(60)},
        "endpoints": {name: f"/x/{rng.getrandbits(40):010x}" for name in ("track", "save", "share", "alerts", "chat")},
    }
    menu = "".join(f'<li><a href="{site.index_path}?make={make.replace(" ", "+")}">{make}</a></li>' for make in makes)
    shelves = "".join(
        f'<li><a href="/{page}">{page.replace("-", " ").title()}</a></li>' for page in (*_STATIC_PAGES, "sell", "value")
    )
    all_cars = "Alle Fahrzeuge" if german else "All vehicles"
    top = (
        f'</head>\n<body>\n<div class="{c["page"]}">\n<header class="{c["nav"]}"><a href="/">{site.name}</a>'
        f'<nav><ul><li><a href="{site.index_path}">{all_cars}</a></li>{menu}</ul><ul>{shelves}</ul></nav>'
        f'<form action="{site.index_path}"><input name="q" placeholder="{all_cars}"></form></header>\n'
        f'<main class="{c["main"]}">\n'
    )
    towns = "".join(f"<li><span>{make} | {site.place.city}</span></li>" for make in makes)
    links = "".join(f'<li><a href="{url}">{name}</a></li>' for name, url in partners)
    private = '<a href="/private/dealers">Dealer area</a> ' if site.plan.private else ""
    bottom = (
        f'\n</main>\n<footer class="{c["footer"]}"><p>{site.name}, {site.place.city}, {site.place.region} '
        f"{site.place.postal_code} | {site.phone}</p><ul>{towns}</ul><ul>{links}</ul>"
        f"<ul>{shelves}</ul>{private}<p>{(_LEGAL_DE if german else _LEGAL) * 6}</p></footer>\n</div>\n"
        f"<script>window.__config={orjson.dumps(config).decode()};"
        "(function(w){w.q=w.q||[];w.q.push(['view',w.location.pathname]);})(window);</script>\n</body>\n</html>\n"
    )
    return Chrome(Block(head), Block(top), Block(bottom))


def _styles(site: Site, rng: Random) -> str:
    rules = []
    for name in site.design.classes.values():
        first = name.split()[0]
        rules += [f".{first}{{{rng.choice(_RULES).format(n=rng.randrange(1, 9))}}}" for _ in range(3)]
        rules.append(f".{first}:hover a{{{rng.choice(_RULES).format(n=rng.randrange(1, 9))}}}")
    rules += [f".u-{i}{{{rng.choice(_RULES).format(n=rng.randrange(1, 9))}}}" for i in range(_RIBBONS)]
    return "".join(rules)
