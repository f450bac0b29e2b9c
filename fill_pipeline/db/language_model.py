"""What the language model was asked: the budget of a cycle, answers kept, scores of the prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from fill_pipeline.db.connect import Connection, queries

_sql = queries("language_model")
KEPT_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one cycle may spend, and after how many failures in a row it asks no more."""

    requests: int
    tokens: int
    failures: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a cycle asked; ``counts`` by kind and name: ``call.answered``, ``filled.price``, ``refused.not_on_page``."""

    requests: int
    tokens: int
    failures_in_a_row: int
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Score:
    """How a prompt did with one model: fields filled and refused, and agreement with what other layers knew."""

    prompt: str
    answered: int
    filled: int
    refused: int
    compared: int
    agreed: int

    @property
    def value(self) -> float:
        """The share of known facts it got right, as it would be with one more right and one more wrong."""
        return (self.agreed + 1) / (self.compared + 2)


def reserve(conn: Connection, cycle_id: str, tokens: int, limits: Limits) -> bool:
    """Take one question of so many tokens from the cycle's budget; False where it is spent or the circuit is open."""
    taken = _sql.reserve(
        conn,
        cycle_id=cycle_id,
        tokens=tokens,
        max_requests=limits.requests,
        max_tokens=limits.tokens,
        most_failures=limits.failures,
    )
    return taken is not None


def note(
    conn: Connection, cycle_id: str, counts: Mapping[str, int], *, tokens: int = 0, failed: bool | None = None
) -> None:
    """Add counts to the cycle's, correct its tokens, and say how a question ended (None: there was none)."""
    _sql.note(conn, cycle_id=cycle_id, counts=orjson.dumps(counts).decode(), tokens=tokens, failed=failed)


def usage(conn: Connection, cycle_id: str) -> Usage | None:
    """What a cycle asked, None where it asked nothing."""
    row = _sql.usage(conn, cycle_id=cycle_id)
    return None if row is None else Usage(*row)


def answer(conn: Connection, question: bytes) -> str | None:
    """The answer once given to a question (its hash), None where there is none."""
    content = _sql.answer(conn, question=question)
    return None if content is None else str(content)


def keep_answer(conn: Connection, question: bytes, content: str, *, now: datetime) -> None:
    """Keep an answer for a month, so that the same words are not asked about twice."""
    _sql.keep_answer(conn, question=question, content=content.replace("\x00", ""), now=now, oldest=now - KEPT_FOR)


def add_score(
    conn: Connection, model: str, prompt: str, *, filled: int, refused: int, compared: int, agreed: int
) -> None:
    """Add one answer to its prompt's score."""
    _sql.add_score(conn, model=model, prompt=prompt, filled=filled, refused=refused, compared=compared, agreed=agreed)


def scores(conn: Connection, model: str) -> list[Score]:
    """The score of every prompt this model was asked with."""
    return [Score(*row) for row in _sql.scores(conn, model=model)]
