"""Promises of the oracle asked over HTTP, against a loopback service that also lies and fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fill_pipeline.crawl.fetch import Fetcher, FetchSettings
from fill_pipeline.db import deals as db
from fill_pipeline.deals.config import DealConfig, HttpOracleConfig, OracleKind
from fill_pipeline.deals.http_oracle import HttpOracle
from fill_pipeline_tests.deals.conftest import Find, SmallMarket
from fill_pipeline_tests.deals.test_costs_and_signals import CIVIC, NOW


class Service:
    """A valuation service; ``answers`` are given in turn, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = [(200, {"result": {"price": 12_345, "n": 17, "sure": 0.9, "in": "USD"}})]
        self.asked: list[dict[str, str]] = []
        self.tokens: list[str | None] = []
        self.times: list[float] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.times.append(time.monotonic())
                service.asked.append({k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()})
                service.tokens.append(self.headers.get("Authorization"))
                status, answer = service.answers.pop(0) if len(service.answers) > 1 else service.answers[0]
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/value?key=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def service() -> Iterator[Service]:
    """A running service."""
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


def _config(service: Service, **said: Any) -> HttpOracleConfig:
    facts: dict[str, Any] = {
        "endpoint": service.url,
        "value_path": "result.price",
        "count_path": "result.n",
        "confidence_path": "result.sure",
        "currency_path": "result.in",
        "requests_per_minute": 60_000,
        "attempts": 2,
    }
    return HttpOracleConfig(**{**facts, **said})


def _oracle(service: Service, folder: Path, *, calls_left: int = 100, hours: float = 0, **said: Any) -> HttpOracle:
    fetcher = Fetcher(FetchSettings(allow_nets=("127.0.0.0/8",)))
    now = NOW + timedelta(hours=hours)
    return HttpOracle(_config(service, **said), fetcher, folder=folder, now=now, calls_left=calls_left)


def test_the_services_answer_becomes_the_value(service: Service, tmp_path: Path) -> None:
    with _oracle(service, tmp_path, token="secret-token") as oracle:
        [value] = oracle.value([CIVIC])
    assert value is not None
    assert (value.value, value.currency, value.count, value.confidence) == (12_345, "USD", 17, 0.9)
    assert service.asked[0] == {
        "key": "1",
        "make": "Honda",
        "model": "Civic",
        "year": "2018",
        "mileage_km": "100000",
        "vin": CIVIC.vin,
        "currency": "USD",
    }
    assert service.tokens == ["Bearer secret-token"]
    assert "secret-token" not in repr(_config(service, token="secret-token"))
    assert (oracle.calls, oracle.errors) == (1, 0)


def test_an_answer_is_remembered_between_runs_until_it_is_old(service: Service, tmp_path: Path) -> None:
    for hours, calls in ((0, 1), (5, 0), (100, 1)):
        with _oracle(service, tmp_path, hours=hours) as oracle:
            assert oracle.value([CIVIC, CIVIC])[1] is not None
        assert oracle.calls == calls


@pytest.mark.parametrize(
    "answer",
    [
        {"result": {}},
        {"result": {"price": "about ten thousand"}},
        {"result": {"price": -5}},
        {"result": {"price": True}},
        {"result": {"price": 1e300}},
        {"result": {"price": 9_000, "in": "EUR"}},
        [],
    ],
)
def test_an_answer_without_an_honest_value_is_no_value(service: Service, tmp_path: Path, answer: Any) -> None:
    service.answers = [(200, answer)]
    with _oracle(service, tmp_path) as oracle:
        assert oracle.value([CIVIC]) == [None]
    assert oracle.errors == 0


def test_a_failure_is_tried_again_counted_and_not_remembered(service: Service, tmp_path: Path) -> None:
    good = service.answers[0]
    service.answers = [(500, {}), good]
    with _oracle(service, tmp_path) as oracle:
        assert oracle.value([CIVIC])[0] is not None
    assert (oracle.calls, oracle.errors) == (2, 0)
    service.answers = [(500, {}), (500, {}), good]
    other = replace(CIVIC, year=2011)
    with _oracle(service, tmp_path) as oracle:
        assert oracle.value([other]) == [None]
    assert (oracle.calls, oracle.errors) == (2, 1)
    with _oracle(service, tmp_path) as oracle:
        assert oracle.value([other])[0] is not None


def test_what_is_no_json_is_an_error(service: Service, tmp_path: Path) -> None:
    service.answers = [(200, b"<html>busy</html>")]
    with _oracle(service, tmp_path) as oracle:
        assert oracle.value([CIVIC]) == [None]
    assert oracle.errors == 1


def test_the_budget_is_never_exceeded(service: Service, tmp_path: Path) -> None:
    cars = [replace(CIVIC, year=year) for year in range(2010, 2020)]
    with _oracle(service, tmp_path, calls_left=4) as oracle:
        values = oracle.value(cars)
    assert [v is not None for v in values] == [True] * 4 + [False] * 6
    assert (oracle.calls, oracle.over_budget, len(service.asked)) == (4, 6, 4)


def test_the_services_pace_is_kept(service: Service, tmp_path: Path) -> None:
    cars = [replace(CIVIC, year=year) for year in range(2010, 2014)]
    with _oracle(service, tmp_path, requests_per_minute=600) as oracle:
        oracle.value(cars)
    assert service.times[-1] - service.times[0] >= 0.27  # three pauses of a tenth of a second


def test_a_run_with_a_failing_service_values_nothing_and_says_so(
    market: SmallMarket, find: Find, service: Service
) -> None:
    service.answers = [(500, {})]
    market.cars(3)
    config = DealConfig(oracle=OracleKind.HTTP, http=_config(service, attempts=1))
    result = find(config=config)
    assert (result["oracle_calls"], result["oracle_errors"], result["listings_valued"]) == (3, 3, 0)
    service.answers = [(200, {"result": {"price": 15_000}})]
    again = find(config=config)
    assert (again["oracle_errors"], again["listings_valued"]) == (0, 3)
    [(oracle,)] = market.conn.execute(
        "SELECT DISTINCT valuation_data->>'oracle' FROM arbitrage_valuations WHERE current"
    ).fetchall()
    assert oracle == "http"
    assert db.oracle_calls_since(market.conn, market.now) == 6
