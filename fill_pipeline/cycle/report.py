"""The report of a cycle: what it did, reconciled against the tables, kept as a row and as files."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from fill_pipeline.cycle.accounting import Account, settle
from fill_pipeline.cycle.assess import assess
from fill_pipeline.cycle.plan import next_actions
from fill_pipeline.cycle.replacement import LOSS_MEMORY
from fill_pipeline.cycle.report_html import report_html
from fill_pipeline.cycle.state import ActionKind
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db import cycles, language_model, learning
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.ledger import HealthRow, SourceStats
from fill_pipeline.settings import Settings

log = logging.getLogger(__name__)
CHARTED = 12  # cycles in a report's chart: a day's


def write_cycle_report(conn: Connection, settings: Settings, cycle_id: str, *, now: datetime) -> dict[str, Any]:
    """Settle a cycle's account, close it, and return its report (the keys of document 1 first, then ours).

    Raises:
        LookupError: there is no such cycle.
    """
    cycle = cycles.cycle(conn, cycle_id)
    if cycle is None:
        raise LookupError(f"cycle {cycle_id!r} does not exist; `fill report --list` names those that do")
    account = settle(conn, settings, cycle, now)
    state = assess(conn, settings, cycle, now)
    actions = cycles.actions(conn, cycle_id)
    errors = [f"does not reconcile: {mismatch}" for mismatch in account.mismatches]
    errors += [f"{a.action}/{a.level}/{a.attempt} failed: {a.error}" for a in actions if a.status == "failed"]
    todo = next_actions(state)
    completed_at = cycle.completed_at or now
    figures = account.figures
    report = _cycle_report(account, completed_at)
    report |= {
        **figures.as_json(),
        "vehicles_touched": account.vehicles_touched,
        "vehicles_merged": account.vehicles_merged,
        "sources": _source_lines(account),
        "language_model": _language_model(conn, settings, cycle_id),
        "failures": [{"source": s, "category": c, "pages": n} for s, c, n in account.failures],
        "actions": [_action_line(a) for a in actions],
        "replacements": _replacements(conn, now),
        "next_actions": todo,
        "errors": errors,
        "reconciled": not account.mismatches,
    }
    cycles.close_cycle(
        conn,
        cycle_id,
        now=now,
        vehicles_added=figures.vehicles_added,
        vehicles_queued=figures.vehicles_queued,
        sources_active=figures.sources_active,
        sources_discovered=account.sources_discovered,
        quality=figures.data_quality,
        on_target=figures.on_target,
        next_actions=todo,
        errors=errors,
        report=report,
        metadata={"queue_per_hour": figures.queue_per_hour}
        | ({"revised_at": _iso(now)} if cycle.status == "closed" else {}),
    )
    keep(conn, settings, "cycle", cycle_id, report, now)
    return report


def _language_model(conn: Connection, settings: Settings, cycle_id: str) -> dict[str, Any] | None:
    """What the language model was asked in a cycle and what came of it, and how its prompts have done so far (the best
    one is asked with, unless the settings name another); None where it was not asked."""
    usage = language_model.usage(conn, cycle_id)
    if usage is None:
        return None
    prompts = [
        {"prompt": one.prompt, "score": round(one.value, 4), "answered": one.answered}
        for one in language_model.scores(conn, settings.model_name or "")
    ]
    return {"requests": usage.requests, "tokens": usage.tokens, "counts": usage.counts, "prompts": prompts}


def _action_line(action: cycles.ActionRow) -> dict[str, Any]:
    """An action; of one that turned a lever also how far, what was expected of it, and what it gave and cost; of one
    that learned or reviewed sources' rules what became of them."""
    closes = action.action == ActionKind.CLOSE and action.status == "running"  # done with the report that says so
    line: dict[str, Any] = {
        "action": f"{action.action}/{action.level}",
        "status": "done" if closes else action.status,
        "reason": action.reason,
    }
    if "lever" in action.parameters:
        line |= {name: action.parameters.get(name) for name in ("lever", "step", "expects")}
        gave = ("vehicles_added", "promised", "pages_fetched", "requests", "cpu_seconds", "pacing_minutes")
        line["outcome"] = {name: action.outcome[name] for name in gave if name in action.outcome}
    return line | {name: action.outcome[name] for name in ("rules_learned", "rules_reviewed") if name in action.outcome}


def _replacements(conn: Connection, now: datetime) -> list[dict[str, Any]]:
    """The sources given up in the last 30 days, what each was worth, and how much of it others have replaced."""
    return [
        {
            "source": loss.slug,
            "cycle": loss.cycle_id,
            "reason": loss.reason,
            "vehicles_per_day": loss.vehicles_per_day,
            "quality": loss.quality,
            "worth": round(loss.worth, 2),
            "covered": round(loss.covered, 2),
        }
        for loss in learning.losses(conn, now - LOSS_MEMORY)
    ]


def recent_reports(conn: Connection, n: int) -> list[dict[str, Any]]:
    """The last cycle reports, oldest first."""
    return [row.report for row in reversed(cycles.latest(conn, n)) if row.report]


def _cycle_report(account: Account, completed_at: datetime) -> dict[str, Any]:
    """Exactly the keys of document 1's example."""
    cycle, figures = account.cycle, account.figures
    return {
        "cycle_id": cycle.cycle_id,
        "started_at": _iso(cycle.started_at),
        "completed_at": _iso(completed_at),
        "vehicles_added": figures.vehicles_added,
        "vehicles_queued": figures.vehicles_queued,
        "total_progress": figures.vehicles_added + figures.vehicles_queued,
        "target": figures.target,
        "on_target": figures.on_target,
        "data_quality": figures.data_quality,
        "sources_active": figures.sources_active,
        "sources_discovered": account.sources_discovered,
        "next_cycle": _iso(window_at(completed_at).end),
    }


def _source_lines(account: Account) -> list[dict[str, Any]]:
    """A line for each source that did something or was judged, by slug."""
    stats = {a.slug: a.stats for a in account.sources}
    health = {h.slug: h for h in account.health}
    return [_source_line(slug, stats.get(slug), health.get(slug)) for slug in sorted({*stats, *health})]


def _source_line(slug: str, stats: SourceStats | None, health: HealthRow | None) -> dict[str, Any]:
    line: dict[str, Any] = {"source": slug}
    if stats is not None:
        line |= {
            "pages": stats.pages_fetched,
            "failed": stats.pages_failed,
            "found": stats.found,
            "new": stats.new,
            "updated": stats.updated,
            "skipped": stats.skipped,
            "vehicles_added": stats.vehicles_added,
            "queued": stats.queued,
            "quality": None if stats.quality is None else round(stats.quality, 3),
        }
    if health is not None:
        line |= {
            "health": health.status,
            "reason": health.reason,
            "diagnosis": health.diagnosis,
            "listed": health.listed,
            "usually_listed": health.usually_listed,
            "reliability_7d": health.reliability_7d,
            "reliability_30d": health.reliability_30d,
        }
    if stats is not None and stats.notes:
        line["notes"] = stats.notes
    return line


def keep(conn: Connection, settings: Settings, kind: str, period: str, report: dict[str, Any], now: datetime) -> None:
    """Keep a report as a row, and as two files: JSON, and a page for people."""
    cycles.save_report(conn, kind, period, report, now=now)
    folder: Path = settings.reports_folder / kind
    path = folder / f"{period.replace(':', '')}.json"
    page = report_html(report, recent_reports(conn, CHARTED) if kind == "cycle" else (), written_at=now)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
        path.with_suffix(".html").write_text(page, encoding="utf-8")
    except OSError as error:  # a full disk: the row in the database is the report, the files copies
        log.warning("the report %s could not be written: %s", path, error)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
