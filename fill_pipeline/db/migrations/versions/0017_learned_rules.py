"""Rules learned for single sources: what each was expected to refuse, what it did, and when that was judged."""

from alembic import op

revision = "0017"
down_revision = "0016"

_STATEMENTS = (
    # rule is the name under which what it refuses is set aside. expectation and outcome are what reading the archive
    # again gave, before it went live and since; changed_cycle is when it got its status.
    """
    CREATE TABLE learned_rules (
        id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        source_id     uuid NOT NULL REFERENCES scrape_sources (id) ON DELETE CASCADE,
        rule          text NOT NULL CHECK (rule IN ('source_range', 'source_format', 'source_confidence')),
        field_name    text NOT NULL,
        value         jsonb NOT NULL,
        status        text NOT NULL CHECK (status IN ('applied', 'not_proven', 'taken_back')),
        reason        text NOT NULL,
        expectation   jsonb NOT NULL,
        outcome       jsonb NOT NULL DEFAULT '{}',
        proposed_at   timestamptz NOT NULL,
        judged_at     timestamptz NOT NULL,
        changed_at    timestamptz NOT NULL,
        changed_cycle text NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX learned_rules_live ON learned_rules (source_id, rule, field_name) WHERE status = 'applied'",
    "CREATE INDEX learned_rules_source ON learned_rules (source_id, changed_at DESC)",
    "CREATE INDEX learned_rules_cycle ON learned_rules (changed_cycle)",
    # When rules were last looked for.
    "ALTER TABLE source_state ADD COLUMN learned_at timestamptz",
)


def upgrade() -> None:
    """Add the table and the column; ranges learned before stay in their configurations, nobody takes them back."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
