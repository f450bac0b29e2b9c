"""Every fault the simulated web knows is told by its name, bounded in time, and healed when it is over."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from fill_pipeline.crawl.challenge import challenge
from fill_pipeline.crawl.config import parse_source_config
from fill_pipeline.crawl.fetch import (
    DecodeError,
    FailureCategory,
    Fetcher,
    FetchRequest,
    FetchResponse,
    FetchSettings,
    decode_body,
)
from fill_pipeline.crawl.harvest import HarvestLimits, SourceToCrawl, StopReason, harvest_many
from fill_pipeline.crawl.robots import RobotsCache
from fill_pipeline.simweb.handle import SimWeb, start_simweb

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def web() -> Iterator[SimWeb]:
    """A small simulated web."""
    with start_simweb(scale=0.1) as running:
        yield running


@pytest.fixture(scope="module")
def car(web: SimWeb) -> tuple[str, str]:
    """A dealer's slug and one of its detail pages."""
    slug = next(site["slug"] for site in web.get("/sites") if site["open"] and site["kind"] == "dealer")
    return slug, web.get(f"/truth?slug={slug}")[0]["url"]


@pytest.fixture(autouse=True)
def healthy(web: SimWeb, car: tuple[str, str]) -> Iterator[None]:
    """No fault outlives its test."""
    yield
    web.post("heal", slug=car[0])


@pytest.fixture
def ask(car: tuple[str, str]) -> Iterator:
    """Fetches the page with tight limits; keyword arguments change the request."""
    settings = FetchSettings(allow_nets=("127.0.0.0/8",), timeout=3.0, low_speed_time=1.0, max_bytes=2_000_000)
    with Fetcher(settings) as fetcher:
        yield lambda **options: fetcher.fetch(FetchRequest(url=car[1], **options))


@pytest.mark.parametrize(
    ("action", "options", "expected"),
    [
        ("block", {"style": "403"}, {FailureCategory.BLOCKED}),
        ("fail", {"status": 500}, {FailureCategory.HTTP_5XX}),
        ("fail", {"status": 502}, {FailureCategory.HTTP_5XX}),
        ("fail", {"status": 410}, {FailureCategory.GONE}),
        ("fail", {"status": 418}, {FailureCategory.HTTP_4XX}),
        ("hang", {"seconds": 20}, {FailureCategory.TIMEOUT}),
        ("slow", {"bytes_per_second": 50}, {FailureCategory.TIMEOUT}),
        ("truncate", {}, {FailureCategory.TRUNCATED, FailureCategory.PROTOCOL}),
        ("lie", {"header": "content-length"}, {FailureCategory.TRUNCATED, FailureCategory.PROTOCOL, None}),
        ("endless", {}, {FailureCategory.TOO_LARGE}),
        ("redirect_loop", {}, {FailureCategory.REDIRECT_LOOP}),
        ("redirect_to", {"url": "http://10.0.0.1/"}, {FailureCategory.BLOCKED_ADDRESS}),
        ("redirect_to", {"url": "http://169.254.169.254/latest/meta-data/"}, {FailureCategory.BLOCKED_ADDRESS}),
        ("redirect_to", {"url": "file:///etc/passwd"}, {FailureCategory.BAD_URL}),
        ("close", {}, {FailureCategory.CONNECT, FailureCategory.PROTOCOL}),
    ],
)
def test_each_fault_has_its_name_and_costs_bounded_time(web, car, ask, action, options, expected):
    assert ask().failure is None
    web.post(action, slug=car[0], **options)
    started = time.monotonic()
    response: FetchResponse = ask()
    assert time.monotonic() - started < 4.5
    assert response.failure in expected, response.error
    assert response.failure is None or response.error
    web.post("heal", slug=car[0])
    assert ask().failure is None


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_throttle_says_when_to_come_back(web, car, ask, form):
    web.post("throttle", slug=car[0], rps=0.001, retry_after=30, format=form)
    responses = [ask() for _ in range(3)]
    assert responses[-1].failure is FailureCategory.THROTTLED
    assert responses[-1].retry_after == pytest.approx(30, abs=2)


@pytest.mark.parametrize("style", ["captcha", "login"])
def test_a_wall_that_comes_with_status_200_is_seen(web, car, ask, style):
    assert challenge(decode_body(ask(), 10**6)) is None
    web.post("block", slug=car[0], style=style)
    response = ask()
    assert response.failure is FailureCategory.BLOCKED or challenge(decode_body(response, 10**6)) is not None


def test_a_bomb_does_not_go_off(web, car, ask):
    web.post("bomb", slug=car[0])
    response = ask()
    if response.failure is None:
        with pytest.raises(DecodeError) as caught:
            decode_body(response, 2_000_000)
        assert caught.value.too_large
    else:
        assert response.failure is FailureCategory.TOO_LARGE


def test_a_false_content_encoding_gives_the_page_or_a_decode_error(web, car, ask):
    web.post("lie", slug=car[0], header="encoding")
    body = b"<"
    with contextlib.suppress(DecodeError):
        body = decode_body(ask(), 10**6)
    assert b"<" in body


def test_an_unchanged_page_costs_almost_nothing(ask):
    first = ask()
    assert first.etag or first.last_modified
    again = ask(etag=first.etag, last_modified=first.last_modified)
    assert again.not_modified
    assert again.body_received == b""


def test_a_web_full_of_faults_is_harvested_all_the_same(web):
    sites = [site for site in web.get("/sites") if site["open"]]
    faults = [
        ("block", {"style": "403"}), ("hang", {"seconds": 30}), ("bomb", {}), ("endless", {}), ("redirect_loop", {}),
        ("truncate", {}), ("close", {}), ("block", {"style": "captcha"}), ("robots", {"status": 503}),
    ]  # fmt: skip
    broken = dict(zip((site["slug"] for site in sites), faults, strict=False))
    for slug, (action, options) in broken.items():
        web.post(action, slug=slug, **options)
    sources = [
        SourceToCrawl(site["slug"], site["base_url"], parse_source_config(site["suggested_config"])) for site in sites
    ]
    found: dict[str, int] = {}
    ends: dict[str, tuple[StopReason | None, FailureCategory | None]] = {}
    settings = FetchSettings(allow_nets=("127.0.0.0/8",), timeout=4.0, max_bytes=2_000_000)
    started = time.monotonic()
    with Fetcher(settings) as fetcher:
        limits = HarvestLimits(attempts=1)
        for source, page in harvest_many(sources, fetcher, robots=RobotsCache(), limits=limits, now_fn=lambda: NOW):
            found[source.slug] = found.get(source.slug, 0) + max(len(page.detail_urls), len(page.cards))
            if page.is_last:
                ends[source.slug] = (page.stop_reason, page.failure)
    for slug in broken:
        web.post("heal", slug=slug)
    assert time.monotonic() - started < 20
    assert ends.keys() == {site["slug"] for site in sites}
    for site in sites:
        reason, failure = ends[site["slug"]]
        if site["slug"] in broken:
            assert reason in (StopReason.FAILED, StopReason.ROBOTS), (site["slug"], reason)
            assert failure is not None
        else:
            assert (reason, failure) == (StopReason.END, None)
            assert found[site["slug"]] >= 0.9 * site["live_count"] - 1
