"""Discovery on a simulated web: hidden vehicle sites become sources that yield, decoys are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from fill_pipeline.crawl.fetch import Fetcher, FetchRequest, FetchSettings, decode_body
from fill_pipeline.db import improvement, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import CandidateStatus, FoundCandidate
from fill_pipeline.discovery.candidate import RejectReason
from fill_pipeline.discovery.discover import Budget, discover, probe_url
from fill_pipeline.drain.drain import drain_queue
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.work import Work, load_sources
from fill_pipeline.simweb.handle import SimWeb

DECOYS = {
    "blog": RejectReason.ARTICLES,
    "parts": RejectReason.GOODS,
    "link_farm": RejectReason.LINK_FARM,
    "parked": RejectReason.PARKED,
    "calendar": RejectReason.TRAP,
}


def crawl(conn: Connection, work: Work) -> None:
    chosen = list(load_sources(conn).values())
    harvest_sources(work, chosen)
    drain_queue(work)


def front_page(url: str) -> str:
    with Fetcher(FetchSettings(allow_nets=("127.0.0.0/8",))) as fetcher:
        return decode_body(fetcher.fetch(FetchRequest(url=url)), 10_000_000).decode()


def declare(conn: Connection, web: SimWeb, slug: str) -> None:
    site = next(site for site in web.get("/sites") if site["slug"] == slug)
    registry.declare_source(
        conn, name=slug, base_url=site["base_url"], config=site["suggested_config"], kind=site["kind"]
    )


def test_a_hidden_site_that_a_source_links_to_becomes_a_source_on_trial_and_yields_vehicles(
    conn: Connection, web: SimWeb, work_of: Callable[..., Work]
) -> None:
    work = work_of()
    hidden = web.post("open", kind="dealer")
    linking = next(
        site
        for site in web.get("/sites")
        if site["open"] and site["slug"] != hidden["slug"] and hidden["base_url"] in front_page(site["base_url"])
    )
    declare(conn, web, linking["slug"])
    crawl(conn, work)

    funnel = discover(conn, work)

    assert funnel.taken == 1
    found = [s for s in registry.sources(conn) if s.base_url == hidden["base_url"]]
    assert [(s.status, s.discovered_via) for s in found] == [("trial", "links")]
    assert funnel.rejected.get(RejectReason.UNREACHABLE), "hidden sites that are still closed are looked at later"

    crawl(conn, work)
    truth = web.get(f"/truth?slug={hidden['slug']}")
    rows = conn.execute("SELECT vin, price FROM listings WHERE source_id = %s", [found[0].id]).fetchall()
    assert truth
    assert {row[0] for row in rows} == {ad["vin"] for ad in truth}

    again = discover(conn, work)
    assert again.promoted == 1
    assert again.taken == 0
    assert registry.find_source(conn, found[0].slug).status == "live"  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", list(DECOYS))
def test_a_decoy_is_refused_with_the_right_reason(conn: Connection, web: SimWeb, work: Work, kind: str) -> None:
    report = probe_url(conn, work, web.post("open", kind=kind)["base_url"])
    assert report.source is None
    assert report.reason is not None
    assert report.reason.startswith(DECOYS[kind])
    assert registry.sources(conn) == []


@pytest.mark.parametrize("kind", ["blog", "parts", "parked", "calendar"])
def test_a_decoy_that_is_harder_to_tell_is_refused_too(conn: Connection, web: SimWeb, work: Work, kind: str) -> None:
    web.post("open", kind=kind)
    report = probe_url(conn, work, web.post("open", kind=kind)["base_url"])
    assert report.source is None
    assert report.reason is not None
    assert report.reason.startswith(DECOYS[kind])


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.7/", "http://169.254.169.254/latest/meta-data/", "http://[::ffff:10.0.0.1]/", "http://0x0a000001/"],
)
def test_a_private_address_is_refused_before_anything_is_asked(conn: Connection, work: Work, url: str) -> None:
    improvement.add_candidates(conn, [FoundCandidate("private", url, "links")], now=work.now_fn())
    funnel = discover(conn, work)
    assert funnel.rejected == {RejectReason.PRIVATE_ADDRESS: 1}
    assert funnel.requests == 0


@pytest.mark.parametrize("kind", ["marketplace", "classifieds", "auction_house", "dealer", "feed"])
def test_a_vehicle_site_given_by_hand_becomes_a_source(conn: Connection, web: SimWeb, work: Work, kind: str) -> None:
    site = web.post("open", kind=kind)
    report = probe_url(conn, work, site["base_url"])
    assert report.source is not None, report.reason
    assert report.source.status == "trial"
    assert report.source.base_url == site["base_url"]
    assert len(report.steps) >= 4


def test_a_site_that_is_a_source_already_is_not_taken_twice(conn: Connection, web: SimWeb, work: Work) -> None:
    slug = next(site["slug"] for site in web.get("/sites") if site["open"])
    declare(conn, web, slug)
    report = probe_url(conn, work, f"{web.base_url(slug)}/inventory")
    assert report.source is None
    assert report.reason is not None
    assert report.reason.startswith(RejectReason.DUPLICATE)


def test_an_address_that_redirects_to_a_known_source_is_a_duplicate(conn: Connection, web: SimWeb, work: Work) -> None:
    sites = [site for site in web.get("/sites") if site["open"]]
    declare(conn, web, sites[0]["slug"])
    web.post("redirect_to", slug=sites[1]["slug"], url=f"{sites[0]['base_url']}/")
    report = probe_url(conn, work, sites[1]["base_url"])
    assert report.source is None
    assert report.reason is not None
    assert report.reason.startswith(RejectReason.DUPLICATE)


@pytest.mark.parametrize(
    ("fault", "body", "reason"),
    [
        ("block", {"style": "403"}, RejectReason.BLOCKED),
        ("block", {"style": "captcha"}, RejectReason.BLOCKED),
        ("close", {}, RejectReason.UNREACHABLE),
        ("redirect_loop", {}, RejectReason.TRAP),
        ("bomb", {}, RejectReason.TRAP),
        ("robots", {"body": "User-agent: *\nDisallow: /"}, RejectReason.ROBOTS),
        ("robots", {"body": "", "status": 503}, RejectReason.UNREACHABLE),
        ("empty", {}, RejectReason.NO_VEHICLES),
    ],
)
def test_a_site_that_will_not_be_crawled_is_refused_with_the_right_reason(
    conn: Connection, web: SimWeb, work: Work, fault: str, body: dict[str, str], reason: RejectReason
) -> None:
    slug = next(site["slug"] for site in web.get("/sites") if site["open"] and site["kind"] == "dealer")
    web.post(fault, slug=slug, **body)
    report = probe_url(conn, work, web.base_url(slug))
    assert report.source is None
    assert report.reason is not None
    assert report.reason.startswith(reason)


def test_a_site_out_of_reach_is_looked_at_again_later_and_not_before(
    conn: Connection, web: SimWeb, work_of: Callable[..., Work]
) -> None:
    site = next(site for site in web.get("/sites") if site["open"] and site["kind"] == "dealer")
    web.post("close", slug=site["slug"])
    assert probe_url(conn, work_of(), site["base_url"]).source is None
    web.post("heal", slug=site["slug"])

    assert discover(conn, work_of()).probed == 0
    funnel = discover(conn, work_of(timedelta(hours=7)))
    assert (funnel.probed, funnel.taken) == (1, 1)


def test_no_more_sources_are_on_trial_than_the_quota_allows_and_the_others_wait(
    conn: Connection, web: SimWeb, work: Work
) -> None:
    dealers = [site for site in web.get("/sites") if site["open"] and site["kind"] == "dealer" and site["live_count"]][
        :3
    ]
    found = [FoundCandidate(site["slug"], site["base_url"], "links") for site in dealers]
    improvement.add_candidates(conn, found, now=work.now_fn())

    first = discover(conn, work, budget=Budget(on_trial=2))
    assert (first.probed, first.taken, first.waiting) == (3, 2, 1)
    second = discover(conn, work, budget=Budget(on_trial=2))
    assert (second.probed, second.taken) == (0, 0)
    third = discover(conn, work, budget=Budget(on_trial=3))
    assert (third.probed, third.taken, third.waiting) == (0, 1, 0)


def test_a_trial_that_gives_nothing_for_several_cycles_is_retired_with_the_reason(
    conn: Connection, web: SimWeb, work: Work
) -> None:
    site = web.post("open", kind="dealer")
    source = probe_url(conn, work, site["base_url"]).source
    assert source is not None
    for n in range(3):
        conn.execute(
            "INSERT INTO source_cycle_stats (source_id, cycle_id, pages_failed, last_at) VALUES (%s, %s, 9, now())",
            [source.id, f"past-{n}"],
        )
    funnel = discover(conn, work)
    assert funnel.retired == 1
    after = registry.find_source(conn, source.slug)
    assert after is not None
    assert after.status == "retired"
    assert after.status_reason is not None
    assert after.status_reason.startswith(RejectReason.NO_YIELD)
    candidate = next(iter(conn.execute("SELECT status FROM source_candidates").fetchall()))
    assert candidate[0] == CandidateStatus.REJECTED
