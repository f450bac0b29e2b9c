"""Structured data is read however carelessly it is written; one broken block costs only itself."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.extract.scripts import find_scripts, linked_data, parse_tolerant, state_data, without_scripts

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "text",
    [
        '{"make": "Ford", "price": 5}',
        '<!-- {"make": "Ford", "price": 5} -->',
        '//<![CDATA[\n{"make": "Ford", "price": 5}\n//]]>',
        '{"make": "Ford", "price": 5,}',
        '{"make": "Ford", /* asking */ "price": 5}',
        '{"make": "Ford", "price": 5 // asking\n}',
        "{'make': 'Ford', 'price': 5}",
        '{make: "Ford", price: 5}',
        "{&quot;make&quot;: &quot;Ford&quot;, &quot;price&quot;: 5}",
        '{"make": "Ford", "price": 5};',
        '\ufeff{"make": "Ford", "price": 5}',
        '{"make": "Ford", "price": 5} trailing words',
    ],
)
def test_careless_json_is_read(text: str) -> None:
    assert parse_tolerant(text.lstrip("\ufeff")) == {"make": "Ford", "price": 5}


def test_a_line_break_inside_a_string_is_forgiven() -> None:
    assert parse_tolerant('{"description": "one\ntwo"}') == {"description": "one\ntwo"}


@pytest.mark.parametrize("tag", ["script", "SCRIPT", "Script"])
def test_scripts_are_found_however_their_tag_is_written(tag: str) -> None:
    page = f'<p>one</p><{tag} type="application/ld+json">{{"@type": "Car", "name": "A"}}</{tag}><p>two</p>'
    scripts = find_scripts(page)
    assert [block.data["name"] for block in linked_data(page, scripts)] == ["A"]
    assert without_scripts(page, scripts) == f'<p>one</p><{tag} type="application/ld+json"></{tag}><p>two</p>'


def test_one_broken_block_costs_only_itself() -> None:
    page = (
        '<script type="application/ld+json">{"name": </script>'
        '<script type="application/ld+json">{"@type": "Car", "name": "A"}</script>'
    )
    assert [block.data["name"] for block in linked_data(page, find_scripts(page))] == ["A"]


@pytest.mark.parametrize(
    "script",
    [
        '<script id="__NEXT_DATA__" type="application/json">{DATA}</script>',
        "<script>window.__STATE__ = {DATA};</script>",
        "<script>var listing = {DATA}; var other = 1;</script>",
        "<script>window['state'] = {DATA}</script>",
        "<script>dataLayer.push({DATA})</script>",
    ],
)
def test_embedded_state_is_found(script: str) -> None:
    data = {"vehicle": {"vin": "1M8GDM9AXKP042788", "price": 5000}}
    page = script.replace("{DATA}", json.dumps(data))
    assert data in [block.data for block in state_data(page, find_scripts(page))]


def test_state_written_as_a_string_is_found() -> None:
    data = {"vehicle": {"vin": "1M8GDM9AXKP042788", "price": 5000}}
    page = f"<script>window.S = JSON.parse({json.dumps(json.dumps(data))});</script>"
    assert [block.data for block in state_data(page, find_scripts(page))] == [data]


def test_state_streamed_in_pieces_is_found() -> None:
    row = '5:{"vehicle":{"vin":"1M8GDM9AXKP042788","price":5000}}\n'
    pieces = [row[:20], row[20:]]
    page = "".join(f"<script>self.__next_f.push([1,{json.dumps(piece)}])</script>" for piece in pieces)
    assert [block.data["vehicle"]["price"] for block in state_data(page, find_scripts(page))] == [5000]


@given(_JSON.filter(lambda value: isinstance(value, (dict, list))))
def test_proper_json_is_read_exactly(value: object) -> None:
    assert parse_tolerant(json.dumps(value)) == value


@given(st.text(max_size=200) | st.text("{}[]\":,'/*\\ab1`", max_size=120))
def test_no_script_makes_the_readers_raise(text: str) -> None:
    parse_tolerant(text)
    page = f"<script type='application/ld+json'>{text}</script><script>var price = {text}</script>"
    list(linked_data(page, find_scripts(page)))
    list(state_data(page, find_scripts(page)))


def test_nesting_without_end_is_refused() -> None:
    assert parse_tolerant("[" * 100_000) is None
    assert parse_tolerant('{"a":' * 50_000 + "1" + "}" * 50_000) is None


_CAR = '{"@type": "Car", "name": "2019 Ford F-150", "sku": "A1"}'


@pytest.mark.parametrize(
    "head",
    [
        f'<style>.a{{color:red}}</style><script type="application/ld+json">{_CAR}</script>',
        f'<style>.a{{color:red}}</style><SCRIPT TYPE="application/ld+json">{_CAR}</SCRIPT>',
        f'<style>.a{{background:url("data:<svg>")}}</style><script type="application/ld+json">{_CAR}</script>',
        f'<script>var style = "<style>.a{{}}";</script><script type="application/ld+json">{_CAR}</script>',
        f'<script>if (1 < 2) document.write("<p></p>");</script><script type="application/ld+json">{_CAR}</script>',
        f'<!-- <style> --><script type="application/ld+json">{_CAR}</script>',
    ],
)
def test_a_style_sheet_in_the_head_hides_no_script_and_no_words(head: str) -> None:
    page = f"<html><head>{head}</head><body><p>Seen by all</p></body></html>"
    scripts = find_scripts(page)
    assert [block.data["sku"] for block in linked_data(page, scripts)] == ["A1"]
    assert "<p>Seen by all</p>" in without_scripts(page, scripts)
    assert "F-150" not in without_scripts(page, scripts)


def test_a_style_sheet_that_never_ends_takes_no_words_away() -> None:
    page = "<html><head><style>.a{color:red}<p>Seen by all</p>"
    assert "<p>Seen by all</p>" in without_scripts(page, find_scripts(page))
