-- What use has taught: how levers did, how often sources change, what lost sources were worth.

-- name: lever_uses
-- The latest finished uses of each lever, through its index.
SELECT l.lever, (a.parameters ->> 'step')::int, a.finished_at,
       coalesce((a.outcome ->> 'vehicles_added')::int, 0) + coalesce((a.outcome ->> 'promised')::int, 0),
       coalesce((a.outcome ->> 'pages_fetched')::int, 0) + coalesce((a.outcome ->> 'pages_failed')::int, 0)
         + coalesce((a.outcome ->> 'requests')::int, 0),
       coalesce((a.outcome ->> 'cpu_seconds')::float8, 0), coalesce((a.outcome ->> 'pacing_minutes')::float8, 0),
       coalesce(extract(epoch FROM a.finished_at - a.started_at)::float8 / 60, 0),
       coalesce(a.parameters #>> '{expects,pages_per_minute}', a.parameters #>> '{expects,vehicles}')::float8
FROM unnest((:levers)::text[]) AS l (lever) CROSS JOIN LATERAL (
    SELECT parameters, outcome, started_at, finished_at FROM cycle_actions
    WHERE parameters ? 'lever' AND parameters ->> 'lever' = l.lever AND status IN ('done', 'failed')
    ORDER BY id DESC LIMIT :n) a
WHERE a.finished_at > :since;

-- name: harvest_histories
-- Of each source harvested in this cycle, its latest harvests, newest first: when, and how much of what was listed had changed.
SELECT c.source_id, h.last_at, h.found, h.new + h.updated + h.delisted
FROM source_cycle_stats c CROSS JOIN LATERAL (
    SELECT last_at, found, new, updated, delisted FROM source_cycle_stats
    WHERE source_id = c.source_id AND harvests > 0 AND last_at IS NOT NULL ORDER BY last_at DESC LIMIT :n) h
WHERE c.cycle_id = :cycle_id AND c.harvests > 0
ORDER BY c.source_id, h.last_at DESC;

-- name: set_harvest_hours!
UPDATE source_state st SET harvest_hours = t.hours
FROM unnest((:source_ids)::uuid[], (:hours)::float8[]) AS t (source_id, hours)
WHERE st.source_id = t.source_id AND st.harvest_hours IS DISTINCT FROM t.hours::real;

-- name: note_failing!
-- Since when each source fails without a break.
UPDATE source_state st SET failing_since = CASE WHEN h.status = 'failing' THEN coalesce(st.failing_since, :now) END
FROM source_health h
WHERE h.cycle_id = :cycle_id AND h.source_id = st.source_id AND (h.status = 'failing') <> (st.failing_since IS NOT NULL);

-- name: failing
SELECT source_id FROM source_state WHERE source_id = ANY(:source_ids) AND failing_since IS NOT NULL;

-- name: healthy_time
-- What a source gave in its days of work: vehicles, mean completeness, and from when to when it gave them.
SELECT coalesce(sum(vehicles_added), 0)::int, coalesce(sum(quality_sum) / nullif(sum(quality_count), 0), 0)::float8,
       min(first_at), max(last_at) FILTER (WHERE found > 0)
FROM (SELECT * FROM source_cycle_stats WHERE source_id = :source_id AND last_at IS NOT NULL ORDER BY last_at DESC LIMIT :n) c;

-- name: answered_since$
SELECT coalesce(last_success_at > :since, false) FROM source_state WHERE source_id = :source_id;

-- name: add_loss!
INSERT INTO source_losses (source_id, cycle_id, retired_at, reason, healthy_days, vehicles_per_day, quality, worth)
VALUES (:source_id, :cycle_id, :now, :reason, :healthy_days, :vehicles_per_day, :quality, :worth)
ON CONFLICT (source_id) DO UPDATE
SET cycle_id = excluded.cycle_id, retired_at = excluded.retired_at, reason = excluded.reason, healthy_days = excluded.healthy_days,
    vehicles_per_day = excluded.vehicles_per_day, quality = excluded.quality, worth = excluded.worth, covered = 0;

-- name: losses
-- The sources given up since then, oldest first.
SELECT l.source_id, s.slug, l.cycle_id, l.retired_at, l.reason, l.healthy_days, l.vehicles_per_day, l.quality, l.worth, l.covered
FROM source_losses l JOIN scrape_sources s ON s.id = l.source_id
WHERE l.retired_at > :since ORDER BY l.retired_at, s.slug;

-- name: uncovered$
SELECT coalesce(sum(worth - covered), 0)::float8 FROM source_losses WHERE retired_at > :since;

-- name: set_covered!
UPDATE source_losses l SET covered = t.covered FROM unnest((:source_ids)::uuid[], (:covered)::float8[]) AS t (source_id, covered)
WHERE l.source_id = t.source_id;

-- name: found_since
-- The sources discovered since then that are in work.
SELECT id, discovered_at FROM scrape_sources WHERE discovered_at > :since AND status IN ('trial', 'live') ORDER BY discovered_at;

-- name: usual
-- What other sources' listings of the same make, model and nearly the same year say, at the median; through the vehicles' index.
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY value), count(*) FROM (
    SELECT CASE :field WHEN 'price' THEN r.price ELSE r.mileage END AS value
    FROM vehicles v JOIN listing_records r ON r.vehicle_id = v.id
    WHERE v.make = :make AND v.model = :model AND v.year BETWEEN :year - 1 AND :year + 1 AND r.source_id <> :but
    LIMIT 200) near
WHERE value > 0;
