"""What the sites serve agrees with the truth, in every family of pages."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urljoin

import pytest
from selectolax.lexbor import LexborHTMLParser

from .conftest import Browser

JSON_LD = re.compile(r'<script type="application/ld\+json">(.*?)</script>', re.S)
STATE = re.compile(r'<script id="__STATE__" type="application/json">(.*?)</script>', re.S)
LAYOUTS = ["api", "cards", "pages", "offsets", "lots", "sitemap", "table", "dl", "next_link", "feed"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_details_state_the_truth(browser: Browser, layout: str) -> None:
    for ad in browser.ads(browser.site(layout=layout)["slug"])[:15]:
        answer = browser.get_packed(ad["url"])
        assert answer.status == 200
        assert 15_000 < len(answer.body) < 45_000
        tree = LexborHTMLParser(answer.text)
        text = tree.body.text(separator=" ") if tree.body else ""
        assert ad["title"] in text
        assert ad["city"] in text
        if ad["vin"]:
            assert ad["vin"] in text
        if ad["currency"] == "EUR":
            assert f"{ad['price']:,} €".replace(",", ".") in text if ad["price"] else "Preis auf Anfrage" in text
            assert f"{ad['mileage']:,} km".replace(",", ".") in text
        else:
            assert f"${ad['price']:,}" in text if ad["price"] else "Call for price" in text
            assert ad["mileage"] is None or f"{ad['mileage']:,} " in text


@pytest.mark.parametrize("layout", ["cards", "lots"])
def test_json_ld_states_the_truth(browser: Browser, layout: str) -> None:
    for ad in browser.ads(browser.site(layout=layout)["slug"])[:15]:
        _assert_json_ld(json.loads(JSON_LD.findall(browser.get(ad["url"]).text)[0]), ad)


def test_search_pages_of_the_cards_site_carry_every_ad_as_json_ld(browser: Browser) -> None:
    site = browser.site(layout="cards")
    truth = {ad["url"]: ad for ad in browser.ads(site["slug"])}
    seen: dict[str, dict[str, Any]] = {}
    for page in range(1, 50):
        records = JSON_LD.findall(browser.get(f"{site['base_url']}{_index(site)}?page={page}").text)
        if not records:
            break
        seen |= {record["url"]: record for record in map(json.loads, records)}
    assert seen.keys() == truth.keys()
    for url, record in seen.items():
        _assert_json_ld(record, truth[url])


def test_microdata_states_the_truth(browser: Browser) -> None:
    for ad in browser.ads(browser.site(layout="sitemap")["slug"])[:15]:
        tree = LexborHTMLParser(browser.get(ad["url"]).text)
        props = {node.attributes["itemprop"]: node for node in tree.css("[itemprop]")}
        assert props["vehicleIdentificationNumber"].text() == ad["vin"]
        assert props["vehicleModelDate"].text() == str(ad["year"])
        assert props["brand"].text() == ad["make"]
        assert props["model"].text() == ad["model"]
        assert props["value"].attributes["content"] == str(ad["mileage"])
        assert props["addressLocality"].text() == ad["city"]
        if ad["price"]:
            assert props["price"].attributes["content"] == str(ad["price"])


def test_the_api_pages_through_all_ads_and_agrees_with_its_details(browser: Browser) -> None:
    site = browser.site(layout="api")
    truth = {ad["remote_id"]: ad for ad in browser.ads(site["slug"])}
    seen: dict[str, dict[str, Any]] = {}
    cursor = ""
    while cursor is not None:
        page = json.loads(browser.get(f"{site['base_url']}/api/listings?limit=40&cursor={cursor}").body)
        assert page["total"] == len(truth)
        seen |= {str(item["id"]): item for item in page["items"]}
        cursor = page["next_cursor"]
    assert seen.keys() == truth.keys()
    for remote_id, item in list(seen.items())[:10]:
        ad = truth[remote_id]
        same = ("url", "vin", "year", "make", "model", "price", "mileage", "city")
        assert [item[name] for name in same] == [ad[name] for name in same]
        detail = json.loads(browser.get(f"{site['base_url']}/api/listings/{remote_id}").body)
        state = json.loads(STATE.findall(browser.get(ad["url"]).text)[0])
        assert detail == state["listing"]
        assert detail["price"] == ad["price"]


@pytest.mark.parametrize("layout", ["pages", "offsets", "lots", "table", "dl", "next_link"])
def test_following_next_links_reaches_every_ad(browser: Browser, layout: str) -> None:
    site = browser.site(layout=layout)
    pattern = re.compile(site["suggested_config"]["index"]["link_pattern"])
    url, found = site["base_url"] + _index(site), set()
    for _ in range(40):
        tree = LexborHTMLParser(browser.get(url).text)
        links = [urljoin(url, node.attributes["href"] or "") for node in tree.css("a[href]")]
        found |= {link for link in links if pattern.search(link)}
        following = tree.css_first('a[rel="next"]')
        if following is None:
            break
        url = urljoin(url, following.attributes["href"] or "")
    assert found == {ad["url"] for ad in browser.ads(site["slug"])}


def test_sitemaps_list_every_ad_and_robots_names_them(browser: Browser) -> None:
    for site in browser.web.get("/sites"):
        if not site["open"]:
            continue
        robots = browser.get(f"{site['base_url']}/robots.txt").text
        index = re.findall("Sitemap: (.*)", robots)[0]
        urls: set[str] = set()
        for part in re.findall("<loc>(.*?)</loc>", browser.get(index).text):
            if "inventory" in part:
                urls |= set(re.findall("<loc>(.*?)</loc><lastmod>", browser.get(part).text))
        assert urls == {ad["url"] for ad in browser.ads(site["slug"])}


def test_the_feeds_list_every_ad(browser: Browser) -> None:
    site = browser.site(layout="feed")
    urls = {ad["url"] for ad in browser.ads(site["slug"])}
    assert set(re.findall("<item>.*?<link>(.*?)</link>", browser.get(f"{site['base_url']}/feed.xml").text)) == urls
    feed = json.loads(browser.get(f"{site['base_url']}/feed.json").body)
    assert {item["url"] for item in feed["items"]} == urls


def test_robots_differ_as_promised(browser: Browser) -> None:
    robots = [browser.get(f"{s['base_url']}/robots.txt").text for s in browser.web.get("/sites") if s["open"]]
    assert sum("Crawl-delay: 1" in body for body in robots) == 1
    assert sum("Disallow: /private/" in body for body in robots) == 1


def test_every_site_has_markup_of_its_own(browser: Browser) -> None:
    styles = set()
    for site in browser.web.get("/sites"):
        if site["open"]:
            tree = LexborHTMLParser(browser.get(browser.ads(site["slug"])[0]["url"]).text)
            styles.add(frozenset(node.attributes["class"] for node in tree.css("main [class]")))
    assert len(styles) == sum(site["open"] for site in browser.web.get("/sites"))


def test_photos_are_pictures_and_private_pages_exist(browser: Browser) -> None:
    site = browser.site(kind="dealer")
    tree = LexborHTMLParser(browser.get(browser.ads(site["slug"])[0]["url"]).text)
    image = tree.css_first("article img")
    assert image is not None
    photo = browser.get(image.attributes["src"] or "")
    assert photo.headers["content-type"] == "image/png"
    assert photo.body.startswith(b"\x89PNG")
    private = [f"{s['base_url']}/private/dealers" for s in browser.web.get("/sites") if s["open"]]
    assert sum(browser.get(url).status == 200 for url in private) == 1


def _index(site: dict[str, Any]) -> str:
    path: str = site["suggested_config"]["index"]["urls"][0]
    return path


def _assert_json_ld(record: dict[str, Any], ad: dict[str, Any]) -> None:
    assert record["@type"] == "Car"
    assert record["url"] == ad["url"]
    assert record.get("vehicleIdentificationNumber") == ad["vin"]
    assert record["vehicleModelDate"] == str(ad["year"])
    assert (record["brand"]["name"], record["model"]) == (ad["make"], ad["model"])
    assert record.get("mileageFromOdometer", {}).get("value") == ad["mileage"]
    assert record["offers"].get("price") == ad["price"]
    assert record["offers"]["seller"]["address"]["addressLocality"] == ad["city"]
