"""A source's configuration: what is accepted, and what is said about what is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.crawl.choices import DetailPolicy, PaginationType, RobotsPolicy, SourceKind
from fill_pipeline.crawl.config import ConfigError, SourceConfig, parse_source_config
from fill_pipeline.crawl.source_files import load_source_file

EXAMPLE = {
    "headers": {
        "User-Agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) ...",
        "Accept": "application/json",
        "Accept-Language": "en-US,en;q=0.9",
    },
    "cookies": {"session_id": "abc123...", "location_preference": "92705"},
    "rate_limit": {"requests_per_minute": 10, "delay_between_requests_ms": 2000},
    "pagination": {"type": "cursor", "cursor_param": "next_cursor"},
}


def problems(config: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_source_config(config)  # type: ignore[arg-type]
    return caught.value.lines


def test_the_documented_example_loads_as_it_stands():
    config = parse_source_config(json.dumps(EXAMPLE))
    assert config.pagination.type is PaginationType.CURSOR
    assert config.pagination.cursor_param == "next_cursor"
    assert config.request_cookies() == EXAMPLE["cookies"]
    assert config.request_headers() == EXAMPLE["headers"]
    assert config.delay_seconds == 6.0


def test_an_empty_configuration_has_the_documented_defaults():
    config = parse_source_config({})
    assert config.delay_seconds == 2.0
    assert config.rate_limit.max_concurrency == 4
    assert config.robots is RobotsPolicy.OBEY
    assert config.pagination.type is PaginationType.NEXT_LINK
    assert config.detail is DetailPolicy.IF_INCOMPLETE
    assert (config.revisit_hours, config.limits.max_listings_per_run) == (24, 100_000)
    assert config.extract_rules() is None


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [
        ({"requests_per_minute": 10, "delay_between_requests_ms": 9000}, 9.0),
        ({"requests_per_minute": 10, "delay_between_requests_ms": 10}, 6.0),
        ({"requests_per_minute": 600}, 0.1),
        ({"delay_between_requests_ms": 100}, 0.1),
        ({}, 2.0),
    ],
)
def test_the_slower_of_the_two_rates_wins(rate, seconds):
    assert parse_source_config({"rate_limit": rate}).delay_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            {"pagination": {"type": "cursr"}},
            "pagination.type: 'cursr' is not one of none, page, offset, cursor, next_link, sitemap, feed",
        ),
        ({"detail": "sometimes"}, "detail: 'sometimes' is not one of never, if_incomplete, always"),
        ({"robots": True}, "robots: True is not one of obey, ignore"),
        ({"pagination": {"typ": "page"}}, "pagination.typ: is not a known key; known are type, page_param"),
        ({"paginaton": {}}, "paginaton: is not a known key; known are headers, cookies"),
        ({"rate_limit": {"requests_per_minute": 0}}, "rate_limit.requests_per_minute: 0 "),
        ({"index": {"urls": ["/a", "ftp://x/"]}}, "index.urls.1: 'ftp://x/' must be a path or start with http"),
        ({"index": {"link_pattern": "(("}}, "index.link_pattern: '((' is not a regular expression"),
        ({"index": {"link_selector": "a[["}}, "index.link_selector: 'a[[' is not a CSS selector"),
        ({"index": {"url_template": "/x"}}, "index.url_template: '/x' names no key of the record"),
        ({"pagination": {"cursor_path": "a..b"}}, "pagination.cursor_path: 'a..b' is not a JMESPath expression"),
        ({"rules": {"detail": {"price": {"csss": "x"}}}}, "rules.detail.price.csss: is not a known key; known are css"),
        (
            {"rules": {"card": {"pricee": {"css": "x"}}}},
            "rules.card.pricee: 'pricee' is not a field of a listing; known",
        ),
        ({"auth": {"type": "bearer"}}, "auth.token_env: is missing"),
        ({"limits": 5}, "limits: 5 is not accepted"),
        ([], "config: [] is not an object"),
        ("{", "config: is not JSON"),
    ],
)
def test_a_bad_field_is_named_with_value_and_cure(config, line):
    assert any(found.startswith(line) for found in problems(config)), problems(config)


def test_every_problem_is_told_at_once():
    assert len(problems({"detail": "x", "robots": "y", "limits": {"max_bytes": -1}})) == 3


@pytest.mark.parametrize(
    "config",
    [
        {"cookies": {"session": "geheim\n"}},
        {"cookies": {"session": ["geheim"]}},
        {"headers": {"Authorization": {"geheim": 1}}},
        {"headers": {"Authorization": "geheim\r\nX: 1"}},
        {"auth": {"type": "geheim", "token_env": "X"}},
        {"headers": {"bad name": "geheim"}},
    ],
)
def test_a_secret_is_never_in_an_error(config):
    assert "geheim" not in "\n".join(problems(config))


def test_a_secret_is_never_in_a_representation():
    config = parse_source_config(
        {"cookies": {"s": "geheim"}, "headers": {"Authorization": "Bearer geheim", "Accept": "text/html"}}
    )
    shown = json.dumps(config.redacted())
    for text in (repr(config), str(config), f"{config.cookies}", config.model_dump_json(), shown):
        assert "geheim" not in text
    assert "text/html" in shown


def test_a_token_comes_from_the_environment(monkeypatch):
    config = parse_source_config({"auth": {"type": "bearer", "token_env": "SITE_TOKEN"}})
    assert "Authorization" not in config.request_headers()
    monkeypatch.setenv("SITE_TOKEN", "t0ken")
    assert config.request_headers()["Authorization"] == "Bearer t0ken"


def test_a_user_and_password_are_encoded(monkeypatch):
    config = parse_source_config({"auth": {"type": "basic", "token_env": "SITE_TOKEN"}})
    monkeypatch.setenv("SITE_TOKEN", "ann:s3cret")
    assert config.request_headers()["Authorization"] == "Basic YW5uOnMzY3JldA=="
    monkeypatch.setenv("SITE_TOKEN", "YW5uOnMzY3JldA==")
    assert config.request_headers()["Authorization"] == "Basic YW5uOnMzY3JldA=="


def test_rules_are_handed_to_extraction():
    config = parse_source_config(
        {
            "index": {"items_path": "data.items", "link_pattern": r"/car/\d+", "url_template": "/car/{id}"},
            "pagination": {"next_selector": "a.next"},
            "rules": {"detail": {"price": {"css": ".price", "attr": "content"}}, "card": {"title": {"css": "h3"}}},
        }
    )
    rules = config.extract_rules()
    assert rules is not None
    assert rules.items_path == "data.items"
    assert rules.next_selector == "a.next"
    assert (rules.detail["price"].css, rules.detail["price"].attr) == (".price", "content")
    assert rules.card["title"].css == "h3"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*SourceConfig.model_fields, "type", "urls", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_accepted_or_refused_in_words(data):
    lines = ["accepted: as it is"]
    try:
        parse_source_config(data)
    except ConfigError as error:
        lines = error.lines
    assert lines
    assert all(": " in line for line in lines)


def test_sources_are_read_from_yaml(tmp_path):
    file = tmp_path / "sources.yaml"
    file.write_text(
        """
- name: harbor_motors
  kind: dealer
  base_url: https://harbor.example
  note: a note
  expected_count: 120
  config:
    cookies: {zip: 92705}
    pagination: {type: sitemap, sitemap_pattern: /vehicle/}
- name: trader
  kind: marketplace
  base_url: https://trader.example
  active: false
""",
        encoding="utf-8",
    )
    harbor, trader = load_source_file(file)
    assert (harbor.name, harbor.kind, harbor.expected_count) == ("harbor_motors", SourceKind.DEALER, 120)
    assert harbor.config.request_cookies() == {"zip": "92705"}
    assert trader.active is False
    file.write_text("sources:\n- {name: a, kind: feed, base_url: 'http://a.example'}\n", encoding="utf-8")
    assert [source.name for source in load_source_file(file)] == ["a"]
    file.write_text("", encoding="utf-8")
    assert load_source_file(file) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "- name: a\n  kind: dealr\n  base_url: http://a.example\n",
            "bad.yaml:2: kind: 'dealr' is not one of marketplace,",
        ),
        (
            "- name: a\n  kind: dealer\n  base_url: http://a.example\n  config:\n    pagination:\n      type: pag\n",
            "bad.yaml:6: config.pagination.type: 'pag' is not one of none, page,",
        ),
        ("- name: a\n  kind: dealer\n", "bad.yaml:1: base_url: is missing"),
        ("- name: a\n  kind: dealer\n  base_url: cars\n", "bad.yaml:3: base_url: 'cars'"),
        ("- name: a\n  name: b\n  kind: dealer\n  base_url: http://a.example\n", "bad.yaml:2: 'name' is written twice"),
        (
            "- name: a\n  kind: dealer\n  base_url: http://a.example\n  colour: red\n",
            "bad.yaml:4: colour: is not a known key",
        ),
        ("- just text\n", "bad.yaml:1: source: 'just text'"),
        ("{a: 1}", "bad.yaml:1: the only key at the top is 'sources'"),
        ("a: [", "bad.yaml: is not YAML"),
        ("text", "bad.yaml:1: is not a list of sources"),
    ],
)
def test_a_bad_source_file_is_told_with_its_line(tmp_path, text, line):
    file = tmp_path / "bad.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_source_file(file)
    assert any(found.startswith(line) for found in caught.value.lines), caught.value.lines
