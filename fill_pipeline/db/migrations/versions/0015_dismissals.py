"""A person may dismiss an incident: who and why stand with it, and an alert tells of it."""

from alembic import op

revision = "0015"
down_revision = "0014"

_STATEMENTS = (
    """
    ALTER TABLE incidents
        ADD COLUMN dismissed_at timestamptz,
        ADD COLUMN dismissed_by text,
        ADD COLUMN dismissed_why text
    """,
    "ALTER TABLE alerts DROP CONSTRAINT alerts_event_check",
    """
    ALTER TABLE alerts ADD CONSTRAINT alerts_event_check
        CHECK (event IN ('opened', 'worse', 'reminder', 'dismissed', 'resolved'))
    """,
)


def upgrade() -> None:
    """Add the columns and the event."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
