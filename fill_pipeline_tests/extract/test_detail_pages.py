"""Detail pages of sites never seen before give their one vehicle, and nothing of the cars beside it."""

from __future__ import annotations

import json

import pytest

from fill_pipeline.extract.listing import Layer, Listing
from fill_pipeline.extract.page import ExtractRules, PageKind, extract_page
from fill_pipeline.extract.rules import Rule

VIN = "1FTFW1E40KKE46828"
URL = "https://dealer.example/stock/100200300"
_TILE = '<div class=tile><a href="/stock/{}">{}</a><span class=price>${}</span><span>{} miles</span></div>'
_SIMILAR = "<section><h2>Similar vehicles</h2>{}</section>".format(
    "".join(
        _TILE.format(*car)
        for car in (
            (5550001, "2015 Toyota Camry LE", "11,111", "99,999"),
            (5550002, "2016 Honda Civic LX", "12,222", "88,888"),
            (5550003, "2017 Mazda CX-5", "13,333", "77,777"),
        )
    )
)
_HEAD = "<html><head><title>2019 Ford F-150 XLT | Harbor Motors</title></head><body><nav><a href=/>Home</a></nav>"
_TITLE = "<h1>2019 Ford F-150 XLT</h1><div class=price>$38,990</div>"
_TABLE = (
    "<table><tr><th>Mileage<td>42,592 mi<tr><th>VIN<td>{vin}<tr><th>Exterior Color<td>Gray<tr><th>"
    "Engine<td>3.5L V6</table>"
)
_LIST = (
    "<dl><dt>Mileage</dt><dd>42,592 mi</dd><dt>VIN</dt><dd>{vin}</dd><dt>Exterior Color</dt><dd>Gray</dd>"
    "<dt>Engine</dt><dd>3.5L V6</dd></dl>"
)
_COLONS = (
    "<ul><li>Mileage: 42,592 mi<li>VIN: {vin}<li><b>Exterior Color:</b> Gray<li><span>Engine</span>: "
    "<span>3.5L V6</span></ul>"
)
_SPANS = (
    "<div><div><span>Mileage</span></div><div><span>42,592</span> <span>mi</span></div></div><div><p>VIN</p><p>"
    "{vin}</p></div>"
    "<div><em>Exterior Color</em></div><div>Gray</div><div><i>Engine</i></div><div>3.5L V6</div>"
)
_SENTENCES = (
    "<p>This truck has only 42,592 original miles. VIN {vin}.</p><p>Gray exterior color</p><p>3.5L V6 engine</p>"
)


def one(body: str, **options: object) -> Listing:
    """The one listing of a page."""
    result = extract_page(body.encode(), url=URL, **options)  # type: ignore[arg-type]
    assert result.kind is PageKind.DETAIL, result.reason
    assert len(result.listings) == 1
    return result.listings[0]


@pytest.mark.parametrize(
    "facts", [_TABLE, _LIST, _COLONS, _SPANS, _SENTENCES], ids=["table", "dl", "colons", "spans", "text"]
)
def test_labels_and_values_are_read_in_any_markup(facts: str) -> None:
    listing = one(_HEAD + _TITLE + facts.format(vin=VIN) + _SIMILAR)
    assert (listing.title, listing.year, listing.make, listing.model, listing.trim) == (
        "2019 Ford F-150 XLT", 2019, "Ford", "F-150", "XLT",
    )  # fmt: skip
    assert (listing.price, listing.currency, listing.price_kind) == (38_990, "USD", "asking")
    assert (listing.mileage, listing.mileage_unit, listing.vin) == (42_592, "mi", VIN)
    assert (listing.exterior_color, listing.engine) == ("Gray", "3.5L V6")


_GERMAN = (
    "<dl><dt>Kilometerstand<dd>85.000 km<dt>Erstzulassung<dd>08/2018<dt>Kraftstoff<dd>Diesel"
    "<dt>Getriebe<dd>Automatik<dt>Preis<dd>12.500 €</dl>"
)
_DUTCH = (
    "<table><tr><td>Tellerstand<td>180.100 km<tr><td>Bouwjaar<td>2011"
    "<tr><td>Brandstof<td>Benzine<tr><td>Vraagprijs<td>€ 1.440,-</table>"
)
_FRENCH = (
    "<dl><dt>Kilométrage<dd>63 900 km<dt>Année<dd>2017<dt>Carburant<dd>Essence"
    "<dt>Boîte de vitesses<dd>Manuelle<dt>Prix<dd>12 500 €</dl>"
)


@pytest.mark.parametrize(
    ("title", "facts", "expected"),
    [
        ("BMW 320d Touring", _GERMAN, {"make": "BMW", "mileage": 85_000, "mileage_unit": "km", "year": 2018,
                                       "fuel_type": "Diesel", "price": 12_500, "currency": "EUR",
                                       "transmission": "Automatik"}),
        ("Volkswagen Polo 1.4", _DUTCH, {"make": "Volkswagen", "model": "Polo", "mileage": 180_100, "year": 2011,
                                         "fuel_type": "Benzine", "price": 1_440, "currency": "EUR"}),
        ("Peugeot 308 Allure", _FRENCH, {"make": "Peugeot", "model": "308", "mileage": 63_900, "year": 2017,
                                         "fuel_type": "Essence", "price": 12_500, "transmission": "Manuelle"}),
    ],
    ids=["de", "nl", "fr"],
)  # fmt: skip
def test_other_languages_are_read(title: str, facts: str, expected: dict[str, object]) -> None:
    listing = one(f"<h1>{title}</h1>{facts}", kind="detail")
    assert {name: getattr(listing, name) for name in expected} == expected


def test_similar_cars_never_lend_their_values() -> None:
    listing = one(_HEAD + "<h1>2019 Ford F-150 XLT</h1><p>Call for price</p>" + _SIMILAR, kind="detail")
    assert (listing.price, listing.mileage, listing.vin) == (None, None, None)


def test_the_asking_price_wins_over_the_former_one_and_the_payment() -> None:
    body = "<h1>2019 Ford F-150</h1><div><s>$41,500</s> <b>$38,990</b></div><p>Est. $612/mo</p><p>MSRP $52,000</p>"
    assert one(_HEAD + body).price == 38_990


def test_json_ld_gives_every_field_with_its_evidence() -> None:
    record = {
        "@context": "https://schema.org",
        "@type": ["Product", "Car"],
        "name": "2019 Ford F-150 XLT",
        "brand": {"@type": "Brand", "name": "FORD"},
        "model": "F-150",
        "vehicleModelDate": "2019",
        "sku": "A17",
        "vehicleIdentificationNumber": VIN,
        "color": "Gray",
        "image": ["/p/1.jpg", "/p/2.jpg"],
        "mileageFromOdometer": {"@type": "QuantitativeValue", "value": "42592", "unitCode": "SMI"},
        "offers": {
            "@type": "Offer",
            "price": "38990.00",
            "priceCurrency": "USD",
            "availability": "https://schema.org/InStock",
            "seller": {
                "@type": "AutoDealer",
                "name": "Harbor Motors",
                "telephone": "+1 555 010 0100",
                "address": {"addressLocality": "Boston", "addressRegion": "MA", "postalCode": "02108"},
            },
        },
    }
    broken = '<script type="application/ld+json">{"@type": </script>'
    listing = one(
        f'<h1>x</h1>{broken}<script type="application/ld+json">{json.dumps({"@graph": [record]})}</script>{_SIMILAR}'
    )
    assert (listing.make, listing.model, listing.year, listing.vin, listing.price) == (
        "Ford",
        "F-150",
        2019,
        VIN,
        38_990,
    )
    assert (listing.mileage, listing.mileage_unit, listing.seller_name, listing.place) == (
        42_592,
        "mi",
        "Harbor Motors",
        "Boston, MA",
    )
    assert listing.images == ["https://dealer.example/p/1.jpg", "https://dealer.example/p/2.jpg"]
    assert (listing.remote_id, listing.raw["make"], listing.status) == ("A17", "FORD", "active")
    assert listing.provenance["vin"].layer is Layer.STRUCTURED
    assert set(listing.provenance) >= {"price", "mileage", "make", "model", "year", "title"}
    assert listing.raw_payload is not None
    assert listing.raw_payload["sku"] == "A17"


def test_microdata_gives_the_vehicle() -> None:
    body = f"""<div itemscope itemtype="https://schema.org/Car"><h1 itemprop=name>2019 Ford F-150 XLT</h1>
    <span itemprop=brand>Ford</span><span itemprop=model>F-150</span><meta itemprop=vehicleModelDate content=2019>
    <span itemprop=vehicleIdentificationNumber>{VIN}</span>
    <div itemprop=mileageFromOdometer itemscope><b itemprop=value>42,592</b><meta itemprop=unitCode content=SMI></div>
    <div itemprop=offers itemscope itemtype="https://schema.org/Offer"><meta itemprop=priceCurrency content=USD>
    <i itemprop=price content=38990>$38,990</i></div></div>"""
    listing = one(body)
    assert (listing.price, listing.mileage, listing.vin, listing.model) == (38_990, 42_592, VIN, "F-150")
    assert listing.provenance["price"].layer is Layer.STRUCTURED


def test_without_structured_data_only_what_a_person_sees_is_used() -> None:
    script = (
        '<script type="application/ld+json">{"@type":"Car","name":"2001 Kia Rio","vin":"x",'
        '"offers":{"price":1}}</script>'
    )
    listing = one(_HEAD + script + _TITLE + _TABLE.format(vin=VIN), structured=False)
    assert (listing.make, listing.price) == ("Ford", 38_990)
    assert all(evidence.layer not in (Layer.STRUCTURED, Layer.STATE) for evidence in listing.provenance.values())


def test_the_state_of_an_application_gives_the_vehicle_and_not_its_neighbours() -> None:
    vehicle = {
        "id": 100200300,
        "year": 2019,
        "make": {"name": "Ford"},
        "model": {"name": "F-150"},
        "trim": "XLT",
        "vin": VIN,
        "price": {"amount": 38990, "currency": "USD"},
        "mileage": {"value": 42592, "unit": "mi"},
    }
    other = {
        "id": 5550001,
        "year": 2015,
        "make": {"name": "Toyota"},
        "model": {"name": "Camry"},
        "vin": "4T1BF1FK5FU111111",
        "price": {"amount": 11111, "currency": "USD"},
        "mileage": {"value": 99999, "unit": "mi"},
    }
    state = {"props": {"page": {"vehicle": vehicle, "similarVehicles": [other, other]}}}
    listing = one(
        f'<script id="__NEXT_DATA__" type="application/json">{json.dumps(state)}</script><h1>2019 Ford F-150</h1>'
    )
    assert (listing.make, listing.vin, listing.price, listing.mileage) == ("Ford", VIN, 38_990, 42_592)


def test_an_auction_says_what_its_price_means() -> None:
    page = "<h1>1988 Mercedes-Benz 560SL</h1><p>{}</p><p>Chassis: WDBBA48D0JA087816</p><p>90,500 miles</p>"
    for words, kind, price in [
        ("Current bid: $7,000", "bid", 7_000),
        ("Sold for $21,250 on 9/6/25", "sold", 21_250),
        ("Bid to $31,000 (reserve not met)", "reserve", 31_000),
    ]:
        listing = one(page.format(words), kind="detail")
        assert (listing.price_kind, listing.price) == (kind, price)
    assert one(page.format("Sold for $21,250"), kind="detail").status == "sold"


def test_a_dollar_is_that_of_the_sites_country() -> None:
    body = (_HEAD + _TITLE + "<p>42,592 km</p>").encode()
    assert extract_page(body, url="https://dealer.example.ca/x/1", kind="detail").listings[0].currency == "CAD"


def test_the_explanation_shows_winners_and_losers() -> None:
    result = extract_page((_HEAD + _TITLE + _TABLE.format(vin=VIN)).encode(), url=URL, explain=True)
    years = [entry for entry in result.explain if entry.field == "make"]
    assert any(entry.won for entry in years)
    assert all(0 <= entry.confidence <= 1 for entry in result.explain)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", PageKind.OTHER),
        ("<html><body></body></html>", PageKind.OTHER),
        ("<h1>Access denied</h1><p>Please complete the captcha</p>", PageKind.OTHER),
        ("<h1>Oak table</h1><p>$200</p><p>Solid oak, four chairs.</p>", PageKind.OTHER),
        ("<h1>Used cars</h1><p>Sorry, no vehicles match your search.</p>", PageKind.EMPTY),
        ('{"items": [], "total": 0}', PageKind.EMPTY),
        ('{"error": "not found"}', PageKind.OTHER),
    ],
)
def test_a_page_without_a_vehicle_gives_a_reason(body: str, kind: PageKind) -> None:
    result = extract_page(body.encode(), url=URL)
    assert (result.kind, result.listings) == (kind, [])
    assert result.reason


@pytest.mark.parametrize("selector", ["a.result", "a", "a[href*='/stock']"])
def test_a_selector_for_the_index_makes_no_index_of_a_detail_page(selector: str) -> None:
    page = (
        "<html><head><title>BMW 320d Touring gebraucht | Autohaus Nord</title></head><body>"
        "<h1>BMW 320d Touring</h1><p>18.950 €</p><ul><li>128.400 km<li>Diesel</ul>"
        "<p><a class=result href=/stock/list?s=1>zurück</a> <a class=result href=/stock/note>Merken</a></p>"
    )
    listing = one(page, rules=ExtractRules(link_selector=selector))
    assert (listing.make, listing.price, listing.mileage) == ("BMW", 18_950, 128_400)


@pytest.mark.parametrize(
    ("label", "mileage"), [("Road travelled", 61_420), ("Distance since new", None), ("On the clock, driven", None)]
)
def test_a_number_named_as_a_distance_is_no_price(label: str, mileage: int | None) -> None:
    page = f"<html><body><h1>2016 Ford Focus SE</h1><dl><dt>{label}<dd>61,420<dt>Engine<dd>2.0L I4</dl>"
    listing = one(page)
    assert (listing.price, listing.mileage) == (None, mileage)


def test_a_page_on_which_a_sources_own_rules_find_a_vehicle_is_that_vehicles_whatever_cards_stand_there() -> None:
    cards = "".join(
        f'<li><a href="/car/{n}-audi-a{n}">Audi A{n}</a> <b>{n}1.000 km</b> <b>{n}9.000 €</b>' for n in range(3, 9)
    )
    page = f"<h2>Audi Q7 3.0L</h2><p>Haus</p><p>Audi</p><p>Rollte</p><p>68600</p><ul>{cards}</ul>"
    url = "http://markt.test/car/5599881122-audi-q7"
    rules = {
        "make": Rule(css='p:lexbor-contains("Haus" i) + p'),
        "mileage": Rule(css='p:lexbor-contains("Rollte" i) + p'),
    }
    assert extract_page(page.encode(), url=url).kind is PageKind.SEARCH
    found = extract_page(page.encode(), url=url, rules=ExtractRules(detail=rules))
    assert [(one.make, one.model, one.mileage) for one in found.listings] == [("Audi", "Q7", 68_600)]


def test_rules_of_a_vehicles_page_that_find_something_in_every_card_do_not_make_one_of_a_list() -> None:
    cards = "".join(
        f'<li><a href="/car/{n}-audi-a{n}">Audi A{n}</a> <b class="km">{n}1,000 mi</b> <b class="ask">${n}9,000</b>'
        for n in range(3, 9)
    )
    rules = ExtractRules(detail={"price": Rule(css="b.ask"), "mileage": Rule(css="b.km")})
    found = extract_page(
        f"<h1>Used cars</h1><ul>{cards}</ul>".encode(), url="http://markt.test/car/1-gone", rules=rules
    )
    assert found.kind is PageKind.SEARCH
