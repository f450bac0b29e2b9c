"""What a fetch promises, against a real server on loopback."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from fill_pipeline.crawl.fetch import (
    DecodeError,
    FailureCategory,
    Fetcher,
    FetchRequest,
    FetchSettings,
    decode_body,
)

PAGE = b"<html><title>A car</title>" + b"text " * 2000 + b"</html>"


def get(url: str, **options: object) -> FetchRequest:
    return FetchRequest(url=url, **options)  # type: ignore[arg-type]


def test_a_body_is_handed_over_as_received_and_decodes_to_the_page(site, fetcher, make_answer):
    site.routes["/car"] = make_answer(PAGE, zipped=True)
    response = fetcher.fetch(get("http://cars.example/car"))
    assert response.failure is None
    assert response.status == 200
    assert response.content_encoding == "gzip"
    assert response.body_received == gzip.compress(PAGE) or gzip.decompress(response.body_received) == PAGE
    assert len(response.body_received) < len(PAGE)
    assert decode_body(response, 10**6) == PAGE
    assert response.head.startswith(b"HTTP/1.1 200 Something\r\n")
    assert response.head.endswith(b"\r\n\r\n")
    assert ("Content-Encoding", "gzip") in response.headers


def test_the_user_agent_is_honest_and_names_a_contact(site, fetcher_for, make_answer):
    site.routes["/"] = make_answer(PAGE)
    fetcher_for(contact_url="https://example.org/bot").fetch(get("http://cars.example/"))
    assert site.asked[0].headers["user-agent"].startswith("fill_pipeline/")
    assert "(+https://example.org/bot)" in site.asked[0].headers["user-agent"]


def test_a_sources_own_user_agent_wins(site, fetcher, make_answer):
    site.routes["/"] = make_answer(PAGE)
    fetcher.fetch(get("http://cars.example/", headers={"User-Agent": "Own/1.0"}))
    assert site.asked[0].headers["user-agent"] == "Own/1.0"


def test_headers_and_cookies_reach_their_own_origin(site, fetcher, make_answer):
    site.routes["/"] = make_answer(PAGE)
    fetcher.fetch(get("http://cars.example/", headers={"X-Key": "k"}, cookies={"session": "s", "b": "2"}))
    assert site.asked[0].headers["x-key"] == "k"
    assert site.asked[0].headers["cookie"] == "session=s; b=2"


@pytest.mark.parametrize("target", ["http://other.example/", "http://cars.example:8080/", "http://sub.cars.example/"])
def test_secrets_never_follow_a_redirect_to_another_origin(site, fetcher, make_answer, make_redirect, target):
    site.routes["/go"] = make_redirect(target)
    site.routes["/"] = make_answer(PAGE)
    response = fetcher.fetch(
        get(
            "http://cars.example/go",
            headers={"Authorization": "Bearer t", "X-Api": "k", "Accept-Language": "de"},
            cookies={"session": "s"},
        )
    )
    assert response.failure is None
    assert response.final_url == target
    first, second = site.asked
    assert first.headers["authorization"] == "Bearer t"
    assert not {"authorization", "x-api", "cookie"} & second.headers.keys()
    assert second.headers["accept-language"] == "de"


def test_secrets_come_back_with_a_redirect_home(site, fetcher, make_answer, make_redirect):
    site.routes["/go"] = make_redirect("http://other.example/away")
    site.routes["/away"] = make_redirect("http://cars.example/")
    site.routes["/"] = make_answer(PAGE)
    fetcher.fetch(get("http://cars.example/go", cookies={"session": "s"}))
    assert [("cookie" in asked.headers) for asked in site.asked] == [True, False, True]


def test_secrets_named_for_another_origin_stay_at_home(site, fetcher, make_answer):
    site.routes["/"] = make_answer(PAGE)
    fetcher.fetch(get("http://elsewhere.example/", cookies={"s": "1"}, secret_origin="http://cars.example:80"))
    assert "cookie" not in site.asked[0].headers


def test_secrets_are_not_in_a_representation():
    request = get("http://cars.example/", cookies={"session": "geheim"}, headers={"Authorization": "geheim"})
    assert "geheim" not in repr(request) + str(request) + f"{request}"


def test_redirects_are_followed_and_kept(site, fetcher, make_answer, make_redirect):
    site.routes["/a"] = make_redirect("/b", 301)
    site.routes["/b"] = make_redirect("http://cars.example/c", 307)
    site.routes["/c"] = make_answer(PAGE)
    response = fetcher.fetch(get("http://cars.example/a"))
    assert response.final_url == "http://cars.example/c"
    assert response.redirects == ["http://cars.example/a", "http://cars.example/b"]


def test_a_redirect_circle_ends(site, fetcher, make_redirect):
    site.routes["/a"] = make_redirect("/b")
    site.routes["/b"] = make_redirect("/a")
    assert fetcher.fetch(get("http://cars.example/a")).failure is FailureCategory.REDIRECT_LOOP
    assert len(site.asked) == 2


def test_a_redirect_by_steps_is_given_back_as_the_request_to_send_next(site, fetcher, make_answer, make_redirect):
    site.routes["/a"] = make_answer(status=302, headers={"Location": "/b", "Set-Cookie": "seen=1"})
    site.routes["/b"] = make_redirect("http://other.example/c")
    site.routes["/c"] = make_answer(PAGE)
    response = fetcher.fetch(get("http://cars.example/a", cookies={"session": "s"}, etag='"1"', by_steps=True))
    for at, target in enumerate(["http://cars.example/b", "http://other.example/c"]):
        assert len(site.asked) == at + 1, "nothing is asked for unless it is sent"
        assert not response.ok
        assert response.onward.url == target
        response = fetcher.fetch(response.onward)
    assert response.ok
    assert response.onward is None
    assert response.redirects == ["http://cars.example/a", "http://cars.example/b"]
    assert [asked.headers.get("cookie") for asked in site.asked] == ["session=s", "session=s; seen=1", None]
    assert [("if-none-match" in asked.headers) for asked in site.asked] == [True, False, False]


def test_a_redirect_circle_ends_by_steps_too(site, fetcher, make_redirect):
    site.routes["/a"] = make_redirect("/b")
    site.routes["/b"] = make_redirect("/a")
    response = fetcher.fetch(get("http://cars.example/a", by_steps=True))
    assert fetcher.fetch(response.onward).failure is FailureCategory.REDIRECT_LOOP
    assert len(site.asked) == 2


def test_a_redirect_to_this_network_is_refused_before_anything_is_asked_of_it(site, fetcher, make_redirect):
    site.routes["/a"] = make_redirect("http://169.254.169.254/latest/meta-data/")
    response = fetcher.fetch(get("http://cars.example/a", by_steps=True))
    assert (response.failure, response.onward) == (FailureCategory.BLOCKED_ADDRESS, None)


def test_a_site_that_tests_for_cookies_on_the_way_is_satisfied(site, fetcher, make_answer):
    def page(asked):
        if "seen=1" in asked.headers.get("cookie", ""):
            return make_answer(PAGE)
        return make_answer(status=302, headers={"Location": "/", "Set-Cookie": "seen=1; Path=/; HttpOnly"})

    site.routes["/"] = page
    response = fetcher.fetch(get("http://cars.example/", cookies={"own": "x"}))
    assert response.failure is None
    assert site.asked[1].headers["cookie"] == "own=x; seen=1"
    fetcher.fetch(get("http://cars.example/"))
    assert "cookie" not in site.asked[2].headers


def test_a_cookie_set_on_the_way_goes_to_no_other_origin(site, fetcher, make_answer):
    site.routes["/go"] = make_answer(
        status=302, headers={"Location": "http://other.example/", "Set-Cookie": "seen=1; Domain=example"}
    )
    site.routes["/"] = make_answer(PAGE)
    fetcher.fetch(get("http://cars.example/go"))
    assert "cookie" not in site.asked[1].headers


def test_ever_new_cookies_do_not_make_an_endless_chain(site, fetcher, make_answer):
    numbers = itertools.count()
    site.routes["/"] = lambda _asked: make_answer(
        status=302, headers={"Location": "/", "Set-Cookie": f"n{next(numbers)}=1"}
    )
    assert fetcher.fetch(get("http://cars.example/")).failure is FailureCategory.REDIRECT_LOOP
    assert len(site.asked) <= 10


def test_endless_redirects_end(site, fetcher_for, make_redirect):
    numbers = itertools.count()
    site.routes["/a"] = lambda _asked: make_redirect(f"/a?n={next(numbers)}")
    response = fetcher_for(max_redirects=5).fetch(get("http://cars.example/a"))
    assert response.failure is FailureCategory.REDIRECT_LOOP
    assert len(site.asked) == 6


@pytest.mark.parametrize("location", ["ftp://cars.example/x", "javascript:alert(1)", "file:///etc/passwd", "http://"])
def test_a_redirect_to_no_page_is_a_failure(site, fetcher, make_redirect, location):
    site.routes["/a"] = make_redirect(location)
    response = fetcher.fetch(get("http://cars.example/a"))
    assert response.failure in (FailureCategory.BAD_URL, FailureCategory.REDIRECT_LOOP)
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://any.localhost:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://[fe80::1]/",
    ],
)
def test_private_addresses_are_never_connected_to(site, make_answer, url):
    site.routes["/"] = make_answer(PAGE)
    with Fetcher(FetchSettings(timeout=3.0)) as fetcher:
        response = fetcher.fetch(get(url.format(port=site.port)))
    assert response.failure is FailureCategory.BLOCKED_ADDRESS
    assert site.asked == []


def test_a_name_that_resolves_to_a_private_address_is_refused_at_connect_time(site, make_answer):
    site.routes["/"] = make_answer(PAGE)
    with Fetcher(FetchSettings(connect_to=site.connect_to, timeout=3.0)) as fetcher:
        response = fetcher.fetch(get("http://innocent.example/"))
    assert response.failure is FailureCategory.BLOCKED_ADDRESS
    assert "127.0.0.1" in (response.error or "")
    assert site.asked == []


def test_a_redirect_to_a_private_address_is_refused(site, fetcher, make_redirect):
    site.routes["/a"] = make_redirect("http://169.254.169.254/latest/meta-data/")
    response = fetcher.fetch(get("http://cars.example/a"))
    assert response.failure is FailureCategory.BLOCKED_ADDRESS


def test_a_proxy_in_the_environment_is_not_used(site, fetcher, make_answer, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    site.routes["/"] = make_answer(PAGE)
    assert fetcher.fetch(get("http://cars.example/")).failure is None


def test_a_gzip_bomb_is_bounded(site, fetcher, make_answer):
    bomb = gzip.compress(b"\0" * 20_000_000)
    site.routes["/"] = make_answer(bomb, headers={"Content-Encoding": "gzip"})
    response = fetcher.fetch(get("http://cars.example/"))
    with pytest.raises(DecodeError) as caught:
        decode_body(response, 1_000_000)
    assert caught.value.too_large


def test_an_endless_body_is_cut_off(site, fetcher_for):
    def endless(_asked):
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
        while True:
            yield b"x" * 65536

    site.routes["/"] = endless
    response = fetcher_for(max_bytes=500_000).fetch(get("http://cars.example/"))
    assert response.failure is FailureCategory.TOO_LARGE
    assert len(response.body_received) < 1_000_000


def test_a_body_announced_too_large_is_not_read(site, fetcher):
    site.routes["/"] = [b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n", b"x" * 100]
    assert fetcher.fetch(get("http://cars.example/")).failure is FailureCategory.TOO_LARGE


def test_a_slow_drip_is_cut_off(site, fetcher_for):
    def drip(_asked):
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        for _ in range(200):
            time.sleep(0.05)
            yield b"x"

    site.routes["/"] = drip
    started = time.monotonic()
    response = fetcher_for(low_speed_time=1.0, timeout=8.0).fetch(get("http://cars.example/"))
    assert response.failure is FailureCategory.TIMEOUT
    assert time.monotonic() - started < 5


def test_silence_times_out(site, fetcher):
    def silent(_asked):
        time.sleep(2)
        yield b""

    site.routes["/"] = silent
    started = time.monotonic()
    assert fetcher.fetch(get("http://cars.example/", timeout=0.5)).failure is FailureCategory.TIMEOUT
    assert time.monotonic() - started < 1.5


def test_a_redirect_does_not_renew_the_time_allowed(site, fetcher, make_redirect):
    numbers = itertools.count()

    def late(_asked):
        time.sleep(0.3)
        return make_redirect(f"/?{next(numbers)}")

    site.routes["/"] = late
    started = time.monotonic()
    assert fetcher.fetch(get("http://cars.example/", timeout=0.8)).failure is FailureCategory.TIMEOUT
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"X-H%d: %s\r\n" % (i, b"v" * 100) for i in range(20_000)),
        b"X-Long: " + b"v" * 2_000_000 + b"\r\n",
    ],
)
def test_a_header_flood_is_refused(site, fetcher, flood):
    site.routes["/"] = [b"HTTP/1.1 200 OK\r\n", flood, b"Content-Length: 0\r\n\r\n"]
    response = fetcher.fetch(get("http://cars.example/"))
    assert response.failure in (FailureCategory.TOO_LARGE, FailureCategory.PROTOCOL)
    assert len(response.head) < 1_000_000


def test_a_body_shorter_than_announced_is_truncated(site, fetcher):
    site.routes["/"] = [b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x" * 100]
    response = fetcher.fetch(get("http://cars.example/"))
    assert response.failure is FailureCategory.TRUNCATED
    assert response.body_received == b"x" * 100


def test_a_body_longer_than_announced_does_not_spoil_the_next_answer(site, fetcher, make_answer):
    site.routes["/lie"] = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    )
    site.routes["/"] = make_answer(PAGE)
    assert fetcher.fetch(get("http://cars.example/lie")).body_received == b"hello"
    assert fetcher.fetch(get("http://cars.example/")).body_received == PAGE


def test_chunked_bodies_arrive_whole_and_torn_ones_are_told(site, fetcher):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    site.routes["/whole"] = head + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    site.routes["/torn"] = [head + b"5\r\nhello\r\nff\r\n wor"]
    assert fetcher.fetch(get("http://cars.example/whole")).body_received == b"hello world"
    assert fetcher.fetch(get("http://cars.example/torn")).failure in (
        FailureCategory.TRUNCATED,
        FailureCategory.PROTOCOL,
    )


@pytest.mark.parametrize("rubbish", [b"", b"\0\1\2rubbish\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", b"HTTP/9.9 banana\r\n\r\n"])
def test_rubbish_is_a_protocol_failure(site, fetcher, rubbish):
    site.routes["/"] = [rubbish]
    assert fetcher.fetch(get("http://cars.example/")).failure is FailureCategory.PROTOCOL


def test_nobody_there_is_a_connect_failure(fetcher_for, dead_port):
    fetcher = fetcher_for(connect_to=(f"*::127.0.0.1:{dead_port}",))
    assert fetcher.fetch(get("http://cars.example/")).failure is FailureCategory.CONNECT


def test_an_unknown_name_is_a_dns_failure():
    with Fetcher(FetchSettings(timeout=5.0)) as fetcher:
        assert fetcher.fetch(get("http://no-such-host.invalid/")).failure is FailureCategory.DNS


@pytest.mark.parametrize(
    "url", ["", "cars", "ftp://cars.example/", "http://", "http://a b/", "http://x:99999/", "file:///etc/passwd"]
)
def test_what_is_no_url_is_told_so(fetcher, url):
    assert fetcher.fetch(get(url)).failure in (FailureCategory.BAD_URL, FailureCategory.BLOCKED_ADDRESS)


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (200, None),
        (204, None),
        (304, None),
        (400, FailureCategory.HTTP_4XX),
        (401, FailureCategory.BLOCKED),
        (403, FailureCategory.BLOCKED),
        (404, FailureCategory.GONE),
        (410, FailureCategory.GONE),
        (429, FailureCategory.THROTTLED),
        (451, FailureCategory.BLOCKED),
        (500, FailureCategory.HTTP_5XX),
        (503, FailureCategory.THROTTLED),
    ],
)
def test_each_status_has_its_meaning(site, fetcher, make_answer, status, failure):
    site.routes["/"] = make_answer(status=status)
    response = fetcher.fetch(get("http://cars.example/"))
    assert (response.status, response.failure) == (status, failure)


def test_a_challenge_header_means_blocked(site, fetcher, make_answer):
    site.routes["/"] = make_answer(status=503, headers={"cf-mitigated": "challenge"})
    assert fetcher.fetch(get("http://cars.example/")).failure is FailureCategory.BLOCKED


@pytest.mark.parametrize(
    ("status", "headers", "failure"),
    [
        (429, {"Retry-After": "7"}, FailureCategory.THROTTLED),
        (503, {"Retry-After": "7"}, FailureCategory.THROTTLED),
        (404, {}, FailureCategory.GONE),
        (403, {}, FailureCategory.BLOCKED),
    ],
)
def test_a_guard_that_marks_every_answer_hides_neither_silence_asked_for_nor_what_is_gone(
    site, fetcher, make_answer, status, headers, failure
):
    site.routes["/"] = make_answer(status=status, headers={"X-DataDome": "protected", **headers})
    response = fetcher.fetch(get("http://cars.example/"))
    assert (response.failure, response.retry_after) == (failure, 7 if headers else None)


def test_retry_after_is_read_in_seconds_and_as_a_date(site, fetcher, make_answer):
    now = datetime.now(UTC).replace(microsecond=0)
    dates = {
        "Date": format_datetime(now, usegmt=True),
        "Retry-After": format_datetime(now + timedelta(seconds=90), usegmt=True),
    }
    site.routes["/s"] = make_answer(status=429, headers={"Retry-After": "17"})
    site.routes["/d"] = make_answer(status=503, headers=dates)
    site.routes["/junk"] = make_answer(status=429, headers={"Retry-After": "soon"})
    site.routes["/far"] = make_answer(status=429, headers={"Retry-After": "99999999999"})
    assert fetcher.fetch(get("http://cars.example/s")).retry_after == 17
    assert fetcher.fetch(get("http://cars.example/d")).retry_after == 90
    assert fetcher.fetch(get("http://cars.example/junk")).retry_after is None
    assert fetcher.fetch(get("http://cars.example/far")).retry_after == 86_400


def test_conditional_requests_are_sent_and_understood(site, fetcher, make_answer):
    def page(asked):
        if asked.headers.get("if-none-match") == '"v1"':
            return b'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\n\r\n'
        return make_answer(PAGE, headers={"ETag": '"v1"', "Last-Modified": "Mon, 02 Mar 2026 10:00:00 GMT"})

    site.routes["/"] = page
    first = fetcher.fetch(get("http://cars.example/"))
    assert (first.etag, first.last_modified) == ('"v1"', "Mon, 02 Mar 2026 10:00:00 GMT")
    second = fetcher.fetch(get("http://cars.example/", etag=first.etag, last_modified=first.last_modified))
    assert second.not_modified
    assert second.failure is None
    assert not second.ok
    assert site.asked[1].headers["if-modified-since"] == "Mon, 02 Mar 2026 10:00:00 GMT"


def test_requests_start_at_their_time_and_not_before(site, fetcher, make_answer):
    site.routes["/"] = make_answer(PAGE)
    start = time.monotonic()
    responses = list(
        fetcher.fetch_many(get(f"http://cars.example/?{i}", not_before=start + 0.1 * i) for i in reversed(range(5)))
    )
    assert all(response.failure is None for response in responses)
    assert [asked.path for asked in site.asked] == [f"/?{i}" for i in range(5)]
    for i, asked in enumerate(site.asked):
        assert asked.at - start >= 0.1 * i
        assert asked.at - start < 0.1 * i + 0.5


def test_many_pages_all_come_back_once_each_with_its_own_body(site, fetcher_for, make_answer):
    site.routes["/"] = lambda asked: make_answer(
        asked.path.encode() + asked.host.encode(), zipped=len(asked.path) % 2 == 0
    )
    fetcher = fetcher_for(max_connections=16)
    requests = [get(f"http://h{i % 7}.example/?page={i}", tag=i) for i in range(300)]
    seen = {}
    for response in fetcher.fetch_many(requests):
        seen[response.request.tag] = decode_body(response, 10_000)
    assert seen == {i: f"/?page={i}h{i % 7}.example".encode() for i in range(300)}


def test_connections_are_reused(site, fetcher, make_answer):
    site.routes["/"] = make_answer(PAGE)
    started = time.monotonic()
    for i in range(50):
        assert fetcher.fetch(get(f"http://cars.example/?{i}")).failure is None
    assert time.monotonic() - started < 5


def test_poll_returns_at_once_when_there_is_nothing_to_wait_for(fetcher):
    started = time.monotonic()
    assert fetcher.poll(5.0) == []
    assert time.monotonic() - started < 0.5


def test_one_fetch_among_many_loses_no_answer_of_the_others(site, fetcher, make_answer):
    site.routes["/"] = make_answer(PAGE)
    for i in range(60):
        fetcher.submit(get(f"http://h{i % 9}.example/?{i}", tag=i))
    assert fetcher.fetch(get("http://cars.example/", tag="one")).request.tag == "one"
    tags = set()
    while fetcher.in_flight:
        tags.update(response.request.tag for response in fetcher.poll(1.0))
    assert tags == set(range(60))


def test_waiting_costs_no_processor_time(site, fetcher, make_answer):
    site.routes["/"] = make_answer(PAGE)
    fetcher.submit(get("http://cars.example/", not_before=time.monotonic() + 0.8))
    used = time.thread_time()
    responses = []
    while fetcher.in_flight:
        responses += fetcher.poll(5.0)
    assert responses[0].failure is None
    assert time.thread_time() - used < 0.1


def test_connections_are_closed_with_the_fetcher(site, fetcher_for, make_answer):
    site.routes["/"] = make_answer(PAGE)
    before = len(os.listdir("/proc/self/fd"))
    fetcher = fetcher_for(idle_connections=20)
    for _ in fetcher.fetch_many(get(f"http://h{i}.example/") for i in range(150)):
        pass
    assert len(os.listdir("/proc/self/fd")) - before < 150  # both ends of a connection are in this process
    fetcher.close()
    time.sleep(0.2)
    assert len(os.listdir("/proc/self/fd")) <= before + 5


@pytest.mark.parametrize("value", ["zürich", "\u6771\u4eac"])
def test_a_header_outside_ascii_is_sent(site, fetcher, make_answer, value):
    site.routes["/"] = make_answer(PAGE)
    response = fetcher.fetch(get("http://cars.example/", headers={"X-City": value}, cookies={"city": value}))
    assert response.failure is None
    sent = site.asked[0].headers["x-city"].encode("latin-1")
    assert value.encode() == sent or value.encode("latin-1", "ignore") == sent


def test_abort_gives_back_what_was_not_answered(site, fetcher, make_answer):
    def slow(_asked):
        time.sleep(1)
        return make_answer(PAGE)

    site.routes["/slow"] = slow
    site.routes["/"] = make_answer(PAGE)
    fetcher.submit(get("http://cars.example/slow", tag="flying"))
    fetcher.submit(get("http://cars.example/", tag="later", not_before=time.monotonic() + 60))
    fetcher.poll(0.1)
    started = time.monotonic()
    assert {request.tag for request in fetcher.abort()} == {"flying", "later"}
    assert time.monotonic() - started < 0.5
    assert fetcher.in_flight == 0
    assert fetcher.fetch(get("http://cars.example/")).failure is None


def test_a_smuggled_line_break_in_a_header_is_refused(site, fetcher):
    response = fetcher.fetch(get("http://cars.example/", headers={"X-A": "1\r\nX-B: 2"}))
    assert response.failure is FailureCategory.BAD_URL
    assert site.asked == []


def test_a_line_break_in_a_url_cannot_smuggle_a_request(site, fetcher, make_answer):
    site.routes["/"] = make_answer(PAGE)
    fetcher.fetch(get("http://cars.example/?a=1\r\nX-Evil: 1"))
    assert all("x-evil" not in asked.headers for asked in site.asked)


def test_no_damaged_answer_breaks_the_fetcher(site, fetcher, make_answer):
    import random

    source = random.Random(3)
    whole = make_answer(PAGE, zipped=True, headers={"ETag": '"x"', "Location": "/next", "Retry-After": "5"})

    def damaged(_asked):
        data = bytearray(whole)
        for _ in range(source.randrange(1, 6)):
            place = source.randrange(min(len(data), 200))
            match source.randrange(3):
                case 0:
                    data[place] = source.randrange(256)
                case 1:
                    del data[place : place + source.randrange(20)]
                case _:
                    data[place:place] = source.randbytes(source.randrange(10))
        return [bytes(data)]

    site.routes["/"] = damaged
    requests = [get(f"http://cars.example/?{i}", timeout=1.0, tag=i) for i in range(300)]
    tags = []
    for response in fetcher.fetch_many(requests):
        tags.append(response.request.tag)
        with contextlib.suppress(DecodeError):
            decode_body(response, 100_000)
    assert sorted(tags) == list(range(300))


def test_memory_stays_flat_over_thousands_of_pages(site, fetcher, make_answer):
    import resource

    site.routes["/"] = make_answer(os.urandom(20_000))
    for _ in fetcher.fetch_many(get(f"http://cars.example/?{i}") for i in range(300)):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in fetcher.fetch_many(get(f"http://cars.example/?{i}") for i in range(1500)):
        pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 15_000  # KiB; the bodies were 30 MB
