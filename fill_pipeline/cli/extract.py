"""``fill extract``: what can be read from a page, with no configuration and no database."""

from __future__ import annotations

import gzip
import sys
import zlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
import typer

from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.page import PageResult, extract_page
from fill_pipeline.vehicles.clean import clean

MAX_FILE_BYTES = 64_000_000
_SHOWN = 160  # characters of a value in an explanation
_INTERNAL = ("raw", "raw_payload", "provenance")


app = typer.Typer(name="fill", pretty_exceptions_enable=False, add_completion=False)


class Kind(StrEnum):
    """What a page is taken for."""

    AUTO = "auto"
    DETAIL = "detail"
    SEARCH = "search"


class Layer(StrEnum):
    """A layer that can be left out."""

    STRUCTURED = "structured"


@app.callback()
def _command() -> None:
    """Fill a database with accurate vehicle data, at scale, and account for it."""


@app.command("extract")
def extract(
    pages: Annotated[list[str], typer.Argument(help="HTML or JSON files (plain or gzipped), or URLs.")],
    url: Annotated[str, typer.Option(help="The address a file was saved from; links are resolved against it.")] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line (it always is).")] = True,
    kind: Annotated[Kind, typer.Option(help="What the page is.")] = Kind.AUTO,
    without: Annotated[Layer | None, typer.Option(help="Leave out JSON-LD, microdata and the like.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Which layer gave which value, and what lost.")] = False,
) -> None:
    """Print one JSON object a line per listing found on the pages; null where a page does not say."""
    failed = 0
    for page in pages:
        try:
            body, address, content_type = _read(page, url)
        except (OSError, EOFError, zlib.error, ValueError) as error:
            print(f"fill: {page}: {_cure(error)}", file=sys.stderr)
            failed += 1
            continue
        found = extract_page(
            body,
            url=address,
            content_type=content_type,
            kind=kind,
            structured=without is not Layer.STRUCTURED,
            explain=explain,
        )
        if not found.listings:
            print(f"fill: {page}: no listing: {found.reason or found.kind}", file=sys.stderr)
        _print(page, found, explain)
    if failed:
        raise typer.Exit(1)


def _cure(error: Exception) -> str:
    """What went wrong, in one line, with what to do about it."""
    if isinstance(error, PermissionError):
        return "may not be read; change its permissions or run as its owner"
    if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile)):
        return f"is no whole gzip file ({error}); save it again"
    return " ".join(str(error).split())


def _print(page: str, found: PageResult, explain: bool) -> None:
    out = sys.stdout.buffer
    for listing in found.listings:
        out.write(orjson.dumps(_plain(page, listing), default=str) + b"\n")
    if explain:
        for item in found.explain:
            row = msgspec.to_builtins(item)
            row["value"] = _short(row["value"])
            row["confidence"] = round(row["confidence"], 3)
            out.write(orjson.dumps({"file": page, "explain": row}, default=str) + b"\n")
    out.flush()


def _short(value: Any) -> Any:
    """A value as a line of an explanation shows it: long texts cut, lists by their first entries."""
    if isinstance(value, str) and len(value) > _SHOWN:
        return value[:_SHOWN] + "…"
    if isinstance(value, list) and len(value) > 3:
        return [*value[:3], f"… {len(value)} in all"]
    return value


def _plain(page: str, listing: Listing) -> dict[str, Any]:
    cleaned = clean(listing, now=utc_now())
    said = {name: getattr(cleaned.listing, name) for name in Listing.__struct_fields__ if name not in _INTERNAL}
    return {"file": page, **said, "quarantine": cleaned.quarantine}


def _read(page: str, url: str) -> tuple[bytes, str, str | None]:
    """A page's body, its address, and its content type where it is known."""
    if page.startswith(("http://", "https://")):
        return _fetch(page)
    path = Path(page)
    if not path.is_file():
        raise ValueError("no such file; name an HTML or JSON file, or a URL")
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else path.open("rb") as stream:
        body = stream.read(MAX_FILE_BYTES + 1)
    if len(body) > MAX_FILE_BYTES:
        raise ValueError(f"more than {MAX_FILE_BYTES} bytes")
    return body, url or path.absolute().as_uri(), None


def _fetch(url: str) -> tuple[bytes, str, str | None]:
    # Only an address needs the fetcher: files are read without loading it.
    from fill_pipeline.crawl.fetch import DecodeError, Fetcher, FetchRequest, decode_body
    from fill_pipeline.crawl.fetch_settings import FetchSettings
    from fill_pipeline.settings import Settings

    settings = Settings()
    limits = FetchSettings(
        allow_nets=settings.allow_nets,
        connect_to=settings.connect_to,
        user_agent=settings.user_agent,
        contact_url=settings.contact_url,
    )
    with Fetcher(limits) as fetcher:
        response = fetcher.fetch(FetchRequest(url=url))
    if response.failure is not None:
        raise ValueError(f"{response.failure}: {response.error}")
    try:
        return decode_body(response, limits.max_decompressed), response.final_url, response.content_type
    except DecodeError as error:
        raise ValueError(str(error)) from error
