"""A running simulated web and a plain HTTP client for it."""

from __future__ import annotations

import gzip
import http.client
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from fill_pipeline.simweb import SimWeb, start_simweb

SCALE = 0.2


@dataclass
class Answer:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Browser:
    """Asks the simulated web over HTTP, following nothing by itself."""

    web: SimWeb
    timeout: float = 5.0
    sites: dict[str, dict[str, Any]] = field(default_factory=dict)

    def get(self, url: str, method: str = "GET", **headers: str) -> Answer:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=self.timeout)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, headers={"Host": parts.netloc, **fields})
            response = connection.getresponse()
            body = response.read()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, body)
        finally:
            connection.close()

    def get_packed(self, url: str) -> Answer:
        """As ``get``, but asks for gzip and unpacks it."""
        answer = self.get(url, Accept_Encoding="gzip")
        assert answer.headers["content-encoding"] == "gzip"
        return Answer(answer.status, answer.headers, gzip.decompress(answer.body))

    def site(self, **wanted: Any) -> dict[str, Any]:
        """The first open site whose record has those values."""
        for site in self.web.get("/sites"):
            if site["open"] and all(site[name] == value for name, value in wanted.items()):
                found: dict[str, Any] = site
                return found
        raise LookupError(f"no open site with {wanted}")

    def ads(self, slug: str) -> list[dict[str, Any]]:
        """The truth of a site."""
        ads: list[dict[str, Any]] = self.web.get(f"/truth?slug={slug}")
        return ads


@pytest.fixture(scope="session")
def simweb() -> Iterator[SimWeb]:
    with start_simweb(seed=5, scale=SCALE) as web:
        yield web


@pytest.fixture
def browser(simweb: SimWeb) -> Browser:
    """A client of a world that stands at its start."""
    simweb.post("reset")
    return Browser(simweb)
