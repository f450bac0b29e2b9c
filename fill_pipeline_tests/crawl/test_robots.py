"""robots.txt: read as RFC 9309 says, remembered for a day, never a way in for harm."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.crawl.fetch import Fetcher, FetchSettings
from fill_pipeline.crawl.robots import MAX_ROBOTS_BYTES, RobotsCache, RobotsFile, parse_robots

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BASE = "http://cars.example"


def rules(text: str):
    return parse_robots(text.encode(), 200)


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("User-agent: *\nDisallow: /private/", "/private/x", False),
        ("User-agent: *\nDisallow: /private/", "/cars", True),
        ("User-agent: *\nDisallow: /\nAllow: /cars", "/cars/1", True),
        ("User-agent: *\nDisallow: /\nAllow: /cars", "/vans/1", False),
        ("User-agent: *\nDisallow: /*?sort=", "/list?sort=price", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/a.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/a.pdf?x", True),
        ("User-agent: otherbot\nDisallow: /", "/cars", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: fill_pipeline\nDisallow: /no", "/cars", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: Fill_Pipeline\nDisallow: /no", "/no/x", False),
        ("\ufeffUser-agent: *\nDisallow: /private/", "/private/x", False),
        ("User-agent: *\r\nDisallow: /private/\r\n", "/private/x", False),
        ("# only a comment", "/cars", True),
        ("User-agent: *\nDisallow:", "/cars", True),
        ("<html>not found</html>", "/cars", True),
        ("", "/cars", True),
        ("User-agent: *\nDisallow: /caf%C3%A9", "/café", False),
    ],
)
def test_rules_are_read_as_the_standard_says(text, path, allowed):
    assert rules(text).allowed(BASE + path) is allowed


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        (200, True),
        (204, True),
        (310, True),
        (400, True),
        (401, True),
        (403, True),
        (404, True),
        (410, True),
        (429, False),
        (500, False),
        (503, False),
        (0, False),
    ],
)
def test_a_missing_file_allows_and_an_unreachable_one_forbids(status, allowed):
    assert parse_robots(b"", status).allowed(BASE + "/cars") is allowed


def test_a_name_of_our_own_choice_is_the_one_obeyed():
    text = "User-agent: *\nDisallow: /\n\nUser-agent: carbot\nDisallow: /no\nCrawl-delay: 4"
    agent = FetchSettings(user_agent="CarBot/2.0 (+https://example.org)").product_token()
    parsed = parse_robots(text, 200, agent)
    assert parsed.allowed(BASE + "/cars")
    assert not parsed.allowed(BASE + "/no")
    assert parsed.crawl_delay() == 4
    assert FetchSettings(contact_url="https://example.org").product_token() == "fill_pipeline"


def test_crawl_delay_is_read_and_capped():
    assert rules("User-agent: *\nCrawl-delay: 7.5").crawl_delay() == 7.5
    assert rules("User-agent: *\nCrawl-delay: 86400").crawl_delay() == 60
    assert rules("User-agent: *\nCrawl-delay: soon").crawl_delay() is None
    assert rules("User-agent: *\nRequest-rate: 1/10").crawl_delay() == 10
    assert rules("User-agent: *\nDisallow:").crawl_delay() is None


def test_sitemaps_are_listed_once_and_only_real_ones():
    text = f"Sitemap: {BASE}/s.xml\nSitemap: {BASE}/s.xml\nsitemap: javascript:x\nSitemap: https://other.example/t.xml"
    assert rules(text).sitemaps == [f"{BASE}/s.xml", "https://other.example/t.xml"]


def test_a_file_of_a_megabyte_is_read_up_to_its_cap():
    text = b"User-agent: *\nDisallow: /early\n" + b"#" * MAX_ROBOTS_BYTES + b"\nDisallow: /late\n"
    parsed = parse_robots(text, 200)
    assert not parsed.allowed(BASE + "/early")
    assert parsed.allowed(BASE + "/late")


@pytest.mark.parametrize(
    "hostile",
    [
        b"User-agent: *\nDisallow: /" + b"*a" * 200_000,
        b"User-agent: *\n" + b"Disallow: /*x*y*z$\n" * 30_000,
        b"User-agent: " * 50_000,
        b"Disallow: /\n" * 50_000,
        b"\xff\xfe" * 200_000,
    ],
)
def test_a_hostile_file_costs_little_time(hostile):
    started = time.perf_counter()
    parsed = parse_robots(hostile, 200)
    parsed.allowed(BASE + "/" + "a" * 1900)
    assert time.perf_counter() - started < 5


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode), st.integers(-1, 700))
def test_any_file_gives_rules(body, status):
    parsed = parse_robots(body, status)
    parsed.allowed(BASE + "/a?b=c")
    delay = parsed.crawl_delay()
    assert delay is None or 0 <= delay <= 60


@given(st.text(max_size=30) | st.sampled_from(["http://", "http://[x/", "http://a:999999/", "//", "http://a b/"]))
def test_what_is_no_url_breaks_no_rule_and_nothing_else(url):
    assert rules("User-agent: *\nDisallow: /private").allowed(url) in (True, False)
    cache = RobotsCache()
    found = cache.known(url, NOW)
    assert found is None or found.allowed(url)


def test_the_file_is_asked_for_once_a_day(site, fetcher, make_answer):
    site.routes["/robots.txt"] = make_answer(b"User-agent: *\nDisallow: /private/")
    cache = RobotsCache()
    for hours in (0, 1, 23):
        assert not cache.rules_for(f"{BASE}/private/1", fetcher, NOW + timedelta(hours=hours)).allowed(
            f"{BASE}/private/1"
        )
    assert site.paths() == ["/robots.txt"]
    cache.rules_for(BASE, fetcher, NOW + timedelta(hours=24))
    assert len(site.asked) == 2


def test_each_origin_has_its_own_file(site, fetcher, make_answer):
    site.routes["/robots.txt"] = lambda asked: make_answer(
        b"User-agent: *\nDisallow: /" if asked.host == "no.example" else b""
    )
    cache = RobotsCache()
    assert not cache.rules_for("http://no.example/", fetcher, NOW).allowed("http://no.example/x")
    assert cache.rules_for("http://yes.example/", fetcher, NOW).allowed("http://yes.example/x")


def test_what_was_fetched_can_be_kept_and_loaded(site, fetcher, make_answer):
    site.routes["/robots.txt"] = make_answer(b"\xef\xbb\xbfUser-agent: *\nDisallow: /private/", zipped=True)
    cache = RobotsCache()
    cache.rules_for(BASE, fetcher, NOW)
    (file,) = cache.take_fetched()
    assert cache.take_fetched() == []
    assert (file.origin, file.status, file.fetched_at) == ("http://cars.example:80", 200, NOW)
    other = RobotsCache()
    other.load(file)
    known = other.known(BASE, NOW)
    assert known is not None
    assert not known.allowed(BASE + "/private/1")


def test_an_error_is_asked_again_sooner_and_a_known_file_outlives_it(site, fetcher, make_answer):
    site.routes["/robots.txt"] = make_answer(status=503)
    cache = RobotsCache()
    assert not cache.rules_for(BASE, fetcher, NOW).allowed(BASE + "/cars")
    site.routes["/robots.txt"] = make_answer(b"User-agent: *\nDisallow: /private/")
    assert cache.rules_for(BASE, fetcher, NOW + timedelta(hours=1)).allowed(BASE + "/cars")
    site.routes["/robots.txt"] = make_answer(status=503)
    later = NOW + timedelta(hours=26)
    assert cache.rules_for(BASE, fetcher, later).allowed(BASE + "/cars")
    assert not cache.rules_for(BASE, fetcher, later).allowed(BASE + "/private/1")
    assert len(site.asked) == 3
    assert not cache.rules_for(BASE, fetcher, NOW + timedelta(days=40)).allowed(BASE + "/cars")


def test_redirects_are_followed_and_endless_ones_allow(site, fetcher, make_answer, make_redirect):
    site.routes["/robots.txt"] = make_redirect("/real.txt")
    site.routes["/real.txt"] = make_answer(b"User-agent: *\nDisallow: /private/")
    assert not RobotsCache().rules_for(BASE, fetcher, NOW).allowed(BASE + "/private/1")
    site.routes["/robots.txt"] = make_redirect("/robots.txt")
    assert RobotsCache().rules_for(BASE, fetcher, NOW).allowed(BASE + "/private/1")


def test_a_redirect_of_robots_to_a_private_address_is_refused_and_forbids(site, make_redirect, fetcher):
    site.routes["/robots.txt"] = make_redirect("http://169.254.169.254/robots.txt")
    assert not RobotsCache().rules_for(BASE, fetcher, NOW).allowed(BASE + "/cars")


def test_a_host_that_cannot_be_reached_forbids(dead_port):
    with Fetcher(FetchSettings(allow_nets=("127.0.0.0/8",), connect_to=(f"*::127.0.0.1:{dead_port}",))) as fetcher:
        cache = RobotsCache()
        assert not cache.rules_for(BASE, fetcher, NOW).allowed(BASE + "/cars")
    assert cache.take_fetched() == [RobotsFile("http://cars.example:80", 0, "", NOW)]
