"""A site's design: its classes, tags, labels, JSON keys and pagination, each of which a redesign can change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Aspect(StrEnum):
    """What a redesign changes."""

    CLASSES = "classes"
    TAGS = "tags"  # and the way labels and values are written
    LABELS = "labels"
    JSON_KEYS = "json_keys"
    PAGINATION = "pagination"
    WRAPPED = "wrapped"  # every label, value and card in further elements
    WORDS = "words"  # labels and JSON keys that no other site uses, prices without their currency sign


MIXED = tuple(Aspect)[:5]
"""What a redesign of mode ``mix`` changes."""

# The words a class name can be made of, per role on the page.
ROLES: dict[str, tuple[str, ...]] = {
    "page": ("page", "site", "wrapper", "layout", "root"),
    "nav": ("nav", "menu", "topbar", "navigation", "masthead"),
    "footer": ("footer", "bottom", "site-end", "colophon", "base"),
    "main": ("main", "content", "body", "primary", "center"),
    "title": ("title", "heading", "headline", "name", "caption"),
    "price": ("price", "amount", "cost", "ask", "figure"),
    "payment": ("payment", "monthly", "finance", "installment", "budget"),
    "specs": ("specs", "details", "attributes", "facts", "overview"),
    "row": ("row", "line", "pair", "entry", "spec"),
    "label": ("label", "key", "term", "field", "legend"),
    "value": ("value", "data", "text", "answer", "info"),
    "gallery": ("gallery", "photos", "carousel", "media", "slides"),
    "description": ("description", "comments", "about", "notes", "story"),
    "features": ("features", "options", "equipment", "extras", "highlights"),
    "seller": ("seller", "dealer", "contact", "vendor", "owner"),
    "place": ("place", "location", "city", "area", "where"),
    "cards": ("cards", "results", "listings", "grid", "inventory"),
    "card": ("card", "result", "listing", "tile", "item"),
    "mileage": ("mileage", "odometer", "miles", "distance", "usage"),
    "similar": ("similar", "related", "also", "recommend", "nearby"),
    "pager": ("pager", "pagination", "pages", "paging", "steps"),
    "next": ("next", "forward", "more", "following", "onward"),
    "count": ("count", "total", "found", "summary", "tally"),
    "status": ("status", "badge", "flag", "state", "ribbon"),
}

_LABELS: dict[str, tuple[str, ...]] = {
    "year": ("Year", "Model Year", "Registered"),
    "make": ("Make", "Brand", "Manufacturer"),
    "model": ("Model", "Model Name", "Vehicle Model"),
    "trim": ("Trim", "Version", "Trim Level"),
    "vin": ("VIN", "VIN Number", "Vehicle Identification Number"),
    "mileage": ("Mileage", "Odometer", "Odometer Reading"),
    "body": ("Body Style", "Body Type", "Body"),
    "engine": ("Engine", "Engine Type", "Motor"),
    "fuel": ("Fuel Type", "Fuel", "Runs On"),
    "transmission": ("Transmission", "Gearbox", "Trans."),
    "drivetrain": ("Drivetrain", "Drive Type", "Driven Wheels"),
    "colour": ("Exterior Color", "Color", "Paint"),
    "interior": ("Interior Color", "Interior", "Upholstery Color"),
    "doors": ("Doors", "Number of Doors", "Door Count"),
    "stock": ("Stock #", "Stock Number", "Ref. No."),
    "place": ("Location", "City", "Located In"),
}
_LABELS_DE: dict[str, tuple[str, ...]] = {
    "year": ("Erstzulassung", "Baujahr", "EZ"),
    "make": ("Marke", "Hersteller", "Fabrikat"),
    "model": ("Modell", "Modellreihe", "Typ"),
    "trim": ("Ausstattungslinie", "Variante", "Linie"),
    "vin": ("Fahrgestellnummer", "FIN", "Fahrzeug-Identifizierungsnummer"),
    "mileage": ("Kilometerstand", "Laufleistung", "Kilometer"),
    "body": ("Karosserieform", "Fahrzeugtyp", "Aufbau"),
    "engine": ("Motor", "Motorisierung", "Antrieb"),
    "fuel": ("Kraftstoff", "Kraftstoffart", "Treibstoff"),
    "transmission": ("Getriebe", "Schaltung", "Getriebeart"),
    "drivetrain": ("Antriebsart", "Antriebsachse", "Achsantrieb"),
    "colour": ("Außenfarbe", "Farbe", "Lackierung"),
    "interior": ("Innenfarbe", "Innenausstattung", "Polsterfarbe"),
    "doors": ("Anzahl Türen", "Türen", "Türenzahl"),
    "stock": ("Angebotsnummer", "Inserats-Nr.", "Fahrzeugnummer"),
    "place": ("Standort", "Ort", "Fahrzeugstandort"),
}
_KEYS: dict[str, tuple[str, ...]] = {
    "items": ("items", "results", "vehicles"),
    "next_cursor": ("next_cursor", "nextToken", "after"),
    "total": ("total", "totalCount", "found"),
    "id": ("id", "listingId", "ref"),
    "slug": ("slug", "seoName", "words"),
    "url": ("url", "link", "href"),
    "title": ("title", "heading", "name"),
    "year": ("year", "modelYear", "vehicle_year"),
    "make": ("make", "brand", "manufacturer"),
    "model": ("model", "modelName", "vehicle_model"),
    "trim": ("trim", "version", "variant"),
    "vin": ("vin", "vinNumber", "vehicle_vin"),
    "price": ("price", "askingPrice", "amount"),
    "currency": ("currency", "priceCurrency", "currencyCode"),
    "mileage": ("mileage", "odometer", "odometerReading"),
    "mileage_unit": ("mileage_unit", "odometerUnit", "distanceUnit"),
    "body": ("body_style", "bodyType", "body"),
    "engine": ("engine", "engineName", "motor"),
    "fuel": ("fuel_type", "fuel", "fuelKind"),
    "transmission": ("transmission", "gearbox", "transmissionType"),
    "drivetrain": ("drivetrain", "driveType", "drive"),
    "colour": ("exterior_color", "colorExterior", "paint"),
    "interior": ("interior_color", "colorInterior", "trimColor"),
    "city": ("city", "locality", "town"),
    "region": ("state", "region", "stateCode"),
    "postal_code": ("zip", "postalCode", "postcode"),
    "seller": ("seller_name", "dealerName", "vendor"),
    "images": ("images", "photos", "pictures"),
    "description": ("description", "comments", "sellerNotes"),
    "posted_at": ("posted_at", "listedAt", "created"),
    "status": ("status", "state_of_sale", "availability"),
}
_OWN_LABELS = {
    "year": "Born in",
    "make": "House",
    "model": "Christened",
    "trim": "Dress",
    "vin": "Chassis mark",
    "mileage": "Ran so far",
    "body": "Shape",
    "engine": "Heart",
    "fuel": "Drinks",
    "transmission": "Cogs",
    "drivetrain": "Pulls by",
    "colour": "Coat",
    "interior": "Lining",
    "doors": "Ways in",
    "stock": "Peg",
    "place": "Rests at",
}
_OWN_LABELS_DE = {
    "year": "Geboren",
    "make": "Haus",
    "model": "Getauft",
    "trim": "Kleid",
    "vin": "Rahmenzeichen",
    "mileage": "Bisher gerollt",
    "body": "Gestalt",
    "engine": "Herz",
    "fuel": "Trinkt",
    "transmission": "Zahnräder",
    "drivetrain": "Zieht mit",
    "colour": "Mantel",
    "interior": "Futter",
    "doors": "Eingänge",
    "stock": "Haken",
    "place": "Ruht in",
}
_STYLES = ("plain", "bem", "camel", "hashed", "short")
_SPEC_FORMS = ("table", "dl", "divs", "list", "groups")
_CARD_TAGS = (("ul", "li"), ("div", "article"), ("section", "div"), ("div", "div"), ("ol", "li"))
_TITLE_TAGS = ("h1", "h2", "div")
_TEXT_TAGS = ("div", "p", "span", "strong")
_PAGE_SIZES = (25, 40, 30)
_PAGE_PARAMS = ("p", "pg", "pn")


@dataclass(frozen=True)
class Design:
    """Everything of a site's markup that can change. ``versions`` counts redesigns, ``salt`` their seed, per aspect."""

    seed: int
    specs_form: str
    structured: str  # jsonld | microdata | state | none
    german: bool
    versions: dict[Aspect, int] = field(default_factory=dict)
    salts: dict[Aspect, int] = field(default_factory=dict)

    @classmethod
    def first(cls, seed: int, *, specs: tuple[str, str], german: bool) -> Design:
        """The design a site starts with: how it writes specs, and which structured data it carries."""
        return cls(seed, specs[0], specs[1], german)

    def changed(self, aspects: Sequence[Aspect], salt: int, *, drop_structured: bool) -> Design:
        """The design after a redesign of those aspects; every name of them differs from the one before."""
        versions = {**self.versions, **{aspect: self.versions.get(aspect, 0) + 1 for aspect in aspects}}
        design = replace(self, versions=versions, salts={**self.salts, **dict.fromkeys(aspects, salt)})
        if Aspect.TAGS in aspects:
            others = [form for form in _SPEC_FORMS if form != self.specs_form]
            design = replace(design, specs_form=Random(f"{self.seed}/{salt}").choice(others))
        return replace(design, structured="none") if drop_structured else design

    def __post_init__(self) -> None:
        tags = Aspect.TAGS
        # A frozen dataclass computes its derived names once; templates read them by the thousand.
        fill = object.__setattr__
        fill(self, "classes", {role: self._class(role) for role in ROLES})
        labels = _LABELS_DE if self.german else _LABELS
        fill(self, "labels", {name: self._pick(Aspect.LABELS, name, words) for name, words in labels.items()})
        moved = self.versions.get(Aspect.JSON_KEYS, 0) % 3
        fill(self, "keys", {name: words[moved] for name, words in _KEYS.items()})
        # A second redesign of the words goes back to those that everybody uses.
        fill(self, "own_words", self.versions.get(Aspect.WORDS, 0) % 2 == 1)
        if self.own_words:
            fill(self, "labels", _OWN_LABELS_DE if self.german else _OWN_LABELS)
            fill(self, "keys", {name: f"q{n}" for n, name in enumerate(_KEYS)})
        wrapped = self.versions.get(Aspect.WRAPPED, 0) % 3
        fill(self, "wrap", "<div>" * wrapped)
        fill(self, "unwrap", "</div>" * wrapped)
        fill(self, "card_tags", self._pick(tags, "card", _CARD_TAGS))
        fill(self, "title_tag", self._pick(tags, "title", _TITLE_TAGS))
        fill(self, "text_tag", self._pick(tags, "text", _TEXT_TAGS))
        fill(self, "page_size", self._pick(Aspect.PAGINATION, "size", _PAGE_SIZES))

    classes: dict[str, str] = field(init=False, repr=False)
    labels: dict[str, str] = field(init=False, repr=False)
    keys: dict[str, str] = field(init=False, repr=False)
    card_tags: tuple[str, str] = field(init=False, repr=False)
    title_tag: str = field(init=False, repr=False)
    text_tag: str = field(init=False, repr=False)
    page_size: int = field(init=False, repr=False)
    own_words: bool = field(init=False, repr=False)
    wrap: str = field(init=False, repr=False)
    unwrap: str = field(init=False, repr=False)

    def page_param(self, first: str) -> str:
        """The name of the paging parameter, ``first`` until pagination is redesigned."""
        version = self.versions.get(Aspect.PAGINATION, 0)
        return first if version == 0 else _PAGE_PARAMS[(version - 1) % len(_PAGE_PARAMS)]

    def _pick(self, aspect: Aspect, name: str, options: Sequence[T]) -> T:
        """One of the options by seed; each version of the aspect takes the next, so that it really differs."""
        start = Random(f"{self.seed}/{aspect}/{name}").randrange(len(options))
        return options[(start + self.versions.get(aspect, 0)) % len(options)]

    def _class(self, role: str) -> str:
        word = self._pick(Aspect.CLASSES, role, ROLES[role])
        version, salt = self.versions.get(Aspect.CLASSES, 0), self.salts.get(Aspect.CLASSES, 0)
        rng = Random(f"{self.seed}/{version}/{salt}")
        style = _STYLES[(Random(self.seed).randrange(5) + version) % 5]
        space = rng.choice(("vdp", "srp", "inv", "auto", "veh", "lx", "mod", "ui"))
        match style:
            case "plain":
                return f"{space}-{word}"
            case "bem":
                return f"{space}__{word} {space}__{word}--v{rng.randrange(1, 9)}"
            case "camel":
                return f"{space}{word.title().replace('-', '')}"
            case "hashed":
                return f"{word.title().replace('-', '')}_{space}__{Random(f'{rng.random()}{role}').getrandbits(24):06x}"
            case _:
                return f"{space[0]}-{word[:3]}{list(ROLES).index(role)}"
