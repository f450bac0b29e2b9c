"""Receivers of alerts on loopback: a web server and a mail server."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast


@dataclass
class Receiver:
    """What a server on loopback got, and how it is to answer."""

    port: int = 0
    status: int = 200
    delay: float = 0.0
    got: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def serve_receiver() -> Iterator[Receiver]:
    """An HTTP server that keeps what is posted to it."""
    told = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(told.delay)
            with told.lock:
                told.headers.append(dict(self.headers.items()))
                if told.status < 300:
                    told.got.append(json.loads(body))
            self.send_response(told.status)
            if told.status in (301, 302, 307):
                self.send_header("Location", f"http://127.0.0.1:{told.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield told
        server.shutdown()


@dataclass
class Letterbox:
    """What a mail server on loopback got, how it was spoken to, and how it is to answer."""

    port: int = 0
    refuse: bytes = b""
    offers: tuple[bytes, ...] = ()
    tls: ssl.SSLContext | None = None
    letters: list[EmailMessage] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    said: list[tuple[bytes, bool]] = field(default_factory=list)


@contextmanager
def serve_letterbox() -> Iterator[Letterbox]:
    """A small SMTP server: EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, QUIT."""
    told = Letterbox()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            sock, encrypted = self.request, False
            stream = sock.makefile("rwb")

            def say(line: bytes) -> None:
                stream.write(line + b"\r\n")
                stream.flush()

            say(b"220 here")
            while line := stream.readline(4096):
                verb = line.strip().partition(b" ")[0].upper()
                told.said.append((line.strip(), encrypted))
                if verb == b"EHLO":
                    lines = [b"here", *(o for o in told.offers if not (encrypted and o == b"STARTTLS"))]
                    for one in lines[:-1]:
                        say(b"250-" + one)
                    say(b"250 " + lines[-1])
                elif verb == b"STARTTLS" and told.tls is not None:
                    say(b"220 go on")
                    sock = told.tls.wrap_socket(sock, server_side=True)
                    stream, encrypted = sock.makefile("rwb"), True
                elif verb == b"AUTH":
                    say(b"235 welcome")
                elif verb == b"RCPT" and told.refuse:
                    say(told.refuse)
                elif verb == b"DATA":
                    say(b"354 go on")
                    body = b""
                    while (part := stream.readline(4096)) != b".\r\n":
                        body += part
                    told.raw.append(body)
                    told.letters.append(cast(EmailMessage, message_from_bytes(body, policy=default)))
                    say(b"250 kept")
                elif verb == b"QUIT":
                    say(b"221 bye")
                    return
                else:
                    say(b"250 fine")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, allow_reuse_address = True, True

        def handle_error(self, *_args: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        told.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield told
        server.shutdown()
