"""A slowdown of a week ago is nothing, where its halvings were too many for a number."""

from alembic import op

revision = "0016"
down_revision = "0015"

# The planner works out the ELSE beforehand where the arguments are known, also for what its WHEN keeps from it:
# so the exponent is bounded, and three hours are eighteen halvings.
_FUNCTION = """
    CREATE OR REPLACE FUNCTION slowdown_left(slowdown real, slowed_at timestamptz, at timestamptz)
    RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE WHEN slowed_at IS NULL OR slowed_at < at - interval '3 hours' THEN 1
                    ELSE greatest(1, slowdown * power(2::float8, greatest(-18,
                        least(extract(epoch FROM slowed_at - at)::float8 / 600, 0)))) END
    $$
"""


def upgrade() -> None:
    """Replace the function."""
    op.get_bind().connection.cursor().execute(_FUNCTION)
