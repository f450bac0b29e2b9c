"""A simulated month, unattended: `python benchmarks/month.py [--days 30] [--seed 1] [--scale 0.03] [--minutes 0]`.

Cycles every two simulated hours over a small simulated web, whose time and ours are moved on together. Every day a site
is redesigned and another one is out for some hours (blocked, failing, silent, empty); every three days one closes for
good and two open, linked from a site that stays; every week throttling gets tighter. Nobody helps. Promises, looked at
in the end: the database grew and its quality did not fall week by week; the share of cycles on target; every source in
work is healthy, repaired or given up for a true reason, and no rule was changed for an outage; every report
reconciles, and counters, reports and rows agree. Prints a line a week; the last line is one JSON object; the exit
status is 1 when a promise was broken. With `--minutes` it ends after so much machine time, with the days it got to.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from fill_pipeline.crawl.urls import site_of
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.run import run_cycle
from fill_pipeline.db import improvement, learning, registry
from fill_pipeline.db.connect import Connection, connect_again
from fill_pipeline.db.improvement import FoundCandidate, RepairStatus
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url, stop_embedded
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb, start_simweb

sys.path.insert(0, str(Path(__file__).parent.parent))

from fill_pipeline_tests.end_to_end.reconcile import disagreements

WINDOW = timedelta(hours=2)
CYCLES_A_DAY = 12
FIRST_TROUBLE = 12  # cycles left in peace, so that every source has a history
ON_TARGET = 0.98
TARGET_SHARE = 0.5  # of what the web brings in a window when all is well
REDESIGNS = ("classes", "tags", "labels", "json_keys", "pagination", "mix")
OUTAGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("block", {"style": "403"}),
    ("block", {"style": "captcha"}),
    ("fail", {"status": 503}),
    ("fail", {"status": 500}),
    ("close", {}),
    ("soft404", {}),
    ("empty", {}),
    ("truncate", {}),
)
KINDS = ("dealer", "classifieds", "dealer", "auction_house")
BY_PEOPLE = frozenset({"operator"})


@dataclass
class Week:
    """A line of the table."""

    number: int
    cycles: int = 0
    on_target: int = 0
    added: list[int] = field(default_factory=list)
    quality: list[float] = field(default_factory=list)
    seconds: float = 0.0
    vehicles: int = 0
    unreconciled: list[str] = field(default_factory=list)
    actions: Counter[str] = field(default_factory=Counter)


class Month:
    """The world, its clock, and what happens in it."""

    def __init__(self, settings: Settings, web: SimWeb, seed: int) -> None:
        self.settings, self.web = settings, web
        self.chance = random.Random(seed)
        self.later = timedelta(0)
        self.closed: dict[str, int] = {}
        self.redesigned: dict[str, int] = {}
        self.out: dict[str, int] = {}
        self.had_outage: set[str] = set()
        self.opened: list[str] = []
        self.happened: Counter[str] = Counter()
        self.rps = 40.0

    def now(self) -> datetime:
        """The time the pipeline is told."""
        return utc_now() + self.later

    def db(self) -> Connection:
        """A connection of our own."""
        return connect_again(database_url(self.settings), name="month")

    def declare(self) -> None:
        """Every open site with stock as a source."""
        migrate(database_url(self.settings))
        with self.db() as conn:
            for site in self.web.get("/sites"):
                if site["open"] and site["live_count"]:
                    config = site["suggested_config"] | {"rate_limit": {"requests_per_minute": 3000}}
                    registry.declare_source(
                        conn, name=site["slug"], base_url=site["base_url"], config=config, kind=site["kind"]
                    )

    def step(self, cycle: int) -> None:
        """Two hours go by, and what is to happen in them happens."""
        self.later += WINDOW
        self.web.post("clock", advance_seconds=WINDOW.total_seconds())
        for slug in [slug for slug, until in self.out.items() if until <= cycle]:
            self.web.post("heal", slug=slug)
            del self.out[slug]
        if cycle < FIRST_TROUBLE:
            return
        day, hour = divmod(cycle, CYCLES_A_DAY)
        if hour == 2:
            slug = self._someone()
            self.web.post(
                "redesign", slug=slug, mode=self.chance.choice(REDESIGNS), seed=self.chance.randrange(1 << 30)
            )
            self.redesigned[slug] = cycle
            self.happened["redesigns"] += 1
        if hour == 5:
            slug = self._someone()
            fault, body = self.chance.choice(OUTAGES)
            self.web.post(fault, slug=slug, **body)
            self.out[slug] = cycle + self.chance.randint(1, 4)
            self.had_outage.add(slug)
            self.happened["outages"] += 1
        if hour == 8 and day % 3 == 0:
            slug = self._someone()
            self.web.post("close", slug=slug)
            self.closed[slug] = cycle
            self.happened["closed"] += 1
        if hour == 10 and day % 3 == 0:
            self._open_two()
        if hour == 11 and day % 7 == 6:
            self.rps /= 2
            slug = self._someone()
            self.web.post("throttle", slug=slug, rps=self.rps, retry_after=1)
            self.out[slug] = cycle + CYCLES_A_DAY
            self.had_outage.add(slug)
            self.happened["throttled"] += 1

    def _open_two(self) -> None:
        """Two sites appear, and a list of addresses names them, as a map's extract would."""
        found = []
        for _ in range(2):
            site = self.web.post("open", kind=self.chance.choice(KINDS))
            self.opened.append(site["slug"])
            found.append(FoundCandidate(site_of(site["base_url"]), f"{site['base_url']}/", "simulated"))
            self.happened["opened"] += 1
        with self.db() as conn:
            improvement.add_candidates(conn, found, now=self.now())

    def _someone(self) -> str:
        """A source in work that nothing is wrong with now."""
        with self.db() as conn:
            by_url = {site["base_url"]: site for site in self.web.get("/sites") if site["open"] and site["live_count"]}
            fit = [
                str(by_url[row.base_url.rstrip("/")]["slug"])
                for row in registry.sources(conn)
                if row.crawlable and row.base_url.rstrip("/") in by_url
            ]
        fit = [slug for slug in sorted(fit) if slug not in self.out and slug not in self.closed]
        return self.chance.choice(fit)


def false_actions(month: Month, conn: Connection) -> list[str]:
    """What the system did for no reason: sites retired that work, rules changed where no site was redesigned."""
    found = []
    slugs: dict[str, str] = {site["base_url"]: site["slug"] for site in month.web.get("/sites")}
    for row in registry.sources(conn):
        site = slugs.get(row.base_url.rstrip("/"), row.slug)
        if row.status == "retired" and site not in month.closed:
            trail = [f"{r.cycle_id} {r.diagnosis} {r.status}" for r in improvement.repairs(conn, row.id, 6)]
            happened = [name for name in ("redesigned", "had_outage") if site in getattr(month, name)]
            found.append(f"{row.slug} was given up, though it is open: {row.status_reason}; {happened} {trail}")
        for version in registry.versions(conn, row.id):
            if version.made_by in BY_PEOPLE and version.version > 1:
                found.append(f"{row.slug} was changed by a person")
        for repair in improvement.repairs(conn, row.id, 1000):
            if repair.status == RepairStatus.PROMOTED and site not in month.redesigned:
                found.append(f"the rules of {row.slug} were changed though it was not redesigned: {repair.reason}")
    return found


def unaccounted(month: Month, conn: Connection, cycle: int) -> list[str]:
    """Sources neither healthy, nor repaired, nor given up, of those with four days to come to it."""
    latest = conn.execute("SELECT cycle_id FROM fill_cycles WHERE status = 'closed' ORDER BY window_start DESC LIMIT 1")
    row = latest.fetchone()
    assert row is not None
    rows: list[Any] = conn.execute(
        "SELECT s.slug, s.status, h.status, h.reason, s.base_url FROM scrape_sources s"
        " LEFT JOIN source_health h ON h.source_id = s.id AND h.cycle_id = %s"
        " WHERE s.status IN ('live', 'quarantined')",
        [row[0]],
    ).fetchall()
    slugs: dict[str, str] = {site["base_url"]: site["slug"] for site in month.web.get("/sites")}
    grace = cycle - 4 * CYCLES_A_DAY
    found = []
    for slug, status, health, reason, base_url in rows:
        site = slugs.get(base_url.rstrip("/"), slug)
        recent = max(month.closed.get(site, 0), month.redesigned.get(site, 0)) > grace or site in month.out
        if not recent and (health == "failing" or status == "quarantined"):
            found.append(f"{slug} is {status} and {health}: {reason}")
    return found


def run(month: Month, days: int, minutes: float) -> tuple[list[Week], int]:
    """The month's weeks, and how many cycles there were."""
    weeks: list[Week] = []
    began = time.monotonic()
    print(f"{'week':>4} {'cycles':>6} {'target':>6} {'added':>7} {'total':>7} {'quality':>7} {'s/cycle':>7}  actions")
    cycle = 0
    for cycle in range(days * CYCLES_A_DAY):
        if not cycle % (7 * CYCLES_A_DAY):
            weeks.append(Week(len(weeks) + 1))
        week = weeks[-1]
        month.step(cycle)
        started = time.monotonic()
        report = run_cycle(month.settings, now_fn=month.now)
        assert report is not None
        if cycle + 1 == FIRST_TROUBLE // 2:
            added = mean(week.added[1:])
            month.settings = month.settings.model_copy(update={"target": max(1, round(TARGET_SHARE * added))})
        week.seconds += time.monotonic() - started
        week.cycles += 1
        week.on_target += report["on_target"]
        week.added.append(report["vehicles_added"])
        week.vehicles = report["total_vehicles"]
        if report["data_quality"] is not None:
            week.quality.append(report["data_quality"])
        if not report["reconciled"]:
            week.unreconciled.append(f"{report['cycle_id']}: {report['errors']}")
        for action in report["actions"]:
            week.actions[action.get("lever") or action["action"].split("/")[0]] += 1
        done = cycle + 1 == days * CYCLES_A_DAY or (minutes and time.monotonic() - began > minutes * 60)
        if done or not (cycle + 1) % (7 * CYCLES_A_DAY):
            told = " ".join(f"{name} {n}" for name, n in sorted(week.actions.items()))
            print(
                f"{week.number:>4} {week.cycles:>6} {week.on_target / week.cycles:>6.1%} {sum(week.added):>7}"
                f" {week.vehicles:>7} {mean(week.quality or [0]):>7.3f} {week.seconds / week.cycles:>7.1f}  {told}",
                flush=True,
            )
        if done:
            break
    return weeks, cycle + 1


def judge(month: Month, weeks: list[Week], cycles: int) -> dict[str, Any]:
    """The month's figures, with every promise that was broken."""
    broken = [what for week in weeks for what in week.unreconciled]
    for before, after in pairwise(weeks):
        if after.vehicles <= before.vehicles:
            broken.append(f"week {after.number}: the database did not grow ({before.vehicles} to {after.vehicles})")
        if mean(after.quality) < mean(before.quality) - 0.01:
            broken.append(
                f"week {after.number}: quality fell from {mean(before.quality):.3f} to {mean(after.quality):.3f}"
            )
    on_target = sum(week.on_target for week in weeks) / cycles
    if on_target < ON_TARGET:
        broken.append(f"only {on_target:.1%} of the cycles were on target")
    with month.db() as conn:
        broken += false_actions(month, conn)
        broken += unaccounted(month, conn, cycles)
        broken += disagreements(conn, month.settings.archive_root)
        rows = registry.sources(conn)
        repairs: Counter[str] = Counter(r.status for row in rows for r in improvement.repairs(conn, row.id, 1000))
        losses = learning.losses(conn, month.now() - timedelta(days=60))
    given_up = {loss.slug for loss in losses}
    due = [slug for slug, at in month.closed.items() if at < cycles - 4 * CYCLES_A_DAY]
    return {
        "days": round(cycles / CYCLES_A_DAY, 1),
        "cycles": cycles,
        "on_target": round(on_target, 4),
        "target": month.settings.target,
        "vehicles": weeks[-1].vehicles,
        "happened": dict(month.happened),
        "repairs": dict(repairs),
        "retired": len(given_up),
        "closed_due": len(due),
        "discovered": sum(row.discovered_via is not None for row in rows),
        "opened": len(month.opened),
        "worth_lost": round(sum(loss.worth for loss in losses), 1),
        "worth_covered": round(sum(loss.covered for loss in losses), 1),
        "levers": dict(sum((week.actions for week in weeks), Counter())),
        "broken": broken,
    }


def main() -> int:
    """Runs the month and prints its weeks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=0.03)
    parser.add_argument("--minutes", type=float, default=0.0, help="of machine time at most; 0 is no bound")
    arguments = parser.parse_args()
    quiet = logging.getLogger("fill_pipeline")
    quiet.propagate = False
    quiet.addHandler(logging.NullHandler())
    home = Path(tempfile.mkdtemp(prefix="month-"))
    home.chmod(0o755)  # as root the embedded server is another user
    settings = Settings(home=home, allow_nets="127.0.0.0/8", workers=1, target=1)  # type: ignore[arg-type]
    began = time.monotonic()
    try:
        with start_simweb(seed=arguments.seed, scale=arguments.scale) as web:
            month = Month(settings, web, arguments.seed)
            month.declare()
            weeks, cycles = run(month, arguments.days, arguments.minutes)
            figures = judge(month, weeks, cycles)
    finally:
        stop_embedded(settings)
        shutil.rmtree(home, ignore_errors=True)
    for what in figures["broken"]:
        print(f"BROKEN: {what}")
    figures |= {"seed": arguments.seed, "scale": arguments.scale, "minutes": round((time.monotonic() - began) / 60, 1)}
    print(json.dumps(figures))
    return 1 if figures["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
