"""What looking again at an unchanged web costs: CPU per page, every page read against every page answered 304.

    python benchmarks/revisit.py [--scale 0.4]

All sites of the simulated web are harvested and drained twice with one worker process. CPU is that of this process
and its workers, the database's and the web's apart. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from fill_pipeline.cycle.lifecycle import ensure_open
from fill_pipeline.db import registry
from fill_pipeline.db.connect import connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url, stop_embedded
from fill_pipeline.drain.drain import drain_queue
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.work import Work, load_sources
from fill_pipeline.settings import Settings
from fill_pipeline.simweb.handle import SimWeb, start_simweb

ROUNDS = ("read", "unchanged")
Figures = dict[str, float]


def cpu() -> float:
    """CPU seconds of this process and of its workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def look(settings: Settings, url: str, cycle: str, later: timedelta) -> tuple[Figures, Figures]:
    """Harvest, then drain all sources; the figures of each."""

    def now() -> datetime:
        return datetime.now(UTC) + later

    parts = []
    with connect(url, name="revisit") as conn:
        sources = list(load_sources(conn).values())
    for name in ("harvest", "drain"):
        work = Work(settings, url, cycle, "revisit", now, now() + timedelta(minutes=20))
        before = cpu()
        if name == "harvest":
            harvest_sources(work, sources)
        else:
            drain_queue(work)
        spent = cpu() - before
        pages, unchanged = work.totals.sum("pages_fetched"), work.totals.sum("pages_unchanged")
        parts.append(
            {
                "pages": pages,
                "unchanged": unchanged,
                "megabytes": round(work.totals.sum("bytes_received") / 1e6, 2),
                "cpu_ms_per_page": round(1000 * spent / max(1, pages), 3),
            }
        )
    return parts[0], parts[1]


def measure(web: SimWeb, settings: Settings) -> dict[str, dict[str, Figures]]:
    """Both rounds."""
    url = database_url(settings)
    migrate(url)
    results = {}
    with connect(url, name="revisit") as conn:
        for site in web.get("/sites"):
            if site["open"]:
                config = site["suggested_config"] | {"detail": "always", "revisit_hours": 1}
                registry.declare_source(
                    conn, name=site["slug"], base_url=site["base_url"], config=config, kind=site["kind"]
                )
        cycle = ensure_open(conn, settings, now=datetime.now(UTC)).cycle_id
    for n, name in enumerate(ROUNDS):
        harvest, drain = look(settings, url, f"{cycle}{'' if n == 0 else n}", timedelta(hours=2 * n))
        results[name] = {"index pages": harvest, "listing pages": drain}
        for kind, one in results[name].items():
            print(f"{name:12}{kind:16}" + "".join(f"{value:12,} {figure}" for figure, value in one.items()))
    return results


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.4)
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="fill-revisit-"))
    home.chmod(0o755)
    settings = Settings(home=home, allow_nets="127.0.0.0/8", workers=1)  # type: ignore[arg-type]
    try:
        with start_simweb(scale=arguments.scale) as web:
            results = measure(web, settings)
        read, unchanged = (results[name]["listing pages"]["cpu_ms_per_page"] for name in ROUNDS)
        print(f"an unchanged listing page costs {unchanged / read:.1%} of one that is read")
        print(orjson.dumps(results).decode())
    finally:
        stop_embedded(settings)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
