"""A fetcher's limits and manners, and where connections are redirected to."""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import ssl
from dataclasses import dataclass
from importlib.metadata import version

from fill_pipeline.crawl.guard import Network, parse_nets
from fill_pipeline.crawl.urls import origin

_CONNECT_TO = re.compile(r"(?P<host>[^:]*):(?P<port>\d*):(?P<address>\[[^\]]+\]|[^:]+):(?P<to_port>\d+)")
_MAX_REMEMBERED = 10_000


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """Limits and manners of one fetcher. Times are in seconds, sizes in bytes."""

    allow_nets: tuple[Network | str, ...] = ()
    connect_to: tuple[str, ...] = ()
    user_agent: str | None = None
    contact_url: str | None = None
    max_bytes: int = 8_000_000
    max_decompressed: int = 32_000_000
    timeout: float = 30.0
    connect_timeout: float = 10.0
    low_speed_bytes: int = 200
    low_speed_time: float = 15.0
    max_redirects: int = 8
    max_connections: int = 64
    idle_connections: int = 256
    ca_file: str | None = None

    def nets(self) -> tuple[Network, ...]:
        """The networks named in ``allow_nets``; raises ValueError for what is no network."""
        named = self.allow_nets
        return tuple(net for net in named if not isinstance(net, str)) + parse_nets(
            net for net in named if isinstance(net, str)
        )

    def certificates(self) -> str | None:
        """The file of trusted certificates: the one named, else this system's as Python knows it, else certifi's.

        libcurl is not asked, since a binary build looks where the machine that built it kept them.
        """
        paths = ssl.get_default_verify_paths()
        found = self.ca_file or paths.cafile
        if found is None and importlib.util.find_spec("certifi") is not None:
            found = str(importlib.import_module("certifi").where())
        return found

    def product_token(self) -> str:
        """The name robots.txt files know us by: the User-Agent up to its version."""
        return re.split(r"[/\s(]", self.agent(), maxsplit=1)[0] or "fill_pipeline"

    def agent(self) -> str:
        """The User-Agent sent unless a source has its own."""
        contact = f" (+{self.contact_url})" if self.contact_url else ""
        return self.user_agent or f"fill_pipeline/{version('fill_pipeline')}{contact}"


class ConnectTo:
    """Redirected connections, rules ``host-pattern:port:address:port`` as curl's option of that name, with wildcards.

    Real names can so be answered by a server on another address; the guard still checks that address.
    Raises ValueError for what is no rule.
    """

    def __init__(self, rules: tuple[str, ...]) -> None:
        self._rules = [_parse(rule) for rule in rules]
        self._known: dict[str, list[str] | None] = {}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def rule(self, url: str) -> list[str] | None:
        """What libcurl is told for this URL's host, or None where no rule matches."""
        authority = url.split("/", 3)[2]
        if authority not in self._known:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            host, _, port = origin(url).partition("://")[2].rpartition(":")
            self._known[authority] = next(
                (
                    [f"::{target}"]
                    for pattern, only_port, target in self._rules
                    if fnmatch.fnmatchcase(host, pattern) and only_port in ("", port)
                ),
                None,
            )
        return self._known[authority]


def _parse(rule: str) -> tuple[str, str, str]:
    match = _CONNECT_TO.fullmatch(rule.strip())
    if match is None:
        raise ValueError(f"connect_to rule {rule!r} is not host-pattern:port:address:port")
    return match["host"].lower() or "*", match["port"], f"{match['address']}:{match['to_port']}"
