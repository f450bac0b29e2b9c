"""From page to page, and out of every loop."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.crawl.config import Pagination
from fill_pipeline.crawl.pagination import StopReason, Trail, first_url, next_url, read_cursor
from fill_pipeline.crawl.urls import with_query

URL = "https://cars.example/search?q=ford"


def follow(url, pagination, *, body=b"", found=10, linked=None, trail=None):
    return next_url(url, Pagination(**pagination), body=body, found=found, linked=linked, trail=trail or Trail())


def test_pages_are_counted():
    pagination = {"type": "page", "page_param": "p", "start": 1, "step": 1}
    first = first_url(URL, Pagination(**pagination))
    assert first == URL + "&p=1"
    assert follow(first, pagination) == (URL + "&p=2", None)
    assert follow(URL + "&p=9", pagination) == (URL + "&p=10", None)
    assert follow(URL + "&p=9", pagination, found=0) == (None, StopReason.END)


def test_offsets_grow_by_the_page_size_or_by_what_was_found():
    sized = {"type": "offset", "offset_param": "s", "page_size": 60}
    assert first_url(URL, Pagination(**sized)) == URL + "&limit=60"
    assert follow(URL + "&limit=60", sized, found=3)[0] == URL + "&limit=60&s=60"
    assert follow(URL + "&s=120", {"type": "offset", "offset_param": "s"}, found=25)[0] == URL + "&s=145"
    assert first_url(URL, Pagination(type="offset")) == URL


def test_a_cursor_is_taken_from_the_body_wherever_it_is():
    pagination = {"type": "cursor", "cursor_param": "after", "cursor_path": "meta.next"}
    body = json.dumps({"meta": {"next": "a b&c"}}).encode()
    assert follow(URL, pagination, body=body)[0] == URL + "&after=a%20b%26c"
    assert follow(URL + "&after=old", pagination, body=body)[0] == URL + "&after=a%20b%26c"
    assert follow(URL, pagination, body=b'{"meta":{"next":17}}')[0] == URL + "&after=17"
    assert follow(URL, pagination, body=b'{"meta":{"next":"/api?c=2"}}')[0] == "https://cars.example/api?c=2"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"next_cursor":null}',
        b'{"next_cursor":""}',
        b'{"next_cursor":false}',
        b'{"next_cursor":{}}',
        b"<html>",
    ],
)
def test_no_cursor_is_the_end(body):
    assert follow(URL, {"type": "cursor"}, body=body) == (None, StopReason.END)


def test_a_cursor_that_comes_again_is_a_loop():
    trail = Trail()
    body = b'{"next_cursor":"abc"}'
    assert follow(URL, {"type": "cursor"}, body=body, trail=trail)[0] is not None
    assert follow(URL, {"type": "cursor"}, body=body, trail=trail) == (None, StopReason.SEEN_CURSOR)


def test_a_link_that_leads_back_is_a_loop():
    trail = Trail()
    assert trail.first_visit(URL)
    back = URL + "&utm_source=x#top"
    assert follow(URL + "&p=2", {"type": "next_link"}, linked=back, trail=trail) == (None, StopReason.SEEN_URL)
    assert follow(URL, {"type": "next_link"}, linked=back, trail=trail) == (None, StopReason.END)
    assert follow(URL, {"type": "next_link"}, linked=None) == (None, StopReason.END)


def test_none_ends_at_once():
    assert follow(URL, {"type": "none"}, linked=URL + "&p=2") == (None, StopReason.END)


def test_an_ever_growing_url_ends():
    assert follow(URL, {"type": "next_link"}, linked=URL + "x" * 3000) == (None, StopReason.END)


def test_a_body_of_ever_more_values_has_no_cursor_and_is_given_no_memory():
    body = b'{"next_cursor":"a","items":[' + b"{}," * 10_000_000 + b"{}]}"
    tracemalloc.start()
    try:
        assert read_cursor(body, "next_cursor") is None
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_a_deeply_nested_body_has_no_cursor():
    assert read_cursor(b"[" * 100_000, "next_cursor") is None
    assert read_cursor(json.dumps({"next_cursor": "x" * 5000}).encode(), "next_cursor") is None


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_value_survives_in_a_query(name, value):
    from urllib.parse import parse_qs, quote, urlsplit

    url = with_query("https://cars.example/s?x=1", {quote(name or "n", safe=""): value})
    query = parse_qs(urlsplit(url).query, keep_blank_values=True)
    assert query["x"] == ["1"] or name == "x"
    assert [value] in query.values()
