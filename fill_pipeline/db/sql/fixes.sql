-- Finding and recording fixes to stored data. Every statement costs what the cycle's own rows cost.

-- name: touched_vehicles
-- The vehicles a cycle touched, the least complete first, so that a bounded run mends what needs it most.
SELECT id FROM vehicles WHERE updated_cycle = :cycle_id ORDER BY completeness, id LIMIT :most;

-- name: same_vin
-- Vehicles of this cycle without a VIN, one of whose listings states the VIN of another vehicle.
SELECT DISTINCT v.id, o.id, r.vin
FROM vehicles v
JOIN listing_records r ON r.vehicle_id = v.id
JOIN vehicles o ON o.vin = r.vin
WHERE v.updated_cycle = :cycle_id AND v.vin IS NULL AND o.id <> v.id AND r.vin_status = ANY(:identifying)
ORDER BY 1, 2 LIMIT :most;

-- name: sure_proposals
-- Open proposals of at least this score whose vehicles both exist and are named in no other such proposal:
-- a vehicle that matches two others equally well is one of twins, and only a person can tell which.
WITH sure AS (
    SELECT id, vehicle_a, vehicle_b, score FROM merge_proposals WHERE status = 'open' AND score >= :score
), once AS (
    SELECT v.id FROM (SELECT vehicle_a AS id FROM sure UNION ALL SELECT vehicle_b FROM sure) n
    JOIN vehicles v ON v.id = n.id GROUP BY v.id HAVING count(*) = 1
)
SELECT p.vehicle_a, p.vehicle_b, p.score
FROM sure p JOIN once a ON a.id = p.vehicle_a JOIN once b ON b.id = p.vehicle_b
ORDER BY p.id LIMIT :most;

-- name: seller_places
-- Where each of these sellers (of a source, by name; '' is a dealer's own site) says its vehicles stand in this
-- cycle, given that at least three of its listings say so and none says otherwise.
SELECT r.source_id, coalesce(r.seller_name, ''), min(r.place), min(r.city), min(r.region), min(r.postal_code), min(r.country), count(*)
FROM listing_records r
JOIN scrape_sources s ON s.id = r.source_id
JOIN unnest((:source_ids)::uuid[], (:sellers)::text[]) AS w (source_id, seller)
  ON w.source_id = r.source_id AND w.seller = coalesce(r.seller_name, '')
WHERE r.changed_cycle = :cycle_id AND r.place IS NOT NULL AND (r.seller_name IS NOT NULL OR s.kind = 'dealer')
GROUP BY 1, 2
HAVING count(*) >= 3
   AND count(DISTINCT (r.place, coalesce(r.city, ''), coalesce(r.region, ''), coalesce(r.postal_code, ''))) = 1;

-- name: pages_of_listings
-- The archived pages that show these listings: each one's own page archived last, and the page it was last read from.
SELECT w.listing_id, p.id = r.archive_id, p.id, p.source_id, p.cycle_id, p.kind, p.url, p.url_hash, p.fetched_at,
       p.http_status, p.content_type, p.file, p."offset", p.length, p.card_number, p.card_written
FROM unnest((:listing_ids)::bigint[], (:source_ids)::uuid[], (:hashes)::uuid[]) AS w (listing_id, source_id, url_hash)
JOIN listing_records r ON r.id = w.listing_id
CROSS JOIN LATERAL (
    (SELECT * FROM archive_pages a
     WHERE a.source_id = w.source_id AND a.url_hash = w.url_hash AND a.kind = 'detail' AND a.http_status = 200
     ORDER BY a.id DESC LIMIT 1)
    UNION
    (SELECT * FROM archive_pages a WHERE a.id = r.archive_id)
) p
ORDER BY w.listing_id, p.kind = 'detail' DESC, p.id DESC;

-- name: add_repairs!
-- Remember what was mended.
INSERT INTO vehicle_repairs (vehicle_id, field_name, before_value, after_value, kind, reason, evidence, cycle_id, repaired_at)
SELECT vehicle_id, field_name, before_value::jsonb, after_value::jsonb, kind, reason, evidence::jsonb, :cycle_id, :now
FROM unnest((:vehicle_ids)::bigint[], (:fields)::text[], (:befores)::text[], (:afters)::text[], (:kinds)::text[],
            (:reasons)::text[], (:evidence)::text[])
     AS t (vehicle_id, field_name, before_value, after_value, kind, reason, evidence);
