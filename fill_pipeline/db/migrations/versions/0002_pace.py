"""What a site asks of us outlives the process it was asked of: holds, a slower pace, how much at once."""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    # Until hold_until nothing is fetched; slowdown multiplies the delay and halves every ten minutes after slowed_at.
    """
    ALTER TABLE source_state
        ADD COLUMN hold_until timestamptz,
        ADD COLUMN hold_reason text,
        ADD COLUMN slowdown real NOT NULL DEFAULT 1 CHECK (slowdown >= 1),
        ADD COLUMN slowed_at timestamptz,
        ADD COLUMN concurrency real,
        ADD COLUMN latency_ms real
    """,
    # A file that was had stays beside the failure to have it again.
    "ALTER TABLE robots_files ADD COLUMN failed_status integer, ADD COLUMN failed_at timestamptz",
    # What is left of a slowdown at a moment: it is halved every ten minutes, and none after three hours.
    """
    CREATE FUNCTION slowdown_left(slowdown real, slowed_at timestamptz, at timestamptz)
    RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE WHEN slowed_at IS NULL OR slowed_at < at - interval '3 hours' THEN 1
                    ELSE greatest(1, slowdown * power(
                        2::float8, least(extract(epoch FROM slowed_at - at)::float8 / 600, 0))) END
    $$
    """,
    # Milliseconds between two requests at a moment: the configured delay (while slowed ten at least)
    # times what is left of the slowdown, or what robots.txt asks for if that is more.
    """
    CREATE FUNCTION pace_ms(st source_state, at timestamptz) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
        SELECT greatest(CASE WHEN slowdown_left(st.slowdown, st.slowed_at, at) > 1
                             THEN greatest(st.delay_ms, 10) * slowdown_left(st.slowdown, st.slowed_at, at)
                             ELSE st.delay_ms END, st.robots_delay_ms)
    $$
    """,
)


def upgrade() -> None:
    """Add the columns and the function that tells a source's pace."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
