"""Drills on the simulated web, from a seed: redesigns, outages, rule induction, discovery.

    python benchmarks/drills.py [--seed 7] [--scale 0.08] [--redesigns 12] [--outages 12]

Prints figures for people; the last line is one JSON object. Needs no network: database and sites run on loopback.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from fill_pipeline.crawl.fetch import Fetcher, FetchRequest, FetchSettings, decode_body
from fill_pipeline.crawl.harvest import SourceToCrawl, harvest
from fill_pipeline.crawl.robots import RobotsCache
from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.db import improvement, registry
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.improvement import FoundCandidate
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url
from fill_pipeline.discovery.candidate import RejectReason
from fill_pipeline.discovery.discover import Budget, discover
from fill_pipeline.drain.drain import drain_queue
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.read import Reading
from fill_pipeline.drain.work import Work, load_sources
from fill_pipeline.extract.dom import parse
from fill_pipeline.extract.rules import Rule
from fill_pipeline.repair.induce import induce, value_of
from fill_pipeline.repair.repair import repair_sources
from fill_pipeline.repair.truth import Score, Witness, same, score
from fill_pipeline.settings import Settings
from fill_pipeline.simweb.handle import SimWeb, start_simweb

MODES = ("classes", "tags", "labels", "json_keys", "pagination", "mix")
CORE = ("year", "make", "model", "price", "mileage", "place", "image")
TRUTH = ("vin", "year", "make", "model", "price", "mileage")
OUTAGES: tuple[tuple[str, dict[str, Any], frozenset[str]], ...] = (
    ("block", {"style": "403"}, frozenset({"blocked"})),
    ("block", {"style": "captcha"}, frozenset({"captcha"})),
    ("block", {"style": "login"}, frozenset({"login"})),
    ("throttle", {"rps": 0.01, "retry_after": 60}, frozenset({"throttled"})),
    ("fail", {"status": 500}, frozenset({"unreachable"})),
    ("close", {}, frozenset({"unreachable"})),
    ("truncate", {}, frozenset({"unreachable"})),
    ("robots", {"body": "User-agent: *\nDisallow: /"}, frozenset({"robots"})),
    ("soft404", {}, frozenset({"soft_404"})),
    ("empty", {}, frozenset({"empty", "gone"})),
    ("redirect_to", {"url": "http://elsewhere.localhost/"}, frozenset({"moved"})),
    ("redirect_loop", {}, frozenset({"unreachable"})),
)
DECOYS = ("blog", "parts", "link_farm", "parked", "calendar")
PRIVATE = (
    "http://10.1.2.3/",
    "http://169.254.169.254/",
    "http://[fd00::1]/",
    "http://0x0a000001/",
    "http://192.168.0.10/",
)
ACCOUNTED = {
    "blog": RejectReason.ARTICLES,
    "parts": RejectReason.GOODS,
    "link_farm": RejectReason.LINK_FARM,
    "parked": RejectReason.PARKED,
    "calendar": RejectReason.TRAP,
}


class Drill:
    """A simulated web, a database, and the sources between them."""

    def __init__(self, conn: Connection, web: SimWeb, settings: Settings, url: str) -> None:
        self.conn, self.web, self.settings, self.url = conn, web, settings, url
        self.cycle = ensure_open(conn, settings, now=now()).cycle_id
        self.fetcher = Fetcher(FetchSettings(allow_nets=settings.allow_nets))

    def work(self) -> Work:
        """A new piece of work in the open cycle."""
        return Work(self.settings, self.url, self.cycle, "drill", now, now() + timedelta(minutes=30))

    def crawl(self) -> None:
        """Harvest and drain every source."""
        work = self.work()
        harvest_sources(work, list(load_sources(self.conn).values()))
        drain_queue(work)

    def sites(self) -> list[dict[str, Any]]:
        """The open vehicle sites with enough stock to say something, those without a slow robots.txt."""
        return [s for s in self.web.get("/sites") if s["open"] and (s["live_count"] or 0) >= 8]

    def pages(self, slug: str, n: int = 10) -> list[Witness]:
        """Listings' pages of a site with what is true of them."""
        found = []
        for ad in self.web.get(f"/truth?slug={slug}")[:n]:
            response = self.fetcher.fetch(FetchRequest(url=ad["url"]))
            if response.ok:
                truth = {name: ad[name] for name in TRUTH if ad.get(name) is not None}
                found.append(Witness(ad["url"], decode_body(response, 10_000_000), response.content_type, truth))
        return found

    def reads(self, slug: str) -> Score:
        """How the source's live configuration reads its site's pages, against the truth."""
        row = registry.find_source(self.conn, slug)
        assert row is not None
        source = next(s for s in load_sources(self.conn, crawlable_only=False).values() if s.id == row.id)
        reading = Reading(source.slug, source.config.extract_rules(), self.settings.min_confidence, CORE)
        return score(self.pages(slug), reading, now=now())

    def lists(self, slug: str) -> float:
        """The share of the site's live listings that a harvest with the source's live configuration finds."""
        row = registry.find_source(self.conn, slug)
        assert row is not None
        source = next(s for s in load_sources(self.conn, crawlable_only=False).values() if s.id == row.id)
        crawled = SourceToCrawl(source.slug, row.base_url, source.config)
        found = {url for page in harvest(crawled, self.fetcher, robots=RobotsCache()) for url, _, _ in page.detail_urls}
        live = {ad["url"] for ad in self.web.get(f"/truth?slug={slug}")}
        return len(found & live) / max(1, len(live))


def now() -> datetime:
    """The present moment (UTC)."""
    return datetime.now(UTC)


def declare(drill: Drill, sites: Sequence[dict[str, Any]]) -> None:
    """Sites as sources with a selector of their own for links, so that a redesign breaks them; all pages are read."""
    for site in sites:
        config = site["suggested_config"] | {"detail": "always"}
        if config.get("pagination", {}).get("type") in ("page", "offset", "next_link"):
            response = drill.fetcher.fetch(FetchRequest(url=f"{site['base_url']}{config['index']['urls'][0]}"))
            heading = parse(decode_body(response, 10_000_000).decode()).css_first("h3[class] a[href]")
            if heading is not None and heading.parent is not None:
                name = (heading.parent.attributes["class"] or "").split()[0]
                config["index"] = config["index"] | {"link_selector": f"h3.{name} a"}
        registry.declare_source(
            drill.conn, name=site["slug"], base_url=site["base_url"], config=config, kind=site["kind"]
        )


def redesigns(drill: Drill, sites: Sequence[dict[str, Any]], n: int, seed: int) -> dict[str, Any]:
    """Redesign site after site; a repair is right when the index gives listings and pages read well afterwards."""
    results: Counter[str] = Counter()
    f1s: list[float] = []
    seconds: list[float] = []
    listed: list[float] = []
    for turn in range(n):
        mode = MODES[turn % len(MODES)]
        fit = [site for site in sites if _is_hit_by(site, mode)]
        site = fit[(turn // len(MODES)) % len(fit)]
        slug = site["slug"]
        drill.web.post("redesign", slug=slug, mode=mode, seed=seed + turn)
        row = registry.find_source(drill.conn, slug)
        assert row is not None
        began = time.monotonic()
        repairs = repair_sources(drill.conn, drill.work(), [row.slug])
        seconds.append(time.monotonic() - began)
        after = drill.reads(slug)
        f1s.append(after.f1)
        listed.append(drill.lists(slug))
        outcome = "repaired" if repairs.promoted else next(iter(repairs.causes), "nothing")
        results[outcome] += 1
        print(f"  {mode:<11} {slug:<28} {outcome:<10} F1 {after.f1:.3f}  lists {listed[-1]:.0%}  {seconds[-1]:.1f} s")
    good = sum(f1 >= 0.97 and share >= 0.97 for f1, share in zip(f1s, listed, strict=True))
    return {
        "redesigns": n,
        "outcomes": dict(results),
        "well_after": good,
        "listed_mean": round(sum(listed) / max(1, len(listed)), 4),
        "f1_mean": round(sum(f1s) / max(1, len(f1s)), 4),
        "seconds_mean": round(sum(seconds) / max(1, len(seconds)), 2),
    }


def _is_hit_by(site: dict[str, Any], mode: str) -> bool:
    """Whether a redesign of this kind can break this site as a source."""
    pagination = str(site["suggested_config"].get("pagination", {}).get("type"))
    if mode == "json_keys":
        return pagination == "cursor"
    if mode == "pagination":
        return pagination in ("page", "offset") and int(site["live_count"]) > 30
    return pagination in ("page", "offset", "next_link") or mode == "mix"


def outages(drill: Drill, sites: Sequence[dict[str, Any]], n: int) -> dict[str, Any]:
    """Troubles that are no redesign: each must be named rightly, and no configuration may change."""
    right = changed = 0
    for turn in range(n):
        fault, body, names = OUTAGES[turn % len(OUTAGES)]
        site = sites[(turn * 5 + 1) % len(sites)]
        before = registry.find_source(drill.conn, site["slug"])
        assert before is not None
        drill.conn.execute("DELETE FROM robots_files")
        drill.web.post(fault, slug=site["slug"], **body)
        repair_sources(drill.conn, drill.work(), [before.slug])
        drill.web.post("heal", slug=site["slug"])
        after = registry.find_source(drill.conn, site["slug"])
        said = improvement.repairs(drill.conn, before.id, 1)[0].diagnosis
        right += said in names
        changed += after is None or after.config != before.config or after.status != before.status
        print(f"  {fault:<13} {site['slug']:<28} {said:<12} {'' if said in names else 'WRONG, is ' + '/'.join(names)}")
    drill.conn.execute("DELETE FROM robots_files")
    return {"outages": n, "named_rightly": right, "rules_changed": changed}


def induction(drill: Drill, sites: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Rules alone, without any general reading: those learned before a redesign, and those learned anew from four."""
    kept, anew = Score(), Score()
    used = 0
    for turn, site in enumerate(sites):
        before = drill.pages(site["slug"], 6)
        old = induce(before, TRUTH)
        mode = ("classes", "tags", "labels")[turn % 3]
        drill.web.post("redesign", slug=site["slug"], mode=mode, seed=seed + 100 + turn)
        after = drill.pages(site["slug"], 12)
        new = induce(after[:4], TRUTH)
        used += 1
        for page in after[4:]:
            count_rules(kept, old, page)
            count_rules(anew, new, page)
    return {"sites": used, "kept_rules_f1": round(kept.f1, 3), "induced_rules_f1": round(anew.f1, 3),
            "induced_precision": round(anew.precision, 4)}  # fmt: skip


def count_rules(total: Score, rules: dict[str, Rule], page: Witness) -> None:
    """Compare what rules alone read from a page with its truth."""
    tree = parse(page.body.decode("utf-8", errors="replace"))
    for name, wanted in page.truth.items():
        rule = rules.get(name)
        got = value_of(rule, name, tree, page.url) if rule is not None else None
        total.note(name, 2 if got is None else 0 if same(name, got, wanted) else 1)


def discovery(drill: Drill) -> dict[str, Any]:
    """Unseen vehicle sites and decoys, all pointed to at once."""
    known = {row.base_url for row in registry.sources(drill.conn)}
    sites = {s["base_url"]: s for s in drill.web.get("/sites") if not s["open"]}
    for site in sites.values():
        drill.web.post("open", slug=site["slug"])
    fresh = {s["base_url"]: s for s in drill.web.get("/sites") if s["base_url"] in sites and s["base_url"] not in known}
    stocked = {url: s for url, s in fresh.items() if s["live_count"]}
    decoys = {url: s for url, s in fresh.items() if s["kind"] in DECOYS}
    found = [FoundCandidate(url, f"{url}/", "drill") for url in [*stocked, *decoys]]
    found += [FoundCandidate(url, url, "drill") for url in PRIVATE]
    improvement.add_candidates(drill.conn, found, now=now())
    began = time.monotonic()
    funnel = discover(drill.conn, drill.work(), budget=Budget(probes=200, taken=100, on_trial=100))
    seconds = time.monotonic() - began
    taken = {row.base_url for row in registry.sources(drill.conn)}
    right = 0
    for url, site in decoys.items():
        candidate = improvement.candidate(drill.conn, url)
        reason = (candidate.reason or "") if candidate is not None else ""
        right += reason.startswith(ACCOUNTED[site["kind"]])
    private = funnel.rejected.get(RejectReason.PRIVATE_ADDRESS, 0)
    accepted = [url for url in stocked if url in taken]
    for url in set(stocked) - set(accepted):
        candidate = improvement.candidate(drill.conn, url)
        print(f"  refused: {url} {candidate.reason if candidate is not None else ''}")
    drill.crawl()
    f1s = {}
    for row in registry.sources(drill.conn):
        if row.base_url in accepted:
            f1s[row.base_url] = drill_reads(drill, row.slug, stocked[row.base_url]["slug"])
    return {
        "sites": len(stocked),
        "taken": len(accepted),
        "decoys": len(decoys) + len(PRIVATE),
        "decoys_taken": sum(url in taken for url in decoys),
        "decoys_named_rightly": right + private,
        "yielding_f1_0.95": sum(f1 >= 0.95 for f1 in f1s.values()),
        "requests_per_probe": round(funnel.requests / max(1, funnel.probed), 1),
        "seconds": round(seconds, 1),
    }


def drill_reads(drill: Drill, slug: str, site: str) -> float:
    """F1 of what is stored of a site against its truth, a listing never seen counting as all missing."""
    rows = drill.conn.execute(
        "SELECT url, vin, year, make, model, price, mileage FROM listings WHERE source = %s", [slug]
    ).fetchall()
    stored = {row[0]: dict(zip(TRUTH, row[1:], strict=True)) for row in rows}
    total = Score()
    for ad in drill.web.get(f"/truth?slug={site}"):
        got = stored.get(ad["url"], {})
        for name in TRUTH:
            if ad.get(name) is not None:
                value = got.get(name)
                total.note(name, 2 if value is None else 0 if same(name, value, ad[name]) else 1)
    return total.f1


def main() -> None:
    """Run the drills and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scale", type=float, default=0.08)
    parser.add_argument("--redesigns", type=int, default=12)
    parser.add_argument("--outages", type=int, default=12)
    wanted = parser.parse_args()
    began = time.monotonic()
    figures: dict[str, Any] = {"seed": wanted.seed, "scale": wanted.scale}
    with tempfile.TemporaryDirectory() as folder, start_simweb(seed=wanted.seed, scale=wanted.scale) as web:
        settings = Settings(home=Path(folder), allow_nets="127.0.0.0/8", workers=2)  # type: ignore[arg-type]
        url = database_url(settings)
        migrate(url)
        with connect(url, name="drills") as conn:
            drill = Drill(conn, web, settings, url)
            sites = drill.sites()
            declare(drill, sites)
            drill.crawl()
            print(f"{len(sites)} sites crawled in {time.monotonic() - began:.0f} s")
            print("redesigns")
            figures["redesign"] = redesigns(drill, sites, wanted.redesigns, wanted.seed)
            print("outages")
            figures["outage"] = outages(drill, sites, wanted.outages)
            figures["induction"] = induction(drill, [s for s in sites if s["kind"] == "dealer"][:6], wanted.seed)
            print(f"induction {figures['induction']}")
            figures["discovery"] = discovery(drill)
            print(f"discovery {figures['discovery']}")
            drill.fetcher.close()
    figures["seconds"] = round(time.monotonic() - began, 1)
    print(orjson.dumps(figures).decode())


if __name__ == "__main__":
    main()
