"""A vehicle's history is found from either side: what it was merged into, and who it was taken for."""

from alembic import op

revision = "0010"
down_revision = "0009"

_STATEMENTS = (
    """
    CREATE INDEX vehicle_repairs_absorbed ON vehicle_repairs (((before_value #>> '{absorbed,id}')::bigint))
    WHERE kind = 'merge'
    """,
    "CREATE INDEX merge_proposals_second ON merge_proposals (vehicle_b)",
)


def upgrade() -> None:
    """Create the two indexes."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
