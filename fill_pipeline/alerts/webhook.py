"""The webhook: one JSON document posted to the operator's address, bounded in time and size."""

from __future__ import annotations

from datetime import datetime

import orjson
import pycurl
from pydantic import SecretStr

from fill_pipeline.alerts.channel import DeliveryError
from fill_pipeline.alerts.message import Message

SECONDS = 10.0
CONNECT_SECONDS = 5.0
MAX_RESPONSE = 65_536  # bytes; the answer is not read
TEXT_CHARS = 3000  # of Slack's and its likes' 40,000


class Webhook:
    """Posts to an address that may be on this machine. No redirect is followed, no proxy of the environment used.

    ``text`` of the document is what chat services show (Slack, Mattermost, Rocket.Chat, Google Chat); everything else
    is for programs. ``Idempotency-Key`` is the same when an alert is sent again.
    """

    name = "webhook"

    def __init__(self, url: SecretStr, token: SecretStr | None) -> None:
        self._url, self._token = url, token

    def send(self, message: Message, *, now: datetime) -> None:
        """Post it; raises DeliveryError unless the answer is 2xx. Neither address nor token is in its message."""
        headers = ["Content-Type: application/json", f"Idempotency-Key: fill-alert-{message.alert_id}", "Expect:"]
        if self._token is not None:
            headers.append(f"Authorization: Bearer {self._token.get_secret_value()}")
        received = 0

        def take(chunk: bytes) -> int:
            nonlocal received
            received += len(chunk)
            return len(chunk) if received <= MAX_RESPONSE else 0  # libcurl hangs up

        curl = pycurl.Curl()
        try:
            curl.setopt(pycurl.URL, self._url.get_secret_value())
            curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
            curl.setopt(pycurl.FOLLOWLOCATION, 0)
            curl.setopt(pycurl.PROXY, "")
            curl.setopt(pycurl.NOSIGNAL, 1)
            curl.setopt(pycurl.CONNECTTIMEOUT_MS, round(CONNECT_SECONDS * 1000))
            curl.setopt(pycurl.TIMEOUT_MS, round(SECONDS * 1000))
            curl.setopt(pycurl.HTTPHEADER, headers)
            curl.setopt(pycurl.POSTFIELDS, orjson.dumps(message.data | {"text": chat_text(message)}))
            curl.setopt(pycurl.WRITEFUNCTION, take)
            curl.perform()
            status = curl.getinfo(pycurl.RESPONSE_CODE)
        except pycurl.error as error:
            if error.args[0] != pycurl.E_WRITE_ERROR:
                raise DeliveryError(_FAILURES.get(error.args[0], f"curl error {error.args[0]}")) from None
            status = curl.getinfo(pycurl.RESPONSE_CODE)
        finally:
            curl.close()
        if 300 <= status < 400:
            raise DeliveryError(f"HTTP {status}: a redirect, which is not followed")
        if not 200 <= status < 300:
            raise DeliveryError(f"HTTP {status}")


_FAILURES = {
    pycurl.E_OPERATION_TIMEDOUT: "no answer in time",
    pycurl.E_COULDNT_CONNECT: "cannot connect",
    pycurl.E_COULDNT_RESOLVE_HOST: "its name cannot be resolved",
}


def chat_text(message: Message) -> str:
    """The message for chat services; their marks for links and mentions are escaped, as Slack asks for."""
    text = f"{message.headline}\n{message.text}"[:TEXT_CHARS]
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
