"""A report as Markdown: what stands in the metadata of the report assets, and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH = 30  # characters of the longest bar
_SPARKS = "▁▂▃▄▅▆▇█"


def report_markdown(report: Mapping[str, Any], recent: Sequence[Mapping[str, Any]]) -> str:
    """A report for people: its criteria and figures as tables, and its chart, newest last.

    ``recent`` are the cycle reports, oldest first, for the report of a cycle; a summary has a series of its own.
    """
    lines: list[str] = []
    if report.get("forecast_says"):
        lines += [f"**{report['status']}**: {_cell(report['forecast_says'])}", ""]
    if report.get("criteria"):
        lines += ["| criterion | so far | target | status | |", "|---|---|---|---|---|"]
        for name, c in report["criteria"].items():
            lines.append(_row(name, c["actual"], c["target"], c["status"] or "not known yet", c["says"]))
        lines.append("")
    scalars = [(key, value) for key, value in report.items() if not isinstance(value, dict | list | tuple)]
    lines += ["| figure | value |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in scalars)]
    bars = report.get("series") or [
        {"label": r["cycle_id"], "quality": r.get("data_quality"), **{k: r[k] for k in ("vehicles_added", "target")}}
        for r in recent
    ]
    if bars:
        lines += ["", "Vehicles added (`|` marks the target):", "", "```", *_bars(bars), "```"]
        if any(bar.get("quality") is not None for bar in bars):
            lines += ["", f"Quality: `{_spark([bar.get('quality') for bar in bars])}`"]
    if report.get("quality_by_field"):
        lines += ["", "| field | complete | accurate | listings |", "|---|---|---|---|"]
        for name, q in report["quality_by_field"].items():
            lines.append(_row(name, q["completeness"], q["accuracy"], q["sample_size"]))
    for title, key in (("Errors", "errors"), ("Quality issues", "quality_issues"), ("Next", "next_actions")):
        if report.get(key):
            lines += ["", f"**{title}**", "", *(f"- {_cell(line)}" for line in report[key])]
    return "\n".join(lines)


def _bars(bars: Sequence[Mapping[str, Any]]) -> list[str]:
    top = max(max(int(bar["vehicles_added"]), int(bar["target"])) for bar in bars) or 1
    width = max(len(str(bar["label"])) for bar in bars)
    lines = []
    for bar in bars:
        filled = f"{'█' * round(_WIDTH * int(bar['vehicles_added']) / top):<{_WIDTH}}"
        mark = min(_WIDTH, round(_WIDTH * int(bar["target"]) / top))
        lines.append(f"{bar['label']!s:<{width}} {filled[:mark]}|{filled[mark:]} {bar['vehicles_added']}")
    return lines


def _spark(values: Sequence[float | None]) -> str:
    """Shares as a row of blocks, from one half at the foot to the whole at the top; a dot where nothing is known."""
    return "".join(
        "·" if value is None else _SPARKS[min(7, max(0, int((value - 0.5) * 2 * len(_SPARKS))))] for value in values
    )


def _row(*cells: object) -> str:
    return f"| {' | '.join(_cell('' if cell is None else cell) for cell in cells)} |"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
