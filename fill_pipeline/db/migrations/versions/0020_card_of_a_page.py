"""The archive's index knows the card that led to a page: its number stays the listing's when the page is read again."""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the columns; no row is written."""
    op.get_bind().connection.cursor().execute(
        "ALTER TABLE archive_pages ADD card_number text, ADD card_written boolean NOT NULL DEFAULT false"
    )
