"""What people read: plain text from packaged templates, and the same as JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from fill_pipeline.db.alerts import Delivery
from fill_pipeline.db.incidents import AlertEvent, IncidentKind, Severity

LINE_CHARS = 500
SUBJECT_CHARS = 120
# Control characters, line and paragraph separators, and what turns the direction of writing or cannot be seen.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]+")
_LOGIN = re.compile(r"://[^\s/@]+@")  # user and password of an address
_SIGNS = {
    AlertEvent.OPENED: "PROBLEM",
    AlertEvent.WORSE: "WORSE",
    AlertEvent.REMINDER: "STILL OPEN",
    AlertEvent.DISMISSED: "DISMISSED",
    AlertEvent.RESOLVED: "RESOLVED",
}
_TEMPLATES = {AlertEvent.DISMISSED: "dismissed", AlertEvent.RESOLVED: "resolved"}  # of what needs nobody any more


@dataclass(frozen=True, slots=True)
class Message:
    """An alert as it is sent: a headline of one line, a page of plain text, and both with all figures as plain data."""

    alert_id: int
    incident_id: int
    event: AlertEvent
    critical: bool
    headline: str
    text: str
    data: dict[str, Any]


def message_of(delivery: Delivery, *, secrets: tuple[str, ...] = ()) -> Message:
    """The message of an alert. Its words may come from anywhere: each value is one bounded line, without secrets."""

    def clean(value: object, most: int = LINE_CHARS) -> str:
        return one_line(value, most, secrets)

    row = delivery.incident
    event = AlertEvent(delivery.event)
    kind, subject = clean(row["kind"], SUBJECT_CHARS), clean(row["subject"], SUBJECT_CHARS)
    severity = Severity(row["severity"])
    opened_at = datetime.fromisoformat(row["opened_at"])
    pairs = row["details"].get("facts") or ()
    facts = {clean(name, 60): value if isinstance(value, int | float) else clean(value) for name, value in pairs}
    did = [clean(line) for line in row["details"].get("did") or ()]
    lasted = delivery.created_at - opened_at
    words = kind.replace("_", " ").capitalize() + (f" ({subject})" if subject else "")
    ended = f" after {duration(lasted)}" if event is AlertEvent.RESOLVED else ""
    headline = f"{_SIGNS[event]}{ended}: {words}"
    fields = {
        "headline": headline,
        "message": clean(row["message"]),
        "facts": "\n".join(f"  {name}: {_figure(value)}" for name, value in facts.items()) or "  none recorded",
        "did": "\n".join(f"  - {line}" for line in did) or "  Nothing was recorded; it goes on with its cycle.",
        "todo": what_to_do(kind, subject),
        "id": str(delivery.incident_id),
        "severity": severity.name.lower(),
        "opened": f"{opened_at:%Y-%m-%d %H:%M} UTC",
        "lasted": duration(lasted),
        "occurrences": str(row["occurrences"]),
        "who": clean(row.get("dismissed_by") or "", SUBJECT_CHARS),
        "why": clean(row.get("dismissed_why") or ""),
    }
    text = _template(_TEMPLATES.get(event, "open")).substitute(fields)
    data = {
        "id": delivery.alert_id,
        "event": event.value,
        "at": delivery.created_at.isoformat(),
        "headline": headline,
        "incident": {
            "id": delivery.incident_id,
            "kind": kind,
            "subject": subject,
            "severity": severity.name.lower(),
            "message": fields["message"],
            "opened_at": opened_at.isoformat(),
            "closed_at": row["closed_at"],
            "seconds": round(lasted.total_seconds()),
            "occurrences": row["occurrences"],
            "cycle": row["opened_cycle"],
            "facts": facts,
            "done": did,
            **({"dismissed_by": fields["who"], "dismissed_why": fields["why"]} if fields["why"] else {}),
            "to_do": [] if event in _TEMPLATES else [line.strip() for line in fields["todo"].split("\n")],
        },
    }
    critical = severity is Severity.CRITICAL and event not in _TEMPLATES
    return Message(delivery.alert_id, delivery.incident_id, event, critical, headline, text, data)


def what_to_do(kind: str, subject: str) -> str:
    """What is left to a person, in plain words, with the commands; "" for a kind without a template."""
    if kind not in set(IncidentKind):
        return ""
    # The subject is quoted for the shell: it may hold anything.
    return _template(f"todo/{kind}").substitute(subject=_shell_word(subject) or "NAME").rstrip()


def one_line(value: object, most: int = LINE_CHARS, secrets: tuple[str, ...] = ()) -> str:
    """A value as one line of at most ``most`` characters that can be seen, without logins and these secrets."""
    text = _LOGIN.sub("://***@", _UNSEEN.sub(" ", str(value)[: 4 * most]))
    for secret in secrets:
        text = text.replace(secret, "***")
    text = text.strip()
    return text if len(text) <= most else text[: most - 1] + "…"


def duration(lasted: timedelta) -> str:
    """A length of time in its two largest units: "3 h 20 min"."""
    minutes = max(0, round(lasted.total_seconds() / 60))
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest} min" if hours else f"{rest} min"


def _figure(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _shell_word(subject: str) -> str:
    return subject if re.fullmatch(r"[\w.-]*", subject, re.ASCII) else "'" + subject.replace("'", "’") + "'"


@cache
def _template(name: str) -> Template:
    return Template(files("fill_pipeline.alerts").joinpath(f"templates/{name}.txt").read_text(encoding="utf-8"))
