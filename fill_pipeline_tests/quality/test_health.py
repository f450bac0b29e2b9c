"""A source is judged against its own history: quiet hours, flapping, death, slow decay, and being new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.db import ledger, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.ledger import FieldFall, HealthRow, PastRun, SourceAccount, SourceStateRow, SourceStats
from fill_pipeline.quality.baseline import yield_baseline
from fill_pipeline.quality.health import Diagnosis, HealthStatus, Verdict, health_row, judge, wants_repair

NOW = datetime(2026, 3, 8, 2, 30, tzinfo=UTC)
FRESH = timedelta(hours=24)
SOURCE = SourceStateRow(
    id=UUID(int=1), slug="a", kind="dealer", active=True, status="live", config_error=None, asset_group=None,
    expected_count=None, last_harvest_at=NOW, breaker="closed", breaker_until=None, harvests=1, harvest_complete=True,
    found=0, vehicles_added=0, queued=0, last_health="healthy", last_diagnosis=None, last_reason=None,
    revisit_hours=2.0,
)  # fmt: skip


def run(cycles_ago: int, n: int, *, failed: int = 0, complete: bool = True) -> PastRun:
    """An earlier cycle: it listed ``n`` vehicles, ``failed`` pages could not be had."""
    at = NOW.replace(minute=0) - timedelta(hours=2 * cycles_ago)
    return PastRun(
        at.strftime("%Y-%m-%d-%H:%M"), at.hour, n, 0 if failed else 10, failed, 0, 10, n, 0.95 * n, n, 1, complete
    )


def looked(n: int, *, failed: int = 0, **more: Any) -> SourceAccount:
    """This cycle: it listed ``n`` vehicles."""
    stats = SourceStats(
        pages_fetched=0 if failed else 10, index_pages=0 if failed else 10, cards_seen=n, found=n, harvests=1,
        harvest_complete=True, quality_sum=0.95 * n, quality_count=n,
    )  # fmt: skip
    if failed:
        stats.fail("timeout", failed)
    for name, value in more.items():
        setattr(stats, name, value)
    return SourceAccount(SOURCE.id, "a", "dealer", "live", True, None, stats, NOW, NOW)


def verdict(account: SourceAccount | None, past: Sequence[PastRun], source: SourceStateRow = SOURCE) -> Verdict:
    return judge(source, account, past, hour=2, now=NOW, freshness=FRESH)


def steady(n: int = 84, around: int = 120, seed: int = 1) -> list[PastRun]:
    chance = Random(seed)
    return [run(i, round(chance.gauss(around, 6))) for i in range(1, n + 1)]


def nightly(days: int) -> list[PastRun]:
    """Nothing at 0, 2 and 4 o'clock."""
    return [run(i, 0 if run(i, 0).hour in (0, 2, 4) else 120) for i in range(1, 12 * days + 1)]


def test_nothing_at_an_hour_at_which_there_is_never_anything_is_healthy() -> None:
    found = verdict(looked(0), nightly(7))
    assert (found.status, found.diagnosis) == (HealthStatus.HEALTHY, Diagnosis.EMPTY)
    assert found.reason == "nothing, as nearly always at 02:00 UTC"


def test_nothing_at_an_hour_at_which_there_always_is_something_is_no_quiet_hour() -> None:
    past = [replace(one, found=120, cards_seen=120) if one.hour == 2 else one for one in nightly(7)]
    assert verdict(looked(0), past).status is HealthStatus.FAILING


def test_who_says_that_nothing_is_left_is_believed_when_small_and_looked_at_when_large() -> None:
    sold_out = verdict(looked(0, expected_count=0), [run(i, 3) for i in range(1, 30)])
    assert (sold_out.status, sold_out.diagnosis) == (HealthStatus.HEALTHY, Diagnosis.EMPTY)
    assert not wants_repair(sold_out)
    odd = verdict(looked(0, expected_count=0), steady())
    assert (odd.status, odd.diagnosis) == (HealthStatus.DEGRADED, Diagnosis.EMPTY)
    assert wants_repair(odd)
    often = [replace(run(i, 0), expected_count=0) if i % 4 == 0 else run(i, 2) for i in range(1, 24)]
    assert verdict(looked(2), often).status is HealthStatus.HEALTHY
    at_night = verdict(looked(0, expected_count=0), nightly(7))
    assert at_night.status is HealthStatus.HEALTHY


def test_before_its_nights_are_known_a_nightly_zero_is_intermittent_and_no_night_explains_a_dead_day() -> None:
    found = verdict(looked(0), nightly(3))
    assert (found.status, found.diagnosis) == (HealthStatus.DEGRADED, Diagnosis.INTERMITTENT)
    dead_for_a_day = [replace(one, found=0, cards_seen=0) if i < 14 else one for i, one in enumerate(nightly(7))]
    found = verdict(looked(0), dead_for_a_day)
    assert (found.status, found.diagnosis) == (HealthStatus.FAILING, Diagnosis.DEAD)


def test_a_yield_is_measured_against_the_same_hour_of_other_days() -> None:
    """A third at night is usual where it always is so, and a fall where it never was."""
    past = [run(i, 40 if run(i, 0).hour == 2 else 120) for i in range(1, 85)]
    assert verdict(looked(41), past).status is HealthStatus.HEALTHY
    found = verdict(looked(41), steady())
    assert (found.status, found.diagnosis) == (HealthStatus.DEGRADED, Diagnosis.REDESIGNED)
    assert found.reason.startswith("lists 41 vehicles where it usually lists 1")
    baseline = yield_baseline(run(0, 41), past)
    assert baseline is not None
    assert (baseline.median, baseline.hour, baseline.harvests) == (40, 2, 7)


def test_one_wild_cycle_does_not_move_what_is_usual() -> None:
    past = [run(1, 100_000), *steady()]
    assert verdict(looked(118), past).status is HealthStatus.HEALTHY


def test_a_source_that_flaps_is_degraded_down_or_up_and_never_taken_for_dead() -> None:
    """Two cycles out of seven it does not answer, at all hours."""
    past = [run(i, 0 if i % 7 in (1, 2) else 120, failed=8 if i % 7 in (1, 2) else 0) for i in range(1, 61)]
    down = verdict(looked(0, failed=8), past[1:])
    assert (down.status, down.diagnosis) == (HealthStatus.DEGRADED, Diagnosis.INTERMITTENT)
    assert "8 of 8 pages failed, most of them timeout; it comes and goes" in down.reason
    up = verdict(looked(120), past)
    assert (up.status, up.diagnosis) == (HealthStatus.DEGRADED, Diagnosis.INTERMITTENT)
    assert "back each time" in up.reason


def test_a_source_that_dies_is_failing_at_once_and_dead_after_a_day() -> None:
    words = []
    for down in (0, 1, 5, 11, 40):
        past = [run(i, 0, failed=8) for i in range(1, down + 1)] + [run(i, 120) for i in range(down + 1, 85)]
        found = verdict(looked(0, failed=8), past)
        assert found.status is HealthStatus.FAILING
        assert (found.diagnosis is Diagnosis.DEAD) == (down >= 11), down
        words.append(found.reason)
    assert words[0] == "8 of 8 pages failed, most of them timeout"
    assert words[1].endswith(", for 2 cycles in a row")
    assert "nothing usable in 12 cycles in a row" in words[3]


def test_a_flapping_source_that_stays_away_longer_than_ever_is_failing() -> None:
    past = [run(i, 0 if i <= 4 or i % 8 == 0 else 120, failed=8 if i <= 4 or i % 8 == 0 else 0) for i in range(1, 61)]
    assert verdict(looked(0, failed=8), past).status is HealthStatus.FAILING


def test_a_slow_decay_is_seen_although_no_cycle_is_far_from_the_one_before() -> None:
    chance = Random(3)
    past = [run(i, round(60 * 1.01**i + chance.gauss(0, 3))) for i in range(1, 85)]
    found = verdict(looked(60), past)
    assert (found.status, found.diagnosis) == (HealthStatus.DEGRADED, Diagnosis.DECLINING)
    assert found.reason.startswith("lists less and less: 6")
    assert verdict(looked(round(60 * 1.01**84)), past[::-1]).status is HealthStatus.HEALTHY  # it grows


@given(st.integers(0, 1000), st.integers(3, 2000))
def test_a_source_that_is_as_it_always_was_is_healthy_whatever_its_size(seed: int, around: int) -> None:
    chance = Random(seed)
    past = [run(i, max(1, round(chance.gauss(around, around**0.5)))) for i in range(1, 85)]
    assert verdict(looked(around), past).status is HealthStatus.HEALTHY


def test_a_new_source_is_healthy_once_it_gives_something_and_says_that_it_is_new() -> None:
    first = verdict(looked(30), ())
    assert (first.status, first.reason) == (
        HealthStatus.HEALTHY,
        "30 vehicles read from 10 pages; too new to say what is usual",
    )
    assert verdict(looked(3), [run(1, 30)]).status is HealthStatus.HEALTHY
    assert verdict(None, (), replace(SOURCE, last_health=None)).reason == "new: nothing was asked of it yet"
    silent = verdict(looked(0), ())
    assert (silent.status, silent.diagnosis) == (HealthStatus.DEGRADED, Diagnosis.EMPTY)
    short = verdict(looked(30, expected_count=1204), ())
    assert (short.status, short.reason) == (HealthStatus.DEGRADED, "lists 30 of the 1204 vehicles it says it has")


def test_harvests_cut_short_are_compared_with_such_alone() -> None:
    past = [run(i, 500, complete=True) for i in range(1, 40)] + [run(i, 50, complete=False) for i in range(40, 60)]
    assert verdict(looked(48, harvest_complete=False), past).status is HealthStatus.HEALTHY
    assert verdict(looked(48), past).status is HealthStatus.DEGRADED


def test_what_is_not_asked_stays_as_it_was_with_its_reason_and_goes_stale() -> None:
    source = replace(SOURCE, last_health="degraded", last_diagnosis="redesigned", last_reason="lists 3")
    once = verdict(None, (), source)
    assert (once.status, once.diagnosis) == (HealthStatus.DEGRADED, Diagnosis.REDESIGNED)
    assert once.reason == "not asked in this cycle; when last judged: lists 3"
    assert verdict(None, (), replace(source, last_reason=once.reason)).reason == once.reason
    stale = verdict(None, (), replace(SOURCE, last_harvest_at=NOW - timedelta(days=2)))
    assert (stale.status, stale.diagnosis) == (HealthStatus.DEGRADED, Diagnosis.STALE)
    rare = replace(SOURCE, last_harvest_at=NOW - timedelta(days=2), revisit_hours=24.0)
    assert verdict(None, (), rare).status is HealthStatus.HEALTHY


def test_history_comes_from_the_tables_as_it_was_with_hours_and_excused_pages(conn: Connection) -> None:
    source = registry.declare_source(conn, name="a", base_url="https://a.example", config={}, kind="dealer")
    for i in range(1, 4):
        at = NOW - timedelta(hours=2 * i)
        stats = SourceStats(pages_fetched=9, harvests=1, harvest_complete=True, cards_seen=100 + i, found=100 + i)
        stats.fail("gone", 2)
        stats.fail("timeout")
        ledger.add_stats(conn, source.id, at.strftime("%Y-%m-%d-%H:00"), stats, now=at)
    (runs,) = ledger.history(conn, "now", before=NOW, n=84).values()
    assert [(r.hour, r.cards_seen, r.excused, r.pages_failed) for r in runs] == [
        (0, 101, 2, 3),
        (22, 102, 2, 3),
        (20, 103, 2, 3),
    ]


def test_reliability_is_the_mean_of_the_checks_of_a_week_and_a_month(conn: Connection) -> None:
    source = registry.declare_source(conn, name="a", base_url="https://a.example", config={}, kind="dealer")
    start = NOW.replace(minute=0)
    conn.execute(
        "INSERT INTO fill_cycles (cycle_id, started_at, window_start, window_end, status) "
        "SELECT 'c' || i, w, w, w + interval '2 hours', 'closed' "
        "FROM generate_series(0, 400) i, LATERAL (SELECT %s - i * interval '2 hours') t (w)",
        (start,),
    )
    conn.execute(  # healthy for the last three days and today, degraded in the four before, failing before that
        "INSERT INTO source_health (source_id, cycle_id, status) SELECT %s, 'c' || i, "
        "CASE WHEN i < 36 THEN 'healthy' WHEN i < 84 THEN 'degraded' ELSE 'failing' END FROM generate_series(1, 400) i",
        (source.id,),
    )
    row = HealthRow(source.id, "a", "healthy", "", None, 0, None, None, None, NOW, 118.5, 120.0)
    (saved,) = ledger.save_health(conn, "c0", [row], until=start)
    assert saved.reliability_7d == round((36 + 48 * 0.5) / 84, 4)
    assert saved.reliability_30d == round((36 + 48 * 0.5) / 360, 4)
    assert (saved.listed, saved.usually_listed) == (118.5, 120.0)
    assert ledger.save_health(conn, "c0", [row], until=start) == [saved]  # settled again, nothing counts twice


def test_a_row_of_health_has_what_it_listed_beside_what_it_usually_lists() -> None:
    row = health_row(
        replace(SOURCE, id=uuid4()), looked(118), [run(i, 120) for i in range(1, 20)], hour=2, now=NOW, freshness=FRESH
    )
    assert (row.status, row.listed, row.usually_listed, row.success_rate) == ("healthy", 118.0, 120.0, 1.0)


def test_an_index_whose_further_pages_show_the_same_is_degraded_and_one_that_lists_all_it_has_is_not() -> None:
    stuck: dict[str, object] = {"expected_count": 51, "notes": ["harvest stopped: no_new_listings"]}
    short = verdict(looked(40, **stuck), ())
    assert (short.status, short.diagnosis) == (HealthStatus.DEGRADED, Diagnosis.REDESIGNED)
    assert wants_repair(short)
    assert verdict(looked(50, **stuck), ()).status is HealthStatus.HEALTHY


def test_a_field_that_is_hardly_stated_any_more_degrades_the_source_and_names_the_field() -> None:
    falls = [FieldFall("mileage", 0.02, 0.98)]
    found = judge(SOURCE, looked(120), steady(), hour=2, now=NOW, freshness=FRESH, falls=falls)
    assert (found.status, found.diagnosis) == (HealthStatus.DEGRADED, Diagnosis.QUALITY)
    assert found.reason == "mileage in 2% of its listings, usually 98%"
    assert wants_repair(found)
    assert not wants_repair(verdict(looked(120), steady()))


def test_a_fall_is_measured_against_the_cycles_before(conn: Connection) -> None:
    source = registry.declare_source(conn, name="a", base_url="https://a.test", config={}, kind="dealer")
    for hours, cycle_id in enumerate(("now", "before", "long-before")):
        at = NOW - timedelta(hours=2 * hours)
        ledger.add_stats(conn, source.id, cycle_id, SourceStats(found=20), now=at)
        for name, filled in (("price", 20), ("mileage", 1 if cycle_id == "now" else 19), ("vin", 9)):
            conn.execute(
                "INSERT INTO field_tallies (cycle_id, source_id, field_name, knowable, filled) "
                "VALUES (%s, %s, %s, 20, %s)",
                [cycle_id, source.id, name, filled],
            )
    falls = ledger.field_falls(conn, "now", before=NOW + timedelta(hours=1), least=5)
    assert falls == {source.id: [FieldFall("mileage", 0.05, 0.95)]}
