"""The last job of a search, and of the deal finder, is found without reading the others."""

from alembic import op

revision = "0008"
down_revision = "0007"

_STATEMENTS = (
    "CREATE INDEX offerup_jobs_search ON offerup_jobs (search_id, created_at DESC)",
    "CREATE INDEX deal_finder_jobs_created ON deal_finder_jobs (created_at DESC)",
)


def upgrade() -> None:
    """Add the indexes."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
