"""Writing a listing and claiming a page cost less: one pass counts, leases go by their end."""

from alembic import op

revision = "0018"
down_revision = "0017"

# What a statement moved is summed up by the columns themselves, once; names are made of the few sums.
_COUNT_QUEUE = """
    CREATE OR REPLACE FUNCTION count_queue() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            WITH moved AS MATERIALIZED (
                SELECT status, source_id, cycle_id, count(*) AS d FROM new_rows GROUP BY 1, 2, 3
            )
            INSERT INTO counters
            SELECT 'queue.' || status, source_id::text, sum(d) FROM moved GROUP BY status, source_id
            UNION ALL
            SELECT 'cycle.queued', cycle_id, sum(d) FROM moved GROUP BY cycle_id;
        ELSIF TG_OP = 'UPDATE' THEN
            WITH moved AS MATERIALIZED (
                SELECT status, source_id, cycle_id, sum(d) AS d
                FROM (SELECT status, source_id, cycle_id, 1 AS d FROM new_rows
                      UNION ALL SELECT status, source_id, cycle_id, -1 FROM old_rows) x
                GROUP BY 1, 2, 3 HAVING sum(d) <> 0
            )
            INSERT INTO counters
            SELECT 'queue.' || status, source_id::text, sum(d) FROM moved GROUP BY status, source_id HAVING sum(d) <> 0
            UNION ALL
            SELECT 'cycle.queued', cycle_id, sum(d) FROM moved GROUP BY cycle_id HAVING sum(d) <> 0;
        ELSE
            INSERT INTO counters
            SELECT 'queue.' || status, source_id::text, -n
            FROM (SELECT status, source_id, count(*) AS n FROM old_rows GROUP BY 1, 2) x;
            INSERT INTO counters SELECT 'cycle.queued', cycle_id, -count(*) FROM old_rows GROUP BY 2;
        END IF;
        RETURN NULL;
    END $$
"""
_COUNT_LISTINGS = """
    CREATE OR REPLACE FUNCTION count_listings() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO counters
            SELECT 'listings.' || status, source_id::text, n
            FROM (SELECT status, source_id, count(*) AS n FROM new_rows GROUP BY 1, 2) x;
        ELSIF TG_OP = 'UPDATE' THEN
            INSERT INTO counters
            SELECT 'listings.' || status, source_id::text, n
            FROM (SELECT status, source_id, sum(d) AS n
                  FROM (SELECT status, source_id, 1 AS d FROM new_rows
                        UNION ALL SELECT status, source_id, -1 FROM old_rows) y
                  GROUP BY 1, 2 HAVING sum(d) <> 0) x;
        ELSE
            INSERT INTO counters
            SELECT 'listings.' || status, source_id::text, -n
            FROM (SELECT status, source_id, count(*) AS n FROM old_rows GROUP BY 1, 2) x;
        END IF;
        RETURN NULL;
    END $$
"""
_STATEMENTS = (
    _COUNT_QUEUE,
    _COUNT_LISTINGS,
    # Not by status: rows finished by id and owner would be looked for among everybody's leases.
    "DROP INDEX import_queue_leases",
    "CREATE INDEX import_queue_leases ON import_queue (lease_expires_at) WHERE lease_expires_at IS NOT NULL",
)


def upgrade() -> None:
    """Replace the functions and the index."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
