"""The sure proposals to merge are found among the open ones, not among all there ever were."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create the index."""
    cursor = op.get_bind().connection.cursor()
    cursor.execute("CREATE INDEX merge_proposals_open ON merge_proposals (score) WHERE status = 'open'")
