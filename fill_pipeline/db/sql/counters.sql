-- Totals as sums of deltas (see schema.sql): exact at every commit, read without touching what they count.

-- name: totals
SELECT metric, sum(n)::bigint FROM counters WHERE metric = ANY(:metrics) GROUP BY metric;

-- name: by_scope
SELECT scope, sum(n)::bigint FROM counters WHERE metric = :metric GROUP BY scope HAVING sum(n) <> 0;

-- name: of_scope
SELECT metric, sum(n)::bigint FROM counters WHERE metric = ANY(:metrics) AND scope = :scope GROUP BY metric;

-- name: delta_count$
SELECT count(*) FROM (SELECT FROM counters WHERE NOT folded LIMIT 100001) c;

-- name: fold!
-- Add the deltas to their sums; one folder at a time, nobody waits.
WITH gone AS (
    DELETE FROM counters WHERE NOT folded AND (SELECT pg_try_advisory_xact_lock(7301002)) RETURNING metric, scope, n
)
INSERT INTO counters AS c SELECT metric, scope, sum(n), true FROM gone GROUP BY 1, 2
ON CONFLICT (metric, scope) WHERE folded DO UPDATE SET n = c.n + excluded.n;
