"""Harvest: index pages become cards and detail URLs at the source's pace, and every trap has an end."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fill_pipeline.crawl.config import parse_source_config
from fill_pipeline.crawl.fetch import FailureCategory
from fill_pipeline.crawl.harvest import HarvestLimits, SourceToCrawl, StopReason, harvest, harvest_many
from fill_pipeline.crawl.inventory_links import inventory_links
from fill_pipeline.crawl.robots import RobotsCache
from fill_pipeline.simweb.handle import start_simweb

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BASE = "http://cars.example"


def source(config=None, *, slug="cars", base_url=BASE) -> SourceToCrawl:
    return SourceToCrawl(slug, base_url, parse_source_config(config or {"pagination": {"type": "next_link"}}))


def card(number: int, host: str = "") -> str:
    return (
        f'<li class="card"><a href="{host}/car/{number}"><h3>2015 Ford Focus SE</h3></a>'
        f'<span class="price">${10_000 + number}</span><span>{40_000 + number} miles</span></li>'
    )


def index_page(numbers, next_url: str | None = None, host: str = "") -> bytes:
    link = f'<a rel="next" href="{next_url}">Next</a>' if next_url else ""
    cards = "".join(card(number, host) for number in numbers)
    return f"<html><head><title>Used cars</title></head><body><ul>{cards}</ul>{link}</body></html>".encode()


def five(page: int) -> range:
    """The listings of a page."""
    return range(5 * page, 5 * page + 5)


def api_page(numbers, cursor=None) -> bytes:
    items = [
        {
            "id": n,
            "url": f"{BASE}/car/{n}",
            "year": 2015,
            "make": "Ford",
            "model": "Focus",
            "price": 10_000 + n,
            "mileage": 40_000,
        }
        for n in numbers
    ]
    return json.dumps({"items": items, "next_cursor": cursor}).encode()


def run(site_source, fetcher, **options):
    options.setdefault("robots", RobotsCache())
    return list(harvest(site_source, fetcher, now_fn=lambda: NOW, **options))


def detail_urls(pages) -> list[str]:
    return [url for page in pages for url, _, _ in page.detail_urls]


def test_next_links_are_followed_to_the_end(site, fetcher, make_answer):
    site.routes["/"] = make_answer(index_page(range(5), "/page2"), zipped=True)
    site.routes["/page2"] = make_answer(index_page(range(5, 8)))
    pages = run(source(), fetcher)
    assert detail_urls(pages) == [f"{BASE}/car/{n}" for n in range(8)]
    assert [len(page.cards) for page in pages] == [5, 3]
    assert [page.is_last for page in pages] == [False, True]
    assert pages[-1].stop_reason is StopReason.END
    assert pages[0].response is not None
    assert gzip.decompress(pages[0].response.body_received) == index_page(range(5), "/page2")


def test_a_card_is_handed_on_as_a_hint(site, fetcher, make_answer):
    site.routes["/"] = make_answer(index_page(range(5)))
    url, hint, modified_at = run(source(), fetcher)[0].detail_urls[2]
    assert url == f"{BASE}/car/2"
    assert hint is not None
    assert (hint["price"], hint["year"], hint["make"]) == (10_002, 2015, "Ford")
    assert not {"raw", "provenance", "raw_payload"} & hint.keys()
    assert modified_at is None


def test_pages_are_counted_until_one_is_empty(site, fetcher, make_answer):
    def page(asked):
        number = int(asked.path.partition("p=")[2])
        return make_answer(index_page(range(number * 5, number * 5 + 5) if number <= 3 else []))

    site.routes["/list"] = page
    pages = run(source({"index": {"urls": ["/list"]}, "pagination": {"type": "page", "page_param": "p"}}), fetcher)
    assert len(detail_urls(pages)) == 15
    assert site.paths() == ["/robots.txt", "/list?p=1", "/list?p=2", "/list?p=3", "/list?p=4"]
    assert (pages[-1].stop_reason, pages[-1].failure) == (StopReason.END, None)


def test_a_404_past_the_last_page_is_the_end_and_no_failure(site, fetcher, make_answer):
    def page(asked):
        number = int(asked.path.partition("page=")[2])
        return make_answer(index_page(five(number)) if number <= 3 else b"", status=200 if number <= 3 else 404)

    site.routes["/list"] = page
    pages = run(source({"index": {"urls": ["/list"]}, "pagination": {"type": "page"}}), fetcher)
    assert (pages[-1].stop_reason, pages[-1].failure, pages[-1].is_last) == (StopReason.END, None, True)
    assert len(detail_urls(pages)) == 15


@pytest.mark.parametrize(("body", "says"), [("No vehicles found", 0), ("0 results", 0), ("Under construction", None)])
def test_an_index_that_says_it_has_nothing_is_told_from_one_that_says_nothing(site, fetcher, make_answer, body, says):
    site.routes["/"] = make_answer(
        f"<html><title>Used cars</title><body><h1>Inventory</h1><p>{body}</p></body></html>".encode()
    )
    (page,) = run(source(), fetcher)
    assert (page.cards, page.expected_count) == ([], says)


def test_a_last_page_given_for_every_further_number_is_the_end(site, fetcher, make_answer):
    site.routes["/list"] = lambda asked: make_answer(index_page(five(min(3, int(asked.path.partition("page=")[2])))))
    pages = run(source({"index": {"urls": ["/list"]}, "pagination": {"type": "page"}}), fetcher)
    assert (len(pages), pages[-1].stop_reason) == (4, StopReason.END)
    assert len(detail_urls(pages)) == 15


def test_a_redirect_to_the_first_page_is_the_end(site, fetcher, make_answer, make_redirect):
    def page(asked):
        number = int(asked.path.partition("page=")[2])
        return make_answer(index_page(five(number))) if number <= 3 else make_redirect("/list?page=1")

    site.routes["/list"] = page
    pages = run(source({"index": {"urls": ["/list"]}, "pagination": {"type": "page"}}), fetcher)
    assert (len(pages), pages[-1].stop_reason) == (4, StopReason.END)


def test_a_last_page_that_calls_itself_the_next_is_the_end(site, fetcher, make_answer):
    site.routes["/"] = make_answer(index_page(five(0), "/last"))
    site.routes["/last"] = make_answer(index_page(five(1), "/last#top"))
    assert run(source(), fetcher)[-1].stop_reason is StopReason.END


def test_a_broken_next_link_is_a_failure_and_the_harvest_is_not_whole(site, fetcher, make_answer):
    site.routes["/"] = make_answer(index_page(five(0), "/missing"))
    site.routes["/other"] = make_answer(index_page(five(1)))
    pages = run(source({"index": {"urls": ["/", "/other"]}, "pagination": {"type": "next_link"}}), fetcher)
    assert [page.failure for page in pages] == [None, FailureCategory.GONE, None]
    assert (pages[-1].is_last, pages[-1].stop_reason) == (True, StopReason.FAILED)


def test_one_index_cut_short_is_told_at_the_end_of_all(site, fetcher, make_answer):
    days = itertools.count(1)
    site.routes["/trap"] = lambda _asked: make_answer(index_page(five(0), f"/trap?d={next(days)}"))
    site.routes["/good"] = make_answer(index_page(five(1)))
    pages = run(source({"index": {"urls": ["/trap", "/good"]}, "pagination": {"type": "next_link"}}), fetcher)
    assert len(detail_urls(pages)) == 10
    assert pages[-1].stop_reason is StopReason.NO_NEW_LISTINGS


def test_searches_that_overlap_are_each_walked(site, fetcher, make_answer):
    for name in ("a", "b", "c", "d"):
        site.routes[f"/{name}"] = make_answer(index_page(five(0)))
    site.routes["/e"] = make_answer(index_page(five(1)))
    pages = run(source({"index": {"urls": ["/a", "/b", "/c", "/d", "/e"]}, "pagination": {"type": "none"}}), fetcher)
    assert len(detail_urls(pages)) == 10
    assert pages[-1].stop_reason is StopReason.END


def test_cursors_are_followed_and_a_cursor_loop_ends(site, fetcher, make_answer):
    def page(asked):
        step = asked.path.partition("cursor=")[2]
        following = {"": "a", "a": "b", "b": "a"}[step]
        numbers = {"": range(4), "a": range(4, 8), "b": range(8, 12)}[step]
        return make_answer(api_page(numbers, following), headers={"Content-Type": "application/json"})

    site.routes["/api"] = page
    pages = run(source({"index": {"urls": ["/api"]}, "pagination": {"type": "cursor"}}), fetcher)
    assert len(detail_urls(pages)) == 12
    assert pages[-1].stop_reason is StopReason.SEEN_CURSOR


def test_a_calendar_trap_ends(site, fetcher, make_answer):
    days = itertools.count(1)
    site.routes["/"] = make_answer(index_page(range(5), "/day"))
    site.routes["/day"] = lambda _asked: make_answer(index_page(range(5), f"/day?d={next(days)}"))
    pages = run(source(), fetcher)
    assert pages[-1].stop_reason is StopReason.NO_NEW_LISTINGS
    assert len(site.asked) < 8
    assert len(detail_urls(pages)) == 5


def test_ever_new_session_ids_make_no_new_pages(site, fetcher, make_answer):
    sessions = itertools.count(1)

    def page(_asked):
        session = f"?PHPSESSID={next(sessions):032x}"
        cards = index_page(range(5), f"/list{session}").decode()
        return make_answer(re.sub(r'href="(/car/\d+)"', rf'href="\1{session}"', cards).encode())

    site.routes["/list"] = page
    pages = run(source({"index": {"urls": ["/list"]}, "pagination": {"type": "next_link"}}), fetcher)
    assert len(site.asked) <= 3
    assert len(detail_urls(pages)) == 5


def test_the_same_listings_under_ever_new_addresses_end(site, fetcher, make_answer):
    def page(asked):
        number = int(asked.path.partition("page=")[2])
        return make_answer(index_page(range(5)) + b"<!-- %d -->" % number)

    def turning(asked):
        number = int(asked.path.partition("page=")[2])
        return make_answer(index_page(range(number % 3 * 5, number % 3 * 5 + 5)))

    for route in (page, turning):
        site.routes["/list"], site.asked = route, []
        pages = run(source({"index": {"urls": ["/list"]}, "pagination": {"type": "page"}}), fetcher)
        assert pages[-1].stop_reason in (StopReason.NO_NEW_LISTINGS, StopReason.END)
        assert len(site.asked) < 10


def test_index_pages_and_sitemaps_that_redirect_inside_are_refused(site, fetcher, make_redirect):
    site.routes["/"] = make_redirect("http://169.254.169.254/latest/meta-data/")
    site.routes["/sitemap.xml"] = make_redirect("http://[::ffff:10.0.0.1]/sitemap.xml")
    for config in ({"pagination": {"type": "next_link"}}, {"pagination": {"type": "sitemap"}}):
        (page,) = run(source(config), fetcher)
        assert (page.failure, page.stop_reason) == (FailureCategory.BLOCKED_ADDRESS, StopReason.FAILED)


def test_what_an_index_page_leads_to_has_a_slot_of_its_own_and_obeys_robots(site, fetcher, make_answer, make_redirect):
    site.routes["/"] = make_redirect("/used")
    site.routes["/used"] = make_answer(index_page(range(5)))
    reserved = []

    def reserve(slots):
        reserved.append(time.monotonic() + 0.3 * len(reserved))
        return reserved[-1]

    (page,) = run(source(), fetcher, reserve_slot=reserve)
    assert len(page.cards) == 5
    assert page.response.redirects == [BASE + "/"]
    assert len(reserved) == 2
    site.asked.clear()
    site.routes["/robots.txt"] = make_answer(b"User-agent: *\nDisallow: /used\n")
    (page,) = run(source(), fetcher)
    assert (page.failure, page.stop_reason) == (FailureCategory.ROBOTS, StopReason.ROBOTS)
    assert [asked.path for asked in site.asked] == ["/robots.txt", "/"]


def test_a_circle_of_next_links_ends(site, fetcher, make_answer):
    site.routes["/"] = make_answer(index_page(range(5), "/two?utm_source=nav"))
    site.routes["/two"] = make_answer(index_page(range(5, 9), "/#top"))
    pages = run(source(), fetcher)
    assert pages[-1].stop_reason is StopReason.SEEN_URL
    assert len(site.asked) == 3


def test_an_endless_index_ends_at_its_limits(site, fetcher, make_answer):
    def page(asked):
        number = int(asked.path.partition("page=")[2])
        return make_answer(index_page(range(number * 5, number * 5 + 5)))

    site.routes["/list"] = page
    base = {"index": {"urls": ["/list"]}}
    pages = run(source(base | {"pagination": {"type": "page", "max_pages": 7}}), fetcher)
    assert (len(pages), pages[-1].stop_reason) == (7, StopReason.MAX_PAGES)
    limited = base | {"pagination": {"type": "page"}, "limits": {"max_listings_per_run": 12}}
    pages = run(source(limited), fetcher)
    assert pages[-1].stop_reason is StopReason.MAX_LISTINGS
    assert len(detail_urls(pages)) == 12


def test_links_to_other_sites_are_left_out(site, fetcher, make_answer):
    site.routes["/"] = make_answer(index_page(range(4), host="http://elsewhere.example"))
    assert detail_urls(run(source(), fetcher)) == []
    site.routes["/"] = make_answer(index_page(range(4), host="http://www.cars.example"))
    assert len(detail_urls(run(source(), fetcher))) == 4


def test_a_source_without_a_usable_address_fails_alone(site, fetcher, make_answer):
    site.routes["/"] = make_answer(index_page(range(4)))
    sources = [source(slug="bad", base_url="http://[/"), source(slug="good")]
    pages = {src.slug: page for src, page in harvest_many(sources, fetcher, robots=RobotsCache(), now_fn=lambda: NOW)}
    assert (pages["bad"].failure, pages["bad"].is_last) == (FailureCategory.BAD_URL, True)
    assert len(pages["good"].cards) == 4


def test_every_site_the_configuration_names_is_the_sources_own(site, fetcher, make_answer):
    site.routes["/de"] = make_answer(index_page(range(4)))
    pages = run(source({"index": {"urls": ["http://autos.example.de/de"]}}), fetcher)
    assert detail_urls(pages) == [f"http://autos.example.de/car/{n}" for n in range(4)]


def test_a_site_that_moved_is_said_to_have_moved(site, fetcher, make_answer, make_redirect):
    site.routes["/"] = lambda asked: (
        make_redirect("http://new.example/") if asked.host == "cars.example" else make_answer(index_page(range(4)))
    )
    (page,) = run(source(), fetcher)
    assert page.error == "redirected to another site: http://new.example/"
    assert page.detail_urls == []


def test_a_next_link_to_another_site_or_inside_is_not_followed(site, fetcher, make_answer):
    for link in ("http://elsewhere.example/", "http://169.254.169.254/latest", "http://localhost/"):
        site.routes["/"] = make_answer(index_page(range(4), link))
        pages = run(source(), fetcher)
        assert len(pages) == 1
        assert pages[0].is_last
    assert {asked.host for asked in site.asked} == {"cars.example"}


def test_robots_binds_unless_told_otherwise(site, fetcher, make_answer):
    site.routes["/robots.txt"] = make_answer(b"User-agent: *\nDisallow: /hidden")
    site.routes["/hidden"] = make_answer(index_page(range(4)))
    (page,) = run(source({"index": {"urls": ["/hidden"]}}), fetcher)
    assert (page.stop_reason, page.failure, page.is_last) == (StopReason.ROBOTS, FailureCategory.ROBOTS, True)
    assert site.paths() == ["/robots.txt"]
    pages = run(source({"index": {"urls": ["/hidden"]}, "robots": "ignore"}), fetcher)
    assert len(detail_urls(pages)) == 4


def test_a_site_whose_robots_cannot_be_had_is_left_alone(site, fetcher, make_answer):
    site.routes["/robots.txt"] = make_answer(status=500)
    site.routes["/"] = make_answer(index_page(range(4)))
    assert run(source(), fetcher)[-1].stop_reason is StopReason.ROBOTS
    assert "/" not in site.paths()


def test_crawl_delay_is_told_before_the_first_slot(site, fetcher, make_answer):
    site.routes["/robots.txt"] = make_answer(b"User-agent: *\nCrawl-delay: 3")
    site.routes["/"] = make_answer(index_page(range(4)))
    told = []
    list(
        harvest_many(
            [source()],
            fetcher,
            robots=RobotsCache(),
            now_fn=lambda: NOW,
            on_robots=lambda _source, rules: told.append(("robots", rules.crawl_delay())),
            reserve_slot=lambda _source, _slots: told.append(("slot", None)) or 0.0,
        )
    )
    assert told == [("robots", 3.0), ("slot", None)]


def test_pages_are_asked_for_at_their_slots_and_not_before(site, fetcher, make_answer):
    site.routes["/list"] = lambda asked: make_answer(
        index_page(range(4 * int(asked.path[-1]), 4 * int(asked.path[-1]) + 4) if asked.path[-1] < "5" else [])
    )
    slots = []

    def reserve(_count):
        slots.append(max(time.monotonic(), slots[-1] if slots else 0.0) + 0.2)
        return slots[-1]

    run(source({"index": {"urls": ["/list"]}, "pagination": {"type": "page"}}), fetcher, reserve_slot=reserve)
    asked = [asked.at for asked in site.asked if asked.path.startswith("/list")]
    assert len(asked) == len(slots) == 5
    assert all(0 <= at - slot < 0.2 for at, slot in zip(asked, slots, strict=True))


def test_no_budget_means_no_request(site, fetcher, make_answer):
    site.routes["/"] = make_answer(index_page(range(4)))
    (page,) = run(source(), fetcher, reserve_slot=lambda _count: StopReason.BUDGET)
    assert page.stop_reason is StopReason.BUDGET
    assert site.paths() == ["/robots.txt"]


def test_a_stop_is_obeyed_at_once_even_while_waiting_for_a_slot(site, fetcher, make_answer):
    site.routes["/"] = make_answer(index_page(range(4)))
    started = time.monotonic()
    (page,) = run(
        source(),
        fetcher,
        reserve_slot=lambda _count: time.monotonic() + 60,
        should_stop=lambda: time.monotonic() - started > 0.3,
    )
    assert time.monotonic() - started < 2
    assert page.stop_reason is StopReason.STOPPED
    assert fetcher.in_flight == 0


def test_a_throttled_page_is_asked_for_again_when_the_site_says(site, fetcher, make_answer):
    tries = itertools.count()
    throttled = make_answer(status=429, headers={"Retry-After": "1"})
    site.routes["/"] = lambda _asked: throttled if next(tries) == 0 else make_answer(index_page(range(4)))
    pages = run(source(), fetcher)
    assert len(detail_urls(pages)) == 4
    first, second = [asked.at for asked in site.asked if asked.path == "/"]
    assert second - first >= 1.0


def test_a_page_that_keeps_failing_ends_the_harvest_with_its_reason(site, fetcher, make_answer):
    site.routes["/"] = make_answer(status=503, headers={"Retry-After": "0"})
    (page,) = run(source(), fetcher, limits=HarvestLimits(attempts=3))
    assert (page.failure, page.stop_reason, page.is_last) == (FailureCategory.THROTTLED, StopReason.FAILED, True)
    assert site.paths().count("/") == 3


@pytest.mark.parametrize(("headers", "asked"), [({}, 1), ({"Retry-After": "0"}, 3)])
def test_a_source_that_failed_to_the_last_is_asked_once_unless_it_says_when_to_come_back(
    site, fetcher, make_answer, headers, asked
):
    site.routes["/"] = make_answer(status=503, headers=headers)
    (page,) = run(replace(source(), attempts=1), fetcher, limits=HarvestLimits(attempts=3))
    assert page.failure is FailureCategory.THROTTLED
    assert site.paths().count("/") == asked


def test_a_long_ban_is_not_sat_out(site, fetcher, make_answer):
    site.routes["/"] = make_answer(status=429, headers={"Retry-After": "3600"})
    (page,) = run(source(), fetcher)
    assert page.failure is FailureCategory.THROTTLED
    assert page.response is not None
    assert page.response.retry_after == 3600


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><head><title>Just a moment...</title></head></html>", "bot challenge"),
        (b"<html><body><div id='px-captcha'></div></body></html>", "captcha"),
        (b"<html><title>Sign in</title><form><input type=password name=p></form></html>", "login page"),
    ],
)
def test_a_wall_is_told_from_an_empty_page(site, fetcher, make_answer, body, words):
    site.routes["/"] = make_answer(body)
    (page,) = run(source(), fetcher)
    assert (page.failure, page.error) == (FailureCategory.BLOCKED, words)


def test_a_body_that_cannot_be_decoded_is_a_failure_of_that_page_only(site, fetcher, make_answer):
    site.routes["/"] = make_answer(b"\x1f\x8b\x08rubbish", headers={"Content-Encoding": "gzip"})
    site.routes["/good"] = make_answer(index_page(range(4)))
    pages = run(source({"index": {"urls": ["/", "/good"]}}), fetcher)
    assert [page.failure for page in pages] == [FailureCategory.DECODE, None]
    assert len(detail_urls(pages)) == 4


def test_secrets_stay_with_the_sources_own_origin(site, fetcher, make_answer):
    site.routes["/"] = make_answer(index_page(range(4)))
    run(source({"cookies": {"s": "geheim"}, "index": {"urls": ["/", "http://api.cars.example/"]}}), fetcher)
    cookies = {asked.host: "cookie" in asked.headers for asked in site.asked if asked.path == "/"}
    assert cookies == {"cars.example": True, "api.cars.example": False}
    assert all("cookie" not in asked.headers for asked in site.asked if asked.path == "/robots.txt")


def test_detail_urls_known_beforehand_need_no_index(site, fetcher):
    (page,) = run(source({"detail_urls": ["/car/1", "/car/2", "/car/1#photos"]}), fetcher)
    assert [url for url, _, _ in page.detail_urls] == [f"{BASE}/car/1", f"{BASE}/car/2"]
    assert page.is_last
    assert page.response is None


def sitemap(*urls: str, index: bool = False) -> bytes:
    outer, inner = ("sitemapindex", "sitemap") if index else ("urlset", "url")
    entries = "".join(f"<{inner}><loc>{url}</loc><lastmod>2026-02-01</lastmod></{inner}>" for url in urls)
    return f"<{outer}>{entries}</{outer}>".encode()


def test_sitemaps_are_found_through_robots_and_walked(site, fetcher, make_answer):
    site.routes["/robots.txt"] = make_answer(f"Sitemap: {BASE}/index.xml".encode())
    site.routes["/index.xml"] = make_answer(
        sitemap(
            f"{BASE}/a.xml.gz",
            f"{BASE}/b.xml",
            f"{BASE}/index.xml",
            "http://elsewhere.example/c.xml",
            "http://169.254.169.254/d.xml",
            index=True,
        )
    )
    site.routes["/a.xml.gz"] = make_answer(gzip.compress(sitemap(f"{BASE}/vehicle/1", f"{BASE}/about")))
    site.routes["/b.xml"] = make_answer(
        sitemap(f"{BASE}/vehicle/2", f"{BASE}/vehicle/1", "http://elsewhere.example/vehicle/3")
    )
    pages = run(source({"pagination": {"type": "sitemap", "sitemap_pattern": "/vehicle/"}}), fetcher)
    assert detail_urls(pages) == [f"{BASE}/vehicle/1", f"{BASE}/vehicle/2"]
    assert pages[1].detail_urls[0][2] == datetime(2026, 2, 1, tzinfo=UTC)
    assert site.paths() == ["/robots.txt", "/index.xml", "/a.xml.gz", "/b.xml"]
    assert pages[-1].is_last


def test_sitemaps_nested_for_ever_end(site, fetcher, make_answer):
    numbers = itertools.count()
    site.routes["/sitemap.xml"] = lambda _asked: make_answer(
        sitemap(f"{BASE}/sitemap.xml?n={next(numbers)}", index=True)
    )
    pages = run(source({"pagination": {"type": "sitemap"}}), fetcher)
    assert pages[-1].is_last
    assert len(pages) <= 5


def test_feeds_give_addresses_titles_and_dates(site, fetcher, make_answer):
    site.routes["/feed"] = make_answer(
        b"<rss><channel><item><title>2015 Ford Focus</title><link>/car/1</link>"
        b"<pubDate>Sun, 01 Feb 2026 00:00:00 GMT</pubDate></item></channel></rss>",
        headers={"Content-Type": "application/rss+xml"},
    )
    (page,) = run(source({"index": {"urls": ["/feed"]}, "pagination": {"type": "feed"}}), fetcher)
    assert page.detail_urls == [
        (f"{BASE}/car/1", {"url": f"{BASE}/car/1", "title": "2015 Ford Focus"}, datetime(2026, 2, 1, tzinfo=UTC))
    ]


def test_a_source_about_which_nothing_is_configured_is_followed_from_its_front_page(site, fetcher, make_answer):
    site.routes["/"] = make_answer(
        b'<a href="/about">About us</a><a href="/inventory">Our cars</a><a href="/login">Sign in</a>'
        b'<a href="http://elsewhere.example/inventory">Partner</a>'
    )
    site.routes["/inventory"] = lambda asked: make_answer(
        index_page(range(5, 8)) if "page=2" in asked.path else index_page(range(5), "/inventory?page=2")
    )
    pages = run(source({"rate_limit": {"requests_per_minute": 600}}), fetcher)
    assert len(detail_urls(pages)) == 8
    assert site.paths() == ["/robots.txt", "/", "/inventory", "/inventory?page=2"]


@pytest.mark.parametrize("piece", [b"<a ", b"<a href", b"<a href = '", b"<a href=' x", b"href     "])
def test_a_hostile_front_page_costs_little_time(piece):
    started = time.perf_counter()
    inventory_links(b"<a " + piece * (1_000_000 // len(piece)), BASE)
    assert time.perf_counter() - started < 3


def test_a_source_that_hangs_holds_up_no_other(site, fetcher, make_answer):
    def hang(asked):
        if asked.host == "slow.example":
            time.sleep(1.5)
        return make_answer(index_page(range(4)))

    site.routes["/"] = hang
    sources = [source(slug=f"s{i}", base_url=f"http://{'slow' if i == 0 else f's{i}'}.example") for i in range(20)]
    started = time.monotonic()
    arrived = {
        src.slug: (time.monotonic() - started, page)
        for src, page in harvest_many(sources, fetcher, robots=RobotsCache(), now_fn=lambda: NOW)
    }
    assert len(arrived) == 20
    assert max(at for slug, (at, _) in arrived.items() if slug != "s0") < 1.2
    assert all(page.is_last and len(page.cards) == 4 for _, page in arrived.values())


def test_one_source_can_be_stopped_while_others_go_on(site, fetcher, make_answer):
    site.routes["/"] = make_answer(index_page(range(4)))
    sources = [source(slug="a", base_url="http://a.example"), source(slug="b", base_url="http://b.example")]
    pages = {
        src.slug: page
        for src, page in harvest_many(
            sources, fetcher, robots=RobotsCache(), now_fn=lambda: NOW, should_stop=lambda src: src.slug == "a"
        )
    }
    assert pages["a"].stop_reason is StopReason.STOPPED
    assert len(pages["b"].cards) == 4


@pytest.fixture(scope="module")
def web():
    """A small simulated web."""
    with start_simweb(scale=0.2) as running:
        yield running


def found_on(web, fetcher, config_of) -> tuple[dict[str, int], dict[str, int]]:
    """Listings found and listings there, by site."""
    sites = {site["slug"]: site for site in web.get("/sites") if site["open"]}
    sources = [SourceToCrawl(slug, site["base_url"], config_of(site)) for slug, site in sites.items()]
    found: dict[str, set[str]] = {slug: set() for slug in sites}
    for src, page in harvest_many(sources, fetcher, robots=RobotsCache(), now_fn=lambda: NOW):
        found[src.slug].update(url for url, _, _ in page.detail_urls)
    return {slug: len(urls) for slug, urls in found.items()}, {slug: site["live_count"] for slug, site in sites.items()}


def test_every_site_of_the_simulated_web_is_harvested_whole(web, fetcher_for):
    found, there = found_on(web, fetcher_for(connect_to=()), lambda site: parse_source_config(site["suggested_config"]))
    assert found == there


def test_most_of_each_site_is_found_with_no_configuration_at_all(web, fetcher_for):
    found, there = found_on(web, fetcher_for(connect_to=()), lambda _site: parse_source_config({}))
    assert {slug: count for slug, count in found.items() if count < 0.9 * there[slug]} == {}
