"""Files dropped into ``FILL_HOME/discovery/``: lists of addresses, and extracts of open data sets.

What a file is, is told by its name; ``.gz`` may follow. Each file is read once, in pieces over the rounds, and
again from its start when it was replaced.

- ``*.txt``, ``*.csv``: one address a line, or in the first column that holds one. Also WebDataCommons' host
  lists (webdatacommons.org/structureddata: pay-level domains by schema.org class, tab-separated).
- ``*.geojson``, ``*.ndgeojson``, ``*.json``: GeoJSON features (RFC 7946), one a line, or as one collection up to 32 MB;
  OpenStreetMap extracts (objects tagged ``shop=car``, wiki.openstreetmap.org/wiki/Tag:shop=car, their ``website``,
  ``contact:website`` or ``url``; GeoJSON, or the Overpass API's JSON with ``elements``; data © OpenStreetMap
  contributors, ODbL) and All The Places outputs (alltheplaces.xyz, CC0: properties ``@spider``, ``website``,
  category ``shop=car`` in ``shop`` or ``nsi``).
- ``*.cdxj``, ``*.cdx``: lines of the Common Crawl URL index (index.commoncrawl.org: SURT key, timestamp, JSON with
  ``url``, ``status``, ``mime``); hosts with a page that was there and whose path names an inventory.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import orjson

from fill_pipeline.db import improvement
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import FoundCandidate
from fill_pipeline.discovery.candidate import candidate_of
from fill_pipeline.drain.work import Work

CHANNEL = "dropped"
BYTES_PER_ROUND = 64_000_000
MAX_LINE = 4_000_000
WHOLE_BYTES = 32_000_000  # a collection up to this size is parsed as one, a larger one line by line
MAX_UNPACKED = 256_000_000
_URL = re.compile(
    r"https?://[^\s,;\"'<>]{4,1000}|(?<![\w@.])(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}(?![\w@])", re.I
)
_INVENTORY = re.compile(
    r"/(?:used-?|new-?)?(?:inventory|vehicles?|cars(?:-for-sale)?|autos|listings?|auctions?|lots?|stock|showroom|used-cars?|"
    r"fahrzeuge|gebrauchtwagen|occasions?|voitures)(?:[/.?-]|$)",
    re.I,
)
_CAR_SHOPS = frozenset(("car", "car;car_repair", "car_repair;car", "used_car", "second_hand_car"))


def find(conn: Connection, work: Work) -> Iterator[FoundCandidate]:
    """Candidates in the next piece of each file."""
    folder = work.settings.home / "discovery"
    if not folder.is_dir():
        return
    reached = improvement.progress(conn, CHANNEL)
    left = BYTES_PER_ROUND
    for path in sorted(folder.iterdir()):
        kind = _kind(path)
        if kind is None or not path.is_file() or left <= 0 or work.stopping():
            continue
        position, mark = reached.get(path.name, (0, ""))
        try:
            with _open(path) as file:
                now_mark = _mark(path, kind, file)
                if now_mark != mark:
                    position = 0
                file.seek(position)
                at_once = kind == "places" and position == 0 and path.stat().st_size <= WHOLE_BYTES
                for line in [file.read(MAX_UNPACKED)] if at_once else _lines(file, left):
                    yield from _READERS[kind](line, path.name)
                end = file.tell()
        except (OSError, EOFError, gzip.BadGzipFile):
            continue
        left -= end - position
        if end > position or now_mark != mark:
            improvement.save_progress(conn, CHANNEL, path.name, end, now=work.now_fn(), mark=now_mark)


def read_url_line(line: bytes, file: str) -> Iterator[FoundCandidate]:
    """The first address of a line of text."""
    text = line[:4000].decode("utf-8", errors="replace").strip()
    if not text or text.startswith("#"):
        return
    match = _URL.search(text)
    if match is not None:
        yield from _candidate(match[0], "url_list", file=file)


def read_places_line(line: bytes, file: str) -> Iterator[FoundCandidate]:
    """The car dealers' websites of a line of GeoJSON: a feature, a whole collection, or Overpass' elements."""
    text = line.strip().rstrip(b",")
    if not text.startswith(b"{") or not text.endswith(b"}"):
        return
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    for tags in _places(data):
        shop = tags.get("shop")
        by_spider = isinstance(tags.get("@spider"), str)
        if shop not in _CAR_SHOPS and not (by_spider and _sells_cars(tags)):
            continue
        website = next(
            (tags[k] for k in ("website", "contact:website", "url", "brand:website") if isinstance(tags.get(k), str)),
            None,
        )
        if website:
            name = tags.get("name")
            channel = "alltheplaces" if by_spider else "openstreetmap"
            yield from _candidate(website, channel, file=file, name=name if isinstance(name, str) else None)


def read_cdxj_line(line: bytes, file: str) -> Iterator[FoundCandidate]:
    """The host of a Common Crawl index line whose page was there and names an inventory."""
    start = line.find(b"{")
    if start < 0 or len(line) > MAX_LINE:
        return
    try:
        record = orjson.loads(line[start:])
    except orjson.JSONDecodeError:
        return
    url = record.get("url") if isinstance(record, dict) else None
    if not isinstance(url, str) or str(record.get("status", "200")) != "200":
        return
    mime = str(record.get("mime-detected") or record.get("mime") or "text/html")
    path = url.partition("://")[2].partition("/")[2]
    if "html" in mime and _INVENTORY.search("/" + path):
        yield from _candidate(url, "commoncrawl", file=file)


_READERS = {"urls": read_url_line, "places": read_places_line, "cdxj": read_cdxj_line}


def _candidate(url: str, channel: str, **evidence: Any) -> Iterator[FoundCandidate]:
    candidate = candidate_of(url if "://" in url else f"https://{url}/", channel, **evidence)
    if candidate is not None:
        yield candidate


def _places(data: Any) -> Iterator[dict[str, Any]]:
    """The tags of each place in a feature, a collection or an Overpass answer."""
    if not isinstance(data, dict):
        return
    for name in ("features", "elements"):
        if isinstance(data.get(name), list):
            for item in data[name]:
                yield from _places(item)
            return
    tags = data.get("properties", data.get("tags"))
    if isinstance(tags, dict):
        yield tags


def _sells_cars(tags: dict[str, Any]) -> bool:
    return any(tags.get(key) == "car" for key in ("shop", "category", "amenity")) or "shop/car" in str(
        tags.get("nsi_id", "")
    )


def _kind(path: Path) -> str | None:
    suffixes = [s.lower() for s in path.suffixes]
    last = next((s for s in reversed(suffixes) if s != ".gz"), "")
    return {
        ".txt": "urls", ".csv": "urls", ".tsv": "urls", ".geojson": "places", ".ndgeojson": "places", ".json": "places",
        ".cdxj": "cdxj", ".cdx": "cdxj",
    }.get(last)  # fmt: skip


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _mark(path: Path, kind: str, file: IO[bytes]) -> str:
    """What tells a replaced file from one that was read on: lists grow at their end, data sets come anew."""
    if kind == "urls":
        return hashlib.md5(file.read(256), usedforsecurity=False).hexdigest()
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def _lines(file: IO[bytes], limit: int) -> Iterator[bytes]:
    """Whole lines from here on, at most about ``limit`` bytes."""
    read = 0
    while read < limit:
        line = file.readline(limit if read == 0 else MAX_LINE)
        if not line:
            return
        read += len(line)
        yield line
