-- Listings that a quality gate keeps from becoming vehicles. Every statement costs what its own rows cost.

-- name: hold_listings$
-- Keep these listings back; returns how many of them this cycle had not held yet. One held by an earlier cycle moves.
WITH held AS (
    INSERT INTO held_listings AS h (listing_id, source_id, cycle_id, expectation, judged_at)
    SELECT id, :source_id, :cycle_id, :expectation, :now FROM unnest((:ids)::bigint[]) AS t (id) ORDER BY id
    ON CONFLICT (listing_id) DO UPDATE
    SET cycle_id = excluded.cycle_id, expectation = excluded.expectation, judged_at = excluded.judged_at
    WHERE h.cycle_id <> excluded.cycle_id
    RETURNING 1)
SELECT count(*) FROM held;

-- name: add_held_batch!
INSERT INTO held_batches AS b (cycle_id, source_id, expectation, field_name, reason, listings, checked, unexpected, held_at)
VALUES (:cycle_id, :source_id, :expectation, :field_name, :reason, :listings, :checked, :unexpected, :now)
ON CONFLICT (cycle_id, source_id, expectation) DO UPDATE
SET reason = excluded.reason, batches = b.batches + 1, listings = b.listings + excluded.listings,
    checked = b.checked + excluded.checked, unexpected = b.unexpected + excluded.unexpected;

-- name: holding_sources
-- Those of these sources that have listings held.
SELECT source_id FROM unnest((:source_ids)::uuid[]) AS t (source_id)
WHERE EXISTS (SELECT FROM held_listings h WHERE h.source_id = t.source_id);

-- name: free_advertisements
-- Let go those of these advertisements that are held; returns their listing ids.
WITH freed AS (
    DELETE FROM held_listings h
    USING listing_records r, unnest((:source_ids)::uuid[], (:remote_ids)::text[]) AS t (source_id, remote_id)
    WHERE h.source_id = ANY(:source_ids) AND r.id = h.listing_id
      AND r.source_id = t.source_id AND r.remote_id = t.remote_id
    RETURNING h.listing_id, h.cycle_id, h.source_id, h.expectation
), sums AS (
    SELECT cycle_id, source_id, expectation, count(*) AS n FROM freed GROUP BY 1, 2, 3
), counted AS (
    UPDATE held_batches b SET released = b.released + s.n, released_at = :now FROM sums s
    WHERE b.cycle_id = s.cycle_id AND b.source_id = s.source_id AND b.expectation = s.expectation
)
SELECT listing_id FROM freed;

-- name: free_listings!
-- Let these listings go.
WITH freed AS (
    DELETE FROM held_listings WHERE listing_id = ANY(:ids) RETURNING cycle_id, source_id, expectation
), sums AS (
    SELECT cycle_id, source_id, expectation, count(*) AS n FROM freed GROUP BY 1, 2, 3
)
UPDATE held_batches b SET released = b.released + s.n, released_at = :now FROM sums s
WHERE b.cycle_id = s.cycle_id AND b.source_id = s.source_id AND b.expectation = s.expectation;

-- name: lock_held
-- Which of these listings are still held, locked; those that another writer lets go just now are left out.
SELECT listing_id FROM held_listings WHERE listing_id = ANY(:ids) ORDER BY listing_id FOR UPDATE SKIP LOCKED;

-- name: judged_again!
UPDATE held_listings SET judged_at = :now WHERE listing_id = ANY(:ids);

-- name: waiting
-- Each source's held listings not judged since, the longest waiting first; and whether the source is sound in this
-- cycle: it gave at least so many listings, none of which was held back.
SELECT s.id, h.ids, coalesce(c.quality_count, 0) >= :least
       AND NOT EXISTS (SELECT FROM held_batches b WHERE b.cycle_id = :cycle_id AND b.source_id = s.id) AS sound
FROM scrape_sources s
CROSS JOIN LATERAL (
    SELECT array_agg(w.listing_id) AS ids FROM (
        SELECT listing_id FROM held_listings WHERE source_id = s.id AND judged_at <= :now ORDER BY judged_at LIMIT :most) w
) h
LEFT JOIN source_cycle_stats c ON c.cycle_id = :cycle_id AND c.source_id = s.id
WHERE h.ids IS NOT NULL ORDER BY s.slug;

-- name: held_of_cycle
SELECT b.source_id, s.slug, b.expectation, b.field_name, b.reason, b.batches, b.listings, b.checked, b.unexpected, b.released
FROM held_batches b JOIN scrape_sources s ON s.id = b.source_id WHERE b.cycle_id = :cycle_id ORDER BY s.slug, b.expectation;
