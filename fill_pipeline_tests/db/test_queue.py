"""The queue: nothing lost, nothing twice, one pace, and totals that are always right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db import counters, pace, queue, registry
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.queue import ClaimedPage, Completion, Failure, PageToQueue, QueueStatus

NOW = datetime(2025, 12, 24, 18, tzinfo=UTC)
LEASE = timedelta(minutes=5)
HOUR = timedelta(hours=1)


@pytest.fixture
def source(conn: Connection) -> UUID:
    row = registry.declare_source(conn, name="s", base_url="https://s.example", config={}, kind="dealer")
    pace.set_pace(conn, row.id, delay_ms=0, max_concurrency=4, daily_requests=100_000)
    return row.id


def put(conn: Connection, source: UUID, *urls: str, now: datetime = NOW) -> int:
    pages = [PageToQueue(source, url, url_hash(url)) for url in urls]
    return queue.enqueue(conn, pages, cycle_id="c", now=now, revisit=HOUR)


def take(conn: Connection, owner: str = "w", now: datetime = NOW, batch: int = 500) -> list[ClaimedPage]:
    return queue.claim(
        conn,
        owner=owner,
        cycle_id="c",
        now=now,
        batch=batch,
        lease=LEASE,
        horizon=timedelta(seconds=20),
        per_source=500,
    )


def numbered(n: int) -> list[str]:
    return [f"https://s.example/{i}" for i in range(n)]


def test_a_url_waits_once_and_comes_back_only_after_its_revisit_time(conn: Connection, source: UUID) -> None:
    assert put(conn, source, *numbered(3)) == 3
    assert put(conn, source, *numbered(4), "https://s.example/0?utm_source=x") == 1
    pages = take(conn)
    ends = [Completion(p.queue_id, QueueStatus.COMPLETE) for p in pages]
    assert queue.complete(conn, ends, owner="w", now=NOW) == {p.queue_id for p in pages}
    assert put(conn, source, *numbered(4), now=NOW + HOUR / 2) == 0
    assert put(conn, source, *numbered(4), now=NOW + 2 * HOUR) == 4


@pytest.mark.parametrize(
    ("age_days", "changed_days", "price", "hours"),
    [(1, 1, 20_000, 1.0), (7, 7, 20_000, 2.0), (30, 30, 20_000, 4.0), (30, 1, 20_000, 2.0), (1, 0.5, 90_000, 0.375),
     (30, 30, 900, 6.0), (1, 1, None, 1.0)],
)  # fmt: skip
def test_a_listing_is_visited_again_by_its_price_and_age(
    conn: Connection, source: UUID, age_days: float, changed_days: float, price: int | None, hours: float
) -> None:
    put(conn, source, "https://s.example/a")
    (page,) = take(conn)
    row = conn.execute(
        "INSERT INTO listing_records (source_id, source, remote_id, url, price, first_seen_at, first_cycle, changed_at,"
        " changed_cycle, content_hash)"
        " VALUES (%s, 's', '1', 'https://s.example/a', %s, %s, 'c', %s, 'c', gen_random_uuid()) RETURNING id",
        [source, price, NOW - timedelta(days=age_days), NOW - timedelta(days=changed_days)],
    ).fetchone()
    assert row is not None
    queue.complete(conn, [Completion(page.queue_id, QueueStatus.COMPLETE, row[0])], owner="w", now=NOW)
    assert put(conn, source, "https://s.example/a", now=NOW + timedelta(hours=hours, seconds=-1)) == 0
    assert put(conn, source, "https://s.example/a", now=NOW + timedelta(hours=hours, seconds=1)) == 1


def test_new_pages_come_before_those_had_before_and_the_unpromising_last(conn: Connection, source: UUID) -> None:
    put(conn, source, "https://s.example/empty", "https://s.example/had")
    empty, had = sorted(take(conn), key=lambda page: page.url)
    ends = [Completion(empty.queue_id, QueueStatus.SKIPPED, None, "no_listing", "shows no vehicle")]
    queue.complete(conn, [*ends, Completion(had.queue_id, QueueStatus.COMPLETE)], owner="w", now=NOW)
    later = NOW + 2 * HOUR
    assert put(conn, source, "https://s.example/empty", "https://s.example/had", now=later) == 2
    assert put(conn, source, "https://s.example/new", now=later) == 1
    order = [page.url.rsplit("/", 1)[1] for n in range(3) for page in take(conn, now=later + n * HOUR, batch=1)]
    assert order == ["new", "had", "empty"]


def test_two_claimers_never_hold_the_same_page(conn: Connection, source: UUID, database_url: str) -> None:
    put(conn, source, *numbered(50))
    with connect(database_url) as other:
        first, second = take(conn, "a", batch=30), take(other, "b", batch=30)
    assert len(first) == 30
    assert len(second) == 20
    assert not {p.queue_id for p in first} & {p.queue_id for p in second}


def many_sources(conn: Connection, n: int) -> list[UUID]:
    """So many sources with two waiting pages each."""
    ids = []
    for number in range(n):
        base_url = f"https://s{number}.example"
        row = registry.declare_source(conn, name=f"s{number}", base_url=base_url, config={}, kind="dealer")
        put(conn, row.id, f"{base_url}/0", f"{base_url}/1")
        ids.append(row.id)
    return ids


def test_two_claim_side_by_side_from_sources_of_their_own(conn: Connection, database_url: str) -> None:
    many_sources(conn, 2 * queue.SOURCES_PER_CLAIM)
    with connect(database_url) as other, other.transaction():
        theirs = {page.source_id for page in take(other, "a")}  # not committed: its sources are locked
        ours = {page.source_id for page in take(conn, "b")}
    assert len(theirs) == len(ours) == queue.SOURCES_PER_CLAIM
    assert not theirs & ours


def test_sources_that_have_nothing_to_give_now_stand_in_nobodys_way(conn: Connection, source: UUID) -> None:
    spent, *late = many_sources(conn, 2 * queue.SOURCES_PER_CLAIM)
    pace.set_pace(conn, spent, delay_ms=0, max_concurrency=4, daily_requests=1)
    conn.execute("UPDATE source_state SET budget_day = %s, budget_used = 1 WHERE source_id = %s", [NOW.date(), spent])
    conn.execute("UPDATE import_queue SET not_before = %s WHERE source_id = ANY(%s)", [NOW + HOUR, late])
    pace.reserve_slots(conn, source, 1, now=NOW)  # its turn comes after theirs
    put(conn, source, *numbered(3))
    assert {page.source_id for page in take(conn)} == {source}


def test_claimed_slots_keep_the_sources_rate_whoever_claims(conn: Connection, source: UUID) -> None:
    pace.set_pace(conn, source, delay_ms=1000, max_concurrency=4, daily_requests=100_000)
    put(conn, source, *numbered(100))
    slots = [p.slot_at for p in take(conn, "a", batch=5)] + [p.slot_at for p in take(conn, "b")]
    assert slots == [NOW + timedelta(seconds=i) for i in range(20)]
    assert take(conn, "c") == []
    assert [p.slot_at for p in take(conn, "d", now=NOW + timedelta(seconds=1))] == [NOW + timedelta(seconds=20)]


def test_a_days_budget_bounds_what_is_claimed(conn: Connection, source: UUID) -> None:
    pace.set_pace(conn, source, delay_ms=0, max_concurrency=4, daily_requests=7)
    put(conn, source, *numbered(20))
    assert len(take(conn)) == 7
    assert take(conn) == []
    assert len(take(conn, now=NOW + timedelta(days=1))) == 7


def test_a_paused_source_gives_nothing(conn: Connection, source: UUID) -> None:
    put(conn, source, *numbered(5))
    registry.set_active(conn, "s", False)
    assert take(conn) == []
    assert queue.next_ready(conn, now=NOW) is None
    registry.set_active(conn, "s", True)
    assert len(take(conn)) == 5


def test_an_open_breaker_lets_one_page_through_when_its_pause_is_over(conn: Connection, source: UUID) -> None:
    put(conn, source, *numbered(5))
    pace.note_failures(conn, source, 10, NOW)
    assert take(conn) == []
    later = NOW + timedelta(seconds=31)
    assert len(take(conn, now=later)) == 1
    assert take(conn, now=later) == []
    pace.note_success(conn, source, later)
    assert len(take(conn, now=later)) == 4


def test_failures_wait_their_turn_and_die_with_their_reason(conn: Connection, source: UUID) -> None:
    put(conn, source, *numbered(1))
    now = NOW
    for attempt in range(1, 6):
        (page,) = take(conn, now=now)
        assert page.attempts == attempt
        ended = queue.fail(conn, [Failure(page.queue_id, "timeout", "too slow", 60.0)], owner="w", now=now)
        assert take(conn, now=now + timedelta(seconds=59)) == []
        now += timedelta(seconds=61)
    assert ended == {page.queue_id: QueueStatus.DEAD}
    row = conn.execute("SELECT status, failure_category, error_message, processed_at FROM import_queue").fetchone()
    assert row is not None
    assert row[:3] == ("dead", "timeout", "too slow")
    assert queue.requeue_dead(conn, source_id=source, now=now) == 1
    assert len(take(conn, now=now)) == 1


def test_what_cannot_be_cured_fails_at_once(conn: Connection, source: UUID) -> None:
    put(conn, source, *numbered(1))
    (page,) = take(conn)
    failure = Failure(page.queue_id, "gone", "404", retryable=False)
    assert queue.fail(conn, [failure], owner="w", now=NOW) == {page.queue_id: QueueStatus.FAILED}


def test_a_dead_workers_pages_come_back_and_its_late_answer_counts_for_nothing(conn: Connection, source: UUID) -> None:
    put(conn, source, *numbered(3))
    pages = take(conn, "dead")
    queue.extend_leases(conn, [pages[0].queue_id], owner="dead", now=NOW + LEASE, lease=LEASE)
    after = NOW + LEASE + timedelta(seconds=1)
    assert set(queue.reap(conn, now=after)) == {p.queue_id for p in pages[1:]}
    again = take(conn, "alive", now=after)
    assert {p.queue_id for p in again} == {p.queue_id for p in pages[1:]}
    late = [Completion(p.queue_id, QueueStatus.COMPLETE) for p in pages]
    assert queue.complete(conn, late, owner="dead", now=after) == {pages[0].queue_id}


def test_a_heartbeat_says_which_pages_are_still_ours(conn: Connection, source: UUID) -> None:
    put(conn, source, *numbered(5))
    finished, failed, released, reaped, ours = (page.queue_id for page in take(conn, "slow"))
    queue.complete(conn, [Completion(finished, QueueStatus.COMPLETE)], owner="slow", now=NOW)
    queue.fail(conn, [Failure(failed, "timeout", "too slow")], owner="slow", now=NOW)
    queue.release(conn, [released], owner="slow")
    assert queue.extend_leases(conn, [ours], owner="slow", now=NOW + LEASE, lease=LEASE) == {ours}
    after = NOW + LEASE + timedelta(seconds=1)
    assert set(queue.reap(conn, now=after)) == {reaped}
    assert reaped in {page.queue_id for page in take(conn, "other", now=after)}
    held = [finished, failed, released, reaped, ours]
    assert queue.extend_leases(conn, held, owner="slow", now=after, lease=LEASE) == {ours}
    assert queue.extend_leases(conn, [], owner="slow", now=after, lease=LEASE) == set()


def test_a_page_that_kills_every_worker_ends_dead(conn: Connection, source: UUID) -> None:
    put(conn, source, *numbered(1))
    now = NOW
    for _ in range(5):
        assert len(take(conn, now=now)) == 1
        now += 2 * LEASE
        queue.reap(conn, now=now)
    assert conn.execute("SELECT status, failure_category FROM import_queue").fetchone() == ("dead", "worker_lost")


def test_released_pages_lose_no_attempt(conn: Connection, source: UUID) -> None:
    put(conn, source, *numbered(2))
    pages = take(conn)
    queue.release(conn, [p.queue_id for p in pages], owner="w")
    assert [p.attempts for p in take(conn)] == [1, 1]


def test_the_totals_equal_the_rows_after_every_kind_of_change(conn: Connection, source: UUID) -> None:
    def check() -> None:
        counted = dict(conn.execute("SELECT 'queue.' || status, count(*) FROM import_queue GROUP BY 1").fetchall())
        metrics = [f"queue.{status}" for status in QueueStatus]
        assert {k: v for k, v in counters.totals(conn, metrics).items() if v} == counted
        queued = counters.of_scope(conn, ["cycle.queued"], "c")["cycle.queued"]
        assert queued == queue_rows(conn)

    def queue_rows(conn: Connection) -> int:
        row = conn.execute("SELECT count(*) FROM import_queue WHERE cycle_id = 'c'").fetchone()
        return int(row[0]) if row else 0

    put(conn, source, *numbered(10))
    check()
    pages = take(conn, batch=6)
    check()
    queue.complete(conn, [Completion(p.queue_id, QueueStatus.COMPLETE) for p in pages[:3]], owner="w", now=NOW)
    queue.fail(conn, [Failure(pages[3].queue_id, "gone", "", retryable=False)], owner="w", now=NOW)
    check()
    put(conn, source, *numbered(10), now=NOW + 2 * HOUR)
    conn.execute("DELETE FROM import_queue WHERE listing_url LIKE '%/9'")
    check()
    for _ in range(counters.FOLD_ABOVE):
        conn.execute("INSERT INTO counters VALUES ('vehicles', '', 1)")
    assert counters.fold(conn)
    check()
    assert counters.totals(conn, ["vehicles"]) == {"vehicles": counters.FOLD_ABOVE}
    assert conn.execute("SELECT count(*) < 10 FROM counters").fetchone() == (True,)


def test_many_sums_are_no_reason_to_fold_again(conn: Connection) -> None:
    many = counters.FOLD_ABOVE + 1
    for _ in range(2):
        conn.execute("INSERT INTO counters SELECT 'cycle.queued', g::text, 2 FROM generate_series(1, %s) g", [many])
        assert counters.fold(conn)
        assert not counters.fold(conn)
    assert counters.totals(conn, ["cycle.queued"]) == {"cycle.queued": 4 * many}
    assert conn.execute("SELECT count(*) FROM counters").fetchone() == (many,)


def test_the_claim_reads_no_more_when_the_queue_is_deep(conn: Connection, source: UUID) -> None:
    """Both plans go through indexes: the cost of a claim is that of its own rows."""
    conn.execute(
        "INSERT INTO import_queue (source_id, listing_url, url_hash, cycle_id, status) "
        "SELECT %s, 'https://s.example/' || g, gen_random_uuid(), 'c', "
        "CASE WHEN g %% 2 = 0 THEN 'pending' ELSE 'complete' END FROM generate_series(1, 30000) g",
        [source],
    )
    conn.execute("ANALYZE import_queue")
    conn.execute("SET track_io_timing = off")
    before = _blocks(conn)
    assert len(take(conn, batch=100)) == 100
    assert _blocks(conn) - before < 20_000 * 0.2


def test_finishing_pages_reads_no_page_more_when_others_are_held(conn: Connection, source: UUID) -> None:
    put(conn, source, *numbered(6000))
    conn.execute("ANALYZE import_queue")  # all wait: the statistics know of no leased row
    pages = [page for _ in range(3) for page in take(conn)]
    ends = [Completion(page.queue_id, QueueStatus.COMPLETE) for page in pages[:20]]
    failures = [Failure(page.queue_id, "timeout", "slow") for page in pages[20:40]]
    with conn.transaction():
        before = _rows_read(conn)
        assert len(queue.complete(conn, ends, owner="w", now=NOW)) == 20
        assert len(queue.fail(conn, failures, owner="w", now=NOW)) == 20
        assert _rows_read(conn) - before <= 80


def _rows_read(conn: Connection) -> int:
    row = conn.execute(
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'import_queue'"
    ).fetchone()
    return int(row[0]) if row else 0


def test_a_claim_waits_for_no_disk_and_whatever_comes_after_it_does(conn: Connection, source: UUID) -> None:
    put(conn, source, *numbered(4))
    with conn.transaction():
        assert len(take(conn, batch=2)) == 2
        assert conn.execute("SHOW synchronous_commit").fetchone() == ("off",)
    assert len(take(conn, batch=2)) == 2
    assert conn.execute("SHOW synchronous_commit").fetchone() == ("on",)


def _blocks(conn: Connection) -> int:
    conn.execute("SELECT pg_stat_force_next_flush()")
    row = conn.execute(
        "SELECT heap_blks_hit + heap_blks_read FROM pg_statio_user_tables WHERE relname = 'import_queue'"
    ).fetchone()
    return int(row[0]) if row else 0


def test_unknown_pages_are_nobodys(conn: Connection, source: UUID) -> None:
    assert queue.complete(conn, [Completion(uuid4().int % 10**9, QueueStatus.COMPLETE)], owner="w", now=NOW) == set()


def test_a_page_of_a_source_never_fetched_is_ready_now(conn: Connection, source: UUID) -> None:
    assert queue.next_ready(conn, now=NOW) is None
    put(conn, source, *numbered(1))
    assert queue.next_ready(conn, now=NOW) == NOW


def test_a_page_to_be_tried_later_hides_none_that_is_ready(conn: Connection, source: UUID) -> None:
    put(conn, source, *numbered(2))
    had = [Completion(page.queue_id, QueueStatus.COMPLETE) for page in take(conn)]
    queue.complete(conn, had, owner="w", now=NOW - HOUR)
    put(conn, source, "https://s.example/new")
    (new,) = take(conn)
    queue.fail(conn, [Failure(new.queue_id, "timeout", "too slow", 7200.0)], owner="w", now=NOW)
    assert queue.next_ready(conn, now=NOW) == NOW + 2 * HOUR
    assert put(conn, source, *numbered(2), now=NOW + HOUR / 2) == 2
    assert queue.next_ready(conn, now=NOW + HOUR / 2) == NOW + HOUR / 2


def test_of_pages_that_all_wait_the_earliest_says_when(conn: Connection, source: UUID) -> None:
    put(conn, source, *numbered(3))
    delays = zip(take(conn), (60.0, 20.0, 40.0), strict=True)
    queue.fail(conn, [Failure(page.queue_id, "timeout", "slow", delay) for page, delay in delays], owner="w", now=NOW)
    assert queue.next_ready(conn, now=NOW) == NOW + timedelta(seconds=20)


@pytest.mark.parametrize("ready", [True, False])
def test_when_a_page_is_ready_costs_the_same_in_a_deep_queue(conn: Connection, source: UUID, ready: bool) -> None:
    conn.execute(
        "INSERT INTO import_queue (source_id, listing_url, url_hash, cycle_id, priority) "
        "SELECT %s, 'https://s.example/' || g, gen_random_uuid(), 'c', -10 FROM generate_series(1, 30000) g",
        [source],
    )
    put(conn, source, *numbered(20))
    conn.execute("ANALYZE import_queue")
    failures = [Failure(page.queue_id, "timeout", "slow", 60.0) for page in take(conn, batch=20)]
    queue.fail(conn, failures, owner="w", now=NOW)
    if not ready:  # of which the statistics know nothing
        conn.execute("UPDATE import_queue SET status = 'complete' WHERE priority = -10")
    with conn.transaction():
        before = _rows_read(conn)
        at = queue.next_ready(conn, now=NOW)
        assert _rows_read(conn) - before <= 100
    assert at == (NOW if ready else NOW + timedelta(minutes=1))


DEEP = 30_000


@pytest.mark.parametrize("counted", ["waiting", "done", "mostly done"])
@pytest.mark.parametrize("waiting", [20, DEEP])
def test_a_claim_reads_what_it_takes_whatever_the_statistics_remember(
    conn: Connection, source: UUID, counted: str, waiting: int
) -> None:
    others = [registry.declare_source(conn, name=f"o{n}", base_url=f"https://o{n}.example", config={}, kind="dealer")
              for n in range(5)]  # fmt: skip
    for other in others:
        pace.set_pace(conn, other.id, delay_ms=0, max_concurrency=4, daily_requests=100_000)
    conn.execute(
        "INSERT INTO import_queue (source_id, listing_url, url_hash, cycle_id)"
        " SELECT (%s::uuid[])[1 + g %% 6], 'https://s.example/' || g, gen_random_uuid(), 'c'"
        " FROM generate_series(1, %s) g",
        [[source, *(other.id for other in others)], DEEP],
    )
    share = {"waiting": 1, "done": DEEP + 1, "mostly done": 100}[counted]
    conn.execute("UPDATE import_queue SET status = 'complete' WHERE id %% %s <> 0", [share])
    conn.execute("VACUUM ANALYZE import_queue")
    conn.execute("UPDATE import_queue SET status = 'complete' WHERE status = 'pending'")
    conn.execute(
        "UPDATE import_queue SET status = 'pending' WHERE id IN (SELECT id FROM import_queue LIMIT %s)", [waiting]
    )
    with conn.transaction():
        before = _rows_read(conn)
        assert len(take(conn, batch=100)) == min(waiting, 100)
        assert _rows_read(conn) - before <= 1_500
