"""Drain the import queue: claim, fetch at the reserved times, archive, hand to workers, until nothing is ready.

One process fetches; worker processes read and write. No transaction is open while a page is fetched.
"""

from __future__ import annotations

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from multiprocessing.connection import wait
from uuid import UUID

import psycopg

from fill_pipeline.crawl.fetch import RETRYABLE, FailureCategory, Fetcher, FetchRequest, FetchResponse
from fill_pipeline.crawl.pagination import StopReason
from fill_pipeline.crawl.robots import RETRY_AFTER_ERROR
from fill_pipeline.crawl.urls import origin
from fill_pipeline.db import cycles, ledger, pace, queue
from fill_pipeline.db.archive import ArchivedKind
from fill_pipeline.db.connect import Connection, connect_again
from fill_pipeline.db.cycles import CycleClosedError
from fill_pipeline.db.ledger import SourceStats
from fill_pipeline.db.queue import ClaimedPage, Failure
from fill_pipeline.drain.archives import OpenArchives
from fill_pipeline.drain.arenas import bound_arenas, collect_as_usual, collect_rarely
from fill_pipeline.drain.batch import Batch
from fill_pipeline.drain.known import known_details
from fill_pipeline.drain.leases import Leases
from fill_pipeline.drain.manners import Manners, RobotsTag
from fill_pipeline.drain.owner import cores
from fill_pipeline.drain.page import RawPage, reading_of
from fill_pipeline.drain.waiting import Errand, Waiting
from fill_pipeline.drain.work import Source, Work, load_sources, reserve_slot
from fill_pipeline.drain.worker import END_SECONDS, HELD_PER_WORKER, Loss, Worker, Workers, prepare

log = logging.getLogger(__name__)
PAGES_PER_BATCH = 300
LEAST_PAGES = 20  # in a batch when the last pages are shared out
BATCH_AGE_SECONDS = 1.0
PATIENCE = timedelta(seconds=30)  # how long a drain stays for a page that is soon ready
FETCH_SECONDS = 0.02  # how long the loop waits for a page before it looks at the workers
IDLE_SECONDS = 0.05  # how long it waits for a worker while no page is on its way
CLAIM_SECONDS = 0.1  # between two claims while there is something to fetch and the last one gave less than was asked
GRACE_SECONDS = 0.8  # what workers have left to finish when somebody waits for us to stop
TURN_SECONDS = 1.0  # how often the slower duties are done
BACKOFF_SECONDS = 20.0
MAX_BACKOFF_SECONDS = 3600.0
RECONNECTS = 5  # in a row, without a page between them


class Drain:
    """One shard at work."""

    def __init__(self, work: Work, *, feeding: Callable[[], bool] = lambda: False, seed: int = 0) -> None:
        self._work = work
        self._feeding = feeding
        self._random = random.Random(seed)
        self._leases = Leases(work)
        self._held = self._leases.held
        self._sources: dict[UUID, Source] = {}
        self._archives = OpenArchives(work)
        self._waiting = Waiting()
        self._flying = 0
        self._awaiting_robots: dict[str, list[Errand]] = {}
        self._workers = Workers(
            lambda: Worker(work.url, work.settings, work.now_fn()), work.settings.workers or cores()
        )
        self._ready: list[RawPage] = []
        self._ready_since = 0.0
        self._unchanged: list[ClaimedPage] = []
        self._unchanged_since = 0.0
        self._singles: list[RawPage] = []
        self._claim_at = 0.0
        self._batches = count(1)
        self._stats: defaultdict[UUID, SourceStats] = defaultdict(SourceStats)
        self.cut_off = False
        """Whether ``run`` ended with its connection lost; ``leave`` is then still to be called."""

    def run(self) -> None:
        """Work until nothing is ready any more, time is up or we are told to stop. Counts are in ``work.totals``.

        Raises:
            CycleClosedError: the cycle was closed meanwhile; what was held is given back.
        """
        work = self._work
        with work.connect("drain") as conn, Fetcher(work.fetch_settings()) as fetcher:
            self._conn, self._fetcher, self._manners = conn, fetcher, Manners(conn, work)
            try:
                collect_rarely()
                self._loop()
            finally:
                collect_as_usual()
                self._workers.stop(0.0 if work.should_stop() else END_SECONDS)
                self._archives.close()
                try:
                    if not conn.broken:
                        self.leave(conn)
                        self._manners.save()
                finally:  # it may be lost only now
                    self.cut_off = conn.broken

    def leave(self, conn: Connection) -> None:
        """Give back what is still held, also what was claimed without our hearing of it, and write the account."""
        self._conn = conn
        self._give_back(sorted(queue.held_by(conn, self._work.owner)))
        self._flush_stats()

    def _loop(self) -> None:
        turn = collect = until = 0.0
        dry = False
        while True:
            now = time.monotonic()
            if now >= turn:
                turn = now + TURN_SECONDS
                self._sources = load_sources(self._conn, known=self._sources)
                self._drop_stopped()
                self._hold_off(self._manners.look_up({page.source_id for page in self._held.values()}))
                self._manners.save()
                self._flush_stats()
                dry = False
            self._beat()
            stopping = self._work.stopping()
            if stopping:
                self._stop_fetching()
                until = until or now + GRACE_SECONDS
                if self._work.should_stop() and (now >= until or not self._workers.pipes):
                    return
            elif not dry and self._has_room(now):
                dry = not self._claim(now)
            self._start_due()
            if self._fetcher.in_flight:
                for response in self._fetcher.poll(FETCH_SECONDS):
                    self._receive(response)
            else:
                wait(self._workers.pipes, IDLE_SECONDS)
            idle = stopping or not (self._fetcher.in_flight or self._waiting)
            self._hand_over(everything=idle)
            self._finish_unchanged(everything=idle)
            if idle or now >= collect:
                collect = now + FETCH_SECONDS
                self._collect()
            if not self._held and (stopping or (dry and not self._feeding())):
                if stopping or not self._soon():
                    return
                dry = False  # perhaps another drain was claiming when we did

    # ── Claiming ──

    def _has_room(self, now: float) -> bool:
        """Whether more should be claimed: of what can be fetched now, no more than the workers need soon.

        The rest is left to other drains; what is claimed early for slots to come keeps slow sources busy.
        """
        working = (HELD_PER_WORKER + 1) * PAGES_PER_BATCH * self._workers.wanted
        if len(self._held) < working and not (self._fetcher.in_flight or self._waiting):
            return True
        if now < self._claim_at or len(self._held) >= max(2 * self._work.settings.batch_size, working):
            return False
        self._claim_at = now + CLAIM_SECONDS
        later = self._waiting.later(now)
        return len(self._held) - later < working

    def _claim(self, monotonic: float) -> bool:
        now = self._work.now_fn()
        pages = self._leases.claim(self._conn, now=now)
        full = len(pages) == self._work.settings.batch_size
        self._claim_at = monotonic if full else monotonic + CLAIM_SECONDS
        self._manners.look_up({page.source_id for page in pages})
        known = known_details(self._conn, pages, now)
        at = time.monotonic()
        for page in pages:
            source = self._sources.get(page.source_id)
            if source is None:
                self._give_back([page.queue_id])
                continue
            slot = at + max(0.0, (page.slot_at - now).total_seconds())
            self._waiting.add(Errand(page, source, slot, known.get(page.queue_id)))
        return bool(pages)

    def _soon(self) -> bool:
        now = self._work.now_fn()
        ready_at = queue.next_ready(self._conn, now=now)
        if ready_at is None or ready_at > now + PATIENCE or ready_at > self._work.deadline:
            return False
        time.sleep(min(0.2, max(0.0, (ready_at - now).total_seconds())))
        return True

    def _beat(self) -> None:
        """Keep what is held; what is no longer ours, taken over or finished by a worker not yet heard, is let go."""
        lost = self._leases.beat(self._conn)
        if not lost:
            return
        self._ready = [page for page in self._ready if page.queue_id not in lost]
        self._singles = [page for page in self._singles if page.queue_id not in lost]
        self._unchanged = [page for page in self._unchanged if page.queue_id not in lost]
        unanswered = self._call_off(lambda errand: errand.page.queue_id in lost)
        if unanswered:
            log.warning("%d leases ran out, as where a process stands still; others have their pages", len(unanswered))

    def _drop_stopped(self) -> None:
        """Give back what belongs to sources that were switched off meanwhile, also what is on its way."""
        stopped = self._call_off(lambda errand: errand.source.id not in self._sources)
        self._give_back([errand.page.queue_id for errand in stopped])

    def _hold_off(self, source_ids: Collection[UUID]) -> None:
        """Give back what is still to be asked of sources that are left alone from now on."""
        if source_ids:
            unsent = self._call_off(lambda errand: errand.source.id in source_ids, sent=False)
            self._give_back([errand.page.queue_id for errand in unsent])

    def _stop_fetching(self) -> None:
        unanswered = self._call_off(lambda _: True)
        self._fetcher.abort()  # what robots.txt files were asked for
        self._awaiting_robots.clear()
        self._give_back([errand.page.queue_id for errand in unanswered])

    def _call_off(self, which: Callable[[Errand], bool], *, sent: bool = True) -> list[Errand]:
        """Take back errands that wait and, unless ``sent`` is false, those that are on their way."""
        off = self._waiting.take(which)
        for of_origin, errands in self._awaiting_robots.items():
            off += [errand for errand in errands if which(errand)]
            self._awaiting_robots[of_origin] = [errand for errand in errands if not which(errand)]
        if sent:
            dropped = self._fetcher.abort(lambda request: isinstance(request.tag, Errand) and which(request.tag))
            self._flying -= len(dropped)
            self._manners.in_flight.subtract(request.tag.source.id for request in dropped)
            off += [request.tag for request in dropped]
        return off

    def _give_back(self, ids: list[int], *, until: datetime | None = None) -> None:
        self._leases.give_back(self._conn, ids, until=until)

    # ── Fetching ──

    def _start_due(self) -> None:
        now = time.monotonic()
        for first in self._waiting.due(now):
            source = first.source
            if self._room(source) and self._manners.is_late(source, first.slot, now):
                self._move(self._waiting.take_due(source.id, now))
                continue
            while (room := self._room(source)) and (errands := self._waiting.take_due(source.id, now, room)):
                for errand in errands:
                    self._start(errand)

    def _room(self, source: Source) -> int:
        return min(self._manners.room(source), self._fetcher.settings.max_connections - self._flying)

    def _move(self, errands: list[Errand]) -> None:
        """Give these errands of one source new slots, after all others."""
        if errands:
            slots = self._manners.new_slots(errands[0].source, len(errands))
            for errand, slot in zip(errands, slots, strict=True):
                self._waiting.add(replace(errand, slot=slot))

    def _start(self, tag: Errand) -> None:
        self._beat()  # we may just have woken up
        if tag.page.queue_id not in self._held:
            return
        source, url = tag.source, tag.url
        rules = self._manners.rules(source, url)
        if rules is None:
            request = self._manners.robots_request(source, url)
            if request.tag.origin not in self._awaiting_robots:
                self._fetcher.submit(request)
            self._awaiting_robots.setdefault(request.tag.origin, []).append(tag)
        elif rules.forbids_all and origin(url) != source.origin and tag.onward is not None:
            self._fail(tag, FailureCategory.CONNECT, f"redirected to {origin(url)}, whose robots.txt cannot be had")
        elif rules.forbids_all and origin(url) != source.origin:
            self._give_back([tag.page.queue_id], until=self._work.now_fn() + RETRY_AFTER_ERROR)
            self._stats[source.id].add(SourceStats(notes=[f"{origin(url)}: its robots.txt cannot be had"]))
        elif rules.forbids_all:
            self._manners.hold_for_robots(source)
            self._give_back([tag.page.queue_id])
            self._hold_off({source.id})
        elif not rules.allowed(url):
            self._fail(tag, FailureCategory.ROBOTS, "robots.txt forbids this page")
        else:
            self._flying += 1
            self._leases.asked(tag.page.queue_id)
            self._manners.in_flight[source.id] += 1
            self._fetcher.submit(tag.request())

    def _receive(self, response: FetchResponse) -> None:
        tag = response.request.tag
        if isinstance(tag, RobotsTag):
            self._manners.take_robots(response)
            for errand in self._awaiting_robots.pop(tag.origin, []):
                self._waiting.add(errand)
            if self._manners.has_slowed(tag.source):
                self._move(self._waiting.take_all(tag.source.id))
            return
        assert isinstance(tag, Errand)
        self._flying -= 1
        leave_alone = self._manners.answered(tag.source, response)
        if tag.page.queue_id not in self._held:
            return
        stats = self._stats[tag.source.id]
        stats.bytes_received += len(response.body_received)
        if response.onward is not None:
            self._go_on(tag, response.onward)
            return
        if response.failure is not None:
            self._fail(tag, response.failure, response.error or "", response.retry_after)
            if leave_alone:
                self._hold_off({tag.source.id})
            return
        if response.not_modified and tag.known is None:
            self._fail(tag, FailureCategory.PROTOCOL, "not modified, though nothing was said to be known")
            return
        if response.not_modified:
            if not self._unchanged:
                self._unchanged_since = time.monotonic()
            self._unchanged.append(tag.page)
            return
        now = self._work.now_fn()
        ref = self._archives.of(tag.source).append(response, now)
        page = RawPage.of(
            response,
            ref,
            source_id=tag.source.id,
            kind=ArchivedKind.DETAIL,
            fetched_at=now,
            queue_id=tag.page.queue_id,
            hint=tag.page.hint,
        )
        if not self._workers.pipes:
            prepare()
        if tag.page.attempts > 1:
            self._singles.append(page)  # what failed once, perhaps with its worker, no longer shares a batch
        else:
            if not self._ready:
                self._ready_since = time.monotonic()
            self._ready.append(page)

    def _go_on(self, tag: Errand, onward: FetchRequest) -> None:
        """Follow a redirect as any other request: in a slot of its own, out of the day's budget, under robots.txt."""
        slot = reserve_slot(self._conn, self._work, tag.source.id, 1)
        if isinstance(slot, StopReason):
            self._give_back([tag.page.queue_id])
        else:
            self._waiting.add(replace(tag, slot=slot, onward=onward))

    def _fail(self, tag: Errand, category: FailureCategory, error: str, retry_after: float | None = None) -> None:
        now = self._work.now_fn()
        page, source_id = tag.page, tag.source.id
        backoff = min(BACKOFF_SECONDS * 2 ** (page.attempts - 1), MAX_BACKOFF_SECONDS)
        delay = retry_after if retry_after is not None else backoff * self._random.uniform(0.5, 1.5)
        retryable = category in RETRYABLE or category is FailureCategory.BLOCKED
        ends = queue.fail(
            self._conn,
            [Failure(page.queue_id, str(category), error, delay, retryable)],
            owner=self._work.owner,
            now=now,
        )
        self._leases.drop([page.queue_id])
        if page.queue_id in ends:
            self._stats[source_id].fail(str(category))

    # ── Handing over ──

    def _hand_over(self, *, everything: bool) -> None:
        old = self._ready and time.monotonic() - self._ready_since > BATCH_AGE_SECONDS
        while self._singles and (worker := self._workers.free()) is not None:
            self._send(worker, [self._singles.pop()])
        while self._ready and (everything or old or len(self._ready) >= PAGES_PER_BATCH):
            worker = self._workers.free()
            if worker is None:
                return
            n = PAGES_PER_BATCH
            if everything:  # the last ones for now: to each worker its share
                n = min(n, max(LEAST_PAGES, -(-len(self._ready) // self._workers.wanted)))
            pages, self._ready = self._ready[:n], self._ready[n:]
            self._send(worker, pages)

    def _finish_unchanged(self, *, everything: bool) -> None:
        """Commit pages their site says are unchanged; no worker needs to see them."""
        old = self._unchanged and time.monotonic() - self._unchanged_since > BATCH_AGE_SECONDS
        if not self._unchanged or not (everything or old or len(self._unchanged) >= PAGES_PER_BATCH):
            return
        from fill_pipeline.drain.revisit import see_again  # loads what writes; most drains meet no unchanged page

        pages, self._unchanged = self._unchanged, []
        work, now = self._work, self._work.now_fn()
        core_fields = work.settings.core_fields
        done = see_again(self._conn, pages, cycle_id=work.cycle_id, owner=work.owner, now=now, core_fields=core_fields)
        for source_id, stats in done.items():
            work.totals.add(source_id, stats)
            pace.note_success(self._conn, source_id, now)
        self._leases.drop([page.queue_id for page in pages])

    def _send(self, worker: Worker, pages: list[RawPage]) -> None:
        sources = {page.source_id for page in pages}
        self._archives.flush(sources)
        work = self._work
        readings = {
            source_id: reading_of(self._sources[source_id], work.settings)
            for source_id in sources
            if source_id in self._sources
        }
        dropped = [page for page in pages if page.source_id not in readings]
        self._give_back([page.queue_id for page in dropped if page.queue_id is not None])
        pages = [page for page in pages if page.source_id in readings]
        if pages:
            worker.send(
                Batch(
                    next(self._batches),
                    work.cycle_id,
                    work.owner,
                    work.now_fn(),
                    pages,
                    readings,
                    work.settings.core_fields,
                )
            )

    def _collect(self) -> None:
        for heard in self._workers.heard():
            if isinstance(heard, Loss):
                self._take_back(heard)
                continue
            if heard.too_late:
                raise CycleClosedError(f"cycle {self._work.cycle_id} was closed while pages of its were on their way")
            self._refuse(heard.unwritten)
            self._leases.drop(heard.queue_ids)
            for source_id, stats in heard.stats.items():
                self._work.totals.add(source_id, stats)
                if stats.pages_fetched:
                    pace.note_success(self._conn, source_id, self._work.now_fn())

    def _take_back(self, loss: Loss) -> None:
        """A worker died: what it was reading is tried alone from now on; what it never looked at goes to another."""
        error = f"the worker reading this page died: {loss.why}"
        self._refuse([(page.queue_id or 0, error) for page in loss.begun], "worker_lost")
        for page in loss.unread:
            if (held := self._held.get(page.queue_id or 0)) is not None:
                (self._singles if held.attempts > 1 else self._ready).append(page)

    def _refuse(self, pages: list[tuple[int, str]], category: str = "write") -> None:
        failures = [Failure(queue_id, category, error, 1.0) for queue_id, error in pages]
        now = self._work.now_fn()
        ours = {f.queue_id: self._held[f.queue_id].source_id for f in failures if f.queue_id in self._held}
        for queue_id in queue.fail(self._conn, failures, owner=self._work.owner, now=now):
            if queue_id in ours:
                self._stats[ours[queue_id]].fail(category)
        self._leases.drop(ours)

    def _flush_stats(self) -> None:
        stats, self._stats = self._stats, defaultdict(SourceStats)
        if not stats:
            return
        now = self._work.now_fn()
        with self._conn.transaction():
            cycles.keep_open(self._conn, self._work.cycle_id)
            for source_id, part in sorted(stats.items()):
                ledger.add_stats(self._conn, source_id, self._work.cycle_id, part, now=now)
        for source_id, part in stats.items():
            self._work.totals.add(source_id, part)


def drain_queue(work: Work, *, feeding: Callable[[], bool] = lambda: False, seed: int = 0) -> None:
    """Drain the queue as one shard; ``feeding`` says whether more rows may still come from a harvest beside us.

    A lost connection costs what was under way: it is given back, and the drain goes on when the server is there again.
    """
    bound_arenas()
    idle = 0
    while True:
        drain, fetched = Drain(work, feeding=feeding, seed=seed), work.totals.sum("pages_fetched")
        try:
            drain.run()
            return
        except psycopg.OperationalError as error:
            idle = 0 if work.totals.sum("pages_fetched") > fetched else idle + 1
            if idle > RECONNECTS or not drain.cut_off:
                raise
            log.warning("the connection to the database was lost (%s); the drain goes on", error)
        _leave(drain, work)


def _leave(drain: Drain, work: Work) -> None:
    """What a drain cut off held is given back, also when the next connection is cut, or it would wait for its lease."""
    for again in range(RECONNECTS, -1, -1):
        with connect_again(work.url, name="fill drain") as conn:
            try:
                drain.leave(conn)
                return
            except psycopg.OperationalError:
                if not (again and conn.broken):
                    raise
