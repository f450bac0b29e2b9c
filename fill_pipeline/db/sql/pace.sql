-- How fast each source may be asked, whoever asks it. One row of source_state a source.

-- name: set_pace!
UPDATE source_state SET delay_ms = :delay_ms, max_concurrency = :max_concurrency, daily_requests = :daily_requests
WHERE source_id = :source_id
  AND (delay_ms, max_concurrency, daily_requests) IS DISTINCT FROM (:delay_ms, :max_concurrency, :daily_requests);

-- name: set_robots_delay!
UPDATE source_state SET robots_delay_ms = :delay_ms WHERE source_id = :source_id AND robots_delay_ms <> :delay_ms;

-- name: reserve_slots
-- Reserve n consecutive slots of a source after every hold and pause; returns when the first begins, how far apart
-- they are, and whether the day's budget holds (a budget that does not is not spent either).
WITH here AS (
    SELECT source_id, pace_ms(source_state, :now) AS pace,
           greatest(next_slot_at, :now, hold_until, CASE WHEN breaker <> 'closed' THEN breaker_until END) AS first_slot,
           CASE WHEN budget_day = (:now)::date THEN budget_used ELSE 0 END AS used
    FROM source_state WHERE source_id = :source_id FOR UPDATE
)
UPDATE source_state st
SET next_slot_at = h.first_slot + :n * h.pace * interval '1 millisecond',
    budget_used = CASE WHEN h.used + :n <= st.daily_requests THEN h.used + :n ELSE h.used END,
    budget_day = (:now)::date
FROM here h WHERE st.source_id = h.source_id
RETURNING h.first_slot, round(h.pace)::int, h.used + :n <= st.daily_requests;

-- name: move_slots
-- New slots for n requests that missed theirs; their place in the day's budget is kept.
WITH here AS (
    SELECT source_id, pace_ms(source_state, :now) AS pace,
           greatest(next_slot_at, :now, hold_until) AS first_slot
    FROM source_state WHERE source_id = :source_id FOR UPDATE
)
UPDATE source_state st
SET next_slot_at = h.first_slot + :n * h.pace * interval '1 millisecond'
FROM here h WHERE st.source_id = h.source_id
RETURNING h.first_slot, round(h.pace)::int, true;

-- name: forget_far_slots
-- Slots are reserved less than a minute and a few paces ahead.
UPDATE source_state SET next_slot_at = :now
WHERE next_slot_at > greatest(:now, hold_until, breaker_until) + (:far)::interval
                     + 10 * pace_ms(source_state, :now) * interval '1 millisecond'
RETURNING source_id;

-- name: hold!
-- The site asked for silence, or its rules cannot be had: nothing of it is fetched before that time.
UPDATE source_state SET hold_until = greatest(hold_until, :until), hold_reason = :reason WHERE source_id = :source_id;

-- name: slow_down!
-- The site throttled us: from now on half as fast. Answers to requests sent together count once.
UPDATE source_state
SET slowdown = least(:most, 2 * slowdown_left(slowdown, slowed_at, :now)),
    slowed_at = :now
WHERE source_id = :source_id
  AND (slowed_at IS NULL OR slowed_at < (:now)::timestamptz - :apart_seconds * interval '1 second');

-- name: note_success!
-- A success closes the breaker.
UPDATE source_state SET breaker = 'closed', breaker_failures = 0, breaker_opened = 0, breaker_until = NULL, last_success_at = :now
WHERE source_id = :source_id
  AND (breaker <> 'closed' OR breaker_failures > 0 OR last_success_at IS NULL OR last_success_at < (:now)::timestamptz - interval '10 seconds');

-- name: note_failures$
-- Failures in a row open the breaker; each opening without a success between doubles the pause, up to an hour. What
-- was sent before it opened and fails afterwards opens it no further; what was sent after its pause opens it anew.
-- Returns how it stands.
UPDATE source_state st
SET breaker_failures = st.breaker_failures + :n,
    breaker = CASE WHEN opens.now THEN 'open' ELSE st.breaker END,
    breaker_opened = CASE WHEN opens.now THEN least(st.breaker_opened + 1, 8) ELSE st.breaker_opened END,
    breaker_until = CASE WHEN opens.now THEN (:now)::timestamptz + least(30 * 2 ^ st.breaker_opened, 3600) * interval '1 second'
                         ELSE st.breaker_until END
FROM (SELECT CASE breaker WHEN 'open' THEN breaker_until <= :now WHEN 'half_open' THEN true
                          ELSE breaker_failures + :n >= :threshold END AS now
      FROM source_state WHERE source_id = :source_id FOR UPDATE) opens
WHERE st.source_id = :source_id
RETURNING st.breaker;

-- name: save_concurrency!
UPDATE source_state SET concurrency = :concurrency, latency_ms = :latency_ms WHERE source_id = :source_id;

-- name: paces
-- How these sources may be asked now.
SELECT source_id, delay_ms, robots_delay_ms, round(pace_ms(source_state, :now))::int,
       max_concurrency, concurrency::float8, latency_ms::float8, breaker, CASE WHEN breaker <> 'closed' THEN breaker_until END,
       CASE WHEN hold_until > :now THEN hold_until END, CASE WHEN hold_until > :now THEN hold_reason END,
       CASE WHEN budget_day = (:now)::date THEN budget_used ELSE 0 END, daily_requests
FROM source_state WHERE source_id = ANY(:source_ids);
