-- What the dashboard and `fill status` show. Every statement reads counters, the last few rows of an index,
-- or one cycle's own rows, so a reading costs the same at ten million listings as at ten thousand.

-- name: recent_cycles
-- The open cycle, today's, and the last few, newest first.
SELECT cycle_id, status, started_at, completed_at, window_start, window_end, target, vehicles_added, vehicles_queued,
       sources_active, sources_discovered, data_quality_score::float8, on_target, next_actions, errors,
       metadata ->> 'revised_at', metadata ->> 'limited' IS NOT DISTINCT FROM 'true'
FROM fill_cycles
WHERE status = 'open' OR window_start >= :midnight
   OR id IN (SELECT id FROM fill_cycles ORDER BY window_start DESC, started_at DESC LIMIT :n)
ORDER BY window_start DESC, started_at DESC;

-- name: sources
-- Every source that is not retired, with what it did in one cycle.
SELECT s.id, s.slug, s.name, s.kind, s.base_url, s.active, s.status, s.status_reason, s.config_error, s.asset_group,
       s.config_version, st.last_harvest_at, st.breaker, st.breaker_until,
       coalesce(c.pages_fetched, 0), coalesce(c.index_pages, 0), coalesce(c.pages_failed, 0), coalesce(c.pages_empty, 0),
       coalesce(c.found, 0), coalesce(c.vehicles_added, 0), coalesce(c.queued, 0),
       coalesce(c.quality_sum, 0), coalesce(c.quality_count, 0), coalesce(c.failures, '{}')
FROM scrape_sources s
JOIN source_state st ON st.source_id = s.id
LEFT JOIN source_cycle_stats c ON c.source_id = s.id AND c.cycle_id = :cycle_id
WHERE s.status <> 'retired'
ORDER BY s.slug;

-- name: queue_by_source
-- (source id, waiting, dead), from the counters.
SELECT scope, coalesce(sum(n) FILTER (WHERE metric = 'queue.pending'), 0)::bigint,
       coalesce(sum(n) FILTER (WHERE metric = 'queue.dead'), 0)::bigint
FROM counters WHERE metric IN ('queue.pending', 'queue.dead') GROUP BY scope;

-- name: failures_of_cycles
-- What went wrong in these cycles, by category: pages, sources, and the source it hit hardest; most first.
SELECT f.key, sum(f.value::int)::int AS pages, count(DISTINCT c.source_id)::int,
       (array_agg(s.slug ORDER BY f.value::int DESC))[1]
FROM source_cycle_stats c
JOIN scrape_sources s ON s.id = c.source_id
CROSS JOIN LATERAL jsonb_each_text(c.failures) f
WHERE c.cycle_id = ANY(:cycle_ids) GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT :n;

-- name: quality_of_cycles
-- Completeness and accuracy by cycle and field, over all sources.
SELECT cycle_id, field_name, completeness::float8, accuracy::float8, coalesce(sample_size, 0)
FROM quality_metrics WHERE cycle_id = ANY(:cycle_ids) AND source_id IS NULL;

-- name: quality_so_far
-- The same for a cycle still open, from its tallies.
SELECT cycle_id, field_name, sum(filled)::float8 / nullif(sum(knowable), 0),
       sum(agreed)::float8 / nullif(sum(compared), 0), sum(knowable)::int
FROM field_tallies WHERE cycle_id = :cycle_id GROUP BY 1, 2;

-- name: quality$
SELECT avg(completeness)::float8 FROM vehicles WHERE updated_cycle = :cycle_id;

-- name: latest_vehicles
-- The vehicles that came last, each with one advertisement of it.
SELECT v.id, v.title, v.year, v.make, v.model, v.trim, v.price, v.currency, v.price_kind, v.mileage, v.mileage_unit,
       v.place, v.city, v.region, v.country, v.image, v.completeness, v.created_at, v.created_cycle, l.source, l.url
FROM (SELECT * FROM vehicles ORDER BY id DESC LIMIT :n) v
LEFT JOIN LATERAL (SELECT source, url FROM listing_records r WHERE r.vehicle_id = v.id ORDER BY r.id LIMIT 1) l ON true
ORDER BY v.id DESC;

-- name: latest_repairs
SELECT r.id, s.slug, r.diagnosis, r.reason, r.status, r.from_version, r.to_version, r.score_before, r.score_after,
       r.created_at, r.finished_at
FROM source_repairs r JOIN scrape_sources s ON s.id = r.source_id ORDER BY r.id DESC LIMIT :n;

-- name: latest_candidates
-- The last few candidates of each status, through its index; the newest first.
SELECT c.domain, c.channel, c.status, c.reason, c.score, c.evidence_count,
       coalesce(c.decided_at, c.probed_at, c.found_at) AS at
FROM unnest(ARRAY['found', 'probed', 'trial', 'active', 'rejected']) AS k (status)
CROSS JOIN LATERAL (
    SELECT * FROM source_candidates x WHERE x.status = k.status ORDER BY x.found_at DESC LIMIT :n
) c
ORDER BY at DESC LIMIT :n;
