"""Every alert reaches every receiver once: also one that was down, slow or broken, and from several processes."""

from __future__ import annotations

import logging
import multiprocessing
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr, ValidationError

from fill_pipeline.alerts import mail, webhook
from fill_pipeline.alerts.deliver import deliver
from fill_pipeline.db import alerts, incidents
from fill_pipeline.db.connect import Connection, connect
from fill_pipeline.db.incidents import Incident, IncidentKind, Severity
from fill_pipeline.settings import Settings
from fill_pipeline_tests.alerts.receivers import Letterbox, Receiver
from fill_pipeline_tests.alerts.rows import START

MINUTE = timedelta(minutes=1)
KIND = IncidentKind.SOURCE_FAILING


def tell(conn: Connection, *subjects: str, **facts: Any) -> None:
    for subject in subjects:
        incidents.open_incident(conn, Incident(KIND, subject, f"source {subject} fails", **facts), now=START)


def hooked(settings: Settings, receiver: Receiver, **more: Any) -> Settings:
    return settings.model_copy(update={"alert_webhook": SecretStr(receiver.url), **more})


def mailed(settings: Settings, letterbox: Letterbox, **more: Any) -> Settings:
    url = SecretStr(f"smtp://me@127.0.0.1:{letterbox.port}")
    to = ("ops@cars.example", "night@cars.example")
    return settings.model_copy(update={"smtp_url": url, "alert_email_to": to, **more})


def statuses(conn: Connection, channel: str) -> list[tuple[str, int]]:
    found = conn.execute(
        "SELECT status, attempts FROM alert_deliveries WHERE channel = %s ORDER BY alert_id", [channel]
    ).fetchall()
    return [(row[0], row[1]) for row in found]


def test_the_log_gets_every_alert_as_a_line_of_json(
    conn: Connection, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    tell(conn, "alpha")
    tell(conn, "beta", severity=Severity.CRITICAL)
    incidents.close_incident(conn, KIND, "alpha", now=START + 95 * MINUTE)
    with caplog.at_level(logging.INFO, "fill_pipeline.alerts"):
        assert deliver(conn, settings, now=START + 95 * MINUTE) == 3
        assert deliver(conn, settings, now=START + 96 * MINUTE) == 0
    told = [(record.levelno, orjson.loads(record.message)) for record in caplog.records]
    assert [(level, line["event"], line["incident"]["subject"]) for level, line in told] == [
        (logging.WARNING, "opened", "alpha"),
        (logging.ERROR, "opened", "beta"),
        (logging.INFO, "resolved", "alpha"),
    ]
    assert told[2][1]["incident"]["seconds"] == 95 * 60
    assert "1 h 35 min" in told[2][1]["headline"]


def test_the_webhook_gets_json_with_the_token_and_a_text_for_chats(
    conn: Connection, settings: Settings, receiver: Receiver
) -> None:
    tell(conn, "alpha", details={"facts": {"reason": "90 of 90 pages failed"}, "did": ["repair: tried"]})
    deliver(conn, hooked(settings, receiver, alert_webhook_token=SecretStr("hunter2-token")), now=START)
    [got] = receiver.got
    assert receiver.headers[0]["Authorization"] == "Bearer hunter2-token"
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert receiver.headers[0]["Idempotency-Key"] == f"fill-alert-{got['id']}"
    assert (got["event"], got["incident"]["kind"], got["incident"]["severity"]) == (
        "opened", "source_failing", "warning",
    )  # fmt: skip
    assert got["incident"]["facts"] == {"reason": "90 of 90 pages failed"}
    for said in ("source alpha fails", "90 of 90 pages failed", "repair: tried", "fill sources show alpha"):
        assert said in got["text"]
    assert "hunter2" not in str(got)


@pytest.mark.parametrize("status", [500, 503, 404, 302])
def test_a_receiver_that_refuses_gets_it_later_and_once(
    conn: Connection, settings: Settings, receiver: Receiver, status: int
) -> None:
    receiver.status = status
    tell(conn, "alpha")
    chosen = hooked(settings, receiver)
    for minute in range(4):
        deliver(conn, chosen, now=START + minute * MINUTE)
    assert len(receiver.headers) == 3  # at 0:00, after 30 s and after another 60 s; no redirect was followed
    assert statuses(conn, "webhook") == [("waiting", 3)]
    [waiting] = alerts.undelivered(conn)
    assert (waiting.channel, waiting.alerts) == ("webhook", 1)
    assert (waiting.error or "").startswith(f"HTTP {status}")
    receiver.status = 204
    deliver(conn, chosen, now=START + 60 * MINUTE)
    deliver(conn, chosen, now=START + 90 * MINUTE)
    assert [got["incident"]["subject"] for got in receiver.got] == ["alpha"]
    assert statuses(conn, "webhook") == [("sent", 4)]
    assert statuses(conn, "log") == [("sent", 1)]


def test_what_happened_while_a_receiver_was_down_comes_in_order_and_nothing_is_lost(
    conn: Connection, settings: Settings, receiver: Receiver
) -> None:
    chosen = settings.model_copy(update={"alert_webhook": SecretStr("http://127.0.0.1:1/")})
    tell(conn, "alpha", "beta")
    deliver(conn, chosen, now=START)
    incidents.close_incident(conn, KIND, "alpha", now=START + 10 * MINUTE)
    tell(conn, "alpha")
    deliver(conn, chosen, now=START + 11 * MINUTE)
    assert alerts.undelivered(conn)[0].error == "cannot connect"
    deliver(conn, hooked(settings, receiver), now=START + 5 * 60 * MINUTE)
    assert sorted((got["event"], got["incident"]["subject"]) for got in receiver.got) == [
        ("opened", "alpha"), ("opened", "alpha"), ("opened", "beta"), ("resolved", "alpha"),
    ]  # fmt: skip
    first = [got["event"] for got in receiver.got if got["incident"]["id"] == 1]
    assert first == ["opened", "resolved"]


def test_nothing_is_resolved_at_a_receiver_before_it_was_opened_there(
    conn: Connection, settings: Settings, receiver: Receiver
) -> None:
    receiver.status = 503
    tell(conn, "alpha")
    chosen = hooked(settings, receiver)
    deliver(conn, chosen, now=START)
    receiver.status = 200
    incidents.close_incident(conn, KIND, "alpha", now=START + MINUTE / 6)
    tell(conn, "beta")
    deliver(conn, chosen, now=START + MINUTE / 5)  # too soon to try the first one again, and so for the second
    assert [got["incident"]["subject"] for got in receiver.got] == ["beta"]
    deliver(conn, chosen, now=START + MINUTE)
    assert [(got["event"], got["incident"]["subject"]) for got in receiver.got[1:]] == [
        ("opened", "alpha"), ("resolved", "alpha"),
    ]  # fmt: skip


def test_a_slow_receiver_costs_one_bounded_wait_a_pass(
    conn: Connection, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 0.3)
    receiver.delay = 1.0
    tell(conn, "alpha", "beta", "gamma")
    begun = time.monotonic()
    deliver(conn, hooked(settings, receiver), now=START)
    assert time.monotonic() - begun < 0.9
    assert statuses(conn, "webhook") == [("waiting", 1), ("waiting", 0), ("waiting", 0)]
    assert alerts.undelivered(conn)[0].error == "no answer in time"


def test_an_alert_that_never_gets_through_is_given_up_after_a_week(
    conn: Connection, settings: Settings, receiver: Receiver
) -> None:
    receiver.status = 500
    tell(conn, "alpha")
    chosen = hooked(settings, receiver)
    for hour in range(0, 24 * 8, 2):
        deliver(conn, chosen, now=START + hour * 60 * MINUTE)
    [(status, attempts)] = statuses(conn, "webhook")
    assert status == "given_up"
    assert 80 < attempts < 90


def _deliver_often(url: str, settings: Settings, begin: Any) -> None:
    with connect(url, name="deliver") as conn:
        begin.wait(30)
        for _ in range(3):
            deliver(conn, settings, now=START)


def test_several_processes_send_each_alert_once(
    conn: Connection, settings: Settings, database_url: str, receiver: Receiver
) -> None:
    tell(conn, *(f"s{n}" for n in range(25)))
    fork = multiprocessing.get_context("fork")
    begin = fork.Barrier(4)
    arguments = (database_url, hooked(settings, receiver), begin)
    processes = [fork.Process(target=_deliver_often, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    ids = [got["id"] for got in receiver.got]
    assert sorted(ids) == sorted(set(ids))
    assert len(ids) == 25


def test_an_alert_of_a_killed_process_is_sent_when_its_lease_is_over(
    conn: Connection, settings: Settings, receiver: Receiver
) -> None:
    tell(conn, "alpha")
    chosen = hooked(settings, receiver)
    alerts.address(conn, ["webhook"], now=START)
    taken = alerts.claim(conn, "webhook", now=START, lease_until=START + 2 * MINUTE)
    assert taken is not None
    deliver(conn, chosen, now=START + MINUTE)
    assert receiver.got == []
    deliver(conn, chosen, now=START + 3 * MINUTE)
    assert [got["incident"]["subject"] for got in receiver.got] == ["alpha"]


# ── Mail ──


def test_a_letter_is_plain_text_in_a_thread_of_its_incident(
    conn: Connection, settings: Settings, letterbox: Letterbox
) -> None:
    tell(conn, "alpha", severity=Severity.CRITICAL, details={"facts": {"reason": "Zürich antwortet nicht"}})
    incidents.close_incident(conn, KIND, "alpha", now=START + 200 * MINUTE)
    deliver(conn, mailed(settings, letterbox, alert_email_from="fill@cars.example"), now=START)
    opened, over = letterbox.letters
    assert opened["From"] == "fill@cars.example"
    assert opened["To"] == "ops@cars.example, night@cars.example"
    assert opened["Subject"] == "[fill] PROBLEM: Source failing (alpha)"
    assert over["Subject"] == "[fill] RESOLVED after 3 h 20 min: Source failing (alpha)"
    assert opened["Auto-Submitted"] == "auto-generated"
    assert over["References"] == opened["Message-ID"]
    assert opened.get_content_type() == "text/plain"
    assert "Zürich antwortet nicht" in opened.get_content()
    assert "for 3 h 20 min" in over.get_content()
    assert [said for said, _ in letterbox.said if said.upper().startswith(b"RCPT")][:2] == [
        b"rcpt TO:<ops@cars.example>", b"rcpt TO:<night@cars.example>",
    ]  # fmt: skip


def test_a_mail_server_that_refuses_gets_it_later(conn: Connection, settings: Settings, letterbox: Letterbox) -> None:
    letterbox.refuse = b"451 not now, hunter2"
    tell(conn, "alpha")
    chosen = mailed(settings, letterbox)
    deliver(conn, chosen, now=START)
    assert alerts.undelivered(conn)[0].error == "SMTPRecipientsRefused"
    letterbox.refuse = b""
    deliver(conn, chosen, now=START + MINUTE)
    deliver(conn, chosen, now=START + 9 * MINUTE)
    assert len(letterbox.letters) == 1


def test_the_password_is_only_said_encrypted_to_the_server_whose_certificate_holds(
    conn: Connection, settings: Settings, letterbox: Letterbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letterbox.tls = certificate(tmp_path)
    letterbox.offers = (b"STARTTLS", b"AUTH PLAIN LOGIN")
    chosen = mailed(settings, letterbox, smtp_password=SecretStr("hunter2-password"))
    tell(conn, "alpha")
    deliver(conn, chosen, now=START)  # nobody vouches for the certificate
    assert letterbox.letters == []
    assert not any(said.startswith(b"AUTH") for said, _ in letterbox.said)
    assert alerts.undelivered(conn)[0].error == "SSLCertVerificationError"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    deliver(conn, chosen, now=START + MINUTE)
    assert len(letterbox.letters) == 1
    assert {encrypted for said, encrypted in letterbox.said if said.startswith(b"AUTH")} == {True}


def test_a_password_is_not_said_to_a_server_elsewhere_that_cannot_encrypt(
    conn: Connection, settings: Settings, letterbox: Letterbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "_is_local", lambda host: False)
    letterbox.offers = (b"AUTH PLAIN LOGIN",)
    tell(conn, "alpha")
    deliver(conn, mailed(settings, letterbox, smtp_password=SecretStr("hunter2-password")), now=START)
    assert alerts.undelivered(conn)[0].error == "SMTPNotSupportedError"
    assert not any(said.upper().startswith((b"AUTH", b"MAIL")) for said, _ in letterbox.said)


# ── What may not break out ──

HOSTILE = (
    "x\r\nBcc: thief@evil.example\r\n\r\n<script>alert(1)</script><!channel> <http://evil.example|log in> \u202egnp\x00"
)


def test_hostile_words_stay_words(
    conn: Connection, settings: Settings, receiver: Receiver, letterbox: Letterbox, caplog: pytest.LogCaptureFixture
) -> None:
    found = Incident(
        KIND, HOSTILE, HOSTILE, details={"facts": {HOSTILE: HOSTILE, "n": "$todo ${id} %s {0}"}, "did": [HOSTILE]}
    )
    incidents.open_incident(conn, found, now=START)
    both = mailed(hooked(settings, receiver), letterbox)
    with caplog.at_level(logging.INFO, "fill_pipeline.alerts"):
        assert deliver(conn, both, now=START) == 3
    [letter], [got] = letterbox.letters, receiver.got
    assert letter["Bcc"] is None
    assert [said for said, _ in letterbox.said if b"evil" in said] == []
    assert letter.keys() == [
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding",
        "MIME-Version",
    ]  # fmt: skip
    assert letter.get_content_type() == "text/plain"
    assert "$todo ${id} %s {0}" in letter.get_content()
    for mark in ("<!channel>", "<http", "<script>"):
        assert mark not in got["text"]
    assert "\u202e" not in got["text"] + letter.get_content() + letter["Subject"]
    assert "\n" not in got["headline"] + got["incident"]["message"] + "".join(got["incident"]["facts"].values())
    assert len(caplog.records) == 1
    assert "\n" not in caplog.records[0].getMessage()


@pytest.mark.parametrize(
    "wrong",
    [
        {"FILL_ALERT_WEBHOOK": "ftp://hooks.example/secret-path"},
        {"FILL_ALERT_WEBHOOK": "https://me:secret-path@hooks.example/"},
        {"FILL_ALERT_WEBHOOK": "https://hooks.example/secret-path\r\nX: y"},
        {"FILL_ALERT_WEBHOOK_TOKEN": "secret-path\r\nX: y"},
        {"FILL_ALERT_EMAIL_TO": "ops@cars.example"},
        {"FILL_ALERT_EMAIL_TO": "ops@cars.example\nBcc: x@y.example", "FILL_SMTP_URL": "smtp://mail.example"},
        {"FILL_SMTP_URL": "smtp://me:secret-path@mail.example"},
    ],
)
def test_settings_that_cannot_work_are_refused_without_telling_secrets(
    wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "secret-path" not in str(refused.value)


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's context for 127.0.0.1; whoever trusts ``ca.pem`` trusts it."""
    from ipaddress import ip_address

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context
