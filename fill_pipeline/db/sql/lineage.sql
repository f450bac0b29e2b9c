-- From a figure to its rows. Every statement reads one cycle's own rows, one vehicle's, or so many of an index's.

-- name: cycle
-- A cycle as it was accounted for, with the figures its report gave, null while it has none.
SELECT cycle_id, status, vehicles_added, vehicles_queued, data_quality_score::float8,
       (report ->> 'vehicles_touched')::int, (report ->> 'sources_active')::int
FROM fill_cycles WHERE cycle_id = :cycle_id;

-- name: added_by_source
-- The vehicles first committed in a cycle, by the source whose advertisement of each is the oldest.
SELECT coalesce(l.source, ''), count(*), avg(v.completeness)::float8
FROM vehicles v
LEFT JOIN LATERAL (SELECT source FROM listing_records r WHERE r.vehicle_id = v.id ORDER BY r.id LIMIT 1) l ON true
WHERE v.created_cycle = :cycle_id GROUP BY 1 ORDER BY 2 DESC, 1;

-- name: touched_by_source
-- The vehicles last written in a cycle, in the same way.
SELECT coalesce(l.source, ''), count(*), avg(v.completeness)::float8
FROM vehicles v
LEFT JOIN LATERAL (SELECT source FROM listing_records r WHERE r.vehicle_id = v.id ORDER BY r.id LIMIT 1) l ON true
WHERE v.updated_cycle = :cycle_id GROUP BY 1 ORDER BY 2 DESC, 1;

-- name: added_vehicles
-- Materialised, so that the newest of a past cycle are not looked for from the table's end.
WITH own AS MATERIALIZED (SELECT id FROM vehicles WHERE created_cycle = :cycle_id)
SELECT v.id, v.year, v.make, v.model, v.title, v.price, v.currency, v.completeness, v.created_at, l.source, l.url
FROM (SELECT * FROM own ORDER BY id DESC LIMIT :n) o JOIN vehicles v ON v.id = o.id
LEFT JOIN LATERAL (SELECT source, url FROM listing_records r WHERE r.vehicle_id = v.id ORDER BY r.id LIMIT 1) l ON true
ORDER BY v.id DESC;

-- name: least_complete
-- The vehicles that pull a cycle's quality down, the worst first.
SELECT v.id, v.year, v.make, v.model, v.title, v.price, v.currency, v.completeness, v.created_at, l.source, l.url
FROM (SELECT * FROM vehicles WHERE updated_cycle = :cycle_id ORDER BY completeness, id LIMIT :n) v
LEFT JOIN LATERAL (SELECT source, url FROM listing_records r WHERE r.vehicle_id = v.id ORDER BY r.id LIMIT 1) l ON true
ORDER BY v.completeness, v.id;

-- name: queued_by_source
-- The pages newly queued in a cycle, by source and by what became of them.
SELECT s.slug, q.status, count(*) FROM import_queue q JOIN scrape_sources s ON s.id = q.source_id
WHERE q.cycle_id = :cycle_id GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2;

-- name: queued_pages
WITH own AS MATERIALIZED (SELECT id FROM import_queue WHERE cycle_id = :cycle_id)
SELECT q.id, s.slug, q.listing_url, q.status, q.attempts, q.failure_category, q.error_message, q.discovered_at, q.processed_at
FROM (SELECT * FROM own ORDER BY id DESC LIMIT :n) o
JOIN import_queue q ON q.id = o.id JOIN scrape_sources s ON s.id = q.source_id
ORDER BY q.id DESC;

-- name: dead_by_source
-- From the counters.
SELECT coalesce(s.slug, c.scope), sum(c.n)::bigint
FROM counters c LEFT JOIN scrape_sources s ON s.id::text = c.scope
WHERE c.metric = 'queue.dead' GROUP BY 1 HAVING sum(c.n) <> 0 ORDER BY 2 DESC, 1;

-- name: dead_pages
-- Each source's last dead pages, through its index; the newest first.
SELECT q.id, s.slug, q.listing_url, q.status, q.attempts, q.failure_category, q.error_message, q.discovered_at, q.processed_at
FROM scrape_sources s
CROSS JOIN LATERAL (
    SELECT * FROM import_queue x WHERE x.source_id = s.id AND x.status = 'dead'
    ORDER BY x.processed_at DESC LIMIT :n
) q
ORDER BY q.processed_at DESC, q.id DESC LIMIT :n;

-- name: vehicle
SELECT to_jsonb(v) FROM vehicles v WHERE v.id = :id;

-- name: listings_of_vehicle
-- A vehicle's advertisements, the oldest first, each with the archived page it was last read from.
SELECT r.id, r.source, r.remote_id, r.url, r.status, r.first_seen_at, r.first_cycle, r.changed_at, r.changed_cycle,
       r.provenance, r.quarantine, a.id, a.kind, a.url, a.fetched_at, a.http_status, a.file, a."offset", a.length
FROM listing_records r LEFT JOIN archive_pages a ON a.id = r.archive_id
WHERE r.vehicle_id = :id ORDER BY r.id LIMIT :n;

-- name: repairs_of_vehicle
-- What was mended in a vehicle, the latest first; of a merge only who was taken in.
SELECT field_name, kind, reason, repaired_at, cycle_id,
       CASE WHEN kind IN ('backfill', 'correct') THEN before_value END,
       CASE WHEN kind IN ('backfill', 'correct') THEN after_value END,
       coalesce(before_value #>> '{absorbed,id}', evidence ->> 'restored')::bigint
FROM vehicle_repairs WHERE vehicle_id = :id ORDER BY id DESC LIMIT :n;

-- name: merged_into^
-- The last merge that took a vehicle in.
SELECT vehicle_id, reason, repaired_at, cycle_id FROM vehicle_repairs
WHERE kind = 'merge' AND (before_value #>> '{absorbed,id}')::bigint = :id ORDER BY id DESC LIMIT 1;

-- name: proposals_of_vehicle
-- Whom a vehicle was taken for, and what was decided.
SELECT CASE WHEN vehicle_a = :id THEN vehicle_b ELSE vehicle_a END, score, reasons, status, created_at, decided_at, decided_by
FROM merge_proposals WHERE vehicle_a = :id OR vehicle_b = :id ORDER BY id DESC LIMIT :n;
