"""A page that cannot be decoded says why, and costs only itself."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fill_pipeline.crawl.choices import DetailPolicy
from fill_pipeline.drain.page import RawPage, Reading
from fill_pipeline.drain.read import SkipReason, read_cards, read_page, read_pages

NOW = datetime(2026, 3, 1, tzinfo=UTC)
READING = Reading("cars", None, 0.3, ("year", "make", "model"))
CAR = b"<html><title>2019 Honda Civic EX for sale</title><h1>2019 Honda Civic EX</h1><p>$15,000</p></html>"


@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [
        ("zstd", b"\x28\xb5\x2f\xfd\x00\xf8" + b"\xff" * 100, "content encoding 'zstd' was not asked for"),
        ("gzip", gzip.compress(b" " * 40_000_000), "unpacks to more than 32000000 bytes"),
        ("gzip, gzip", gzip.compress(gzip.compress(b" " * 40_000_000)), "unpacks to more than 32000000 bytes"),
        ("gzip", gzip.compress(CAR)[:-9], "ends too early"),
    ],
    ids=["zstd", "bomb", "nested bomb", "torn"],
)
def test_a_page_that_cannot_be_decoded_is_skipped_with_the_reason(encoding: str, body: bytes, reason: str) -> None:
    page = replace(
        RawPage.unkept("http://cars.example/1", body, "text/html", now=NOW), content_encoding=encoding, queue_id=1
    )
    for read in (read_page(page, READING, now=NOW), read_cards(page, DetailPolicy.NEVER, READING)):
        assert read.skipped is SkipReason.DECODE
        assert reason in str(read.reason)
        assert read.rows == []


def test_pages_read_together_say_what_each_says_alone() -> None:
    def page(body: bytes, **others: object) -> RawPage:
        return replace(RawPage.unkept("http://cars.example/7", body, "text/html", now=NOW), **others)  # type: ignore[arg-type]

    pages = [
        page(CAR, hint={"mileage": 9_000}),
        page(gzip.compress(CAR)[:-9], content_encoding="gzip"),
        page(b"<html><title>About us</title><p>Open from nine to five.</p></html>"),
        page(CAR.replace(b"Civic", b"Accord")),
    ]
    together = read_pages(pages, {pages[0].source_id: READING}, now=NOW)
    assert together == [read_page(one, READING, now=NOW) for one in pages]
    assert [read.skipped for read in together] == [None, SkipReason.DECODE, SkipReason.NO_LISTING, None]
    assert [row.listing.model for read in together for row in read.rows] == ["Civic", "Accord"]
    assert together[0].rows[0].listing.mileage == 9_000
