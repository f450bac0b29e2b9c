"""Cards are found however a page lays them out, each with what is its own; other things than vehicles are left."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fill_pipeline.extract.page import PageKind, extract_page
from fill_pipeline_tests.extract.search_scoring import rates, score_by_sight, score_cards

URL = "https://market.example/used"
Car = tuple[int, str, str, str, int, int, str]
CARS: list[Car] = [
    (2019, "Ford", "F-150", "XLT", 28990, 42592, "1FTEW1EP2KF123456"),
    (2016, "Honda", "Civic", "EX", 13450, 61230, "2HGFC2F73GH131173"),
    (2017, "Chevrolet", "Silverado 1500", "LT", 26400, 70999, "3GCUKREC5HG177475"),
    (2015, "Chevrolet", "Silverado 1500", "LTZ", 8750, 121004, "3GCUKSEC5FG185192"),
    (2021, "Toyota", "Camry", "SE", 24999, 18021, "4T1G11AK7MU138890"),
]
_MENU = "".join(
    f"<li><a href='/used-{name.lower()}'>Used {name} for sale</a></li>" for name in ("Ford F-150", "Kia Soul")
)
_FACETS = "".join(
    f"<li><a href='/used/{name.lower()}'>{name} ({at * 31 + 4})</a></li>" for at, name in enumerate(("Ford", "Kia"))
)


def _title(car: Car) -> str:
    return f"{car[0]} {car[1]} {car[2]} {car[3]}"


def _slug(car: Car) -> str:
    return "-".join(map(str, car[:3])).lower().replace(" ", "-")


def _rows(
    make: Callable[[int, Car], str], open_tag: str = "<div>", close: str = "</div>"
) -> Callable[[list[Car]], str]:
    return lambda cars: open_tag + "".join(make(at, car) for at, car in enumerate(cars)) + close


_LAYOUTS: dict[str, Callable[[list[Car]], str]] = {
    "link around the card": _rows(
        lambda at, c: f"<a href='/details/{410000 + at}'><h4>{c[0]} {c[1]} {c[2]}</h4><p class='trim'>{c[3]}</p>"
        f"<span>{c[5]:,} mi</span><h4>${c[4]:,}</h4><span>Est. ${c[4] // 60}/mo</span></a>"
    ),
    "picture and title links, other links beside": _rows(
        lambda at, c: f"<li><a href='/used/{c[1]}/{_slug(c)}-{at:02}ae8.htm'><img data-src='/p/{at}.jpg'></a>"
        f"<h3><a href='/used/{c[1]}/{_slug(c)}-{at:02}ae8.htm'>{_title(c)}</a></h3><b>${c[4]:,}</b>"
        f"<i>{c[5]:,} miles</i><a href='/contact?vehicleId={at}'>Ask</a><a href='/apply?v={at}'>Apply</a></li>"
    ),
    "a path that begins with the make": _rows(
        lambda at, c: f"<div><a href='/{c[1].lower()}/x/{c[0]}/vin/{c[6]}/'>{_title(c)}</a> "
        f"<b>${c[4]:,}</b> {c[5]:,} mi</div>"
    ),
    "names in the address, no id": _rows(
        lambda at, c: f"<div><a href='/stock/{_slug(c)}-{'abcdefgh'[at]}/'>{_title(c)}</a> "
        f"<b>${c[4]:,}</b> {c[5]:,} mi</div>"
    ),
    "year and trim among facts": _rows(
        lambda at, c: f"<article><a href='/ad/{2500000 + at}'>{c[1]} {c[2]}</a><span class='car-trim'>{c[3]}</span>"
        f"<p>EZ 0{at + 1}/{c[0]} • {c[5]:,} km • Diesel</p><b>{c[4]:,} €</b></article>".replace(",", ".")
    ),
    "table with headings": _rows(
        lambda at, c: f"<tr><td>{c[0]}</td><td>{c[1]}</td><td>{c[2]}</td><td>{c[3]}</td><td>{c[5]:,}</td>"
        f"<td>${c[4]:,}</td>"
        f"<td><a href='details.asp?id={1200 + at}'>Details</a></td></tr>",
        "<table><tr><th>Year</th><th>Make</th><th>Model</th><th>Trim</th><th>Mileage</th><th>Price</th><th></th></tr>",
        "</table>",
    ),
    "boxes without links": _rows(
        lambda at, c: f"<div class='box' onclick='go({at})'><p>{_title(c)}</p><p>${c[4]:,}</p>"
        f"<p>{c[5]:,} miles</p></div>"
    ),
    "advertisements between": _rows(
        lambda at, c: f"<li class='car'><a href='/car/{c[6]}'><h3>{_title(c)}</h3></a>${c[4]:,} <i>{c[5]:,} mi</i></li>"
        "<li class='ad'><a href='https://ads.example/click?to=9'>Insurance from $19</a></li>"
    ),
}  # fmt: skip


def _page(body: str) -> bytes:
    return (
        f"<html><head><title>Used cars</title></head><body><nav><ul>{_MENU}</ul></nav><h1>Used cars</h1>"
        f"<aside><ul>{_FACETS}</ul></aside>{body}<footer><ul>{_MENU}</ul>© 2024</footer></body></html>"
    ).encode()


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("layout", _LAYOUTS)
def test_every_card_is_found_with_what_is_its_own(layout: str, count: int) -> None:
    cars = CARS[-count:]
    result = extract_page(_page(_LAYOUTS[layout](cars)), url=URL, structured=False)
    assert result.kind is PageKind.SEARCH
    got = [(x.year, x.make, x.model, x.price, x.mileage) for x in result.listings]
    assert got == [(c[0], c[1], c[2], c[4], c[5]) for c in cars]
    assert all(car[3] in (item.trim or "") for car, item in zip(cars, result.listings, strict=True))
    if "without" not in layout:
        assert len({item.url for item in result.listings}) == count


def test_a_page_with_one_result_gives_it_with_its_link() -> None:
    result = extract_page(_page(_LAYOUTS["advertisements between"](CARS[:1])), url=URL, structured=False)
    assert result.kind is PageKind.SEARCH
    assert [(x.year, x.price, x.mileage, x.url) for x in result.listings] == [
        (2019, 28990, 42592, "https://market.example/car/1FTEW1EP2KF123456")
    ]


def test_a_price_on_request_is_absent() -> None:
    body = "".join(
        f"<div><a href='/car/{c[6]}'><h3>{_title(c)}</h3></a>"
        f"<b>{'Call for price' if at % 2 else f'${c[4]:,}'}</b> {c[5]:,} mi</div>"
        for at, c in enumerate(CARS)
    )  # fmt: skip
    prices = [item.price for item in extract_page(_page(body), url=URL).listings]
    assert prices == [None if at % 2 else car[4] for at, car in enumerate(CARS)]


def test_a_sellers_link_is_not_the_cards() -> None:
    body = "".join(
        f"<article><a><h2>{_title(c)}</h2></a><b>${c[4]:,}</b> {c[5]:,} mi"
        f"<a href='/dealers/d{at}'>More vehicles</a></article>"
        for at, c in enumerate(CARS)
    )  # fmt: skip
    listings = extract_page(_page(body), url=URL, structured=False).listings
    assert [(item.price, item.url) for item in listings] == [(car[4], None) for car in CARS]


def test_cards_are_completed_from_their_attributes_unless_only_the_visible_counts() -> None:
    records = [{"vin": c[6], "listing_id": f"77000{at}", "price": c[4], "make": c[1]} for at, c in enumerate(CARS)]
    marks = [
        [f"data-car='{html.escape(json.dumps(record))}'" for record in records],
        [f"data-vin='{car[6]}' data-stock='A{at}'" for at, car in enumerate(CARS)],
    ]
    for marked in marks:
        body = "".join(
            f"<div {mark}><a href='/v/77000{at}'>{_title(car)}</a> ${car[4]:,}</div>"
            for at, (car, mark) in enumerate(zip(CARS, marked, strict=True))
        )
        assert [x.vin for x in extract_page(_page(body), url=URL).listings] == [car[6] for car in CARS]
        assert {x.vin for x in extract_page(_page(body), url=URL, structured=False).listings} == {None}


def test_structured_records_without_links_get_those_of_the_cards_in_the_same_order() -> None:
    records = [
        {
            "@type": "Car",
            "name": f"{c[1]} {c[2]}",
            "brand": c[1],
            "mileageFromOdometer": c[5],
            "offers": {"price": c[4]},
        }
        for c in CARS
    ]
    script = f"<script type='application/ld+json'>{json.dumps(records)}</script>"
    listings = extract_page(_page(script + _LAYOUTS["advertisements between"](CARS)), url=URL).listings
    assert [item.url for item in listings] == [f"https://market.example/car/{car[6]}" for car in CARS]


_OTHER_THINGS = {
    "parts": [("2015-2018 Ford F-150 Grille", "$189.99"), ("Honda Civic 2016 Headlight Left", "$245"),
              ("Toyota Camry 2018 Brake Pads", "$49.95"), ("Audi A4 Control Arm Kit", "$219")],
    "toys": [("1:18 1967 Ford Mustang GT diecast", "$79.95"), ("1/43 1965 Shelby Cobra", "$49"),
             ("Hot Wheels 1970 Dodge Charger", "$4.99")],
    "articles": [("2023 Honda Civic Type R review", "from $42,000"), ("Toyota Camry vs Honda Accord", ""),
                 ("2024 Ford Mustang first drive", "1,200 miles")],
    "models": [(f"2024 Honda {name}", "Starting at $24,000") for name in ("Civic", "Accord", "Pilot", "Odyssey")],
    "categories": [(f"Used {name}", "211 listings from $6,000") for name in ("Honda Civic", "Ford F-150", "Kia Soul")],
    "rentals": [(f"{name} or similar", "$39/day") for name in ("Toyota Corolla", "Ford Mustang", "Nissan Versa")],
    "furniture": [(f"Oak table {at}", f"${at}10") for at in range(2, 9)],
}  # fmt: skip


@pytest.mark.parametrize("things", _OTHER_THINGS)
def test_lists_of_other_things_give_no_vehicles_and_say_why(things: str) -> None:
    body = "".join(
        f"<li><a href='/p/{55000 + at}'><h3>{title}</h3></a><b>{price}</b></li>"
        for at, (title, price) in enumerate(_OTHER_THINGS[things])
    )
    result = extract_page(_page(body), url=URL)
    assert (result.listings, result.links) == ([], [])
    assert result.kind in (PageKind.OTHER, PageKind.EMPTY)
    assert result.reason


def test_the_page_of_one_part_gives_no_vehicle() -> None:
    page = "<title>2015-2018 Ford F-150 Grille</title><h1>2015-2018 Ford F-150 Grille</h1><b class=price>$189.99</b>"
    result = extract_page(page.encode(), url=URL, kind="detail")
    assert result.listings == []
    assert result.reason


def test_cards_of_real_pages_give_what_a_person_reads(corpus: Path) -> None:
    for structured in (True, False):
        assert score_cards(corpus, structured=structured).misses == []


def test_what_is_seen_agrees_with_the_pages_own_data(corpus: Path) -> None:
    assert all(min(pair) >= 0.97 for pair in rates(score_by_sight(corpus)).values())
