"""Redesign drills: sites change their form at random moments, and whole unattended cycles must put that right."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import mean, median
from typing import Any

from drill_world import TRUTH, WINDOW, World, repairs_since

from fill_pipeline.db import improvement, registry
from fill_pipeline.db.registry import SourceRow
from fill_pipeline.vehicles.vin import same_value

SIDE_BY_SIDE = 10  # redesigns in one cycle
GOOD = 0.97
GAP = timedelta(hours=12)
GAP_WINDOWS = 2
GAP_MODES = ("words+wrapped+bare", "words+classes+bare", "words+tags+classes+bare")
MODES = (
    "classes", "tags", "labels", "json_keys", "pagination", "wrapped", "words", "mix",
    "classes+tags", "labels+wrapped", "words+classes", "json_keys+pagination", "words+wrapped+bare",
    "classes+pagination", "words+tags+classes+bare", "mix+wrapped",
)  # fmt: skip


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
    why: Counter[str] = field(default_factory=Counter)
    lost: int = 0

    @property
    def hurt(self) -> bool:
        """Whether it broke anything at all."""
        return self.f1_broken < GOOD or self.listed_broken < GOOD

    @property
    def right(self) -> bool:
        """Whether its pages are read and listed rightly in the end, with no person."""
        return self.f1 >= GOOD and self.listed >= GOOD

    def why_harmless(self) -> str:
        """What made a redesign do no harm."""
        config = self.source.config
        touched = [
            words
            for words, there in (
                ("rules for pages", bool(config.get("rules"))),
                ("a link selector", bool(config.get("index", {}).get("link_selector"))),
            )
            if there
        ]
        return f"{' and '.join(touched)} outlived it" if touched else "read without any rules of its own"

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
    """The fields that a stored listing lacks or misstates, "all" without a listing.

    Any price it ever had is right, and so is a model with its variant, as accuracy counts it (a Corvette Stingray is a
    Corvette).
    """
    if row is None:
        return ["all"]
    wanted = [name for name in TRUTH if ad[name] is not None and not (name == "price" and None in prices)]
    return [
        name
        for name in wanted
        if row[name] is None or not (row[name] in prices if name == "price" else same_value(name, row[name], ad[name]))
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
    repairs = repairs_since(drill, one.source, one.at)
    health = improvement.health_trail(drill.conn, one.source.id, 1)
    minutes = (drill.now() - one.at).total_seconds() / 60
    noticed = bool(repairs) or (bool(health) and health[0][0] == cycle_id and health[0][1] != "healthy")
    if one.detected is None and noticed:
        one.detected = (number, minutes)
    after = drill.reads(one.site)
    one.f1, one.listed = after.f1, drill.lists(one.site)
    if one.recovered is None and one.f1 >= GOOD and one.listed >= GOOD:
        one.recovered = (number, minutes)
    one.outcome = repairs[0].status if repairs else f"nothing done ({health[0][3] or ''})"[:90] if health else ""
    if repairs and repairs[0].status in ("rejected", "diagnosed"):
        one.outcome += f" ({repairs[0].diagnosis}: {repairs[0].reason[:90]})"
    promoted = any(row.status == "promoted" for row in repairs)
    rules = (repairs[0].evidence.get("rules") or {}) if repairs else {}
    # A model that a title names with its variant is no rule's doing.
    judged = [counts for name, counts in after.by_field.items() if name != "model" or name in rules]
    right, wrong = (sum(counts[outcome] for counts in judged) for outcome in (0, 1))
    is_wrong = promoted and number == 2 and right < GOOD * (right + wrong)
    if is_wrong:
        print(f"  WRONG RULE on {one.site}: right/wrong/missing {after.by_field}; rules {rules}", flush=True)
    return int(is_wrong)


def _tell(one: Incident) -> None:
    detected = "-" if one.detected is None else f"{one.detected[0]}c {one.detected[1]:.0f}min"
    recovered = "NO" if one.recovered is None else f"{one.recovered[0]}c {one.recovered[1]:.0f}min"
    print(
        f"  {one.mode:<24}{one.site[:26]:<27}broken F1 {one.f1_broken:.2f} lists {one.listed_broken:4.0%} | "
        f"detected {detected:<10} recovered {recovered:<10} F1 {one.f1:.3f} lists {one.listed:4.0%} "
        f"{'' if one.hurt else 'HARMLESS '}lost {one.lost:>3} of {len(one.seen):<4} {one.outcome} "
        f"{dict(one.why) if one.lost else ''}",
        flush=True,
    )


def _sum_up(done: Sequence[Incident], false_actions: int, wrong_rules: int) -> dict[str, Any]:
    hurt = [one for one in done if one.hurt]
    repaired = [one for one in hurt if one.recovered is not None]
    right = [one for one in done if one.right]
    f1s = [one.f1 for one in hurt]
    seen = sum(len(one.seen) for one in done)
    lost = sum(one.lost for one in done)
    figures: dict[str, Any] = {
        "redesigns": len(done),
        "right_afterwards": len(right),
        "right_share": round(len(right) / max(1, len(done)), 4),
        "hurt": len(hurt),
        "hurt_pages": sum(one.f1_broken < GOOD for one in hurt),
        "hurt_index": sum(one.listed_broken < GOOD for one in hurt),
        "harmless": dict(Counter(one.why_harmless() for one in done if not one.hurt)),
        "repaired": len(repaired),
        "repaired_share": round(len(repaired) / max(1, len(hurt)), 4),
        "f1_after_mean": round(mean(f1s), 4) if f1s else 0.0,
        "f1_after_least": round(min(f1s), 4) if f1s else 0.0,
        "minutes_to_detect_median": round(median([o.detected[1] for o in hurt if o.detected] or [0]), 1),
        "minutes_to_recover_median": round(median([o.recovered[1] for o in repaired if o.recovered] or [0]), 1),
        "cycles_to_recover_most": max((o.recovered[0] for o in repaired if o.recovered), default=0),
        "vehicles_seen": seen,
        "vehicles_lost": lost,
        "vehicles_lost_share": round(lost / max(1, seen), 4),
        "false_actions": false_actions,
        "wrong_rules": wrong_rules,
    }
    figures["goals_met"] = (
        figures["repaired_share"] >= 0.95
        and figures["right_share"] >= 0.95
        and figures["f1_after_mean"] >= GOOD
        and wrong_rules == 0
        and false_actions == 0
        and figures["vehicles_lost_share"] <= 0.02
    )
    return figures


# ── What was fetched while broken ──


def gaps(drill: World, sites: Sequence[dict[str, Any]], n: int, seed: int) -> dict[str, Any]:
    """Sites whose new form is crawled for a day before anything mends it, while some of what they list is sold.

    What the broken pages failed to give must be right after the repair; of what was sold meanwhile the site shows
    nothing any more, so that it can only come from the archive.
    """
    chance = random.Random(seed)
    fit = [site for site in sites if _is_hit_by(site, "wrapped")]
    struck = [(mode, site["slug"]) for mode, site in zip(GAP_MODES * n, fit[:n], strict=False)]
    for mode, slug in struck:
        _walk_without_rules(drill, slug)
        drill.web.post("redesign", slug=slug, mode=mode, seed=chance.randrange(10_000))
    broken: dict[str, Incident] = {}
    for _ in range(GAP_WINDOWS):
        drill.pass_time(GAP)
        for mode, slug in struck:
            broken.setdefault(slug, Incident(mode, slug, drill.row(slug), drill.now())).look(drill)
        drill.crawl_only([slug for _, slug in struck])
    then = {slug: one.bad(drill) & set(drill.stored(one.source)) for slug, one in broken.items()}
    sold = {slug: _sell(drill, slug, chance.sample(sorted(bad), len(bad) // 2)) for slug, bad in then.items()}
    for _ in range(2):
        drill.pass_time(WINDOW)
        drill.cycle()
    regained = from_archive = 0
    for slug, one in broken.items():
        still = one.bad(drill)
        back = then[slug] - still
        regained += len(back)
        from_archive += len(back & sold[slug])
        print(
            f"  {one.mode:<24}{slug[:26]:<27}broken while fetched {len(then[slug]):>3}, right again {len(back):>3}, "
            f"of {len(sold[slug]):>3} sold meanwhile {len(back & sold[slug]):>3} {dict(one.why) if still else ''}",
            flush=True,
        )
    lost, gone = sum(map(len, then.values())), sum(map(len, sold.values()))
    return {
        "sites": len(broken), "fetched_broken": lost, "regained": regained, "sold_meanwhile": gone,
        "regained_from_archive": from_archive, "regained_share": round(regained / max(1, lost), 4),
        "goals_met": lost > 0 and gone > 0 and regained >= 0.95 * lost and from_archive >= 0.95 * gone,
    }  # fmt: skip


def _walk_without_rules(drill: World, slug: str) -> None:
    """Have a source's index walked by what its links look like: where a redesign ends the walk, nothing is fetched."""
    row = drill.row(slug)
    index = {name: value for name, value in row.config.get("index", {}).items() if name != "link_selector"}
    reason = "its links need no selector"
    registry.change_config(drill.conn, row.id, row.config | {"index": index}, made_by="drill", reason=reason)


def _sell(drill: World, slug: str, urls: Sequence[str]) -> set[str]:
    """Have these listings sold; returns those that the site no longer lists."""
    ads = drill.truth(slug)
    for url in urls:
        if url in ads:
            drill.web.post("sell", slug=slug, remote_id=ads[url]["remote_id"])
    return set(urls) - set(drill.truth(slug))


def _is_hit_by(site: dict[str, Any], mode: str) -> bool:
    """Whether a redesign of this kind can break this site as a source."""
    pagination = str(site["suggested_config"].get("pagination", {}).get("type"))
    if "json_keys" in mode:
        return pagination == "cursor"
    if mode == "pagination":
        return pagination in ("page", "offset") and int(site["live_count"]) > 30
    return pagination in ("page", "offset", "next_link") or "words" in mode or "mix" in mode
