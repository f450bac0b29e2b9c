"""The sensors: each a thin shell over the plan, for the kinds of action it looks after."""

from collections.abc import Iterable, Iterator, Mapping
from threading import Timer

from dagster import (
    DefaultSensorStatus,
    RunFailureSensorContext,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    run_failure_sensor,
    sensor,
)
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin

from fill_pipeline.assets.catalogue import Catalogue
from fill_pipeline.assets.windows import CYCLE_TAG
from fill_pipeline.automation.alerts import incident_sensor
from fill_pipeline.automation.jobs import ACTION_JOBS, find_deals, waits, write_report
from fill_pipeline.automation.requests import ACTION_TAG, JOBS, wanted_runs
from fill_pipeline.automation.searches import search_sensor
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.lifecycle import ensure_open, policy_of, tick
from fill_pipeline.cycle.state import ActionKind
from fill_pipeline.cycle.window import window_at, window_of_key
from fill_pipeline.db import cycles, deals, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.resources import SENSOR_SECONDS, Fill

SECONDS = 15
REGISTRY_SECONDS = 20
DEALS_SECONDS = 60
RELOAD_DELAY = 1.0  # seconds
RELOAD_AGAIN = 600  # seconds
PARTITION_TAG = "dagster/partition"
_JOBS = {job.name: job for job in ACTION_JOBS}


def build_sensors(catalogue: Catalogue) -> list[SensorDefinition]:
    """Every sensor of the code location, running by default."""
    return [
        _plan_sensor(
            "queue_depth_sensor",
            "Asks for drains while pages wait in the queue.",
            frozenset({ActionKind.DRAIN}),
            catalogue,
        ),
        _plan_sensor(
            "target_gap_sensor",
            "While a cycle is below target: harvests, repairs, discovers, mends data.",
            frozenset({ActionKind.HARVEST, ActionKind.REPAIR, ActionKind.DISCOVER, ActionKind.IMPROVE}),
            catalogue,
        ),
        _plan_sensor(
            "close_cycle_sensor",
            "Closes a cycle that is done or out of time, and opens this window's if the schedule's tick was lost.",
            frozenset({ActionKind.CLOSE}),
            catalogue,
        ),
        _registry_sensor(catalogue),
        deals_sensor,
        search_sensor,
        incident_sensor,
        failed_run_sensor,
    ]


def _plan_sensor(name: str, words: str, kinds: frozenset[ActionKind], catalogue: Catalogue) -> SensorDefinition:
    jobs = {JOBS[kind][0]: _JOBS[JOBS[kind][0]] for kind in sorted(kinds)}

    @sensor(
        name=name,
        description=words,
        jobs=list(jobs.values()),
        minimum_interval_seconds=SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
    )
    def plan_sensor(context: SensorEvaluationContext, fill: Fill) -> Iterator[RunRequest | SkipReason]:
        # An error anywhere in here is a failed tick: "could not read" must never look like "nothing to do".
        with fill.connect(name, statement_seconds=SENSOR_SECONDS) as conn:
            asked = list(_ask(context, conn, fill, kinds, catalogue))
        yield from asked
        if not asked:
            yield SkipReason("the plan asks for nothing of this kind now")

    return plan_sensor


def _ask(
    context: SensorEvaluationContext,
    conn: Connection,
    fill: Fill,
    kinds: frozenset[ActionKind],
    catalogue: Catalogue,
) -> Iterable[RunRequest]:
    now, settings = utc_now(), fill.settings
    if ActionKind.CLOSE in kinds:
        ensure_open(conn, settings, now=now)
    cycle = cycles.open_one(conn)
    if cycle is None:
        return []
    tick(conn, settings, now=now, policy=policy_of(settings, wait=waits(cycle.cycle_id)), kinds=kinds)
    return wanted_runs(conn, context.instance, catalogue, kinds)


def _registry_sensor(catalogue: Catalogue) -> SensorDefinition:
    @sensor(
        description="Loads the graph anew when sources were added or retired.",
        minimum_interval_seconds=REGISTRY_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
    )
    def registry_sensor(context: SensorEvaluationContext, fill: Fill) -> SkipReason:
        with fill.connect("registry_sensor", statement_seconds=SENSOR_SECONDS) as conn:
            current = Catalogue.of(registry.sources(conn))
        if current.fingerprint == catalogue.fingerprint:
            return SkipReason(f"{len(current.nodes)} sources, all in the graph")
        changes = f"{len(current.names - catalogue.names)} sources came, {len(catalogue.names - current.names)} went"
        # A reload replaces this process, and its sensor then finds nothing changed. The cursor keeps a place where
        # that does not work (`dagster api grpc`) from being asked at every tick.
        now = int(utc_now().timestamp())
        asked, _, at = (context.cursor or "").partition("@")
        if asked == current.fingerprint and now < int(at) + RELOAD_AGAIN:
            return SkipReason(f"{changes}; the code location was asked to load anew: if it does not, restart it")
        context.update_cursor(f"{current.fingerprint}@{now}")
        _reload_soon(context)
        return SkipReason(f"{changes}; the code location loads anew")

    return registry_sensor


def _reload_soon(context: SensorEvaluationContext) -> None:
    """What the webserver's reloadRepositoryLocation does, after this tick's answer has left the old process."""
    origin = context.code_location_origin
    if isinstance(origin, GrpcServerCodeLocationOrigin):
        client, timeout = origin.create_client(), context.instance.code_server_reload_timeout
        Timer(RELOAD_DELAY, client.reload_code, kwargs={"timeout": timeout}).start()


@sensor(
    job=find_deals,
    description="Has the listings of a closed cycle valued, and runs the deal finder jobs that somebody asked for.",
    minimum_interval_seconds=DEALS_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
)
def deals_sensor(context: SensorEvaluationContext, fill: Fill) -> RunRequest | SkipReason:
    with fill.connect("deals_sensor", statement_seconds=SENSOR_SECONDS) as conn:
        closed = next(iter(cycles.last_ended(conn)), None)
        asked = deals.next_pending(conn, now=utc_now())
    if asked is not None:
        return RunRequest(run_key=f"deals/{asked}", partition_key=window_at(utc_now()).key)
    if closed is None or context.cursor == closed.cycle_id:
        return SkipReason("no cycle closed since the last valuation")
    context.update_cursor(closed.cycle_id)
    window = window_of_key(closed.cycle_id).key
    return RunRequest(run_key=f"{closed.cycle_id}/deals", partition_key=window, tags={CYCLE_TAG: closed.cycle_id})


@run_failure_sensor(
    name="run_failure_sensor",
    description="Ends the actions of a run that failed, and has the reports of its window written whatever happened.",
    minimum_interval_seconds=SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    request_job=write_report,
)
def failed_run_sensor(context: RunFailureSensorContext, fill: Fill) -> RunRequest | SkipReason:
    run, error = context.dagster_run, _cause(context)
    with fill.connect("run_failure_sensor", statement_seconds=SENSOR_SECONDS) as conn:
        ended = end_actions(conn, run.run_id, run.tags, error)
    if run.job_name == write_report.name:
        return SkipReason("the report itself failed: asking for it again would go round in circles")
    window = run.tags.get(PARTITION_TAG) or window_at(utc_now()).key
    tags = {CYCLE_TAG: run.tags[CYCLE_TAG]} if CYCLE_TAG in run.tags else {}
    context.log.info(f"run {run.run_id} of {run.job_name} failed, {ended} actions ended: {error}")
    return RunRequest(run_key=f"{window}/report/{run.run_id}", partition_key=window, tags=tags)


def _cause(context: RunFailureSensorContext) -> str:
    """The first failed step's own error; where no step failed (a crash, a time-out), what Dagster says of the run."""
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return f"{event.step_key}: {error.message.strip()}"
    return context.failure_event.message or "the run failed"


def end_actions(conn: Connection, run_id: str, tags: Mapping[str, str], error: str) -> int:
    """End what a dead run had begun, and what it was started for and never began; returns how many actions."""
    now = utc_now()
    if ACTION_TAG in tags:
        kind, level, attempt = tags[ACTION_TAG].split("/")
        cycles.start_action(conn, tags[CYCLE_TAG], kind, level=int(level), attempt=int(attempt), run_id=run_id, now=now)
    return cycles.fail_run(conn, run_id, now=now, error=error)
