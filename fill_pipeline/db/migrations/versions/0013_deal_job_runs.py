"""A deal finder job names its Dagster run in a column, as a search's job does."""

from alembic import op

revision = "0013"
down_revision = "0012"

_STATEMENTS = (
    "ALTER TABLE deal_finder_jobs ADD COLUMN run_id text",
    "UPDATE deal_finder_jobs SET run_id = result ->> 'run_id', result = result - 'run_id' WHERE result ? 'run_id'",
)


def upgrade() -> None:
    """Add the column and take over what the results say."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
