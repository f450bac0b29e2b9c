"""Channels: each format gives its candidates, reads nothing twice, and survives anything."""

from __future__ import annotations

import gzip
import json
import re
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fill_pipeline.db import registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.discovery.channels import dropped, robots
from fill_pipeline.discovery.channels.dropped import read_cdxj_line, read_places_line, read_url_line
from fill_pipeline.discovery.channels.links import links_of
from fill_pipeline.discovery.learn import pattern_of
from fill_pipeline.drain.work import Work

FEATURE = {
    "type": "Feature",
    "properties": {"shop": "car", "name": "Elm Motors", "website": "https://www.elm-motors.test/"},
    "geometry": {"type": "Point", "coordinates": [1.0, 2.0]},
}
OVERPASS = {"elements": [{"type": "node", "id": 1, "tags": {"shop": "car", "contact:website": "oak-cars.test"}}]}
PLACE = {
    "type": "Feature",
    "properties": {"@spider": "ash_autos", "shop": "car", "website": "https://ash-autos.test/store/1"},
    "geometry": None,
}
CDXJ = (
    "test,pine)/inventory/used 20260101000000 "
    '{"url": "https://pine.test/inventory/used", "mime": "text/html", "status": "200"}'
)
FILES = {
    "list.txt": "# dealers\nhttps://birch.test/stock\nfir.test\nhttps://www.facebook.com/fir\n",
    "osm.geojson": json.dumps(
        {"type": "FeatureCollection", "features": [FEATURE, {"properties": {"shop": "shoes"}}]}, indent=1
    ),
    "overpass.json": json.dumps(OVERPASS, indent=1),
    "places.ndgeojson": json.dumps(PLACE) + "\n",
    "hosts.tsv": "Domain\tTriples\tClass\nwillow.test\t1204\thttp://schema.org/Car\n",
    "crawl.cdxj": CDXJ + "\n" + CDXJ.replace("pine", "yew").replace("200", "404") + "\n",
}


def test_each_file_gives_its_candidates_once(conn: Connection, work: Work) -> None:
    folder = work.settings.home / "discovery"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "more.txt.gz").write_bytes(gzip.compress(b"https://larch.test/\n"))

    found = {(one.domain, one.channel) for one in dropped.find(conn, work)}

    assert found == {
        ("birch.test", "url_list"),
        ("fir.test", "url_list"),
        ("larch.test", "url_list"),
        ("elm-motors.test", "openstreetmap"),
        ("oak-cars.test", "openstreetmap"),
        ("ash-autos.test", "alltheplaces"),
        ("pine.test", "commoncrawl"),
        ("willow.test", "url_list"),
    }
    assert list(dropped.find(conn, work)) == []


def test_a_list_that_grew_is_read_on_and_a_data_set_that_came_anew_is_read_again(conn: Connection, work: Work) -> None:
    folder = work.settings.home / "discovery"
    folder.mkdir(parents=True)
    comment = "#" * 300 + "\n"
    (folder / "list.txt").write_text(comment + "https://birch.test/\n")
    (folder / "osm.geojson").write_text(json.dumps(FEATURE))
    assert len(list(dropped.find(conn, work))) == 2
    (folder / "list.txt").write_text(comment + "https://birch.test/\nhttps://fir.test/\n")
    (folder / "osm.geojson").write_text(json.dumps(FEATURE).replace("elm-motors", "oak"))
    assert {one.domain for one in dropped.find(conn, work)} == {"fir.test", "oak.test"}


def test_a_large_file_is_read_in_pieces_over_the_rounds_and_none_of_it_twice(
    conn: Connection, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = work.settings.home / "discovery"
    folder.mkdir(parents=True)
    names = [f"dealer-{n}.test" for n in range(50)]
    (folder / "crawl.cdxj").write_text(
        "".join(CDXJ.replace("pine", name.removesuffix(".test")) + "\n" for name in names)
    )
    monkeypatch.setattr(dropped, "BYTES_PER_ROUND", 2_000)
    rounds = []
    while found := [one.domain for one in dropped.find(conn, work)]:
        rounds.append(found)
    assert len(rounds) > 2
    assert [name for found in rounds for name in found] == names


def test_robots_files_name_sister_sites_by_their_sitemaps_and_each_is_told_once(conn: Connection, work: Work) -> None:
    now = work.now_fn()

    def keep(origin: str, body: str, seconds: int) -> None:
        registry.save_robots(conn, origin, status=200, body=body, fetched_at=now + timedelta(seconds=seconds))

    own = "User-agent: *\nDisallow: /admin\nSitemap: https://oak.test/sitemap.xml\nSitemap: /local.xml\n"
    other = "Sitemap: https://www.elm-cars.test/maps/cars.xml\nsitemap: https://cdn.facebook.com/oak.xml\n"
    keep("https://www.oak.test", own + other, 0)
    keep("https://fir.test", "Sitemap: \x00\nSitemap: javascript:alert(1)\nSitemap: https://[::1\n" + "x" * 9_999, 1)

    (found,) = robots.find(conn, work)

    assert (found.domain, found.url, found.channel) == ("elm-cars.test", "https://www.elm-cars.test/", "robots")
    assert found.evidence["robots_of"] == "https://www.oak.test"
    assert found.evidence["sitemap"] == "https://www.elm-cars.test/maps/cars.xml"
    assert list(robots.find(conn, work)) == []
    keep("https://yew.test", "Sitemap: https://ash.test/sitemap.xml\n", 60)
    assert [one.domain for one in robots.find(conn, work)] == ["ash.test"]


def test_other_sites_on_a_page_are_candidates_and_its_own_are_not() -> None:
    body = (
        b'<a href="/own">x</a><a href="http://sub.market.test/y">own too</a><a href="//elm.test/a?b=1">Elm</a>'
        b'<a href="https://oak.test/z">Visit website</a><a href="javascript:alert(1)">z</a>'
        b'<script type="application/ld+json">{"offers": {"seller": '
        b'{"@type": "AutoDealer", "url": "https:\\/\\/ash.test\\/"}}}'
        b"</script>"
    )
    found = {one.domain: one for one in links_of(body, "https://www.market.test/1", "market")}
    assert set(found) == {"elm.test", "oak.test", "ash.test"}
    assert found["oak.test"].evidence["link"] == found["ash.test"].evidence["link"] == "seller"
    assert found["elm.test"].url == "https://elm.test/"


@pytest.mark.parametrize(
    ("urls", "other"),
    [
        (
            ["http://a.test/inventory/ford-edge-1234567/", "http://a.test/inventory/kia-rio-7654321/"],
            "http://a.test/about",
        ),
        (["http://a.test/car/12345678", "http://a.test/car/87654321"], "http://a.test/cars"),
    ],
)
def test_a_pattern_learned_from_listings_fits_them_and_not_other_pages(urls: list[str], other: str) -> None:
    pattern = pattern_of(urls)
    assert all(re.search(pattern, url) for url in urls)
    assert not re.search(pattern, other)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_no_line_of_any_file_is_too_strange(line: bytes) -> None:
    for reader in (read_url_line, read_places_line, read_cdxj_line):
        list(reader(line, "file"))
    list(links_of(line, "https://market.test/", "market"))
