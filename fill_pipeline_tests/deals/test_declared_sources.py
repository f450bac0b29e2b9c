"""Promises of the sources declared in ``sources/``: they load, stay inactive, can be searched, read their own pages."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fill_pipeline.crawl.choices import DetailPolicy
from fill_pipeline.crawl.config import SourceDeclaration
from fill_pipeline.crawl.pagination import StopReason, Trail, next_url, query_value
from fill_pipeline.crawl.source_files import load_source_file
from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain.page import RawPage, Reading
from fill_pipeline.drain.read import read_cards, read_page
from fill_pipeline.drain.search_params import SearchMapping, search_url
from fill_pipeline.extract.listing import Listing
from fill_pipeline.settings import Settings

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FOLDER = Path(__file__).parents[2] / "sources"
DECLARED = {one.name: one for file in sorted(FOLDER.glob("*.yaml")) for one in load_source_file(file)}
DOCUMENTED = {  # the example of document 2
    "make": "Honda",
    "model": "Civic",
    "min_year": 2015,
    "max_year": 2025,
    "min_price": 3000,
    "max_price": 8000,
    "max_mileage": 100000,
    "zip_code": "92705",
    "radius_miles": 50,
    "keywords": ["clean title", "single owner"],
}


@dataclass(frozen=True)
class Saved:
    """A saved page, and how many vehicles a crawl must make of it (at most one of a listing's own page)."""

    file: str
    least: int
    detail: bool = False


PAGES = {
    "offerup": (
        Saved("offerup/feed.html.gz", 44),
        Saved("offerup/feed_page1.json.gz", 44),
        Saved("offerup/feed_page2.json.gz", 43),
    ),
    "craigslist losangeles": (
        Saved("craigslist/search_sss_1__0dd6d414.html.gz", 2),  # general goods, two of them cars with a price
        Saved("craigslist/search_results_1__2c1c062a.html.gz", 0),  # flats
        Saved("craigslist/forSalePost.html.gz", 1, detail=True),
        Saved("craigslist/old_fake_item_1.html.gz", 1, detail=True),
        Saved("craigslist/barepost.html.gz", 0, detail=True),
    ),
    "autotrader": (
        Saved("autotrader-us/Acura__acura_nsx___acura_nsx_2016-2021.html.gz", 53),
        Saved("autotrader-us/Honda__honda_civic___honda_civic_2016-2021.html.gz", 84),
    ),
    "cars.com": (Saved("cars-com/detail_camry_2018.html.gz", 1, detail=True),),
    "bring a trailer": (
        Saved("bringatrailer/auction_list_2014.html.gz", 20),
        Saved("bringatrailer/bat-search-Porsche-718-Cayman__ca262106.html.gz", 43),
        Saved("bringatrailer/auction_detail_2014.html.gz", 1, detail=True),
    ),
    "autoscout24 de": (
        Saved("autoscout24/autoscout24_de_search.html.gz", 19),
        Saved("autoscout24/autoscout24_de_detail.html.gz", 1, detail=True),
    ),
    "autoscout24 nl": (
        Saved("autoscout24/autoscout24_nl_search.html.gz", 20),
        Saved("autoscout24/php_search.html.gz", 20),
        Saved("autoscout24/autoscout24_nl_detail.html.gz", 1, detail=True),
        Saved("autoscout24/php_detail.json.gz", 1, detail=True),
    ),
    "kijiji autos": (
        Saved("kijiji-autos/page_source.html.gz", 20),
        Saved("kijiji-autos/kijijiautos_src.html.gz", 20),
        Saved("kijiji-autos/sample_no_scroll.html.gz", 19),
    ),
    "carvana": (
        Saved("carvana/dbug_inventory__361c5433.html.gz", 20),
        Saved("carvana/_f150_page_2__385040e8.html.gz", 20),
        Saved("carvana/_no_listings__ed38c431.html.gz", 0),
    ),
}


def test_every_documented_site_is_declared() -> None:
    assert set(DECLARED) == set(PAGES)


@pytest.mark.parametrize("source", DECLARED.values(), ids=lambda s: s.name)
def test_a_declared_source_is_inactive_polite_and_says_what_its_terms_are(source: SourceDeclaration) -> None:
    assert not source.active
    assert source.config.robots == "obey"
    assert source.config.delay_seconds >= 5
    assert source.note is not None
    assert "terms" in source.note.lower() or "agreement" in source.note.lower()
    assert "robots.txt" in source.note


@pytest.mark.parametrize("source", DECLARED.values(), ids=lambda s: s.name)
def test_a_documented_search_becomes_a_query_of_the_source(source: SourceDeclaration) -> None:
    mapping = SearchMapping.model_validate(source.config.extra["search"])
    url = search_url(mapping, DOCUMENTED)
    assert url.startswith("/")
    assert "{" not in url
    assert "[" not in url
    assert "honda" in url.lower()
    assert urlsplit(search_url(mapping, {})).path.startswith("/")


def test_declaring_them_twice_changes_nothing(conn: Connection) -> None:
    for _ in range(2):
        for one in DECLARED.values():
            registry.declare_source(
                conn,
                name=one.name,
                base_url=one.base_url,
                config=one.config.model_dump(mode="json", exclude_unset=True),
                kind=one.kind,
                active=one.active,
                note=one.note,
            )
    rows = registry.sources(conn)
    assert len(rows) == len(DECLARED)
    assert not any(row.active for row in rows)
    assert {row.config_version for row in rows} == {1}


@pytest.mark.parametrize("name", PAGES)
def test_a_source_reads_its_own_saved_pages_as_a_crawl_does(corpus: Path, name: str) -> None:
    for saved in PAGES[name]:
        read = _listings(corpus, name, saved)
        good = [one for one in read if one.make and one.price]
        told = f"{saved.file}: {len(good)} of {len(read)}"
        assert len(good) >= saved.least, told
        assert all(one.url.startswith("http") for one in good if one.url), told
        if saved.detail or not saved.least:
            assert len(read) <= saved.least, told


def test_offerups_interface_is_followed_by_its_cursor_until_it_says_the_same_again(corpus: Path) -> None:
    source = DECLARED["offerup"]
    rules, trail = source.config.pagination, Trail()
    url = source.base_url + source.config.index.urls[0]
    bodies = [_page(corpus, source, f"offerup/feed_page{n}.json.gz").body for n in (1, 2, 2)]
    asked = []
    for body in bodies:
        following, stopped = next_url(url, rules, body=body, found=45, linked=None, trail=trail)
        asked.append((query_value(following, "pageCursor") if following else None, stopped))
        url = following or url
    (first, _), (second, _), last = asked
    assert first
    assert second
    assert first != second
    assert query_value(url, "cid") == "5.1"  # what was asked for is asked for on every page
    assert last == (None, StopReason.SEEN_CURSOR)


def test_what_a_source_does_not_say_of_its_currency_its_configuration_does(corpus: Path) -> None:
    """OfferUp's records name none, and what has no currency is never valued."""
    for saved in PAGES["offerup"]:
        priced = [one for one in _listings(corpus, "offerup", saved) if one.price]
        assert {(one.country, one.currency) for one in priced} == {("US", "USD")}


def test_bring_a_trailers_result_pages_hold_the_same_whatever_they_were_asked_for(corpus: Path) -> None:
    """So a search asks the interface that they name, which answers with the list they embed."""
    embedded = []
    for file in sorted((corpus / "sites" / "bringatrailer").glob("bat-search-*")):
        text = gzip.decompress(file.read_bytes()).decode("utf-8", "replace")
        at = re.search(r"var auctionsCompletedInitialData\s*=\s*", text)
        assert at is not None
        embedded.append(json.JSONDecoder().raw_decode(text, at.end())[0])
        assert DECLARED["bring a trailer"].config.extra["search"]["url"].replace("/", "\\/") in text
    assert len(embedded) == 5
    assert all(one["items"] == embedded[0]["items"] for one in embedded)
    source = DECLARED["bring a trailer"]
    page = RawPage.unkept(
        source.base_url + source.config.extra["search"]["url"],
        json.dumps(embedded[0]).encode(),
        "application/json",
        now=NOW,
    )
    read = read_cards(page, DetailPolicy.IF_INCOMPLETE, _reading("bring a trailer"))
    cars = {row.listing.url: row.listing for row in read.rows}
    assert len(cars) == 35  # the 36th are wheels
    porsche = cars["https://bringatrailer.com/listing/2013-porsche-911-carrera-s-coupe-32/"]
    assert (porsche.year, porsche.make, porsche.price, porsche.price_kind, porsche.mileage) == (
        2013,
        "Porsche",
        84_000,
        "sold",
        44_000,
    )
    unsold = cars["https://bringatrailer.com/listing/1980-porsche-911sc-128/"]
    assert (unsold.price, unsold.price_kind) == (42_500, "bid")


FACTS = {  # read off the pages by eye: file, then what must be said of some vehicle on it
    ("offerup", "offerup/feed.html.gz"): {
        "make": "GMC",
        "year": 2012,
        "price": 11_000,
        "mileage": 196_145,
        "city": "Derby",
    },
    ("offerup", "offerup/feed_page2.json.gz"): {"model": "Civic", "year": 2020, "price": 12_900, "mileage": 126_821},
    ("craigslist losangeles", "craigslist/search_sss_1__0dd6d414.html.gz"): {
        "year": 2017,
        "make": "Cadillac",
        "price": 34_999,
    },
    ("craigslist losangeles", "craigslist/old_fake_item_1.html.gz"): {"vin": "MLHNC5112F5100353", "price": 4_399},
    ("autotrader", "autotrader-us/Acura__acura_nsx___acura_nsx_2016-2021.html.gz"): {
        "vin": "19UNC1B09HY000254",
        "year": 2017,
        "price": 129_500,
        "mileage": 15_338,
    },
    ("cars.com", "cars-com/detail_camry_2018.html.gz"): {
        "vin": "4T1B11HKXJU620264",
        "trim": "XLE",
        "price": 21_991,
        "mileage": 39_708,
        "city": "Glen Mills",
    },
    ("bring a trailer", "bringatrailer/auction_detail_2014.html.gz"): {
        "vin": "WDBBA48D9JA087816",
        "year": 1988,
        "price": 7_000,
        "price_kind": "bid",
        "mileage": 90_500,
    },
    ("autoscout24 de", "autoscout24/autoscout24_de_detail.html.gz"): {
        "make": "BMW",
        "model": "i4",
        "price": 34_990,
        "currency": "EUR",
        "mileage": 790,
        "mileage_unit": "km",
    },
    ("autoscout24 nl", "autoscout24/autoscout24_nl_search.html.gz"): {
        "price": 39_900,
        "mileage": 75_561,
        "city": "Groningen",
    },
    ("autoscout24 nl", "autoscout24/php_detail.json.gz"): {
        "year": 2011,
        "model": "Polo",
        "price": 1_440,
        "mileage": 180_100,
    },
    ("kijiji autos", "kijiji-autos/sample_no_scroll.html.gz"): {
        "year": 2015,
        "model": "F-150",
        "price": 28_990,
        "currency": "CAD",
        "mileage": 97_340,
        "mileage_unit": "km",
    },
    ("carvana", "carvana/dbug_inventory__361c5433.html.gz"): {
        "vin": "1FMJK1JT5LEA49467",
        "year": 2020,
        "price": 44_590,
        "mileage": 64_329,
        "mileage_unit": "mi",
    },
}


@pytest.mark.parametrize(("name", "file"), FACTS, ids=lambda word: word.rsplit("/")[-1])
def test_what_is_read_is_what_the_page_says(corpus: Path, name: str, file: str) -> None:
    [saved] = [one for one in PAGES[name] if one.file == file]
    facts = FACTS[name, file]
    said = [{field: getattr(one, field) for field in facts} for one in _listings(corpus, name, saved)]
    assert facts in said


def _reading(name: str) -> Reading:
    return Reading(name, DECLARED[name].config.extract_rules(), Settings().min_confidence, Settings().core_fields)


def _listings(corpus: Path, name: str, saved: Saved) -> list[Listing]:
    page = _page(corpus, DECLARED[name], saved.file)
    read = (
        read_page(page, _reading(name), now=NOW)
        if saved.detail
        else read_cards(page, DetailPolicy.IF_INCOMPLETE, _reading(name))
    )
    return [row.listing for row in read.rows]


def _page(corpus: Path, source: SourceDeclaration, file: str) -> RawPage:
    body = gzip.decompress((corpus / "sites" / file).read_bytes())
    content_type = "application/json" if ".json" in file else "text/html"
    return RawPage.unkept(source.base_url + source.config.index.urls[0], body, content_type, now=NOW)
