"""The pages that list ads: search pages, the JSON API, sitemaps, feeds, robots.txt."""

from __future__ import annotations

import base64
from email.utils import formatdate
from typing import Any

import orjson

from . import records, wording
from .chrome import Chrome
from .detail import specs
from .page import Page
from .places import Market
from .sites import Layout, Site
from .world import Ad, World

API_PAGE_LIMIT = 100
SITEMAP_SIZE = 1_000
FEED_LIMIT = 500
CARDS_PAGE_SIZE = 100  # on the site whose search pages carry everything

Query = dict[str, str]


def search_page(world: World, site: Site, query: Query, path_page: int | None, base: str, chrome: Chrome) -> Page:
    """A page of search results as HTML; a page beyond the last one has no cards."""
    design = site.design
    c, german = design.classes, site.market is Market.DE
    make = query.get("make", "")
    ads = [ad for ad in world.live(site) if not make or ad.car.pattern.make == make]
    size = CARDS_PAGE_SIZE if site.layout is Layout.CARDS else design.page_size
    first = _first(site, query, path_page, size)
    shown = ads[first : first + size]
    outer, inner = design.card_tags
    cards = "".join(f'<{inner} class="{c["card"]}">{_card(ad, world.now, base)}</{inner}>' for ad in shown)
    total = f"{len(ads):,}".replace(",", ".") if german else f"{len(ads):,}"
    if german:
        count = f"{first + 1}–{first + len(shown)} von {total} Fahrzeugen" if shown else "Keine Fahrzeuge gefunden"
    else:
        count = f"{first + 1}–{first + len(shown)} of {total} results" if shown else "No vehicles found"
    body = (
        f'<div class="{c["count"]}">{count}</div><{outer} class="{c["cards"]}">{cards}</{outer}>'
        f"{_pager(site, make, first, size, len(ads))}"
    )
    heading = "Gebrauchtwagen" if german else "Cars for sale"
    return chrome.page(f"{heading} | {site.name}", body)


def home_page(world: World, site: Site, base: str, chrome: Chrome) -> Page:
    """The front page: a few of the newest ads and the way to all."""
    c = site.design.classes
    outer, inner = site.design.card_tags
    cards = "".join(
        f'<{inner} class="{c["card"]}">{_card(ad, world.now, base, brief=True)}</{inner}>'
        for ad in world.live(site)[:8]
    )
    body = (
        f'<{site.design.title_tag} class="{c["title"]}">{site.name}</{site.design.title_tag}>'
        f'<p><a href="{site.index_path}">Browse all {len(world.live(site)):,} vehicles</a></p>'
        f'<{outer} class="{c["cards"]}">{cards}</{outer}>'
    )
    return chrome.page(site.name, body)


def api_page(world: World, site: Site, query: Query, base: str) -> bytes:
    """One page of the marketplace's API, as JSON."""
    keys = site.design.keys
    ads = world.live(site)
    limit = min(API_PAGE_LIMIT, _number(query.get("limit", ""), 50) or 1)
    after = _decode_cursor(query.get(site.design.page_param("cursor"), ""))
    if after is not None:
        ads = [ad for ad in ads if (-ad.posted_at, ad.remote_id) > after]
    shown = ads[:limit]
    more = len(ads) > limit
    page: dict[str, Any] = {
        keys["items"]: [records.api_record(ad, world.now, base, full=False) for ad in shown],
        keys["next_cursor"]: _cursor(shown[-1]) if more else None,
        keys["total"]: len(world.live(site)),
    }
    return orjson.dumps(page)


def robots_txt(site: Site, base: str) -> str:
    """The site's robots.txt."""
    lines = ["User-agent: *"]
    lines.append("Disallow: /private/" if site.plan.private else "Disallow:")
    if site.plan.crawl_delay is not None:
        lines.append(f"Crawl-delay: {site.plan.crawl_delay:g}")
    return "\n".join([*lines, "", f"Sitemap: {base}/sitemap.xml", ""])


def sitemap(world: World, site: Site, path: str, base: str) -> str | None:
    """The sitemap index, or one of its sitemaps; None when there is none of that name."""
    start = '<?xml version="1.0" encoding="UTF-8"?>\n'
    space = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
    ads = world.live(site)
    parts = range(1, max(1, -(-len(ads) // SITEMAP_SIZE)) + 1)
    if path == "/sitemap.xml":
        names = ["sitemap-pages.xml", *(f"sitemap-inventory-{part}.xml" for part in parts)]
        rows = "".join(
            f"<sitemap><loc>{base}/{name}</loc><lastmod>{wording.iso(world.now)}</lastmod></sitemap>\n"
            for name in names
        )
        return f"{start}<sitemapindex {space}>\n{rows}</sitemapindex>\n"
    if path == "/sitemap-pages.xml":
        rows = "".join(f"<url><loc>{base}{page}</loc></url>\n" for page in ("/", "/about", "/contact", site.index_path))
        return f"{start}<urlset {space}>\n{rows}</urlset>\n"
    number = _number(path.removeprefix("/sitemap-inventory-").removesuffix(".xml"), 0)
    if number not in parts:
        return None
    rows = "".join(
        f"<url><loc>{base}{ad.path}</loc><lastmod>{wording.iso(ad.changed_at(world.now))}</lastmod></url>\n"
        for ad in ads[(number - 1) * SITEMAP_SIZE : number * SITEMAP_SIZE]
    )
    return f"{start}<urlset {space}>\n{rows}</urlset>\n"


def rss(world: World, site: Site, base: str) -> str:
    """The stock as RSS 2.0, newest first."""
    items = "".join(
        f"<item><title>{wording.title(ad)}</title><link>{base}{ad.path}</link><guid>{base}{ad.path}</guid>"
        f"<pubDate>{formatdate(ad.posted_at, usegmt=True)}</pubDate><description>{_summary(ad, world.now)}"
        f'</description><enclosure url="{records.photo_urls(ad, base, 1)[0]}" length="0" type="image/png"/></item>\n'
        for ad in world.live(site)[:FEED_LIMIT]
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0"><channel><title>{site.name}</title>'
        f"<link>{base}/</link><description>Vehicles in stock</description>\n{items}</channel></rss>\n"
    )


def json_feed(world: World, site: Site, base: str) -> bytes:
    """The stock as a JSON Feed 1.1, each item with its record under `_vehicle`."""
    items = [
        {
            "id": str(ad.remote_id),
            "url": base + ad.path,
            "title": wording.title(ad),
            "content_text": _summary(ad, world.now),
            "image": records.photo_urls(ad, base, 1)[0],
            "date_published": wording.iso(ad.posted_at),
            "_vehicle": records.api_record(ad, world.now, base, full=False),
        }
        for ad in world.live(site)[:FEED_LIMIT]
    ]
    feed = {"version": "https://jsonfeed.org/version/1.1", "title": site.name, "home_page_url": base, "items": items}
    return orjson.dumps(feed)


def _summary(ad: Ad, now: int) -> str:
    parts = [f"Price: {wording.price_text(ad, now)}", f"Location: {wording.place_text(ad)}"]
    if ad.miles is not None:
        parts.insert(1, f"Mileage: {wording.miles_text(ad)}")
    return ". ".join([*parts, f"VIN: {ad.vin}" if ad.vin else "VIN on request"])


def _card(ad: Ad, now: int, base: str, *, brief: bool = False) -> str:
    design = ad.site.design
    c, text = design.classes, design.text_tag
    title, price = wording.title(ad), wording.price_text(ad, now)
    photo = records.photo_urls(ad, base, 1)[0]
    card = (
        f'<img src="{photo}" alt="{title}">{design.wrap}<h3 class="{c["title"]}">'
        f'<a href="{ad.path}">{title}</a></h3>{design.unwrap}'
        f'<{text} class="{c["price"]}">{price}</{text}><span class="{c["place"]}">{wording.place_text(ad)}</span>'
    )
    if brief or ad.site.layout is not Layout.CARDS:
        miles = wording.miles_text(ad)
        return card + (f'<span class="{c["mileage"]}">{miles}</span>' if miles and not ad.private else "")
    card += specs(design, wording.facts(ad)) + f'<span class="{c["seller"]}">{ad.seller}</span>'
    if design.structured == "jsonld":
        record = records.json_ld(ad, now, base)
        card += f'<script type="application/ld+json">{orjson.dumps(record).decode()}</script>'
    return card


def _first(site: Site, query: Query, path_page: int | None, size: int) -> int:
    """Index of the first ad of the page asked for."""
    if site.layout is Layout.OFFSETS:
        return _number(query.get(site.design.page_param("s"), ""), 0)
    param = site.design.page_param("seite" if site.market is Market.DE else "page")
    page = path_page if path_page is not None else _number(query.get(param, ""), 1)
    return (max(1, page) - 1) * size


def page_url(site: Site, page: int, size: int, make: str = "") -> str:
    """The path and query of a page of results (from 1)."""
    chosen = f"make={make.replace(' ', '+')}" if make else ""
    if site.layout is Layout.NEXT_LINK and site.design.page_param("page") == "page":
        path = site.index_path if page == 1 else f"{site.index_path}page/{page}/"
        return f"{path}?{chosen}" if chosen else path
    if site.layout is Layout.OFFSETS:
        step = f"{site.design.page_param('s')}={(page - 1) * size}"
    else:
        step = f"{site.design.page_param('seite' if site.market is Market.DE else 'page')}={page}"
    return f"{site.index_path}?" + "&amp;".join(part for part in (chosen, step) if part)


def _pager(site: Site, make: str, first: int, size: int, total: int) -> str:
    c = site.design.classes
    page, last = first // size + 1, max(1, -(-total // size))
    german = site.market is Market.DE
    links = ""
    if site.layout is not Layout.NEXT_LINK:
        near = [number for number in range(page - 2, page + 3) if 1 <= number <= last]
        links = "".join(f'<a href="{page_url(site, number, size, make)}">{number}</a> ' for number in near)
    if page < last:
        words = "Weiter" if german else "Next"
        links += f'<a class="{c["next"]}" rel="next" href="{page_url(site, page + 1, size, make)}">{words}</a>'
    return f'<nav class="{c["pager"]}">{links}</nav>'


def _cursor(ad: Ad) -> str:
    return base64.urlsafe_b64encode(f"{-ad.posted_at}:{ad.remote_id}".encode()).decode()


def _decode_cursor(text: str) -> tuple[int, int] | None:
    try:
        posted, _, number = base64.urlsafe_b64decode(text.encode()).decode().partition(":")
        return int(posted), int(number)
    except ValueError:
        return None


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else default
