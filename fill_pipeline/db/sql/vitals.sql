-- What alerts are judged from. Each statement reads counters, the rows of the last few cycles, or those of the registry,
-- so that a look costs the same at ten million listings as at ten thousand.

-- name: ended_cycles
-- The last cycles that ended, newest first; those run for single sources by hand say nothing about the whole.
SELECT cycle_id, status, window_start, completed_at, vehicles_added, target, on_target, data_quality_score::float8, errors
FROM fill_cycles
WHERE status IN ('closed', 'missed') AND metadata ->> 'limited' IS DISTINCT FROM 'true'
ORDER BY window_start DESC, started_at DESC LIMIT :n;

-- name: quality_issues
-- What the report of one cycle complains about.
SELECT v FROM fill_cycles c CROSS JOIN LATERAL json_array_elements_text(c.report -> 'quality_issues') AS t (v)
WHERE c.cycle_id = :cycle_id LIMIT :n;

-- name: failing_sources
-- The sources that failed in the newest of these cycles, each with how it was in all of them, in their order.
SELECT s.slug, s.status, coalesce(h.reason, ''), h.diagnosis, t.trail
FROM source_health h JOIN scrape_sources s ON s.id = h.source_id
CROSS JOIN LATERAL (
    SELECT array_agg(coalesce(x.status, '') ORDER BY c.place) AS trail
    FROM unnest((:cycle_ids)::text[]) WITH ORDINALITY AS c (cycle_id, place)
    LEFT JOIN source_health x ON x.source_id = h.source_id AND x.cycle_id = c.cycle_id
) t
WHERE h.cycle_id = ((:cycle_ids)::text[])[1] AND h.status = 'failing' AND s.active AND s.status IN ('live', 'trial', 'quarantined')
ORDER BY s.slug;

-- name: set_aside
-- The sources that repair gave up, with its reason.
SELECT slug, coalesce(status_reason, '') FROM scrape_sources WHERE active AND status = 'quarantined' ORDER BY slug;

-- name: recent_repairs
-- What was done about these sources since then, the newest first; at most most of each.
SELECT s.slug, r.diagnosis, r.status, r.reason, r.created_at
FROM scrape_sources s CROSS JOIN LATERAL (
    SELECT * FROM source_repairs x WHERE x.source_id = s.id AND x.created_at >= :since ORDER BY x.created_at DESC LIMIT :most) r
WHERE s.slug = ANY(:slugs) ORDER BY s.slug, r.created_at DESC;

-- name: held_back
-- What the last cycles held back and did not release, of sources that gave nothing sound since; the newest first.
WITH recent AS (
    SELECT cycle_id, row_number() OVER (ORDER BY window_start DESC, started_at DESC) AS age
    FROM (SELECT * FROM fill_cycles WHERE status IN ('open', 'closed') ORDER BY window_start DESC, started_at DESC LIMIT :n) c
)
SELECT s.slug, b.cycle_id, b.expectation, b.reason, b.listings - b.released
FROM recent r JOIN held_batches b ON b.cycle_id = r.cycle_id JOIN scrape_sources s ON s.id = b.source_id
WHERE b.listings > b.released AND s.active AND NOT EXISTS (
    SELECT FROM recent later JOIN source_cycle_stats c ON c.cycle_id = later.cycle_id
    WHERE later.age < r.age AND c.source_id = b.source_id AND c.quality_count > 0)
ORDER BY s.slug, r.age, b.listings DESC;

-- name: actions
-- What the open cycle and the last few did, the newest first.
SELECT a.cycle_id, a.action, a.level, a.attempt, a.status, a.reason, a.error, coalesce((a.outcome ->> 'gained')::bigint, 0),
       a.started_at, a.heartbeat_at, a.requested_at
FROM cycle_actions a WHERE a.cycle_id = ANY(:cycle_ids) ORDER BY a.id DESC LIMIT :most;

-- name: queue_movement
-- The sources of which pages may be fetched, and might be since that time: how many, and when one of them last moved
-- (a batch written, or a slot taken for a page).
SELECT count(*)::int, nullif(max(greatest(c.last_at, least(st.next_slot_at, :now))), '-infinity')
FROM source_state st JOIN scrape_sources s ON s.id = st.source_id
LEFT JOIN source_cycle_stats c ON c.source_id = st.source_id AND c.cycle_id = :cycle_id
CROSS JOIN LATERAL (
    SELECT greatest(not_before, discovered_at) AS ready_at FROM import_queue q
    WHERE q.source_id = st.source_id AND q.status = 'pending' ORDER BY priority DESC, id LIMIT 1
) p
WHERE s.active AND s.status IN ('live', 'trial') AND s.config_error IS NULL AND p.ready_at <= :since
  AND (st.hold_until IS NULL OR st.hold_until <= :since) AND (st.breaker = 'closed' OR st.breaker_until <= :since)
  AND NOT (st.budget_day >= (:since)::date AND st.budget_used >= st.daily_requests);

-- name: silent_searches
-- Searches whose last job lost its worker, or waits and nobody takes it: (name, what, since).
SELECT s.name, j.what, j.at
FROM offerup_searches s CROSS JOIN LATERAL (
    SELECT CASE WHEN status = 'error' THEN error_message WHEN status = 'running' THEN 'its worker gives no sign of life'
                ELSE 'it waits and no worker takes it' END AS what,
           CASE WHEN status = 'running' THEN lease_expires_at ELSE coalesce(finished_at, created_at) END AS at, status, error_message, lease_expires_at, created_at
    FROM offerup_jobs x WHERE x.search_id = s.id AND x.created_at >= :recent ORDER BY created_at DESC LIMIT 1
) j
WHERE s.active AND ((j.status = 'error' AND j.error_message LIKE 'its worker fell silent%%')
   OR (j.status = 'running' AND coalesce(j.lease_expires_at, '-infinity') < :silent_before)
   OR (j.status = 'pending' AND j.created_at < :waiting_before))
ORDER BY s.name LIMIT :n;

-- name: silent_deals
-- The same of the last job of the deal finder.
SELECT CASE WHEN status = 'error' THEN error_message WHEN status = 'running' THEN 'its worker gives no sign of life'
            ELSE 'it waits and no worker takes it' END,
       CASE WHEN status = 'running' THEN lease_expires_at ELSE coalesce(finished_at, created_at) END
FROM (SELECT * FROM deal_finder_jobs ORDER BY created_at DESC LIMIT 1) j
WHERE created_at >= :recent AND ((status = 'error' AND error_message LIKE 'its worker fell silent%%')
   OR (status = 'running' AND coalesce(lease_expires_at, '-infinity') < :silent_before)
   OR (status = 'pending' AND created_at < :waiting_before));

-- name: active_searches
SELECT id::text FROM offerup_searches WHERE active;

-- name: save_check!
INSERT INTO check_results (cycle_id, name, passed, severity, words, checked_at)
VALUES (:cycle_id, :name, :passed, :severity, :words, :now)
ON CONFLICT (cycle_id, name) DO UPDATE
SET passed = excluded.passed, severity = excluded.severity, words = excluded.words, checked_at = excluded.checked_at;

-- name: failed_checks
-- The checks that do not hold and must, of the first of these cycles that was checked: (name, what is wrong).
SELECT name, words FROM check_results
WHERE NOT passed AND severity = :severity AND cycle_id = (
    SELECT c.cycle_id FROM unnest((:cycle_ids)::text[]) WITH ORDINALITY AS c (cycle_id, place)
    WHERE EXISTS (SELECT FROM check_results r WHERE r.cycle_id = c.cycle_id) ORDER BY c.place LIMIT 1)
ORDER BY name;
