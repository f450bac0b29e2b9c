"""An oracle asked over HTTP: within its pace and its budget, remembered between runs, never trusted blindly."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import jmespath
import orjson

from fill_pipeline.crawl.fetch import RETRYABLE, DecodeError, Fetcher, FetchRequest, FetchResponse, decode_body
from fill_pipeline.db.deals import ListingToValue
from fill_pipeline.deals.config import HttpOracleConfig
from fill_pipeline.deals.oracle import OracleValue

HIGHEST_VALUE = 10_000_000_000
_MOST_REMEMBERED = 100_000
_MOST_BYTES = 1_000_000
_LONGEST_WAIT = 60.0
_POLL_SECONDS = 0.5


class HttpOracle:
    """Asks a service for values. Answers are checked and kept for ``cache_hours``; failures leave a vehicle unvalued.

    ``calls_left`` is what the day's budget still allows. Use it as a context manager: leaving it keeps the answers.
    """

    name = "http"

    def __init__(
        self, config: HttpOracleConfig, fetcher: Fetcher, *, folder: Path, now: datetime, calls_left: int
    ) -> None:
        self.calls = 0
        self.errors = 0
        self.over_budget = 0
        """Listings not asked about because the run's or the day's calls were spent."""
        self._config, self._fetcher, self._now = config, fetcher, now
        self._left = max(0, min(calls_left, config.calls_per_run))
        self._delay = 60.0 / config.requests_per_minute
        self._next_slot = 0.0
        self._file = folder / "http-oracle.json"
        self._remembered = _load(self._file, now - timedelta(hours=config.cache_hours))
        self._headers = {name: secret.get_secret_value() for name, secret in config.headers.items()}
        self._headers["Accept"] = "application/json"
        if config.token is not None:
            self._headers["Authorization"] = f"Bearer {config.token.get_secret_value()}"

    def __enter__(self) -> HttpOracle:
        return self

    def __exit__(self, *exc: object) -> None:
        kept = dict(list(self._remembered.items())[-_MOST_REMEMBERED:])
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(kept))
        fresh.replace(self._file)

    def value(self, listings: Sequence[ListingToValue]) -> list[OracleValue | None]:
        """The service's value of each, None where it has none, failed, or the budget is spent."""
        urls = [self._url(listing) for listing in listings]
        asked: set[str] = set()
        for url in urls:
            if url in self._remembered or url in asked:
                continue
            if self._left <= 0:
                self.over_budget += 1
                continue
            asked.add(url)
            self._submit(url, 1)
        while self._fetcher.in_flight:
            for response in self._fetcher.poll(_POLL_SECONDS):
                self._take(response)
        return [self._answer(url, listing) for url, listing in zip(urls, listings, strict=True)]

    def _submit(self, url: str, attempt: int, wait: float = 0.0) -> None:
        self._left -= 1
        self.calls += 1
        self._next_slot = max(self._next_slot, time.monotonic() + wait)
        self._fetcher.submit(
            FetchRequest(
                url=url,
                headers=self._headers,
                not_before=self._next_slot,
                timeout=self._config.timeout,
                max_bytes=_MOST_BYTES,
                tag=(url, attempt),
            )
        )
        self._next_slot += self._delay

    def _take(self, response: FetchResponse) -> None:
        url, attempt = response.request.tag
        if response.failure is not None:
            again = response.failure in RETRYABLE and attempt < self._config.attempts and self._left > 0
            wait = response.retry_after if response.retry_after is not None else 2.0**attempt / 2
            if again and wait <= _LONGEST_WAIT:
                self._submit(url, attempt + 1, wait)
            else:
                self.errors += 1
            return
        try:
            data = orjson.loads(decode_body(response, _MOST_BYTES))
        except (DecodeError, orjson.JSONDecodeError):
            self.errors += 1
            return
        self._remembered[url] = {"at": self._now.isoformat(), **self._read(data)}

    def _read(self, data: Any) -> dict[str, Any]:
        config = self._config
        paths = {
            "value": config.value_path,
            "currency": config.currency_path,
            "count": config.count_path,
            "spread": config.spread_path,
            "confidence": config.confidence_path,
        }
        return {name: _plain(jmespath.search(path, data)) for name, path in paths.items() if path is not None}

    def _answer(self, url: str, listing: ListingToValue) -> OracleValue | None:
        said = self._remembered.get(url)
        value = _number(said.get("value")) if said else None
        if said is None or value is None or not 0 < value < HIGHEST_VALUE:
            return None
        if said.get("currency") is not None and said["currency"] != listing.currency:
            return None
        confidence, count, spread = (_number(said.get(name)) for name in ("confidence", "count", "spread"))
        return OracleValue(
            value=round(value),
            currency=listing.currency,
            confidence=min(max(confidence, 0.0), 1.0) if confidence is not None else self._config.confidence,
            count=None if count is None else max(0, round(count)),
            spread=None if spread is None else max(0.0, spread),
        )

    def _url(self, listing: ListingToValue) -> str:
        said = {name: getattr(listing, field, None) for name, field in self._config.parameters.items()}
        query = urlencode({name: _word(value) for name, value in said.items() if value is not None})
        parts = urlsplit(self._config.endpoint)
        return urlunsplit(parts._replace(query="&".join(q for q in (parts.query, query) if q), fragment=""))


def _word(value: object) -> str:
    return str(round(value)) if isinstance(value, float) else str(value)


def _plain(value: Any) -> str | float | int | None:
    return value[:40] if isinstance(value, str) else value if isinstance(value, int | float) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _load(file: Path, since: datetime) -> dict[str, dict[str, Any]]:
    try:
        kept = orjson.loads(file.read_bytes())
        return {url: said for url, said in kept.items() if datetime.fromisoformat(said["at"]) > since}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
