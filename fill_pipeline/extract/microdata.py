"""Microdata, RDFa and meta tags of a parsed page, as records like those of JSON-LD."""

from __future__ import annotations

import re
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from fill_pipeline.extract.dom import ancestors, attribute, css
from fill_pipeline.extract.keys import fold_key

_VALUE_ATTRIBUTES = {"meta": "content", "link": "href", "a": "href", "img": "src", "data": "value", "time": "datetime",
                     "source": "src", "audio": "src", "video": "src", "object": "data"}  # fmt: skip
_MAX_ITEMS = 4_000


def microdata_records(tree: LexborHTMLParser) -> list[dict[str, Any]]:
    """The top-level items of a page in HTML microdata, properties nested as in JSON-LD, in page order."""
    return _items(tree, "itemscope", "itemtype", "itemprop")


def rdfa_records(tree: LexborHTMLParser) -> list[dict[str, Any]]:
    """The same for RDFa Lite: ``typeof`` opens an item, ``property`` names a part of it."""
    return _items(tree, "typeof", "typeof", "property")


def _items(tree: LexborHTMLParser, scope: str, kind_of: str, named: str) -> list[dict[str, Any]]:
    scopes: dict[int, dict[str, Any]] = {}
    top: list[dict[str, Any]] = []
    for node in css(tree, f"[{scope}], [{named}]")[:_MAX_ITEMS]:
        attributes = node.attributes
        holder = _holder(node, scopes)
        value: Any
        if scope in attributes:
            kind = re.split(r"[/:#]", (attributes.get(kind_of) or "").rstrip("/"))[-1]
            value = {"@type": kind} if kind else {}
            scopes[node.mem_id] = value
            if named not in attributes or holder is None:
                top.append(value)
                continue
        else:
            value = _value(node)
        if holder is None or value in (None, ""):
            continue
        for name in (attributes.get(named) or "").split()[:4]:
            _add(holder, re.split(r"[/:#]", name)[-1], value)
    return top


def _holder(node: LexborNode, scopes: dict[int, dict[str, Any]]) -> dict[str, Any] | None:
    for parent in ancestors(node):
        found = scopes.get(parent.mem_id)
        if found is not None:
            return found
    return None


def _value(node: LexborNode) -> str | None:
    content = attribute(node, "content")
    if content:
        return content[:20_000]
    name = _VALUE_ATTRIBUTES.get(node.tag or "")
    value = attribute(node, name) if name else ""
    if value and not (node.tag == "a" and attribute(node, "itemprop") not in ("url", "image", "sameAs", "offers")):
        return value[:4_000]
    if node.tag == "img":
        return attribute(node, "data-src")[:4_000] or None
    return " ".join(node.text(separator=" ").split())[:20_000] or None


def _add(holder: dict[str, Any], name: str, value: Any) -> None:
    held = holder.get(name)
    if held is None:
        holder[name] = value
    elif isinstance(held, list):
        held.append(value)
    else:
        holder[name] = [held, value]


def meta_record(tree: LexborHTMLParser) -> dict[str, str]:
    """What the page's meta tags say of its subject: ``og:``, ``product:``, ``vehicle:`` and Twitter's label pairs."""
    found: dict[str, str] = {}
    labels: dict[str, str] = {}
    for node in tree.tags("meta")[:400]:
        attributes = node.attributes
        name = (attributes.get("property") or attributes.get("name") or "").lower()
        content = (attributes.get("content") or "").strip()
        if not content:
            continue
        if name.startswith(("twitter:label", "twitter:data")):
            labels[name[8:]] = content[:200]
        elif name in _META:
            found.setdefault(_META[name], content[:4_000])
    for number in "1234":
        label, value = labels.get(f"label{number}"), labels.get(f"data{number}")
        if label and value:
            found.setdefault(fold_key(label), value)
    return found


_META = {
    "og:title": "title", "twitter:title": "twitter_title", "og:image": "image", "og:image:secure_url": "image",
    "twitter:image": "twitter_image",
    "og:description": "description", "description": "meta_description", "og:url": "url", "og:type": "type",
    "og:price:amount": "price",
    "og:price:currency": "pricecurrency", "product:price:amount": "price", "product:price:currency": "pricecurrency",
    "product:brand": "brand",
    "product:condition": "itemcondition", "product:retailer_item_id": "sku", "product:availability": "availability",
    "vehicle:vin": "vin",
    "vehicle:year": "year", "vehicle:make": "make", "vehicle:model": "model", "vehicle:mileage": "mileage",
    "og:locality": "city",
    "og:region": "region", "og:country-name": "country", "og:postal-code": "postalcode",
    "place:location:latitude": "latitude",
    "place:location:longitude": "longitude", "geo.placename": "city", "geo.position": "geo", "og:locale": "locale",
    "og:site_name": "site",
}  # fmt: skip
