"""Promises of the sources declared in ``sources/``: they load, stay inactive, can be searched, read their own pages."""

from __future__ import annotations

import gzip
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fill_pipeline.crawl.config import SourceDeclaration, load_source_file
from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.drain.searches import SearchMapping, search_url
from fill_pipeline.extract.page import extract_page

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
# Saved pages with vehicles on them, and how many a reader must find at least.
PAGES = {
    "offerup": {"offerup/feed.html.gz": 40, "offerup/feed_page1.json.gz": 40, "offerup/feed_page2.json.gz": 35},
    "craigslist losangeles": {"craigslist/forSalePost.html.gz": 1, "craigslist/search_sss_1__0dd6d414.html.gz": 2},
    "autotrader": {"autotrader-us/Acura__acura_nsx___acura_nsx_2016-2021.html.gz": 53},
    "cars.com": {"cars-com/detail_camry_2018.html.gz": 1},
    "bring a trailer": {"bringatrailer/auction_list_2014.html.gz": 15, "bringatrailer/auction_detail_2014.html.gz": 1},
    "autoscout24 de": {"autoscout24/autoscout24_de_search.html.gz": 19, "autoscout24/autoscout24_de_detail.html.gz": 1},
    "autoscout24 nl": {"autoscout24/autoscout24_nl_search.html.gz": 19, "autoscout24/php_detail.json.gz": 1},
    "kijiji autos": {"kijiji-autos/page_source.html.gz": 19},
    "carvana": {"carvana/dbug_inventory__361c5433.html.gz": 19},
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


@pytest.mark.parametrize(("name", "page"), [(name, page) for name, pages in PAGES.items() for page in pages])
def test_a_source_reads_its_own_saved_pages(corpus: Path, name: str, page: str) -> None:
    source = DECLARED[name]
    body = gzip.decompress((corpus / "sites" / page).read_bytes())
    content_type = "application/json" if ".json" in page else "text/html"
    rules = source.config.extract_rules()
    url = source.base_url + source.config.index.urls[0]
    found = extract_page(body, url=url, content_type=content_type, rules=rules).listings
    good = [one for one in found if one.make and one.price and one.url]
    assert len(good) >= PAGES[name][page]
