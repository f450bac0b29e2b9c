"""Search pages give one listing a card, each with its own link and never another card's values."""

from __future__ import annotations

import json

import pytest

from fill_pipeline.extract.page import ExtractRules, PageKind, extract_page
from fill_pipeline.extract.rules import Rule

URL = "https://market.example/cars?page=2"
CARS = [
    ("2019 Ford F-150 XLT", 38_990, 42_592),
    ("2015 Toyota Camry LE", 11_111, 99_999),
    ("2016 Honda Civic LX", 12_222, 88_888),
    ("2017 Mazda CX-5 Touring", None, 77_777),
    ("2021 Tesla Model 3", 33_333, None),
]
Seen = list[tuple[str | None, int | None, int | None, str | None]]


def _card(style: str, at: int, title: str, price: int | None, miles: int | None) -> str:
    link = f"/vehicle/{700100 + at}-{title.lower().replace(' ', '-')}"
    money = f"${price:,}" if price else "Call for price"
    distance = f"{miles:,} miles" if miles else ""
    return {
        "article": f"<article><a href='{link}'><img alt='' src=/p{at}.jpg></a><h3><a href='{link}'>{title}</a></h3>"
        f"<div class=price>{money}</div><ul><li>{distance}</ul><a href='{link}#contact'>Contact</a></article>",
        "link": f"<a class=card href='{link}'><div>{title}</div><div>{money}</div><div>{distance}</div></a>",
        "row": f"<tr><td><a href='{link}'>{title}</a><td>{money}<td>{distance}</tr>",
        "flat": f"<h3><a href='{link}'>{title}</a></h3><p>{money}</p><p>{distance}</p>",
        "query": f"<li><a href='/details?id={700100 + at}&from=list'>{title}</a> <b>{money}</b> <i>{distance}</i></li>",
        "silent": f"<div class=item data-id={at}><h2>{title}</h2><span>{money}</span> <span>{distance}</span></div>",
    }[style]


def _page(style: str) -> bytes:
    cards = "".join(_card(style, at, *car) for at, car in enumerate(CARS))
    wrap = (
        f"<table>{cards}</table>"
        if style == "row"
        else f"<ul>{cards}</ul>"
        if style == "query"
        else f"<div>{cards}</div>"
    )
    menu = "".join(
        f"<li><a href='/make/{make}'>{make}</a>" for make in ("Ford", "Toyota", "Honda", "Mazda", "Tesla", "Kia")
    )
    more = "<a href='?page=3'>Next</a>"
    return (
        f"<title>Used cars for sale</title><nav><ul>{menu}</ul></nav><h1>Used cars</h1><p>21–25 of 1,204 "
        f"results</p>{wrap}{more}"
    ).encode()


@pytest.mark.parametrize("style", ["article", "link", "row", "flat", "query", "silent"])
def test_cards_of_any_layout_keep_their_own_values(style: str) -> None:
    result = extract_page(_page(style), url=URL)
    assert result.kind is PageKind.SEARCH
    seen = [(item.title, item.price, item.mileage) for item in result.listings]
    assert seen == list(CARS)
    if style != "silent":
        assert [item.remote_id for item in result.listings] == [str(700100 + at) for at in range(len(CARS))]
        assert len({item.url for item in result.listings}) == len(CARS)


def test_the_next_page_and_the_count_are_read() -> None:
    result = extract_page(_page("article"), url=URL)
    assert result.next_url == "https://market.example/cars?page=3"
    assert result.expected_count == 1204
    linked = b"<link rel=next href='/cars?page=9'>" + _page("article").replace(b"Next", b"-")
    assert extract_page(linked, url=URL).next_url == "https://market.example/cars?page=9"


def test_json_ld_per_card_gives_the_cards() -> None:
    blocks = "".join(
        "<script type='application/ld+json'>"
        + json.dumps({"@type": "Car", "name": title, "url": f"/v/{at}", "mileageFromOdometer": {"value": miles},
                      "offers": {"price": price, "priceCurrency": "USD"}})
        + "</script>"
        for at, (title, price, miles) in enumerate(CARS)
    )  # fmt: skip
    result = extract_page(blocks.encode(), url=URL)
    assert [(item.title, item.price, item.mileage) for item in result.listings] == list(CARS)
    assert result.listings[0].mileage_unit == "mi"
    assert result.listings[4].url == "https://market.example/v/4"


_ENVELOPES = {
    "plain": lambda rows: {"items": rows, "next_cursor": "abc", "total": 1204},
    "nested": lambda rows: {
        "data": {"feed": {"tiles": [{"type": "ad"}, *({"tile": i, "listing": r} for i, r in enumerate(rows))]}}
    },
    "array": lambda rows: rows,
    "by id": lambda rows: {"inventory": {str(row["id"]): row for row in rows}, "total": 1204},
    "edges": lambda rows: {"data": {"search": {"edges": [{"cursor": "c", "node": row} for row in rows]}}},
}


@pytest.mark.parametrize("envelope", _ENVELOPES, ids=str)
@pytest.mark.parametrize("shape", ["flat", "deep"])
def test_the_records_of_an_api_are_found_by_structure(envelope: str, shape: str) -> None:
    rows = []
    for at, (title, price, miles) in enumerate(CARS):
        year, make, *model = title.split()
        if shape == "flat":
            row = {
                "id": 700100 + at,
                "modelYear": year,
                "makeName": make,
                "modelName": " ".join(model),
                "askingPrice": price,
                "currency": "USD",
                "odometer": miles,
                "detailUrl": f"/v/{700100 + at}",
            }
        else:
            row = {
                "id": 700100 + at,
                "url": f"/v/{700100 + at}",
                "price": {"raw": price, "formatted": f"${price}"},
                "vehicle": {
                    "make": {"label": make},
                    "model": " ".join(model),
                    "modelYear": year,
                    "mileage": {"value": miles, "unit": "miles"},
                },
                "seller": {"id": 9, "name": "Harbor Motors", "url": "/dealer/9"},
                "location": {"city": "Boston"},
            }
        rows.append(row)
    result = extract_page(json.dumps(_ENVELOPES[envelope](rows)).encode(), url=URL, content_type="application/json")
    assert result.kind is PageKind.SEARCH
    assert [(item.year, item.make, item.price, item.mileage) for item in result.listings] == [
        (int(title[:4]), title.split()[1], price, miles) for title, price, miles in CARS
    ]
    assert [item.remote_id for item in result.listings] == [str(700100 + at) for at in range(len(CARS))]
    assert result.listings[0].url == "https://market.example/v/700100"
    if shape == "deep":
        assert result.listings[0].seller_name == "Harbor Motors"


def test_rules_go_before_guesses() -> None:
    rules = ExtractRules(
        card={"price": Rule(css="ul li", regex=r"([\d,]+)"), "title": Rule(css="h3")},
        link_pattern=r"/vehicle/\d+",
        next_selector="nav a",
    )
    result = extract_page(_page("article"), url=URL, kind="search", rules=rules)
    assert result.listings[0].price == 42_592
    assert result.next_url == "https://market.example/make/Ford"
    assert all("/vehicle/" in link for link in result.links)


def test_a_rule_builds_links_from_a_records_keys() -> None:
    body = json.dumps({"rows": [{"id": 7, "slug": "ford", "title": "2019 Ford F-150", "price": 5000, "mileage": 4}]})
    rules = ExtractRules(
        items_path="rows", url_template="/listing/{id}/{slug}", card={"price": Rule(jmespath="mileage")}
    )
    result = extract_page(body.encode(), url=URL, kind="search", rules=rules)
    assert result.listings[0].url == "https://market.example/listing/7/ford"
    assert result.listings[0].price == 4


def test_rules_for_records_hold_for_those_a_page_embeds_too() -> None:
    cars = [
        {"listingId": n, "title": f"20{10 + n} Honda Civic", "price": 5_000 + n, "vehicleMiles": 900} for n in range(5)
    ]
    state = json.dumps({"props": {"tiles": [{"listing": car} for car in cars]}})
    body = f'<html><body><script id="__NEXT_DATA__" type="application/json">{state}</script></body></html>'
    rules = ExtractRules(card={"country": Rule(jmespath="'US'"), "price": Rule(jmespath="vehicleMiles")})
    listings = extract_page(body.encode(), url=URL, kind="search", rules=rules).listings
    assert [(one.year, one.country, one.price) for one in listings] == [(2010 + n, "US", 900) for n in range(5)]


def test_rules_that_cannot_be_read_cost_nothing_else() -> None:
    rules = ExtractRules(card={"price": Rule(css=":::"), "title": Rule(css="h3", regex="(")}, items_path="[[[")
    result = extract_page(_page("article"), url=URL, kind="search", rules=rules)
    assert [item.price for item in result.listings] == [price for _, price, _ in CARS]


def test_a_page_of_other_goods_gives_no_vehicles() -> None:
    goods = "".join(f"<li><a href='/item/{900100 + at}'>Oak table {at}</a><b>${at + 10}0</b></li>" for at in range(12))
    assert extract_page(f"<h1>Furniture</h1><ul>{goods}</ul>".encode(), url=URL).listings == []
