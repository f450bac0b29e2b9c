"""What the page may point a browser to."""

from __future__ import annotations

from ipaddress import ip_network
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.dashboard.links import Dagster, outside_url

RUN = "7f2c1e5a-0b1d-4c5e-9a57-3d1f5c2b8e90"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.jpg",
        "http://images.example.co.uk:8080/x?y=1",
        "https://8.8.8.8/a.png",
        "https://пример.com/",
    ],
)
def test_addresses_of_the_open_web_are_kept(url: str) -> None:
    assert outside_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//example.com/x", "/x", "", None,
        "http://127.0.0.1/x", "http://localhost/x", "http://a.localhost/x", "http://[::1]/x", "http://10.0.0.1/x",
        "http://169.254.169.254/latest/meta-data", "http://[::ffff:127.0.0.1]/", "http://2130706433/", "http://0x7f.1/",
        "http://127.1/", "http://router/", "http://nas.local/", "http://user:secret@example.com/", "http://example.com:0/",
        "http://example.com:99999/", "http://exam\nple.com/", "https://example.com\\@evil.example/", "http://[/",
    ],
)  # fmt: skip
def test_other_addresses_are_not(url: str | None) -> None:
    assert outside_url(url) is None


def test_a_permitted_network_is_let_through() -> None:
    loopback = (ip_network("127.0.0.0/8"),)
    assert outside_url("http://127.0.0.1:8801/photos/1.png", loopback)
    assert outside_url("http://cars.localhost:8801/photos/1.png", loopback)
    assert outside_url("http://10.0.0.1/x", loopback) is None


@given(st.text(max_size=80), st.sampled_from(["", "http://", "https://", "javascript:", "HTTP://"]))
def test_whatever_it_is_given_it_answers_with_the_same_web_address_or_none(text: str, scheme: str) -> None:
    url = outside_url(scheme + text)
    assert url is None or (url == scheme + text and urlsplit(url).scheme in ("http", "https"))


def test_without_a_dagster_ui_there_are_no_links_to_it() -> None:
    assert Dagster(None).asset("vehicles") is None
    assert Dagster(None).run(RUN) is None


def test_only_a_run_of_dagster_is_linked() -> None:
    assert Dagster("http://dagster/").run(RUN) == f"http://dagster/runs/{RUN}"
    for other in (None, "", "by hand", "../x", RUN + "/.."):
        assert Dagster("http://dagster/").run(other) is None
