"""New cars, which no odometer tells apart, are found by block and city, and by block and price."""

from alembic import op

revision = "0005"
down_revision = "0004"

_STATEMENTS = (
    "CREATE INDEX vehicles_block_city ON vehicles (block_key, city) WHERE block_km IS NULL",
    "CREATE INDEX vehicles_block_price ON vehicles (block_key, price, city) WHERE block_km IS NULL",
    # A new car's few kilometres count as none.
    "UPDATE vehicles SET block_km = NULL WHERE block_km < 300",
)


def upgrade() -> None:
    """Add the indexes, and bring the stored odometers under their rule."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
