"""Every value a rule set aside, for good: the listing itself only holds what stands against it now."""

from alembic import op

revision = "0006"
down_revision = "0005"

_STATEMENTS = (
    """
    CREATE TABLE quarantined_values (
        id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        listing_id  bigint NOT NULL REFERENCES listing_records (id) ON DELETE CASCADE,
        field_name  text NOT NULL,
        value       jsonb NOT NULL,
        rule        text NOT NULL,
        reason      text NOT NULL,
        cycle_id    text NOT NULL,
        observed_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX quarantined_values_listing ON quarantined_values (listing_id, observed_at)",
    # What stands quarantined today.
    """
    INSERT INTO quarantined_values (listing_id, field_name, value, rule, reason, cycle_id, observed_at)
    SELECT r.id, q.key, coalesce(q.value -> 'value', 'null'), coalesce(q.value ->> 'rule', ''),
           coalesce(q.value ->> 'reason', ''), r.changed_cycle, r.changed_at
    FROM listing_records r CROSS JOIN LATERAL jsonb_each(r.quarantine) q
    WHERE r.quarantine <> '{}'
    """,
)


def upgrade() -> None:
    """Add the table and begin it with what is known."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
