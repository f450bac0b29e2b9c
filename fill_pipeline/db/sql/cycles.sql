-- Cycles, their actions, what each source did in them, and the reports.

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

-- name: latest_window_end$
SELECT max(window_end) FROM fill_cycles;

-- name: close_cycle
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
-- Asking twice for the same action of the same attempt gives no second row.
INSERT INTO cycle_actions (cycle_id, action, level, attempt, reason, parameters, requested_at)
SELECT :cycle_id, :action, :level, :attempt, :reason, :parameters::jsonb, :now
FROM fill_cycles WHERE cycle_id = :cycle_id AND status = 'open'
ON CONFLICT DO NOTHING
RETURNING id;

-- name: start_action
UPDATE cycle_actions SET status = 'running', started_at = :now, heartbeat_at = :now, run_id = :run_id
WHERE cycle_id = :cycle_id AND action = :action AND level = :level AND attempt = :attempt AND status = 'requested'
RETURNING id;

-- name: beat!
UPDATE cycle_actions SET heartbeat_at = :now, outcome = outcome || :outcome::jsonb WHERE id = :id AND status = 'running';

-- name: finish_action!
UPDATE cycle_actions SET status = :status, finished_at = :now, outcome = outcome || :outcome::jsonb, error = left(:error, 2000)
WHERE id = :id AND status = 'running';

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

-- name: source_states
-- Every source with what it did in this cycle, how it was last, and what waits for it.
SELECT s.id, s.slug, s.kind, s.active, s.status, s.config_error, s.asset_group, s.expected_count,
       st.last_harvest_at, st.breaker, st.breaker_until,
       coalesce(c.harvests, 0), c.harvest_complete, coalesce(c.found, 0), coalesce(c.vehicles_added, 0),
       coalesce(c.queued, 0), h.status, h.diagnosis, coalesce((s.config ->> 'revisit_hours')::float8, 2.0)
FROM scrape_sources s
JOIN source_state st ON st.source_id = s.id
LEFT JOIN source_cycle_stats c ON c.source_id = s.id AND c.cycle_id = :cycle_id
LEFT JOIN source_health h ON h.source_id = s.id AND h.cycle_id = :previous_cycle
ORDER BY s.slug;

-- name: add_stats!
-- Add what one batch of one source did.
INSERT INTO source_cycle_stats AS c (source_id, cycle_id, index_pages, cards_seen, expected_count, queued, pages_fetched,
    pages_unchanged, pages_failed, pages_empty, bytes_received, found, new, updated, skipped, quarantined, delisted, vehicles_added,
    quality_sum, quality_count, harvests, harvest_complete, failures, notes, first_at, last_at)
VALUES (:source_id, :cycle_id, :index_pages, :cards_seen, :expected_count, :queued, :pages_fetched,
    :pages_unchanged, :pages_failed, :pages_empty, :bytes_received, :found, :new, :updated, :skipped, :quarantined, :delisted, :vehicles_added,
    :quality_sum, :quality_count, :harvests, :harvest_complete, :failures::jsonb, :notes, :now, :now)
ON CONFLICT (cycle_id, source_id) DO UPDATE
SET index_pages = c.index_pages + excluded.index_pages, cards_seen = c.cards_seen + excluded.cards_seen,
    expected_count = coalesce(excluded.expected_count, c.expected_count), queued = c.queued + excluded.queued,
    pages_fetched = c.pages_fetched + excluded.pages_fetched, pages_unchanged = c.pages_unchanged + excluded.pages_unchanged,
    pages_failed = c.pages_failed + excluded.pages_failed, pages_empty = c.pages_empty + excluded.pages_empty,
    bytes_received = c.bytes_received + excluded.bytes_received,
    found = c.found + excluded.found, new = c.new + excluded.new, updated = c.updated + excluded.updated,
    skipped = c.skipped + excluded.skipped, quarantined = c.quarantined + excluded.quarantined,
    delisted = c.delisted + excluded.delisted, vehicles_added = c.vehicles_added + excluded.vehicles_added,
    quality_sum = c.quality_sum + excluded.quality_sum, quality_count = c.quality_count + excluded.quality_count,
    harvests = c.harvests + excluded.harvests, harvest_complete = coalesce(excluded.harvest_complete, c.harvest_complete),
    failures = CASE WHEN excluded.failures = '{}' THEN c.failures ELSE (
        SELECT coalesce(jsonb_object_agg(k, n), '{}') FROM (
            SELECT key AS k, sum(value::int) AS n
            FROM (SELECT * FROM jsonb_each_text(c.failures) UNION ALL SELECT * FROM jsonb_each_text(excluded.failures)) b
            GROUP BY key) f) END,
    notes = (SELECT coalesce(array_agg(DISTINCT n), '{}') FROM (SELECT unnest(c.notes || excluded.notes) AS n LIMIT 20) x),
    last_at = excluded.last_at;

-- name: add_tallies!
INSERT INTO field_tallies AS t (cycle_id, source_id, field_name, knowable, filled, compared, agreed, quarantined)
SELECT :cycle_id, * FROM unnest((:source_ids)::uuid[], (:fields)::text[], (:knowable)::int[], (:filled)::int[],
    (:compared)::int[], (:agreed)::int[], (:quarantined)::int[]) AS u (source_id, field_name, knowable, filled, compared, agreed, quarantined)
ORDER BY source_id, field_name
ON CONFLICT (cycle_id, source_id, field_name) DO UPDATE
SET knowable = t.knowable + excluded.knowable, filled = t.filled + excluded.filled, compared = t.compared + excluded.compared,
    agreed = t.agreed + excluded.agreed, quarantined = t.quarantined + excluded.quarantined;

-- name: tallies
SELECT t.field_name, t.source_id, s.slug, t.knowable, t.filled, t.compared, t.agreed, t.quarantined
FROM field_tallies t JOIN scrape_sources s ON s.id = t.source_id WHERE t.cycle_id = :cycle_id ORDER BY 1, 3;

-- name: stats
SELECT c.source_id, s.slug, s.kind, s.status, s.active, s.config_error, c.index_pages, c.cards_seen, c.expected_count, c.queued,
       c.pages_fetched, c.pages_unchanged, c.pages_failed, c.pages_empty, c.bytes_received, c.found, c.new, c.updated, c.skipped,
       c.quarantined, c.delisted, c.vehicles_added, c.quality_sum, c.quality_count, c.harvests, c.harvest_complete,
       c.failures, c.notes, c.first_at, c.last_at
FROM source_cycle_stats c JOIN scrape_sources s ON s.id = c.source_id WHERE c.cycle_id = :cycle_id ORDER BY s.slug;

-- name: history
-- What each source did in its last cycles before this one, newest first: its own baseline.
SELECT s.id, h.cycle_id, h.found, h.pages_fetched, h.pages_failed, h.index_pages, h.cards_seen, h.quality_sum, h.quality_count,
       h.harvests, h.harvest_complete
FROM scrape_sources s CROSS JOIN LATERAL (
    SELECT * FROM source_cycle_stats c WHERE c.source_id = s.id AND c.cycle_id <> :cycle_id AND c.last_at < :before
    ORDER BY c.last_at DESC LIMIT :n) h;

-- name: save_health!
INSERT INTO source_health (source_id, cycle_id, vehicles_extracted, success_rate, error_rate, avg_quality_score, status, last_checked, reason, diagnosis)
VALUES (:source_id, :cycle_id, :vehicles_extracted, :success_rate, :error_rate, :avg_quality_score, :status, :last_checked, :reason, :diagnosis)
ON CONFLICT (source_id, cycle_id) DO UPDATE
SET vehicles_extracted = excluded.vehicles_extracted, success_rate = excluded.success_rate, error_rate = excluded.error_rate,
    avg_quality_score = excluded.avg_quality_score, status = excluded.status, last_checked = excluded.last_checked,
    reason = excluded.reason, diagnosis = excluded.diagnosis;

-- name: health_of_cycle
SELECT h.source_id, s.slug, h.status, h.reason, h.diagnosis, h.vehicles_extracted, h.success_rate::float8, h.error_rate::float8, h.avg_quality_score::float8, h.last_checked
FROM source_health h JOIN scrape_sources s ON s.id = h.source_id WHERE h.cycle_id = :cycle_id ORDER BY s.slug;

-- name: save_quality!
INSERT INTO quality_metrics (cycle_id, field_name, completeness, accuracy, sample_size, issues, measured_at, source_id)
VALUES (:cycle_id, :field_name, :completeness, :accuracy, :sample_size, :issues, :measured_at, :source_id)
ON CONFLICT (cycle_id, field_name, source_id) DO UPDATE
SET completeness = excluded.completeness, accuracy = excluded.accuracy, sample_size = excluded.sample_size,
    issues = excluded.issues, measured_at = excluded.measured_at;

-- name: quality_of_cycle
SELECT field_name, completeness::float8, accuracy::float8, sample_size, issues, source_id FROM quality_metrics
WHERE cycle_id = :cycle_id AND (source_id IS NULL) = :overall ORDER BY field_name;

-- name: vehicles_of_cycle
-- The cycle's own rows, through their indexes: how many vehicles it added and touched, and their mean completeness.
SELECT (SELECT count(*) FROM vehicles WHERE created_cycle = :cycle_id),
       (SELECT count(*) FROM vehicles WHERE updated_cycle = :cycle_id),
       (SELECT avg(completeness) FROM vehicles WHERE updated_cycle = :cycle_id);

-- name: queued_of_cycle$
-- Counted over the cycle's own queue rows, for reconciliation.
SELECT count(*) FROM import_queue WHERE cycle_id = :cycle_id;

-- name: save_report!
INSERT INTO fill_reports (kind, period, report, written_at) VALUES (:kind, :period, :report::json, :written_at)
ON CONFLICT (kind, period) DO UPDATE SET report = excluded.report, written_at = excluded.written_at;

-- name: report$
SELECT report FROM fill_reports WHERE kind = :kind AND period = :period;

-- name: reports
SELECT period, report FROM fill_reports WHERE kind = :kind ORDER BY period DESC LIMIT :n;

-- name: period_cycles
-- The cycles whose window began in a period, oldest first.
SELECT cycle_id, status, vehicles_added, vehicles_queued, sources_active, sources_discovered, data_quality_score::float8, on_target, window_start, completed_at, target
FROM fill_cycles WHERE window_start >= :start AND window_start < :end AND status <> 'open' ORDER BY window_start, started_at;

-- name: uptime
-- Of the health checks in a period, the share that found the source not failing.
SELECT count(*) FILTER (WHERE h.status <> 'failing'), count(*)
FROM source_health h JOIN fill_cycles c ON c.cycle_id = h.cycle_id
WHERE c.window_start >= :start AND c.window_start < :end;

-- name: discovered_between$
SELECT count(*) FROM scrape_sources WHERE discovered_at >= :start AND discovered_at < :end AND status IN ('live', 'trial');

-- name: discovered_in_cycle$
SELECT count(*) FROM source_candidates WHERE decided_cycle = :cycle_id AND status IN ('trial', 'active');
