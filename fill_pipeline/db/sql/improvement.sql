-- Improvement: candidates on their way to becoming sources, how far channels have read, and repairs.

-- name: add_candidates
-- Note candidates by registrable domain; one seen again only counts its evidence. Returns the new ones' domains.
INSERT INTO source_candidates AS c (domain, url, channel, evidence, found_at)
SELECT u.domain, u.url, u.channel, u.evidence::jsonb, :now
FROM unnest((:domains)::text[], (:urls)::text[], (:channels)::text[], (:evidence)::text[]) AS u (domain, url, channel, evidence)
ORDER BY u.domain
ON CONFLICT (domain) DO UPDATE SET evidence_count = c.evidence_count + 1
RETURNING domain, (xmax = 0) AS inserted;

-- name: to_probe
-- Those never probed, most evidence first, then those refused for a passing trouble whose time has come again.
SELECT id, domain, url, channel, evidence, evidence_count, status, reason, score, config, kind, source_id
FROM source_candidates
WHERE status = 'found'
   OR (status = 'rejected' AND split_part(reason, ':', 1) = ANY((:passing)::text[])
       AND decided_at + least(:retry_hours * 2 ^ (coalesce((evidence ->> 'probes')::int, 1) - 1), 168) * interval '1 hour' <= :now)
ORDER BY status, evidence_count DESC, id
LIMIT :n;

-- name: waiting
-- Probed and good, waiting for a place on trial; the best first.
SELECT id, domain, url, channel, evidence, evidence_count, status, reason, score, config, kind, source_id
FROM source_candidates WHERE status = 'probed' ORDER BY score DESC, id LIMIT :n;

-- name: candidate
SELECT id, domain, url, channel, evidence, evidence_count, status, reason, score, config, kind, source_id
FROM source_candidates WHERE domain = :domain;

-- name: save_probe!
UPDATE source_candidates
SET status = :status, reason = :reason, score = :score, config = :config::jsonb, kind = :kind, url = coalesce(:url, url), probed_at = :now,
    decided_at = :now, decided_cycle = :cycle_id,
    evidence = jsonb_set(evidence || (:findings)::jsonb, '{probes}', to_jsonb(coalesce((evidence ->> 'probes')::int, 0) + 1))
WHERE id = :id;

-- name: decide!
UPDATE source_candidates
SET status = :status, reason = :reason, source_id = coalesce(:source_id, source_id), decided_at = :now, decided_cycle = :cycle_id
WHERE id = :id;

-- name: on_trial
-- Each source on trial with what it did since it was taken: harvests, listings it gave, quality, failures.
SELECT s.id, s.slug, c.id AS candidate_id, coalesce(t.harvests, 0),
       (SELECT count(*) FROM listing_records r WHERE r.source_id = s.id)::int, coalesce(t.pages_fetched, 0),
       coalesce(t.pages_failed, 0), t.quality, coalesce(t.cycles, 0)
FROM scrape_sources s
LEFT JOIN source_candidates c ON c.source_id = s.id
LEFT JOIN LATERAL (
    SELECT sum(st.harvests)::int AS harvests, sum(st.pages_fetched)::int AS pages_fetched,
           sum(st.pages_failed)::int AS pages_failed, sum(st.quality_sum) / nullif(sum(st.quality_count), 0) AS quality,
           count(*)::int AS cycles
    FROM source_cycle_stats st WHERE st.source_id = s.id) t ON true
WHERE s.status = 'trial'
ORDER BY s.slug;

-- name: source_urls
SELECT slug, base_url, status FROM scrape_sources;

-- name: known_vins$
SELECT count(*) FROM vehicles WHERE vin = ANY(:vins);

-- name: progress
SELECT subject, position, mark FROM discovery_progress WHERE channel = :channel;

-- name: save_progress!
INSERT INTO discovery_progress (channel, subject, position, mark, read_at) VALUES (:channel, :subject, :position, :mark, :now)
ON CONFLICT (channel, subject) DO UPDATE SET position = excluded.position, mark = excluded.mark, read_at = excluded.read_at;

-- name: recent_pages
-- A source's pages of its latest cycles after the given id, the newest first (index scans of those cycles only).
SELECT id, source_id, cycle_id, kind, url, url_hash, fetched_at, http_status, content_type, etag, last_modified, file, "offset", length, body_hash,
       card_number, card_written
FROM archive_pages
WHERE source_id = :source_id AND id > :after_id AND (:kind::text IS NULL OR kind = :kind)
  AND cycle_id IN (SELECT cycle_id FROM source_cycle_stats WHERE source_id = :source_id ORDER BY last_at DESC LIMIT :cycles)
ORDER BY id DESC LIMIT :n;

-- name: robots_bodies
SELECT origin, body, extract(epoch FROM fetched_at)::bigint FROM robots_files
WHERE body <> '' AND fetched_at > to_timestamp(:after) ORDER BY fetched_at LIMIT :n;

-- name: known_listings
-- What we know of a source's listings, the most recently seen first, the last other price and mileage they had, and what
-- other listings state of the same vehicle. Besides those that stand also those that changed in some cycles. When each
-- was seen has no index, as it changes with every look: of a source of more than ten times :n listings some are looked
-- at, and those of its latest pages in the archive.
SELECT r.url, r.remote_id, r.title, r.year, r.make, r.model, r.trim, r.vin, r.price, r.currency, r.mileage, r.mileage_unit, r.body_style, r.engine,
       r.fuel_type, r.transmission, r.drivetrain, r.exterior_color, r.interior_color, r.doors, r.city, r.region, r.postal_code,
       r.seller_name, r.raw, r.archive_id, s.last_seen_at, before.price, before.mileage, elsewhere.price, elsewhere.mileage
FROM (
    SELECT one.id, s.last_seen_at FROM (
        (SELECT id FROM listing_records WHERE source_id = :source_id AND status = 'active' LIMIT 10 * :n)
        UNION
        (SELECT id FROM listing_records WHERE source_id = :source_id AND changed_cycle = ANY((:changed)::text[]) LIMIT 10 * :n)
        UNION
        (SELECT l.id
         FROM (SELECT url_hash FROM archive_pages WHERE source_id = :source_id ORDER BY cycle_id DESC, id DESC LIMIT :n) p
         JOIN import_queue q ON q.source_id = :source_id AND q.url_hash = p.url_hash
         JOIN listing_records l ON l.id = q.listing_id AND l.status = 'active')
    ) one JOIN listing_sightings s ON s.listing_id = one.id
    ORDER BY s.last_seen_at DESC, one.id DESC LIMIT :n
) s JOIN listing_records r ON r.id = s.id
LEFT JOIN LATERAL (
    SELECT (array_agg(h.price ORDER BY h.observed_at DESC, h.id DESC) FILTER (WHERE h.price IS DISTINCT FROM r.price AND h.price IS NOT NULL))[1] AS price,
           (array_agg(h.mileage ORDER BY h.observed_at DESC, h.id DESC) FILTER (WHERE h.mileage IS DISTINCT FROM r.mileage AND h.mileage IS NOT NULL))[1] AS mileage
    FROM listing_history h WHERE h.listing_id = r.id) before ON true
LEFT JOIN LATERAL (
    SELECT (array_agg(o.price ORDER BY o.changed_at DESC, o.id) FILTER (WHERE o.price IS NOT NULL))[1] AS price,
           (array_agg(o.mileage ORDER BY o.changed_at DESC, o.id) FILTER (WHERE o.mileage IS NOT NULL))[1] AS mileage
    FROM listing_records o WHERE o.vehicle_id = r.vehicle_id AND o.vin = r.vin AND o.id <> r.id) elsewhere ON true
ORDER BY s.last_seen_at DESC, r.id DESC;

-- name: numbers_like
-- What listings of these makes and models state as price or mileage, each with its year and its currency or unit, and
-- that of the source's own listings. Through the vehicles' index, of each model so many.
WITH own AS (
    SELECT mode() WITHIN GROUP (ORDER BY unit) AS unit FROM (
        SELECT CASE :field WHEN 'price' THEN currency ELSE mileage_unit END AS unit FROM listing_records
        WHERE source_id = :source_id AND CASE :field WHEN 'price' THEN price ELSE mileage END > 0 LIMIT 500) r)
SELECT w.make, w.model, n.year, n.value, n.unit, own.unit
FROM own, unnest((:makes)::text[], (:models)::text[]) AS w (make, model)
CROSS JOIN LATERAL (
    SELECT r.year, CASE :field WHEN 'price' THEN r.price ELSE r.mileage END AS value,
           CASE :field WHEN 'price' THEN r.currency ELSE r.mileage_unit END AS unit
    FROM vehicles v JOIN listing_records r ON r.vehicle_id = v.id
    WHERE v.make = w.make AND v.model = w.model AND r.year > 0
      AND CASE :field WHEN 'price' THEN r.price ELSE r.mileage END > 0
    LIMIT 200) n
WHERE n.unit IS NOT NULL;

-- name: ended_listings$
-- How many of a source's listings are not active any more, counted as far as :n.
SELECT count(*) FROM (SELECT 1 FROM listing_records WHERE source_id = :source_id AND status <> 'active' LIMIT :n) ended;

-- name: add_repair$
INSERT INTO source_repairs (source_id, cycle_id, diagnosis, reason, status, from_version, to_version, score_before, score_after, evidence, created_at, finished_at)
VALUES (:source_id, :cycle_id, :diagnosis, :reason, :status, :from_version, :to_version, :score_before, :score_after, :evidence::jsonb, :now, :now)
RETURNING id;

-- name: repairs
SELECT id, source_id, cycle_id, diagnosis, reason, status, from_version, to_version, score_before, score_after, evidence, created_at
FROM source_repairs WHERE source_id = :source_id ORDER BY created_at DESC, id DESC LIMIT :n;

-- name: end_repair!
UPDATE source_repairs SET status = :status, reason = :reason, finished_at = :now WHERE id = :id;

-- name: failures_lately
-- How the source's pages failed, in the latest of its last three cycles in which any did.
SELECT failures FROM (
    SELECT failures, last_at FROM source_cycle_stats WHERE source_id = :source_id ORDER BY last_at DESC LIMIT 3) c
WHERE failures <> '{}' ORDER BY last_at DESC LIMIT 1;

-- name: latest_cycles
-- The source's latest cycles, newest first, each with its health and how many listings it gave.
SELECT c.cycle_id, coalesce(h.status, ''), c.found FROM source_cycle_stats c
LEFT JOIN source_health h ON h.source_id = c.source_id AND h.cycle_id = c.cycle_id
WHERE c.source_id = :source_id ORDER BY c.last_at DESC LIMIT :n;

-- name: lost_fields
-- Fields that a source's listings nearly all stated in its latest six healthy cycles and hardly any states in the cycles
-- since, of its latest :n: field, share now, share before.
WITH latest AS (
    SELECT c.cycle_id, c.last_at, h.status FROM source_cycle_stats c
    LEFT JOIN source_health h ON h.source_id = c.source_id AND h.cycle_id = c.cycle_id
    WHERE c.source_id = :source_id ORDER BY c.last_at DESC LIMIT :n
), usual AS (
    SELECT t.field_name, sum(t.filled) AS filled, sum(t.knowable) AS knowable FROM field_tallies t
    WHERE t.source_id = :source_id
      AND t.cycle_id IN (SELECT cycle_id FROM latest WHERE status = 'healthy' ORDER BY last_at DESC LIMIT 6)
    GROUP BY t.field_name
), since AS (
    SELECT t.field_name, sum(t.filled) AS filled, sum(t.knowable) AS knowable FROM field_tallies t
    WHERE t.source_id = :source_id AND t.cycle_id IN (
        SELECT cycle_id FROM latest WHERE last_at > (SELECT max(last_at) FROM latest WHERE status = 'healthy'))
    GROUP BY t.field_name
)
SELECT s.field_name, s.filled::float8 / s.knowable, u.filled::float8 / u.knowable
FROM since s JOIN usual u USING (field_name)
WHERE s.knowable >= :least AND u.knowable >= 3 * (:least)::int
  AND u.filled >= 0.8 * u.knowable AND s.filled * u.knowable < 0.6 * u.filled * s.knowable
ORDER BY s.field_name;

-- name: stated_fields
-- How many listings of a source that changed in some cycles state each of these fields.
SELECT f.name, count(*) FROM listing_records r
CROSS JOIN LATERAL (SELECT to_jsonb(r) AS row) j
JOIN unnest((:fields)::text[]) AS f (name) ON j.row ->> f.name IS NOT NULL
WHERE r.changed_cycle = ANY((:cycle_ids)::text[]) AND r.source_id = :source_id
GROUP BY f.name ORDER BY f.name;

-- name: note_regained!
UPDATE source_repairs SET evidence = evidence || jsonb_build_object('regained', (:regained)::jsonb) WHERE id = :id;

-- name: health_trail
-- How the source was judged in its latest cycles, newest first.
SELECT cycle_id, status, diagnosis, reason FROM source_health WHERE source_id = :source_id ORDER BY last_checked DESC LIMIT :n;
