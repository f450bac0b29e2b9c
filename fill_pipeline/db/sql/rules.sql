-- Rules learned for single sources. What they are learned and judged from is read through indexes, so many rows at most.

-- name: to_learn
-- Sources that gave something in this cycle and had no rules looked for lately, those waiting longest first; of given
-- accuracy only those with values that contradict their VINs more often, or of which many were set aside.
SELECT c.source_id FROM source_cycle_stats c JOIN source_state st ON st.source_id = c.source_id
WHERE c.cycle_id = :cycle_id AND c.found > 0 AND (st.learned_at IS NULL OR st.learned_at < :before)
  AND (:accuracy::float8 IS NULL OR EXISTS (
      SELECT FROM field_tallies t WHERE t.cycle_id = c.cycle_id AND t.source_id = c.source_id
         AND ((t.compared >= 20 AND t.agreed < :accuracy * t.compared)
              OR (t.knowable >= 20 AND t.quarantined > 0.02 * t.knowable))))
ORDER BY st.learned_at NULLS FIRST, c.source_id LIMIT :n;

-- name: note_learned!
UPDATE source_state SET learned_at = :now WHERE source_id = :source_id;

-- name: recent_values
-- What a source's listings say that changed in its latest cycles, through the index of those cycles, at most so many.
WITH latest AS (
    SELECT cycle_id, last_at FROM source_cycle_stats WHERE source_id = :source_id ORDER BY last_at DESC LIMIT 84
)
SELECT r.url, r.remote_id, r.postal_code, r.year, r.price, r.mileage
FROM latest l CROSS JOIN LATERAL (
    SELECT url, remote_id, postal_code, year, price, mileage FROM listing_records
    WHERE changed_cycle = l.cycle_id AND source_id = :source_id LIMIT :n) r
LIMIT :n;

-- name: stored_values
-- How listings of a source stand: what they say, with how much confidence it was read, and from which page.
SELECT r.remote_id, r.archive_id, r.provenance, to_jsonb(r) - '{raw,raw_payload,provenance,quarantine,images,description}'::text[]
FROM listing_records r WHERE r.source_id = :source_id AND r.remote_id = ANY(:remote_ids);

-- name: stated_elsewhere
-- What other sources' listings say of the vehicles with these VINs, a few of each; through the vehicles' index.
SELECT v.vin, to_jsonb(o) - '{raw,raw_payload,provenance,quarantine,images,description}'::text[]
FROM vehicles v CROSS JOIN LATERAL (
    SELECT * FROM (SELECT * FROM listing_records r WHERE r.vehicle_id = v.id LIMIT 20) r
    WHERE r.source_id <> :but AND r.vin = v.vin LIMIT 5) o
WHERE v.vin = ANY(:vins);

-- name: add_rule!
-- Of proposals that were not proven only the last one is kept.
WITH before AS (
    DELETE FROM learned_rules
    WHERE source_id = :source_id AND rule = :rule AND field_name = :field_name AND status = 'not_proven'
)
INSERT INTO learned_rules (source_id, rule, field_name, value, status, reason, expectation, proposed_at, judged_at,
    changed_at, changed_cycle)
VALUES (:source_id, :rule, :field_name, :value::jsonb, :status, :reason, :expectation::jsonb, :now, :now, :now, :cycle_id)
ON CONFLICT (source_id, rule, field_name) WHERE status = 'applied' DO UPDATE
SET value = excluded.value, reason = excluded.reason, expectation = excluded.expectation, outcome = '{}',
    proposed_at = excluded.proposed_at, judged_at = excluded.judged_at, changed_at = excluded.changed_at, changed_cycle = excluded.changed_cycle;

-- name: judge_rule!
-- Keep what a rule did since it went live, and how it stands now.
UPDATE learned_rules
SET outcome = :outcome::jsonb, judged_at = :now, status = :status, reason = CASE WHEN :status = status THEN reason ELSE :reason END,
    changed_at = CASE WHEN :status = status THEN changed_at ELSE :now END,
    changed_cycle = CASE WHEN :status = status THEN changed_cycle ELSE :cycle_id END
WHERE id = :id;

-- name: rules_lately
-- How a source's rules stand that are applied or changed since then: of each rule and field the last one.
SELECT DISTINCT ON (rule, field_name) rule, field_name, status FROM learned_rules
WHERE source_id = :source_id AND (status = 'applied' OR changed_at > :since) ORDER BY rule, field_name, changed_at DESC, id DESC;

-- name: rules_at_work
-- The learned rules of sources that gave listings in this cycle: how many of them, the share each rule refused, and the
-- share it is known to refuse (of archived values, before it went live or when it was last judged).
SELECT l.id, l.source_id, l.rule, l.field_name, l.value, l.judged_at, coalesce(h.hits, 0)::float8 / c.quality_count,
       greatest(coalesce((l.expectation ->> 'refused')::float8 / nullif((l.expectation ->> 'values')::float8, 0), 0),
                coalesce((l.outcome ->> 'refused')::float8 / nullif((l.outcome ->> 'values')::float8, 0), 0))
FROM source_cycle_stats c
JOIN learned_rules l ON l.source_id = c.source_id AND l.status = 'applied'
LEFT JOIN LATERAL (
    SELECT sum(hits)::int AS hits FROM rule_hits r
    WHERE r.cycle_id = c.cycle_id AND r.source_id = c.source_id AND r.field_name = l.field_name AND r.rule = l.rule) h ON true
WHERE c.cycle_id = :cycle_id AND c.quality_count >= :least ORDER BY h.hits DESC NULLS LAST, l.id;

-- name: rules_of_cycle
-- The learned rules that went live, were not proven, or were taken back in a cycle.
SELECT s.slug, l.rule, l.field_name, l.value, l.status, l.reason, l.expectation, l.outcome
FROM learned_rules l JOIN scrape_sources s ON s.id = l.source_id
WHERE l.changed_cycle = :cycle_id ORDER BY l.changed_at, l.id LIMIT :n;

-- name: rules_of_source
SELECT s.slug, l.rule, l.field_name, l.value, l.status, l.reason, l.expectation, l.outcome
FROM learned_rules l JOIN scrape_sources s ON s.id = l.source_id
WHERE l.source_id = :source_id ORDER BY l.changed_at DESC, l.id DESC LIMIT :n;
