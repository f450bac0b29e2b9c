"""The corpus server gives every saved page at its real host, as it was stored."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fill_pipeline.simweb import SimWeb, start_simweb

from .conftest import Browser

HEADER = "path\tsite\tkind\tbytes\tnote\n"


@pytest.fixture
def small_corpus(tmp_path: Path) -> Path:
    """A corpus of our own: a canonical page, a page without a name, a JSON body, and two of unclear kind."""
    pages = {
        "wheels/search.html": (
            "search",
            '<link rel="canonical" href="https://www.wheels.example/cars?make=a&amp;p=2">',
        ),
        "wheels/car.html": ("detail", "<h1>A car</h1><a href='http://www.wheels.example/x'>x</a>"),
        "wheels/car.json": ("detail (JSON)", '{"vin": "x"}'),
        "board/list.html": ("both", '<a class="result-title hdrlnk" href="/1.html">a</a>'),
        "board/post.html": ("both", '<section id="postingbody">a post</section>'),
    }
    rows = []
    for name, (kind, body) in pages.items():
        path = tmp_path / "sites" / f"{name}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(body.encode()))
        rows.append(f"sites/{name}.gz\t{name.split('/')[0]}\t{kind}\t{len(body)}\t\n")
    (tmp_path / "MANIFEST.tsv").write_text(HEADER + "".join(rows))
    return tmp_path


def test_pages_keep_their_own_url_or_get_a_saved_one(small_corpus: Path) -> None:
    with start_simweb(corpus=small_corpus) as web:
        wheels, board = web.get("/sites")
        assert wheels["suggested_config"]["index"]["urls"] == ["http://www.wheels.example/cars?make=a&p=2"]
        assert wheels["suggested_config"]["detail_urls"] == [
            "http://www.wheels.example/saved/car.html",
            "http://www.wheels.example/saved/car.json",
        ]
        assert board["base_url"] == "http://board.localhost"
        assert board["suggested_config"]["index"]["urls"] == ["http://board.localhost/saved/list.html"]
        assert board["suggested_config"]["detail_urls"] == ["http://board.localhost/saved/post.html"]
        browser = Browser(web)
        answer = browser.get_packed("http://www.wheels.example/saved/car.json")
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.text) == {"vin": "x"}
        assert "a post" in browser.get("http://board.localhost/saved/post.html").text
        assert browser.get("http://www.wheels.example/saved/none.html").status == 404


@pytest.fixture(scope="module")
def corpus_web(corpus: Path) -> Iterator[SimWeb]:
    with start_simweb(corpus=corpus) as web:
        yield web


def test_every_page_of_the_corpus_is_served_as_stored(corpus_web: SimWeb, corpus: Path) -> None:
    browser = Browser(corpus_web)
    sources = corpus_web.get("/sites")
    with (corpus / "MANIFEST.tsv").open(encoding="utf-8") as file:
        manifest = list(csv.DictReader(file, delimiter="\t"))
    assert {source["slug"] for source in sources} == {row["site"] for row in manifest}
    sizes = []
    for source in sources:
        config = source["suggested_config"]
        urls = config["index"]["urls"] + config["detail_urls"]
        assert len(set(urls)) == source["pages"]
        assert config.get("detail") == ("never" if not config["detail_urls"] else None)
        sizes += [len(browser.get_packed(url).body) for url in urls]
    assert len(sizes) == len(manifest)
    assert sorted(sizes) == sorted(int(row["bytes"]) for row in manifest)


def test_sites_of_the_corpus_have_their_real_hosts(corpus_web: SimWeb) -> None:
    hosts = {source["slug"]: source["base_url"] for source in corpus_web.get("/sites")}
    assert hosts["autotrader-us"] == "http://www.autotrader.com"
    assert hosts["kijiji-autos"] == "http://www.kijijiautos.ca"
    assert hosts["cars-com"] == "http://www.cars.com"
    urls = [
        url
        for source in corpus_web.get("/sites")
        if source["slug"] == "autoscout24"
        for url in source["suggested_config"]["detail_urls"]
    ]
    assert "http://www.autoscout24.de/saved/autoscout24_de_detail.html" in urls
