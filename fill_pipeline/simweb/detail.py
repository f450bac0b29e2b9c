"""The page of one ad, in the site's own markup."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import orjson

from . import records, wording
from .chrome import Chrome
from .design import Design
from .page import Page
from .places import Market
from .world import Ad, Stand

_ITEMPROPS = {
    "year": "vehicleModelDate",
    "make": "brand",
    "model": "model",
    "trim": "vehicleConfiguration",
    "vin": "vehicleIdentificationNumber",
    "body": "bodyType",
    "engine": "vehicleEngine",
    "fuel": "fuelType",
    "transmission": "vehicleTransmission",
    "drivetrain": "driveWheelConfiguration",
    "colour": "color",
    "interior": "vehicleInteriorColor",
    "doors": "numberOfDoors",
    "stock": "sku",
}


def detail_page(ad: Ad, now: int, base: str, chrome: Chrome) -> Page:
    """The ad's page as HTML."""
    site, design = ad.site, ad.site.design
    c, text, micro = design.classes, design.text_tag, design.structured == "microdata"
    title, price = wording.title(ad), wording.price_text(ad, now)
    photos = records.photo_urls(ad, base)
    head = (
        f'<link rel="canonical" href="{base}{ad.path}">\n<meta property="og:title" content="{title}">\n'
        f'<meta property="og:url" content="{base}{ad.path}">\n<meta property="og:image" content="{photos[0]}">\n'
    )
    if design.structured == "jsonld":
        record = orjson.dumps(records.json_ld(ad, now, base)).decode()
        head += f'<script type="application/ld+json">{record}</script>\n'
    elif design.structured == "state":
        state = {"route": "vdp", "listing": records.api_record(ad, now, base, full=True), "user": None}
        head += f'<script id="__STATE__" type="application/json">{orjson.dumps(state).decode()}</script>\n'
    scope = ' itemscope itemtype="https://schema.org/Car"' if micro else ""
    name = ' itemprop="name"' if micro else ""
    gallery = _gallery(base, len(photos), micro).replace("{id}", str(ad.remote_id)).replace("{title}", title)
    blocks = [
        f'<{design.title_tag} class="{c["title"]}"{name}>{title}</{design.title_tag}>',
        _status(ad, now, c["status"]),
        _offer(ad, now, price, micro),
        f'<div class="{c["gallery"]}">{gallery}</div>',
        specs(design, wording.facts(ad), ad if micro else None),
        _description(ad, micro),
        _features(ad),
        f'<div class="{c["seller"]}"><{text}>{ad.seller}</{text}>{_website(ad, base)}</div>',
    ]
    if site.seed % 2:
        blocks[2], blocks[3] = blocks[3], blocks[2]
    body = f'<article class="{c["page"]}"{scope}>{"".join(blocks)}</article>{_similar(ad, now)}'
    return chrome.page(f"{title} | {site.name}", body, head)


def specs(design: Design, facts: Iterable[tuple[str, str]], micro: Ad | None = None) -> str:
    """Labels and values in the form the design has; with itemprops when ``micro`` names the ad."""
    c, form = design.classes, design.specs_form
    row, label, value = c["row"], c["label"], c["value"]
    rows: list[str] = []
    for field, text in facts:
        attr = ""
        if micro is not None:
            attr = f' itemprop="{_ITEMPROPS[field]}"' if field in _ITEMPROPS else ""
            text = _quantity(micro) if field == "mileage" else text
        before, after = _around(form, row, label, value, design.labels[field], attr)
        rows += (before, design.wrap, text, design.unwrap, after) if form != "groups" else (before, text, after)
    tag = {"table": "table", "dl": "dl", "divs": "div", "list": "ul"}.get(design.specs_form, "p")
    return f'<{tag} class="{c["specs"]}">{"".join(rows)}</{tag}>'


@lru_cache(maxsize=8_000)
def _around(form: str, row: str, label: str, value: str, words: str, attr: str) -> tuple[str, str]:
    """The markup before and after a value."""
    match form:
        case "table":
            return f'<tr class="{row}"><th class="{label}">{words}</th><td class="{value}"{attr}>', "</td></tr>"
        case "dl":
            return f'<dt class="{label}">{words}</dt><dd class="{value}"{attr}>', "</dd>"
        case "divs":
            return (
                f'<div class="{row}"><span class="{label}">{words}</span><span class="{value}"{attr}>',
                "</span></div>",
            )
        case "list":
            return f'<li class="{row}"><b class="{label}">{words}:</b> <span{attr}>', "</span></li>"
    return f'<span class="{row}">{words.lower()}: <b{attr}>', "</b></span><br>"


@lru_cache(maxsize=1_000)
def _gallery(base: str, count: int, micro: bool) -> str:
    """The photos of any ad of a site, with {id} and {title} to fill in."""
    image = ' itemprop="image"' if micro else ""
    urls = [f"{base}/photos/{{id}}/{number}.png" for number in range(1, count + 1)]
    return "".join(
        f'<img{image} src="{url}" srcset="{url}?w=640 640w, {url}?w=1280 1280w" alt="{{title}}" loading="lazy">'
        for url in urls
    )


def _quantity(ad: Ad) -> str:
    unit = "SMI" if ad.site.market is Market.US else "KMT"
    return (
        '<span itemprop="mileageFromOdometer" itemscope itemtype="https://schema.org/QuantitativeValue">'
        f'<span itemprop="value" content="{ad.miles}">{ad.miles:,}</span> '
        f'<meta itemprop="unitCode" content="{unit}">{"miles" if unit == "SMI" else "km"}</span>'
    )


def _status(ad: Ad, now: int, name: str) -> str:
    words = {Stand.SOLD: "SOLD", Stand.ENDED: "Reserve not met"}.get(ad.stand(now), "")
    if ad.is_lot and not words:
        reserve = "No reserve" if ad.reserve is None else "Reserve not yet met"
        words = f"Live auction, ends {wording.date_text(ad.ends_at)}. {reserve}"
    return f'<div class="{name}">{words}</div>' if words else ""


def _offer(ad: Ad, now: int, price: str, micro: bool) -> str:
    c, text = ad.site.design.classes, ad.site.design.text_tag
    wrap, unwrap = ad.site.design.wrap, ad.site.design.unwrap
    value, place = ad.price(now), wording.place_text(ad)
    german = ad.site.market is Market.DE
    extra = ""
    if value is not None and not ad.is_lot and not ad.private:
        first = ad.prices[0][1]
        was = f"<del>{wording.amount(first, ad.site.market)}</del> " if first > value else ""
        monthly = wording.amount(max(49, value // 58), ad.site.market)
        extra = (
            f'<{text} class="{c["payment"]}">{was}{"ab" if german else "Est."} {monthly}/{"Monat" if german else "mo"}'
        )
        extra += f"</{text}>"
    if not micro:
        if ad.site.design.own_words:
            wrap += f"<i>{'Zu haben für' if german else 'Yours for'}</i>"
        return (
            f'<div>{wrap}<{text} class="{c["price"]}">{price}</{text}>{unwrap}{extra}'
            f'<{text} class="{c["place"]}">{place}</{text}></div>'
        )
    amount = (
        f'<meta itemprop="priceCurrency" content="{ad.site.market.currency}">'
        f'<{text} class="{c["price"]}" itemprop="price" content="{value}">{price}</{text}>'
        if value is not None
        else f'<{text} class="{c["price"]}">{price}</{text}>'
    )
    state = "InStock" if ad.stand(now) is Stand.ACTIVE else "SoldOut"
    return (
        f'<div itemprop="offers" itemscope itemtype="https://schema.org/Offer">{amount}{extra}'
        f'<link itemprop="availability" href="https://schema.org/{state}">'
        f'<div itemprop="seller" itemscope itemtype="https://schema.org/AutoDealer"><meta itemprop="name" '
        f'content="{ad.seller}"><div class="{c["place"]}" itemprop="address" itemscope '
        f'itemtype="https://schema.org/PostalAddress"><span itemprop="addressLocality">{ad.place.city}</span>, '
        f'<span itemprop="addressRegion">{ad.place.region}</span> '
        f'<span itemprop="postalCode">{ad.place.postal_code}</span></div></div></div>'
    )


def _description(ad: Ad, micro: bool) -> str:
    attr = ' itemprop="description"' if micro else ""
    heading = "Beschreibung" if ad.site.market is Market.DE else "Description"
    text = wording.description(ad).replace("\n", "<br>\n")
    german = ad.site.market is Market.DE
    posted = f"{'Eingestellt am' if german else 'Posted'} {wording.date_text(ad.posted_at, german)}"
    name = ad.site.design.classes["description"]
    return f'<section class="{name}"><h3>{heading}</h3><p{attr}>{text}</p><small>{posted}</small></section>'


def _features(ad: Ad) -> str:
    items = "".join(f"<li>{feature}</li>" for feature in wording.features(ad))
    heading = "Ausstattung" if ad.site.market is Market.DE else "Features"
    return f'<section class="{ad.site.design.classes["features"]}"><h3>{heading}</h3><ul>{items}</ul></section>'


def _website(ad: Ad, base: str) -> str:
    if ad.seller_site is None or ad.seller_site is ad.site:
        return ""
    port = base.rpartition(":")[2]
    return f' <a href="http://{ad.seller_site.host}.localhost:{port}/">Visit website</a>'


def _similar(ad: Ad, now: int) -> str:
    """Other cars of the site: real listings, but not this page's."""
    if not ad.similar:
        return ""
    design = ad.site.design
    c, (outer, inner) = design.classes, design.card_tags
    cards = "".join(f"<{inner}>{_mini_card(other)}</{inner}>" for other in ad.similar)
    heading = "Ähnliche Fahrzeuge" if ad.site.market is Market.DE else "Similar vehicles"
    return f'<aside class="{c["similar"]}"><h3>{heading}</h3><{outer}>{cards}</{outer}></aside>'


@lru_cache(maxsize=8_000)
def _mini_card(ad: Ad) -> str:
    """Another car beside a page's own, as it was when posted; several pages show it."""
    price, miles = wording.price_text(ad, ad.posted_at), wording.miles_text(ad)
    return f'<a href="{ad.path}">{wording.title(ad)}</a> <span>{price}</span> <span>{miles}</span>'
