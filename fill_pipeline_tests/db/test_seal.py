"""Cookies and authorisation never lie in the database as plain text, once there is a key."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.crawl.config import ConfigError, parse_source_config
from fill_pipeline.db import registry
from fill_pipeline.db.seal import KEY_VARIABLE, reveal, seal_config
from fill_pipeline.drain.work import load_sources

KEY = "a key of forty characters for these tests"
CONFIG = {
    "headers": {"Authorization": "Bearer hush-1", "Accept-Language": "de"},
    "cookies": {"session": "hush-2"},
    "revisit_hours": 12,
}


@pytest.fixture
def key(monkeypatch) -> str:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    return KEY


def stored(conn) -> str:
    rows = conn.execute("SELECT config FROM scrape_sources UNION ALL SELECT config FROM source_config_versions")
    return orjson.dumps([row[0] for row in rows]).decode()


def declare(conn) -> registry.SourceRow:
    return registry.declare_source(conn, name="cars", base_url="http://cars.example", config=CONFIG, kind="dealer")


def test_a_declared_secret_is_sealed_and_sent_as_it_was(conn, key):
    declare(conn)
    assert "hush" not in stored(conn)
    assert "de" in stored(conn)
    source = next(iter(load_sources(conn).values()))
    assert source.config.request_headers() == CONFIG["headers"]
    assert source.config.request_cookies() == CONFIG["cookies"]


@pytest.mark.parametrize(
    "name",
    ["Api-Key", "X-Access-Token", "Ocp-Apim-Subscription-Key", "X-Client-Secret", "X-Amz-Signature"],
)
def test_a_header_that_holds_a_key_is_sealed_and_shown_to_nobody_whatever_its_name(key, name):
    config = {"headers": {name: "hush-3", "Referer": "https://cars.example/"}}
    sealed = orjson.dumps(seal_config(config)).decode()
    assert "hush-3" not in sealed
    assert "https://cars.example/" in sealed
    shown = parse_source_config(config).redacted()["headers"]
    assert shown[name] != "hush-3"
    assert shown["Referer"] == "https://cars.example/"


def test_declaring_it_again_is_no_new_version(conn, key):
    assert declare(conn).config_version == declare(conn).config_version == 1


def test_secrets_written_by_sql_are_sealed_with_their_past_versions(conn, monkeypatch):
    conn.execute(
        "INSERT INTO scrape_sources (name, base_url, config) VALUES ('cars', 'http://cars.example', %s::jsonb)",
        [orjson.dumps(CONFIG).decode()],
    )
    assert "hush-2" in stored(conn)
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    source = next(iter(load_sources(conn).values()))
    assert "hush" not in stored(conn)
    assert source.config.request_cookies() == CONFIG["cookies"]
    assert next(iter(load_sources(conn).values())).row.config_version == source.row.config_version


@pytest.mark.parametrize("wrong", ["", "another key of forty characters, as long"])
def test_without_the_key_the_source_stands_still_and_says_why(conn, key, monkeypatch, wrong):
    declare(conn)
    monkeypatch.setenv(KEY_VARIABLE, wrong)
    assert load_sources(conn) == {}
    row = registry.find_source(conn, "cars")
    assert row is not None
    assert KEY_VARIABLE in (row.config_error or "")
    assert "hush" not in (row.config_error or "")


def test_a_short_key_is_refused_with_its_cure(conn, monkeypatch):
    declare(conn)
    monkeypatch.setenv(KEY_VARIABLE, "short")
    assert load_sources(conn) == {}
    row = registry.find_source(conn, "cars")
    assert row is not None
    assert "32 or more" in (row.config_error or "")


def test_a_sealed_value_is_bound_to_its_name(key):
    sealed = seal_config({"cookies": {"session": "hush"}})["cookies"]["session"]
    with pytest.raises(ConfigError, match="another key"):
        parse_source_config({"cookies": {"other": sealed}})


@pytest.mark.parametrize("bad", [{"headers": "Bearer hush"}, {"auth": "hush"}, {"cookies": ["hush"]}])
def test_an_error_never_shows_what_may_be_a_secret(bad):
    with pytest.raises(ConfigError) as error:
        parse_source_config(bad)
    assert "hush" not in str(error.value)


@given(value=st.text(min_size=1, max_size=200), name=st.text(min_size=1, max_size=30))
def test_any_secret_comes_back(value, name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        once = seal_config({"cookies": {name: value}})
        assert seal_config(once) == once
        if not value.startswith("sealed:"):
            assert reveal("cookies", name, once["cookies"][name]) == value
