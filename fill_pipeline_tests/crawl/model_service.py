"""A language model service on loopback that answers as it is told, also badly."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = {
    "one_vehicle": True,
    "year": "2014",
    "make": "Honda",
    "model": "Civic",
    "price": "8 750",
    "mileage": "61 420",
    "place": "Port Salem",
}
HUGE = 50_000_000


class ModelService:
    """Answers every question with ``values``, or lets ``misbehave`` write the response; keeps what it was asked."""

    def __init__(self) -> None:
        self.values: Any = dict(GOOD)
        self.tokens: int | None = 900
        self.finish = "stop"
        self.misbehave: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.gate = threading.Event()
        """Set to let stalled answers end."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.asked.append({"path": self.path, **json.loads(body)})
                service.keys.append(self.headers.get("Authorization"))
                with contextlib.suppress(OSError):
                    (service.misbehave or service.answer)(self)

            def do_GET(self) -> None:
                service.asked.append({"path": self.path})
                service.keys.append(self.headers.get("Authorization"))
                send(self, 200, b"{}")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """The answer of a service that works."""
        content = self.values if isinstance(self.values, str) else json.dumps(self.values)
        choice = {"index": 0, "finish_reason": self.finish, "message": {"role": "assistant", "content": content}}
        usage = {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": self.tokens}}
        body = {"id": "c1", "object": "chat.completion", "choices": [choice], **(usage if self.tokens else {})}
        send(handler, 200, json.dumps(body).encode())

    def stall(self, handler: BaseHTTPRequestHandler) -> None:
        """Begin an answer and never end it."""
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"choices": [')
        self.gate.wait(20)

    def flood(self, handler: BaseHTTPRequestHandler) -> None:
        """Fifty megabytes."""
        handler.send_response(200)
        handler.send_header("Content-Length", str(HUGE))
        handler.end_headers()
        for _ in range(HUGE // 100_000):
            handler.wfile.write(b" " * 100_000)

    def close(self) -> None:
        """Stop serving."""
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    """One whole response."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def with_status(status: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """A response of this status."""
    return lambda handler: send(handler, status, b"no", **headers)
