"""The watch over incidents on Dagster: it notices what no cycle does, and sends what could not be sent before."""

from dagster import DefaultSensorStatus, SensorEvaluationContext, SkipReason, sensor

from fill_pipeline.alerts.watch import watch
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.resources import SENSOR_SECONDS, Fill

SECONDS = 60


@sensor(
    description="Opens, updates and closes incidents (a stuck queue, a silent job, a missed cycle …) and sends alerts.",
    minimum_interval_seconds=SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
)
def incident_sensor(context: SensorEvaluationContext, fill: Fill) -> SkipReason:
    """Asks for no run: what it finds stands in ``incidents``."""
    with fill.connect("incident_sensor", statement_seconds=SENSOR_SECONDS) as conn:
        found = watch(conn, fill.settings, now=utc_now())
    return SkipReason(f"{found.open} incidents open, {found.opened} new, {found.closed} over; {found.sent} alerts sent")
