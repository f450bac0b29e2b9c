"""The language model's budget by cycle, its answers, and the score of each prompt."""

from alembic import op

revision = "0004"
down_revision = "0003"

_STATEMENTS = (
    """
    CREATE TABLE model_cycles (
        cycle_id          text PRIMARY KEY,
        requests          integer NOT NULL DEFAULT 0,
        tokens            bigint NOT NULL DEFAULT 0,
        failures_in_a_row integer NOT NULL DEFAULT 0,
        counts            jsonb NOT NULL DEFAULT '{}'
    )
    """,
    # question is the SHA-256 of model, prompt and page text.
    """
    CREATE TABLE model_answers (
        question bytea PRIMARY KEY,
        content  text NOT NULL,
        asked_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX model_answers_asked ON model_answers (asked_at)",
    """
    CREATE TABLE model_prompts (
        model    text NOT NULL,
        prompt   text NOT NULL,
        answered integer NOT NULL DEFAULT 0,
        filled   integer NOT NULL DEFAULT 0,
        refused  integer NOT NULL DEFAULT 0,
        compared integer NOT NULL DEFAULT 0,
        agreed   integer NOT NULL DEFAULT 0,
        PRIMARY KEY (model, prompt)
    )
    """,
)


def upgrade() -> None:
    """Create the three tables."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
