"""The page for those who use a keyboard, a screen reader, or see little contrast."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fill_pipeline.cycle.report_html import report_html
from fill_pipeline.dashboard import app
from fill_pipeline.db import incidents
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.incidents import Incident, IncidentKind
from fill_pipeline_tests.cycle.test_report_page import cycle_report, daily_report

CSS = (Path(app.__file__).parent / "static" / "dashboard.css").read_text()
TEXT = 4.5  # WCAG 2.2, 1.4.3: contrast of text
PARTS = 3.0  # 1.4.11: of what is not text
TEXT_ON = {
    "ink": ("page", "card", "h-low", "h-below", "h-near", "h-good", "h-full"),
    "quiet": ("page", "card", "none-bg"),
    "accent": ("card", "info-bg"),
    "good": ("card", "good-bg"),
    "warn": ("card", "warn-bg"),
    "bad": ("card", "bad-bg"),
}
NAMELESS = """[...document.querySelectorAll('button, a, input, img, [role=img], [role=group], dialog, section, table')]
    .filter(e => !(e.getAttribute('aria-label') || e.title || e.alt === '' || e.labels?.length
        || document.getElementById(e.getAttribute('aria-labelledby'))?.textContent.trim()
        || (['BUTTON', 'A', 'TABLE'].includes(e.tagName) && e.textContent.trim())))
    .map(e => e.outerHTML.slice(0, 200))"""
HIDDEN_WORDS = """[...document.querySelectorAll('#app button[aria-label]')]
    .filter(e => e.innerText.trim().length > 1)
    .filter(e => !e.getAttribute('aria-label').toLowerCase().includes(e.innerText.trim().toLowerCase()))
    .map(e => e.outerHTML.slice(0, 200))"""
CLICKABLE = "#app :is(a[href], button, input, [tabindex='0'])"


def palette(theme: str) -> dict[str, tuple[float, ...]]:
    blocks = re.findall(r':root(\[data-theme="dark"\])? \{(.*?)\}', CSS, re.S)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", "".join(b for dark, b in blocks if not dark)))
    if theme == "dark":
        colours |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", "".join(b for dark, b in blocks if dark)))
    return {name: tuple(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)) for name, c in colours.items()}


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2.2, relative luminance."""
    dark, light = sorted(
        sum(
            weight * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
            for weight, c in zip((0.2126, 0.7152, 0.0722), colour, strict=True)
        )
        for colour in (one, other)
    )
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_on_its_ground(theme: str) -> None:
    colours = palette(theme)
    assert len(colours) >= 20
    for text, grounds in TEXT_ON.items():
        for ground in grounds:
            ink = "h-ink" if ground.startswith("h-") else text
            assert contrast(colours[ink], colours[ground]) >= TEXT, (theme, ink, ground)
    assert contrast(colours["accent"], colours["track"]) >= PARTS  # the progress bar, the focus


def test_everything_has_a_name_and_a_place(page: Any, rows: Any) -> None:
    rows.add_vehicles(3, image="https://example.com/a.png")
    rows.queue("dealer_001", 2, "dead")
    page.wait_for_selector("[aria-label='Requeue the dead pages of Dealer 001']")
    page.wait_for_selector(".car")
    assert page.evaluate("document.documentElement.lang") != ""
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(HIDDEN_WORDS) == []  # who speaks to the page says what stands there
    levels = page.evaluate("[...document.querySelectorAll('#app :is(h1, h2, h3)')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    bar = page.query_selector("[role=progressbar]")
    assert (bar.get_attribute("aria-valuenow"), bar.get_attribute("aria-valuetext")) == ("3", "3 of 2,000")
    assert page.query_selector("[role=status]")  # the cycle's state is told when it changes
    assert page.evaluate("document.querySelectorAll('th:not([scope])').length") == 0


def test_the_tab_key_reaches_everything_in_reading_order(page: Any, rows: Any) -> None:
    rows.queue("dealer_001", 2, "dead")
    page.wait_for_selector("[aria-label='Requeue the dead pages of Dealer 001']")
    wanted = page.evaluate(
        """s => {
            places = new Map([...document.querySelectorAll(s)].map((e, i) => [e, i]))  // an update changes no element
            return [...places.values()]
        }""",
        CLICKABLE,
    )
    page.evaluate("document.body.tabIndex = -1; document.body.focus()")
    reached = []
    for _ in range(len(wanted) + 3):
        page.keyboard.press("Tab")
        place = page.evaluate("places.get(document.activeElement)")
        if place is None:
            break
        reached.append(place)
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert len(wanted) > 20
    assert reached == wanted


def test_a_dialog_keeps_the_focus_and_has_a_name(page: Any, rows: Any) -> None:
    page.click("[data-do=why][data-subject=vehicles_added]")
    page.wait_for_selector("dialog[open]")
    assert page.evaluate("document.querySelector('dialog').matches(':modal')")
    assert page.evaluate(NAMELESS) == []
    for _ in range(12):
        page.keyboard.press("Tab")
        inside = "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        assert page.evaluate(inside)
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("document.activeElement.dataset.subject") == "vehicles_added"


@pytest.mark.parametrize("width", [360, 390])
def test_what_is_touched_is_large_enough(browser: Any, address: str, rows: Any, width: int) -> None:
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(address)
    page.wait_for_selector(".sources tbody tr")
    small = page.evaluate(
        """[...document.querySelectorAll('#app button')].filter(e => e.offsetParent)
           .map(e => [e.outerHTML.slice(0, 90), e.getBoundingClientRect()])
           .filter(([_, r]) => r.width < 24 || r.height < 24).map(([h]) => h)"""
    )
    page.close()
    assert small == []  # WCAG 2.2, 2.5.8


SERIOUS = """async () => (await axe.run(document, { resultTypes: ['violations'] })).violations
    .filter(v => ['serious', 'critical'].includes(v.impact))
    .map(v => [v.id, v.help, v.nodes.slice(0, 3).map(n => n.html.slice(0, 160))])"""


@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (390, "dark")])
def test_an_axe_scan_has_no_serious_finding(
    page: Any, rows: Any, conn: Connection, tmp_path: Path, width: int, scheme: str
) -> None:
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    rows.add_vehicles(3, image="https://example.com/a.png")
    rows.queue("dealer_001", 2, "dead")
    rows.act("harvest", "running", run_id="7f2c1e5a-0b1d-4c5e-9a57-3d1f5c2b8e90")
    failing = Incident(IncidentKind.SOURCE_FAILING, "dealer_003", "it fails")
    incidents.open_incident(conn, failing, now=datetime.now(UTC))
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.wait_for_selector("[data-do=dismiss_incident]")
    page.evaluate(axe)
    found = {"page": page.evaluate(SERIOUS)}
    for dialog in ("[data-subject=vehicles_added]", "[data-subject=data_quality]", "[data-do=dismiss_incident]",
                   "[data-subject='vehicle:3']", "[data-do=pause]"):  # fmt: skip
        page.click(dialog)
        page.wait_for_selector("dialog[open]")
        found[dialog] = page.evaluate(SERIOUS)
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")
    for name, report in (("cycle", cycle_report()), ("day", daily_report())):
        path = tmp_path / f"{name}.html"
        path.write_text(report_html(report, [cycle_report()], written_at=datetime.now(UTC)))
        page.goto(path.as_uri())
        page.evaluate(axe)
        found[name] = page.evaluate(SERIOUS)
    assert {where: findings for where, findings in found.items() if findings} == {}
