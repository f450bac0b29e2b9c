-- Incidents, and the alerts written with every change of one that people are told of.

-- name: lock!
-- One process at a time judges and writes what it found; held until the transaction ends.
SELECT pg_advisory_xact_lock(7301003);

-- name: open_incident$
-- Something is wrong. Told again it is brought up to date, and counts again only on another occasion.
INSERT INTO incidents AS i (kind, subject, severity, message, details, opened_at, updated_at, opened_cycle, occasion)
VALUES (:kind, :subject, :severity, :message, :details::jsonb, :now, :now, :cycle_id, :occasion)
ON CONFLICT (kind, subject) WHERE closed_at IS NULL
DO UPDATE SET severity = greatest(i.severity, excluded.severity), message = excluded.message, details = excluded.details,
    updated_at = greatest(i.updated_at, excluded.updated_at), occasion = excluded.occasion,
    occurrences = i.occurrences + (i.occasion IS DISTINCT FROM excluded.occasion)::int
RETURNING id;

-- name: tell!
-- Write an alert if there is something to tell of an open incident: it is new, it got worse, or nobody was told for
-- remind_hours (twice as long after each reminder, eight times at most). Only one of several at once does. One that was
-- dismissed is told of again when it gets worse, or is still there after dismissed_hours; it then is dismissed no more.
WITH before AS (
    SELECT id, notified_at, notified_severity FROM incidents
    WHERE id = :id AND closed_at IS NULL
      AND (notified_severity < severity
           OR CASE WHEN dismissed_at IS NULL
                   THEN notified_at IS NULL
                        OR notified_at <= (:now)::timestamptz - :remind_hours * 2 ^ least(reminders, 3) * interval '1 hour'
                   ELSE dismissed_at <= (:now)::timestamptz - :dismissed_hours * interval '1 hour' END)
    FOR UPDATE
), told AS (
    UPDATE incidents i
    SET notified_at = :now, notified_severity = i.severity, dismissed_at = NULL, dismissed_by = NULL, dismissed_why = NULL,
        reminders = CASE WHEN b.notified_at IS NULL OR b.notified_severity < i.severity THEN 0 ELSE i.reminders + 1 END
    FROM before b WHERE i.id = b.id RETURNING i.*
)
INSERT INTO alerts (incident_id, event, incident, created_at)
SELECT t.id, CASE WHEN b.notified_at IS NULL THEN 'opened' WHEN b.notified_severity < t.severity THEN 'worse' ELSE 'reminder' END,
       to_jsonb(t), :now
FROM told t JOIN before b ON b.id = t.id;

-- name: dismiss
-- A person takes it off the list of what is wrong; everybody is told, and of its end nobody.
WITH dismissed AS (
    UPDATE incidents SET dismissed_at = :now, dismissed_by = :who, dismissed_why = :why, notified_severity = severity,
        notified_at = coalesce(notified_at, :now)
    WHERE id = :id AND closed_at IS NULL AND dismissed_at IS NULL RETURNING *
), told AS (
    INSERT INTO alerts (incident_id, event, incident, created_at) SELECT id, 'dismissed', to_jsonb(d), :now FROM dismissed d
)
SELECT id, kind, subject, severity, message, details, opened_at, updated_at, closed_at, opened_cycle, occurrences, notified_at, occasion,
       dismissed_at, dismissed_by, dismissed_why
FROM dismissed;

-- name: close_incident!
-- It is right again; those who were told that it was wrong are told that too, unless it was dismissed.
WITH closed AS (
    UPDATE incidents SET details = details || :last::jsonb, closed_at = greatest(:now, opened_at), updated_at = greatest(:now, updated_at)
    WHERE kind = :kind AND subject = :subject AND closed_at IS NULL RETURNING *
), told AS (
    INSERT INTO alerts (incident_id, event, incident, created_at)
    SELECT id, 'resolved', to_jsonb(c), :now FROM closed c WHERE notified_at IS NOT NULL AND dismissed_at IS NULL
)
SELECT id FROM closed;

-- name: open_incidents
-- Not yet over, those dismissed last, the newest first; through the index of open ones.
SELECT id, kind, subject, severity, message, details, opened_at, updated_at, closed_at, opened_cycle, occurrences, notified_at, occasion,
       dismissed_at, dismissed_by, dismissed_why
FROM incidents WHERE closed_at IS NULL ORDER BY dismissed_at IS NOT NULL, opened_at DESC, id DESC LIMIT :n;

-- name: latest_incidents
-- The last ones, over or not, the newest first.
SELECT id, kind, subject, severity, message, details, opened_at, updated_at, closed_at, opened_cycle, occurrences, notified_at, occasion,
       dismissed_at, dismissed_by, dismissed_why
FROM incidents ORDER BY id DESC LIMIT :n;

-- name: incident
SELECT id, kind, subject, severity, message, details, opened_at, updated_at, closed_at, opened_cycle, occurrences, notified_at, occasion,
       dismissed_at, dismissed_by, dismissed_why
FROM incidents WHERE id = :id;

-- name: open_subjects
SELECT subject FROM incidents WHERE kind = :kind AND closed_at IS NULL;
