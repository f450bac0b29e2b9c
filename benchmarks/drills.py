"""Drills on the simulated web, from a seed: redesigns, outages, and the discovery of unseen sites among decoys.

    python benchmarks/drills.py [--redesigns 50] [--outages 20] [--sites 30] [--decoys 30] [--seed 7] [--scale 0.2]

Each runs the whole cycle as it runs in production, unattended, on a clock of its own (two hours a cycle); nothing is
called by hand. Prints a line per incident and totals against the goals; the last line is one JSON object, the exit
status is 1 when a goal is missed. Needs no network: database and sites run on loopback.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import mean, median
from typing import Any

import orjson
from drill_world import TRUTH, VEHICLE_KINDS, World, open_all, world

from fill_pipeline.crawl.fetch import FetchRequest, decode_body
from fill_pipeline.db import improvement, registry
from fill_pipeline.db.improvement import RepairRow
from fill_pipeline.db.registry import SourceRow
from fill_pipeline.discovery.candidate import RejectReason
from fill_pipeline.extract.dom import parse
from fill_pipeline.repair.induce import induce
from fill_pipeline.repair.truth import Score, same
from fill_pipeline.simweb.handle import SimWeb

WINDOW = timedelta(hours=2)
WARM_UP = 4  # cycles after which it is known what is usual
SIDE_BY_SIDE = 10  # redesigns in one cycle
GOOD = 0.97
SOURCE_F1 = 0.95
MODES = (
    "classes", "tags", "labels", "json_keys", "pagination", "wrapped", "words", "mix",
    "classes+tags", "labels+wrapped", "words+classes", "json_keys+pagination", "words+wrapped+bare",
    "classes+pagination", "words+tags+classes+bare", "mix+wrapped",
)  # fmt: skip
OUTAGES: tuple[tuple[str, dict[str, Any], frozenset[str]], ...] = (
    ("block", {"style": "403"}, frozenset({"blocked"})),
    ("block", {"style": "captcha"}, frozenset({"captcha"})),
    ("block", {"style": "login"}, frozenset({"login"})),
    ("throttle", {"rps": 0.01, "retry_after": 900}, frozenset({"throttled"})),
    ("fail", {"status": 500}, frozenset({"unreachable"})),
    ("close", {}, frozenset({"unreachable"})),
    ("truncate", {}, frozenset({"unreachable"})),
    ("robots", {"body": "User-agent: *\nDisallow: /"}, frozenset({"robots"})),
    ("soft404", {}, frozenset({"soft_404"})),
    ("empty", {}, frozenset({"empty", "gone"})),
    ("redirect_to", {"url": "http://elsewhere.localhost/"}, frozenset({"moved"})),
    ("redirect_loop", {}, frozenset({"unreachable"})),
    ("throttle", {"rps": 0.01, "retry_after": 7200, "format": "date"}, frozenset({"throttled"})),
    ("fail", {"status": 503}, frozenset({"unreachable"})),
    ("fail", {"status": 404}, frozenset({"gone"})),
    ("fail", {"status": 429}, frozenset({"throttled"})),
    ("fail", {"status": 403, "rate": 0.9}, frozenset({"blocked"})),
    ("lie", {"header": "encoding"}, frozenset({"unreachable"})),
    ("endless", {}, frozenset({"unreachable"})),
    ("fail", {"status": 401}, frozenset({"login", "blocked"})),
)
DECOYS = {
    "blog": {RejectReason.ARTICLES},
    "parts": {RejectReason.GOODS},
    "link_farm": {RejectReason.LINK_FARM},
    "parked": {RejectReason.PARKED},
    "calendar": {RejectReason.TRAP},
    "private": {RejectReason.PRIVATE_ADDRESS},
}
PRIVATE = (
    "http://10.1.2.3/",
    "http://169.254.169.254/latest/meta-data/",
    "http://192.168.0.10/",
    "http://172.16.5.5/inventory",
)


def declare(drill: World, sites: Sequence[dict[str, Any]]) -> None:
    """Sites as sources with rules of their own for links and, every other one, for pages: a redesign breaks those."""
    for turn, site in enumerate(sites):
        config = site["suggested_config"] | {"detail": "always"}
        if config.get("pagination", {}).get("type") in ("page", "offset", "next_link"):
            response = drill.fetcher.fetch(FetchRequest(url=f"{site['base_url']}{config['index']['urls'][0]}"))
            heading = parse(decode_body(response, 10_000_000).decode()).css_first("h3[class] a[href]")
            if heading is not None and heading.parent is not None:
                name = (heading.parent.attributes["class"] or "").split()[0]
                config["index"] = config["index"] | {"link_selector": f"h3.{name} a"}
        if turn % 2:
            rules = induce(drill.pages(site["slug"], 6), TRUTH)
            config["rules"] = {"detail": {n: {"css": r.css, "regex": r.regex} for n, r in rules.items() if r.css}}
        registry.declare_source(
            drill.conn, name=site["slug"], base_url=site["base_url"], config=config, kind=site["kind"]
        )


# ── Redesigns ──


@dataclass(slots=True)
class Incident:
    """One redesign and what became of it. Minutes and cycles are simulated time since it happened."""

    mode: str
    site: str
    source: SourceRow
    at: datetime
    f1_broken: float = 0.0
    listed_broken: float = 0.0
    detected: tuple[int, float] | None = None
    recovered: tuple[int, float] | None = None
    f1: float = 0.0
    listed: float = 0.0
    outcome: str = ""
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    bad_then: set[str] = field(default_factory=set)
    why: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    regained: int = 0

    @property
    def hurt(self) -> bool:
        """Whether it broke anything at all."""
        return self.f1_broken < GOOD or self.listed_broken < GOOD

    def look(self, drill: World) -> None:
        """Note what is true of the site now."""
        for url, ad in drill.truth(self.site).items():
            self.seen.setdefault(url, []).append(ad)

    def bad(self, drill: World) -> set[str]:
        """Listings that were there since the redesign, of which we lack a value or hold a wrong one."""
        stored = drill.stored(self.source)
        lacks = {url: _lacks(stored.get(url), ads[-1], drill.prices.get(url, set())) for url, ads in self.seen.items()}
        self.why = Counter(name for names in lacks.values() for name in names)
        return {url for url, names in lacks.items() if names}


def _lacks(row: dict[str, Any] | None, ad: dict[str, Any], prices: set[Any]) -> list[str]:
    """The fields that a stored listing lacks or misstates, "all" without a listing; any price it ever had is right."""
    if row is None:
        return ["all"]
    wanted = [name for name in TRUTH if ad[name] is not None and not (name == "price" and None in prices)]
    return [
        name
        for name in wanted
        if row[name] is None or not (row[name] in prices if name == "price" else same(name, row[name], ad[name]))
    ]


def redesigns(drill: World, sites: Sequence[dict[str, Any]], n: int, seed: int) -> dict[str, Any]:
    """Redesign sites at random moments, let cycles run, and see what the pipeline makes of it."""
    chance = random.Random(seed)
    jobs = [MODES[turn % len(MODES)] for turn in range(n)]
    used: Counter[str] = Counter()
    done: list[Incident] = []
    open_yet: set[str] = set()  # a repair that comes late is no false action
    false_actions = wrong_rules = 0
    while jobs:
        batch: list[tuple[str, dict[str, Any]]] = []
        for mode in list(jobs):
            free = [s for s in sites if _is_hit_by(s, mode) and s["slug"] not in {one["slug"] for _, one in batch}]
            if len(batch) < SIDE_BY_SIDE and free:
                site = min(free, key=lambda s: (used[s["slug"]], s["slug"]))
                used[site["slug"]] += 1
                batch.append((mode, site))
                jobs.remove(mode)
        versions = {row.slug: (row.config_version, row.status) for row in registry.sources(drill.conn)}
        incidents = _strike(drill, batch, chance)
        for number in (1, 2):
            for one in incidents:
                one.look(drill)
            cycle_id = drill.cycle()
            for one in incidents:
                wrong_rules += _judge(drill, one, number, cycle_id)
            if number == 1:
                drill.pass_time(WINDOW)
        struck = {one.source.slug for one in incidents} | open_yet
        open_yet |= {one.source.slug for one in incidents if one.recovered is None}
        for row in registry.sources(drill.conn):
            if row.slug not in struck and (row.config_version, row.status) != versions[row.slug]:
                false_actions += 1
                print(f"  FALSE ACTION on {row.slug}: {row.status_reason} version {row.config_version}")
        for one in incidents:
            one.lost = len(one.bad(drill))
            _tell(one)
        done += incidents
    return _sum_up(done, false_actions, wrong_rules)


def _strike(drill: World, batch: Sequence[tuple[str, dict[str, Any]]], chance: random.Random) -> list[Incident]:
    """Redesign these sites at random moments of one window, which then is over."""
    moments = sorted(chance.randrange(1, 7199) for _ in batch)
    passed, incidents = 0, []
    for (mode, site), moment in zip(batch, moments, strict=True):
        drill.pass_time(timedelta(seconds=moment - passed))
        passed = moment
        drill.web.post("redesign", slug=site["slug"], mode=mode, seed=chance.randrange(10_000))
        incidents.append(Incident(mode, site["slug"], drill.row(site["slug"]), drill.now()))
    drill.pass_time(WINDOW - timedelta(seconds=passed))
    for one in incidents:
        one.f1_broken, one.listed_broken = drill.reads(one.site).f1, drill.lists(one.site)
    return incidents


def _judge(drill: World, one: Incident, number: int, cycle_id: str) -> int:
    """What a cycle did about an incident; returns the number of wrong rules that it put in force."""
    repairs = _repairs_since(drill, one.source, one.at)
    health = improvement.health_trail(drill.conn, one.source.id, 1)
    minutes = (drill.now() - one.at).total_seconds() / 60
    noticed = bool(repairs) or (bool(health) and health[0][0] == cycle_id and health[0][1] != "healthy")
    if one.detected is None and noticed:
        one.detected = (number, minutes)
    after = drill.reads(one.site)
    one.f1, one.listed = after.f1, drill.lists(one.site)
    bad = one.bad(drill)
    if number == 1:
        one.bad_then = bad
    if one.recovered is None and one.f1 >= GOOD and one.listed >= GOOD:
        one.recovered = (number, minutes)
    gone = set(one.seen) - set(drill.truth(one.site))
    one.regained = len((one.bad_then & gone) - bad)
    one.outcome = repairs[0].status if repairs else f"nothing done ({health[0][3] or ''})"[:90] if health else ""
    if repairs and repairs[0].status in ("rejected", "diagnosed"):
        one.outcome += f" ({repairs[0].diagnosis}: {repairs[0].reason[:90]})"
    promoted = any(row.status == "promoted" for row in repairs)
    return int(promoted and number == 2 and after.precision < GOOD)


def _repairs_since(drill: World, source: SourceRow, at: datetime) -> list[RepairRow]:
    return [row for row in improvement.repairs(drill.conn, source.id, 5) if row.created_at >= at]


def _tell(one: Incident) -> None:
    detected = "-" if one.detected is None else f"{one.detected[0]}c {one.detected[1]:.0f}min"
    recovered = "NO" if one.recovered is None else f"{one.recovered[0]}c {one.recovered[1]:.0f}min"
    print(
        f"  {one.mode:<24}{one.site[:26]:<27}broken F1 {one.f1_broken:.2f} lists {one.listed_broken:4.0%} | "
        f"detected {detected:<10} recovered {recovered:<10} F1 {one.f1:.3f} lists {one.listed:4.0%} "
        f"lost {one.lost:>3} of {len(one.seen):<4} regained {one.regained:<3} {one.outcome} "
        f"{dict(one.why) if one.lost else ''}",
        flush=True,
    )


def _sum_up(done: Sequence[Incident], false_actions: int, wrong_rules: int) -> dict[str, Any]:
    hurt = [one for one in done if one.hurt]
    repaired = [one for one in hurt if one.recovered is not None]
    well = [one for one in done if one.recovered is not None]
    f1s = [one.f1 for one in well]
    seen = sum(len(one.seen) for one in done)
    lost = sum(one.lost for one in done)
    figures = {
        "redesigns": len(done),
        "harmless": len(done) - len(hurt),
        "hurt": len(hurt),
        "repaired": len(repaired),
        "repaired_share": round(len(repaired) / max(1, len(hurt)), 4),
        "well_share": round(len(well) / max(1, len(done)), 4),
        "f1_after_mean": round(mean(f1s), 4) if f1s else 0.0,
        "f1_after_least": round(min(f1s), 4) if f1s else 0.0,
        "minutes_to_detect_median": round(median([o.detected[1] for o in hurt if o.detected] or [0]), 1),
        "minutes_to_recover_median": round(median([o.recovered[1] for o in repaired if o.recovered] or [0]), 1),
        "cycles_to_recover_most": max((o.recovered[0] for o in repaired if o.recovered), default=0),
        "vehicles_seen": seen,
        "vehicles_lost": lost,
        "vehicles_lost_share": round(lost / max(1, seen), 4),
        "regained_from_archive": sum(one.regained for one in done),
        "false_actions": false_actions,
        "wrong_rules": wrong_rules,
    }
    figures["goals_met"] = (
        figures["repaired_share"] >= 0.95
        and figures["f1_after_mean"] >= GOOD
        and wrong_rules == 0
        and false_actions == 0
        and figures["vehicles_lost_share"] <= 0.02
    )
    return figures


def _is_hit_by(site: dict[str, Any], mode: str) -> bool:
    """Whether a redesign of this kind can break this site as a source."""
    pagination = str(site["suggested_config"].get("pagination", {}).get("type"))
    if "json_keys" in mode:
        return pagination == "cursor"
    if mode == "pagination":
        return pagination in ("page", "offset") and int(site["live_count"]) > 30
    return pagination in ("page", "offset", "next_link") or "words" in mode or "mix" in mode


# ── Outages ──


def outages(drill: World, sites: Sequence[dict[str, Any]], n: int) -> dict[str, Any]:
    """Troubles that are no redesign: each must be named rightly, no configuration may change, all must come back."""
    right = changed = back = 0
    turns = [(*OUTAGES[turn % len(OUTAGES)], sites[turn % len(sites)]["slug"]) for turn in range(n)]
    for first in range(0, n, len(sites)):  # no site has two troubles at once
        struck = [
            (fault, body, names, slug, drill.row(slug))
            for fault, body, names, slug in turns[first : first + len(sites)]
        ]
        said = _named(drill, struck)
        for fault, body, names, slug, before in struck:
            after, (name, reason) = drill.row(slug), said[slug]
            judged = improvement.health_trail(drill.conn, before.id, 1)[0]
            right += name in names
            changed += after.config != before.config or after.status != before.status
            back += judged[1] != "failing"
            words = "" if name in names else f"WRONG, is {'/'.join(sorted(names))} "
            detail = " ".join(str(value) for value in body.values())[:20].replace("\n", " ")
            print(
                f"  {fault:<13}{detail:<21}{slug[:26]:<27}{name:<12} {words}({reason[:80]}) then {judged[1]}",
                flush=True,
            )
    return {
        "outages": n, "named_rightly": right, "rules_changed": changed, "back_after": back,
        "goals_met": right == n and changed == 0,
    }  # fmt: skip


def _named(
    drill: World, struck: Sequence[tuple[str, dict[str, Any], frozenset[str], str, SourceRow]]
) -> dict[str, tuple[str, str]]:
    """Let these troubles happen for two cycles and end in a third; what was said of each, and why."""
    for fault, body, _, slug, _before in struck:
        drill.web.post(fault, slug=slug, **body)
    began = drill.now()
    drill.conn.execute("DELETE FROM robots_files")
    for _ in range(2):
        drill.pass_time(WINDOW)
        drill.cycle()
    said = {}
    for *_, slug, before in struck:
        repairs = _repairs_since(drill, before, began)
        judged = improvement.health_trail(drill.conn, before.id, 1)[0]
        said[slug] = (repairs[0].diagnosis, repairs[0].reason) if repairs else (judged[2] or "well", "by health")
        drill.web.post("heal", slug=slug)
    drill.conn.execute("DELETE FROM robots_files")
    drill.pass_time(WINDOW)
    drill.cycle()
    drill.pass_time(WINDOW)
    return said


# ── Discovery ──


def discovery(drill: World, n_sites: int, n_decoys: int, seed: int) -> dict[str, Any]:
    """Unseen vehicle sites and decoys in one list of addresses, dropped where the pipeline looks for such."""
    chance = random.Random(seed)
    open_all(drill.web, n_sites)
    sites = [s for s in drill.web.get("/sites") if s["open"] and s["kind"] in VEHICLE_KINDS and s["live_count"]]
    sites = sites[:n_sites]
    for turn, site in enumerate(sites):
        if turn % 2:
            mode = chance.choice(("classes", "tags", "labels", "wrapped", "classes+tags", "bare", "mix"))
            drill.web.post("redesign", slug=site["slug"], mode=mode, seed=turn)
    decoys = _open_decoys(drill.web, n_decoys)
    folder = drill.settings.home / "discovery"
    folder.mkdir()
    addresses = [*(f"{site['base_url']}/" for site in sites), *decoys]
    chance.shuffle(addresses)
    (folder / "addresses.txt").write_text("\n".join(addresses))
    began, cycles = drill.now(), 0
    while cycles < 8 and (cycles < 2 or drill.conn.execute(_UNDECIDED).fetchone()):
        drill.cycle()
        drill.pass_time(WINDOW)
        cycles += 1
    hours = (drill.now() - began).total_seconds() / 3600
    drill.cycle()
    by_url = {row.base_url: row for row in registry.sources(drill.conn)}
    f1s: list[float] = []
    for site in sites:
        row = by_url.get(site["base_url"])
        candidate = improvement.candidate(drill.conn, site["base_url"].partition("://")[2].partition(":")[0])
        f1s.append(_stored_f1(drill, row, site["slug"]) if row is not None else 0.0)
        where = f"{site['kind']:<14}{site['layout']:<10}{site['country']:<3} {site['slug'][:28]:<29}"
        standing = row.status if row is not None else f"refused: {candidate.reason if candidate else 'never found'}"
        print(f"  {where}F1 {f1s[-1]:.3f} {standing}")
    taken = right = 0
    for url, kind in decoys.items():
        host = url.partition("://")[2].partition("/")[0].partition(":")[0]
        candidate = improvement.candidate(drill.conn, host)
        reason = (candidate.reason or "") if candidate is not None else "never found"
        taken += url.rstrip("/") in by_url
        right += reason.partition(":")[0] in DECOYS[kind]
        print(f"  {kind:<14}{url[:52]:<53}{reason[:90]}{'  TAKEN' if url.rstrip('/') in by_url else ''}")
    working = sum(f1 >= SOURCE_F1 for f1 in f1s)
    return {
        "sites": len(sites), "working": working, "working_share": round(working / max(1, len(sites)), 4),
        "f1_mean": round(mean(f1s), 4) if f1s else 0.0, "decoys": len(decoys), "decoys_taken": taken,
        "decoys_named_rightly": right, "cycles": cycles, "hours": round(hours, 1),
        "goals_met": working >= 0.9 * len(sites) and taken == 0,
    }  # fmt: skip


_UNDECIDED = "SELECT 1 FROM source_candidates WHERE status IN ('found', 'probed', 'trial') LIMIT 1"


def _open_decoys(web: SimWeb, n: int) -> dict[str, str]:
    """Decoys of every kind by turns: address and kind. One of them redirects into a private network."""
    found: dict[str, str] = {}
    kinds, private = list(DECOYS), iter(PRIVATE)
    for turn in range(n):
        kind = kinds[turn % len(kinds)]
        if kind != "private":
            found[f"{web.post('open', kind=kind)['base_url']}/"] = kind
        elif (url := next(private, None)) is not None:
            found[url] = kind
        else:
            site = web.post("open", kind="blog")
            web.post("redirect_to", slug=site["slug"], url="http://10.9.8.7/inventory")
            found[f"{site['base_url']}/"] = kind
    return found


def _stored_f1(drill: World, row: SourceRow, slug: str) -> float:
    """F1 of what is stored of a site against its truth, a listing never seen counting as all missing."""
    stored, total = drill.stored(row), Score()
    for url, ad in drill.truth(slug).items():
        got = stored.get(url, {})
        for name in TRUTH:
            if ad.get(name) is not None:
                value = got.get(name)
                known = value in drill.prices.get(url, ()) if name == "price" else same(name, value, ad[name])
                total.note(name, 2 if value is None else 0 if known else 1)
    return total.f1


def main() -> int:
    """Run the drills that were asked for and print their figures; 1 where a goal was missed."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("redesigns", 50), ("outages", 20), ("sites", 30), ("decoys", 30), ("seed", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--scale", type=float, default=0.2)
    wanted = parser.parse_args()
    began = time.monotonic()
    figures: dict[str, Any] = {"seed": wanted.seed, "scale": wanted.scale}
    if wanted.redesigns or wanted.outages:
        with world(wanted.seed, wanted.scale, target=1) as drill:
            sites = open_all(drill.web, 26)
            declare(drill, sites)
            for _ in range(WARM_UP):
                drill.cycle()
                drill.pass_time(WINDOW)
            print(f"{len(sites)} sources, {WARM_UP} cycles to get to know them, {time.monotonic() - began:.0f} s")
            if wanted.outages:
                figures["outage"] = outages(drill, sites, wanted.outages)
                print(f"outages {figures['outage']}", flush=True)
                drill.pass_time(WINDOW)
            if wanted.redesigns:
                figures["redesign"] = redesigns(drill, sites, wanted.redesigns, wanted.seed)
                print(f"redesigns {figures['redesign']}", flush=True)
    if wanted.sites or wanted.decoys:
        with world(wanted.seed, wanted.scale, target=1_000_000) as drill:
            figures["discovery"] = discovery(drill, wanted.sites, wanted.decoys, wanted.seed)
            print(f"discovery {figures['discovery']}", flush=True)
    figures["seconds"] = round(time.monotonic() - began, 1)
    figures["met"] = all(part["goals_met"] for part in figures.values() if isinstance(part, dict))
    print(orjson.dumps(figures).decode())
    return 0 if figures["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
