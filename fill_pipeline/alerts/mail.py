"""E-mail, over SMTP."""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from fill_pipeline.alerts.channel import DeliveryError, log
from fill_pipeline.alerts.message import Message
from fill_pipeline.db.incidents import AlertEvent

SECONDS = 10.0  # one step of the conversation
TOTAL_SECONDS = 20.0
PORTS = {"smtp": 587, "smtps": 465}


class Mail:
    """Sends plain text to some addresses through one server.

    ``smtp://`` begins plain and must be able to go on encrypted (STARTTLS) unless it is this machine; ``smtps://`` is
    encrypted from the first byte. Certificates are checked.
    """

    name = "email"

    def __init__(self, url: SecretStr, password: SecretStr | None, *, sender: str, to: Sequence[str]) -> None:
        parts = urlsplit(url.get_secret_value())
        self._scheme, self._host = parts.scheme, parts.hostname or ""
        self._port = parts.port or PORTS[parts.scheme]
        self._user = unquote(parts.username) if parts.username else None
        self._password, self._sender, self._to = password, sender, list(to)

    def send(self, message: Message, *, now: datetime) -> None:
        """Hand it to the server; raises DeliveryError. Nothing the server said and no password is in its message."""
        try:
            with self._conversation() as smtp:
                refused = smtp.send_message(self._letter(message, now), self._sender, self._to)
        except smtplib.SMTPResponseException as error:
            raise DeliveryError(f"{type(error).__name__} {error.smtp_code}") from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise DeliveryError(f"{type(error).__name__}") from None
        if refused:  # sending it again would reach the others twice
            log.warning("alert %d: the mail server refused %d of the recipients", message.alert_id, len(refused))

    @contextmanager
    def _conversation(self) -> Iterator[smtplib.SMTP]:
        context = ssl.create_default_context()
        smtp = (
            smtplib.SMTP_SSL(timeout=SECONDS, context=context)
            if self._scheme == "smtps"
            else smtplib.SMTP(timeout=SECONDS)
        )
        smtp._host = self._host  # type: ignore[attr-defined]  # the name whose certificate is checked
        cut = threading.Timer(TOTAL_SECONDS, _cut, (smtp,))
        cut.daemon = True
        cut.start()
        try:
            smtp.connect(self._host, self._port)
            smtp.ehlo_or_helo_if_needed()
            if self._scheme == "smtp" and (smtp.has_extn("starttls") or not _is_local(self._host)):
                smtp.starttls(context=context)
                smtp.ehlo()
            if self._user is not None and self._password is not None:
                smtp.login(self._user, self._password.get_secret_value())
            yield smtp
            with suppress(smtplib.SMTPException, OSError):
                smtp.quit()
        finally:
            cut.cancel()
            smtp.close()

    def _letter(self, message: Message, now: datetime) -> EmailMessage:
        domain = self._sender.rpartition("@")[2]
        letter = EmailMessage()
        letter["From"], letter["To"] = self._sender, ", ".join(self._to)
        letter["Subject"] = f"[fill] {message.headline}"
        letter["Date"] = format_datetime(now)
        thread = f"<fill-incident-{message.incident_id}@{domain}>"
        if message.event is AlertEvent.OPENED:
            letter["Message-ID"] = thread
        else:
            letter["Message-ID"], letter["References"] = f"<fill-alert-{message.alert_id}@{domain}>", thread
        letter["Auto-Submitted"] = "auto-generated"
        if message.critical:
            letter["Importance"] = "high"
        letter.set_content(message.text)
        return letter


def _cut(smtp: smtplib.SMTP) -> None:
    """End a conversation that drags on; what waits for the server then fails."""
    if smtp.sock is not None:
        with suppress(OSError):
            smtp.sock.shutdown(socket.SHUT_RDWR)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
