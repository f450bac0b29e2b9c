-- Listings, sightings, history. Every statement costs what its own rows cost. Locks are taken in one order everywhere:
-- stored listings by (source_id, remote_id), blocks by key, vehicles by VIN when inserted and then by id, new listings
-- by (source_id, remote_id), sightings by listing_id.

-- name: find_known
-- What is stored of these advertisements, unlocked; place counts from 1 in the arrays.
SELECT t.place::int, r.id, r.content_hash, r.status, r.vehicle_id, r.changed_at
FROM unnest((:source_ids)::uuid[], (:remote_ids)::text[]) WITH ORDINALITY AS t (source_id, remote_id, place)
JOIN listing_records r ON r.source_id = t.source_id AND r.remote_id = t.remote_id;

-- name: lock_listings
-- Stored listings in full, locked against other writers.
SELECT id, source_id, source, remote_id, remote_slug, url, title, price, currency, price_kind, mileage, mileage_unit,
       year, make, model, trim, vin, vin_status, condition, body_style, engine, fuel_type, fuel_economy, transmission,
       drivetrain, exterior_color, interior_color, doors, seats, place, city, region, postal_code, country, latitude,
       longitude, seller_name, seller_type, seller_phone, images, description, posted_at, status, first_seen_at,
       first_cycle, changed_at, changed_cycle, raw::text, raw_payload::text, provenance::text, quarantine::text, completeness, content_hash,
       archive_id, vehicle_id
FROM listing_records WHERE id = ANY(:ids)
ORDER BY source_id, remote_id FOR NO KEY UPDATE;

-- name: next_ids
-- Identifiers set aside for new listings and new vehicles. Each sequence is looked up once, not for every number.
SELECT ARRAY(SELECT nextval(s.of_ids)
             FROM (SELECT pg_get_serial_sequence('listing_records', 'id')::regclass AS of_ids OFFSET 0) s, generate_series(1, :listings)),
       ARRAY(SELECT nextval(s.of_ids)
             FROM (SELECT pg_get_serial_sequence('vehicles', 'id')::regclass AS of_ids OFFSET 0) s, generate_series(1, :vehicles));

-- name: observations
-- What the listings of these vehicles say, without their long texts, with their last sighting, and whether a gate
-- holds them back.
SELECT r.id, r.source_id, r.source, r.remote_id, r.url, r.title, r.price, r.currency, r.price_kind, r.mileage,
       r.mileage_unit, r.year, r.make, r.model, r.trim, r.vin, r.vin_status, r.condition, r.body_style, r.engine,
       r.fuel_type, r.transmission, r.drivetrain, r.exterior_color, r.interior_color, r.doors, r.seats, r.place, r.city,
       r.region, r.postal_code, r.country, r.latitude, r.longitude, r.seller_name, r.seller_type, r.seller_phone,
       ARRAY(SELECT unnest(r.images) LIMIT 3), r.status, r.first_seen_at, r.changed_at, r.provenance::text, r.quarantine::text, r.vehicle_id, s.last_seen_at, s.last_cycle, h.listing_id IS NOT NULL
FROM listing_records r LEFT JOIN listing_sightings s ON s.listing_id = r.id
LEFT JOIN held_listings h ON h.listing_id = r.id
WHERE r.vehicle_id = ANY(:vehicle_ids)
ORDER BY r.vehicle_id, r.id;

-- name: create_incoming#
-- Where changed listings are copied to before they are written over the stored ones; emptied by every commit.
CREATE TEMP TABLE IF NOT EXISTS incoming_listings (LIKE listing_records)
WITH (toast_tuple_target = 8160) ON COMMIT DELETE ROWS;

-- name: clear_incoming!
DELETE FROM incoming_listings;

-- name: update_listings!
-- Write the listings copied to incoming_listings over those of their ids; whose advertisement it is stays.
UPDATE listing_records r
SET source = i.source, remote_slug = i.remote_slug, url = i.url, title = i.title,
    price = i.price, currency = i.currency, price_kind = i.price_kind,
    mileage = i.mileage, mileage_unit = i.mileage_unit, year = i.year, make = i.make,
    model = i.model, trim = i.trim, vin = i.vin, vin_status = i.vin_status,
    condition = i.condition, body_style = i.body_style, engine = i.engine,
    fuel_type = i.fuel_type, fuel_economy = i.fuel_economy, transmission = i.transmission,
    drivetrain = i.drivetrain, exterior_color = i.exterior_color,
    interior_color = i.interior_color, doors = i.doors, seats = i.seats, place = i.place,
    city = i.city, region = i.region, postal_code = i.postal_code, country = i.country,
    latitude = i.latitude, longitude = i.longitude, seller_name = i.seller_name,
    seller_type = i.seller_type, seller_phone = i.seller_phone, images = i.images,
    description = i.description, posted_at = i.posted_at, status = i.status,
    changed_at = i.changed_at, changed_cycle = i.changed_cycle, first_seen_at = i.first_seen_at,
    raw = i.raw, raw_payload = i.raw_payload, provenance = i.provenance,
    quarantine = i.quarantine, completeness = i.completeness, content_hash = i.content_hash,
    archive_id = i.archive_id, vehicle_id = i.vehicle_id
FROM incoming_listings i WHERE r.id = i.id;

-- name: touch_sightings!
-- Seen again, counted once a cycle; a replay of an earlier page sees nothing anew. No wide row is read or written.
WITH seen AS (
    SELECT listing_id FROM listing_sightings WHERE listing_id = ANY(:ids) ORDER BY listing_id FOR NO KEY UPDATE
)
UPDATE listing_sightings s
SET seen_count = s.seen_count + 1, absences = 0, last_cycle = :cycle_id, last_seen_at = :now
FROM seen WHERE s.listing_id = seen.listing_id AND s.last_cycle <> :cycle_id AND s.last_seen_at <= :now;

-- name: add_quarantined!
-- Values that rules set aside in these listings.
INSERT INTO quarantined_values (listing_id, field_name, value, rule, reason, cycle_id, observed_at)
SELECT listing_id, field_name, value::jsonb, rule, reason, :cycle_id, :now
FROM unnest((:listing_ids)::bigint[], (:fields)::text[], (:values)::text[], (:rules)::text[], (:reasons)::text[])
     AS t (listing_id, field_name, value, rule, reason);

-- name: add_history!
-- A history row for each of these listings (locked before) whose price, mileage or status is no
-- longer what its latest history row says.
INSERT INTO listing_history (listing_id, observed_at, cycle_id, price, currency, price_kind, mileage, mileage_unit, status, archive_id)
SELECT r.id, :now, :cycle_id, r.price, r.currency, r.price_kind, r.mileage, r.mileage_unit, r.status, r.archive_id
FROM listing_records r
LEFT JOIN LATERAL (
    SELECT * FROM listing_history h WHERE h.listing_id = r.id ORDER BY h.observed_at DESC, h.id DESC LIMIT 1
) last ON true
WHERE r.id = ANY(:ids)
  AND (last.id IS NULL
       OR (last.price, last.currency, last.price_kind, last.mileage, last.mileage_unit, last.status)
          IS DISTINCT FROM (r.price, r.currency, r.price_kind, r.mileage, r.mileage_unit, r.status));

-- name: missed_listings
-- The source's active listings that this cycle has neither seen nor yet missed: id and how often
-- missed in a row, this time included. Reads the source's active listings only.
SELECT r.id, s.absences + 1
FROM listing_records r JOIN listing_sightings s ON s.listing_id = r.id
WHERE r.source_id = :source_id AND r.status = 'active'
  AND s.last_cycle <> :cycle_id AND s.last_seen_at < :now AND s.absent_cycle IS DISTINCT FROM :cycle_id;

-- name: count_absences!
-- One more absence for each of these listings.
WITH missed AS (
    SELECT listing_id FROM listing_sightings WHERE listing_id = ANY(:ids) ORDER BY listing_id FOR NO KEY UPDATE
)
UPDATE listing_sightings s SET absences = s.absences + 1, absent_cycle = :cycle_id
FROM missed WHERE s.listing_id = missed.listing_id;

-- name: set_status
-- Listings of one status get another; returns each with its vehicle.
WITH chosen AS (
    SELECT id FROM listing_records WHERE id = ANY(:ids) AND status = :old_status
    ORDER BY source_id, remote_id FOR NO KEY UPDATE
)
UPDATE listing_records r SET status = :new_status, changed_at = greatest(r.changed_at, :now), changed_cycle = :cycle_id
FROM chosen WHERE r.id = chosen.id
RETURNING r.id, r.vehicle_id;

-- name: listings_of_urls
-- The listings that queued URLs of this source led to, with their status.
SELECT DISTINCT r.id, r.status FROM import_queue q JOIN listing_records r ON r.id = q.listing_id
WHERE q.source_id = :source_id AND q.url_hash = ANY(:url_hashes);

-- name: move_listings!
-- Put listings of one vehicle under another.
UPDATE listing_records SET vehicle_id = :target WHERE vehicle_id = :origin AND id = ANY(:ids);

-- name: history_of_vehicle
-- Every change of price, mileage or status of a vehicle's listings, in order of time.
SELECT h.listing_id, h.observed_at, h.status, h.price, h.currency, h.mileage, h.mileage_unit
FROM listing_records r JOIN listing_history h ON h.listing_id = r.id
WHERE r.vehicle_id = :vehicle_id
ORDER BY h.observed_at, h.id;
