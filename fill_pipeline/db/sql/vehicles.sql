-- Vehicles, what may be the same, merges. Every statement costs what its own rows cost; listings.sql says in
-- which order locks are taken.

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

-- name: create_incoming#
-- Where a batch's vehicles are copied to before they are merged; emptied by every commit.
CREATE TEMP TABLE IF NOT EXISTS incoming_vehicles (LIKE vehicles)
WITH (toast_tuple_target = 8160) ON COMMIT DELETE ROWS;

-- name: clear_incoming!
DELETE FROM incoming_vehicles;

-- name: insert_vehicles
-- Insert the vehicles copied to incoming_vehicles, in VIN order, so that two writers never wait for
-- each other in a circle. A VIN that another writer was first to insert is missing in the answer.
INSERT INTO vehicles OVERRIDING SYSTEM VALUE
SELECT * FROM incoming_vehicles ORDER BY vin COLLATE "C", id
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
    provenance = i.provenance, block_key = i.block_key, block_km = i.block_km, updated_at = i.updated_at,
    updated_cycle = i.updated_cycle
FROM incoming_vehicles i WHERE v.id = i.id;

-- name: claim_vin!
-- Give a vehicle without a VIN the one that a listing of it now states.
UPDATE vehicles SET vin = :vin WHERE id = :id AND vin IS DISTINCT FROM :vin;

-- name: delete_vehicle!
-- Take away a vehicle whose listings all went to another; the counters tell it as merged.
DELETE FROM vehicles WHERE id = :id;

-- name: unlist_vehicles!
-- Vehicles whose last listing went to another vehicle.
UPDATE vehicles SET listing_count = 0, status = 'delisted', updated_at = :now, updated_cycle = :cycle_id WHERE id = ANY(:ids);

-- name: vehicle_snapshots
-- Vehicles whole, as JSON, each with the ids of its listings.
SELECT v.id, to_jsonb(v), ARRAY(SELECT r.id FROM listing_records r WHERE r.vehicle_id = v.id ORDER BY r.id)
FROM vehicles v WHERE v.id = ANY(:ids);

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

-- name: propose_merges!
-- Propose pairs for merging; a pair already decided on stays decided.
INSERT INTO merge_proposals AS p (vehicle_a, vehicle_b, score, reasons, created_at)
SELECT least(a, b), greatest(a, b), score, reasons::jsonb, :now
FROM unnest((:vehicles_a)::bigint[], (:vehicles_b)::bigint[], (:scores)::real[], (:reasons)::text[]) AS t (a, b, score, reasons)
WHERE a <> b
ON CONFLICT (vehicle_a, vehicle_b) DO UPDATE SET score = excluded.score, reasons = excluded.reasons
WHERE p.status = 'open';

-- name: decide_proposal!
-- Close the proposal of a pair, if there is one.
UPDATE merge_proposals SET status = :status, decided_at = :now, decided_by = :decided_by
WHERE vehicle_a = least((:a)::bigint, (:b)::bigint) AND vehicle_b = greatest((:a)::bigint, (:b)::bigint);

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
