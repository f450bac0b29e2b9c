-- Cycles, their actions, and the reports.

-- name: open_cycle
-- At most one cycle is open: a second opener gets no row.
INSERT INTO fill_cycles (cycle_id, started_at, window_start, window_end, target)
VALUES (:cycle_id, :now, :window_start, :window_end, :target)
ON CONFLICT DO NOTHING
RETURNING cycle_id;

-- name: record_missed
-- Windows nobody opened between the first cycle ever and now get a row that says so.
INSERT INTO fill_cycles (cycle_id, started_at, completed_at, window_start, window_end, target, status, errors)
SELECT t.key, t.window_start, :now, t.window_start, t.window_end, :target, 'missed', ARRAY['no cycle was opened in this window']
FROM unnest((:keys)::text[], (:starts)::timestamptz[], (:ends)::timestamptz[]) AS t (key, window_start, window_end)
ON CONFLICT DO NOTHING
RETURNING cycle_id;

-- name: cycle
SELECT cycle_id, status, started_at, completed_at, window_start, window_end, target, report, metadata
FROM fill_cycles WHERE cycle_id = :cycle_id;

-- name: open_one
SELECT cycle_id, status, started_at, completed_at, window_start, window_end, target, report, metadata
FROM fill_cycles WHERE status = 'open';

-- name: cycles_of_window
SELECT cycle_id FROM fill_cycles WHERE cycle_id = :key OR cycle_id LIKE :key || '+%%' ORDER BY started_at;

-- name: latest
SELECT cycle_id, status, started_at, completed_at, window_start, window_end, target, report, metadata
FROM fill_cycles WHERE status = ANY(:statuses) ORDER BY window_start DESC, started_at DESC LIMIT :n;

-- name: last_ended
-- A report may be megabytes long: these columns alone are read of the rows.
SELECT cycle_id, data_quality_score::float8
FROM fill_cycles WHERE status = 'closed' ORDER BY window_start DESC, started_at DESC LIMIT :n;

-- name: latest_window_end$
SELECT max(window_end) FROM fill_cycles;

-- name: share_cycle!
-- Who writes into a cycle shares this lock until the transaction ends, who closes it has it alone. Not the row's own
-- lock: writers that overlap hand that on to each other, and who closes would wait for ever.
SELECT pg_advisory_xact_lock_shared(7301004, hashtext(:cycle_id));

-- name: shut_out_writers!
SELECT pg_advisory_xact_lock(7301004, hashtext(:cycle_id));

-- name: status$
-- Asked for after the lock: a statement sees what was committed before it began.
SELECT status FROM fill_cycles WHERE cycle_id = :cycle_id;

-- name: close_cycle
-- The action that closes ends with it: whoever does both may be killed at any moment.
WITH ended AS (
    UPDATE cycle_actions SET status = 'done', finished_at = :now
    WHERE cycle_id = :cycle_id AND action = 'close' AND status = 'running'
)
UPDATE fill_cycles
SET status = 'closed', completed_at = coalesce(completed_at, :now), vehicles_added = :vehicles_added, vehicles_queued = :vehicles_queued,
    sources_active = :sources_active, sources_discovered = :sources_discovered, data_quality_score = :quality,
    on_target = :on_target, next_actions = :next_actions, errors = :errors, report = :report::json,
    metadata = metadata || :metadata::jsonb
WHERE cycle_id = :cycle_id
RETURNING completed_at;

-- name: note_state!
-- Keep what the last assessment saw; the dashboard reads it.
UPDATE fill_cycles SET metadata = metadata || :metadata::jsonb WHERE cycle_id = :cycle_id AND status = 'open';

-- name: request_action
-- Asking twice for the same action of the same attempt gives no second row; who asks while the cycle is being closed
-- waits, and gets none.
INSERT INTO cycle_actions (cycle_id, action, level, attempt, reason, parameters, requested_at)
SELECT :cycle_id, :action, :level, :attempt, :reason, :parameters::jsonb, :now
FROM fill_cycles WHERE cycle_id = :cycle_id AND status = 'open' FOR SHARE
ON CONFLICT DO NOTHING
RETURNING id;

-- name: start_action
UPDATE cycle_actions SET status = 'running', started_at = :now, heartbeat_at = :now, run_id = :run_id
WHERE cycle_id = :cycle_id AND action = :action AND level = :level AND attempt = :attempt AND status = 'requested'
RETURNING id;

-- name: beat
-- A done one still beats: it ended with its cycle, and tidies up.
UPDATE cycle_actions SET heartbeat_at = :now, outcome = outcome || :outcome::jsonb
WHERE id = :id AND status IN ('running', 'done')
RETURNING id;

-- name: finish_action!
-- A done one gets its outcome: it ended with its cycle.
UPDATE cycle_actions SET status = :status, finished_at = :now, outcome = outcome || :outcome::jsonb, error = left(:error, 2000)
WHERE id = :id AND status IN ('running', 'done');

-- name: fail_run!
-- A run that died takes its actions with it.
UPDATE cycle_actions SET status = 'failed', finished_at = :now, error = left(:error, 2000)
WHERE run_id = :run_id AND status = 'running';

-- name: running_runs
-- Which runs have actions at work in the open cycle.
SELECT DISTINCT a.run_id FROM cycle_actions a JOIN fill_cycles c USING (cycle_id)
WHERE c.status = 'open' AND a.status = 'running' AND a.run_id IS NOT NULL;

-- name: fail_stale
-- Actions whose process gave no sign of life for too long, or that nobody ever started.
UPDATE cycle_actions SET status = 'failed', finished_at = :now, error = 'no sign of life since ' || coalesce(heartbeat_at, requested_at)
WHERE cycle_id = :cycle_id AND (
    (status = 'running' AND heartbeat_at < :running_before) OR (status = 'requested' AND requested_at < :requested_before))
RETURNING id, action, level, attempt;

-- name: actions
SELECT id, action, level, attempt, status, reason, parameters, outcome, error, run_id, requested_at, started_at, finished_at
FROM cycle_actions WHERE cycle_id = :cycle_id ORDER BY id;

-- name: save_report!
INSERT INTO fill_reports (kind, period, report, written_at) VALUES (:kind, :period, :report::json, :written_at)
ON CONFLICT (kind, period) DO UPDATE SET report = excluded.report, written_at = excluded.written_at;

-- name: report$
SELECT report FROM fill_reports WHERE kind = :kind AND period = :period;

-- name: reports
SELECT period, report FROM fill_reports WHERE kind = :kind ORDER BY period DESC LIMIT :n;

-- name: period_cycles
-- The cycles whose window began in a period, oldest first. What a window's extra cycles for single jobs took account of
-- belongs to the window's own: they are no cycles of the schedule.
SELECT c.cycle_id, c.status, c.vehicles_added + x.added, c.vehicles_queued + x.queued, c.sources_active, c.sources_discovered,
       c.data_quality_score::float8, c.on_target OR c.vehicles_added + x.added >= c.target, c.window_start, c.completed_at, c.target,
       (c.metadata ->> 'queue_per_hour')::float8
FROM fill_cycles c CROSS JOIN LATERAL (
    SELECT coalesce(sum(e.vehicles_added), 0)::int4 AS added, coalesce(sum(e.vehicles_queued), 0)::int4 AS queued FROM fill_cycles e
    WHERE e.window_start = c.window_start AND e.status <> 'open' AND e.metadata ->> 'limited' = 'true'
      AND c.cycle_id NOT LIKE '%%+%%' -- once, where a person ran the whole again
) x
WHERE c.window_start >= :start AND c.window_start < :end AND c.status <> 'open' AND c.metadata ->> 'limited' IS DISTINCT FROM 'true'
ORDER BY c.window_start, c.started_at;

-- name: discovered_between$
SELECT count(*) FROM scrape_sources WHERE discovered_at >= :start AND discovered_at < :end AND status IN ('live', 'trial');

-- name: discovered_in_cycle$
SELECT count(*) FROM source_candidates WHERE decided_cycle = :cycle_id AND status IN ('trial', 'active');
