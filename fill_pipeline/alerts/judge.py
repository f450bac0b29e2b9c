"""The judgement: from how everything stands to the incidents there are. Pure; nothing here reads a clock or a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from statistics import median

from fill_pipeline.alerts.deeds import deeds, repair_deeds
from fill_pipeline.alerts.vitals import ABOUT_SOURCES, SILENT_AFTER, TRAIL, Marks, Vitals
from fill_pipeline.db.incidents import Incident, IncidentKind, IncidentRow, Severity
from fill_pipeline.db.vitals import ActionSeen

BELOW_CYCLES = 2  # in a row; document 1's ladder has been through twice
LONG_BELOW = 6  # half a day
MIN_ADDED = 20  # a cycle with fewer new vehicles says nothing about quality
BASELINE_CYCLES = 12
MIN_BASELINE = 6
QUALITY_DROP = 0.05  # at least, and three times its usual variation
MAD_TO_SIGMA = 1.4826  # makes the median absolute deviation estimate a normal deviation (Rousseeuw & Croux 1993)
BASELINE_DAYS = timedelta(days=7)  # a level held for so long is the new one
FAR_BELOW = 0.15
LATE = timedelta(minutes=15)  # a window's cycle opens within seconds
OVERTIME = timedelta(minutes=30)  # a cycle closes within minutes of its window's end
FAILURES = 2  # of an action in a row; the plan tries three times
MUCH_WORSE = 5
RELIEF = 0.9  # what was too much must fall below this share of the mark, lest it comes and goes
FEW = 5  # more new incidents of a kind at once are one: something they share is wrong
OWN_KINDS = frozenset({"data_quality_score"})  # checks of which another kind of incident tells
ABOUT_CYCLES = frozenset(
    {IncidentKind.BELOW_TARGET, IncidentKind.QUALITY_FALLING, IncidentKind.QUEUE_STUCK, IncidentKind.MISSED_CYCLE}
)
SEARCH_KINDS = frozenset({IncidentKind.SEARCH_EMPTY, IncidentKind.SEARCH_SCHEDULE})


def judge(vitals: Vitals, marks: Marks, now: datetime) -> list[Incident]:
    """What is wrong now; searches are judged by their own runs."""
    found = [incident for kind in _JUDGES for incident in kind(vitals, marks, now)]
    return list(_fold(found, vitals))


def over(vitals: Vitals, wanted: Iterable[Incident]) -> list[IncidentRow]:
    """The open incidents whose cause is gone."""
    still = {(incident.kind, incident.subject) for incident in wanted}
    return [
        row
        for row in vitals.open.values()
        if (row.kind, row.subject) not in still and (row.kind not in SEARCH_KINDS or row.subject not in vitals.searches)
    ]


def deeds_of(row: IncidentRow, vitals: Vitals) -> list[str]:
    """What the system did about an incident that is over."""
    if row.kind in ABOUT_SOURCES:
        return repair_deeds(vitals.repairs, row.subject)
    return deeds(vitals.actions) if row.kind in ABOUT_CYCLES else []


def _below_target(vitals: Vitals, marks: Marks, now: datetime) -> Iterator[Incident]:
    below = list(takewhile(lambda c: not c.on_target, vitals.closed))
    if len(below) < BELOW_CYCLES:
        return
    last = below[0]
    nothing = all(c.vehicles_added == 0 for c in below[:BELOW_CYCLES])
    yield Incident(
        IncidentKind.BELOW_TARGET,
        "",
        f"{len(below)} cycles in a row are below target; the last added {last.vehicles_added:,} of {last.target:,} "
        "vehicles",
        Severity.CRITICAL if nothing or len(below) >= LONG_BELOW else Severity.WARNING,
        {
            "facts": {
                "last cycle": last.cycle_id,
                "added": last.vehicles_added,
                "target": last.target,
                "short by": last.target - last.vehicles_added,
                "cycles below target in a row": len(below),
                "pages waiting": vitals.pending,
            },
            "did": deeds(vitals.actions),
        },
        last.cycle_id,
    )


def _quality_falling(vitals: Vitals, marks: Marks, now: datetime) -> Iterator[Incident]:
    measured = [(c, c.quality) for c in vitals.closed if c.quality is not None and c.vehicles_added >= MIN_ADDED]
    if not measured:
        return
    row = vitals.open.get((IncidentKind.QUALITY_FALLING, ""))
    last, quality = measured[0]
    low = sum(1 for _ in takewhile(lambda m: m[1] < marks.quality_target, measured))
    baseline, spread = _baseline([q for _, q in measured[1 : BASELINE_CYCLES + 1]], row, now)
    allowed = QUALITY_DROP / 2 if row is not None else max(QUALITY_DROP, 3 * MAD_TO_SIGMA * spread)
    dropped = baseline is not None and quality < baseline - allowed
    if dropped:
        message = f"quality fell to {quality:.0%}; it usually is {baseline:.0%}"
    elif low >= (1 if row is not None else BELOW_CYCLES):
        message = f"quality is {quality:.0%}, below its target of {marks.quality_target:.0%}"
    else:
        return
    facts = {"last cycle": last.cycle_id, "quality": f"{quality:.1%}", "target": f"{marks.quality_target:.0%}"}
    if baseline is not None:
        facts["usually"] = f"{baseline:.1%}"
    facts |= {f"issue {i}": issue for i, issue in enumerate(vitals.quality_issues, 1)}
    yield Incident(
        IncidentKind.QUALITY_FALLING,
        "",
        message,
        Severity.CRITICAL if quality < marks.quality_target - FAR_BELOW else Severity.WARNING,
        {"facts": facts, "did": deeds(vitals.actions, ("improve", "repair")), "baseline": baseline},
        last.cycle_id,
    )


def _baseline(before: Sequence[float], row: IncidentRow | None, now: datetime) -> tuple[float | None, float]:
    """What quality usually was, and its median absolute deviation. While an incident is open, what it was before."""
    if row is not None and row.details.get("baseline") is not None and row.opened_at > now - BASELINE_DAYS:
        return float(row.details["baseline"]), 0.0
    if len(before) < MIN_BASELINE:
        return None, 0.0
    middle = median(before)
    return middle, median(abs(q - middle) for q in before)


def _source_failing(vitals: Vitals, marks: Marks, now: datetime) -> Iterator[Incident]:
    newest = vitals.closed[0].cycle_id if vitals.closed else None
    for source in vitals.failing:
        known = (IncidentKind.SOURCE_FAILING, source.slug) in vitals.open
        if source.status == "quarantined" and not known:
            continue  # told as set aside
        cycles = sum(1 for _ in takewhile(lambda status: status == "failing", source.trail))
        if cycles < marks.source_cycles:
            continue
        facts = {"reason": source.reason, "diagnosis": source.diagnosis or "none"}
        facts["failing for cycles"] = f"{cycles}{' or more' if cycles == TRAIL else ''}"
        yield Incident(
            IncidentKind.SOURCE_FAILING,
            source.slug,
            f"source {source.slug} fails: {source.reason}",
            Severity.WARNING,
            {"facts": facts, "did": repair_deeds(vitals.repairs, source.slug)},
            newest,
        )


def _repair_gave_up(vitals: Vitals, marks: Marks, now: datetime) -> Iterator[Incident]:
    for slug, reason in vitals.set_aside:
        yield Incident(
            IncidentKind.REPAIR_GAVE_UP,
            slug,
            f"source {slug} is set aside and needs a person: {reason}",
            Severity.WARNING,
            {"facts": {"reason": reason}, "did": repair_deeds(vitals.repairs, slug)},
        )


def _held_back(vitals: Vitals, marks: Marks, now: datetime) -> Iterator[Incident]:
    for slug in dict.fromkeys(held.slug for held in vitals.held):
        of_source = [held for held in vitals.held if held.slug == slug]
        newest = [held for held in of_source if held.cycle_id == of_source[0].cycle_id]
        listings = sum(held.listings for held in newest)
        facts = {"cycle": newest[0].cycle_id, "listings held back": listings}
        facts |= {held.expectation: f"{held.listings:,}: {held.reason}" for held in newest}
        yield Incident(
            IncidentKind.HELD_BACK,
            slug,
            f"{listings:,} listings of {slug} are kept from becoming vehicles: {newest[0].reason}",
            Severity.WARNING,
            {"facts": facts, "did": repair_deeds(vitals.repairs, slug)},
            newest[0].cycle_id,
        )


def _queue_stuck(vitals: Vitals, marks: Marks, now: datetime) -> Iterator[Incident]:
    cycle = vitals.cycle
    if cycle is None or not vitals.movable:
        return
    since = max(vitals.moved_at or cycle.started_at, cycle.started_at)
    if since > now - marks.stuck:
        return
    yield Incident(
        IncidentKind.QUEUE_STUCK,
        "",
        f"the queue is stuck: nothing was fetched since {_time(since)} though {vitals.movable} sources allow it",
        Severity.CRITICAL if since <= now - 3 * marks.stuck else Severity.WARNING,
        {
            "facts": {
                "cycle": cycle.cycle_id,
                "pages waiting": vitals.pending,
                "sources that could be fetched from": vitals.movable,
                "nothing moved since": _time(since),
            },
            "did": deeds(vitals.actions),
        },
        cycle.cycle_id,
    )


def _dead_rows(vitals: Vitals, marks: Marks, now: datetime) -> Iterator[Incident]:
    known = (IncidentKind.DEAD_ROWS, "") in vitals.open
    if vitals.dead <= marks.dead_rows * (RELIEF if known else 1):
        return
    yield Incident(
        IncidentKind.DEAD_ROWS,
        "",
        f"{vitals.dead:,} pages of the queue were given up after all their attempts",
        Severity.CRITICAL if vitals.dead > MUCH_WORSE * marks.dead_rows else Severity.WARNING,
        {"facts": {"dead rows": vitals.dead, "allowed": marks.dead_rows, "pages waiting": vitals.pending}},
        vitals.closed[0].cycle_id if vitals.closed else None,
    )


def _silent_jobs(vitals: Vitals, marks: Marks, now: datetime) -> Iterator[Incident]:
    for name, last in _last_ends(vitals.actions, now).items():
        if not _silent(last[0], now):
            continue
        seen = last[0].heartbeat_at or last[0].requested_at
        yield Incident(
            IncidentKind.SILENT_JOB,
            name,
            f"{name} of cycle {last[0].cycle_id} gave no sign of life after {_time(seen)}",
            Severity.WARNING,
            {
                "facts": {"cycle": last[0].cycle_id, "last sign of life": _time(seen), "status": last[0].status},
                "did": deeds(vitals.actions, (name,)),
            },
            f"{last[0].cycle_id}/{last[0].level}/{last[0].attempt}",
        )
    for job in vitals.silent:
        since = _time(job.since) if job.since else "its beginning"
        yield Incident(
            IncidentKind.SILENT_JOB,
            "deals" if job.name == "deals" else f"search {job.name}",
            f"the last job of {job.name} came to nothing: {job.what}",
            Severity.WARNING,
            {"facts": {"job": job.name, "what": job.what, "since": since}},
            since,
        )


def _jobs_failed(vitals: Vitals, marks: Marks, now: datetime) -> Iterator[Incident]:
    for name, last in _last_ends(vitals.actions, now).items():
        failed = list(takewhile(lambda a: a.status == "failed" and not _silent(a, now), last))
        if len(failed) < FAILURES or _archive_full(failed[0]):
            continue
        yield Incident(
            IncidentKind.JOB_FAILED,
            name,
            f"{name} failed {len(failed)} times in a row, last with {failed[0].error}",
            Severity.CRITICAL if name == "close" else Severity.WARNING,
            {
                "facts": {"cycle": failed[0].cycle_id, "times": len(failed), "error": failed[0].error},
                "did": deeds(vitals.actions, (name,)),
            },
            failed[0].cycle_id,
        )


def _missed_cycle(vitals: Vitals, marks: Marks, now: datetime) -> Iterator[Incident]:
    cycle, end = vitals.cycle, vitals.last_window_end
    missed = sum(1 for _ in takewhile(lambda c: c.status == "missed", vitals.ended))
    if cycle is not None and now > max(cycle.window_end, cycle.started_at + 2 * OVERTIME) + OVERTIME:
        message = f"cycle {cycle.cycle_id} is still open; its window ended at {_time(cycle.window_end)}"
        late = now - cycle.window_end
    elif cycle is None and end is not None and now > end + LATE:
        message, late = f"no cycle was opened since {_time(end)}", now - end
    elif missed:
        first = vitals.ended[missed - 1].window_start
        message, late = f"{missed} windows passed without a cycle, the first at {_time(first)}", now - first
    else:
        return
    yield Incident(
        IncidentKind.MISSED_CYCLE,
        "",
        message,
        Severity.CRITICAL if late > timedelta(hours=6) else Severity.WARNING,
        {
            "facts": {"open cycle": cycle.cycle_id if cycle else "none", "windows missed": missed},
            "did": deeds(vitals.actions),
        },
        cycle.cycle_id if cycle else _time(end) if end else None,
    )


def _checks_failed(vitals: Vitals, marks: Marks, now: datetime) -> Iterator[Incident]:
    failed = {name: words for name, words in vitals.failed_checks if name not in OWN_KINDS}
    differs = [error for error in vitals.closed[0].errors if "does not reconcile" in error] if vitals.closed else []
    if differs:
        failed["counters_reconcile"] = "; ".join(differs)
    for name, words in failed.items():
        yield Incident(
            IncidentKind.CHECK_FAILED,
            name,
            f"check {name} does not hold: {words or 'see its page'}",
            Severity.WARNING,
            {"facts": {"check": name, "what is wrong": words, "cycle": vitals.closed[0].cycle_id}},
            vitals.closed[0].cycle_id,
        )


def _disk_full(vitals: Vitals, marks: Marks, now: datetime) -> Iterator[Incident]:
    for disk in vitals.disks:
        known = (IncidentKind.DISK_FULL, disk.name) in vitals.open
        if disk.free >= marks.free_bytes / (RELIEF if known else 1):
            continue
        left = f"{disk.free / (1 << 30):.1f} GiB"
        yield Incident(
            IncidentKind.DISK_FULL,
            disk.name,
            f"the disk of the {disk.name} is nearly full: {left} of {disk.total / (1 << 30):.0f} GiB are free",
            Severity.CRITICAL if disk.free < marks.free_bytes / 4 else Severity.WARNING,
            {"facts": {"free": left, "wanted": f"{marks.free_bytes / (1 << 30):.1f} GiB"}},
        )
    for last in _last_ends(vitals.actions, now).values():
        if _archive_full(last[0]):
            yield Incident(
                IncidentKind.DISK_FULL,
                "archive writes",
                str(last[0].error),
                Severity.CRITICAL,
                {"facts": {"cycle": last[0].cycle_id, "action": last[0].action}, "did": deeds(vitals.actions)},
                last[0].cycle_id,
            )
            return


_JUDGES: tuple[Callable[[Vitals, Marks, datetime], Iterator[Incident]], ...] = (
    _below_target,
    _quality_falling,
    _source_failing,
    _repair_gave_up,
    _held_back,
    _queue_stuck,
    _dead_rows,
    _silent_jobs,
    _jobs_failed,
    _missed_cycle,
    _checks_failed,
    _disk_full,
)


def _last_ends(actions: Sequence[ActionSeen], now: datetime) -> dict[str, list[ActionSeen]]:
    """By action, those that ended well, badly or in silence, newest first; not those still waiting or at work."""
    ends: dict[str, list[ActionSeen]] = {}
    for action in actions:
        if action.status in ("done", "failed") or _silent(action, now):
            ends.setdefault(action.action, []).append(action)
    return ends


def _silent(action: ActionSeen, now: datetime) -> bool:
    if action.status == "running":
        return action.heartbeat_at is not None and action.heartbeat_at < now - SILENT_AFTER
    return action.status == "failed" and (action.error or "").startswith(("no sign of life", "its process died"))


def _archive_full(action: ActionSeen) -> bool:
    return action.status == "failed" and (action.error or "").startswith("ArchiveFullError")


def _fold(found: Sequence[Incident], vitals: Vitals) -> Iterator[Incident]:
    """One incident instead of many new ones of a kind; those already open stay what they are."""
    for kind in dict.fromkeys(incident.kind for incident in found):
        of_kind = [incident for incident in found if incident.kind is kind]
        new = [incident for incident in of_kind if (kind, incident.subject) not in vitals.open]
        many = FEW // 2 if (kind, "") in vitals.open else FEW
        folded = new if len(new) > many and all(incident.subject for incident in of_kind) else []
        yield from (incident for incident in of_kind if incident not in folded)
        if folded:
            yield Incident(
                kind,
                "",
                f"{len(folded)} at once: {', '.join(i.subject for i in folded[:FEW])} and {len(folded) - FEW} more"
                if len(folded) > FEW
                else f"{len(folded)} at once: {', '.join(i.subject for i in folded)}",
                Severity.CRITICAL,
                {
                    "facts": {i.subject: i.message for i in folded[: 2 * FEW]},
                    "did": list(dict.fromkeys(did for i in folded for did in i.details.get("did", ())))[: 2 * FEW],
                },
                folded[0].occasion,
            )


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
