"""Places where cars are sold, and names for the sites and sellers there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

MILES_PER_KM = 0.621371


class Market(StrEnum):
    """A country with its language, currency and unit of distance."""

    US = "US"
    CA = "CA"
    DE = "DE"

    @property
    def currency(self) -> str:
        """ISO 4217 code."""
        return {"US": "USD", "CA": "CAD", "DE": "EUR"}[self.value]

    @property
    def per_dollar(self) -> float:
        """Units of the market's currency for one US dollar (round figures)."""
        return {"US": 1.0, "CA": 1.36, "DE": 0.92}[self.value]

    @property
    def mileage_unit(self) -> str:
        """Unit of odometers: "mi" or "km"."""
        return "mi" if self is Market.US else "km"


@dataclass(frozen=True, slots=True)
class Place:
    """A city with its region (state, province, Land) and a postal code of it."""

    city: str
    region: str
    postal_code: str


def _places(text: str) -> tuple[Place, ...]:
    return tuple(Place(*line.split("|")) for line in text.split(";"))


PLACES: dict[Market, tuple[Place, ...]] = {
    Market.US: _places(
        "Austin|TX|78701;Dallas|TX|75201;Houston|TX|77002;San Antonio|TX|78205;Denver|CO|80202;Boulder|CO|80302;"
        "Portland|OR|97205;Salem|OR|97301;Seattle|WA|98101;Tacoma|WA|98402;Spokane|WA|99201;Boise|ID|83702;"
        "Sacramento|CA|95814;San Diego|CA|92101;Fresno|CA|93721;Oakland|CA|94612;Phoenix|AZ|85004;Tucson|AZ|85701;"
        "Las Vegas|NV|89101;Salt Lake City|UT|84101;Omaha|NE|68102;Kansas City|MO|64106;St. Louis|MO|63101;"
        "Chicago|IL|60602;Milwaukee|WI|53202;Minneapolis|MN|55401;Des Moines|IA|50309;Indianapolis|IN|46204;"
        "Columbus|OH|43215;Cleveland|OH|44113;Detroit|MI|48226;Pittsburgh|PA|15222;Philadelphia|PA|19103;"
        "Albany|NY|12207;Buffalo|NY|14202;Boston|MA|02108;Hartford|CT|06103;Baltimore|MD|21202;Richmond|VA|23219;"
        "Raleigh|NC|27601;Charlotte|NC|28202;Atlanta|GA|30303;Nashville|TN|37203;Tampa|FL|33602;Orlando|FL|32801"
    ),
    Market.CA: _places(
        "Toronto|ON|M5H 2N2;Ottawa|ON|K1P 5J2;Calgary|AB|T2P 2M5;Edmonton|AB|T5J 2R7;Vancouver|BC|V6B 1A1;"
        "Winnipeg|MB|R3C 1A5;Halifax|NS|B3J 1S9;Regina|SK|S4P 3Y2"
    ),
    Market.DE: _places(
        "Berlin|Berlin|10115;Hamburg|Hamburg|20095;München|Bayern|80331;Nürnberg|Bayern|90402;Köln|Nordrhein-Westfalen|"
        "50667;Dortmund|Nordrhein-Westfalen|44135;Stuttgart|Baden-Württemberg|70173;Leipzig|Sachsen|04109;"
        "Hannover|Niedersachsen|30159;Bremen|Bremen|28195;Kassel|Hessen|34117;Mainz|Rheinland-Pfalz|55116"
    ),
}

_FIRST = [
    "Harbor",
    "Summit",
    "Lakeside",
    "Prairie",
    "Cedar",
    "Granite",
    "Redwood",
    "Silver",
    "Canyon",
    "Heritage",
    "Beacon",
    "Maple",
    "Frontier",
    "Liberty",
    "Valley",
    "Northgate",
    "Riverbend",
    "Ironwood",
    "Bluebird",
    "Sterling",
    "Evergreen",
    "Westfield",
    "Pinecrest",
    "Juniper",
    "Copper",
    "Orchard",
    "Stonebridge",
    "Meadow",
    "Falcon",
    "Horizon",
]
_LAST = {
    "dealer": "Motors|Auto Sales|Auto Group|Cars|Pre-Owned|Automotive|Auto Center|Motor Company",
    "marketplace": "Auto Market|Car Finder|Wheels|Drive Market",
    "classifieds": "List|Classifieds|Trader Board|Swap",
    "auction_house": "Auctions|Motor Auctions|Auction Gallery",
    "feed": "Fleet Feed|Wholesale Wire|Stock Feed",
    "blog": "Road Journal|Garage Blog",
    "parts": "Parts Depot|Auto Parts",
    "link_farm": "Top Links|Best Sites Directory",
    "parked": "Domain|Web Address",
    "calendar": "Car Club Events|Cruise Calendar",
}


def site_name(rng: Random, kind: str, taken: set[str], market: Market = Market.US) -> str:
    """A name not yet in ``taken``, which it joins."""
    lasts = ["Autobörse", "Fahrzeugmarkt", "Autohaus"] if market is Market.DE else _LAST[kind].split("|")
    while True:
        name = f"{rng.choice(_FIRST)} {rng.choice(lasts)}"
        if name not in taken and slug_of(name) not in {slug_of(other) for other in taken}:
            taken.add(name)
            return name


def slug_of(name: str) -> str:
    """The host label of a name: "Maple Auto Sales" gives "maple-auto-sales"."""
    for letter, plain in (("ö", "oe"), ("ü", "ue"), ("ä", "ae"), ("ß", "ss"), (".", "")):
        name = name.lower().replace(letter, plain)
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in name).split())
