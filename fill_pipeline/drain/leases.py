"""What a drain holds of the queue: under a lease that is kept up, and out of a day's budget."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from fill_pipeline.db import queue
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.queue import ClaimedPage
from fill_pipeline.drain.work import Work

CLAIM_HORIZON = timedelta(seconds=20)  # how far ahead slots are reserved


class Leases:
    """The pages a drain holds, by queue id in ``held``, from their claim until they are finished or given back."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._lease = timedelta(seconds=work.settings.lease_seconds)
        self._beaten = work.now_fn()
        self._day = self._beaten.date()
        self.held: dict[int, ClaimedPage] = {}
        self._spent: set[int] = set()  # which of those, and perhaps of some held before, no budget gets back

    def claim(self, conn: Connection, *, now: datetime) -> list[ClaimedPage]:
        """Claim a batch of pages, to be fetched at the slots that were reserved for them."""
        self._begin_day(now)
        work, batch = self._work, self._work.settings.batch_size
        pages = queue.claim(
            conn,
            owner=work.owner,
            cycle_id=work.cycle_id,
            now=now,
            batch=batch,
            lease=self._lease,
            horizon=CLAIM_HORIZON,
            per_source=batch,
        )
        self._spent.intersection_update(self.held)
        self.held.update({page.queue_id: page for page in pages})
        return pages

    def beat(self, conn: Connection) -> set[int]:
        """Keep what is held for another lease, if that is due; returns what others took over, or a worker finished.

        Due by the time of day: the sleep of a machine shows in no other clock.
        """
        now = self._work.now_fn()
        self._begin_day(now)
        if abs(now - self._beaten) < self._lease / 3:
            return set()
        self._beaten = now
        ours = queue.extend_leases(conn, self.held, owner=self._work.owner, now=now, lease=self._lease)
        lost = self.held.keys() - ours
        self.drop(lost)
        return lost

    def asked(self, queue_id: int) -> None:
        """The page's site was asked for it."""
        self._spent.add(queue_id)

    def give_back(self, conn: Connection, ids: Collection[int], *, until: datetime | None = None) -> None:
        """Give pages back untried, to be asked for at once or from a moment on (UTC)."""
        spent = self._spent.intersection(ids)
        queue.release(conn, list(ids), owner=self._work.owner, asked=spent, not_before=until)
        self.drop(ids)

    def drop(self, ids: Collection[int]) -> None:
        """These are held no longer."""
        for queue_id in ids:
            self.held.pop(queue_id, None)

    def _begin_day(self, now: datetime) -> None:
        """What was claimed on another day came from that day's budget; today's gets none of it back."""
        if now.date() != self._day:
            self._day = now.date()
            self._spent.update(self.held)
