"""Sums and fresh deltas are told apart, so that folding costs what is fresh and not what was ever counted."""

from alembic import op

revision = "0012"
down_revision = "0011"

_STATEMENTS = (
    "ALTER TABLE counters ADD COLUMN folded boolean NOT NULL DEFAULT false",
    """
    WITH gone AS (DELETE FROM counters RETURNING metric, scope, n)
    INSERT INTO counters SELECT metric, scope, sum(n), true FROM gone GROUP BY 1, 2
    """,
    "CREATE UNIQUE INDEX counters_folded ON counters (metric, scope) WHERE folded",
    "CREATE INDEX counters_fresh ON counters (metric) WHERE NOT folded",
)


def upgrade() -> None:
    """Add the mark, fold once, and index both kinds."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
