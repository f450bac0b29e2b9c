"""A few hours of twenty searches with all that goes wrong; ``benchmarks/searches.py`` plays a whole week."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings
from fill_pipeline.simweb.handle import SimWeb
from fill_pipeline_tests.drain.search_week import HOURS, SearchWeek, named_minutes


def test_searches_run_as_often_as_cron_says_whatever_happens(
    conn: Connection, simweb: SimWeb, database_url: str, tmp_path: Path
) -> None:
    simweb.post("reset")
    settings = Settings(home=tmp_path, database_url=SecretStr(database_url), allow_nets="127.0.0.0/8", workers=1)  # type: ignore[arg-type]
    week = SearchWeek(settings, simweb, HOURS, seed=1)
    figures = week.run()
    assert figures["broken"] == []
    assert figures["jobs_by_cron"] >= 20
    assert figures["jobs"] == {"error": figures["jobs"]["error"], "finished": figures["jobs"]["finished"]}
    assert (figures["workers_killed"], figures["jobs_tried_again"], figures["incidents"]) == (4, 2, 1)
    assert figures["ticks_missed_and_made_up_by_one"] > 0


def test_the_drills_own_cron_knows_the_night_the_clocks_go_forward() -> None:
    night = (datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC))
    assert named_minutes("30 2 * * *", "America/New_York", *night) == [datetime(2026, 3, 8, 7, 30, tzinfo=UTC)]
    assert (
        len(named_minutes("0 */2 * * *", "America/New_York", *night)) == 12
    )  # 02:00 does not happen, 22:00 of Saturday is 03:00
