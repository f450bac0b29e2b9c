"""What a source's configuration lets one choose between."""

from __future__ import annotations

from enum import StrEnum


class SourceKind(StrEnum):
    """What sort of site a source is."""

    MARKETPLACE = "marketplace"  # many sellers, an API or application behind it
    CLASSIFIEDS = "classifieds"  # private advertisements
    AUCTION_HOUSE = "auction_house"  # lots, bids, hammer prices
    DEALER = "dealer"  # one seller's stock
    FEED = "feed"  # a machine-readable list


class PaginationType(StrEnum):
    """How a source's index goes on."""

    NONE = "none"  # the index URLs are all there is
    PAGE = "page"  # a page number in the query
    OFFSET = "offset"  # an item offset in the query
    CURSOR = "cursor"  # the body names the next cursor
    NEXT_LINK = "next_link"  # the page links to the next one
    SITEMAP = "sitemap"  # sitemap XML
    FEED = "feed"  # RSS, Atom or JSON Feed


class RobotsPolicy(StrEnum):
    """Whether robots.txt binds us."""

    OBEY = "obey"
    IGNORE = "ignore"


class DetailPolicy(StrEnum):
    """When a listing's own page is fetched."""

    NEVER = "never"  # the index says enough
    IF_INCOMPLETE = "if_incomplete"  # only when the card lacks core fields
    ALWAYS = "always"


class BodyFormat(StrEnum):
    """What the source's pages are."""

    AUTO = "auto"
    HTML = "html"
    JSON = "json"
