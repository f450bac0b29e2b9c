-- Listings, sightings, history, vehicles, merge proposals. Every statement costs what its own rows
-- cost. Locks are taken in one order everywhere: stored listings by (source_id, remote_id), blocks by
-- key, vehicles by VIN when inserted and then by id, new listings by (source_id, remote_id),
-- sightings by listing_id.

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
-- Identifiers set aside for new listings and new vehicles.
SELECT ARRAY(SELECT nextval(pg_get_serial_sequence('listing_records', 'id')) FROM generate_series(1, :listings)),
       ARRAY(SELECT nextval(pg_get_serial_sequence('vehicles', 'id')) FROM generate_series(1, :vehicles));

-- name: lock_blocks
-- One writer at a time per block of look-alikes, until the transaction ends.
SELECT pg_advisory_xact_lock(:space, k) FROM (SELECT DISTINCT k FROM unnest((:keys)::int[]) AS t (k) ORDER BY k) x;

-- name: vehicles_by_vin
-- The vehicle of each VIN that has one.
SELECT id, vin, year, make, model FROM vehicles WHERE vin = ANY(:vins);

-- name: lock_vehicles
-- Lock vehicles against other writers; one that does not come back was merged away meanwhile.
SELECT id, listing_count FROM vehicles WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE;

-- name: block_candidates
-- Vehicles that may be the same as a wanted one: same block, and the nearest odometers inside the
-- window or none at all; for one without an odometer also
-- those of its city, above all at its price. At most
-- eighty; place counts from 1. Without with_vin, vehicles that have a VIN only where the odometer is the very
-- same. Eight index probes a row, whatever the block's size.
SELECT t.place::int, v.id
FROM (
    SELECT place, block_key, km, low, high, with_vin, city, price, km IS NULL AS new, CASE WHEN with_vin THEN low ELSE km END AS vin_low,
           CASE WHEN with_vin THEN high ELSE km END AS vin_high
    FROM unnest((:keys)::text[], (:odometers)::int[], (:lows)::int[], (:highs)::int[], (:with_vin)::bool[],
                (:cities)::text[], (:prices)::bigint[])
         WITH ORDINALITY AS u (block_key, km, low, high, with_vin, city, price, place)
) t CROSS JOIN LATERAL (
    (SELECT c.id FROM vehicles c
     WHERE c.vin IS NULL AND c.block_key = t.block_key AND c.block_km BETWEEN t.km AND t.high
     ORDER BY c.block_key, c.block_km LIMIT 10)
    UNION ALL
    (SELECT c.id FROM vehicles c
     WHERE c.vin IS NULL AND c.block_key = t.block_key AND c.block_km >= t.low AND c.block_km < t.km
     ORDER BY c.block_key DESC, c.block_km DESC LIMIT 10)
    UNION ALL
    (SELECT c.id FROM vehicles c WHERE c.vin IS NULL AND c.block_key = t.block_key AND c.block_km IS NULL LIMIT 10)
    UNION ALL
    (SELECT c.id FROM vehicles c
     WHERE c.vin IS NOT NULL AND c.block_key = t.block_key AND c.block_km BETWEEN t.km AND t.vin_high
     ORDER BY c.block_key, c.block_km LIMIT 10)
    UNION ALL
    (SELECT c.id FROM vehicles c
     WHERE c.vin IS NOT NULL AND c.block_key = t.block_key AND c.block_km >= t.vin_low AND c.block_km < t.km
     ORDER BY c.block_key DESC, c.block_km DESC LIMIT 10)
    UNION ALL
    (SELECT c.id FROM vehicles c
     WHERE t.with_vin AND c.vin IS NOT NULL AND c.block_key = t.block_key AND c.block_km IS NULL LIMIT 10)
    UNION ALL
    (SELECT c.id FROM vehicles c
     WHERE t.new AND (t.with_vin OR c.vin IS NULL) AND c.block_key = t.block_key AND c.block_km IS NULL
       AND c.price = t.price AND (t.city IS NULL OR c.city = t.city) LIMIT 12)
    UNION ALL
    (SELECT c.id FROM vehicles c
     WHERE t.new AND (t.with_vin OR c.vin IS NULL) AND c.block_key = t.block_key AND c.block_km IS NULL
       AND c.city = t.city LIMIT 12)
) v;

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
-- Where a batch is copied to before it is merged; emptied by every commit.
CREATE TEMP TABLE IF NOT EXISTS incoming_listings (
    id bigint, source_id uuid, source text, remote_id text, remote_slug text, url text, title text, price bigint,
    currency text, price_kind text, mileage integer, mileage_unit text, year smallint, make text, model text, trim text,
    vin text, vin_status text, condition text, body_style text, engine text, fuel_type text, fuel_economy text,
    transmission text, drivetrain text, exterior_color text, interior_color text, doors smallint, seats smallint,
    place text, city text, region text, postal_code text, country text, latitude float8, longitude float8,
    seller_name text, seller_type text, seller_phone text, images text, description text, posted_at timestamptz,
    status text, first_seen_at timestamptz, first_cycle text, changed_at timestamptz, changed_cycle text, raw text,
    raw_payload text, provenance text, quarantine text, completeness real, content_hash uuid, archive_id bigint,
    vehicle_id bigint
) WITH (toast_tuple_target = 8160) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS incoming_vehicles (
    id bigint, vin text, year smallint, make text, model text, trim text, body_style text, engine text, fuel_type text,
    transmission text, drivetrain text, exterior_color text, interior_color text, doors smallint, seats smallint,
    condition text, price bigint, currency text, price_kind text, mileage integer, mileage_unit text, place text,
    city text, region text, postal_code text, country text, latitude float8, longitude float8, image text, title text,
    status text, listing_count integer, completeness real, confidence real, provenance text, block_key text,
    block_km integer, created_at timestamptz, created_cycle text, updated_at timestamptz, updated_cycle text
) WITH (toast_tuple_target = 8160) ON COMMIT DELETE ROWS;

-- name: insert_vehicles
-- Insert the vehicles copied to incoming_vehicles, in VIN order, so that two writers never wait for
-- each other in a circle. A VIN that another writer was first to insert is missing in the answer.
INSERT INTO vehicles (
    id, vin, year, make, model, trim, body_style, engine, fuel_type, transmission, drivetrain, exterior_color,
    interior_color, doors, seats, condition, price, currency, price_kind, mileage, mileage_unit, place, city, region,
    postal_code, country, latitude, longitude, image, title, status, listing_count, completeness, confidence,
    provenance, block_key, block_km, created_at, created_cycle, updated_at, updated_cycle)
OVERRIDING SYSTEM VALUE
SELECT id, vin, year, make, model, trim, body_style, engine, fuel_type, transmission, drivetrain, exterior_color,
       interior_color, doors, seats, condition, price, currency, price_kind, mileage, mileage_unit, place, city, region,
       postal_code, country, latitude, longitude, image, title, status, listing_count, completeness, confidence,
       provenance::jsonb, block_key, block_km, created_at, created_cycle, updated_at, updated_cycle
FROM incoming_vehicles ORDER BY vin, id
ON CONFLICT (vin) WHERE vin IS NOT NULL DO NOTHING
RETURNING id;

-- name: update_vehicles!
-- Write the derived values copied to incoming_vehicles over the vehicles of those ids (locked before).
-- The VIN stays: it is given once, by insert_vehicles or claim_vin.
UPDATE vehicles v
SET year = i.year, make = i.make, model = i.model, trim = i.trim, body_style = i.body_style,
    engine = i.engine, fuel_type = i.fuel_type, transmission = i.transmission, drivetrain = i.drivetrain,
    exterior_color = i.exterior_color, interior_color = i.interior_color, doors = i.doors, seats = i.seats,
    condition = i.condition, price = i.price, currency = i.currency, price_kind = i.price_kind, mileage = i.mileage,
    mileage_unit = i.mileage_unit, place = i.place, city = i.city, region = i.region, postal_code = i.postal_code,
    country = i.country, latitude = i.latitude, longitude = i.longitude, image = i.image, title = i.title,
    status = i.status, listing_count = i.listing_count, completeness = i.completeness, confidence = i.confidence,
    provenance = i.provenance::jsonb, block_key = i.block_key, block_km = i.block_km, updated_at = i.updated_at,
    updated_cycle = i.updated_cycle
FROM incoming_vehicles i WHERE v.id = i.id;

-- name: clear_incoming_vehicles!
DELETE FROM incoming_vehicles;

-- name: clear_incoming_listings!
DELETE FROM incoming_listings;

-- name: claim_vin!
-- Give a vehicle without a VIN the one that a listing of it now states.
UPDATE vehicles SET vin = :vin WHERE id = :id AND vin IS DISTINCT FROM :vin;

-- name: upsert_listings!
-- Insert new listings and write changed ones, all from incoming_listings. An advertisement that
-- another writer inserted meanwhile (under another id) is left alone, and so missing in the count.
INSERT INTO listing_records AS r (
    id, source_id, source, remote_id, remote_slug, url, title, price, currency, price_kind, mileage, mileage_unit, year,
    make, model, trim, vin, vin_status, condition, body_style, engine, fuel_type, fuel_economy, transmission, drivetrain,
    exterior_color, interior_color, doors, seats, place, city, region, postal_code, country, latitude, longitude,
    seller_name, seller_type, seller_phone, images, description, posted_at, status, first_seen_at, first_cycle,
    changed_at, changed_cycle, raw, raw_payload, provenance, quarantine, completeness, content_hash, archive_id,
    vehicle_id)
OVERRIDING SYSTEM VALUE
SELECT id, source_id, source, remote_id, remote_slug, url, title, price, currency, price_kind, mileage, mileage_unit,
       year, make, model, trim, vin, vin_status, condition, body_style, engine, fuel_type, fuel_economy, transmission,
       drivetrain, exterior_color, interior_color, doors, seats, place, city, region, postal_code, country, latitude,
       longitude, seller_name, seller_type, seller_phone, string_to_array(images, E'\n'), description, posted_at, status,
       first_seen_at, first_cycle, changed_at, changed_cycle, raw::jsonb, raw_payload::jsonb, provenance::jsonb, quarantine::jsonb,
       completeness, content_hash, archive_id, vehicle_id
FROM incoming_listings ORDER BY source_id, remote_id
ON CONFLICT (source_id, remote_id) DO UPDATE
SET source = excluded.source, remote_slug = excluded.remote_slug, url = excluded.url, title = excluded.title,
    price = excluded.price, currency = excluded.currency, price_kind = excluded.price_kind,
    mileage = excluded.mileage, mileage_unit = excluded.mileage_unit, year = excluded.year, make = excluded.make,
    model = excluded.model, trim = excluded.trim, vin = excluded.vin, vin_status = excluded.vin_status,
    condition = excluded.condition, body_style = excluded.body_style, engine = excluded.engine,
    fuel_type = excluded.fuel_type, fuel_economy = excluded.fuel_economy, transmission = excluded.transmission,
    drivetrain = excluded.drivetrain, exterior_color = excluded.exterior_color,
    interior_color = excluded.interior_color, doors = excluded.doors, seats = excluded.seats, place = excluded.place,
    city = excluded.city, region = excluded.region, postal_code = excluded.postal_code, country = excluded.country,
    latitude = excluded.latitude, longitude = excluded.longitude, seller_name = excluded.seller_name,
    seller_type = excluded.seller_type, seller_phone = excluded.seller_phone, images = excluded.images,
    description = excluded.description, posted_at = excluded.posted_at, status = excluded.status,
    changed_at = excluded.changed_at, changed_cycle = excluded.changed_cycle, first_seen_at = excluded.first_seen_at,
    raw = excluded.raw, raw_payload = excluded.raw_payload, provenance = excluded.provenance,
    quarantine = excluded.quarantine, completeness = excluded.completeness, content_hash = excluded.content_hash,
    archive_id = excluded.archive_id, vehicle_id = excluded.vehicle_id
WHERE r.id = excluded.id;

-- name: touch_sightings!
-- Seen again, counted once a cycle; a replay of an earlier page sees nothing anew. No wide row is read or written.
WITH seen AS (
    SELECT listing_id FROM listing_sightings WHERE listing_id = ANY(:ids) ORDER BY listing_id FOR NO KEY UPDATE
)
UPDATE listing_sightings s
SET seen_count = s.seen_count + 1, absences = 0, last_cycle = :cycle_id, last_seen_at = :now
FROM seen WHERE s.listing_id = seen.listing_id AND s.last_cycle <> :cycle_id AND s.last_seen_at <= :now;

-- name: add_sightings!
-- The first sighting of new listings.
INSERT INTO listing_sightings (listing_id, source_id, last_seen_at, last_cycle)
SELECT id, source_id, :now, :cycle_id FROM incoming_listings WHERE id = ANY(:ids);

-- name: add_first_history!
-- The first history row of listings just inserted.
INSERT INTO listing_history (listing_id, observed_at, cycle_id, price, currency, price_kind, mileage, mileage_unit, status, archive_id)
SELECT id, :now, :cycle_id, price, currency, price_kind, mileage, mileage_unit, status, archive_id
FROM incoming_listings WHERE id = ANY(:ids);

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

-- name: delete_vehicle!
-- Take away a vehicle whose listings all went to another; the counters tell it as merged.
DELETE FROM vehicles WHERE id = :id;

-- name: unlist_vehicles!
-- Vehicles whose last listing went to another vehicle.
UPDATE vehicles SET listing_count = 0, status = 'delisted', updated_at = :now, updated_cycle = :cycle_id WHERE id = ANY(:ids);

-- name: propose_merges!
-- Propose pairs for merging; a pair already decided on stays decided.
INSERT INTO merge_proposals AS p (vehicle_a, vehicle_b, score, reasons, created_at)
SELECT least(a, b), greatest(a, b), score, reasons::jsonb, :now
FROM unnest((:vehicles_a)::bigint[], (:vehicles_b)::bigint[], (:scores)::real[], (:reasons)::text[]) AS t (a, b, score, reasons)
WHERE a <> b
ON CONFLICT (vehicle_a, vehicle_b) DO UPDATE SET score = excluded.score, reasons = excluded.reasons
WHERE p.status = 'open';

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

-- name: vehicle_snapshots
-- Vehicles whole, as JSON, each with the ids of its listings.
SELECT v.id, to_jsonb(v), ARRAY(SELECT r.id FROM listing_records r WHERE r.vehicle_id = v.id ORDER BY r.id)
FROM vehicles v WHERE v.id = ANY(:ids);

-- name: move_listings!
-- Put listings of one vehicle under another.
UPDATE listing_records SET vehicle_id = :target WHERE vehicle_id = :origin AND id = ANY(:ids);

-- name: write_vehicle!
-- Set a vehicle back to a snapshot.
UPDATE vehicles v
SET (vin, year, make, model, trim, body_style, engine, fuel_type, transmission, drivetrain, exterior_color,
     interior_color, doors, seats, condition, price, currency, price_kind, mileage, mileage_unit, place, city, region,
     postal_code, country, latitude, longitude, image, title, status, listing_count, completeness, confidence,
     provenance, block_key, block_km, created_at, created_cycle, updated_at, updated_cycle)
  = (o.vin, o.year, o.make, o.model, o.trim, o.body_style, o.engine, o.fuel_type, o.transmission, o.drivetrain,
     o.exterior_color, o.interior_color, o.doors, o.seats, o.condition, o.price, o.currency, o.price_kind, o.mileage,
     o.mileage_unit, o.place, o.city, o.region, o.postal_code, o.country, o.latitude, o.longitude, o.image, o.title,
     o.status, o.listing_count, o.completeness, o.confidence, o.provenance, o.block_key, o.block_km, o.created_at,
     o.created_cycle, o.updated_at, o.updated_cycle)
FROM jsonb_populate_record(NULL::vehicles, (:snapshot)::jsonb) o WHERE v.id = o.id;

-- name: restore_vehicle!
-- Insert a vehicle again as its snapshot says, under its old id; it no longer counts as merged.
WITH back AS (
    INSERT INTO vehicles OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_record(NULL::vehicles, (:snapshot)::jsonb)
    RETURNING created_cycle
)
INSERT INTO counters SELECT 'cycle.vehicles_merged', created_cycle, -1 FROM back;

-- name: record_repair$
-- Remember a merge (or its undoing) with everything needed to undo it; returns its id.
INSERT INTO vehicle_repairs (vehicle_id, field_name, before_value, after_value, kind, reason, evidence, cycle_id, repaired_at)
VALUES (:vehicle_id, 'vehicle', (:before)::jsonb, (:after)::jsonb, :kind, :reason, (:evidence)::jsonb, :cycle_id, :now)
RETURNING id;

-- name: merge_record
-- A recorded merge, unless it was undone since.
SELECT m.vehicle_id, m.before_value, m.after_value FROM vehicle_repairs m
WHERE m.id = :id AND m.kind = 'merge'
  AND NOT EXISTS (SELECT FROM vehicle_repairs u
                  WHERE u.vehicle_id = m.vehicle_id AND u.kind = 'unmerge' AND (u.evidence ->> 'merge')::bigint = m.id);

-- name: merges_into
-- What every merge into these vehicles found before it, the latest first.
SELECT before_value FROM vehicle_repairs WHERE vehicle_id = ANY(:ids) AND kind = 'merge' ORDER BY id DESC;

-- name: decide_proposal!
-- Close the proposal of a pair, if there is one.
UPDATE merge_proposals SET status = :status, decided_at = :now, decided_by = :decided_by
WHERE vehicle_a = least((:a)::bigint, (:b)::bigint) AND vehicle_b = greatest((:a)::bigint, (:b)::bigint);

-- name: history_of_vehicle
-- Every change of price, mileage or status of a vehicle's listings, in order of time.
SELECT h.listing_id, h.observed_at, h.status, h.price, h.currency, h.mileage, h.mileage_unit
FROM listing_records r JOIN listing_history h ON h.listing_id = r.id
WHERE r.vehicle_id = :vehicle_id
ORDER BY h.observed_at, h.id;
