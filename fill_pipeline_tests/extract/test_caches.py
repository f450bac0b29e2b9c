"""State as frameworks store it gives the same listings as plain records; hostile state costs little."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fill_pipeline.extract.caches import resolve
from fill_pipeline.extract.page import PageKind, extract_page
from fill_pipeline.extract.scripts import attribute_data, find_scripts, linked_data, state_data

URL = "https://market.example/used"
ROWS = [
    {"id": 700100 + at, "title": f"{year} Ford F-150", "year": year, "make": "Ford", "model": "F-150", "price": price,
     "mileage": 42592 + at, "url": f"/v/{700100 + at}"}
    for at, (year, price) in enumerate([(2019, 28990), (2017, 21500), (2021, 39950)])
]  # fmt: skip


def _script(text: str) -> str:
    return f"<html><h1>Used cars</h1><script>{text}</script></html>"


def _apollo() -> str:
    cache: dict[str, Any] = {"ROOT_QUERY": {"search": {"list": [{"__ref": f"Ad:{row['id']}"} for row in ROWS]}}}
    for row in ROWS:
        cache[f"Ad:{row['id']}"] = {
            "id": row["id"],
            "url": row["url"],
            "vehicle": {"__ref": f"Car:{row['id']}"},
            "price": {"__ref": f"Price:{row['id']}"},
            "seller": {"__ref": "Dealer:1"},
        }
        cache[f"Price:{row['id']}"] = {"amount": row["price"], "currency": "USD"}
        cache[f"Car:{row['id']}"] = {key: row[key] for key in ("title", "year", "make", "model", "mileage")}
    cache["Dealer:1"] = {"name": "Harbor", "ads": [{"__ref": f"Ad:{row['id']}"} for row in ROWS]}
    return _script(f"window.__APOLLO_STATE__={json.dumps(cache)};")


def _relay() -> str:
    store: dict[str, Any] = {"client:root": {"edges": {"__refs": [f"e{at}" for at in range(len(ROWS))]}}}
    for at, row in enumerate(ROWS):
        store[f"e{at}"] = {"node": {"__ref": f"n{at}"}}
        store[f"n{at}"] = row
    return _script(f"window.__RELAY_STORE__ = {json.dumps(store)}")


def _flat() -> str:
    flat: list[Any] = []

    def put(value: Any) -> int:
        flat.append(None)
        at = len(flat) - 1
        if isinstance(value, dict):
            flat[at] = {key: put(part) for key, part in value.items()}
        elif isinstance(value, list):
            flat[at] = [put(part) for part in value]
        else:
            flat[at] = value
        return at

    put({"data": {"results": ROWS}})
    return f"<h1>Used cars</h1><script type='application/json'>{json.dumps(flat)}</script>"


def _called() -> str:
    rows = ",".join(
        f'{{id:{row["id"]},title:"{row["title"]}",year:{row["year"]},make:a,model:b,price:{row["price"]},'
        f'mileage:{row["mileage"]},url:"{row["url"]}"}}'
        for row in ROWS
    )
    return _script(
        f'window.__NUXT__=(function(a,b,c){{return {{data:[{{cars:[{rows}]}}],error:c}}}}("Ford","F-150",null));'
    )


_STATE = json.dumps({"srp": {"results": ROWS}})
_PAGES = {
    "apollo": _apollo,
    "relay": _relay,
    "flattened": _flat,
    "called": _called,
    "text": lambda: _script(f"window.S={json.dumps({'queries': {'1': {'data': _STATE}}})}"),
    "parsed": lambda: _script(f"window.S = JSON.parse({json.dumps(_STATE)});"),
    "parsed, escaped": lambda: _script("window.S=JSON.parse('" + _STATE.replace('"', "\\u0022") + "')"),
    "parsed, hexadecimal": lambda: _script("window.S=JSON.parse('" + _STATE.replace('"', "\\x22") + "')"),
    "percent-encoded": lambda: _script(f'window.S=JSON.parse(decodeURIComponent("{quote(_STATE)}"))'),
    "base64": lambda: _script(f'window.S=JSON.parse(atob("{base64.b64encode(_STATE.encode()).decode()}"))'),
}


@pytest.mark.parametrize("shape", _PAGES)
def test_every_way_to_keep_state_gives_its_records(shape: str) -> None:
    result = extract_page(_PAGES[shape]().encode(), url=URL)
    assert result.kind is PageKind.SEARCH
    assert [(x.year, x.make, x.model, x.price, x.mileage, x.url) for x in result.listings] == [
        (row["year"], "Ford", "F-150", row["price"], row["mileage"], f"https://market.example{row['url']}")
        for row in ROWS
    ]


def test_a_list_of_one_is_a_search() -> None:
    page = _script(f"window.S={json.dumps({'results': ROWS[:1]})}")
    result = extract_page(page.encode(), url=URL)
    assert (result.kind, [item.price for item in result.listings]) == (PageKind.SEARCH, [28990])


_JSON = st.recursive(
    st.none() | st.integers(-3, 40) | st.text(max_size=4) | st.sampled_from(["a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["__ref", "__refs", "a", "b", "root", "price", "title"]), inner, max_size=5)
    ),
    max_leaves=40,
)


@settings(max_examples=150, deadline=None)
@given(_JSON)
def test_any_data_is_resolved(data: Any) -> None:
    resolve(data)


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet="=(){}[],;:\"'\\ab1/* \n&quot<>", max_size=200),
    st.sampled_from(["", "window.S=JSON.parse(", "x=(function(a,b){return "]),
)
def test_any_script_is_read(text: str, opening: str) -> None:
    page = f"<script>{opening}{text} price vin</script><script type=application/ld+json>{text}</script>"
    page += f'<p data-x="{{&quot;price{text}">'
    scripts = find_scripts(page)
    list(state_data(page, scripts))
    list(linked_data(page, scripts))
    list(attribute_data(page))


def test_circles_and_fans_of_references_are_bounded() -> None:
    circle = {f"K{at}": {"next": {"__ref": f"K{(at + 1) % 50}"}, "price": 1} for at in range(50)}
    fan = {f"K{at}": {f"p{n}": {"__ref": f"K{at + 1}"} for n in range(20)} for at in range(40)}
    begin = time.process_time()
    for cache in (circle, fan):
        resolve(cache)
    assert time.process_time() - begin < 2
