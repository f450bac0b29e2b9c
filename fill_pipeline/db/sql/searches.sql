-- Saved searches, and a job for each of their runs.

-- name: all_searches
SELECT id, name, params, active, schedule, source, time_zone, last_tick, created_at FROM offerup_searches
WHERE (:only_id::uuid IS NULL OR id = :only_id) ORDER BY name, created_at;

-- name: add_search$
INSERT INTO offerup_searches (name, params, active, schedule, source, time_zone, created_at)
VALUES (:name, :params::jsonb, :active, :schedule, :source, :time_zone, :now) RETURNING id;

-- name: set_active!
UPDATE offerup_searches SET active = :active WHERE id = :search_id;

-- name: create_job
-- A job for one tick of a search's schedule; none where the tick has one already. The search remembers
-- its latest tick, whoever made the job.
WITH ticked AS (
    UPDATE offerup_searches SET last_tick = :tick
    WHERE id = :search_id AND active AND (last_tick IS NULL OR last_tick < :tick)
)
INSERT INTO offerup_jobs (search_id, scheduled_for, created_at) VALUES (:search_id, :tick, :now)
ON CONFLICT (search_id, scheduled_for) DO NOTHING
RETURNING id;

-- name: hurry_job
-- Mark the waiting job of a search to be run at once.
UPDATE offerup_jobs SET run_now = true
WHERE id = (SELECT id FROM offerup_jobs WHERE search_id = :search_id AND status = 'pending'
            ORDER BY run_now DESC, created_at, id LIMIT 1 FOR UPDATE)
RETURNING id;

-- name: lock_search
-- One process at a time asks for a search to be run; held until the transaction ends.
SELECT id FROM offerup_searches WHERE id = :search_id FOR UPDATE;

-- name: add_urgent_job$
INSERT INTO offerup_jobs (search_id, run_now, created_at) VALUES (:search_id, true, :now) RETURNING id;

-- name: claim_job
-- Lease a job: the one named, or the one that waits longest (run_now first). A job whose worker fell
-- silent waits again. Paused searches run only when asked to by run_now.
WITH chosen AS (
    SELECT j.id FROM offerup_jobs j JOIN offerup_searches s ON s.id = j.search_id
    WHERE (:job_id::uuid IS NULL OR j.id = :job_id) AND (s.active OR j.run_now)
      AND (j.status = 'pending' OR (j.status = 'running' AND coalesce(j.lease_expires_at, '-infinity') <= :now))
      AND j.attempts < :max_attempts
    ORDER BY j.run_now DESC, j.created_at, j.id LIMIT 1
    FOR UPDATE OF j SKIP LOCKED
)
UPDATE offerup_jobs j
SET status = 'running', attempts = attempts + 1, started_at = greatest(j.created_at, :now), lease_owner = :owner,
    lease_expires_at = :lease_until, run_id = :run_id, error_message = NULL
FROM chosen c WHERE j.id = c.id
RETURNING j.id, j.search_id, j.scheduled_for, j.run_now, j.attempts, j.created_at, j.started_at;

-- name: reap_jobs!
-- Jobs whose workers died once too often end in error; none stays running.
UPDATE offerup_jobs
SET status = 'error', finished_at = greatest(started_at, :now), lease_owner = NULL, lease_expires_at = NULL,
    error_message = 'its worker fell silent ' || attempts || ' times'
WHERE status = 'running' AND coalesce(lease_expires_at, '-infinity') <= :now AND attempts >= :max_attempts;

-- name: extend_job!
UPDATE offerup_jobs SET lease_expires_at = :lease_until WHERE id = :job_id AND status = 'running' AND lease_owner = :owner;

-- name: finish_job!
UPDATE offerup_jobs
SET status = CASE WHEN :error::text IS NULL THEN 'finished' ELSE 'error' END, result = :result::jsonb,
    error_message = :error, finished_at = greatest(started_at, :now), lease_owner = NULL, lease_expires_at = NULL
WHERE id = :job_id AND status = 'running' AND lease_owner = :owner;

-- name: release_job!
-- Give a job back untried.
UPDATE offerup_jobs
SET status = 'pending', attempts = greatest(attempts - 1, 0), started_at = NULL, lease_owner = NULL, lease_expires_at = NULL, run_id = NULL
WHERE id = :job_id AND status = 'running' AND lease_owner = :owner;

-- name: waiting_jobs
-- Jobs that could run now, in the order in which they will.
SELECT j.id, j.search_id, j.scheduled_for, j.run_now, j.attempts, j.created_at, j.started_at
FROM offerup_jobs j JOIN offerup_searches s ON s.id = j.search_id
WHERE (s.active OR j.run_now)
  AND (j.status = 'pending' OR (j.status = 'running' AND coalesce(j.lease_expires_at, '-infinity') <= :now))
ORDER BY j.run_now DESC, j.created_at, j.id;

-- name: last_job
SELECT id, status, result, error_message, started_at, finished_at, run_id FROM offerup_jobs
WHERE search_id = :search_id ORDER BY created_at DESC LIMIT 1;

-- name: recent_found
-- How many listings the latest finished jobs of a search found, the latest first.
SELECT (result ->> 'listings_found')::int FROM offerup_jobs
WHERE search_id = :search_id AND status = 'finished' AND id <> :job_id
ORDER BY finished_at DESC LIMIT :n;

-- name: known_urls
-- Which of these pages of a source were queued before now.
SELECT url_hash FROM import_queue WHERE source_id = :source_id AND url_hash = ANY(:hashes);
