"""The page's panels as HTML. Jinja escapes whatever it is given; only this module's own markup is exempt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fill_pipeline.cycle.window import LENGTH, window_at
from fill_pipeline.dashboard.lineage import Explanation, VehicleStory
from fill_pipeline.dashboard.links import Dagster, outside_url
from fill_pipeline.dashboard.poller import Reading
from fill_pipeline.dashboard.snapshot import Overview
from fill_pipeline.dashboard.source_view import SourceHealth, SourceView
from fill_pipeline.db.lineage import VehicleRef
from fill_pipeline.db.overview import CycleLine, VehicleLine
from fill_pipeline.settings import Settings

SHARED = ("notice", "cycle", "figures", "quality", "problems", "improvement", "vehicles")
"""Panels that look the same to every viewer."""
MOST_PARTS = 12  # of a breakdown in a dialog
MAX_ROWS = 100  # sources shown at once
HEALTH_ORDER = {health: place for place, health in enumerate(SourceHealth)}

_SORTS: dict[str, Callable[[SourceView], Any]] = {
    "source": lambda s: s.line.slug,
    "health": lambda s: HEALTH_ORDER[s.health],
    "added": lambda s: s.line.vehicles_added,
    "found": lambda s: s.line.found,
    "failed": lambda s: s.error_rate or 0.0,
    "quality": lambda s: -1.0 if s.quality is None else s.quality,
    "waiting": lambda s: s.pending,
    "reliability": lambda s: -1.0 if s.reliability[0] is None else s.reliability[0],
}


@dataclass(frozen=True, slots=True)
class Sort:
    """How one viewer wants the sources: the column, which way, and a part of the name (lower case)."""

    column: str = "health"
    down: bool = False
    search: str = ""

    def by(self, column: str) -> Sort:
        """This column; asked for again, the other way round. An unknown column changes nothing."""
        if column not in _SORTS:
            return self
        return Sort(column, not self.down if column == self.column else column not in ("source", "health"), self.search)


class Renderer:
    """Turns readings into HTML."""

    def __init__(self, settings: Settings, dagster: Dagster, *, can_act: bool) -> None:
        self._env = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._env.filters |= {
            "n": number,
            "share": share,
            "ago": lambda at: _time(at, "ago"),
            "until": lambda at: _time(at, "until"),
            "clock": lambda at: _time(at, "clock"),
            "spark": spark,
            "words": lambda text: str(text).replace("_", " "),
        }
        self._env.globals |= {
            "dagster": dagster,
            "can_act": can_act,
            "outside": lambda url: outside_url(url, settings.allow_nets),
            "vehicle_name": vehicle_name,
            "price": price,
            "heat": heat_level,
            "day_bars": day_bars,
            "now_share": now_share,
            "icon": icon,
            "MOST_PARTS": MOST_PARTS,
        }

    def panel(self, name: str, **context: Any) -> str:
        """One panel."""
        return self._env.get_template(f"{name}.html").render(context)

    def shared(self, reading: Reading) -> dict[str, str]:
        """The panels every viewer sees alike; only the notice when nothing could be read yet."""
        if reading.overview is None:
            return {"notice": self.panel("notice", reading=reading)}
        return {name: self.panel(name, reading=reading, o=reading.overview) for name in SHARED}

    def sources(self, overview: Overview, sort: Sort) -> str:
        """The table of sources in one viewer's order."""
        chosen = [s for s in overview.sources if sort.search in s.line.slug or sort.search in s.line.name.lower()]
        ordered = sorted(chosen, key=lambda s: s.line.slug)
        ordered.sort(key=_SORTS[sort.column], reverse=sort.down)
        return self.panel("sources", o=overview, rows=ordered[:MAX_ROWS], matching=len(ordered), sort=sort)

    def explanation(self, found: Explanation) -> str:
        """The dialog that explains a figure."""
        of_cycle = f" of cycle {found.cycle_id}" if found.cycle_id else " now"
        is_mean = any(breakdown.has_means for breakdown in found.breakdowns) or isinstance(found.value, float)
        value = share(found.value, 2) if is_mean else number(found.value)
        if found.value is None:
            value = "Not measured yet:"
        title = found.figure.value.replace("_", " ").capitalize() + of_cycle
        return self._story(title, figure=found, value=value)

    def vehicle(self, story: VehicleStory) -> str:
        """The dialog that tells where a vehicle's values are from."""
        return self._story(f"Vehicle {story.id}: {story.name[:120]}", story=story)

    def unexplained(self, why: str) -> str:
        """The dialog where there is nothing to explain."""
        return self._story("Not found", refusal=why)

    def _story(self, title: str, **parts: Any) -> str:
        empty = {"figure": None, "story": None, "refusal": None, "value": ""}
        return self.panel("why", title=title, **(empty | parts)).strip()


def number(value: float | None) -> str:
    """With thousands separators; a dash for nothing."""
    return "–" if value is None else f"{value:,.0f}"


def share(value: float | None, digits: int = 0) -> str:
    """A rate as per cent, rounded down so that 89.9 % never reads as 90 %."""
    if value is None:
        return "–"
    scale = 10**digits
    return f"{int(float(value) * 100 * scale + 1e-9) / scale:.{digits}f}\N{NO-BREAK SPACE}%"


def price(vehicle: VehicleLine | VehicleRef) -> str:
    """What it costs, with its currency."""
    if vehicle.price is None:
        return "no price"
    sign = {"USD": "$", "CAD": "CA$", "EUR": "€", "GBP": "£"}.get(vehicle.currency or "")
    amount = f"{vehicle.price:,}"
    return f"{sign}{amount}" if sign else f"{amount} {vehicle.currency or ''}".strip()


def vehicle_name(vehicle: VehicleLine | VehicleRef) -> str:
    """Year, make, model and trim, or what the advertisement calls it."""
    parts = (vehicle.year, vehicle.make, vehicle.model, getattr(vehicle, "trim", None))
    known = " ".join(str(part) for part in parts if part)
    return known if vehicle.make else vehicle.title or known or "unnamed vehicle"


def heat_level(value: float | None, target: float) -> str:
    """The class of a heat map's cell: none, low, below, near, good or full."""
    if value is None:
        return "none"
    steps = ((target - 0.4, "low"), (target - 0.15, "below"), (target, "near"), (0.98, "good"))
    return next((name for limit, name in steps if value < limit), "full")


def spark(values: Sequence[int], label: str) -> Markup:
    """A small line chart, zero at its foot, with its figures in words for those who cannot see it."""
    if len(values) < 2:
        return Markup('<span class="quiet">–</span>')
    top = max(values) or 1
    step = 100 / (len(values) - 1)
    points = " ".join(f"{i * step:.1f},{22 - 20 * value / top:.1f}" for i, value in enumerate(values))
    words = f"{label}: {number(values[0])} to {number(values[-1])}, at most {number(top)}"
    return Markup(
        '<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label="{words}">'
        '<title>{words}</title><polyline points="{points}"/></svg>'
    ).format(words=words, points=points)


def day_bars(lines: Sequence[CycleLine], added_now: int) -> Markup:
    """The windows of a day as bars against the target; the open one with what it has so far."""
    windows: dict[int, tuple[int, int, str]] = {}
    for line in lines:
        place = line.window_start.hour // 2
        added, target, status = windows.get(place, (0, 0, ""))
        more = added_now if line.status == "open" else line.vehicles_added
        windows[place] = (added + more, max(target, line.target), line.status)
    top = max([max(a, t) for a, t, _ in windows.values()] + [1]) * 1.1
    bars = []
    for place in range(12):
        added, target, status = windows.get(place, (0, 0, "none"))
        kind = "open" if status == "open" else "good" if added >= target > 0 else "short"
        height = 48 * added / top
        words = f"{place * 2:02d}:00 UTC: {number(added)} of {number(target)}" + (", missed" * (status == "missed"))
        bars.append(
            Markup('<rect class="{kind}" x="{x}" y="{y:.1f}" width="8" height="{h:.1f}"><title>{words}</title></rect>')
            .format(kind=kind, x=place * 10 + 1, y=50 - max(height, 0.7), h=max(height, 0.7), words=words)
        )  # fmt: skip
        if target:
            y = 50 - 48 * target / top
            bars.append(Markup('<path class="mark" d="M{a} {y:.1f}h10"/>').format(a=place * 10, y=y))
    summary = "; ".join(f"{p * 2:02d}:00 {a} of {t}" for p, (a, t, _) in sorted(windows.items()))
    return Markup(
        '<svg class="bars" viewBox="0 0 120 51" preserveAspectRatio="none" role="img" aria-label="{words}">{bars}</svg>'
    ).format(words=f"Vehicles added by window: {summary or 'none yet'}", bars=Markup("").join(bars))


def now_share(overview: Overview) -> float:
    """How much of its window the open cycle has used, 0 to 1."""
    cycle = overview.cycle
    if cycle is None or not cycle.open:
        return 1.0
    start = window_at(cycle.started_at).start
    return min(1.0, max(0.0, (overview.taken_at - start) / LENGTH))


def icon(state: str) -> Markup:
    """A sign beside a state's word, so that it is never told by colour alone."""
    return Markup('<span class="sign" aria-hidden="true">{}</span>').format(_SIGNS.get(state, "•"))


_SIGNS = {
    "healthy": "✓", "done": "✓", "good": "✓", "on_target": "✓", "promoted": "✓", "active": "✓",
    "degraded": "▲", "at_risk": "▲", "trial": "▲", "canary": "▲",
    "failing": "✕", "failed": "✕", "below_target": "✕", "rejected": "✕", "rolled_back": "✕",
    "paused": "‖", "running": "▶", "requested": "…", "waiting": "·", "new": "○",
}  # fmt: skip


def _time(at: datetime | None, mode: str) -> Markup:
    """A moment; the page's script writes it as an age, a countdown, or the viewer's own clock."""
    if at is None:
        return Markup("–")
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{iso}" data-mode="{mode}" title="{full}">{full}</time>').format(
        iso=utc.isoformat(), mode=mode, full=f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    )
