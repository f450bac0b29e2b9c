"""Every action of the control API really changes what is served."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import time
import urllib.error
import zlib
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser

from .conftest import Browser

MODES = ["classes", "tags", "labels", "json_keys", "pagination", "mix"]


@pytest.fixture
def dealer(browser: Browser) -> dict[str, Any]:
    return browser.site(layout="sitemap")


@pytest.fixture
def ad(browser: Browser, dealer: dict[str, Any]) -> dict[str, Any]:
    """An ad with a price that stands for some hours."""
    return next(ad for ad in browser.ads(dealer["slug"]) if ad["price"])


def _classes(page: str) -> set[str]:
    nodes = LexborHTMLParser(page).css("main [class]")
    return {name for node in nodes for name in (node.attributes["class"] or "").split()}


def _shape(page: str) -> list[str]:
    return [str(node.tag) for node in LexborHTMLParser(page).css("main article *")]


def test_unknown_actions_sites_and_values_are_refused_with_the_reason(browser: Browser) -> None:
    slug = browser.site(kind="dealer")["slug"]
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("explode", {"slug": slug}, "no action"),
        ("block", {"slug": "nobody"}, "no site"),
        ("block", {"slug": slug, "style": "velvet"}, "velvet"),
        ("clock", {}, "advance_seconds"),
        ("sell", {"slug": slug, "remote_id": 1}, "no ad"),
        ("redesign", {"slug": slug, "mode": "smell"}, "smell"),
        ("throttle", {"slug": slug, "rps": "many"}, "no number"),
    ]
    for action, body, reason in refused:
        with pytest.raises(urllib.error.HTTPError) as error:
            browser.web.post(action, **body)
        assert error.value.code == 400
        assert reason in json.load(error.value)["error"]


def test_the_clock_brings_new_ads_and_takes_old_ones(browser: Browser) -> None:
    before = {ad["url"] for ad in browser.web.get("/truth")}
    assert browser.web.post("clock", advance_seconds=7_200)["now"] == "2026-03-02T08:00:00+00:00"
    after = {ad["url"] for ad in browser.web.get("/truth")}
    assert len(after - before) > 300
    gone = {browser.get(url).status for url in list(before - after)[:60]}
    assert 410 in gone
    assert all(browser.get(url).status == 200 for url in list(after - before)[:5])
    browser.web.post("clock", now="2026-03-02T06:00:00+00:00")
    assert {ad["url"] for ad in browser.web.get("/truth")} == before
    assert {browser.get(url).status for url in list(after - before)[:5]} == {404}


def test_equal_requests_get_equal_bytes_after_a_reset(browser: Browser, ad: dict[str, Any]) -> None:
    search = browser.site(layout="cards")["base_url"] + "/"
    first = [browser.get(url).body for url in (ad["url"], search)]
    browser.web.post("clock", advance_seconds=90_000)
    browser.web.post("reset")
    assert [browser.get(url).body for url in (ad["url"], search)] == first


def test_details_have_validators_and_answer_304_until_they_change(
    browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]
) -> None:
    first = browser.get(ad["url"])
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    assert browser.get(ad["url"], If_None_Match=etag).status == 304
    assert browser.get(ad["url"], If_Modified_Since=modified).status == 304
    assert browser.get(ad["url"], method="HEAD").body == b""
    browser.web.post("price", slug=dealer["slug"], remote_id=ad["remote_id"], price=12_321)
    changed = browser.get(ad["url"], If_None_Match=etag)
    assert changed.status == 200
    assert "$12,321" in changed.text
    assert changed.headers["last-modified"] != modified
    assert browser.get(ad["url"] + "x").status == 404


def test_a_price_and_a_sale_show_on_the_page_and_in_the_truth(
    browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]
) -> None:
    browser.web.post("price", slug=dealer["slug"], remote_id=ad["remote_id"], price=4_321)
    truth = {other["remote_id"]: other for other in browser.ads(dealer["slug"])}
    assert truth[ad["remote_id"]]["price"] == 4_321
    browser.web.post("sell", slug=dealer["slug"], remote_id=ad["remote_id"])
    assert "SOLD" in browser.get(ad["url"]).text
    assert ad["remote_id"] not in {other["remote_id"] for other in browser.ads(dealer["slug"])}
    browser.web.post("clock", advance_seconds=7_200)
    assert browser.get(ad["url"]).status == 410


@pytest.mark.parametrize("mode", MODES)
def test_a_redesign_changes_what_it_names_and_keeps_the_facts(browser: Browser, mode: str) -> None:
    layout = {"json_keys": "api", "pagination": "pages"}.get(mode, "table")
    site = browser.site(layout=layout)
    ad = next(ad for ad in browser.ads(site["slug"]) if ad["price"])
    before = browser.get(ad["url"]).text
    after_record = browser.web.post("redesign", slug=site["slug"], mode=mode, seed=3)
    after = browser.get(ad["url"]).text
    for fact in (ad["title"], ad["vin"], f"{ad['price']:,}", ad["city"]):
        assert fact in before
        assert fact in after
    labels = [LexborHTMLParser(page).css("main article table th") for page in (before, after)]
    words = [{node.text() for node in nodes} for nodes in labels]
    match mode:
        case "classes" | "mix":
            assert not _classes(before) & _classes(after)
        case "tags":
            assert _classes(before) == _classes(after)
            assert "table" in _shape(before)
            assert "table" not in _shape(after)
        case "labels":
            assert _shape(before) == _shape(after)
            assert not words[0] & words[1]
        case "json_keys":
            url = f"{site['base_url']}/api/listings"
            assert "items" not in json.loads(browser.get(url).body)
            assert after_record["suggested_config"]["index"]["items_path"] == "results"
            assert json.loads(browser.get(url).body)["results"][0]["modelYear"]
        case _:
            links = re.findall(r'rel="next" href="(.*?)"', browser.get(site["base_url"] + _index(site)).text)
            assert not re.search(r"\bpage=", links[0])


def test_a_second_redesign_differs_from_the_first(browser: Browser) -> None:
    site = browser.site(layout="dl", country="US")
    url = browser.ads(site["slug"])[0]["url"]
    looks = []
    for seed in range(4):
        looks.append(frozenset(_classes(browser.get(url).text)))
        browser.web.post("redesign", slug=site["slug"], mode="classes", seed=seed)
    assert len(set(looks)) == 4


def test_a_mixed_redesign_drops_structured_data(browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]) -> None:
    assert "itemprop" in browser.get(ad["url"]).text
    browser.web.post("redesign", slug=dealer["slug"], mode="mix", seed=1)
    assert "itemprop" not in browser.get(ad["url"]).text


def test_a_throttled_site_answers_429_with_retry_after(
    browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]
) -> None:
    browser.web.post("throttle", slug=dealer["slug"], rps=5, retry_after=2)
    answers = [browser.get(ad["url"]) for _ in range(12)]
    refused = [answer for answer in answers if answer.status == 429]
    assert 4 <= len(refused) <= 8
    assert refused[0].headers["retry-after"] == "2"
    time.sleep(0.5)
    assert browser.get(ad["url"]).status == 200
    browser.web.post("throttle", slug=dealer["slug"], rps=0.01, retry_after=30, format="date")
    dates = [browser.get(ad["url"]).headers.get("retry-after", "") for _ in range(2)]
    wait = parsedate_to_datetime(dates[-1]).timestamp() - time.time()
    assert 25 < wait < 32


def test_a_blocked_site_shows_its_style_of_block(browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]) -> None:
    browser.web.post("block", slug=dealer["slug"], style="403")
    assert browser.get(ad["url"]).status == 403
    browser.web.post("block", slug=dealer["slug"], style="captcha")
    assert "verify you are a human" in browser.get(ad["url"]).text
    browser.web.post("block", slug=dealer["slug"], style="login")
    answer = browser.get(ad["url"])
    assert answer.status == 302
    assert 'type="password"' in browser.get(dealer["base_url"] + answer.headers["location"]).text


def test_a_failing_site_fails_at_its_rate(browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]) -> None:
    browser.web.post("fail", slug=dealer["slug"], status=503, rate=0.25)
    statuses = [browser.get(ad["url"]).status for _ in range(20)]
    assert statuses.count(503) == 5
    assert statuses.count(200) == 15


def test_a_hanging_site_answers_late(browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]) -> None:
    browser.web.post("hang", slug=dealer["slug"], seconds=0.5)
    started = time.monotonic()
    assert browser.get(ad["url"]).status == 200
    assert time.monotonic() - started > 0.45
    other = browser.site(layout="table")
    started = time.monotonic()
    assert browser.get(other["base_url"]).status == 200
    assert time.monotonic() - started < 0.4  # nobody else waits


def test_a_slow_site_drips(browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]) -> None:
    browser.web.post("slow", slug=dealer["slug"], bytes_per_second=2_000)
    with socket.create_connection(("127.0.0.1", browser.web.port), timeout=3) as client:
        path = ad["url"].split("/", 3)[3]
        client.sendall(f"GET /{path} HTTP/1.1\r\nHost: {dealer['slug']}.localhost\r\n\r\n".encode())
        received, end = 0, time.monotonic() + 0.6
        while time.monotonic() < end:
            received += len(client.recv(65_536))
    assert 500 < received < 3_000


def test_a_truncated_page_ends_before_its_length(browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]) -> None:
    browser.web.post("truncate", slug=dealer["slug"])
    with pytest.raises(http.client.IncompleteRead):
        browser.get(ad["url"])


def test_headers_lie(browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]) -> None:
    slug = dealer["slug"]
    browser.web.post("lie", slug=slug, header="content-length")
    with pytest.raises(http.client.IncompleteRead):
        browser.get(ad["url"])
    browser.web.post("lie", slug=slug, header="content-type")
    assert browser.get(ad["url"]).headers["content-type"] == "image/png"
    browser.web.post("lie", slug=slug, header="encoding")
    answer = browser.get(ad["url"])
    assert answer.headers["content-encoding"] == "gzip"
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(answer.body)
    browser.web.post("lie", slug=slug, header="etag")
    assert {browser.get(url).headers["etag"] for url in (ad["url"], dealer["base_url"])} == {'"same"'}


def test_a_bomb_is_small_on_the_wire_and_huge_unpacked(
    browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]
) -> None:
    browser.web.post("bomb", slug=dealer["slug"])
    answer = browser.get(ad["url"])
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) < 1_000_000
    unpacker, size, rest = zlib.decompressobj(31), 0, answer.body
    while size < 50_000_000 and rest:
        size += len(unpacker.decompress(rest, 1_000_000))
        rest = unpacker.unconsumed_tail
    assert size >= 50_000_000


def test_an_endless_page_never_ends(browser: Browser, dealer: dict[str, Any]) -> None:
    browser.web.post("endless", slug=dealer["slug"])
    with socket.create_connection(("127.0.0.1", browser.web.port), timeout=3) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {dealer['slug']}.localhost\r\n\r\n".encode())
        received = 0
        while received < 3_000_000:
            piece = client.recv(65_536)
            assert piece
            received += len(piece)


def test_redirects_lead_in_circles_or_elsewhere(browser: Browser, dealer: dict[str, Any]) -> None:
    browser.web.post("redirect_loop", slug=dealer["slug"])
    path, seen = "/", []
    for _ in range(5):
        answer = browser.get(dealer["base_url"] + path)
        assert answer.status == 302
        path = answer.headers["location"]
        seen.append(path)
    assert len(set(seen)) == 5
    browser.web.post("heal", slug=dealer["slug"])
    browser.web.post("redirect_to", slug=dealer["slug"], url="http://169.254.169.254/latest/")
    assert browser.get(dealer["base_url"]).headers["location"] == "http://169.254.169.254/latest/"


def test_a_soft_404_says_no_with_status_200(browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]) -> None:
    browser.web.post("soft404", slug=dealer["slug"])
    answer = browser.get(ad["url"])
    assert answer.status == 200
    assert "no longer available" in answer.text
    assert ad["vin"] not in answer.text


def test_robots_say_what_they_are_told(browser: Browser, dealer: dict[str, Any]) -> None:
    browser.web.post("robots", slug=dealer["slug"], body="User-agent: *\nDisallow: /\n")
    assert browser.get(dealer["base_url"] + "/robots.txt").text == "User-agent: *\nDisallow: /\n"
    browser.web.post("robots", slug=dealer["slug"], status=503)
    assert browser.get(dealer["base_url"] + "/robots.txt").status == 503


@pytest.mark.parametrize("layout", ["api", "table", "sitemap", "feed"])
def test_an_empty_site_works_and_lists_nothing(browser: Browser, layout: str) -> None:
    site = browser.site(layout=layout)
    ad = browser.ads(site["slug"])[0]
    browser.web.post("empty", slug=site["slug"])
    assert browser.ads(site["slug"]) == []
    index = site["suggested_config"].get("index", {"urls": ["/sitemap-inventory-1.xml"]})["urls"][0]
    answer = browser.get(site["base_url"] + index)
    assert answer.status == 200
    assert ad["remote_id"] not in answer.text
    assert browser.get(ad["url"]).status == 410


def test_a_moved_site_redirects_for_good_and_lives_on(
    browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]
) -> None:
    browser.web.post("move", slug=dealer["slug"], to="moved-motors")
    answer = browser.get(ad["url"])
    assert answer.status == 301
    assert answer.headers["location"] == ad["url"].replace(dealer["slug"], "moved-motors")
    assert ad["vin"] in browser.get(answer.headers["location"]).text
    assert browser.ads(dealer["slug"])[0]["url"].startswith("http://moved-motors.localhost")


def test_a_closed_site_resets_connections_until_healed(
    browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]
) -> None:
    browser.web.post("close", slug=dealer["slug"])
    with pytest.raises(ConnectionResetError):
        browser.get(ad["url"])
    browser.web.post("heal", slug=dealer["slug"])
    assert browser.get(ad["url"]).status == 200


def test_hidden_sites_are_linked_and_answer_once_opened(browser: Browser) -> None:
    hidden = {site["slug"]: site for site in browser.web.get("/sites") if not site["open"]}
    linked = set()
    for site in browser.web.get("/sites"):
        if site["open"]:
            linked |= set(re.findall(r"http://([\w-]+)\.localhost:\d+/", browser.get(site["base_url"]).text))
    assert linked & hidden.keys()
    for slug, site in hidden.items():
        with pytest.raises(ConnectionResetError):
            browser.get(site["base_url"])
        opened = browser.web.post("open", slug=slug)
        assert opened["open"]
        assert browser.get(opened["base_url"]).status == 200
    vehicle_sites = [site for site in hidden.values() if site["suggested_config"]]
    assert all(browser.get(browser.ads(site["slug"])[0]["url"]).status == 200 for site in vehicle_sites)


def test_marketplace_sellers_link_to_a_hidden_dealer(browser: Browser) -> None:
    hidden = {site["slug"] for site in browser.web.get("/sites") if not site["open"] and site["kind"] == "dealer"}
    pages = (browser.get(ad["url"]).text for ad in browser.ads(browser.site(layout="cards")["slug"])[:60])
    assert any(set(re.findall(r"http://([\w-]+)\.localhost:\d+/\">Visit website", page)) & hidden for page in pages)


def test_brand_new_sites_open_by_kind(browser: Browser) -> None:
    known = {site["slug"] for site in browser.web.get("/sites")}
    opened = [browser.web.post("open", kind="dealer") for _ in range(6)]
    assert len({site["slug"] for site in opened}) == 6
    assert len({site["slug"] for site in opened} - known) == 2  # four were hidden
    for site in opened:
        assert site["live_count"] > 0
        assert browser.get(browser.ads(site["slug"])[0]["url"]).status == 200


def test_decoys_behave_like_decoys(browser: Browser) -> None:
    kinds = ("blog", "parts", "link_farm", "parked", "calendar")
    base = {kind: browser.web.post("open", kind=kind)["base_url"] for kind in kinds}
    assert "not for sale" in browser.get(base["blog"] + "/post/3").text
    assert '"@type":"Product"' in browser.get(base["parts"] + "/part/3").text
    assert len(re.findall("<a ", browser.get(base["link_farm"]).text)) > 150
    assert "for sale" in browser.get(base["parked"] + "/whatever").text
    path = "/"
    for _ in range(30):
        path = re.findall(r'rel="next" href="(.*?)"', browser.get(base["calendar"] + path).text)[0]
    assert path == "/calendar/2028/9"


def test_the_log_tells_each_request_of_a_site_in_order(
    browser: Browser, dealer: dict[str, Any], ad: dict[str, Any]
) -> None:
    started = time.monotonic()
    browser.get(ad["url"])
    browser.get(dealer["base_url"] + "/nothing-here")
    browser.get(browser.site(layout="table")["base_url"])
    log = browser.web.get(f"/log?slug={dealer['slug']}&since={started}")
    assert [(entry["path"], entry["status"]) for entry in log] == [
        ("/" + ad["url"].split("/", 3)[3], 200),
        ("/nothing-here", 404),
    ]
    assert started < log[0]["monotonic"] <= log[1]["monotonic"] < time.monotonic()
    assert abs(log[0]["wall"] - time.time()) < 5
    assert log[0]["client_port"] > 0
    stats = browser.web.get("/stats")
    assert stats["requests"] >= 3
    assert stats["cpu_seconds"] > 0


def _index(site: dict[str, Any]) -> str:
    path: str = site["suggested_config"]["index"]["urls"][0]
    return path
