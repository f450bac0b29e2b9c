"""Repair on real sites: what is redesigned is mended and proven, what is something else is named and left alone."""

from __future__ import annotations

from typing import Any

import pytest

from fill_pipeline.crawl.config import parse_source_config
from fill_pipeline.db import improvement, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.registry import SourceRow
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.work import Work, load_sources
from fill_pipeline.repair.cause import Cause
from fill_pipeline.repair.repair import Repairs, repair_sources
from fill_pipeline.simweb.handle import SimWeb

from .conftest import Shop, drain_here

FAST = {"requests_per_minute": 60_000}


def declare(conn: Connection, web: SimWeb, kind: str, *, pagination: str | None = None, **changes: Any) -> SourceRow:
    """The first open site of a kind as a source."""
    site = next(
        site
        for site in web.get("/sites")
        if site["open"]
        and site["kind"] == kind
        and site["live_count"] >= 8
        and (pagination is None or site["suggested_config"].get("pagination", {}).get("type") == pagination)
    )
    config = site["suggested_config"] | changes
    return registry.declare_source(conn, name=site["slug"], base_url=site["base_url"], config=config, kind=site["kind"])


def web_slug(source: SourceRow) -> str:
    return source.base_url.partition("://")[2].partition(".")[0]


def crawl(conn: Connection, work: Work, pages: int = 14) -> int:
    """Harvest the sources and read some of the pages they list; returns how many listings were seen."""
    before = work.totals.sum("cards_seen")
    harvest_sources(work, list(load_sources(conn).values()))
    drain_here(conn, work, pages=pages)
    return work.totals.sum("cards_seen") - before


def live(conn: Connection, source: SourceRow) -> SourceRow:
    row = registry.find_source(conn, source.slug)
    assert row is not None
    return row


def only_repair(conn: Connection, source: SourceRow) -> improvement.RepairRow:
    rows = improvement.repairs(conn, source.id)
    assert len(rows) == 1
    return rows[0]


# ── What is repaired ──


def test_a_json_api_whose_keys_were_renamed_is_walked_again(conn: Connection, web: SimWeb, work: Work) -> None:
    source = declare(conn, web, "marketplace", pagination="cursor")
    assert crawl(conn, work) >= 14
    web.post("redesign", slug=web_slug(source), mode="json_keys", seed=3)
    assert crawl(conn, work) == 0

    repairs = repair_sources(conn, work, [source.slug])

    assert repairs.promoted == 1
    mended = live(conn, source)
    assert mended.config_version == source.config_version + 1
    version = registry.versions(conn, source.id)[-1]
    assert (version.made_by, version.live) == ("repair", True)
    row = only_repair(conn, source)
    assert (row.status, row.diagnosis) == ("promoted", Cause.REDESIGNED)
    assert (row.from_version, row.to_version) == (source.config_version, mended.config_version)
    web.post("clock", advance_seconds=7200)
    assert crawl(conn, work) >= 14


def test_records_that_are_all_there_is_and_whose_keys_nobody_else_uses_are_read_by_paths_of_their_own(
    conn: Connection, web: SimWeb, work: Work
) -> None:
    source = declare(conn, web, "marketplace", detail="never")
    crawl(conn, work)
    known = {row[0]: row[1:] for row in conn.execute("SELECT vin, year, price, mileage FROM listing_records")}
    web.post("redesign", slug=web_slug(source), mode="words+bare", seed=3)

    repairs = repair_sources(conn, work, [source.slug])

    assert repairs.promoted == 1, repairs.sources
    assert {"vin", "price", "mileage"} <= set(live(conn, source).config["rules"]["card"])
    conn.execute("DELETE FROM listing_records")
    crawl(conn, work)
    again = {row[0]: row[1:] for row in conn.execute("SELECT vin, year, price, mileage FROM listing_records")}
    assert len(again) >= len(known) > 20
    assert sum(again.get(vin) == values for vin, values in known.items()) >= 0.95 * len(known)


@pytest.mark.parametrize("mode", ["classes", "mix"])
def test_an_index_whose_link_classes_were_renamed_is_walked_again(
    conn: Connection, web: SimWeb, work: Work, mode: str
) -> None:
    source = declare(conn, web, "classifieds")
    selector = card_class(conn, web, work, source)
    config = source.config | {"index": source.config["index"] | {"link_selector": f"{selector} a"}}
    registry.change_config(conn, source.id, config, made_by="operator", reason="its own rules")
    assert crawl(conn, work) > 10
    web.post("redesign", slug=web_slug(source), mode=mode, seed=3)

    repairs = repair_sources(conn, work, [source.slug])

    assert repairs.promoted == 1, repairs.sources
    web.post("clock", advance_seconds=7200)
    assert crawl(conn, work) > 0


def test_an_index_whose_page_parameter_was_renamed_is_walked_to_its_end_again(
    conn: Connection, web: SimWeb, work: Work
) -> None:
    source = declare(conn, web, "classifieds", pagination="page")
    crawl(conn, work)
    web.post("redesign", slug=web_slug(source), mode="pagination", seed=3)
    web.post("clock", advance_seconds=4 * 3600)

    repairs = repair_sources(conn, work, [source.slug])

    assert repairs.promoted == 1, repairs.sources
    row = only_repair(conn, source)
    assert row.evidence["index"]["after"] > row.evidence["index"]["before"]


def test_rules_that_read_other_values_than_known_are_replaced_and_the_broken_time_is_read_again(
    conn: Connection, shop: Shop, work: Work
) -> None:
    source = registry.declare_source(
        conn, name="shop", base_url=shop.base_url, config={"rate_limit": FAST, "detail": "always"}, kind="dealer"
    )
    assert crawl(conn, work) == 12
    known = prices(conn)
    wrong = {"rules": {"detail": {"price": {"css": "tr:nth-of-type(2) td"}}}}
    registry.change_config(conn, source.id, source.config | wrong, made_by="operator", reason="a slip")
    requeue(conn)
    drain_here(conn, work)
    assert prices(conn) != known

    repairs = repair_sources(conn, work, [source.slug])

    assert repairs.promoted == 1, repairs.sources
    assert repairs.replayed_pages >= 12
    assert "rules" not in live(conn, source).config
    assert prices(conn) == known


def test_a_form_that_nothing_general_can_read_gets_rules_of_its_own_that_hold_on_unseen_pages(
    conn: Connection, shop: Shop, work: Work
) -> None:
    source = registry.declare_source(
        conn, name="shop", base_url=shop.base_url, config={"rate_limit": FAST, "detail": "always"}, kind="dealer"
    )
    assert crawl(conn, work) == 12
    known = prices(conn)
    shop.form = odd_form

    repairs = repair_sources(conn, work, [source.slug])

    assert repairs.promoted == 1, repairs.sources
    row = only_repair(conn, source)
    assert row.score_before is not None
    assert row.score_after is not None
    assert row.score_after >= 0.97 > row.score_before
    assert row.evidence["precision"] >= 0.97
    rules = live(conn, source).config["rules"]["detail"]
    assert "Ran so far" in rules["mileage"]["css"], "a label anchors a rule where there is one"
    conn.execute("DELETE FROM listing_records")
    requeue(conn)
    drain_here(conn, work)
    assert prices(conn) == known


def test_a_site_that_moved_is_followed_where_its_listings_are_the_same(
    conn: Connection, web: SimWeb, work: Work
) -> None:
    source = declare(conn, web, "dealer")
    assert crawl(conn, work) >= 8
    web.post("move", slug=web_slug(source), to="quite-another-name")

    repairs = repair_sources(conn, work, [source.slug])

    assert repairs.promoted == 1, repairs.sources
    moved = live(conn, source)
    assert "//quite-another-name.localhost:" in moved.base_url
    assert moved.config_version == source.config_version + 1
    assert [v.live for v in registry.versions(conn, source.id)] == [False, True]
    row = only_repair(conn, source)
    assert (row.diagnosis, row.status, row.to_version) == (Cause.MOVED, "promoted", moved.config_version)
    assert row.evidence["asked"][0]["led_to"].startswith(moved.base_url)


def test_a_site_that_moved_onto_one_that_is_a_source_already_is_not_followed(
    conn: Connection, web: SimWeb, work: Work
) -> None:
    source = declare(conn, web, "dealer")
    crawl(conn, work)
    new_home = web.base_url("quite-another-name")
    registry.declare_source(conn, name="other", base_url=new_home, config={}, kind="dealer")
    web.post("move", slug=web_slug(source), to="quite-another-name")

    repairs = repair_sources(conn, work, [source.slug])

    assert repairs.causes == {Cause.MOVED: 1}
    assert live(conn, source).base_url == source.base_url


def test_an_index_whose_words_and_keys_are_its_own_and_whose_pages_are_wrapped_is_read_again(
    conn: Connection, web: SimWeb, work: Work
) -> None:
    source = declare(conn, web, "classifieds", pagination="page", detail="always")
    assert crawl(conn, work, pages=40) >= 8
    web.post("redesign", slug=web_slug(source), mode="words+wrapped+bare", seed=3)

    repairs = repair_sources(conn, work, [source.slug])

    assert repairs.promoted == 1, repairs.sources
    row = only_repair(conn, source)
    assert row.score_after is not None
    assert row.score_before is not None
    assert row.score_after >= 0.95 > row.score_before
    assert {"price", "mileage"} <= set(live(conn, source).config["rules"]["detail"])
    assert row.evidence["canary_f1"] >= 0.9


def test_an_index_is_mended_though_too_few_pages_are_known_to_mend_those(
    conn: Connection, shop: Shop, work: Work
) -> None:
    shop.cars = shop.cars[:3]
    source = with_lost_links(conn, shop, work)
    shop.form = odd_form

    repairs = repair_sources(conn, work, [source.slug])

    assert repairs.promoted == 1, repairs.sources
    assert "link_selector" not in live(conn, source).config.get("index", {})
    assert "too few" in only_repair(conn, source).evidence["details"]


def test_an_index_is_walked_again_when_all_that_was_known_on_it_is_sold(
    conn: Connection, shop: Shop, work: Work
) -> None:
    source = with_lost_links(conn, shop, work)
    shop.cars = [car | {"id": str(int(car["id"]) + 1)} for car in shop.cars]

    repairs = repair_sources(conn, work, [source.slug])

    assert repairs.promoted == 1, repairs.sources
    assert only_repair(conn, source).evidence["index"]["after"] == len(shop.cars)


def test_what_two_breaks_in_a_row_took_away_is_still_known(conn: Connection, shop: Shop, work: Work) -> None:
    source = registry.declare_source(
        conn, name="shop", base_url=shop.base_url, config={"rate_limit": FAST, "detail": "always"}, kind="dealer"
    )
    crawl(conn, work)
    had = prices(conn)
    conn.execute(
        "INSERT INTO listing_history (listing_id, observed_at, cycle_id, status) "
        "SELECT id, now() + interval '1 minute', %s, status FROM listing_records",
        [work.cycle_id],
    )
    conn.execute("UPDATE listing_records SET price = NULL")
    for one in improvement.known_listings(conn, source.id, 50):
        assert one.before == {"price": had[one.url][0]}


def with_lost_links(conn: Connection, shop: Shop, work: Work) -> SourceRow:
    """The shop as a source whose listings are known and whose links are no longer found."""
    config = {"rate_limit": FAST, "detail": "always"}
    source = registry.declare_source(conn, name="shop", base_url=shop.base_url, config=config, kind="dealer")
    assert crawl(conn, work) == len(shop.cars)
    lost = config | {"index": {"link_selector": "li.card a"}}
    registry.change_config(conn, source.id, lost, made_by="operator", reason="as before a redesign")
    return live(conn, source)


# ── What is not ──


@pytest.mark.parametrize(
    ("fault", "body", "cause"),
    [
        ("block", {"style": "403"}, Cause.BLOCKED),
        ("block", {"style": "captcha"}, Cause.CAPTCHA),
        ("block", {"style": "login"}, Cause.LOGIN),
        ("throttle", {"rps": 0.01, "retry_after": 60}, Cause.THROTTLED),
        ("fail", {"status": 500}, Cause.UNREACHABLE),
        ("close", {}, Cause.UNREACHABLE),
        ("truncate", {}, Cause.UNREACHABLE),
        ("robots", {"body": "User-agent: *\nDisallow: /"}, Cause.ROBOTS),
        ("soft404", {}, Cause.SOFT_404),
        ("empty", {}, Cause.EMPTY),
        ("redirect_to", {"url": "http://other.localhost/"}, Cause.MOVED),
    ],
)
def test_a_trouble_that_is_no_redesign_is_named_and_no_rule_is_changed(
    conn: Connection, web: SimWeb, work: Work, fault: str, body: dict[str, Any], cause: Cause
) -> None:
    source = declare(conn, web, "classifieds")
    crawl(conn, work)
    conn.execute("DELETE FROM robots_files")
    web.post(fault, slug=web_slug(source), **body)

    repairs = repair_sources(conn, work, [source.slug])

    web.post("heal", slug=web_slug(source))
    row = only_repair(conn, source)
    assert row.diagnosis == cause, row.reason
    assert row.status == "diagnosed"
    assert repairs.promoted == repairs.quarantined == 0
    assert live(conn, source).config_version == source.config_version
    assert live(conn, source).status == "live"


def test_a_source_that_may_not_be_asked_now_is_named_from_how_its_pages_failed(
    conn: Connection, web: SimWeb, work: Work
) -> None:
    source = declare(conn, web, "classifieds")
    crawl(conn, work)
    web.post("throttle", slug=web_slug(source), rps=0.01, retry_after=900)
    crawl(conn, work)
    crawl(conn, work)

    repair_sources(conn, work, [source.slug])

    row = only_repair(conn, source)
    assert row.diagnosis == Cause.THROTTLED
    assert row.reason.startswith("nothing may be asked of it now")


def test_a_source_that_works_is_left_alone(conn: Connection, web: SimWeb, work: Work) -> None:
    source = declare(conn, web, "dealer")
    crawl(conn, work)
    repairs = repair_sources(conn, work, [source.slug])
    assert repairs.causes == {Cause.WELL: 1}
    assert live(conn, source).config_version == source.config_version


def test_thin_evidence_quarantines_the_source_and_keeps_its_data(conn: Connection, shop: Shop, work: Work) -> None:
    shop.cars = shop.cars[:3]
    source = registry.declare_source(
        conn, name="shop", base_url=shop.base_url, config={"rate_limit": FAST, "detail": "always"}, kind="dealer"
    )
    assert crawl(conn, work) == 3
    known = prices(conn)
    shop.form = odd_form

    repairs = repair_sources(conn, work, [source.slug])

    assert (repairs.promoted, repairs.rejected, repairs.quarantined) == (0, 1, 1)
    after = live(conn, source)
    assert after.status == "quarantined"
    assert after.status_reason is not None
    assert "too few" in after.status_reason
    assert prices(conn) == known


def test_a_repair_that_reads_worse_than_what_it_replaced_is_rolled_back(
    conn: Connection, shop: Shop, work: Work
) -> None:
    source = registry.declare_source(
        conn, name="shop", base_url=shop.base_url, config={"rate_limit": FAST, "detail": "always"}, kind="dealer"
    )
    crawl(conn, work)
    worse = source.config | {"rules": {"detail": {"price": {"css": "tr:nth-of-type(2) td"}}}}
    registry.change_config(conn, source.id, worse, made_by="repair", reason="seemed right", score=1.0)
    improvement.add_repair(
        conn,
        source.id,
        cycle_id=work.cycle_id,
        diagnosis="redesigned",
        reason="seemed right",
        status=improvement.RepairStatus.PROMOTED,
        now=work.now_fn(),
        from_version=1,
        to_version=2,
    )

    repairs = repair_sources(conn, work, [source.slug])

    assert (repairs.rolled_back, repairs.promoted) == (1, 0)
    assert live(conn, source).config == source.config
    assert improvement.repairs(conn, source.id)[0].status == "rolled_back"


def test_a_configuration_that_cannot_be_used_gives_way_to_the_last_one_that_could(
    conn: Connection, web: SimWeb, work: Work
) -> None:
    source = declare(conn, web, "dealer")
    registry.change_config(conn, source.id, {"pagination": {"type": "cursr"}}, made_by="operator", reason="a slip")
    load_sources(conn)
    repairs: Repairs = repair_sources(conn, work, [source.slug])
    assert repairs.promoted == 1
    assert parse_source_config(live(conn, source).config)
    assert live(conn, source).config == source.config


def odd_form(car: dict[str, str]) -> str:
    """Labels of the shop's own, numbers bare: nothing general reads this."""
    rows = "".join(
        f'<div class="z{n}"><i>{label}</i><em>{value}</em></div>'
        for n, (label, value) in enumerate(
            (
                ("Chassis mark", car["vin"]),
                ("Ran so far", car["miles"].split()[0].replace(",", "")),
                ("Yours for", car["price"].strip("$").replace(",", "")),
                ("Heart", car["engine"]),
                ("Drinks", car["fuel"]),
            )
        )
    )
    return (
        f"<html><head><title>{car['name']}</title></head><body><h1>{car['name']}</h1><main>{rows}</main></body></html>"
    )


def prices(conn: Connection) -> dict[str, tuple[int | None, int | None]]:
    rows = conn.execute("SELECT url, price, mileage FROM listing_records ORDER BY url").fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}


def requeue(conn: Connection) -> None:
    conn.execute("UPDATE import_queue SET status = 'pending', attempts = 0, listing_id = NULL")


def card_class(conn: Connection, web: SimWeb, work: Work, source: SourceRow) -> str:
    """A selector of the site's cards by their present class."""
    from selectolax.lexbor import LexborHTMLParser

    from fill_pipeline.crawl.fetch import Fetcher, FetchRequest, decode_body

    with Fetcher(work.fetch_settings()) as fetcher:
        body = decode_body(fetcher.fetch(FetchRequest(url=source.base_url + "/")), 10_000_000)
    heading = LexborHTMLParser(body.decode()).css_first("h3 a[href]")
    assert heading is not None
    card = heading.parent.parent  # type: ignore[union-attr]
    assert card is not None
    return f"{card.tag}.{(card.attributes['class'] or '').split()[0]}"
