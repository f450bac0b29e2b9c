-- Deal finder jobs, what the oracle knows, and valuations.

-- ── Jobs ──

-- name: reap_jobs!
-- A job whose worker fell silent ended in error; none stays running.
UPDATE deal_finder_jobs
SET status = 'error', finished_at = greatest(started_at, :now), lease_owner = NULL, lease_expires_at = NULL,
    error_message = 'its worker fell silent (lease expired at ' || lease_expires_at || ')'
WHERE status = 'running' AND (lease_expires_at IS NULL OR lease_expires_at <= :now);

-- name: lock_jobs
-- One process at a time decides which job starts; held until the transaction ends.
SELECT pg_advisory_xact_lock(1147498867);

-- name: start_job
-- Start the oldest pending job (those marked run_now first), or a new one; nothing while another one runs.
WITH busy AS (
    SELECT FROM deal_finder_jobs WHERE status = 'running'
), waiting AS (
    SELECT id FROM deal_finder_jobs WHERE status = 'pending' AND NOT EXISTS (SELECT FROM busy)
    ORDER BY run_now DESC, created_at, id LIMIT 1
), taken AS (
    UPDATE deal_finder_jobs j
    SET status = 'running', started_at = greatest(j.created_at, :now), cycle_id = :cycle_id, run_id = :run_id,
        lease_owner = :owner, lease_expires_at = :lease_until
    FROM waiting w WHERE j.id = w.id RETURNING j.id
), made AS (
    INSERT INTO deal_finder_jobs (status, created_at, started_at, cycle_id, run_id, lease_owner, lease_expires_at)
    SELECT 'running', :now, :now, :cycle_id, :run_id, :owner, :lease_until
    WHERE NOT EXISTS (SELECT FROM busy) AND NOT EXISTS (SELECT FROM waiting)
    RETURNING id
)
SELECT id FROM taken UNION ALL SELECT id FROM made;

-- name: extend_job!
-- The worker is alive.
UPDATE deal_finder_jobs SET lease_expires_at = :lease_until WHERE id = :job_id AND status = 'running' AND lease_owner = :owner;

-- name: finish_job!
UPDATE deal_finder_jobs
SET status = CASE WHEN :error::text IS NULL THEN 'finished' ELSE 'error' END, result = :result::jsonb,
    error_message = :error, finished_at = greatest(started_at, :now), lease_owner = NULL, lease_expires_at = NULL
WHERE id = :job_id AND status = 'running' AND lease_owner = :owner;

-- name: finished_jobs
-- Finished jobs (the one named, or the latest), each with when the cycle it worked for began.
SELECT j.id, coalesce(c.started_at, j.started_at)
FROM deal_finder_jobs j LEFT JOIN fill_cycles c ON c.cycle_id = j.cycle_id
WHERE j.status = 'finished' AND (:job_id::uuid IS NULL OR j.id = :job_id)
ORDER BY j.finished_at DESC, j.started_at DESC LIMIT 1;

-- name: cycles_since
-- The cycles begun at or after this time.
SELECT cycle_id FROM fill_cycles WHERE started_at >= :since ORDER BY started_at;

-- name: next_pending$
-- The job that somebody asked for and that comes next.
SELECT id FROM deal_finder_jobs WHERE status = 'pending' ORDER BY run_now DESC, created_at, id LIMIT 1;

-- name: oracle_calls_since$
-- Calls to the oracle since this time, for its budget.
SELECT coalesce(sum((result ->> 'oracle_calls')::bigint), 0) FROM deal_finder_jobs WHERE started_at >= :since;

-- ── What the market knows. Texts become numbers here, so that a million rows are a few megabytes. ──

-- name: market_vehicles
-- Vehicles with what a comparable needs, each column as one string of fixed-width binary values: a million
-- rows come over in a second. usable says whether one may be compared with. Of the cycles given, or of
-- all (null). Gone ones only if gone since :since; gone_day is 0 while for sale, days count from 1970.
SELECT count(*), string_agg(int8send(id), ''), string_agg(int8send(segment), ''), string_agg(int4send(currency), ''),
       string_agg(float4send(year), ''), string_agg(float4send(km), ''), string_agg(float4send(log_price), ''),
       string_agg(int4send(trim), ''), string_agg(int4send(engine), ''), string_agg(int4send(drivetrain), ''),
       string_agg(int4send(condition), ''), string_agg(int4send(body_style), ''), string_agg(int4send(fuel_type), ''),
       string_agg(int4send(transmission), ''), string_agg(int4send(gone_day), ''), string_agg(int4send(created_day), ''),
       string_agg(boolsend(usable), '')
FROM (
    SELECT id, hashtextextended(lower(coalesce(make, '') || '|' || coalesce(model, '') || '|' || coalesce(currency, '')), 0) AS segment,
           hashtext(coalesce(currency, '')) AS currency, coalesce(year, 0)::float4 AS year,
           coalesce(mileage * CASE WHEN mileage_unit = 'mi' THEN 1.609344 ELSE 1 END, 0)::float4 AS km,
           ln(greatest(coalesce(price, 1), 1)::float8)::float4 AS log_price,
           coalesce(hashtext(lower(trim)), 0) AS trim, coalesce(hashtext(lower(engine)), 0) AS engine,
           coalesce(hashtext(drivetrain), 0) AS drivetrain, coalesce(hashtext(condition), 0) AS condition,
           coalesce(hashtext(body_style), 0) AS body_style, coalesce(hashtext(fuel_type), 0) AS fuel_type,
           coalesce(hashtext(transmission), 0) AS transmission,
           CASE WHEN status = 'active' THEN 0 ELSE (extract(epoch FROM updated_at) / 86400)::int4 END AS gone_day,
           (extract(epoch FROM created_at) / 86400)::int4 AS created_day,
           (price > 0 AND currency IS NOT NULL AND price_kind IN ('asking', 'sold') AND year IS NOT NULL
            AND make IS NOT NULL AND model IS NOT NULL AND (mileage IS NOT NULL OR condition = 'new')
            AND (status = 'active' OR updated_at > :since)) IS TRUE AS usable
    FROM vehicles WHERE :cycles::text[] IS NULL OR updated_cycle = ANY(:cycles::text[])
) v;

-- ── Listings to value ──

-- name: changed_listings
-- Listings of these cycles (null: all active ones) that are for sale and have no current valuation of
-- what they say now, with the segment they belong to, so that a segment's listings come together.
SELECT r.id, hashtextextended(lower(r.make || '|' || r.model || '|' || r.currency), 0) AS segment
FROM listing_records r
LEFT JOIN arbitrage_valuations v ON v.listing_id = r.id AND v.current
WHERE (:cycles::text[] IS NULL OR r.changed_cycle = ANY(:cycles::text[]))
  AND r.status = 'active' AND r.price > 0 AND r.currency IS NOT NULL AND r.price_kind IN ('asking', 'bid')
  AND r.make IS NOT NULL AND r.model IS NOT NULL AND r.year IS NOT NULL
  AND v.valuation_data ->> 'content_hash' IS DISTINCT FROM r.content_hash::text
ORDER BY segment, r.id;

-- name: listings_to_value
-- What a valuation needs to know of these listings, in the order given.
SELECT r.id, r.vehicle_id, hashtextextended(lower(r.make || '|' || r.model || '|' || r.currency), 0),
       hashtext(r.currency), r.source, r.make, r.model, r.year, r.trim,
       r.price, r.currency, r.price_kind, (r.mileage * CASE WHEN r.mileage_unit = 'mi' THEN 1.609344 ELSE 1 END)::float8,
       ARRAY[coalesce(hashtext(lower(r.trim)), 0), coalesce(hashtext(lower(r.engine)), 0), coalesce(hashtext(r.drivetrain), 0),
             coalesce(hashtext(r.condition), 0), coalesce(hashtext(r.body_style), 0), coalesce(hashtext(r.fuel_type), 0),
             coalesce(hashtext(r.transmission), 0)],
       r.condition, r.body_style, r.vin, r.vin_status, r.title, left(r.description, 4000), cardinality(r.images), r.seller_type,
       r.seller_phone IS NOT NULL, r.latitude, r.longitude, r.posted_at, r.first_seen_at, r.content_hash::text,
       h.drops, h.dropped, s.kind
FROM unnest((:ids)::bigint[]) WITH ORDINALITY AS t (id, place)
JOIN listing_records r ON r.id = t.id
JOIN scrape_sources s ON s.id = r.source_id
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE price < before) AS drops, coalesce(sum(before - price) FILTER (WHERE price < before), 0)::bigint AS dropped
    FROM (SELECT price, lag(price) OVER (ORDER BY observed_at, id) AS before FROM listing_history
          WHERE listing_id = r.id AND price IS NOT NULL AND currency = r.currency) x
) h ON true
ORDER BY t.place;

-- ── Valuations ──

-- name: create_incoming#
CREATE TEMP TABLE IF NOT EXISTS incoming_valuations (listing_id bigint, valuation_data jsonb) ON COMMIT DELETE ROWS;

-- name: supersede!
-- The current valuations of the listings about to be valued become history.
UPDATE arbitrage_valuations v SET current = false, closed_at = :now, close_reason = 'revalued'
FROM incoming_valuations i WHERE v.listing_id = i.listing_id AND v.current;

-- name: insert_valuations!
INSERT INTO arbitrage_valuations (listing_id, job_id, valuation_data, valued_at)
SELECT listing_id, :job_id, valuation_data, :now FROM incoming_valuations;

-- name: close_valuations!
-- These listings can no longer be valued: their current valuations become history.
UPDATE arbitrage_valuations SET current = false, closed_at = :now, close_reason = :reason
WHERE listing_id = ANY(:ids) AND current;

-- name: close_gone!
-- Listings that these cycles (null: any) saw go, or that name no price any more, are no deals.
UPDATE arbitrage_valuations v
SET current = false, closed_at = :now, close_reason = CASE WHEN r.status <> 'active' THEN r.status ELSE 'no price' END
FROM listing_records r
WHERE v.listing_id = r.id AND v.current AND (:cycles::text[] IS NULL OR r.changed_cycle = ANY(:cycles::text[]))
  AND (r.status <> 'active' OR r.price IS NULL OR r.price_kind NOT IN ('asking', 'bid'));

-- ── Reading ──

-- name: top_deals
-- The most profitable current valuations of fixed prices, of which one may be reasonably sure. Walks the
-- index on profit; what is filtered out on the way is little.
SELECT v.listing_id, r.source, r.url, r.title, r.year, r.make, r.model, v.valuation_data, v.valued_at
FROM arbitrage_valuations v JOIN listing_records r ON r.id = v.listing_id
WHERE v.current AND v.projected_profit > 0
  AND v.valuation_data ->> 'price_kind' = 'asking'
  AND (v.valuation_data ->> 'oracle_confidence')::numeric >= :min_confidence
  AND (v.valuation_data -> 'signals' ->> 'scam_probability')::numeric <= :max_scam
ORDER BY v.projected_profit DESC NULLS LAST LIMIT :n;

-- name: valuations_of
-- Every valuation a listing had, the latest first.
SELECT valuation_data, valued_at, current, closed_at, close_reason, job_id
FROM arbitrage_valuations WHERE listing_id = :listing_id ORDER BY valued_at DESC, current DESC;

-- name: listing_facts
SELECT id, source, url, title, year, make, model, trim, price, currency, mileage, mileage_unit, status
FROM listing_records WHERE id = :listing_id;

-- name: comparables_of
-- The vehicles a value was compared with, in the order given.
SELECT v.id, v.year, v.make, v.model, v.trim, v.price, v.currency, v.mileage, v.mileage_unit, v.status
FROM unnest((:ids)::bigint[]) WITH ORDINALITY AS t (id, place) JOIN vehicles v ON v.id = t.id ORDER BY t.place;
