-- The outbox: alerts as incidents.sql writes them, and their way through each channel.

-- name: address!
-- Give each new alert a delivery for every channel.
WITH new AS (
    UPDATE alerts SET addressed_at = :now
    WHERE id IN (SELECT id FROM alerts WHERE addressed_at IS NULL ORDER BY id FOR UPDATE SKIP LOCKED)
    RETURNING id, incident_id
)
INSERT INTO alert_deliveries (alert_id, channel, incident_id, due_at)
SELECT n.id, c.channel, n.incident_id, :now FROM new n CROSS JOIN unnest((:channels)::text[]) AS c (channel)
ON CONFLICT DO NOTHING;

-- name: claim
-- Take the oldest alert due in a channel; if it is not heard of again by lease_until, it is due anew. An alert waits
-- for the earlier ones of its incident, so that nothing is resolved before it was opened.
WITH chosen AS (
    SELECT d.alert_id, d.channel FROM alert_deliveries d
    WHERE d.channel = :channel AND d.status = 'waiting' AND d.due_at <= :now AND NOT EXISTS (
        SELECT FROM alert_deliveries e
        WHERE e.channel = d.channel AND e.incident_id = d.incident_id AND e.status = 'waiting' AND e.alert_id < d.alert_id)
    ORDER BY d.alert_id LIMIT 1 FOR UPDATE OF d SKIP LOCKED
)
UPDATE alert_deliveries d SET attempts = d.attempts + 1, due_at = :lease_until
FROM chosen c JOIN alerts a ON a.id = c.alert_id
WHERE d.alert_id = c.alert_id AND d.channel = c.channel AND d.status = 'waiting' AND d.due_at <= :now
RETURNING a.id, a.incident_id, a.event, a.incident, a.created_at, d.attempts;

-- name: sent!
UPDATE alert_deliveries SET status = 'sent', sent_at = :now, error = NULL
WHERE alert_id = :alert_id AND channel = :channel AND status = 'waiting' AND attempts = :attempts;

-- name: failed!
UPDATE alert_deliveries SET status = :status, due_at = :due_at, error = :error
WHERE alert_id = :alert_id AND channel = :channel AND status = 'waiting' AND attempts = :attempts;

-- name: undelivered
-- By channel, what waits, since when the oldest, and the last error.
SELECT d.channel, count(*)::int, min(a.created_at), (array_agg(d.error ORDER BY d.attempts DESC, d.alert_id))[1]
FROM alert_deliveries d JOIN alerts a ON a.id = d.alert_id WHERE d.status = 'waiting' GROUP BY d.channel ORDER BY d.channel;
