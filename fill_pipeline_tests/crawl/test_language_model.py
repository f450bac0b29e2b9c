"""Promises of the language model's client, against a service that also stalls, floods and sends us elsewhere."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from pydantic import SecretStr

from fill_pipeline.crawl.language_model import LanguageModel, ModelError, ModelFailure
from fill_pipeline.extract.model_prompt import request
from fill_pipeline_tests.crawl.model_service import ModelService, send, with_status

REQUEST = request("2014 Honda Civic", version="listing_v1", model="small", max_tokens=50)


@pytest.fixture
def service() -> Iterator[ModelService]:
    """A running service."""
    service = ModelService()
    yield service
    service.close()


def _model(service: ModelService, timeout: float = 5.0) -> LanguageModel:
    return LanguageModel(service.url + "/", key=SecretStr("secret-key"), timeout=timeout)


def test_a_question_is_a_chat_completion_with_a_strict_schema_and_the_key(service: ModelService) -> None:
    model = _model(service)
    completion = model.complete(REQUEST)
    assert completion.tokens == 900
    assert '"Honda"' in completion.content
    model.complete(REQUEST)
    assert service.keys == ["Bearer secret-key"] * 2
    asked = service.asked[0]
    assert asked["path"] == "/v1/chat/completions"
    schema = asked["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert set(schema["schema"]["required"]) == set(schema["schema"]["properties"])


@pytest.mark.parametrize(
    ("misbehave", "failure"),
    [
        (with_status(500), ModelFailure.BROKEN),
        (with_status(429), ModelFailure.THROTTLED),
        (with_status(401), ModelFailure.REFUSED),
        (lambda handler: send(handler, 200, b"<html>busy</html>"), ModelFailure.NOT_A_COMPLETION),
        (lambda handler: send(handler, 200, b'{"choices": []}'), ModelFailure.NOT_A_COMPLETION),
        (
            lambda handler: send(handler, 200, b'{"choices": [{"message": {"content": 1}}]}'),
            ModelFailure.NOT_A_COMPLETION,
        ),
        (lambda handler: send(handler, 200, b"[" * 100_000), ModelFailure.NOT_A_COMPLETION),
        (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR), ModelFailure.CONNECT),
    ],
)
def test_what_is_no_answer_is_told_apart(
    service: ModelService, misbehave: Callable[[BaseHTTPRequestHandler], Any], failure: ModelFailure
) -> None:
    service.misbehave = misbehave
    with pytest.raises(ModelError) as caught:
        _model(service).complete(REQUEST)
    assert caught.value.failure is failure
    assert "secret-key" not in repr(caught.value)


def test_an_answer_that_was_cut_off_is_none(service: ModelService) -> None:
    service.finish = "length"
    with pytest.raises(ModelError, match="cut_off"):
        _model(service).complete(REQUEST)


def test_a_stalled_answer_is_given_up_in_time(service: ModelService) -> None:
    service.misbehave = service.stall
    start = time.monotonic()
    with pytest.raises(ModelError, match="timeout"):
        _model(service, timeout=0.3).complete(REQUEST)
    assert time.monotonic() - start < 3


def test_fifty_megabytes_are_not_read(service: ModelService) -> None:
    service.misbehave = service.flood
    with pytest.raises(ModelError, match="too_large"):
        _model(service).complete(REQUEST)


def test_the_key_never_follows_a_redirect(service: ModelService) -> None:
    other = ModelService()
    try:
        service.misbehave = with_status(307, Location=other.url + "/chat/completions")
        with pytest.raises(ModelError, match="redirect"):
            _model(service).complete(REQUEST)
        assert other.asked == []
    finally:
        other.close()


def test_nobody_there_is_a_failure_and_no_proxy_of_the_environment_is_asked(
    service: ModelService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", service.url)
    with pytest.raises(ModelError, match="connect"):
        LanguageModel("http://127.0.0.1:1/v1", key=SecretStr("secret-key"), timeout=2).complete(REQUEST)
    assert service.asked == []
