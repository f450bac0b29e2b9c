"""What stands around the facts of a detail page is not taken for them."""

from __future__ import annotations

from typing import Any

import pytest

from fill_pipeline.extract.listing import Layer, Listing
from fill_pipeline.extract.page import extract_page

_TITLE = "<html><body><h1>2018 Toyota Camry XLE</h1>"


def one(body: str, *, url: str = "https://a.example/1", structured: bool = True) -> Listing:
    """The one listing of a page that goes on after its heading."""
    return extract_page((_TITLE + body).encode(), url=url, kind="detail", structured=structured).listings[0]


@pytest.mark.parametrize(
    "body",
    [
        (
            "<div><b>$38,412</b><i>MSRP</i></div><div><b>-$750</b><i>Discount</i></div>"
            "<div><b>$37,662</b><i>Hill Price</i></div>"
        ),
        "<dl><dt>Retail Price<dd>$39,995<dt>Dealer Discount<dd>-$2,333<dt>Internet Price<dd>$37,662</dl>",
        "<p>Was <s>$39,999</s> Now <b>$37,662</b> Save $2,337!</p>",
        "<p>$37,662</p><span>Great Deal</span><p>$1,514 below market</p><p>est. $501/mo</p>",
        "<h3>37 662</h3><p>USD</p>",
        "<div>$0 down $589 /mo for 72 months</div><h2>$37,662</h2><p>Price includes $899 dealer fee</p>",
    ],
)
def test_the_asking_price_is_found_among_others(body: str) -> None:
    assert one(body).price == 37_662


@pytest.mark.parametrize(
    ("body", "price", "kind"),
    [
        ("<div><div><span>US $18,600.00</span></div><div>Current bid</div><a>23 bids</a></div>", 18_600, "bid"),
        ("<p>Reserve Not Met</p><p>High Bid: $27,500</p><p>Ended March 3</p>", 27_500, "reserve"),
        ("<ul><li>Ended<li>Sold for <b>$31,250</b></ul>", 31_250, "sold"),
    ],
)
def test_an_auctions_amount_has_its_kind(body: str, price: int, kind: str) -> None:
    listing = one(body)
    assert (listing.price, listing.price_kind) == (price, kind)


def test_a_price_that_is_crossed_out_is_not_asked_though_it_stands_alone() -> None:
    assert one("<p>Yours for</p><b>37662</b><p><del>$39,999</del></p>").price is None


def test_a_withheld_price_is_absent_and_its_words_are_kept() -> None:
    listing = one("<dl><dt>Price<dd>Call for price<dt>Mileage<dd>9,800 miles</dl>")
    assert (listing.price, listing.raw["price"]) == (None, "Call for price")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<dl><dt>Powertrain<dd>7 years/100,000 miles<dt>Engine<dd>0 cm³</dl>", {"engine": None, "mileage": None}),
        ("<p>2.5L I-4 port/direct injection, DOHC, variable valve engine</p>",
         {"engine": "2.5L I-4 port/direct injection, DOHC, variable valve"}),
        ("<p>EcoTec3 6.2L V8 8-Speed Automatic 4D Crew Cab</p>",
         {"engine": "6.2L V8", "transmission": "8-Speed Automatic"}),
        ("<ul><li>Gray Exterior<li>Black Interior</ul>", {"exterior_color": "Gray", "interior_color": "Black"}),
        ("<dl><dt>Colour<dd>Rosso Corsa</dl>", {"exterior_color": "Rosso Corsa"}),
        ("<dl><dt>Type<dd>Used</dl>", {"condition": "Used", "body_style": None}),
        ("<dl><dt>Type<dd>SUV</dl>", {"condition": None, "body_style": "SUV"}),
        ("<dl><dt>VIN<dd>5NPD74LF7HH1*****</dl>", {"vin": None}),
        ("<dl><dt>Registration<dd>2017 (67 reg)</dl>", {"year": 2018}),
    ],
)  # fmt: skip
def test_facts_are_told_from_their_neighbours(body: str, expected: dict[str, Any]) -> None:
    listing = one("<p>$20,000</p>" + body)
    assert {name: getattr(listing, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ("Årsmodell=2017 Miltal=9 820 mil Drivmedel=Diesel Växellåda=Automat Färg=Svart",
         {"year": 2017, "mileage": 98_200, "mileage_unit": "km", "transmission": "Automat", "exterior_color": "Svart"}),
        ("Rok produkcji=2017 Przebieg=167 000 km Skrzynia biegów=Automatyczna Napęd=Na przednie koła",
         {"year": 2017, "mileage": 167_000, "transmission": "Automatyczna", "drivetrain": "Na przednie koła"}),
        ("Anno=05/2017 Chilometraggio=62.300 km Cambio=Manuale Carburante=Benzina Porte=3",
         {"year": 2017, "mileage": 62_300, "transmission": "Manuale", "fuel_type": "Benzina", "doors": 3}),
        ("Año=2017 Kilómetros=98.000 km Combustible=Diésel Puertas=5",
         {"year": 2017, "mileage": 98_000, "fuel_type": "Diésel", "doors": 5}),
    ],
)  # fmt: skip
def test_further_languages_are_read(facts: str, expected: dict[str, Any]) -> None:
    pairs = [pair.rsplit("=", 1) for pair in _pairs(facts)]
    rows = "".join(f"<tr><th>{label}<td>{value}" for label, value in pairs)
    page = f"<h1>Toyota Camry</h1><p>€ 9.900</p><table>{rows}</table>"
    listing = extract_page(page.encode(), url="https://a.example/1", kind="detail").listings[0]
    assert {name: getattr(listing, name) for name in expected} == expected


def _pairs(facts: str) -> list[str]:
    """Splits "A b=1 c D=2" before each label, which begins with a capital letter and holds the next "="."""
    out: list[str] = []
    for part in facts.split("="):
        if not out:
            out.append(part)
            continue
        words = part.split(" ")
        start = next((at for at in range(1, len(words)) if words[at][:1].isupper()), len(words))
        out[-1] += "=" + " ".join(words[:start])
        if start < len(words):
            out.append(" ".join(words[start:]))
    return out


def test_crowns_are_those_of_the_sites_country() -> None:
    assert one("<p>419 000 kr</p>", url="https://a.example.no/1").currency == "NOK"


def test_a_trim_ends_where_body_and_drive_begin() -> None:
    page = "<h1>Certified Used 2021 Ford F-150 LARIAT 4WD SuperCrew</h1><p>$51,995</p><p>22,801 miles</p>"
    listing = extract_page(page.encode(), url="https://a.example/1", kind="detail").listings[0]
    assert (listing.trim, listing.condition) == ("LARIAT", "Certified Used")
    coupe = extract_page(b"<h1>1963 Chevrolet Corvette Coupe</h1><p>$89,950</p>", url="https://a.example/1").listings[0]
    assert (coupe.trim, coupe.body_style) == (None, "Coupe")


def test_the_description_stands_under_its_heading_and_is_no_thread_of_comments() -> None:
    notes = "Includes one year of complimentary maintenance and roadside assistance for its next owner."
    deal = '<div class="deal-description">This car is priced well below the average of the market range nearby.</div>'
    thread = '<div class="comments">newest first Reply I would never buy this car at that price, said everybody.</div>'
    assert (
        one(f"<p>$1,000</p>{deal}<section><h2>Seller's notes</h2><p>{notes}</p></section>{thread}").description == notes
    )


def test_rdfa_gives_the_vehicle_and_is_hidden_with_the_rest() -> None:
    body = """<div vocab="https://schema.org/" typeof="Car"><b property="name">2018 Toyota Camry XLE</b>
    <span property="brand" typeof="Brand"><i property="name">Toyota</i></span><span property="model">Camry</span>
    <div property="mileageFromOdometer" typeof="QuantitativeValue"><i property="value">70000</i>
    <meta property="unitCode" content="KMT"></div><div property="offers" typeof="Offer">
    <meta property="priceCurrency" content="EUR"><i property="price" content="13900">from us</i></div></div>"""
    listing = one(body)
    assert (listing.price, listing.currency, listing.mileage, listing.mileage_unit) == (13_900, "EUR", 70_000, "km")
    assert listing.provenance["price"].layer is Layer.STRUCTURED
    assert one(body, structured=False).price is None


_WHOLE = """<script type="application/ld+json">{"@type": "Car", "name": "2018 Toyota Camry XLE", "brand": "Toyota",
 "model": "Camry", "vehicleModelDate": "2018", "vehicleIdentificationNumber": "4T1B61HK1JU512345", "bodyType": "Sedan",
 "mileageFromOdometer": {"value": 70000, "unitCode": "SMI"}, "image": "/1.jpg", "color": "Red", "numberOfDoors": 4,
 "vehicleInteriorColor": "Black", "vehicleTransmission": "Automatic", "driveWheelConfiguration": "FWD",
 "vehicleEngine": {"@type": "EngineSpecification", "name": "3.5L V6", "fuelType": "Gasoline"},
 "description": "One owner, serviced on time, both keys.", "offers": {"price": 13900, "priceCurrency": "USD",
 "seller": {"name": "Hill Motors", "address": {"addressLocality": "Omaha", "addressRegion": "NE"}}}}</script>"""


@pytest.mark.parametrize(
    ("shown", "kind"),
    [
        ("<p>$13,900</p><p>Paint: Blue</p>", "asking"),
        ("<p>Current bid: $13,900</p>", "bid"),
        ("<p>Sold for</p><b>$13,900</b>", "sold"),
        ("<p>Bid to $13,900</p><p>Forbidden in 2019</p>", "bid"),
    ],
)
def test_data_that_say_all_are_taken_as_they_are_but_for_what_the_page_makes_of_the_price(
    shown: str, kind: str
) -> None:
    listing = one(_WHOLE + shown)
    assert (listing.price, listing.price_kind, listing.exterior_color) == (13_900, kind, "Red")
    assert (listing.place, listing.engine, listing.fuel_type) == ("Omaha, NE", "3.5L V6", "Gasoline")


def test_what_the_data_leave_out_is_read_off_the_page() -> None:
    listing = one(_WHOLE.replace('"bodyType": "Sedan",', "") + "<dl><dt>Body<dd>Sedan<dt>Color<dd>Blue</dl>")
    assert (listing.body_style, listing.exterior_color) == ("Sedan", "Red")
