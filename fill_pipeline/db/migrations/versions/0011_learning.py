"""What use teaches is kept: how levers did, how often a source changes, how long it fails, what its loss was worth."""

from alembic import op

revision = "0011"
down_revision = "0010"

_STATEMENTS = (
    "CREATE INDEX cycle_actions_lever ON cycle_actions ((parameters ->> 'lever'), id DESC) WHERE parameters ? 'lever'",
    # harvest_hours: how long a source may be left alone, learned from how much its harvests found changed.
    "ALTER TABLE source_state ADD COLUMN harvest_hours real, ADD COLUMN failing_since timestamptz",
    # A source that was given up. Worth is vehicles a day over its healthy time, times their quality (0 to 1);
    # covered is how much of it sources found since have brought.
    """
    CREATE TABLE source_losses (
        source_id        uuid PRIMARY KEY REFERENCES scrape_sources (id) ON DELETE CASCADE,
        cycle_id         text NOT NULL,
        retired_at       timestamptz NOT NULL,
        reason           text NOT NULL,
        healthy_days     double precision NOT NULL,
        vehicles_per_day double precision NOT NULL,
        quality          double precision NOT NULL,
        worth            double precision NOT NULL,
        covered          double precision NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX source_losses_retired_at ON source_losses (retired_at DESC)",
    # How much longer than usual an advertisement may wait for its next visit. Young ones are sold and repriced most,
    # one whose price has just moved moves again, and an expensive one is worth a look more.
    """
    CREATE FUNCTION revisit_factor(first_seen timestamptz, changed timestamptz, price bigint, now timestamptz)
    RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT CASE WHEN now - first_seen < interval '3 days' THEN 1.0
                    WHEN now - first_seen < interval '14 days' THEN 2.0
                    ELSE 4.0 END
             * CASE WHEN changed > first_seen AND now - changed < interval '2 days' THEN 0.5 ELSE 1.0 END
             * CASE WHEN price >= 50000 THEN 0.75 WHEN price < 2000 THEN 1.5 ELSE 1.0 END
    $$
    """,
)


def upgrade() -> None:
    """Add the columns, the table and the function; nothing is learned yet."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
