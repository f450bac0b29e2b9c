"""Reports for people: a page that stands alone and lets nothing in, and Markdown with the same figures."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.cycle.report_html import report_html, share
from fill_pipeline.cycle.report_markdown import report_markdown

NOW = datetime(2025, 12, 24, 20, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg/onload=alert(3)>"


def cycle_report(words: str = "fine", added: int = 2150) -> dict[str, Any]:
    return {
        "cycle_id": "2025-12-24-18:00", "started_at": "2025-12-24T18:00:00Z", "completed_at": "2025-12-24T18:15:00Z",
        "vehicles_added": added, "vehicles_queued": 3500, "total_progress": added + 3500, "target": 2000,
        "on_target": added >= 2000, "data_quality": 0.92, "sources_active": 2, "sources_discovered": 1,
        "next_cycle": "2025-12-24T20:00:00Z", "queue_needed": 2400, "queued_for_next_target": True,
        "quality_target": 0.9, "quality_issues": [words], "sources_healthy": 1, "sources_degraded": 0,
        "sources_failing": 1, "sources_paused": 0, "vehicles_per_hour": 8600.0, "queue_per_hour": 9000.0,
        "total_vehicles": 1_234_567, "queue_pending": 3100, "queue_processing": 0, "queue_dead": 4,
        "extraction_success": 0.98, "reliability_7d": 0.75, "reliability_30d": None,
        "quality_by_field": {"price": {"completeness": 0.88, "accuracy": None, "sample_size": 900}},
        "sources": [
            {"source": "good_source", "vehicles_added": 9, "found": 10, "quality": 0.9, "health": "healthy",
             "reason": "fine", "usually_listed": 10.0, "reliability_7d": 1.0, "reliability_30d": None},
            {"source": "bad_source", "health": "failing", "reason": words, "usually_listed": None,
             "reliability_7d": 0.5, "reliability_30d": 0.5},
        ],
        "failures": [{"source": "bad_source", "category": words, "pages": 7}],
        "actions": [{"action": "drain/0", "status": "done", "reason": words}],
        "next_actions": [words], "errors": [words], "reconciled": True,
    }  # fmt: skip


def daily_report() -> dict[str, Any]:
    return {
        "date": "2025-12-24", "vehicles_added": 11_550, "vehicles_queued": 12_000, "cycles_completed": 6,
        "cycles_on_target": 2, "cycles_missed": 0, "avg_quality": 0.91, "sources_active": 15, "sources_discovered": 3,
        "status": "AT_RISK", "target": 24_000, "expected_by_now": 12_000, "forecast": 23_100,
        "forecast_says": "at this rate 23,100 by midnight UTC, 900 short", "quality_target": 0.9,
        "criteria": {
            "vehicles": {"target": 24_000, "actual": 11_550, "status": "AT_RISK", "says": "900 short"},
            "quality": {"target": 0.9, "actual": None, "status": None, "says": "no cycle measured quality yet"},
        },
        "series": [
            {"label": f"{2 * i:02d}:00", "vehicles_added": 1925, "target": 2000, "quality": 0.91, "missed": 0}
            for i in range(6)
        ],
    }  # fmt: skip


class Tags(HTMLParser):
    """Every tag with its attributes, and whether each that is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(page: str) -> Tags:
    """The page, found to be well formed, without scripts and without anything from elsewhere."""
    tags = Tags(page)
    assert tags.open == []
    for tag, attributes in tags.found:
        assert tag not in ("script", "img", "link", "iframe", "object")
        assert not any(name.startswith("on") or name in ("src", "href", "data") for name in attributes)
    assert "url(" not in page
    assert "@import" not in page
    return tags


def test_a_page_shows_the_figures_and_the_worst_source_first() -> None:
    page = report_html(cycle_report(), [cycle_report(), cycle_report(added=900)], written_at=NOW)
    tags = checked(page)
    for shown in ("2,150 of 2,000 vehicles added, 150 over the target", "3,100 wait, the next cycle needs 2,400",
                  "92.0%", "1 healthy, 0 degraded, 1 failing", "1,234,567", "75.0%", "88.0%", "on target"):  # fmt: skip
        assert shown in page, shown
    assert page.index("bad_<wbr>source") < page.index("good_<wbr>source")
    bars = [attributes["class"] for tag, attributes in tags.found if tag == "rect"]
    assert bars == ["good", "short"]


def test_a_summary_shows_its_forecast_and_its_criteria() -> None:
    page = report_html(daily_report(), (), written_at=NOW)
    checked(page)
    for shown in ("At this rate 23,100 by midnight UTC, 900 short.", "Average quality", "not known yet", "at risk"):
        assert shown in page, shown
    assert page.count("<rect") == 6


def test_nothing_hostile_runs_and_light_and_dark_are_both_there() -> None:
    page = report_html(cycle_report(HOSTILE), [cycle_report(HOSTILE)], written_at=NOW)
    checked(page)
    assert page.count("&lt;script&gt;") >= 6
    assert "prefers-color-scheme: dark" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


@given(st.text(max_size=80), st.integers(0, 10**9), st.one_of(st.none(), st.floats(0, 1)))
def test_any_text_and_number_makes_a_sound_page(words: str, added: int, quality: float | None) -> None:
    report = cycle_report(words, added) | {"data_quality": quality, "extraction_success": quality}
    checked(report_html(report, [report], written_at=NOW))
    assert str(added) in report_markdown(report, [report])


def test_a_report_of_an_earlier_release_is_still_shown() -> None:
    known = ("cycle_id", "started_at", "completed_at", "vehicles_added", "vehicles_queued", "target", "on_target",
             "data_quality", "sources_active", "sources_discovered", "next_cycle")  # fmt: skip
    old = {name: cycle_report()[name] for name in known}
    checked(report_html(old, [old], written_at=NOW))
    assert "| vehicles_added | 2150 |" in report_markdown(old, [old])


def test_a_share_is_never_rounded_up_to_its_target() -> None:
    assert (share(0.8999), share(0.9), share(1.0), share(None)) == ("89.9%", "90.0%", "100.0%", "–")


def test_markdown_has_the_forecast_the_criteria_and_a_chart_with_targets() -> None:
    page = report_markdown(daily_report(), ())
    assert page.startswith("**AT_RISK**: at this rate 23,100 by midnight UTC, 900 short")
    assert "| vehicles | 11550 | 24000 | AT_RISK | 900 short |" in page
    assert page.count("█|") + page.count(" |") > 6
    assert "Quality: `▇▇▇▇▇▇`" in page
