"""A week of saved searches in injected time: `python benchmarks/searches.py [--seed 1] [--scale 0.05] [--plan week]`.

Twenty searches on schedules of their own in as many time zones ask sites of the simulated web, while the process is
down for hours, searches are paused, moved to other zones and asked for in floods, workers are killed, one source has
nothing and another one fails; the week has the night in which America's clocks go forward, `--plan weekend` the one
in which they go back, `--plan hours` is short. The promises: as many jobs as cron says, one for each tick however
often it is looked for, one to catch up with a downtime, one for a flood; none stays pending or running; every
documented key; times in order; a killed worker's job is done by another one or ends in `error`; silence opens an
incident that closes again. The last line is one JSON object; the exit status is 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url, stop_embedded
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import start_simweb

sys.path.insert(0, str(Path(__file__).parent.parent))

from fill_pipeline_tests.drain.search_week import HOURS, WEEK, WEEKEND, SearchWeek

PLANS = {"week": WEEK, "weekend": WEEKEND, "hours": HOURS}


def main() -> int:
    """Plays the week and prints what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=0.05)
    parser.add_argument("--plan", choices=PLANS, default="week")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-searches-") as home,
        start_simweb(scale=arguments.scale, seed=arguments.seed) as web,
    ):
        Path(home).chmod(0o755)  # as root the embedded server is another user
        settings = Settings(home=Path(home), allow_nets="127.0.0.0/8", workers=1)  # type: ignore[arg-type]
        try:
            migrate(database_url(settings))
            week = SearchWeek(settings, web, PLANS[arguments.plan], seed=arguments.seed)
            figures = week.run()
        finally:
            stop_embedded(settings)
    for name, value in figures.items():
        print(f"{name:34} {value}")
    print(json.dumps(figures, default=str))
    return 1 if week.broken else 0


if __name__ == "__main__":
    sys.exit(main())
