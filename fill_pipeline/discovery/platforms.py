"""Platforms that many dealers' sites are built on, told by their marks: data, not code (``data/platforms.tsv``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_FILE = Path(__file__).parent / "data" / "platforms.tsv"
_HEAD_BYTES = 400_000


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform: the words that give it away in a page's source, and where its sites list their stock."""

    name: str
    marks: tuple[bytes, ...]
    index_paths: tuple[str, ...]


def platform_of(body: bytes) -> Platform | None:
    """The platform a page is built on, or None."""
    head = body[:_HEAD_BYTES].lower()
    return next((p for p in _platforms() if any(mark in head for mark in p.marks)), None)


def index_hints(body: bytes) -> tuple[str, ...]:
    """Paths where a site built like this page usually lists its vehicles."""
    platform = platform_of(body)
    return platform.index_paths if platform is not None else ()


@lru_cache(maxsize=1)
def _platforms() -> tuple[Platform, ...]:
    rows = []
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, marks, paths = line.split("\t")
            rows.append(Platform(name, tuple(m.encode().lower() for m in marks.split("|")), tuple(paths.split("|"))))
    return tuple(rows)
