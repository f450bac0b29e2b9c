"""The live page: panels that every viewer shares, and what each viewer asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from nicegui import Client, ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.dashboard.actions import Deed, Gate, Order, RefusedError, carry_out, earlier_versions
from fill_pipeline.dashboard.lineage import LIMIT, Figure, explain, tell_vehicle
from fill_pipeline.dashboard.links import Dagster
from fill_pipeline.dashboard.poller import Poller, Reading
from fill_pipeline.dashboard.render import Renderer, Sort
from fill_pipeline.db.connect import connect
from fill_pipeline.db.registry import ConfigVersion
from fill_pipeline.db.server import DatabaseUnavailableError, database_url
from fill_pipeline.settings import Settings

TITLE = "Vehicle database fill"
SOURCES_MAX_SEARCH = 60
MAX_REASON = 500  # characters

log = logging.getLogger(__name__)

_LAYOUT = (
    ("top", "header", "top"),
    ("notice", "div", "notices"),
    ("cycle", "section", "card"),
    ("figures", "div", "figures"),
    ("sources", "section", "card"),
    ("quality", "section", "card two-thirds"),
    ("problems", "section", "card third"),
    ("improvement", "section", "card"),
    ("vehicles", "section", "card"),
    ("dialog", "div", ""),
)
"""Each panel with its HTML element and classes, in reading order."""


class Panel(Element, component="static/panel.js"):
    """A part of the page with HTML of ours; what the viewer does in it comes as the event ``do``."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self._props["tag"] = tag
        self._props["html"] = ""

    def show(self, html: str) -> None:
        """Bring it to this HTML; nothing is sent when it already shows it."""
        if self._props["html"] != html:
            self._props["html"] = html
            self.update()


@dataclass(frozen=True, slots=True)
class Ask:
    """What a viewer is asked before something is done."""

    deed: Deed
    subject: str
    title: str
    explanation: str
    verb: str
    needs_token: bool
    versions: tuple[ConfigVersion, ...] = ()
    why: str = ""
    refusal: str | None = None


@dataclass(slots=True)
class Viewer:
    """One open page."""

    client: Client
    panels: dict[str, Panel] = field(default_factory=dict)
    sort: Sort = field(default_factory=Sort)
    admitted: bool = False
    ask: Ask | None = None
    busy: bool = False


_WORDS: dict[Deed, tuple[str, str, str]] = {
    Deed.PAUSE: ("Pause {}?", "It is crawled no more until somebody resumes it. Its vehicles stay.", "Pause"),
    Deed.RESUME: ("Resume {}?", "It is crawled again, from the next harvest on.", "Resume"),
    Deed.REQUEUE: ("Requeue the dead pages of {}?", "Pages that used up their attempts are tried anew.", "Requeue"),
    Deed.ROLL_BACK: ("Roll back {}?", "The chosen configuration comes back as a new version.", "Roll back"),
    Deed.RUN_CYCLE: ("Run a cycle now?", "A cycle of this window is opened; the sensors carry it out.", "Run"),
    Deed.DISMISS: (
        "Dismiss incident {}?",
        "Everybody is told who dismissed it and why. It comes back if it gets worse, stays a week, or happens again.",
        "Dismiss",
    ),
}  # fmt: skip


class Board:
    """Everything one dashboard process shows and does."""

    def __init__(self, settings: Settings, poller: Poller, gate: Gate, dagster_url: str | None) -> None:
        self._settings, self._poller, self._gate = settings, poller, gate
        self._renderer = Renderer(settings, Dagster(dagster_url), can_act=gate.exists)
        self._viewers: dict[str, Viewer] = {}
        self._panels: Mapping[str, str] = {}
        self._sources: dict[Sort, str] = {}
        self._wake = asyncio.Event()
        self._questions = asyncio.Semaphore(2)

    async def run(self) -> None:
        """Read and show for ever; without viewers nothing is read."""
        while True:
            if not self._viewers:
                self._wake.clear()
                await self._wake.wait()
            try:
                await self._turn()
            except Exception:
                log.exception("the page could not be brought up to date")  # and is tried again
            await asyncio.sleep(self._poller.pause)

    async def _turn(self) -> None:
        reading = await asyncio.to_thread(self._poller.read)
        self._panels = await asyncio.to_thread(self._render, reading)
        self._sources.clear()
        for viewer in list(self._viewers.values()):
            self._show(viewer, reading)

    def _render(self, reading: Reading) -> Mapping[str, str]:
        return {"top": self._renderer.panel("top", reading=reading, title=TITLE), **self._renderer.shared(reading)}

    def _show(self, viewer: Viewer, reading: Reading) -> None:
        for name, html in self._panels.items():
            viewer.panels[name].show(html)
        if reading.overview is not None:
            if viewer.sort not in self._sources:
                self._sources[viewer.sort] = self._renderer.sources(reading.overview, viewer.sort)
            viewer.panels["sources"].show(self._sources[viewer.sort])

    def build(self) -> None:
        """Make the page of a new viewer; called by NiceGUI for each."""
        viewer = Viewer(ui.context.client)
        with ui.element("div").classes("board"):
            for name, tag, classes in _LAYOUT:
                panel = viewer.panels[name] = Panel(tag)
                panel.classes(classes)
                if tag == "section":
                    panel.props(f"aria-labelledby=h-{name}")
                panel.on("do", lambda event: self._do(viewer, event))
        self._show(viewer, self._poller.reading)
        viewer.client.on_connect(lambda: self._enter(viewer))
        viewer.client.on_delete(lambda: self._viewers.pop(viewer.client.id, None))

    def _enter(self, viewer: Viewer) -> None:
        self._viewers[viewer.client.id] = viewer
        self._wake.set()

    async def _do(self, viewer: Viewer, event: GenericEventArguments) -> None:
        """Whatever the browser says is checked here; a page that was tampered with gains nothing."""
        asked = event.args if isinstance(event.args, dict) else {}
        what, subject = str(asked.get("do", "")), str(asked.get("subject", ""))
        if what == "sort":
            viewer.sort = viewer.sort.by(subject)
            self._show(viewer, self._poller.reading)
        elif what == "search":
            viewer.sort = Sort(viewer.sort.column, viewer.sort.down, subject.strip().lower()[:SOURCES_MAX_SEARCH])
            self._show(viewer, self._poller.reading)
        elif what == "dismiss":
            self._ask(viewer, None)
        elif what == "confirm":
            await self._confirmed(viewer, asked)
        elif what == "why":
            await self._why(viewer, subject)
        elif what in set(Deed):
            await self._wanted(viewer, Deed(what), subject)

    async def _why(self, viewer: Viewer, subject: str) -> None:
        """Explain a figure, or a vehicle (``vehicle:12``); one question of a viewer at a time, two of all."""
        if viewer.busy:
            return
        viewer.busy = True
        try:
            async with self._questions:
                html = await asyncio.to_thread(self._explanation, subject)
        finally:
            viewer.busy = False
        viewer.ask = None
        viewer.panels["dialog"].show(html)

    def _explanation(self, subject: str) -> str:
        what, _, of = subject.partition(":")
        try:
            with connect(database_url(self._settings), name="fill dashboard why") as conn:
                conn.execute("SET statement_timeout = '10s'")
                conn.execute("SET default_transaction_read_only = on")
                if what == "vehicle" and of.isascii() and of.isdigit() and len(of) < 19:
                    return self._renderer.vehicle(tell_vehicle(conn, int(of)))
                if what in set(Figure):
                    found = explain(conn, self._settings, Figure(what), None, limit=LIMIT, now=utc_now())
                    return self._renderer.explanation(found)
        except LookupError as error:
            return self._renderer.unexplained(str(error))
        except psycopg.errors.QueryCanceled:
            return self._renderer.unexplained("That takes too long here; `fill why` in a terminal takes its time.")
        except (psycopg.Error, DatabaseUnavailableError) as error:
            return self._renderer.unexplained(f"The database cannot be read: {error}")
        return self._renderer.unexplained("There is nothing of that name.")

    async def _wanted(self, viewer: Viewer, deed: Deed, subject: str) -> None:
        title, explanation, verb = _WORDS[deed]
        versions: list[ConfigVersion] = []
        try:
            if deed is Deed.ROLL_BACK:
                versions = await asyncio.to_thread(earlier_versions, self._settings, subject)
        except (RefusedError, psycopg.Error, DatabaseUnavailableError) as error:
            self._tell(viewer, str(error), good=False)
            return
        self._ask(
            viewer,
            Ask(
                deed,
                subject,
                title.format(subject or "all sources"),
                explanation,
                verb,
                needs_token=not viewer.admitted,
                versions=tuple(versions),
            ),
        )

    async def _confirmed(self, viewer: Viewer, said: Mapping[str, Any]) -> None:
        ask = viewer.ask
        if ask is None:
            return
        try:
            if not viewer.admitted:
                self._gate.admit(str(said.get("token", "")))
                viewer.admitted = True
            version = str(said.get("version", ""))
            order = Order(
                ask.deed,
                ask.subject,
                who=viewer.client.ip or "somebody",
                version=int(version) if version.isascii() and version.isdigit() and len(version) < 10 else None,
                why=str(said.get("why", ""))[:MAX_REASON],
            )
            done = await asyncio.to_thread(carry_out, self._settings, order, now=utc_now())
        except (RefusedError, psycopg.Error, DatabaseUnavailableError) as error:
            said_why = str(said.get("why", ""))[:MAX_REASON]
            self._ask(viewer, replace(ask, needs_token=not viewer.admitted, why=said_why, refusal=str(error)))
            return
        self._ask(viewer, None)
        self._tell(viewer, done, good=True)
        await self._turn()

    def _ask(self, viewer: Viewer, ask: Ask | None) -> None:
        viewer.ask = ask
        viewer.panels["dialog"].show(self._renderer.panel("dialog", ask=ask).strip())

    def _tell(self, viewer: Viewer, words: str, *, good: bool) -> None:
        with viewer.client:
            ui.notify(words, type="positive" if good else "negative", timeout=6000, position="top")
