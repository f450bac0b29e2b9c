"""A client of an OpenAI-compatible service: one question at a time, bounded in time and size, to one address only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from typing import Annotated, Any

import msgspec
import pycurl
from pydantic import SecretStr

_MAX_RESPONSE = 262_144  # bytes; an answer has two or three thousand
_CONNECT_SECONDS = 5.0


class ModelFailure(StrEnum):
    """Why a question has no answer."""

    CONNECT = "connect"
    TIMEOUT = "timeout"
    THROTTLED = "throttled"  # 429
    REDIRECT = "redirect"  # it sends us elsewhere; we do not go, and our key does not
    REFUSED = "refused"  # any other status below 500
    BROKEN = "broken"  # 5xx
    TOO_LARGE = "too_large"
    NOT_A_COMPLETION = "not_a_completion"  # not the JSON such a service gives
    CUT_OFF = "cut_off"  # the answer did not fit into its tokens


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer's text and the tokens it cost, prompt and answer together; None where the service does not say."""

    content: str
    tokens: int | None


class ModelError(Exception):
    """A question without an answer. Neither the key nor the response is in its message."""

    def __init__(self, failure: ModelFailure) -> None:
        super().__init__(failure)
        self.failure = failure


class _Message(msgspec.Struct):
    content: Annotated[str, msgspec.Meta(max_length=20_000)]


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    total_tokens: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]


class _Response(msgspec.Struct):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1, max_length=10)]
    usage: _Usage | None = None


class LanguageModel:
    """Asks the service at ``base_url`` (".../v1"), whose address the operator gave: it may be on this machine.

    No redirect is followed and no proxy of the environment is used, so the key goes to that address alone.
    Not for several threads at once.
    """

    def __init__(self, base_url: str, *, key: SecretStr | None, timeout: float) -> None:
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._headers = ["Content-Type: application/json", "Accept: application/json", "Expect:"]
        if key is not None:
            self._headers.append(f"Authorization: Bearer {key.get_secret_value()}")
        self._timeout_ms = max(1, round(timeout * 1000))
        self._curl = pycurl.Curl()  # kept, and with it the connection
        self._decoder = msgspec.json.Decoder(_Response)

    def complete(self, request: dict[str, Any]) -> Completion:
        """Post a chat completion and return its first choice. Raises ModelError."""
        received = BytesIO()

        def take(chunk: bytes) -> int:
            if received.tell() + len(chunk) > _MAX_RESPONSE:
                return 0  # libcurl hangs up
            return received.write(chunk)

        curl = self._curl
        curl.reset()
        curl.setopt(pycurl.URL, self._url)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, min(self._timeout_ms, round(_CONNECT_SECONDS * 1000)))
        curl.setopt(pycurl.TIMEOUT_MS, self._timeout_ms)
        curl.setopt(pycurl.HTTPHEADER, self._headers)
        curl.setopt(pycurl.POSTFIELDS, msgspec.json.encode(request))
        curl.setopt(pycurl.WRITEFUNCTION, take)
        try:
            curl.perform()
        except pycurl.error as error:
            raise ModelError(_FAILURES.get(error.args[0], ModelFailure.CONNECT)) from None
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        if status != 200:
            raise ModelError(_failure_of(status))
        try:
            response = self._decoder.decode(received.getvalue())
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise ModelError(ModelFailure.NOT_A_COMPLETION) from None
        choice = response.choices[0]
        if choice.finish_reason == "length":
            raise ModelError(ModelFailure.CUT_OFF)
        return Completion(choice.message.content, response.usage.total_tokens if response.usage else None)


_FAILURES = {
    pycurl.E_OPERATION_TIMEDOUT: ModelFailure.TIMEOUT,
    pycurl.E_WRITE_ERROR: ModelFailure.TOO_LARGE,
}


def _failure_of(status: int) -> ModelFailure:
    if status == 429:
        return ModelFailure.THROTTLED
    if 300 <= status < 400:
        return ModelFailure.REDIRECT
    return ModelFailure.BROKEN if status >= 500 else ModelFailure.REFUSED
