"""Addresses the page may point to: the Dagster UI's, and those the web gave us, which are hostile until checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from fill_pipeline.db.overview import SourceLine
from fill_pipeline.settings import Network

MAX_URL = 2000
_INSIDE = (".local", ".internal", ".lan", ".home", ".arpa")
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_LOOPBACK = ip_address("127.0.0.1")


def outside_url(url: str | None, allow_nets: tuple[Network, ...] = ()) -> str | None:
    """The address if a browser may safely be sent there: http or https, no password, no host of a private network.

    A picture is fetched by whoever looks at the page, from inside their network: an advertisement must not
    be able to make that browser call a router or a service on the same machine.
    """
    if not url or len(url) > MAX_URL or any(c in url for c in "\r\n\t\\"):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or parts.username is not None or port == 0:
        return None
    try:
        # RFC 6761: every name below localhost is this machine.
        address = _LOOPBACK if host.rstrip(".").endswith(".localhost") else ip_address(host)
    except ValueError:
        # A name without a letter in its last label is an address in disguise (0x7f.1, 2130706433).
        public = "." in host.strip(".") and bool(re.search(r"\.[a-z][a-z0-9-]*\.?$", host))
        return url if public and not host.rstrip(".").endswith(_INSIDE) else None
    allowed = address.is_global or any(address in net for net in allow_nets if net.version == address.version)
    return url if allowed else None


@dataclass(frozen=True, slots=True)
class Dagster:
    """Pages of the Dagster UI; None everywhere when it is not known where that is."""

    base: str | None

    def asset(self, *path: str) -> str | None:
        """The page of an asset."""
        return f"{self.base.rstrip('/')}/assets/{'/'.join(quote(p, safe='') for p in path)}" if self.base else None

    def source(self, line: SourceLine) -> str | None:
        """The page of the asset that stands for a source: its own, or its group's."""
        group = re.sub(r"[^a-z0-9]+", "_", (line.asset_group or "").lower()).strip("_")
        return self.asset("sources", group or line.slug)

    def run(self, run_id: str | None) -> str | None:
        """The page of a run; None for what ran outside Dagster, whose names are no UUIDs."""
        return f"{self.base.rstrip('/')}/runs/{run_id}" if self.base and run_id and _RUN_ID.match(run_id) else None
