-- What each source did in each cycle, how it was judged, and how good the data was.

-- name: source_states
-- Every source with what it did in this cycle, how it was last, and what waits for it.
SELECT s.id, s.slug, s.kind, s.active, s.status, s.config_error, s.asset_group, s.expected_count,
       st.last_harvest_at, st.breaker, st.breaker_until,
       coalesce(c.harvests, 0), c.harvest_complete, coalesce(c.found, 0), coalesce(c.vehicles_added, 0),
       coalesce(c.queued, 0), h.status, h.diagnosis, h.reason, coalesce((s.config ->> 'revisit_hours')::float8, 2.0),
       st.harvest_hours::float8, st.failing_since,
       coalesce(c.notes && ARRAY['harvest stopped: max_pages', 'harvest stopped: max_listings'], false)
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

-- name: add_hits!
-- Add a batch's rule hits. Once a source has so many different ones, words not seen before are counted without them.
INSERT INTO rule_hits AS h (cycle_id, source_id, field_name, rule, words, hits)
SELECT :cycle_id, u.source_id, u.field_name, u.rule,
       CASE WHEN k.n < :most OR EXISTS (
           SELECT FROM rule_hits r WHERE r.cycle_id = :cycle_id AND r.source_id = u.source_id
              AND r.field_name = u.field_name AND r.rule = u.rule AND r.words = u.words) THEN u.words ELSE '' END AS kept,
       sum(u.hits)
FROM unnest((:source_ids)::uuid[], (:fields)::text[], (:rules)::text[], (:words)::text[], (:hits)::int[])
     AS u (source_id, field_name, rule, words, hits)
JOIN (SELECT s.source_id, (SELECT count(*) FROM rule_hits r WHERE r.cycle_id = :cycle_id AND r.source_id = s.source_id) AS n
      FROM (SELECT DISTINCT unnest((:source_ids)::uuid[]) AS source_id) s) k ON k.source_id = u.source_id
GROUP BY u.source_id, u.field_name, u.rule, kept
ORDER BY u.source_id, u.field_name, u.rule, kept
ON CONFLICT (cycle_id, source_id, field_name, rule, words) DO UPDATE SET hits = h.hits + excluded.hits;

-- name: hits
-- The cycle's rule hits, each with how many listings of its source were judged.
SELECT h.source_id, h.field_name, h.rule, h.words, h.hits, coalesce(c.quality_count, 0)
FROM rule_hits h LEFT JOIN source_cycle_stats c ON c.cycle_id = h.cycle_id AND c.source_id = h.source_id
WHERE h.cycle_id = :cycle_id ORDER BY h.hits DESC, h.source_id, h.field_name, h.rule, h.words;

-- name: stats
SELECT c.source_id, s.slug, s.kind, s.status, s.active, s.config_error, c.index_pages, c.cards_seen, c.expected_count, c.queued,
       c.pages_fetched, c.pages_unchanged, c.pages_failed, c.pages_empty, c.bytes_received, c.found, c.new, c.updated, c.skipped,
       c.quarantined, c.delisted, c.vehicles_added, c.quality_sum, c.quality_count, c.harvests, c.harvest_complete,
       c.failures, c.notes, c.first_at, c.last_at
FROM source_cycle_stats c JOIN scrape_sources s ON s.id = c.source_id WHERE c.cycle_id = :cycle_id ORDER BY s.slug;

-- name: history
-- What each source did in its last cycles before this one, newest first: its own baseline.
SELECT s.id, h.cycle_id, extract(hour FROM coalesce(w.window_start, h.last_at) AT TIME ZONE 'UTC')::int / 2 * 2,
       h.found, h.pages_fetched, h.pages_failed,
       coalesce((h.failures ->> 'gone')::int, 0) + coalesce((h.failures ->> 'robots')::int, 0),
       h.index_pages, h.cards_seen, h.quality_sum, h.quality_count, h.harvests, h.harvest_complete,
       h.expected_count
FROM scrape_sources s CROSS JOIN LATERAL (
    SELECT * FROM source_cycle_stats c WHERE c.source_id = s.id AND c.cycle_id <> :cycle_id AND c.last_at < :before
    ORDER BY c.last_at DESC LIMIT :n) h
LEFT JOIN fill_cycles w ON w.cycle_id = h.cycle_id
WHERE s.status <> 'retired'
ORDER BY s.id, h.last_at DESC;

-- name: field_falls
-- Fields that a source's listings nearly all stated in its six cycles before this one, and hardly any does now: source,
-- field, share now, share before. Cycles in which it was known to be read badly are not what is usual, for three days.
SELECT t.source_id, t.field_name, t.filled::float8 / t.knowable, p.filled::float8 / p.knowable
FROM field_tallies t
CROSS JOIN LATERAL (
    SELECT sum(b.filled) AS filled, sum(b.knowable) AS knowable FROM field_tallies b
    WHERE b.source_id = t.source_id AND b.field_name = t.field_name AND b.cycle_id IN (
        SELECT c.cycle_id FROM (
            SELECT cycle_id, last_at FROM source_cycle_stats
            WHERE source_id = t.source_id AND cycle_id <> :cycle_id AND last_at < :before ORDER BY last_at DESC LIMIT 36) c
        LEFT JOIN source_health h ON h.source_id = t.source_id AND h.cycle_id = c.cycle_id
        WHERE coalesce(h.diagnosis, '') NOT IN ('quality', 'redesigned') ORDER BY c.last_at DESC LIMIT 6)) p
WHERE t.cycle_id = :cycle_id AND t.knowable >= :least AND p.knowable >= 3 * (:least)::int
  AND p.filled >= 0.8 * p.knowable AND t.filled * p.knowable < 0.6 * p.filled * t.knowable
ORDER BY t.source_id, t.field_name;

-- name: save_health!
INSERT INTO source_health (source_id, cycle_id, vehicles_extracted, success_rate, error_rate, avg_quality_score, status, last_checked, reason,
    diagnosis, listed, usually_listed)
VALUES (:source_id, :cycle_id, :vehicles_extracted, :success_rate, :error_rate, :avg_quality_score, :status, :last_checked, :reason,
    :diagnosis, :listed, :usually_listed)
ON CONFLICT (source_id, cycle_id) DO UPDATE
SET vehicles_extracted = excluded.vehicles_extracted, success_rate = excluded.success_rate, error_rate = excluded.error_rate,
    avg_quality_score = excluded.avg_quality_score, status = excluded.status, last_checked = excluded.last_checked,
    reason = excluded.reason, diagnosis = excluded.diagnosis, listed = excluded.listed, usually_listed = excluded.usually_listed;

-- name: save_reliability!
-- Of each source of this cycle: the mean of its checks over the short and the long period, this one's included.
UPDATE source_health own SET reliability_7d = r.short, reliability_30d = r.long
FROM (
    SELECT h.source_id,
           round(avg(g.grade) FILTER (WHERE c.window_start > :short), 4) AS short, round(avg(g.grade), 4) AS long
    FROM fill_cycles c
    JOIN source_health h ON h.cycle_id = c.cycle_id
    CROSS JOIN LATERAL (SELECT CASE h.status WHEN 'healthy' THEN 1.0 WHEN 'degraded' THEN 0.5 ELSE 0.0 END AS grade) g
    WHERE c.window_start > :long AND c.window_start <= :until GROUP BY 1) r
WHERE own.cycle_id = :cycle_id AND own.source_id = r.source_id;

-- name: health_of_cycle
SELECT h.source_id, s.slug, h.status, h.reason, h.diagnosis, h.vehicles_extracted, h.success_rate::float8, h.error_rate::float8, h.avg_quality_score::float8, h.last_checked,
       h.listed::float8, h.usually_listed::float8, h.reliability_7d::float8, h.reliability_30d::float8
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

-- name: uptime
-- Of the health checks in a period, the share that found the source not failing.
SELECT count(*) FILTER (WHERE h.status <> 'failing'), count(*)
FROM source_health h JOIN fill_cycles c ON c.cycle_id = h.cycle_id
WHERE c.window_start >= :start AND c.window_start < :end;
