"""Each kind of incident opens once, is brought up to date, and closes by itself."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from fill_pipeline.alerts.vitals import Disk
from fill_pipeline.alerts.watch import look
from fill_pipeline.db import incidents, vitals
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.incidents import Incident, IncidentKind, Severity
from fill_pipeline.settings import Settings
from fill_pipeline_tests.alerts.rows import ROOM, START, Rows

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
Stage = Callable[[Rows], datetime]


def below(rows: Rows) -> datetime:
    rows.cycle(0, added=40)
    rows.cycle(1, added=30)
    cycle = rows.open_cycle(2)
    rows.action(cycle, "discover", status="done", at=rows.after(1), reason="70 below target: look for new sources")
    return rows.after(1, 1)


def below_no_more(rows: Rows) -> datetime:
    rows.conn.execute("DELETE FROM fill_cycles WHERE status = 'open'")
    rows.cycle(2, added=300)
    return rows.after(2)


def poor(rows: Rows) -> datetime:
    rows.cycle(0, quality=0.7, issues=["price is 60% complete"])
    rows.cycle(1, quality=0.7, issues=["price is 60% complete"])
    return rows.after(1)


def source_fails(rows: Rows) -> datetime:
    rows.source("alpha")
    rows.source("beta")
    rows.cycle(0, failing=("alpha",))
    rows.cycle(1, failing=("alpha", "beta"))
    return rows.after(1)


def gave_up(rows: Rows) -> datetime:
    source_id = rows.source("alpha", "quarantined", "redesigned and not repaired: the rules found are not good enough")
    rows.conn.execute(
        "INSERT INTO source_repairs (source_id, diagnosis, reason, status, created_at) "
        "VALUES (%s, 'redesigned', 'too few pages', 'rejected', %s)",
        [source_id, START],
    )
    rows.cycle(0)
    return rows.after(0)


def let_back(rows: Rows) -> datetime:
    rows.conn.execute("UPDATE scrape_sources SET status = 'live'")
    return rows.after(0, 10)


def held(rows: Rows) -> datetime:
    source_id = rows.source("alpha")
    key = rows.cycle(0)
    rows.conn.execute(
        "INSERT INTO held_batches (cycle_id, source_id, expectation, field_name, reason, listings, checked, "
        "unexpected, held_at) VALUES (%s, %s, 'price_range', 'price', 'Too dear.', 70, 70, 70, %s)",
        [key, source_id, rows.after(0)],
    )
    return rows.after(0)


def sound_again(rows: Rows) -> datetime:
    rows.conn.execute(
        "INSERT INTO source_cycle_stats (source_id, cycle_id, quality_count, found) VALUES (%s, %s, 70, 70)",
        [rows.sources["alpha"], rows.cycle(1)],
    )
    return rows.after(1)


def stuck(rows: Rows) -> datetime:
    source_id = rows.source("alpha")
    rows.cycle(0)
    rows.open_cycle(1)
    rows.conn.execute(
        "INSERT INTO import_queue (source_id, listing_url, url_hash, cycle_id, discovered_at) "
        "VALUES (%s, 'https://alpha.example/1', gen_random_uuid(), 'x', %s)",
        [source_id, START],
    )
    return rows.after(0, 45)


def moving(rows: Rows) -> datetime:
    rows.conn.execute("UPDATE source_state SET next_slot_at = %s", [rows.after(0, 50)])
    return rows.after(0, 51)


def dead(rows: Rows) -> datetime:
    rows.cycle(0)
    rows.conn.execute("INSERT INTO counters (metric, n) VALUES ('queue.dead', 1200)")
    return rows.after(0)


def requeued(rows: Rows) -> datetime:
    rows.conn.execute("INSERT INTO counters (metric, n) VALUES ('queue.dead', -400)")
    return rows.after(0, 5)


def silent(rows: Rows) -> datetime:
    rows.action(rows.open_cycle(0), "harvest", status="running", at=START + HOUR)
    return START + HOUR + 6 * MINUTE


def alive(rows: Rows) -> datetime:
    rows.conn.execute("UPDATE cycle_actions SET status = 'done', heartbeat_at = %s", [START + HOUR + 7 * MINUTE])
    return START + HOUR + 8 * MINUTE


def job_failed(rows: Rows) -> datetime:
    cycle = rows.open_cycle(0)
    for attempt in (1, 2):
        rows.action(cycle, "repair", status="failed", at=START, attempt=attempt, error="KeyError: 'price'")
    return START + HOUR


def job_done(rows: Rows) -> datetime:
    rows.action(str(rows.conn.execute("SELECT cycle_id FROM fill_cycles").fetchone()[0]), "repair", status="done",
                at=START + HOUR, attempt=3)  # type: ignore[index]  # fmt: skip
    return START + HOUR + MINUTE


def missed(rows: Rows) -> datetime:
    rows.cycle(0)
    return rows.after(0, 20)


def caught_up(rows: Rows) -> datetime:
    rows.cycle(1, status="missed", added=0)
    rows.cycle(2)
    return rows.after(2)


def check_failed(rows: Rows) -> datetime:
    for name, severity in (("price_range", "critical"), ("accuracy", "warning"), ("data_quality_score", "critical")):
        vitals.save_check(
            rows.conn, rows.cycle(0) if name == "price_range" else "2025-12-24-00:00", name, passed=False,
            severity=severity, words="3 of 32 are not as expected", now=START,
        )  # fmt: skip
    return rows.after(0)


def check_passes(rows: Rows) -> datetime:
    key = rows.cycle(1)
    assert rows.look(rows.after(1)).closed == 0, "a cycle that is not checked yet says nothing"
    vitals.save_check(rows.conn, key, "price_range", passed=True, severity="critical", words="", now=rows.after(1))
    return rows.after(1, 1)


def next_cycle(rows: Rows) -> datetime:
    rows.cycle(2)
    return rows.after(2)


KINDS: list[tuple[IncidentKind, str, Stage, Stage]] = [
    (IncidentKind.BELOW_TARGET, "", below, below_no_more),
    (IncidentKind.QUALITY_FALLING, "", poor, next_cycle),
    (IncidentKind.SOURCE_FAILING, "alpha", source_fails, next_cycle),
    (IncidentKind.REPAIR_GAVE_UP, "alpha", gave_up, let_back),
    (IncidentKind.HELD_BACK, "alpha", held, sound_again),
    (IncidentKind.QUEUE_STUCK, "", stuck, moving),
    (IncidentKind.DEAD_ROWS, "", dead, requeued),
    (IncidentKind.SILENT_JOB, "harvest", silent, alive),
    (IncidentKind.JOB_FAILED, "repair", job_failed, job_done),
    (IncidentKind.MISSED_CYCLE, "", missed, caught_up),
    (IncidentKind.CHECK_FAILED, "price_range", check_failed, check_passes),
]


@pytest.mark.parametrize(("kind", "subject", "begins", "ends"), KINDS, ids=[str(k[0]) for k in KINDS])
def test_an_incident_is_told_once_when_it_begins_and_once_when_it_is_over(
    rows: Rows, kind: IncidentKind, subject: str, begins: Stage, ends: Stage
) -> None:
    now = begins(rows)
    for seconds in (0, 1, 2):
        rows.look(now + timedelta(seconds=seconds))
    assert rows.open() == [(kind, subject)]
    rows.look(ends(rows))
    assert rows.open() == []
    assert rows.alerts() == [("opened", kind, subject), ("resolved", kind, subject)]


def test_a_full_disk_is_told_and_does_not_come_and_go_at_its_mark(rows: Rows) -> None:
    def disk(gib: float) -> list[Disk]:
        return [Disk("archive", round(gib * (1 << 30)), 100 << 30)]

    for minute, gib in enumerate((2.1, 1.9, 2.1, 1.9, 0.4, 3.0)):
        rows.look(START + minute * MINUTE, disks=disk(gib))
    assert [event for event, _, _ in rows.alerts()] == ["opened", "worse", "resolved"]


def test_an_archive_that_takes_no_pages_is_a_full_disk_and_no_failed_job(rows: Rows) -> None:
    cycle = rows.open_cycle(0)
    for attempt in (1, 2):
        error = "ArchiveFullError: the archive takes no more pages: No space left on device"
        rows.action(cycle, "drain", status="failed", at=START, attempt=attempt, error=error)
    rows.look(START + HOUR)
    assert rows.open() == [("disk_full", "archive writes")]


def test_an_empty_database_and_a_quiet_one_have_no_incidents(rows: Rows) -> None:
    assert rows.look(START).open == 0
    rows.source("alpha")
    for number in range(3):
        rows.cycle(number)
    assert rows.look(rows.after(2)).open == 0
    assert rows.alerts() == []


def test_one_cycle_below_target_or_one_run_for_a_single_source_says_nothing(rows: Rows) -> None:
    rows.cycle(0)
    rows.cycle(1, added=10)
    rows.cycle(2, added=0, metadata={"limited": True})
    rows.look(rows.after(2))
    assert rows.open() == []


def test_a_reminder_comes_after_a_day_and_ever_more_seldom_and_what_gets_worse_is_told_at_once(rows: Rows) -> None:
    now = dead(rows)
    for hours in range(0, 24 * 9, 2):
        rows.cycle(hours // 2 + 1)
        rows.look(now + timedelta(hours=hours))
    told = [(row[0], round((row[1] - now) / HOUR)) for row in rows.conn.execute("SELECT event, created_at FROM alerts")]
    assert told == [("opened", 0), ("reminder", 24), ("reminder", 72), ("reminder", 168)]
    rows.conn.execute("INSERT INTO counters (metric, n) VALUES ('queue.dead', 9000)")
    rows.cycle(109)
    rows.look(now + timedelta(days=9))
    assert rows.alerts()[-1] == ("worse", "dead_rows", "")


def test_a_dismissed_incident_is_told_of_no_more_until_it_happens_again(rows: Rows) -> None:
    rows.cycle(0, added=5)
    rows.cycle(1, added=5)
    rows.look(rows.after(1))
    [row] = incidents.open_incidents(rows.conn)
    with pytest.raises(ValueError, match="say why"):
        incidents.dismiss(rows.conn, row.id, who="ada", why=" \n", now=rows.after(1, 0))
    taken = incidents.dismiss(
        rows.conn, row.id, who="ada", why="the sites are\nclosed over the holidays", now=rows.after(1, 0)
    )
    assert (taken.is_open, taken.dismissed_by, taken.dismissed_why) == (
        False, "ada", "the sites are closed over the holidays",
    )  # fmt: skip
    with pytest.raises(LookupError, match="dismissed already"):
        incidents.dismiss(rows.conn, row.id, who="ada", why="again", now=rows.after(1, 0))
    rows.cycle(2, added=5)
    for hours in (2, 26, 100):
        rows.look(rows.after(1, 60 * hours))
    told = [("opened", "below_target", ""), ("dismissed", "below_target", "")]
    assert [a for a in rows.alerts() if a[1] == "below_target"] == told
    rows.cycle(3, added=500)
    rows.look(rows.after(3))
    assert ("below_target", "") not in rows.open()
    rows.cycle(4, added=5)
    rows.cycle(5, added=5)
    rows.look(rows.after(5))
    assert [a for a in rows.alerts() if a[1] == "below_target"] == [*told, ("opened", "below_target", "")]
    with pytest.raises(LookupError, match="is over"):
        incidents.dismiss(rows.conn, row.id, who="ada", why="again", now=rows.after(5))
    with pytest.raises(LookupError, match="does not exist"):
        incidents.dismiss(rows.conn, 10**12, who="ada", why="again", now=rows.after(5))


def test_what_was_dismissed_comes_back_when_it_gets_worse_or_stays_for_a_week(rows: Rows) -> None:
    def taken(kind: str) -> bool:
        return next(not row.is_open for row in incidents.open_incidents(rows.conn) if row.kind == kind)

    for number in range(2):
        rows.cycle(number, added=5, quality=None)
    rows.look(rows.after(1))
    [row] = incidents.open_incidents(rows.conn)
    incidents.dismiss(rows.conn, row.id, who="ada", why="known", now=rows.after(1))
    for number in range(2, 6):
        rows.cycle(number, added=5, quality=None)
        rows.look(rows.after(number))
        assert taken("below_target") is (number < 5)  # half a day below target is critical
    incidents.dismiss(rows.conn, row.id, who="ada", why="known", now=rows.after(5))
    rows.look(rows.after(5, 6 * 24 * 60))
    assert taken("below_target")
    rows.look(rows.after(5, 7 * 24 * 60))
    assert not taken("below_target")
    events = [event for event, kind, _ in rows.alerts() if kind == "below_target"]
    assert events == ["opened", "dismissed", "worse", "dismissed", "reminder"]


def test_an_occurrence_is_a_cycle_and_not_a_look(rows: Rows) -> None:
    rows.source("alpha")
    rows.cycle(0, failing=("alpha",))
    for number in (1, 2, 3):
        rows.cycle(number, failing=("alpha",))
        for minute in range(5):
            rows.look(rows.after(number, minute - 8))
    [row] = incidents.open_incidents(rows.conn)
    assert row.occurrences == 3
    assert ["failing for cycles", "4"] in row.details["facts"]


def test_many_sources_that_fail_at_once_are_one_incident_and_those_that_stay_behind_their_own(rows: Rows) -> None:
    names = [f"s{i}" for i in range(40)]
    for name in names:
        rows.source(name)
    rows.cycle(0, failing=("s0",))
    rows.cycle(1, failing=("s0",))
    rows.look(rows.after(1))
    rows.cycle(2, failing=tuple(names))
    rows.cycle(3, failing=tuple(names))
    rows.look(rows.after(3))
    assert rows.open() == [("source_failing", ""), ("source_failing", "s0")]
    [row] = [r for r in incidents.open_incidents(rows.conn) if not r.subject]
    assert row.message.startswith("39 at once")
    assert row.severity == Severity.CRITICAL
    rows.cycle(4, failing=("s1",))
    rows.look(rows.after(4))
    assert rows.open() == [("source_failing", "s1")]
    assert rows.alerts().count(("resolved", "source_failing", "")) == 1


def test_a_drop_of_quality_stays_open_until_it_is_back_and_does_not_become_the_usual(rows: Rows) -> None:
    for number in range(12):
        rows.cycle(number, quality=0.98 - 0.002 * (number % 2))
    for number in range(12, 30):
        rows.cycle(number, quality=0.91)  # above the target
        rows.look(rows.after(number))
    assert rows.alerts()[:1] == [("opened", "quality_falling", "")]
    assert rows.open() == [("quality_falling", "")]
    rows.cycle(30, quality=0.97)
    rows.look(rows.after(30))
    assert [event for event, *_ in rows.alerts()] == ["opened", "reminder", "resolved"]


@pytest.mark.parametrize(
    "excuse",
    [
        "UPDATE source_state SET hold_until = '2025-12-24 02:30+00'",
        "UPDATE source_state SET breaker = 'open', breaker_until = '2025-12-24 03:00+00'",
        "UPDATE source_state SET budget_day = '2025-12-24', budget_used = daily_requests",
        "UPDATE scrape_sources SET active = false",
        "UPDATE import_queue SET not_before = '2025-12-24 02:20+00'",
        "UPDATE fill_cycles SET status = 'closed', completed_at = '2025-12-24 02:30+00' WHERE status = 'open'",
    ],
)
def test_a_queue_that_waits_for_a_reason_is_not_stuck(rows: Rows, excuse: str) -> None:
    now = stuck(rows)
    rows.conn.execute(excuse)
    rows.look(now)
    assert rows.open() == []


def test_silent_searches_and_deal_jobs_are_told(rows: Rows) -> None:
    search = rows.conn.execute("INSERT INTO offerup_searches (name) VALUES ('vans') RETURNING id").fetchone()
    assert search is not None
    rows.conn.execute(
        "INSERT INTO offerup_jobs (search_id, status, created_at, started_at, lease_owner, lease_expires_at) "
        "VALUES (%s, 'running', %s, %s, 'gone', %s)",
        [search[0], START, START, START + 5 * MINUTE],
    )
    rows.conn.execute("INSERT INTO deal_finder_jobs (created_at) VALUES (%s)", [START])
    rows.look(START + 30 * MINUTE)
    assert rows.open() == [("silent_job", "search vans")]
    rows.look(START + 2 * HOUR)
    assert rows.open() == [("silent_job", "deals"), ("silent_job", "search vans")]
    rows.conn.execute("UPDATE deal_finder_jobs SET status = 'finished'")
    rows.conn.execute("UPDATE offerup_searches SET active = false")
    rows.look(START + 3 * HOUR)
    assert rows.open() == []


def test_an_incident_of_a_search_that_is_paused_is_over(rows: Rows) -> None:
    search = rows.conn.execute("INSERT INTO offerup_searches (name) VALUES ('vans') RETURNING id::text").fetchone()
    assert search is not None
    incidents.open_incident(rows.conn, Incident(IncidentKind.SEARCH_EMPTY, search[0], "nothing found"), now=START)
    rows.look(START + MINUTE)
    assert rows.open() == [("search_empty", search[0])]
    rows.conn.execute("UPDATE offerup_searches SET active = false")
    rows.look(START + 2 * MINUTE)
    assert rows.alerts() == [("opened", "search_empty", search[0]), ("resolved", "search_empty", search[0])]


def test_no_secret_is_stored(rows: Rows) -> None:
    from pydantic import SecretStr

    cycle = rows.open_cycle(0)
    for attempt in (1, 2):
        error = "OSError: http://me:pass-word@host/ said no to hunter2-token"
        rows.action(cycle, "repair", status="failed", at=START, attempt=attempt, error=error)
    rows.look(START + HOUR, alert_webhook_token=SecretStr("hunter2-token"))
    [row] = incidents.open_incidents(rows.conn)
    stored = str(rows.conn.execute("SELECT incident FROM alerts").fetchall()) + str(row)
    assert "pass-word" not in stored
    assert "hunter2" not in stored
    assert "said no to ***" in stored


def _look_often(url: str, settings: Settings, now: datetime, begin: Any) -> None:
    with connect(url, name="look") as conn:
        begin.wait(30)
        for _ in range(5):
            look(conn, settings, now=now, disks=ROOM)


def test_of_processes_that_look_at_the_same_moment_one_tells(rows: Rows, settings: Settings, database_url: str) -> None:
    now = source_fails(rows)
    rows.conn.execute("INSERT INTO counters (metric, n) VALUES ('queue.dead', 1200)")
    spawn = multiprocessing.get_context("fork")
    for moment in (now, now + timedelta(hours=25)):
        begin = spawn.Barrier(4)
        others = [spawn.Process(target=_look_often, args=(database_url, settings, moment, begin)) for _ in range(4)]
        for process in others:
            process.start()
        for process in others:
            process.join(60)
            assert process.exitcode == 0
    told = sorted(rows.alerts())
    assert [one for one in told if one[1] == "dead_rows"] == [
        ("opened", "dead_rows", ""),
        ("reminder", "dead_rows", ""),
    ]
    assert told.count(("opened", "source_failing", "alpha")) == 1
    assert told.count(("reminder", "source_failing", "alpha")) == 1


def test_a_look_costs_the_same_whatever_the_tables_hold(rows: Rows, conn: Connection) -> None:
    """Every statement of a look is bounded by the last cycles and the registry: none reads the big tables through."""
    stuck(rows)
    conn.execute(
        "INSERT INTO import_queue (source_id, listing_url, url_hash, cycle_id, status, processed_at) "
        "SELECT %s, 'https://alpha.example/' || n, gen_random_uuid(), 'x', 'complete', now() "
        "FROM generate_series(1, 20000) n",
        [rows.sources["alpha"]],
    )
    conn.execute("ANALYZE import_queue")
    conn.execute("SELECT pg_stat_reset()")
    rows.look(rows.after(0, 45))
    conn.execute("SELECT pg_stat_force_next_flush()")
    read = dict(conn.execute("SELECT relname, seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables").fetchall())
    assert read["import_queue"] < 100
    assert read["incidents"] < 100
