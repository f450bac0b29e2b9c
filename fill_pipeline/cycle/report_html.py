"""A report as one HTML page for people: no scripts, nothing loaded from elsewhere, everything from outside escaped."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template
from markupsafe import Markup

MAX_SOURCES = 200  # rows of the table of sources, the worst first
MAX_LINES = 50  # of issues and errors
_WIDTH, _HEIGHT, _FOOT, _WIDEST = 720, 200, 26, 90  # the chart and the room of one bar, in its own units
_HEALTH_ORDER = ("failing", "degraded", "healthy")
_KINDS = {"cycle_id": "Cycle", "date": "Day", "week": "Week", "month": "Month"}
_CRITERIA = {
    "vehicles": "Vehicles added",
    "stretch": "Stretch goal",
    "quality": "Average quality",
    "cycle_success": "Cycle success",
    "new_sources": "New sources",
    "source_uptime": "Source uptime",
    "growth": "Growth",
    "quality_trend": "Quality trend",
    "no_degradation": "No degradation",
}
_COUNTS = frozenset({"vehicles", "stretch", "new_sources"})
_CHANGES = frozenset({"growth", "quality_trend", "no_degradation"})


def report_html(report: Mapping[str, Any], recent: Sequence[Mapping[str, Any]], *, written_at: datetime) -> str:
    """The page of a cycle's, day's, week's or month's report; ``recent`` are the cycle reports for a cycle's chart."""
    key = next(key for key in _KINDS if key in report)
    bars = report.get("series") or [
        {"label": str(r["cycle_id"])[11:], **{k: r.get(k) for k in ("vehicles_added", "target")}} for r in recent
    ]
    sources = sorted(
        report.get("sources") or (),
        key=lambda s: (
            _HEALTH_ORDER.index(s["health"]) if s.get("health") in _HEALTH_ORDER else len(_HEALTH_ORDER),
            -(s.get("vehicles_added") or 0),
            s["source"],
        ),
    )
    failures: Counter[str] = Counter()
    for failure in report.get("failures") or ():
        failures[failure["category"]] += failure["pages"]
    return _template().render(
        r=defaultdict(lambda: None, report),  # an earlier release knew fewer figures
        kind=_KINDS[key],
        name=report[key],
        status=_status(report),
        chart=bar_chart(bars),
        bars=bars,
        criteria=[_criterion(name, c) for name, c in (report.get("criteria") or {}).items()],
        sources=sources[:MAX_SOURCES],
        more_sources=max(0, len(sources) - MAX_SOURCES),
        failures=failures.most_common(),
        max_lines=MAX_LINES,
        written_at=f"{written_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
    )


def bar_chart(bars: Sequence[Mapping[str, Any]]) -> Markup:
    """Vehicles added as bars, each against its own target, drawn as a line above it."""
    if not bars:
        return Markup("")
    top = max(max(bar["vehicles_added"] or 0, bar["target"] or 0) for bar in bars) * 1.12 or 1
    step = min(_WIDTH / len(bars), _WIDEST)
    every = -(-len(bars) // 12)  # no more than twelve labels fit side by side
    parts = []
    for i, bar in enumerate(bars):
        added, target = bar["vehicles_added"] or 0, bar["target"] or 0
        x, height = i * step, max(1.0, _HEIGHT * added / top)
        words = f"{bar['label']}: {added:,} of {target:,}" + (" (a cycle was missed)" if bar.get("missed") else "")
        parts.append(
            Markup(
                '<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}">'
                "<title>{words}</title></rect>"
                '<path class="mark" d="M{a:.1f} {t:.1f}h{step:.1f}"/>'
            ).format(
                kind="good" if added >= target else "short",
                x=x + step * 0.15,
                y=_HEIGHT - height,
                w=step * 0.7,
                h=height,
                words=words,
                a=x,
                t=_HEIGHT - _HEIGHT * target / top,
                step=step,
            )
        )
        if len(bars) <= 12:
            parts.append(
                Markup('<text class="value" x="{x:.1f}" y="{y:.1f}">{n}</text>').format(
                    x=x + step / 2, y=_HEIGHT - height - 4, n=f"{added:,}"
                )
            )
        if i % every == 0:
            parts.append(
                Markup('<text class="{kind}" x="{x:.1f}" y="{y}">{label}</text>').format(
                    kind="thin" if i // every % 2 else "", x=x + step / 2, y=_HEIGHT + 18, label=bar["label"]
                )
            )
    words = "; ".join(f"{bar['label']} {bar['vehicles_added'] or 0} of {bar['target'] or 0}" for bar in bars)
    return Markup(
        '<svg class="bars" viewBox="0 0 {w} {h}" role="img" aria-label="Vehicles added: {words}">{parts}</svg>'
    ).format(w=_WIDTH, h=_HEIGHT + _FOOT, words=words, parts=Markup("").join(parts))


def number(value: float | None) -> str:
    """With thousands separators; a dash for nothing."""
    return "–" if value is None else f"{value:,.0f}"


def share(value: float | None, digits: int = 1) -> str:
    """A rate as per cent, rounded down so that 89.96 % never reads as 90 %."""
    if value is None:
        return "–"
    scale = 10**digits
    return f"{int(value * 100 * scale + 1e-9) / scale:.{digits}f}%"


def _status(report: Mapping[str, Any]) -> str:
    if "status" in report:
        return str(report["status"])
    return "ON_TARGET" if report.get("on_target") else "BELOW_TARGET"


def _criterion(name: str, criterion: Mapping[str, Any]) -> dict[str, Any]:
    """A criterion as the page shows it: its figures in words."""
    actual, target = criterion["actual"], criterion["target"]
    if name in _COUNTS:
        figures = number(actual), number(target)
    elif name in _CHANGES:
        figures = "–" if actual is None else f"{actual:+.1%}", "no fall"
    else:
        figures = share(actual), share(target, 0)
    return {
        "title": _CRITERIA.get(name, name),
        "actual": figures[0],
        "target": figures[1],
        "status": criterion["status"] or "",
        "says": criterion["says"],
    }


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"n": number, "share": share}
    return environment.get_template("report.html")
