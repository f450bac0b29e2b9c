"""No page, however damaged or hostile, makes the extraction raise or run away."""

from __future__ import annotations

import gzip
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fill_pipeline.extract.charset import MAX_BODY
from fill_pipeline.extract.dom import parse
from fill_pipeline.extract.page import PageKind, extract_page
from fill_pipeline_tests.extract.mutation import mutate

URL = "https://market.example/cars/1"
_LIMIT = 2.0  # seconds of CPU; the goal is one second, the machine that runs the tests may be slow
_SEED = b"""<html><head><title>2019 Ford F-150 XLT</title>
<link rel=canonical href="/x/1"></head><body><h1>2019 Ford F-150</h1>
<script type="application/ld+json">{"@type":"Car","name":"2019 Ford F-150",
"offers":{"price":"5000","priceCurrency":"USD"}}</script>
<script>window.S = {"items":[{"id":1,"make":"Ford","model":"F-150","price":1,"url":"/a"}]};</script>
<table><tr><th>Mileage</th><td>42,592 mi</td></tr><tr><th>VIN</th><td>1FTFW1E40KKE46828</td></tr></table>
<h2>Similar</h2><a href="/x/2">2015 Kia Rio</a> $4,000 <a href="/x/3">2016 Kia Rio</a> $4,100</body></html>"""


def _timed(body: bytes, **options: object) -> None:
    begin = time.process_time()
    result = extract_page(body, url=URL, **options)  # type: ignore[arg-type]
    assert time.process_time() - begin < _LIMIT
    assert result.listings or result.links or result.reason


def test_mutated_pages_never_raise(corpus: Path) -> None:
    pages = sorted((corpus / "sites").glob("*/*.gz"))
    small = [path for path in pages if path.stat().st_size < 60_000 and "truth" not in path.name]
    chance = random.Random(7)
    for number in range(200):
        body = mutate(gzip.decompress(chance.choice(small).read_bytes()), random.Random(number))
        _timed(body, structured=number % 3 != 0, kind=("auto", "detail", "search")[number % 3])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_mutated_small_page_never_raises(seed: int) -> None:
    _timed(mutate(_SEED, random.Random(seed)))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=300).map(str.encode), st.sampled_from(["auto", "detail", "search"]))
def test_no_bytes_make_it_raise(body: bytes, kind: str) -> None:
    extract_page(body, url=URL, kind=kind)


@pytest.mark.parametrize(
    "body",
    [
        b"<div>" * 100_000 + b"2019 Ford F-150 $5,000",
        b"<table><tr><td>" * 20_000,
        b"<a href='/x/1'>2019 Ford F-150</a> $5,000 " * 20_000,
        b"".join(b"<li><a href='/x/%d'>2019 Ford F-150</a> $5,000</li>" % at for at in range(20_000)),
        b"<script>" + b"var price = {" * 50_000,
        b"<script type=application/ld+json>" + b"[" * 200_000,
        b'{"items":' + b"[" * 100_000,
        b'{"a":' * 100_000,
        b"$" * 500_000,
        b"1,000 " * 200_000,
        b"&amp;" * 400_000,
        b"<p>" + b"9" * 1_000_000,
        b"<h1>2019 Ford F-150</h1>" + b"Mileage: " * 100_000,
        b"\x00\xff\xfe" * 300_000,
        "İ".encode() * 300_000,
        b"<meta charset=utf-7>" + b"+AD" * 100_000,
        b"<title>" + b"2019 Ford " * 100_000,
        b"<nav>" * 500
        + b"<footer><nav><h2>Similar</h2><div class=similar>" * 300
        + b"<a href=/1>x</a><a href=/2>y</a>",
        b"<link rel=canonical " * 50_000,
        b"<script>window.S=JSON.parse('" + b"\\" * 300_000,
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_hostile_pages_are_bounded_in_time(body: bytes) -> None:
    _timed(body)
    _timed(body, kind="detail", structured=False)


@pytest.mark.parametrize(
    "body",
    [
        b"<div " + b"".join(b"a%d=1 " % at for at in range(300_000)),
        b"<div " + b"".join(b'a%d=">"' % at for at in range(300_000)),
        b"</div " + b"".join(b"a%d " % at for at in range(300_000)),
        b"".join(b"<body " + b"".join(b"a%d_%d " % (at, n) for n in range(900)) + b">" for at in range(300)),
    ],
    ids=["many attributes", "with tags' ends in them", "of an end tag", "of many bodies"],
)
def test_elements_with_ever_more_attributes_are_bounded_in_time(body: bytes) -> None:
    _timed(b"<h1>2019 Ford F-150 $5,000</h1>" + body)


@pytest.mark.parametrize(
    "piece",
    [b"<script>", b"<script ", b"<SCRIPT ", b"<SCRIPT>x</Script>", b"<!--<script>", b"<SCRIPT>", b"<script x>>"],
)
def test_scripts_in_scripts_without_end_are_bounded_in_time(piece: bytes) -> None:
    body = b"<h1>2019 Ford F-150 $5,000</h1>" + piece * (MAX_BODY // len(piece) - 100)
    _timed(body)
    _timed(body + b"<script></script>")


def test_a_page_of_nothing_but_tags_is_bounded_in_memory() -> None:
    tree = parse("<h1>2019 Ford F-150</h1>" + "<li>x" * 1_600_000)
    assert tree.root is not None
    assert sum(1 for _ in tree.root.traverse(include_text=False)) < 500_000


@pytest.mark.parametrize("name", ["punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined"])
def test_a_charset_that_no_page_is_in_costs_no_time_and_hides_nothing(name: str) -> None:
    body = f"<meta charset={name}><h1>2019 Citro\xebn C3</h1><p>9.500 \x80</p>".encode("latin-1")
    _timed(body + b"<p>a-" + b"b99a" * 1_000_000)
    assert extract_page(body, url=URL, kind="detail").listings[0].make == "Citroën"


def test_charsets_are_told_from_header_page_and_bytes() -> None:
    page = "<h1>2019 Citroën C3</h1><p>Preis: 9.500 €</p><p>42.592 km</p>"
    for body, header in [
        (page.encode(), None),
        (page.encode("cp1252"), "text/html; charset=windows-1252"),
        (b"<meta charset=windows-1252>" + page.encode("cp1252"), None),
        (b"\xef\xbb\xbf" + page.encode(), "text/html; charset=nonsense"),
        (page.encode("utf-16"), None),
        (page.encode("utf-16-le"), None),
        (page.encode("utf-16-be"), "text/html; charset=utf-8"),
        (page.encode("iso-8859-15"), "text/html; charset=iso-8859-15"),
        (b'<meta http-equiv=content-type content="text/html; charset=iso-8859-1">' + page.encode("cp1252"), None),
        (b"<meta charset=windows-1252>" + page.encode(), "text/html; charset=windows-1252"),
        (gzip.compress(page.encode()), None),
        (page.encode("cp1252"), "text/html; charset=utf-8"),
    ]:
        listing = extract_page(body, url="https://x.example/1", content_type=header, kind="detail").listings[0]
        assert (listing.make, listing.price, listing.currency) == ("Citroën", 9_500, "EUR")


def test_a_page_of_words_read_with_the_wrong_charset_is_mended() -> None:
    page = "<h1>2019 Citroën C3 für Städter</h1><p>9.500 €</p><p>42.592 km</p>".encode().decode("cp1252").encode()
    listing = extract_page(page, url="https://x.example/1", kind="detail").listings[0]
    assert listing.title == "2019 Citroën C3 für Städter"


def test_an_empty_result_always_has_its_reason() -> None:
    result = extract_page(b"<html>", url="")
    assert result.kind in (PageKind.OTHER, PageKind.EMPTY)
    assert result.reason
