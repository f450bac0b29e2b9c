"""A simulated month, unattended: `python benchmarks/month.py [--days 30] [--seed 1] [--scale 0.02] [--minutes 0]`.

Cycles every two simulated hours over a small simulated web, whose time and ours are moved on together. Every day a site
is redesigned and another one is out for some hours (blocked, failing, silent, empty); every three days one closes for
good and two open, linked from a site that stays; every week throttling gets tighter. Nobody helps. Promises, looked at
in the end: the database grew and its quality did not fall week by week; the share of cycles on target; every source in
work is healthy, repaired or given up for a true reason, and no rule was changed for an outage; every report
reconciles, and counters, reports and rows agree. Prints a line a day, with what happened and what newly stands against
a promise; the last line is one JSON object; the exit status is 1 when a promise was broken. With `--minutes`, and when
it is told to end (SIGTERM, Ctrl-C), it judges the days it got to. `--home` keeps the database there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import random
import shutil
import signal
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

import psutil
from pydantic import SecretStr

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
SHUT = ("gone", "unreachable")
BY_PEOPLE = frozenset({"operator"})


@dataclass
class Day:
    """A line of the table."""

    number: int
    cycles: int = 0
    on_target: int = 0
    added: list[int] = field(default_factory=list)
    quality: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    vehicles: int = 0
    unreconciled: list[str] = field(default_factory=list)
    actions: Counter[str] = field(default_factory=Counter)

    @property
    def line(self) -> str:
        """As it is printed."""
        told = " ".join(f"{name} {n}" for name, n in sorted(self.actions.items()))
        return (
            f"{self.number:>4} {self.cycles:>6} {self.on_target / self.cycles:>6.1%} {sum(self.added):>7}"
            f" {self.vehicles:>7} {mean(self.quality or [0]):>7.3f} {self.seconds / self.cycles:>7.1f}"
            f" {self.cpu_seconds / self.cycles:>6.1f}  {told}"
        )


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
        self.news: list[str] = []
        self.rps = 40.0
        self.ended = False
        self._sites: list[dict[str, Any]] = []

    def now(self) -> datetime:
        """The time the pipeline is told."""
        return utc_now() + self.later

    def db(self) -> Connection:
        """A connection of our own."""
        return connect_again(database_url(self.settings), name="month")

    def end(self, *_: object) -> None:
        """Told to end: after the cycle at work."""
        self.ended = True

    def sites(self) -> list[dict[str, Any]]:
        """What is true of every site; what was, where the web was told to end with us."""
        try:
            self._sites = self.web.get("/sites")
        except OSError:
            self.ended = True
        return self._sites

    def happen(self, what: str, slug: str, words: str = "") -> None:
        """Count what happened, and tell it with the day."""
        self.happened[what] += 1
        self.news.append(f"{what} {slug}{f' ({words})' if words else ''}")

    def declare(self) -> None:
        """Every open site with stock as a source."""
        migrate(database_url(self.settings))
        with self.db() as conn:
            # Its database is thrown away, and two hours are over in seconds: nobody waits for the disk.
            conn.execute("ALTER SYSTEM SET synchronous_commit = off")
            conn.execute("SELECT pg_reload_conf()")
            for site in self.sites():
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
            slug, mode = self._someone(), self.chance.choice(REDESIGNS)
            self.web.post("redesign", slug=slug, mode=mode, seed=self.chance.randrange(1 << 30))
            self.redesigned[slug] = cycle
            self.happen("redesigned", slug, mode)
        if hour == 5:
            slug = self._someone()
            fault, body = self.chance.choice(OUTAGES)
            self.web.post(fault, slug=slug, **body)
            self.out[slug] = cycle + self.chance.randint(1, 4)
            self.had_outage.add(slug)
            words = " ".join([fault, *map(str, body.values())])
            self.happen("out", slug, f"{words} for {self.out[slug] - cycle} cycles")
        if hour == 8 and day % 3 == 0:
            slug = self._someone()
            self.web.post("close", slug=slug)
            self.closed[slug] = cycle
            self.happen("closed", slug)
        if hour == 10 and day % 3 == 0:
            self._open_two()
        if hour == 11 and day % 7 == 6:
            self.rps /= 2
            slug = self._someone()
            self.web.post("throttle", slug=slug, rps=self.rps, retry_after=1)
            self.out[slug] = cycle + CYCLES_A_DAY
            self.had_outage.add(slug)
            self.happen("throttled", slug, f"{self.rps:g} a second")

    def _open_two(self) -> None:
        """Two sites appear, and a list of addresses names them, as a map's extract would."""
        found = []
        for _ in range(2):
            site = self.web.post("open", kind=self.chance.choice(KINDS))
            self.opened.append(site["slug"])
            found.append(FoundCandidate(site_of(site["base_url"]), f"{site['base_url']}/", "simulated"))
            self.happen("opened", site["slug"])
        with self.db() as conn:
            improvement.add_candidates(conn, found, now=self.now())

    def _someone(self) -> str:
        """A source in work that nothing is wrong with now."""
        with self.db() as conn:
            by_url = {site["base_url"]: site for site in self.sites() if site["open"] and site["live_count"]}
            fit = [
                str(by_url[row.base_url.rstrip("/")]["slug"])
                for row in registry.sources(conn)
                if row.crawlable and row.base_url.rstrip("/") in by_url
            ]
        fit = [slug for slug in sorted(fit) if slug not in self.out and slug not in self.closed]
        return self.chance.choice(fit)


def cpu_seconds(settings: Settings) -> float:
    """What this process, those it started and the embedded server have used so far."""
    server = int((settings.home / "postgres" / "postmaster.pid").read_text().split()[0])
    used = 0.0
    for root in (psutil.Process(), psutil.Process(server)):
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                used += sum(process.cpu_times()[:4])
    return used


def false_actions(month: Month, conn: Connection) -> list[str]:
    """What the system did for no reason: sites retired that work, rules changed where no site was redesigned."""
    found = []
    slugs: dict[str, str] = {site["base_url"]: site["slug"] for site in month.sites()}
    for row in registry.sources(conn):
        site = slugs.get(row.base_url.rstrip("/"), row.slug)
        if row.status == "retired" and site not in month.closed:
            trail = [f"{r.cycle_id} {r.diagnosis} {r.status}" for r in improvement.repairs(conn, row.id, 6)]
            happened = [name for name in ("redesigned", "had_outage") if site in getattr(month, name)]
            found.append(f"{row.slug} was given up, though it is open: {row.status_reason}; {happened} {trail}")
        if row.status == "retired" and site in month.closed and not (row.status_reason or "").startswith(SHUT):
            found.append(f"{row.slug} closed, and was given up for another reason: {row.status_reason}")
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
    slugs: dict[str, str] = {site["base_url"]: site["slug"] for site in month.sites()}
    grace = cycle - 4 * CYCLES_A_DAY
    found = []
    for slug, status, health, reason, base_url in rows:
        site = slugs.get(base_url.rstrip("/"), slug)
        recent = max(month.closed.get(site, 0), month.redesigned.get(site, 0)) > grace or site in month.out
        if not recent and (health == "failing" or status == "quarantined"):
            found.append(f"{slug} is {status} and {health}: {reason}")
    return found


def run(month: Month, days: int, minutes: float) -> list[Day]:
    """The month's days."""
    table: list[Day] = []
    told: set[str] = set()
    began = time.monotonic()
    print(
        f"{'day':>4} {'cycles':>6} {'target':>6} {'added':>7} {'total':>7} {'quality':>7} {'s':>7} {'cpu':>6}  actions"
    )
    for cycle in range(days * CYCLES_A_DAY):
        if not cycle % CYCLES_A_DAY:
            table.append(Day(len(table) + 1))
        day = table[-1]
        month.step(cycle)
        _one_cycle(month, day)
        if cycle + 1 == FIRST_TROUBLE // 2:
            added = mean(day.added[1:])
            month.settings = month.settings.model_copy(update={"target": max(1, round(TARGET_SHARE * added))})
        done = month.ended or (minutes and time.monotonic() - began > minutes * 60)
        if done or not (cycle + 1) % CYCLES_A_DAY:
            with month.db() as conn:
                against = [*day.unreconciled, *false_actions(month, conn), *unaccounted(month, conn, cycle + 1)]
            news = [*month.news, *(f"AGAINST: {what}" for what in against if _subject(what) not in told)]
            print("\n".join([day.line, *(f"{'':>12}{what}" for what in news)]), flush=True)
            told.update(map(_subject, against))
            month.news.clear()
        if done:
            break
    return table


def _subject(what: str) -> str:
    """Whom a broken promise is about, without the figures that change every day."""
    return what.partition(":")[0]


def _one_cycle(month: Month, day: Day) -> None:
    """Runs a cycle and adds it to its day."""
    started, before = time.monotonic(), cpu_seconds(month.settings)
    report = run_cycle(month.settings, now_fn=month.now)
    assert report is not None
    day.cpu_seconds += cpu_seconds(month.settings) - before
    day.seconds += time.monotonic() - started
    day.cycles += 1
    day.on_target += report["on_target"]
    day.added.append(report["vehicles_added"])
    day.vehicles = report["total_vehicles"]
    if report["data_quality"] is not None:
        day.quality.append(report["data_quality"])
    if not report["reconciled"]:
        day.unreconciled.append(f"{report['cycle_id']}: {report['errors']}")
    if not report["on_target"]:
        month.news.append(f"off target: {report['cycle_id']} added {report['vehicles_added']} of {report['target']}")
    month.news += [f"error: {report['cycle_id']} {error}" for error in report["errors"]]
    for action in report["actions"]:
        day.actions[action.get("lever") or action["action"].split("/")[0]] += 1


def judge(month: Month, table: list[Day]) -> dict[str, Any]:
    """The month's figures, with every promise that was broken."""
    broken = [what for day in table for what in day.unreconciled]
    weeks = [table[at : at + 7] for at in range(0, len(table), 7)]
    for number, (before, after) in enumerate(pairwise(weeks), start=2):
        if after[-1].vehicles <= before[-1].vehicles:
            broken.append(f"week {number}: the database did not grow from {before[-1].vehicles} vehicles")
        was, now = (mean(q for day in week for q in day.quality) for week in (before, after))
        if now < was - 0.01:
            broken.append(f"week {number}: quality fell from {was:.3f} to {now:.3f}")
    cycles = sum(day.cycles for day in table)
    on_target = sum(day.on_target for day in table) / cycles
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
        "vehicles": table[-1].vehicles,
        "happened": dict(month.happened),
        "seconds_a_cycle": round(sum(day.seconds for day in table) / cycles, 2),
        "repairs": dict(repairs),
        "retired": len(given_up),
        "closed_due": len(due),
        "discovered": sum(row.discovered_via is not None for row in rows),
        "opened": len(month.opened),
        "worth_lost": round(sum(loss.worth for loss in losses), 1),
        "worth_covered": round(sum(loss.covered for loss in losses), 1),
        "levers": dict(sum((day.actions for day in table), Counter())),
        "broken": broken,
    }


def main() -> int:
    """Runs the month and prints its weeks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=0.02)
    parser.add_argument("--minutes", type=float, default=0.0, help="of machine time at most; 0 is no bound")
    parser.add_argument("--home", type=Path, help="an empty folder to leave the database in")
    arguments = parser.parse_args()
    quiet = logging.getLogger("fill_pipeline")
    quiet.propagate = False
    quiet.addHandler(logging.NullHandler())
    home: Path = arguments.home or Path(tempfile.mkdtemp(prefix="month-"))
    home.mkdir(exist_ok=True)
    home.chmod(0o755)  # as root the embedded server is another user
    settings = Settings(home=home, allow_nets="127.0.0.0/8", workers=1, target=1)  # type: ignore[arg-type]
    began = time.monotonic()
    try:
        url = SecretStr(database_url(settings))  # known from here on, so that no cycle looks whether the server runs
        settings = settings.model_copy(update={"database_url": url})
        with start_simweb(seed=arguments.seed, scale=arguments.scale) as web:
            month = Month(settings, web, arguments.seed)
            month.declare()
            for sign in (signal.SIGTERM, signal.SIGINT):
                signal.signal(sign, month.end)
            figures = judge(month, run(month, arguments.days, arguments.minutes))
    finally:
        stop_embedded(settings)
        if arguments.home is None:
            shutil.rmtree(home, ignore_errors=True)
    for what in figures["broken"]:
        print(f"BROKEN: {what}")
    figures |= {"seed": arguments.seed, "scale": arguments.scale, "minutes": round((time.monotonic() - began) / 60, 1)}
    print(json.dumps(figures))
    return 1 if figures["broken"] else 0


if __name__ == "__main__":
    vars().pop("__file__")  # else every worker process would begin by importing this program and all it needs
    sys.exit(main())
