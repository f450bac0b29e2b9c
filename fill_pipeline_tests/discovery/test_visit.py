"""A visit to a site that nobody knows yet is as polite as a source's crawl."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fill_pipeline.crawl.fetch_settings import FetchSettings
from fill_pipeline.discovery.candidate import RejectReason
from fill_pipeline.discovery.visit import Refused, Visit
from fill_pipeline.simweb.handle import SimWeb

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OWN = FetchSettings(allow_nets=("127.0.0.0/8",))


@pytest.fixture
def sites(web: SimWeb) -> list[tuple[str, str]]:
    """Slug and address of two sites."""
    return [(site["slug"], site["base_url"]) for site in web.get("/sites") if site["kind"] == "dealer"][:2]


def test_the_rules_for_our_own_name_are_the_ones_obeyed(web: SimWeb, sites: list[tuple[str, str]]) -> None:
    [(slug, home), _] = sites
    web.post("robots", slug=slug, body="User-agent: acme\nDisallow: /\n\nUser-agent: *\nAllow: /\n")
    named = replace(OWN, user_agent="acme/1 (+https://acme.example/bot)")
    with Visit(OWN, now=NOW, pages=5, pause=0.0) as visit:
        assert visit.page(home).body
    with Visit(named, now=NOW, pages=5, pause=0.0) as visit, pytest.raises(Refused) as refused:
        visit.page(home)
    assert refused.value.reason is RejectReason.ROBOTS


def test_a_site_that_asks_for_silence_is_asked_for_nothing_more(web: SimWeb, sites: list[tuple[str, str]]) -> None:
    [(slug, home), _] = sites
    with Visit(OWN, now=NOW, pages=5, pause=0.0) as visit:
        visit.page(home)
        web.post("throttle", slug=slug, rps=0.5, retry_after=60)
        visit.try_page(home)
        with pytest.raises(Refused) as refused:
            visit.try_page(home)
    assert refused.value.reason is RejectReason.THROTTLED


def test_where_a_page_leads_robots_txt_is_obeyed_and_the_step_counts(web: SimWeb, sites: list[tuple[str, str]]) -> None:
    [(slug, home), (other_slug, other_home)] = sites
    web.post("redirect_to", slug=slug, url=other_home + "/moved-away")
    web.post("robots", slug=other_slug, body="User-agent: *\nDisallow: /moved\n")
    with Visit(OWN, now=NOW, pages=5, pause=0.0) as visit:
        with pytest.raises(Refused) as refused:
            visit.page(home)
        assert visit.left == 4
    assert refused.value.reason is RejectReason.ROBOTS
    assert [entry["path"] for entry in web.get(f"/log?slug={other_slug}")] == ["/robots.txt"]
