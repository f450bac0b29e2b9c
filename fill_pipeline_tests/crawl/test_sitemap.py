"""Sitemaps and feeds: what is in them is found, whatever else they are."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.crawl.sitemap import MAX_URLS_PER_FILE, parse_date, read_feed, read_sitemap

BASE = "https://cars.example/sitemap.xml"
LIMIT = 20_000_000
URLSET = b"""<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
  <!-- <url><loc>https://cars.example/commented</loc></url> -->
  <url><loc>https://cars.example/car/1?a=1&amp;b=2</loc><lastmod>2026-03-01</lastmod>
    <image:image><image:loc>https://cars.example/1.jpg</image:loc></image:image></url>
  <url><lastmod>2026-03-02T10:00:00+01:00</lastmod><loc> /car/2 </loc><priority>0.5</priority></url>
  <url><loc><![CDATA[https://cars.example/car/3?x=<y>]]></loc></url>
</urlset>"""


def urls(page):
    return [entry.url for entry in page.pages]


def test_a_urlset_gives_its_pages_with_their_dates():
    found = read_sitemap(URLSET, BASE, LIMIT)
    assert urls(found) == [
        "https://cars.example/car/1?a=1&b=2",
        "https://cars.example/car/2",
        "https://cars.example/car/3?x=%3Cy%3E",
    ]
    assert found.pages[0].modified_at == datetime(2026, 3, 1, tzinfo=UTC)
    assert found.pages[1].modified_at == datetime(2026, 3, 2, 9, tzinfo=UTC)
    assert found.pages[2].modified_at is None
    assert found.sitemaps == []


def test_an_index_gives_its_sitemaps():
    body = b"<sitemapindex><sitemap><loc>/s1.xml.gz</loc></sitemap><sitemap><loc>/s2.xml</loc></sitemap></sitemapindex>"
    found = read_sitemap(body, BASE, LIMIT)
    assert [entry.url for entry in found.sitemaps] == ["https://cars.example/s1.xml.gz", "https://cars.example/s2.xml"]
    assert found.pages == []


def test_prefixed_elements_are_read():
    body = b'<s:urlset xmlns:s="x"><s:url><s:loc>https://cars.example/1</s:loc></s:url></s:urlset>'
    assert urls(read_sitemap(body, BASE, LIMIT)) == ["https://cars.example/1"]


def test_a_gzipped_file_is_read_and_a_bomb_is_not():
    assert len(read_sitemap(gzip.compress(URLSET), BASE, LIMIT).pages) == 3
    assert read_sitemap(gzip.compress(b" " * 50_000_000), BASE, 1_000_000).pages == []


def test_a_plain_list_of_urls_is_a_sitemap():
    body = b"https://cars.example/1\r\n\r\nnonsense\nhttps://cars.example/2\n"
    assert urls(read_sitemap(body, BASE, LIMIT)) == ["https://cars.example/1", "https://cars.example/2"]


def test_utf_16_and_a_byte_order_mark_are_read():
    assert len(read_sitemap(URLSET.decode().encode("utf-16"), BASE, LIMIT).pages) == 3
    assert len(read_sitemap(b"\xef\xbb\xbf" + URLSET, BASE, LIMIT).pages) == 3


def test_a_torn_file_gives_what_is_whole():
    assert len(read_sitemap(URLSET[:430], BASE, LIMIT).pages) >= 1
    assert urls(read_sitemap(b"<urlset><url><loc>https://cars.example/1</loc>", BASE, LIMIT)) == [
        "https://cars.example/1"
    ]


def test_entities_are_never_expanded():
    lol = b'<!DOCTYPE x [<!ENTITY a "' + b"x" * 1000 + b'"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    body = (
        lol
        + b"<urlset><url><loc>https://cars.example/&b;</loc></url><url><loc>https://cars.example/2</loc></url></urlset>"
    )
    found = urls(read_sitemap(body, BASE, LIMIT))
    assert found[-1] == "https://cars.example/2"
    assert all(len(url) < 100 for url in found)
    external = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><urlset><url><loc>&e;</loc></url></urlset>'
    assert "root:" not in str(read_sitemap(external, BASE, LIMIT))


def test_a_file_with_too_many_urls_is_cut():
    body = b"<urlset>" + b"".join(b"<url><loc>/%d</loc></url>" % i for i in range(60_000)) + b"</urlset>"
    started = time.process_time()
    assert len(read_sitemap(body, BASE, LIMIT).pages) == MAX_URLS_PER_FILE
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "piece",
    [
        b"<loc",
        b"<loc>",
        b"<!--",
        b"<![CDATA[",
        b"<url><loc x",
        b"&amp;",
        b"<a:",
        b"<item>",
        b"<link href='",
        b"<!",
        b"<",
    ],
)
def test_hostile_repetition_costs_linear_time(piece):
    body = piece * (400_000 // len(piece))
    started = time.perf_counter()
    read_sitemap(b"<urlset>" + body, BASE, LIMIT)
    read_feed(b"<rss>" + body, BASE, LIMIT)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<a",
        "<!",
        "<loc><![CDATA[" + "&" * 5_000_000,
        "<link href " + "a" * 1980 + ">",
        "<link href " + "a" * 40 + " " * 1900 + ">",
    ],
    ids=lambda piece: piece[:20],
)
def test_a_file_of_the_greatest_size_costs_little_time(piece):
    body = (piece * (32_000_000 // len(piece))).encode()
    for read in (read_sitemap, read_feed):
        started = time.process_time()
        read(body, BASE, 32_000_000)
        assert time.process_time() - started < 4


def test_an_address_too_long_for_one_is_no_shorter_address():
    for words in ("&amp;" * 5000, "<![CDATA[/" + "a" * 5000 + "]]>", "/" + "a" * 5000):
        body = f"<urlset><url><loc>{words}</loc></url><url><loc>/x</loc></url></urlset>".encode()
        assert urls(read_sitemap(body, BASE, LIMIT)) == ["https://cars.example/x"]


def test_a_json_feed_of_ever_more_values_is_given_no_memory():
    tracemalloc.start()
    try:
        assert read_feed(b'{"items":[' + b"{}," * 10_000_000 + b"{}]}", BASE, 32_000_000).pages == []
        assert tracemalloc.get_traced_memory()[1] < 200_000_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=500) | st.text("<>/![]-locurtemapsi &;CDATA='\"", max_size=200).map(str.encode))
def test_any_bytes_give_a_result(body):
    for prefix in (b"", b"<urlset>", b"<sitemapindex>", b"<rss><channel><item>", b"<feed><entry>", b'{"items":'):
        for read in (read_sitemap, read_feed):
            found = read(prefix + body, BASE, LIMIT)
            assert all(entry.url.startswith(("http://", "https://")) for entry in found.pages + found.sitemaps)


def test_rss_is_read():
    body = b"""<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel><title>Cars</title>
    <link>https://cars.example/</link><atom:link rel="self" href="https://cars.example/feed"/>
    <item><title>1999 Ford &amp; trailer</title><link>https://cars.example/1</link>
      <pubDate>Mon, 02 Mar 2026 10:00:00 +0100</pubDate><description><![CDATA[<b>nice</b>]]></description></item>
    <item><title><![CDATA[Saab <900>]]></title><guid isPermaLink="true">https://cars.example/2</guid></item>
    </channel></rss>"""
    found = read_feed(body, BASE, LIMIT)
    assert urls(found) == ["https://cars.example/1", "https://cars.example/2"]
    assert [entry.title for entry in found.pages] == ["1999 Ford & trailer", "Saab <900>"]
    assert found.pages[0].modified_at == datetime(2026, 3, 2, 9, tzinfo=UTC)
    assert found.next_url is None


def test_atom_is_read_with_its_next_page():
    body = b"""<feed xmlns="http://www.w3.org/2005/Atom"><title>Cars</title>
    <link rel="self" href="/feed"/><link rel="next" href="/feed?page=2"/>
    <entry><title>A</title><link rel="edit" href="/edit/1"/><link rel="alternate" href="/1"/>
      <updated>2026-03-01T10:00:00Z</updated></entry>
    <entry><title>B</title><link href="/2"/><published>2026-03-02T10:00:00Z</published></entry></feed>"""
    found = read_feed(body, "https://cars.example/feed", LIMIT)
    assert urls(found) == ["https://cars.example/1", "https://cars.example/2"]
    assert found.next_url == "https://cars.example/feed?page=2"
    assert found.pages[1].modified_at == datetime(2026, 3, 2, 10, tzinfo=UTC)


def test_json_feed_is_read_with_its_next_page():
    feed = {
        "version": "https://jsonfeed.org/version/1.1",
        "next_url": "/feed.json?page=2",
        "items": [
            {"id": "1", "url": "/1", "title": "A", "date_modified": "2026-03-01T10:00:00Z"},
            {"id": "2", "title": "no address"},
            "nonsense",
        ],
    }
    found = read_feed(json.dumps(feed).encode(), "https://cars.example/feed.json", LIMIT)
    assert urls(found) == ["https://cars.example/1"]
    assert found.next_url == "https://cars.example/feed.json?page=2"


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_none(text):
    date = parse_date(text)
    assert date is None or date.tzinfo is UTC


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_dates_at_the_edge_of_time_break_nothing(text):
    assert parse_date(text) is None
