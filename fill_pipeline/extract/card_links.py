"""Links as people read them: which name a vehicle, which lead to one, which to its seller."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborNode

from fill_pipeline.extract.cleaning import clean
from fill_pipeline.extract.dom import attribute, css
from fill_pipeline.extract.gazetteer import find_make_model
from fill_pipeline.extract.urls import id_in_url

_YEAR = re.compile(r"(?<!\d)(?:19[2-9]\d|20[0-4]\d)(?!\d)")
_MORE = re.compile(
    r"\b(?:details?|view|more|see|open|read|show|info|photos?|learn|voir|plus|bekijk|meer|ansehen|mehr|zum|oferta)\b",
    re.I,
)
_SELLERS = re.compile(r"\b(?:vehicles|cars|inventory|listings|fahrzeuge|voertuigen|auto's|véhicules|annonces)\b", re.I)


def link_text(node: LexborNode) -> str:
    """A link's words, else what it is titled."""
    text = node.text(separator=" ", strip=True)[:200] or attribute(node, "title") or attribute(node, "aria-label")
    return clean(text, 160)


def names_vehicle(text: str) -> bool:
    """Whether some words give a make with a year or a model."""
    found = find_make_model(text) if text else None
    return found is not None and (found.year is not None or found.model is not None)


def url_names_vehicle(url: str) -> bool:
    """Whether the path of an address gives a year and a make."""
    path = url.split("?", 1)[0].split("://", 1)[-1].partition("/")[2]
    found = find_make_model(re.sub(r"[/\-_.+]+", " ", path)[-160:])
    return found is not None and found.year is not None


def leads_to_vehicle(node: LexborNode, url: str) -> bool:
    """Whether a link leads to one vehicle rather than to all of a model: its words or its address give a year beside
    the name, or it names a model and its address carries an id."""
    found = find_make_model(link_text(node))
    if found is not None and found.model is not None and (found.year is not None or id_in_url(url)):
        return not _YEAR.fullmatch(url.rstrip("/").rpartition("/")[2])
    return url_names_vehicle(url) and not _YEAR.fullmatch(url.rstrip("/").rpartition("/")[2])


def leads_on(node: LexborNode) -> bool:
    """Whether a link can lead to a card's vehicle: it holds a heading or a picture, or its words name a vehicle or say
    that there is more to be read. A seller's link does none of this."""
    words = link_text(node)
    if _SELLERS.search(words):
        return False
    if not words or _MORE.search(words) or find_make_model(words) is not None:
        return True
    return bool(css(node, "img, picture, h1, h2, h3, h4, h5, h6"))


def only_link(node: LexborNode) -> str | None:
    """The one page that the links of a card lead to, None where they lead to several or to its seller."""
    links = css(node, "a[href]")
    targets = {attribute(link, "href").split("#")[0] for link in links} - {""}
    return targets.pop() if len(targets) == 1 and any(map(leads_on, links)) else None
