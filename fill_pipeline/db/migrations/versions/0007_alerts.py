"""Incidents have a severity and are told of: an outbox of alerts, a delivery for each channel, and checks kept."""

from alembic import op

revision = "0007"
down_revision = "0006"

_STATEMENTS = (
    # Severity 1 is a warning, 2 critical. `occasion` is what last counted as an occurrence (a cycle, a job);
    # `notified_*` what people were last told, and when, null where they were told nothing yet.
    """
    ALTER TABLE incidents
        ADD COLUMN severity smallint NOT NULL DEFAULT 1 CHECK (severity IN (1, 2)),
        ADD COLUMN occasion text,
        ADD COLUMN notified_at timestamptz,
        ADD COLUMN notified_severity smallint,
        ADD COLUMN reminders smallint NOT NULL DEFAULT 0
    """,
    # One row for each thing to tell, written with the change it tells of; `incident` is the row as it was then.
    """
    CREATE TABLE alerts (
        id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        incident_id  bigint NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
        event        text NOT NULL CHECK (event IN ('opened', 'worse', 'reminder', 'resolved')),
        incident     jsonb NOT NULL,
        created_at   timestamptz NOT NULL,
        addressed_at timestamptz
    )
    """,
    "CREATE INDEX alerts_unaddressed ON alerts (id) WHERE addressed_at IS NULL",
    # An alert on its way through one channel; `due_at` is the next attempt, or when one under way is taken for lost.
    """
    CREATE TABLE alert_deliveries (
        alert_id    bigint NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
        channel     text NOT NULL,
        incident_id bigint NOT NULL,
        status      text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'sent', 'given_up')),
        attempts    integer NOT NULL DEFAULT 0,
        due_at      timestamptz NOT NULL,
        sent_at     timestamptz,
        error       text,
        PRIMARY KEY (alert_id, channel)
    )
    """,
    """
    CREATE INDEX alert_deliveries_waiting ON alert_deliveries (channel, incident_id, alert_id) WHERE status = 'waiting'
    """,
    # How each expectation of a cycle was met when it was last checked.
    """
    CREATE TABLE check_results (
        cycle_id   text NOT NULL,
        name       text NOT NULL,
        passed     boolean NOT NULL,
        severity   text NOT NULL,
        words      text NOT NULL DEFAULT '',
        checked_at timestamptz NOT NULL,
        PRIMARY KEY (cycle_id, name)
    )
    """,
)


def upgrade() -> None:
    """Add the columns and the three tables."""
    cursor = op.get_bind().connection.cursor()
    for statement in _STATEMENTS:
        cursor.execute(statement)
