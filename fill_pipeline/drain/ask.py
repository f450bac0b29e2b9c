"""Asking a language model about pages that the other layers leave gaps in: within a budget, never trusted blindly.

Only loaded where the settings name a service.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from fill_pipeline.crawl.language_model import Completion, LanguageModel, ModelError
from fill_pipeline.db import language_model as db
from fill_pipeline.db.connect import Connection
from fill_pipeline.extract import model_answer, model_prompt
from fill_pipeline.extract.listing import Listing
from fill_pipeline.extract.model_answer import AnswerError, Judgement
from fill_pipeline.settings import Settings

log = logging.getLogger(__name__)
AUTO = "auto"
MOST_FAILURES = 5  # in a row, in one cycle; then it is left alone until the next
SECONDS_PER_BATCH = 60.0  # a batch of pages waits no longer than this and one answer for the model
ANSWER_TOKENS = 700
BYTES_PER_TOKEN = 3  # of the languages we read, on the safe side
EXPLORED = 10  # with ``auto`` every so-manieth page is asked about with any of the prompts


class Skip(StrEnum):
    """Why a page with gaps was not asked about."""

    BUDGET = "budget"  # the cycle's budget is spent
    CIRCUIT = "circuit"  # the service failed, or lied, too often in a row
    TIME = "time"  # its batch has waited long enough
    NO_TEXT = "no_text"
    NO_PROMPT = "no_prompt"  # the settings name a version that does not exist


class Asker:
    """Fills a listing's gaps with what a model found on its page. One for each worker process."""

    def __init__(self, conn: Connection, settings: Settings) -> None:
        assert settings.model_url is not None
        assert settings.model_name is not None
        self._conn = conn
        self._name, self._prompt = settings.model_name, settings.model_prompt
        self._limits = db.Limits(settings.model_budget_requests, settings.model_budget_tokens, MOST_FAILURES)
        self._client = LanguageModel(settings.model_url, key=settings.model_key, timeout=settings.model_timeout)
        self._known = self._prompt == AUTO or self._prompt in model_prompt.versions()
        if not self._known:
            log.error("there is no prompt %r; the language model is not asked", self._prompt)
        self._cycle_id, self._now, self._until = "", datetime.min.replace(tzinfo=UTC), 0.0
        self._over: Skip | None = None  # why this cycle asks no more
        self._counts: Counter[str] = Counter()

    @contextmanager
    def batch(self, cycle_id: str, now: datetime) -> Iterator[None]:
        """Ask about the pages of one batch of this cycle; ``now`` is UTC. Counts are written at its end."""
        if cycle_id != self._cycle_id:
            self._over = None
        self._cycle_id, self._now, self._until = cycle_id, now, time.monotonic() + SECONDS_PER_BATCH
        try:
            yield
        finally:
            counts, self._counts = self._counts, Counter()
            if counts:
                db.note(self._conn, cycle_id, counts)

    def __call__(self, listing: Listing, body: bytes, content_type: str) -> bool:
        """Ask about one page; True where a gap was filled. Never raises on what service or page may give."""
        if not self._known:
            return self._skip(Skip.NO_PROMPT)
        if self._over is not None:
            return self._skip(self._over)
        text = model_prompt.page_text(body, content_type)
        if not text:
            return self._skip(Skip.NO_TEXT)
        prompt = self._choose(text)
        request = model_prompt.request(text, version=prompt, model=self._name, max_tokens=ANSWER_TOKENS)
        question = hashlib.sha256(orjson.dumps(request)).digest()
        content = db.answer(self._conn, question)
        if content is not None:
            self._counts["remembered"] += 1
            answer = model_answer.decode(content)
            return self._take(listing, answer, model_answer.judge(answer, text, listing), prompt)
        return self._ask(listing, text, prompt, request, question)

    def _ask(self, listing: Listing, text: str, prompt: str, request: dict[str, Any], question: bytes) -> bool:
        if time.monotonic() >= self._until:
            return self._skip(Skip.TIME)
        size = sum(len(message["content"].encode()) for message in request["messages"])
        reserved = size // BYTES_PER_TOKEN + ANSWER_TOKENS
        if not db.reserve(self._conn, self._cycle_id, reserved, self._limits):
            used = db.usage(self._conn, self._cycle_id)
            broken = used is not None and used.failures_in_a_row >= MOST_FAILURES
            self._over = Skip.CIRCUIT if broken else Skip.BUDGET
            return self._skip(self._over)
        try:
            completion = self._client.complete(request)
            answer = model_answer.decode(completion.content)
        except (ModelError, AnswerError) as error:
            db.note(self._conn, self._cycle_id, {f"call.{error}": 1}, failed=True)
            return False
        judgement = model_answer.judge(answer, text, listing)
        lies = bool(judgement.contradicted)
        ended = "contradicts" if lies else "answered" if answer.one_vehicle else "not_one_vehicle"
        cost = _cost(completion, reserved)
        db.note(self._conn, self._cycle_id, {f"call.{ended}": 1}, tokens=cost - reserved, failed=lies)
        db.keep_answer(self._conn, question, completion.content, now=self._now)
        db.add_score(
            self._conn,
            self._name,
            prompt,
            filled=len(judgement.words),
            refused=judgement.refused.total(),
            compared=judgement.compared,
            agreed=judgement.agreed,
        )
        return self._take(listing, answer, judgement, prompt)

    def _take(self, listing: Listing, answer: Any, judgement: Judgement, prompt: str) -> bool:
        """Fill the gaps, unless the answer is wrong about which car this is or sees no single one."""
        if judgement.contradicted or not answer.one_vehicle:
            return False
        filled = model_answer.fill(listing, judgement, prompt)
        self._counts.update(f"filled.{name}" for name in filled)
        for reason, n in judgement.refused.items():
            self._counts[f"refused.{reason}"] += n
        return bool(filled)

    def _choose(self, text: str) -> str:
        """The version the settings name; with ``auto`` the best so far, and by the page's hash now and then another.

        A page gets the same one each time while the best stays the best, so that its answer is remembered.
        """
        if self._prompt != AUTO:
            return self._prompt
        named, (first, second, *_) = model_prompt.versions(), hashlib.sha256(text.encode()).digest()
        if first % EXPLORED == 0:
            return named[second % len(named)]
        scores = {score.prompt: score.value for score in db.scores(self._conn, self._name)}
        return max(named, key=lambda name: scores.get(name, 0.5))

    def _skip(self, why: Skip) -> bool:
        self._counts[f"skipped.{why}"] += 1
        return False


def _cost(completion: Completion, reserved: int) -> int:
    """What the service says a question cost, as far as that can be: nobody gets away with saying nothing or zero."""
    said = completion.tokens
    return reserved if said is None else min(max(said, reserved // 4), 4 * reserved)
