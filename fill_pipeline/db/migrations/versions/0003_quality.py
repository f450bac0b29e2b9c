"""What rules objected to in each cycle, and the listings that a quality gate keeps from becoming vehicles."""

from alembic import op

revision = "0003"
down_revision = "0002"

_STATEMENTS = (
    # How often a rule objected to a field of a source's listings, and to which words; bounded by the writer.
    """
    CREATE TABLE rule_hits (
        cycle_id   text NOT NULL,
        source_id  uuid NOT NULL REFERENCES scrape_sources (id) ON DELETE CASCADE,
        field_name text NOT NULL,
        rule       text NOT NULL,
        words      text NOT NULL DEFAULT '',
        hits       integer NOT NULL,
        PRIMARY KEY (cycle_id, source_id, field_name, rule, words)
    )
    """,
    # What a cycle's gate held back of a source, by the expectation that was not met; `checked` and `unexpected` are
    # the values behind the decisions.
    """
    CREATE TABLE held_batches (
        cycle_id    text NOT NULL,
        source_id   uuid NOT NULL REFERENCES scrape_sources (id) ON DELETE CASCADE,
        expectation text NOT NULL,
        field_name  text NOT NULL,
        reason      text NOT NULL,
        batches     integer NOT NULL DEFAULT 1,
        listings    integer NOT NULL,
        checked     integer NOT NULL,
        unexpected  integer NOT NULL,
        released    integer NOT NULL DEFAULT 0,
        held_at     timestamptz NOT NULL,
        released_at timestamptz,
        PRIMARY KEY (cycle_id, source_id, expectation)
    )
    """,
    # The listings that wait for a better judgement; `judged_at` is the last one.
    """
    CREATE TABLE held_listings (
        listing_id  bigint PRIMARY KEY REFERENCES listing_records (id) ON DELETE CASCADE,
        source_id   uuid NOT NULL REFERENCES scrape_sources (id) ON DELETE CASCADE,
        cycle_id    text NOT NULL,
        expectation text NOT NULL,
        judged_at   timestamptz NOT NULL
    )
    """,
    "CREATE INDEX held_listings_source ON held_listings (source_id, judged_at)",
)


def upgrade() -> None:
    """Add the three tables."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
