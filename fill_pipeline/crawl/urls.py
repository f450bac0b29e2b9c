"""URLs: one canonical spelling, its bounded hash, and which site a URL belongs to."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import uuid
from functools import lru_cache
from operator import itemgetter
from urllib.parse import quote, unquote_to_bytes, urlencode, urljoin, urlsplit, urlunsplit

from publicsuffixlist import PublicSuffixList

MAX_URL_CHARS = 2000
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Parameters that name the visit, not the page: campaign tags of the large advertising and mail systems, session ids.
_TRACKING = frozenset(
    [
        "gclid",
        "gclsrc",
        "dclid",
        "fbclid",
        "msclkid",
        "yclid",
        "twclid",
        "ttclid",
        "igshid",
        "mc_cid",
        "mc_eid",
        "wbraid",
        "gbraid",
        "_ga",
        "_gl",
        "_hsenc",
        "_hsmi",
        "mkt_tok",
        "vero_id",
        "jsessionid",
        "phpsessid",
        "sessionid",
        "session_id",
    ]
)
_TRACKING_PREFIXES = ("utm_", "pk_", "mtm_", "hsa_", "aspsessionid")
_SESSION_IN_PATH = re.compile(r";(?:jsessionid|phpsessid|sid)=[^/?#]*", re.IGNORECASE)
# What RFC 3986 lets stand bare in a path or query beside letters and digits; '%' is dealt with apart.
_PATH_SAFE = "/-._~!$&'()*+,;=:@"
_QUERY_SAFE = "-._~!$'()*,;:@/?"
_WIRE_SAFE = "/-._~!$&'()*+,;=:@?%[]|"
_CLEAN_PATH = re.compile(r"[A-Za-z0-9/\-._~!$&'()*+,;=:@]*")
_CLEAN_QUERY = re.compile(r"[A-Za-z0-9\-._~!$'()*,;:@/?]*")
_CLEAN_WIRE = re.compile(r"https?://[a-z0-9.\-:]+/[A-Za-z0-9/\-._~!$&'()*+,;=:@?%|]*")
# What needs no work: most detail pages. (No digit starts the last label of a host that is a name.)
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_CANONICAL = re.compile(
    rf"https?://(?=[^/]{{1,253}}/)(?:(?:[a-z0-9-]+\.)+[a-z][a-z0-9-]*|(?:{_BYTE}\.){{3}}{_BYTE})"
    r"(?::(?!80/|443/)[1-9][0-9]{0,3})?/[A-Za-z0-9/\-._~!$&'()*+,=:@]*"
)
_ESCAPES = re.compile(r"((?:%[0-9A-Fa-f]{2})+)")
_BAD_HOST = re.compile(r"[\x00-\x20\x7f#%/:?@\\\[\]<>^|]")


def canonical_url(url: str) -> str:
    """The one spelling under which a page is known; raises ValueError for what is no http(s) URL.

    Lower-case scheme and host (punycode), no default port, fragment, user name or tracking and session
    parameters; dot segments resolved, percent-encoding normalised, parameters sorted (stably, so that
    repeated ones keep their order). Idempotent.
    """
    if _CANONICAL.fullmatch(url) and "/." not in url and len(url) <= MAX_URL_CHARS:
        return url
    parts = urlsplit(_trimmed(url))
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise ValueError("not an http or https URL")
    host = canonical_host(parts.hostname or "")
    port = parts.port
    authority = host if port is None or port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"
    path = _canonical_path(parts.path)
    query = _canonical_query(parts.query) if parts.query else ""
    return f"{scheme}://{authority}{path}?{query}" if query else f"{scheme}://{authority}{path}"


def url_hash(url: str) -> uuid.UUID:
    """A 128-bit name of the page (MD5 of the canonical URL; for uniqueness, not for security)."""
    return uuid.UUID(bytes=hashlib.md5(canonical_url(url).encode(), usedforsecurity=False).digest())


def origin(url: str) -> str:
    """Scheme, host and port, the border secrets do not cross; raises ValueError for what is no http(s) URL."""
    url = _trimmed(url)
    path = url.find("/", 8)
    return _origin(url[:path] if path > 0 else url)


@lru_cache(maxsize=4096)
def _origin(url: str) -> str:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise ValueError("not an http or https URL")
    return f"{scheme}://{canonical_host(parts.hostname or '')}:{parts.port or _DEFAULT_PORTS[scheme]}"


def same_site(url: str, base_url: str) -> bool:
    """Whether both URLs belong to one registrable domain (public suffix list); bare addresses must be equal."""
    try:
        return site_of(url) == site_of(base_url)
    except ValueError:
        return False


def site_of(url: str) -> str:
    """The registrable domain of a URL, or its host where it has none; raises ValueError for a bad URL."""
    return registrable_domain(origin(url).partition("://")[2].rpartition(":")[0])


def join(base_url: str, reference: str) -> str | None:
    """The absolute URL a reference on a page means, ready to be fetched, or None if it leads to no page."""
    reference = reference.strip()
    if len(reference) > MAX_URL_CHARS:
        return None
    try:
        return wire_url(urljoin(base_url, reference))
    except ValueError:
        return None


def wire_url(url: str) -> str:
    """The URL as it is sent: what it says in the order it says it, host in punycode, no fragment or user name.

    Raises ValueError for what is no http(s) URL of a bounded length.
    """
    if len(url) > MAX_URL_CHARS:
        raise ValueError("URL too long")
    if _CLEAN_WIRE.fullmatch(url):
        return url
    parts = urlsplit(_trimmed(url))
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise ValueError("not an http or https URL")
    host = canonical_host(parts.hostname or "")
    authority = host if parts.port is None else f"{host}:{parts.port}"
    path = quote(parts.path or "/", safe=_WIRE_SAFE)
    query = f"?{quote(parts.query, safe=_WIRE_SAFE)}" if parts.query else ""
    return f"{scheme}://{authority}{path if path.startswith('/') else '/' + path}{query}"


def is_http(url: str) -> bool:
    """Whether this is an http or https URL with a usable host and a bounded length."""
    if len(url) > MAX_URL_CHARS:
        return False
    try:
        origin(url)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def canonical_host(host: str) -> str:
    """A host in lower case and punycode, an address in its usual form (IPv6 in brackets).

    ``0x7f.1`` and ``2130706433`` are 127.0.0.1, as they are to the resolver. Raises ValueError if it is no host.
    """
    host = host.lower().rstrip(".")
    if ":" in host:
        if "%" in host:
            raise ValueError("an address with a zone")
        return f"[{ipaddress.IPv6Address(host).compressed}]"
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii").lower().rstrip(".")
        except UnicodeError:
            raise ValueError("host cannot be written in punycode") from None
    if not host or len(host) > 253 or _BAD_HOST.search(host) or ".." in host or host.startswith("."):
        raise ValueError("not a host name")
    last = host.rpartition(".")[2]
    if last.isdigit() or last.startswith("0x"):
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            raise ValueError("not an address") from None
    return host


@lru_cache(maxsize=4096)
def registrable_domain(host: str) -> str:
    """The part of a host name somebody registered ("a.b.co.uk" → "b.co.uk"); the host itself where none."""
    if host.startswith("[") or host.replace(".", "").isdigit():
        return host
    return str(_public_suffixes().privatesuffix(host) or host)


@lru_cache(maxsize=1)
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _trimmed(url: str) -> str:
    if len(url) > 4 * MAX_URL_CHARS:
        raise ValueError("URL too long")
    return url.strip()


def _canonical_path(path: str) -> str:
    if ";" in path:
        path = _SESSION_IN_PATH.sub("", path)
    if not path.startswith("/"):
        path = "/" + path
    if not _CLEAN_PATH.fullmatch(path):
        path = _requoted(path, _PATH_SAFE)
    return _without_dots(path) if "/." in path else path


def _canonical_query(query: str) -> str:
    kept: list[tuple[str, str]] = []
    for field in query.split("&"):
        name, equals, value = field.partition("=")
        name = _requoted(name, _QUERY_SAFE)
        if name and not _is_tracking(name.lower()):
            kept.append((name, equals + _requoted(value, _QUERY_SAFE)))
    kept.sort(key=itemgetter(0))
    return "&".join(name + value for name, value in kept)


def _requoted(text: str, safe: str) -> str:
    """Percent-encoding in one form: unreserved characters bare, what was escaped and means something stays so."""
    if safe is _QUERY_SAFE:
        if _CLEAN_QUERY.fullmatch(text):
            return text
        text = text.replace("+", "%20")
    return "".join(
        quote(unquote_to_bytes(piece), safe="-._~") if position % 2 else quote(piece, safe=safe, errors="replace")
        for position, piece in enumerate(_ESCAPES.split(text))
    )


def _without_dots(path: str) -> str:
    """RFC 3986, 5.2.4."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept) or "/"


def _is_tracking(name: str) -> bool:
    return name in _TRACKING or name.startswith(_TRACKING_PREFIXES)


def with_query(url: str, values: dict[str, str]) -> str:
    """The URL with these query parameters set, the others as they were."""
    parts = urlsplit(url)
    kept = [pair for pair in parts.query.split("&") if pair and pair.partition("=")[0] not in values]
    query = "&".join([*kept, urlencode(values, quote_via=quote)])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
