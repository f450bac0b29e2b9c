"""Typed settings, read once from the environment (prefix ``FILL_``)."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Network = IPv4Network | IPv6Network
Words = Annotated[tuple[str, ...], NoDecode]
_ADDRESS = r"^[^\s@,;:<>\"()\[\]\\]+@[^\s@,;:<>\"()\[\]\\]+$"  # of e-mail, without the rare forms


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


class Settings(BaseSettings):
    """Every knob of the system. Lists are written with commas: ``FILL_ALLOW_NETS=127.0.0.0/8,::1/128``."""

    model_config = SettingsConfigDict(env_prefix="FILL_", extra="ignore", frozen=True)

    home: Annotated[Path, AfterValidator(_absolute)] = Field(default=Path(".fill"), validate_default=True)
    """Folder of the embedded database, the archive, reports and logs."""
    database_url: SecretStr | None = None
    """A PostgreSQL 15+ of your own; unset means the embedded one under ``home``."""
    dagster_url: SecretStr | None = None
    """Where Dagster keeps its instance; unset means schema ``dagster`` of the same database."""
    archive_url: str | None = None
    """Folder or fsspec URL of the page archive; unset means ``home/archive``."""
    archive_days: int = Field(default=90, ge=1)
    """How long an archived page is kept, and its window can be replayed."""
    archive_source_mb: int | None = Field(default=None, ge=1)
    """The most that a source's archived pages may take, in MB; unset means that only their age counts."""

    target: int = Field(default=2000, ge=1)
    """Vehicles to add per cycle (document 1)."""
    quality_target: float = Field(default=0.90, ge=0, le=1)
    core_fields: Words = ("year", "make", "model", "price", "mileage", "place", "image")
    """The fields whose completeness is the quality score."""
    min_confidence: float = Field(default=0.3, ge=0, le=1)
    """Values read with less confidence than this are quarantined."""
    accuracy_target: float = Field(default=0.95, ge=0, le=1)
    """The share of a field's values that must agree with the decoded VIN and the page's other evidence."""
    gate_tolerance: float = Field(default=0.5, gt=0, lt=1)
    """The share of a source's listings in a batch that may break a rule before all of them are held back."""
    gate_least: int = Field(default=5, ge=1)
    """Fewer listings than this that break a rule never hold back a batch."""
    check_sample: int = Field(default=5000, ge=1, le=100_000)
    """Vehicles of a cycle that its checks look at."""
    freshness_hours: float = Field(default=24.0, gt=0)
    """A source in work that has not answered for longer is stale."""

    allow_nets: Annotated[tuple[Network, ...], NoDecode] = ()
    """Networks that are not globally routable and may be fetched from all the same."""
    connect_to: Words = ()
    """Redirected connections, ``host-pattern:port:address:port`` each, as curl's option of that name."""
    contact_url: str = "https://example.org/fill-pipeline"
    """Where a site's owner can read who crawls; part of the User-Agent."""
    user_agent: str | None = None

    workers: int = Field(default=0, ge=0)
    """Extraction processes of one drain shard; 0 means one per core."""
    shards: int = Field(default=1, ge=1, le=64)
    """Drain shards a cycle may run at once."""
    batch_size: int = Field(default=500, ge=1, le=5000)
    """Queue rows a drain claims, and listings it writes, at once."""
    lease_seconds: int = Field(default=300, ge=10)
    """How long a claimed queue row may stay without a sign of life."""
    cycle_minutes: int = Field(default=115, ge=1, le=119)
    """How long a cycle may run before it is closed with what it has."""
    retry_seconds: float = Field(default=10.0, ge=0, le=600)
    """The pause before a failed action is tried again; each further one in a row is four times as long."""

    model_url: str | None = Field(default=None, pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")
    """Base URL of an OpenAI-compatible service ("http://127.0.0.1:8000/v1"); unset means no language model is asked."""
    model_name: str | None = None
    """Which model to ask there."""
    model_key: SecretStr | None = None
    """Sent to that service only, as a bearer token."""
    model_prompt: str = "auto"
    """A version in ``extract/prompts``, or ``auto``: the one that measured best, the others now and then."""
    model_budget_requests: int = Field(default=200, ge=0)
    """Questions a cycle may ask, over all shards and workers."""
    model_budget_tokens: int = Field(default=500_000, ge=0)
    """Tokens a cycle may spend, prompts and answers."""
    model_timeout: float = Field(default=30.0, gt=0, le=300)
    """Seconds an answer may take."""

    alert_webhook: SecretStr | None = None
    """Where alerts are posted as JSON; the address may itself be a secret, so it is shown nowhere."""
    alert_webhook_token: SecretStr | None = None
    """Sent with them, as a bearer token."""
    smtp_url: SecretStr | None = None
    """The mail server, ``smtp://user@host:587`` (STARTTLS) or ``smtps://user@host:465``."""
    smtp_password: SecretStr | None = None
    alert_email_to: Words = ()
    """Who gets alerts by e-mail."""
    alert_email_from: str | None = Field(default=None, pattern=_ADDRESS)
    """The sender; default: the first of those who get them."""
    alert_source_cycles: int = Field(default=2, ge=1, le=12)
    """Cycles in a row that a source fails before there is an alert."""
    alert_stuck_minutes: float = Field(default=30.0, gt=0)
    """How long nothing may move in a queue that could be fetched from."""
    alert_dead_rows: int = Field(default=1000, ge=1)
    """Pages given up for good that are too many."""
    alert_free_mb: int = Field(default=2048, ge=0)
    """Room that the data folder and the archive must keep, in MiB."""

    ui_port: int = Field(default=3000, ge=0, le=65535)
    ui_url: str | None = Field(default=None, pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")
    """Where a browser reaches the Dagster UI, for the dashboard's links; unset means ``ui_port`` of this machine."""
    dashboard_port: int = Field(default=8080, ge=0, le=65535)
    dashboard_token: SecretStr | None = None
    """Who knows it may act on the dashboard (pause, run, requeue, roll back); unset means nobody may."""
    simweb_port: int = Field(default=8801, ge=0, le=65535)

    @field_validator("core_fields", "connect_to", "alert_email_to", mode="before")
    @classmethod
    def _split_words(cls, value: object) -> object:
        return tuple(w.strip() for w in value.split(",") if w.strip()) if isinstance(value, str) else value

    @field_validator("allow_nets", mode="before")
    @classmethod
    def _split_nets(cls, value: object) -> object:
        words = [w.strip() for w in value.split(",") if w.strip()] if isinstance(value, str) else value
        return tuple(ip_network(w) if isinstance(w, str) else w for w in words)  # type: ignore[attr-defined]

    @field_validator("model_key", "alert_webhook_token")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not (value.get_secret_value().isascii() and value.get_secret_value().isprintable()):
            raise ValueError("the key has characters that no HTTP header may have")
        return value

    @field_validator("alert_webhook")
    @classmethod
    def _check_webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"https?://[^\s@#]+", value.get_secret_value(), re.ASCII):
            raise ValueError("not an http or https address; a token goes into FILL_ALERT_WEBHOOK_TOKEN")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _check_mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        pattern = r"smtps?://([^\s/@?#:]+@)?[^\s/@?#:]+(:\d{1,5})?/?"
        if value is not None and not re.fullmatch(pattern, value.get_secret_value(), re.ASCII):
            raise ValueError(
                "write smtp://user@host:587 or smtps://user@host:465; the password into FILL_SMTP_PASSWORD"
            )
        return value

    @field_validator("model_key", "alert_webhook", "alert_webhook_token", "smtp_url", mode="before")
    @classmethod
    def _hide(cls, value: object) -> object:
        """What is refused above stands in the error, unreadable; so this is the outermost, and the last one here."""
        return SecretStr(value) if isinstance(value, str) else value

    @field_validator("alert_email_to")
    @classmethod
    def _check_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not re.fullmatch(_ADDRESS, address):
                raise ValueError(f"{address!r} is not an e-mail address")
        return value

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        if self.model_url is not None and not self.model_name:
            raise ValueError("FILL_MODEL_URL is set: say which model to ask in FILL_MODEL_NAME")
        return self

    @model_validator(mode="after")
    def _check_mail(self) -> Self:
        if self.alert_email_to and self.smtp_url is None:
            raise ValueError("FILL_ALERT_EMAIL_TO is set: name the mail server in FILL_SMTP_URL")
        return self

    @property
    def archive_root(self) -> str:
        """The archive's root as fsspec understands it."""
        return self.archive_url or str(self.home / "archive")

    @property
    def decoded_vins(self) -> Path:
        """The file of what VINs were found to decode to."""
        return self.home / "decoded-vins.tsv"

    @property
    def reports_folder(self) -> Path:
        """Where report files are written."""
        return self.home / "reports"
