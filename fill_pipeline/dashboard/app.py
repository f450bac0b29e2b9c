"""Serving the dashboard: the page, ``/metrics`` and ``/healthz``."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse
from nicegui import ui
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fill_pipeline.dashboard.actions import Gate
from fill_pipeline.dashboard.metrics import CONTENT_TYPE, exposition
from fill_pipeline.dashboard.page import TITLE, Board
from fill_pipeline.dashboard.poller import Poller
from fill_pipeline.settings import Settings

RECONNECT_SECONDS = 20.0  # a viewer who was away for less goes on where they were, without a reload
METRICS_MAX_AGE = 2.0  # seconds; several scrapers share one reading
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#1f5fd0"/>'
    '<path d="M7 23V17h4v6zm7 0V12h4v11zm7 0V7h4v16z" fill="#fff"/></svg>'
)

log = logging.getLogger(__name__)


def serve(
    settings: Settings, *, host: str = "127.0.0.1", port: int, token: str | None, dagster_url: str | None
) -> None:
    """Serve the dashboard in the foreground until interrupted; ``dagster_url`` is where the Dagster UI answers.

    Without a token nobody can act. Bound to loopback, only requests for loopback names are answered, so
    that no page elsewhere can reach it through a name of its own.
    """
    app = build_app(settings, host=host, token=token, dagster_url=dagster_url)
    if not _is_loopback(host):
        log.warning(
            "the dashboard listens on %s: whoever reaches it can read it; put a proxy with a login before it", host
        )
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )


def build_app(settings: Settings, *, host: str, token: str | None, dagster_url: str | None) -> FastAPI:
    """The application. NiceGUI keeps its state in the process: build one only."""
    poller = Poller(settings)
    board = Board(settings, poller, Gate(token), dagster_url)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(board.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        poller.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/metrics")
    def metrics() -> PlainTextResponse:
        return PlainTextResponse(exposition(poller.read(max_age=METRICS_MAX_AGE)), media_type=CONTENT_TYPE)

    @app.get("/healthz")
    def healthz() -> JSONResponse:
        reading = poller.read(max_age=METRICS_MAX_AGE)
        if reading.error is not None:
            return JSONResponse({"status": "the database cannot be read"}, status_code=503)
        return JSONResponse({"status": "ok"})

    static = Path(__file__).parent / "static"
    style = (static / "dashboard.css").read_text()

    @ui.page("/", title=TITLE, response_timeout=20)
    def page() -> None:
        ui.add_head_html(f"<style>{style}</style>")
        board.build()

    ui.run_with(
        app,
        title=TITLE,
        favicon=FAVICON,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        gzip_middleware_factory=None,
        reconnect_timeout=RECONNECT_SECONDS,
        message_history_length=int(RECONNECT_SECONDS),
        binding_refresh_interval=None,
    )
    app.add_middleware(_Headers)
    app.add_middleware(_OwnPagesOnly)
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    if _is_loopback(host):
        app.add_middleware(
            TrustedHostMiddleware, allowed_hosts=["localhost", "*.localhost", "127.0.0.1", "::1", "[::1]"]
        )
    return app


class _OwnPagesOnly:
    """Refuses what the pages of other sites ask for: a browser says where a request comes from (RFC 6454)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        origin = headers.get(b"origin")
        if origin is None or origin.partition(b"://")[2] == headers.get(b"host"):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await PlainTextResponse("only this dashboard's own pages may ask for that", 403)(scope, receive, send)


class _Headers:
    """Tells the browser to run our scripts alone, to send nobody our address, and to be nobody's frame."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(16)
        page: Message | None = None
        body = bytearray()

        async def guarded(message: Message) -> None:
            nonlocal page
            if message["type"] == "http.response.start":
                headers = {k.lower(): v for k, v in message["headers"]}
                message["headers"] = [*message["headers"], *_headers(nonce)]
                if headers.get(b"content-type", b"").startswith(b"text/html"):
                    page = message
                    return
            elif page is not None and message["type"] == "http.response.body":
                # Every script tag of the page is NiceGUI's or ours: what comes from outside is escaped data.
                body.extend(message.get("body", b""))
                if message.get("more_body"):
                    return
                marked = bytes(body).replace(b"<script", f'<script nonce="{nonce}"'.encode())
                page["headers"] = [(k, v) for k, v in page["headers"] if k.lower() != b"content-length"]
                page["headers"].append((b"content-length", str(len(marked)).encode()))
                await send(page)
                message = {"type": "http.response.body", "body": marked}
            await send(message)

        await self._app(scope, receive, guarded)


def _headers(nonce: str) -> list[tuple[bytes, bytes]]:
    policy = (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: http: https:; font-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return [
        (b"content-security-policy", policy.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    ]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
