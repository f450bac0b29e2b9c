"""Health says what a source usually lists, what it listed, and how reliable it was over a week and a month."""

from alembic import op

revision = "0009"
down_revision = "0008"

_STATEMENTS = (
    # Advertisements listed a harvest: this cycle's, and the median of its own history; null where not known.
    # Reliability is 0 to 1: the mean of its checks, a healthy one 1, a degraded one a half.
    """
    ALTER TABLE source_health
        ADD COLUMN listed numeric,
        ADD COLUMN usually_listed numeric,
        ADD COLUMN reliability_7d numeric,
        ADD COLUMN reliability_30d numeric
    """,
)


def upgrade() -> None:
    """Add the columns; earlier checks stay without."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
