"""One page, one name: what URL normalisation promises."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fill_pipeline.crawl.urls import (
    MAX_URL_CHARS,
    canonical_url,
    is_http,
    join,
    origin,
    same_site,
    site_of,
    url_hash,
    wire_url,
)

SAME = [
    ("HTTP://Cars.Example:80/A/../b/./c", "http://cars.example/b/c"),
    ("https://cars.example:443", "https://cars.example/"),
    ("https://cars.example/?b=2&a=1", "https://cars.example/?a=1&b=2"),
    ("https://cars.example/x?utm_source=mail&id=5&gclid=abc&fbclid=1", "https://cars.example/x?id=5"),
    ("https://cars.example/x#photos", "https://cars.example/x"),
    ("https://user:pw@cars.example/x", "https://cars.example/x"),
    ("https://cars.example/x;jsessionid=ABC?id=1", "https://cars.example/x?id=1"),
    ("https://cars.example/%7Ejoe/%e4", "https://cars.example/~joe/%E4"),
    ("https://münchen.example/ü", "https://xn--mnchen-3ya.example/%C3%BC"),
    ("https://cars.example./x", "https://cars.example/x"),
    ("https://cars.example/a?q=red+car", "https://cars.example/a?q=red%20car"),
    ("  https://cars.example/a  ", "https://cars.example/a"),
    ("http://0x7f.1/", "http://127.0.0.1/"),
    ("http://[0:0:0:0:0:0:0:1]/", "http://[::1]/"),
]
DIFFERENT = [
    ("https://cars.example/a", "http://cars.example/a"),
    ("https://cars.example/a", "https://cars.example/A"),
    ("https://cars.example/a", "https://cars.example/a/"),
    ("https://cars.example/a?x=1&x=2", "https://cars.example/a?x=2&x=1"),
    ("https://cars.example/a%2Fb", "https://cars.example/a/b"),
    ("https://cars.example/a?x=1%262", "https://cars.example/a?x=1&2"),
    ("https://cars.example:8443/", "https://cars.example/"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_page_have_one_name(one, other):
    assert canonical_url(one) == other
    assert url_hash(one) == url_hash(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_pages_keep_different_names(one, other):
    assert url_hash(one) != url_hash(other)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cars",
        "mailto:a@b",
        "http://",
        "http://a b/",
        "http://x:99999/",
        "http://%zz/",
        "http://a..b/",
        "http://1.2.3.4.5/",
    ],
)
def test_what_is_no_page_has_no_name(url):
    with pytest.raises(ValueError):  # noqa: PT011
        canonical_url(url)
    assert not is_http(url)


_PATH = st.text(string.printable + "äß€\u200b%", max_size=60)


@given(
    _PATH,
    st.text(string.printable + "äß%&=+", max_size=60),
    st.sampled_from(["cars.example", "Bücher.example", "[::1]", "1.2.3.4"]),
)
@example("%2e%2e/x", "", "cars.example")
@example("a/../../..", "", "cars.example")
@example("%25%32%35", "%", "cars.example")
def test_naming_is_idempotent_and_never_breaks(path, query, host):
    url = f"http://{host}/{path.replace('?', '').replace('#', '')}?{query.replace('#', '')}"
    try:
        name = canonical_url(url)
    except ValueError:
        return
    assert canonical_url(name) == name
    assert name.isascii()
    assert " " not in name
    assert url_hash(name) == url_hash(url)


@given(
    st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True), st.text(string.ascii_letters + "/.-_~:;@!$,=()", max_size=30)
)
def test_the_short_way_gives_the_same_name_as_the_long_way(host, path):
    def name(url: str) -> str | None:
        try:
            return canonical_url(url)
        except ValueError:
            return None

    short = f"http://{host}/{path}"
    assert name(short) == name(f"{short}?utm_source=x")


@given(_PATH)
def test_a_url_as_sent_is_plain_ascii_and_names_the_same_page(path):
    url = f"http://cars.example/{path}"
    try:
        sent = wire_url(url)
    except ValueError:
        return
    assert sent.isascii()
    assert not any(character in sent for character in " \r\n\t\0#")
    assert wire_url(sent) == sent


@given(st.text(max_size=100))
def test_joining_any_reference_gives_a_page_or_nothing(reference):
    joined = join("https://cars.example/search/page.html?x=1", reference)
    assert joined is None or is_http(joined)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("/car/1", "https://cars.example/car/1"),
        ("car/1#top", "https://cars.example/search/car/1"),
        ("../car 1", "https://cars.example/car%201"),
        ("//other.example/x", "https://other.example/x"),
        ("?page=2", "https://cars.example/search/list?page=2"),
        ("javascript:void(0)", None),
        ("mailto:a@b.example", None),
        ("tel:123", None),
        ("data:text/html,x", None),
        ("/" + "x" * MAX_URL_CHARS, None),
        ("http://[broken/", None),
    ],
)
def test_references_lead_where_a_browser_would_go(reference, expected):
    assert join("https://cars.example/search/list", reference) == expected


def test_the_query_is_sent_in_the_order_it_was_written():
    assert wire_url("https://cars.example/a?b=2&a=1&flag") == "https://cars.example/a?b=2&a=1&flag"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://www.cars.co.uk/a", "http://cars.co.uk", True),
        ("https://a.co.uk/", "https://b.co.uk/", False),
        ("https://joe.github.io/", "https://ann.github.io/", False),
        ("http://10.0.0.1/", "http://10.0.0.2/", False),
        ("http://a.localhost/", "http://b.localhost/", False),
        ("http://shop.a.localhost/", "http://a.localhost/", True),
        ("nonsense", "http://a.example/", False),
    ],
)
def test_a_site_is_a_registrable_domain(one, other, same):
    assert same_site(one, other) is same


def test_an_origin_is_scheme_host_and_port():
    assert origin("HTTPS://Cars.Example/a") == "https://cars.example:443"
    assert origin("http://cars.example") != origin("https://cars.example")
    assert site_of("https://a.b.cars.example/x") == "cars.example"


def test_a_hostile_length_is_refused():
    assert not is_http("http://cars.example/" + "a" * 10_000)
    with pytest.raises(ValueError, match="too long"):
        canonical_url("http://cars.example/" + "a" * 100_000)
