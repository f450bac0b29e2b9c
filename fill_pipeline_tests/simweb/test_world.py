"""The world is a pure function of seed, time and control actions."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fill_pipeline.simweb.records import truth_record
from fill_pipeline.simweb.world import START, Stand, World

HOUR = 3_600


def _truth(world: World) -> list[dict[str, Any]]:
    return [
        truth_record(ad, world.now, site.host) for site in world.sites.values() if site.open for ad in world.live(site)
    ]


def test_the_same_seed_and_time_give_the_same_world_whatever_the_way_there() -> None:
    straight, wandering = World(seed=9, scale=0.1), World(seed=9, scale=0.1)
    straight.set_time(START + 9 * HOUR)
    for hours in (2, 400, 1, 9):
        wandering.set_time(START + hours * HOUR)
        _truth(wandering)
    assert _truth(straight) == _truth(wandering)
    assert _truth(World(seed=9, scale=0.1)) != _truth(World(seed=10, scale=0.1))


def test_the_first_stock_and_the_flow_of_new_ads_have_the_promised_size() -> None:
    world = World(seed=7)
    first = _truth(world)
    assert len({ad["car_vin"] for ad in first}) > 3_500
    assert sum(site.open for site in world.sites.values()) >= 14
    known = {ad["url"] for ad in first}
    for cycle in range(1, 7):
        world.set_time(START + cycle * 2 * HOUR)
        now = {ad["url"] for ad in _truth(world)}
        assert 1_900 < len(now - known) <= 2_500  # some of the 2,400 are sold before the next look
        known |= now
    assert len(now) < 7_000


def test_about_one_car_in_twelve_is_listed_twice_at_nearly_the_same_price() -> None:
    ads = _truth(World(seed=7))
    by_car = Counter(ad["vehicle_key"] for ad in ads)
    twice = [key for key, count in by_car.items() if count == 2]
    assert 0.05 < len(twice) / len(by_car) < 0.11
    prices: dict[str, list[int]] = {}
    for ad in ads:
        if by_car[ad["vehicle_key"]] == 2 and ad["price"] and ad["price_kind"] == "asking":
            prices.setdefault(ad["vehicle_key"], []).append(ad["price"])
    pairs = [pair for pair in prices.values() if len(pair) == 2]
    assert pairs
    assert all(abs(a - b) <= 0.12 * max(a, b) + 300 for a, b in pairs)


def test_listings_are_nearly_complete() -> None:
    ads = _truth(World(seed=7))
    core = ("year", "make", "model", "price", "mileage", "city")
    stated = sum(ad[name] is not None for ad in ads for name in core) + len(ads)  # each has images
    assert stated / (len(ads) * (len(core) + 1)) >= 0.94
    assert any(ad["price"] is None for ad in ads)
    assert any(ad["mileage"] is None for ad in ads)
    assert any(ad["vin"] is None for ad in ads)


def test_an_auction_bids_up_and_ends_sold_or_below_its_reserve() -> None:
    world = World(seed=7)
    site = next(site for site in world.sites.values() if site.kind == "auction_house" and site.open)
    ends: Counter[Stand] = Counter()
    for ad in world.live(site):
        bids = [ad.price(t) or 0 for t in range(ad.posted_at, ad.ends_at, 600)]
        assert bids == sorted(bids)
        ends[ad.stand(ad.ends_at)] += 1
        assert ad.stand(ad.ends_at + 5 * HOUR) is Stand.GONE
    assert ends[Stand.SOLD] > ends[Stand.ENDED] > 0


def test_a_sale_or_a_price_set_by_control_holds_from_then_on_only() -> None:
    world = World(seed=7, scale=0.2)
    site = next(iter(world.sites.values()))
    sold, dearer = [ad for ad in world.live(site) if ad.ends_at > START + 3 * HOUR][:2]
    world.set_time(START + HOUR)
    world.sell(sold)
    world.set_price(dearer, 54_321)
    world.set_time(START + 2 * HOUR)
    assert sold not in world.live(site)
    assert dearer.price(world.now) == 54_321
    world.set_time(START)
    assert sold in world.live(site)
    assert dearer.price(world.now) != 54_321
