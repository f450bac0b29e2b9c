"""Drills on the simulated web, from a seed: redesigns, outages, and the discovery of unseen sites among decoys.

    python benchmarks/drills.py [--redesigns 50] [--gaps 10] [--outages 20] [--sites 30] [--decoys 30]
        [--corpus DIR] [--seed 7] [--scale 0.2]

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
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import orjson
from drill_corpus import corpus_induction
from drill_redesigns import gaps, redesigns
from drill_world import TRUTH, VEHICLE_KINDS, WINDOW, World, open_all, repairs_since, world

from fill_pipeline.crawl.fetch import FetchRequest, decode_body
from fill_pipeline.db import improvement, registry
from fill_pipeline.db.registry import SourceRow
from fill_pipeline.discovery.candidate import RejectReason
from fill_pipeline.extract.dom import parse
from fill_pipeline.repair.induce import induce
from fill_pipeline.repair.truth import Score, same
from fill_pipeline.simweb.handle import SimWeb

WARM_UP = 4  # cycles after which it is known what is usual
SOURCE_F1 = 0.95
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
    ("lie", {"header": "encoding"}, frozenset({"well"})),  # seen through: the pages are read all the same
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
        repairs = repairs_since(drill, before, began)
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
    for name, default in (
        ("redesigns", 50), ("gaps", 10), ("outages", 20), ("sites", 30), ("decoys", 30), ("seed", 7),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--corpus", type=Path, help="real pages to learn rules from as well")
    parser.add_argument("--scale", type=float, default=0.2)
    wanted = parser.parse_args()
    began = time.monotonic()
    figures: dict[str, Any] = {"seed": wanted.seed, "scale": wanted.scale}
    if wanted.corpus is not None:
        figures["corpus"] = corpus_induction(wanted.corpus)
    if wanted.redesigns or wanted.outages or wanted.gaps:
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
            if wanted.gaps:
                figures["gap"] = gaps(drill, sites, wanted.gaps, wanted.seed)
                print(f"gaps {figures['gap']}", flush=True)
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
