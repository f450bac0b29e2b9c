-- The import queue. Every statement costs what its own rows cost, whatever the table's size. How many rows have which
-- status changes faster than statistics can follow: rows known by id are compared with columns, not with constants, lest
-- the planner believe in a few rows of that status and read all of them.

-- name: enqueue
-- Put pages in the queue. A URL already waiting or in work stays as it is; a finished one is queued
-- again only when its time to be visited again has come: :revisit for a young advertisement, by its price and age for
-- another (revisit_factor, never below 0.375). What was had before goes behind what is new, and what could not be had
-- or showed no vehicle behind that. Returns one row per row newly pending.
INSERT INTO import_queue AS q (source_id, listing_url, url_hash, hint, priority, cycle_id, discovered_at)
SELECT DISTINCT ON (source_id, url_hash) source_id, url, url_hash, hint::jsonb, priority, :cycle_id, :now
FROM unnest(
    (:source_ids)::uuid[], (:urls)::text[], (:hashes)::uuid[], (:hints)::text[], (:priorities)::int[]
) AS t (source_id, url, url_hash, hint, priority)
ORDER BY source_id, url_hash
ON CONFLICT (source_id, url_hash) DO UPDATE
SET status = 'pending', attempts = 0, not_before = '-infinity', hint = coalesce(excluded.hint, q.hint),
    priority = excluded.priority - CASE q.status WHEN 'complete' THEN 10 ELSE 20 END, cycle_id = excluded.cycle_id, discovered_at = excluded.discovered_at,
    failure_category = NULL, error_message = NULL, processed_at = NULL, processed_cycle = NULL
WHERE q.status IN ('complete', 'failed', 'skipped') AND q.processed_at < (:now)::timestamptz - 0.375 * (:revisit)::interval
  AND q.processed_at < (:now)::timestamptz - (:revisit)::interval * coalesce((
      SELECT revisit_factor(r.first_seen_at, r.changed_at, r.price, :now) FROM listing_records r WHERE r.id = q.listing_id), 1)
RETURNING q.id;

-- name: claim
-- Lease up to batch pages and reserve a time slot of its source for each, in one statement: the
-- source's next_slot_at moves on by n delays, so any number of claimers together keep one rate.
-- Sources somebody else is claiming from are left to them, so that their rows need no locks of their own; and so many
-- sources at most are claimed from at once, those first whose turn it is longest, that others find some to claim from.
-- Whether a source has a page is asked in the order of the index, or old statistics would have the whole table read.
-- slot_at says when to fetch. Nobody waits for the disk: a server that crashes in the second after it forgets the lease,
-- and whoever holds it is told that the row is not his when he finishes it.
WITH ready AS (
    SELECT st.source_id, greatest(st.next_slot_at, :now) AS first_slot, pace.ms AS delay_ms,
           CASE WHEN st.breaker <> 'closed' THEN 1 -- one page finds out whether the source is back
                ELSE least(
                    :per_source::int,
                    CASE WHEN st.budget_day = (:now)::date THEN st.daily_requests - st.budget_used ELSE st.daily_requests END,
                    CASE WHEN pace.ms = 0 THEN :per_source::int
                         ELSE ceil(extract(epoch FROM (:horizon)::timestamptz - greatest(st.next_slot_at, :now)) * 1000
                                   / pace.ms)::int END)
           END AS allowed
    FROM source_state st JOIN scrape_sources s ON s.id = st.source_id CROSS JOIN LATERAL pace_ms(st, :now) AS pace (ms)
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
      AND s.active AND s.status IN ('live', 'trial') AND s.config_error IS NULL
      AND st.next_slot_at < :horizon AND (st.hold_until IS NULL OR st.hold_until <= :now)
      AND (st.breaker = 'closed' OR st.breaker_until <= :now)
      AND (st.budget_day IS DISTINCT FROM (:now)::date OR st.budget_used < st.daily_requests)
      AND (SELECT true FROM import_queue
           WHERE source_id = st.source_id AND status = 'pending' AND not_before <= :now ORDER BY priority DESC, id LIMIT 1)
    ORDER BY st.next_slot_at
    LIMIT :sources
    FOR UPDATE OF st SKIP LOCKED
), picked AS (
    SELECT q.id, q.status, r.source_id, row_number() OVER (PARTITION BY r.source_id ORDER BY q.priority DESC, q.id) AS place
    FROM ready r CROSS JOIN LATERAL (
        SELECT id, status, priority FROM import_queue
        WHERE source_id = r.source_id AND status = 'pending' AND not_before <= :now
        ORDER BY priority DESC, id
        LIMIT least(greatest(r.allowed, 0), :batch::int)
    ) q
), chosen AS (
    SELECT * FROM picked ORDER BY place, source_id LIMIT :batch
), slots AS (
    UPDATE source_state st
    SET next_slot_at = r.first_slot + n * r.delay_ms * interval '1 millisecond',
        budget_used = CASE WHEN st.budget_day = (:now)::date THEN st.budget_used ELSE 0 END + n,
        budget_day = (:now)::date,
        breaker = CASE WHEN st.breaker = 'open' THEN 'half_open' ELSE st.breaker END,
        breaker_until = CASE WHEN st.breaker = 'closed' THEN NULL ELSE (:now)::timestamptz + interval '60 seconds' END
    FROM ready r JOIN (SELECT source_id, count(*)::int AS n FROM chosen GROUP BY 1) c USING (source_id)
    WHERE st.source_id = r.source_id
    RETURNING st.source_id
)
UPDATE import_queue q
SET status = 'processing', attempts = q.attempts + 1, lease_owner = :owner,
    lease_expires_at = (:now)::timestamptz + :lease_seconds * interval '1 second', processed_cycle = :cycle_id
FROM chosen c JOIN ready r USING (source_id)
WHERE q.id = c.id AND q.status = c.status
RETURNING q.id, q.source_id, q.listing_url, q.url_hash, q.listing_id, q.hint, q.attempts, q.max_attempts,
          r.first_slot + (c.place - 1) * r.delay_ms * interval '1 millisecond' AS slot_at;

-- name: extend_leases
-- The heartbeat: rows still held by this owner stay its own for another lease. Returns which these are.
UPDATE import_queue SET lease_expires_at = (:now)::timestamptz + :lease_seconds * interval '1 second'
WHERE id = ANY(:ids) AND lease_owner = :owner AND status = 'processing'
RETURNING id;

-- name: complete
-- Finish rows this owner still holds; a row whose lease went to somebody else is theirs to finish.
UPDATE import_queue q
SET status = t.outcome, listing_id = coalesce(t.listing_id, q.listing_id), processed_at = :now,
    lease_owner = NULL, lease_expires_at = NULL, failure_category = t.category, error_message = t.error
FROM (SELECT *, (:owner)::text AS owner, 'processing' AS held
      FROM unnest((:ids)::bigint[], (:outcomes)::text[], (:listing_ids)::bigint[], (:categories)::text[], (:errors)::text[])
           AS u (id, outcome, listing_id, category, error) OFFSET 0) t
WHERE q.id = t.id AND q.lease_owner = t.owner AND q.status = t.held
RETURNING q.id;

-- name: fail
-- Give rows back after a failure: pending again after delays[i] seconds and behind the others, or
-- dead when the attempts are used up, or failed at once when trying again cannot help.
UPDATE import_queue q
SET status = CASE WHEN NOT t.retryable THEN 'failed' WHEN q.attempts >= q.max_attempts THEN 'dead' ELSE 'pending' END,
    not_before = (:now)::timestamptz + t.delay * interval '1 second', priority = q.priority - 1,
    failure_category = t.category, error_message = left(t.error, 500),
    processed_at = CASE WHEN t.retryable AND q.attempts < q.max_attempts THEN NULL ELSE (:now)::timestamptz END,
    lease_owner = NULL, lease_expires_at = NULL
FROM (SELECT *, (:owner)::text AS owner, 'processing' AS held
      FROM unnest((:ids)::bigint[], (:categories)::text[], (:errors)::text[], (:delays)::float8[], (:retryable)::bool[])
           AS u (id, category, error, delay, retryable) OFFSET 0) t
WHERE q.id = t.id AND q.lease_owner = t.owner AND q.status = t.held
RETURNING q.id, q.status;

-- name: release!
-- Give rows back untried: neither the attempt counts nor, of a page never asked for, its place in the day's budget.
WITH freed AS (
    UPDATE import_queue SET status = 'pending', attempts = greatest(attempts - 1, 0), lease_owner = NULL, lease_expires_at = NULL,
        not_before = coalesce((:not_before)::timestamptz, not_before)
    WHERE id = ANY(:ids) AND lease_owner = :owner AND status = 'processing'
    RETURNING id, source_id
)
UPDATE source_state st SET budget_used = greatest(st.budget_used - f.n, 0)
FROM (SELECT source_id, count(*)::int AS n FROM freed WHERE id <> ALL(:asked) GROUP BY 1) f WHERE st.source_id = f.source_id;

-- name: reap
-- Take back rows whose holder died: pending again, or dead when the attempts are used up, so that a
-- page that kills its worker every time ends with a reason instead of going round for ever.
WITH expired AS (
    SELECT id FROM import_queue WHERE status = 'processing' AND lease_expires_at < :now
    ORDER BY lease_expires_at LIMIT :max_rows FOR UPDATE SKIP LOCKED
)
UPDATE import_queue q
SET status = CASE WHEN q.attempts >= q.max_attempts THEN 'dead' ELSE 'pending' END, priority = q.priority - 1,
    failure_category = 'worker_lost', error_message = 'the worker holding this row died or hung: ' || coalesce(q.lease_owner, '?'),
    processed_at = CASE WHEN q.attempts >= q.max_attempts THEN (:now)::timestamptz END,
    lease_owner = NULL, lease_expires_at = NULL
FROM expired e WHERE q.id = e.id
RETURNING q.id, q.status;

-- name: held_by
SELECT id FROM import_queue WHERE status = 'processing' AND lease_owner = :owner AND lease_expires_at IS NOT NULL;

-- name: owners
-- Who holds pages now; through the index of leases.
SELECT DISTINCT lease_owner FROM import_queue WHERE status = 'processing' AND lease_expires_at IS NOT NULL;

-- name: release_owner
-- Take back what a dead owner held without waiting for its leases; the attempt counts, as in reap.
UPDATE import_queue q
SET status = CASE WHEN q.attempts >= q.max_attempts THEN 'dead' ELSE 'pending' END, priority = q.priority - 1,
    failure_category = 'worker_lost', error_message = 'the worker holding this row died: ' || q.lease_owner,
    processed_at = CASE WHEN q.attempts >= q.max_attempts THEN (:now)::timestamptz END,
    lease_owner = NULL, lease_expires_at = NULL
WHERE q.status = 'processing' AND q.lease_owner = :owner AND q.lease_expires_at IS NOT NULL
RETURNING q.id;

-- name: requeue_dead
-- Give dead rows another life; all sources when source_id is null.
UPDATE import_queue SET status = 'pending', attempts = 0, not_before = '-infinity', processed_at = NULL
WHERE id IN (
    SELECT id FROM import_queue WHERE status = 'dead' AND (:source_id::uuid IS NULL OR source_id = :source_id)
    ORDER BY id LIMIT :max_rows FOR UPDATE SKIP LOCKED
)
RETURNING id;

-- name: next_ready
-- When the earliest waiting page may be fetched: the latest of now, its source's slot, its own delay, every hold and
-- pause, and tomorrow where today's budget is spent;
-- null when nothing waits that this cycle could fetch. Of a source with a page that is ready only rows before it are
-- read; of one with none ten thousand at most, which says "later" rather than "sooner" where more have failed lately.
-- Both in the order of the index, or old statistics would have the whole table read.
SELECT min(greatest(:now, st.next_slot_at, st.hold_until, p.not_before, CASE WHEN st.breaker <> 'closed' THEN st.breaker_until END,
                    CASE WHEN st.budget_day = (:now)::date AND st.budget_used >= st.daily_requests
                         THEN ((:now)::date + 1)::timestamptz END))
FROM source_state st JOIN scrape_sources s ON s.id = st.source_id
CROSS JOIN LATERAL (
    SELECT coalesce(
        (SELECT not_before FROM import_queue
         WHERE source_id = st.source_id AND status = 'pending' AND not_before <= :now ORDER BY priority DESC, id LIMIT 1),
        (SELECT min(not_before) FROM (
            SELECT not_before FROM import_queue WHERE source_id = st.source_id AND status = 'pending'
            ORDER BY priority DESC, id LIMIT 10000) failed)) AS not_before
) p
WHERE p.not_before IS NOT NULL AND s.active AND s.status IN ('live', 'trial') AND s.config_error IS NULL;

-- name: failures_by_category
-- What went wrong in this cycle, by source and category, from the sources' own accounts.
SELECT s.slug, f.key AS category, f.value::int AS n
FROM source_cycle_stats c JOIN scrape_sources s ON s.id = c.source_id CROSS JOIN LATERAL jsonb_each_text(c.failures) f
WHERE c.cycle_id = :cycle_id ORDER BY n DESC, 1;
