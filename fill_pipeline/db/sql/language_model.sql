-- What the language model was asked and what came of it: the budget of a cycle, answers, scores of the prompts.

-- name: reserve$
-- One question's share of the cycle's budget, taken by one statement so that no two workers spend the same.
INSERT INTO model_cycles AS m (cycle_id, requests, tokens)
SELECT :cycle_id, 1, :tokens WHERE :max_requests >= 1 AND :tokens <= :max_tokens
ON CONFLICT (cycle_id) DO UPDATE SET requests = m.requests + 1, tokens = m.tokens + :tokens
WHERE m.requests < :max_requests AND m.tokens + :tokens <= :max_tokens AND m.failures_in_a_row < :most_failures
RETURNING requests;

-- name: note!
-- Add counts to a cycle's, and what a finished question cost more or less than was reserved. A question that
-- failed lengthens the run of failures, one that was answered ends it, and no question leaves it as it is.
INSERT INTO model_cycles AS m (cycle_id, counts) VALUES (:cycle_id, :counts::jsonb)
ON CONFLICT (cycle_id) DO UPDATE
SET tokens = greatest(0, m.tokens + :tokens),
    failures_in_a_row = CASE WHEN :failed::boolean THEN m.failures_in_a_row + 1
                             WHEN NOT :failed::boolean THEN 0 ELSE m.failures_in_a_row END,
    counts = (SELECT coalesce(jsonb_object_agg(k, n), '{}') FROM (
        SELECT key AS k, sum(value::bigint) AS n
        FROM (SELECT * FROM jsonb_each_text(m.counts) UNION ALL SELECT * FROM jsonb_each_text(excluded.counts)) b
        GROUP BY key) f);

-- name: usage^
SELECT requests, tokens, failures_in_a_row, counts FROM model_cycles WHERE cycle_id = :cycle_id;

-- name: answer$
SELECT content FROM model_answers WHERE question = :question;

-- name: keep_answer!
-- Keep an answer, and let a few go that are older than is of use.
WITH old AS (
    DELETE FROM model_answers WHERE question IN (
        SELECT question FROM model_answers WHERE asked_at < :oldest ORDER BY asked_at LIMIT 20 FOR UPDATE SKIP LOCKED)
)
INSERT INTO model_answers (question, content, asked_at) VALUES (:question, :content, :now)
ON CONFLICT (question) DO UPDATE SET content = excluded.content, asked_at = excluded.asked_at;

-- name: add_score!
INSERT INTO model_prompts AS p (prompt, model, answered, filled, refused, compared, agreed)
VALUES (:prompt, :model, 1, :filled, :refused, :compared, :agreed)
ON CONFLICT (model, prompt) DO UPDATE
SET answered = p.answered + 1, filled = p.filled + excluded.filled, refused = p.refused + excluded.refused,
    compared = p.compared + excluded.compared, agreed = p.agreed + excluded.agreed;

-- name: scores
SELECT prompt, answered, filled, refused, compared, agreed FROM model_prompts WHERE model = :model ORDER BY prompt;
