"""Act: carry out what the plan asked for. The command line and Dagster both come through here."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg

from fill_pipeline.alerts.watch import watch_after
from fill_pipeline.cycle.assess import deadline
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.levers import Lever
from fill_pipeline.cycle.lifecycle import open_by_hand
from fill_pipeline.cycle.plan import BY_HAND
from fill_pipeline.cycle.replacement import recover, retire
from fill_pipeline.cycle.report import write_cycle_report
from fill_pipeline.cycle.retention import prune_archive, prunes
from fill_pipeline.cycle.schedule import learn
from fill_pipeline.cycle.state import Action, ActionKind
from fill_pipeline.cycle.summary import write_summaries
from fill_pipeline.cycle.window import Window, window_at, window_of_key
from fill_pipeline.db import counters, cycles, registry
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.cycles import CycleRow
from fill_pipeline.db.ledger import SourceStats
from fill_pipeline.db.server import database_url
from fill_pipeline.drain.drain import drain_queue
from fill_pipeline.drain.harvest import harvest_sources
from fill_pipeline.drain.owner import owner
from fill_pipeline.drain.replay import replay_window
from fill_pipeline.drain.work import Source, Work, load_sources
from fill_pipeline.settings import Settings

log = logging.getLogger(__name__)
BEAT_SECONDS = 5.0
CLOSING_TIME = timedelta(minutes=5)
REVISED_CYCLES = 13  # as far back as a repair reads again
MOST_BY_HAND = 50  # asked for at the same moment

Progress = Callable[[dict[str, Any]], None]


class UnusableSourceError(LookupError):
    """None of the sources that something was asked of can be read; the message says why and what to do."""


@dataclass(slots=True)
class SourceOutcome:
    """What one source gave in one action, as a person reads it."""

    slug: str
    pages: int = 0
    failed: int = 0
    found: int = 0
    new: int = 0
    updated: int = 0
    skipped: int = 0
    queued: int = 0
    vehicles_added: int = 0
    health: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """What an action did. ``gained`` is how many rows it moved; 0 tells the plan that trying again is idle."""

    cycle_id: str
    action: Action | None = None
    gained: int = 0
    sources: dict[str, SourceOutcome] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] | None = None


def perform(
    action: Action,
    *,
    cycle_id: str,
    settings: Settings,
    run_id: str | None = None,
    now_fn: Callable[[], datetime] = utc_now,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> Outcome:
    """Carry out a requested action with a heartbeat and record how it ended; errors are recorded and raised.

    An action that somebody else already took comes back with nothing gained.
    """
    url = database_url(settings)
    with connect(url, name="fill perform") as conn:
        action_id = cycles.start_action(
            conn,
            cycle_id,
            action.kind,
            level=action.level,
            attempt=action.attempt,
            run_id=run_id or owner(action.kind),
            now=now_fn(),
        )
        if action_id is None:
            return Outcome(cycle_id, action, details={"note": "already taken by another process"})
        cycle = cycles.cycle(conn, cycle_id)
        assert cycle is not None
        lost = threading.Event()

        def stop() -> bool:
            return lost.is_set() or should_stop()

        work = _work(_turned(settings, action), url, cycle, action.key, now_fn, stop)
        before = _cpu_seconds()
        try:
            with _beating(work, progress, action_id, lost):
                outcome = _DEEDS[action.kind](conn, work, action)
        except BaseException as error:
            _finish(work, action_id, outcome={}, error=in_a_line(error))
            raise
        outcome.action = action
        outcome.details["cpu_seconds"] = round(_cpu_seconds() - before, 2)
        _finish(work, action_id, outcome={"gained": outcome.gained, **outcome.details}, error=None)
        return outcome


def _turned(settings: Settings, action: Action) -> Settings:
    """The settings with the dials of the drain where the plan wants them; the plan keeps within its bounds."""
    dials = {"batch_size": action.parameters.get(Lever.BATCH), "workers": action.parameters.get(Lever.WORKERS)}
    return settings.model_copy(update={name: int(value) for name, value in dials.items() if value is not None})


def _cpu_seconds() -> float:
    """What this process and its workers that have ended used so far."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def in_a_line(error: BaseException) -> str:
    """An error as reports and the command line tell it."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _finish(work: Work, action_id: int, *, outcome: dict[str, Any], error: str | None) -> None:
    with work.connect("perform") as conn:  # a new one: the action's own may have been cut while it lay idle
        cycles.finish_action(conn, action_id, now=work.now_fn(), outcome=outcome, error=error)


def perform_by_hand(
    slugs: Sequence[str],
    *,
    window: Window,
    settings: Settings,
    run_id: str | None = None,
    now_fn: Callable[[], datetime] = utc_now,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> Outcome:
    """Do what a person asked for: for the current window harvest and drain these sources, for a past one replay it.

    The current window's open cycle takes part in the account; when it is closed already an extra cycle is
    opened and left for the plan to close. A replay reads the window's archive with today's rules and needs
    no network; what it finds is counted in that window's own cycle, and told by its report.

    Raises:
        UnusableSourceError: a past window is asked for, and the configuration of none of the sources can be used.
        WorkersDieError: the processes that read that window again are killed one after another.
    """
    now = now_fn()
    url = database_url(settings)
    with connect(url, name="fill by hand") as conn:
        if window.start < window_at(now).start:
            work = Work(settings, url, window.key, owner("replay"), now_fn, now + timedelta(days=1), should_stop)
            chosen = _chosen(conn, slugs, crawlable_only=False)
            if slugs and not chosen:
                raise UnusableSourceError(_why_unusable(conn, slugs))
            with _beating(work, progress):
                replay_window(work, chosen, [window.key])
            revise_reports(conn, settings, cycles.closed_of_window(conn, window.key), now=now_fn())
            return _outcome(work, chosen)
        cycle = open_by_hand(conn, settings, now=now, limited=True)
        # On record like any action of the plan, so that the plan does not close the cycle meanwhile.
        action = _by_hand_action(conn, cycle.cycle_id, slugs, now)
    return perform(
        action,
        cycle_id=cycle.cycle_id,
        settings=settings,
        run_id=run_id,
        now_fn=now_fn,
        should_stop=should_stop,
        progress=progress,
    )


def _why_unusable(conn: Connection, slugs: Sequence[str]) -> str:
    rows = [registry.find_source(conn, slug) for slug in slugs]
    errors = [f"{row.slug}: {' '.join((row.config_error or '').split())}" for row in rows if row is not None]
    told = "; ".join(errors) or f"{', '.join(slugs)}: not registered"
    return f"nothing can be read again with a configuration that cannot be used ({told}); declare it again, mended"


def _by_hand_action(conn: Connection, cycle_id: str, slugs: Sequence[str], now: datetime) -> Action:
    reason, parameters = "asked for by hand", {"slugs": list(slugs)}
    first = 1 + sum(a.level == BY_HAND for a in cycles.actions(conn, cycle_id))
    for attempt in range(first, first + MOST_BY_HAND):
        if cycles.request_action(
            conn,
            cycle_id,
            ActionKind.HARVEST,
            level=BY_HAND,
            attempt=attempt,
            reason=reason,
            parameters=parameters,
            now=now,
        ):
            return Action(ActionKind.HARVEST, BY_HAND, attempt, reason, parameters)
    raise RuntimeError(f"cycle {cycle_id} was closed before its sources could be harvested by hand; ask again")


def _drain(conn: Connection, work: Work, action: Action) -> Outcome:
    drain_queue(work, seed=action.level)
    return _outcome_of_all(work)


def _harvest(conn: Connection, work: Work, action: Action) -> Outcome:
    chosen = _chosen(conn, action.parameters.get("slugs", ()))
    _harvest_and_drain(work, chosen, int(action.parameters.get("limit_factor", 1)))
    return _outcome_of_all(work)


def _repair(conn: Connection, work: Work, action: Action) -> Outcome:
    from fill_pipeline.repair.repair import repair_sources

    lost = list(action.parameters.get("retire", ()))
    if lost:
        replaced = retire(conn, work.cycle_id, lost, now=work.now_fn())
        return Outcome(work.cycle_id, gained=len(replaced.retired), details=replaced.as_json())
    slugs = list(action.parameters.get("slugs", ()))
    repairs = repair_sources(conn, work, slugs)
    if repairs.replayed_pages:
        revise_reports(conn, work.settings, cycles.latest(conn, REVISED_CYCLES), now=work.now_fn())
    back = recover(conn, slugs)
    return Outcome(work.cycle_id, gained=repairs.promoted + len(back), details=repairs.as_json() | {"back": back})


def _discover(conn: Connection, work: Work, action: Action) -> Outcome:
    from fill_pipeline.discovery.discover import Budget, discover

    probes = action.parameters.get("probes")
    funnel = discover(conn, work, budget=None if probes is None else Budget(probes=int(probes)))
    taken = [row for slug in funnel.sources if (row := registry.find_source(conn, slug)) is not None]
    promised = sum(row.expected_count or 0 for row in taken)
    return Outcome(work.cycle_id, gained=funnel.taken, details=funnel.as_json() | {"promised": promised})


def _improve(conn: Connection, work: Work, action: Action) -> Outcome:
    from fill_pipeline.drain.reread import fix_from_archive
    from fill_pipeline.quality.release import release_held
    from fill_pipeline.repair.learned import learn_rules, review_rules

    released = release_held(conn, work.settings, cycle_id=work.cycle_id, now=work.now_fn())
    fixes = fix_from_archive(conn, work.settings, cycle_id=work.cycle_id, now=work.now_fn())
    details = fixes.as_json() | released.as_json()
    told = {
        "rules_reviewed": review_rules(conn, work),
        "rules_learned": learn_rules(conn, work, int(action.parameters.get("learn", 0))),
    }
    details |= {name: by_source for name, by_source in told.items() if by_source}
    return Outcome(work.cycle_id, gained=fixes.total + released.released, details=details)


def _close(conn: Connection, work: Work, action: Action) -> Outcome:
    report = close(work.cycle_id, settings=work.settings, now_fn=work.now_fn)
    return Outcome(work.cycle_id, gained=1, report=report)


_DEEDS: dict[ActionKind, Callable[[Connection, Work, Action], Outcome]] = {
    ActionKind.DRAIN: _drain,
    ActionKind.HARVEST: _harvest,
    ActionKind.REPAIR: _repair,
    ActionKind.DISCOVER: _discover,
    ActionKind.IMPROVE: _improve,
    ActionKind.CLOSE: _close,
}


def close(cycle_id: str, *, settings: Settings, now_fn: Callable[[], datetime] = utc_now) -> dict[str, Any]:
    """Write a cycle's report and its day's, week's and month's summaries, and close it; returns the report.

    All of that or nothing: a cycle whose closing dies on the way is open, and is closed again. Batches on their way
    into it are waited for, later ones are refused. Then the watch looks: what is wrong is told. A closed cycle's report
    may be written again (a backfill does); it then says when it was revised.
    """
    now = now_fn()
    with connect(database_url(settings), name="fill close") as conn:
        with conn.transaction():
            cycles.shut_out_writers(conn, cycle_id)
            report = write_cycle_report(conn, settings, cycle_id, now=now)
            cycle = cycles.cycle(conn, cycle_id)
            assert cycle is not None
            learn(conn, cycle_id, now=now)
            write_summaries(conn, settings, cycle.window_start.date(), now=now)
        if prunes(conn, cycle_id):
            prune_archive(conn, settings, now=now)
        watch_after(conn, settings, now=now)
    return report


def revise_reports(conn: Connection, settings: Settings, closed: Iterable[CycleRow], *, now: datetime) -> list[str]:
    """Write the reports of those closed cycles again that have more vehicles than they told; returns their ids.

    Pages read again, by hand or after a repair, give vehicles that belong to the cycles in which they were fetched.
    """
    revised = []
    for cycle in closed:
        told = cycle.report or {}
        own = counters.of_scope(conn, ("cycle.vehicles_added", "cycle.vehicles_merged"), cycle.cycle_id)
        if sum(own.values()) > told.get("vehicles_added", 0) + told.get("vehicles_merged", 0):
            write_cycle_report(conn, settings, cycle.cycle_id, now=now)
            revised.append(cycle.cycle_id)
    for day in {window_of_key(cycle_id).start.date() for cycle_id in revised}:
        write_summaries(conn, settings, day, now=now)
    return revised


def _harvest_and_drain(work: Work, chosen: Sequence[Source], limit_factor: int) -> None:
    """Harvest in a thread of its own while this one drains what comes in."""
    failed: list[BaseException] = []

    def harvest() -> None:
        try:
            harvest_sources(work, chosen, limit_factor=limit_factor)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=harvest, name="harvest")
    thread.start()
    try:
        drain_queue(work, feeding=thread.is_alive)
    finally:
        thread.join()
    if failed:
        raise failed[0]


def _work(
    settings: Settings,
    url: str,
    cycle: CycleRow,
    name: str,
    now_fn: Callable[[], datetime],
    should_stop: Callable[[], bool],
) -> Work:
    ends = deadline(cycle, settings) - CLOSING_TIME
    return Work(settings, url, cycle.cycle_id, owner(name), now_fn, ends, should_stop)


def _chosen(conn: Connection, slugs: Sequence[str], *, crawlable_only: bool = True) -> list[Source]:
    wanted = set(slugs)
    return [s for s in load_sources(conn, crawlable_only=crawlable_only).values() if s.slug in wanted]


@contextmanager
def _beating(
    work: Work, progress: Progress | None, action_id: int | None = None, lost: threading.Event | None = None
) -> Iterator[None]:
    """While the work runs, show signs of life: to the database (of an action on record) and to whoever watches.

    ``lost`` is set where the record says that the action runs no more: it was silent for so long that it was given up.
    """
    done, lost = threading.Event(), lost or threading.Event()

    def beat() -> None:
        beaten = work.now_fn()
        with work.connect("beat") as conn:
            while not done.wait(0.5):
                so_far = {
                    name: work.totals.sum(name)
                    for name in ("pages_fetched", "pages_failed", "found", "vehicles_added", "queued")
                }
                if progress is not None:
                    progress(so_far)
                now = work.now_fn()
                if action_id is None or lost.is_set() or abs((now - beaten).total_seconds()) < BEAT_SECONDS:
                    continue
                beaten = now
                if not cycles.beat(conn, action_id, now=now, outcome=so_far):
                    log.warning("action %d of cycle %s was given up as dead; it is stopped", action_id, work.cycle_id)
                    lost.set()

    def keep_beating() -> None:
        while not done.is_set():
            try:
                beat()
            except psycopg.OperationalError as error:
                log.warning("a heartbeat could not be written: %s", error)

    thread = threading.Thread(target=keep_beating, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _outcome_of_all(work: Work) -> Outcome:
    with work.connect("perform") as conn:
        return _outcome(work, load_sources(conn).values())


def _outcome(work: Work, sources: Sequence[Source] | Any) -> Outcome:
    stats = work.totals.by_source()
    outcome = Outcome(work.cycle_id)
    for source in sources:
        outcome.sources[source.slug] = _source_outcome(source.slug, stats.get(source.id, SourceStats()))
    outcome.gained = work.totals.sum("queued") + work.totals.sum("pages_fetched")
    outcome.details = {
        name: work.totals.sum(name) for name in ("pages_fetched", "pages_failed", "found", "vehicles_added", "queued")
    }
    paced = sum(
        (stats[source.id].pages_fetched + stats[source.id].pages_failed) * source.config.delay_seconds
        for source in sources
        if source.id in stats
    )
    outcome.details["pacing_minutes"] = round(paced / 60, 2)
    return outcome


def _source_outcome(slug: str, stats: SourceStats) -> SourceOutcome:
    return SourceOutcome(
        slug=slug,
        pages=stats.pages_fetched,
        failed=stats.pages_failed,
        found=stats.found,
        new=stats.new,
        updated=stats.updated,
        skipped=stats.skipped,
        queued=stats.queued,
        vehicles_added=stats.vehicles_added,
        notes=stats.notes[:10],
    )
