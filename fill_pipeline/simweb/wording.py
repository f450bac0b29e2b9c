"""The words of an ad: titles, descriptions, formatted values, in English and German."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from time import gmtime, strftime

from .places import Market
from .sites import Layout, SiteKind
from .world import Ad, Stand

FEATURES = (
    "Backup Camera",
    "Bluetooth",
    "Heated Seats",
    "Leather Upholstery",
    "Sunroof",
    "Navigation System",
    "Keyless Entry",
    "Remote Start",
    "Blind Spot Monitor",
    "Lane Departure Warning",
    "Adaptive Cruise Control",
    "Apple CarPlay",
    "Android Auto",
    "Alloy Wheels",
    "Power Liftgate",
    "Third Row Seating",
    "Tow Package",
    "Roof Rack",
    "Fog Lights",
    "Premium Audio",
    "Memory Seats",
    "Rain Sensing Wipers",
    "Parking Sensors",
    "Dual Zone Climate Control",
    "USB Ports",
    "Steering Wheel Controls",
    "Split Folding Rear Seat",
    "Tinted Glass",
)
FEATURES_DE = (
    "Rückfahrkamera",
    "Bluetooth",
    "Sitzheizung",
    "Lederausstattung",
    "Schiebedach",
    "Navigationssystem",
    "Zentralverriegelung",
    "Standheizung",
    "Totwinkel-Assistent",
    "Spurhalteassistent",
    "Abstandstempomat",
    "Apple CarPlay",
    "Leichtmetallfelgen",
    "Elektrische Heckklappe",
    "Anhängerkupplung",
    "Dachreling",
    "Nebelscheinwerfer",
    "Regensensor",
    "Einparkhilfe",
    "Klimaautomatik",
)
_WORDED = 8_000  # ads whose words are kept; a page and its structured data say the same
_PLACE_IN_A_ROW = (Layout.TABLE, Layout.DL, Layout.PAGES)  # their specs state the place too
_OPENINGS = (
    "Here is a clean {year} {make} {model} that has been looked after and shows it.",
    "This {colour} {make} {model} came to us on trade and is ready for its next driver.",
    "If you have been searching for a {body} with the {engine}, have a look at this one.",
    "A well kept {year} {make} {model}, inspected in our own workshop before it went on the lot.",
)
_MIDDLES = (
    "The {transmission} transmission shifts as it should and the {drivetrain} system is in good order.",
    "Tires have plenty of tread left and the brakes were done recently.",
    "The {interior} cabin is free of smoke and the seats show little wear for their age.",
    "It comes with two keys, the floor mats and the books that were in the glove box.",
    "Service was done on schedule and the paperwork is in the car for you to read.",
    "Everything works: windows, locks, air conditioning and the radio.",
    "There are the usual small marks from parking lots, nothing that a photo would hide.",
    "The paint still has a deep shine and the panels line up the way they left the factory.",
    "We had the fluids changed and the battery tested before taking these pictures.",
    "Highway trips made up most of its life, which is kind to an engine.",
)
_ENDINGS = (
    "Call or stop by for a test drive; we are glad to answer questions.",
    "Financing is available and trade-ins are welcome at a fair figure.",
    "The price does not include tax, title and a documentation fee of $199.",
    "Come early, cars like this do not stay with us for long.",
)
_PRIVATE = (
    "Selling my {year} {make} {model} because we need something bigger.",
    "Up for sale is the {year} {make} {model} that took me to work every day.",
    "Moving abroad so the {make} has to go, I am sad to see it leave.",
)
_PRIVATE_MILES = ("It has {miles} {unit} on it.", "Currently at {miles} {unit} and climbing slowly.", "{miles} {unit}.")
_PRIVATE_ENDS = (
    "Cash only, clean title in hand.",
    "No trades please. If the ad is up it is still available.",
    "Serious buyers only, evenings work best.",
)
_GERMAN = (
    "Gepflegtes Fahrzeug aus zweiter Hand, scheckheftgeführt und unfallfrei.",
    "Der Wagen wurde überwiegend auf der Autobahn bewegt und hat neue Reifen.",
    "HU und AU sind neu, auf Wunsch erhalten Sie eine Garantie für zwölf Monate.",
    "Das Interieur ist sauber, es wurde nicht im Auto geraucht.",
    "Inzahlungnahme und Finanzierung sind jederzeit möglich, fragen Sie uns gern.",
    "Zwei Schlüssel und alle Rechnungen sind vorhanden.",
    "Eine Probefahrt vereinbaren Sie bitte telefonisch, wir freuen uns auf Sie.",
)
_IN_GERMAN = {
    "Gasoline": "Benzin",
    "Electric": "Elektro",
    "Plug-in Hybrid": "Plug-in-Hybrid",
    "Automatic": "Automatik",
    "Manual": "Schaltgetriebe",
    "Dual-Clutch": "Doppelkupplung",
    "FWD": "Frontantrieb",
    "RWD": "Heckantrieb",
    "AWD": "Allradantrieb",
    "4WD": "Allradantrieb",
    "Sedan": "Limousine",
    "Wagon": "Kombi",
    "Hatchback": "Schrägheck",
    "Convertible": "Cabrio",
    "Coupe": "Coupé",
    "Minivan": "Van",
    "Black": "Schwarz",
    "White": "Weiß",
    "Silver": "Silber",
    "Gray": "Grau",
    "Blue": "Blau",
    "Red": "Rot",
    "Green": "Grün",
    "Brown": "Braun",
    "Tan": "Hellbraun",
    "Ivory": "Elfenbein",
    "Charcoal": "Anthrazit",
    "Burgundy": "Weinrot",
}


@lru_cache(maxsize=_WORDED)
def title(ad: Ad) -> str:
    """The ad's headline."""
    p = ad.car.pattern
    plain = f"{p.year} {p.make} {p.model}" + (f" {p.trim}" if p.trim else "")
    if ad.is_lot and ad.miles and ad.wording % 3 == 0:
        return f"{max(1, ad.miles // 1000)}k-Mile {plain}"
    if ad.site.market is Market.DE:
        return f"{p.make} {p.model} {p.trim or p.engine.split()[0]}".strip()
    if ad.private:
        return (plain.lower(), plain, f"{plain} - clean title", f"*** {plain} ***")[ad.wording % 4]
    return f"{'Used ' if ad.wording % 5 == 0 and not ad.is_lot else ''}{plain}"


def amount(value: int, market: Market) -> str:
    """A price in the market's notation: $12,995 or 12.995 €."""
    if market is Market.DE:
        return f"{value:,} €".replace(",", ".")
    return f"${value:,}{' CAD' if market is Market.CA else ''}"


def price_text(ad: Ad, now: int) -> str:
    """The price as the page words it."""
    market, price, stand = ad.site.market, ad.price(now), ad.stand(now)
    if price is None:
        return "Preis auf Anfrage" if market is Market.DE else "Call for price"
    if ad.site.design.own_words and not ad.is_lot:
        return str(price)
    text = amount(price, market)
    if ad.is_lot:
        return {Stand.SOLD: f"Sold for {text}", Stand.ENDED: f"Bid to {text} (reserve not met)"}.get(
            stand, f"Current bid: {text}"
        )
    return f"{text} OBO" if ad.negotiable else text


def miles_text(ad: Ad) -> str:
    """The odometer as the page words it, "" when it says nothing."""
    if ad.miles is None:
        return ""
    if ad.site.market is Market.DE:
        return f"{ad.miles:,} km".replace(",", ".")
    return f"{ad.miles:,} {'mi' if ad.wording % 2 else 'miles'}" if ad.site.market is Market.US else f"{ad.miles:,} km"


def place_text(ad: Ad) -> str:
    """The place as the page words it."""
    place = ad.place
    if ad.site.market is Market.DE:
        return f"{place.postal_code} {place.city}"
    return f"{place.city}, {place.region} {place.postal_code}"


def facts(ad: Ad) -> list[tuple[str, str]]:
    """Field and value of every fact the page states as text, in the site's language; unknown ones are left out."""
    car, p = ad.car, ad.car.pattern
    year = f"{1 + ad.wording % 12:02d}/{p.year}" if ad.site.market is Market.DE else str(p.year)
    rows = [
        ("year", year),
        ("make", p.make),
        ("model", p.model),
        ("trim", p.trim),
        ("mileage", str(ad.miles or "") if ad.site.design.own_words else miles_text(ad)),
        ("body", p.body),
        ("engine", p.engine),
        ("fuel", p.fuel),
        ("transmission", p.transmission),
        ("drivetrain", p.drivetrain),
        ("colour", car.colour),
        ("interior", car.interior),
        ("doors", str(p.doors)),
        ("vin", ad.vin or ""),
    ]
    if ad.site.kind is SiteKind.DEALER:
        rows.append(("stock", f"{ad.site.name[0]}{ad.remote_id % 100_000:05d}"))
    if ad.site.layout in _PLACE_IN_A_ROW:
        rows.append(("place", place_text(ad)))
    if ad.site.market is Market.DE:
        rows = [(name, _IN_GERMAN.get(value, value)) for name, value in rows]
    return [(name, value) for name, value in rows if value]


def features(ad: Ad) -> tuple[str, ...]:
    """The equipment of the ad, six to eighteen items."""
    pool = FEATURES_DE if ad.site.market is Market.DE else FEATURES
    return _some(pool, ad.wording, 6 + ad.wording % 13)


@lru_cache(maxsize=_WORDED)
def description(ad: Ad) -> str:
    """The seller's own words, in paragraphs."""
    car, p, seed = ad.car, ad.car.pattern, ad.wording // 13
    if ad.site.market is Market.DE:
        return "\n".join(_some(_GERMAN, seed, 4))
    parts: tuple[str, ...]
    if ad.private:
        miles = ""
        if ad.miles is not None:
            unit = "miles" if ad.site.market is Market.US else "km"
            miles = _one(_PRIVATE_MILES, seed).replace("{miles}", f"{ad.miles:,}").replace("{unit}", unit)
        vin = f"VIN {ad.vin} if you want to run a report." if ad.vin else ""
        parts = (_one(_PRIVATE, seed), miles, *_some(_MIDDLES, seed, 3), _one(_PRIVATE_ENDS, seed), vin)
    else:
        parts = (_one(_OPENINGS, seed), *_some(_MIDDLES, seed, 4 + seed % 4), _one(_ENDINGS, seed))
    return "\n".join(part for part in parts if part).format_map(
        {
            "year": p.year,
            "make": p.make,
            "model": p.model,
            "colour": car.colour.lower(),
            "interior": car.interior.lower(),
            "body": p.body.lower() if p.body != "SUV" else "SUV",
            "engine": p.engine,
            "transmission": p.transmission.lower(),
            "drivetrain": p.drivetrain,
        }
    )


def _one(options: tuple[str, ...], seed: int) -> str:
    return options[seed // 7 % len(options)]


def _some(options: tuple[str, ...], seed: int, count: int) -> tuple[str, ...]:
    """``count`` different options: every step-th one; no pool's length is a multiple of three."""
    step = (1, 3, 9)[seed % 3]
    return (options * (step + 1))[seed // 3 % len(options) :: step][:count]


def date_text(when: int, german: bool = False) -> str:
    """A date for people."""
    return strftime("%d.%m.%Y" if german else "%B %d, %Y", gmtime(when))


def http_date(when: int) -> str:
    """A date for a header (RFC 9110)."""
    return strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime(when))


def iso(when: int) -> str:
    """An ISO 8601 time with its zone."""
    return datetime.fromtimestamp(when, UTC).isoformat()
