"""The simulated web as a source of sources: for a first look, and for cycles over saved pages."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fill_pipeline.cli.output import fail
from fill_pipeline.db import cycles, registry
from fill_pipeline.db.connect import connect
from fill_pipeline.db.migrate import migrate
from fill_pipeline.db.server import database_url
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb, start_simweb

LOOPBACK = "127.0.0.0/8"
WINDOW_SECONDS = 7200.0


@contextmanager
def simulated_web(settings: Settings) -> Iterator[tuple[SimWeb, Settings]]:
    """Run the simulated web, its sites registered and its clock where the cycles so far have brought it."""
    try:
        socket.create_server(("127.0.0.1", settings.simweb_port)).close()
    except OSError as error:
        fail(
            f"FILL_SIMWEB_PORT={settings.simweb_port}: {error.strerror}; set another one, or, where `fill up` serves "
            "the simulated web, run `fill cycle` without --demo"
        )
    with start_simweb(port=settings.simweb_port) as web:
        permitted = _settings(FILL_HOME=str(settings.home), FILL_ALLOW_NETS=LOOPBACK)
        cycles_so_far = _register(permitted, web)
        if cycles_so_far:
            web.post("clock", advance_seconds=WINDOW_SECONDS * cycles_so_far)
            _open_the_others(web)
        yield web, permitted


@contextmanager
def saved_pages(settings: Settings, corpus: Path) -> Iterator[Settings]:
    """Serve a folder of saved pages under their sites' names, with a home and a database of their own.

    Their sources bear the names of real sites, so they stay out of the real registry.
    """
    with start_simweb(corpus=corpus) as web:
        os.environ.pop("FILL_DATABASE_URL", None)
        permitted = _settings(
            FILL_HOME=str(settings.home / "corpus"),
            FILL_ALLOW_NETS=LOOPBACK,
            FILL_CONNECT_TO=f"*::127.0.0.1:{web.port}",
        )
        _register(permitted, web)
        yield permitted


def _open_the_others(web: SimWeb) -> None:
    """Open the sites that others link to and nobody declared: what discovery may find, decoys among them."""
    for site in web.get("/sites"):
        if not site["open"]:
            web.post("open", slug=site["slug"])


def has_simulated_sources(settings: Settings) -> bool:
    """Whether sources of the simulated web are registered and active."""
    with connect(database_url(settings), name="fill demo") as conn:
        hosts = [urlsplit(source.base_url).hostname or "" for source in registry.sources(conn) if source.active]
    return any(host.endswith(".localhost") for host in hosts)


def _settings(**environment: str) -> Settings:
    os.environ.update(environment)  # the processes we start read their settings from there
    return Settings()


def _register(settings: Settings, web: SimWeb) -> int:
    """Declare every open site as a source; returns how many cycles the database has seen."""
    url = database_url(settings)
    migrate(url)
    with connect(url, name="fill demo") as conn:
        for site in web.get("/sites"):
            if site.get("open", True):
                registry.declare_source(
                    conn,
                    name=site["slug"],
                    base_url=site["base_url"],
                    config=site["suggested_config"],
                    kind=site["kind"],
                    note=site["name"],
                    made_by="demo",
                    reason="listed by the simulated web",
                )
        return len(cycles.last_ended(conn, 10_000))
