"""The schema of the first release."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run schema.sql as it stands."""
    cursor = op.get_bind().connection.cursor()
    cursor.execute((Path(__file__).parents[2] / "schema.sql").read_text())
