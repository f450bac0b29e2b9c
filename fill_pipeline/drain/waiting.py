"""Claimed pages that wait for their slots, by source, each source's in the order of its slots."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from uuid import UUID

from msgspec import structs

from fill_pipeline.crawl.response import FetchRequest
from fill_pipeline.db.archive import KnownPage
from fill_pipeline.db.queue import ClaimedPage
from fill_pipeline.drain.work import Source


@dataclass(frozen=True, slots=True)
class Errand:
    """A page to fetch: of which source, at which slot (monotonic), what was had of it before, and, where it led
    elsewhere, the request to send next."""

    page: ClaimedPage
    source: Source
    slot: float
    known: KnownPage | None
    onward: FetchRequest | None = None

    @property
    def url(self) -> str:
        """What is to be asked for."""
        return self.page.url if self.onward is None else self.onward.url

    def request(self) -> FetchRequest:
        """The request to send: where it led elsewhere the one to there, else its page's, conditional if it was had."""
        if self.onward is not None:
            return structs.replace(self.onward, tag=self)
        config, known = self.source.config, self.known
        return FetchRequest(
            url=self.page.url,
            headers=config.request_headers(),
            cookies=config.request_cookies(),
            secret_origin=self.source.origin,
            max_bytes=config.limits.max_bytes,
            etag=known.etag if known is not None else None,
            last_modified=known.last_modified if known is not None else None,
            by_steps=True,
            tag=self,
        )


class Waiting:
    """The errands not yet begun."""

    def __init__(self) -> None:
        self._by_source: dict[UUID, list[tuple[float, int, Errand]]] = {}
        self._order = count()

    def __bool__(self) -> bool:
        return bool(self._by_source)

    def add(self, errand: Errand) -> None:
        """Let an errand wait for its slot."""
        entry = (errand.slot, next(self._order), errand)
        heapq.heappush(self._by_source.setdefault(errand.source.id, []), entry)

    def later(self, now: float) -> int:
        """How many errands are not yet due."""
        return sum(slot > now for errands in self._by_source.values() for slot, _, _ in errands)

    def due(self, now: float) -> list[Errand]:
        """The next errand of each source where it is due, the longest overdue first; they stay."""
        return [errand for _, _, errand in sorted(of[0] for of in self._by_source.values() if of[0][0] <= now)]

    def take_due(self, source_id: UUID, now: float, most: int | None = None) -> list[Errand]:
        """Take out a source's errands that are due, all or so many, in the order of their slots."""
        errands = self._by_source.get(source_id, [])
        taken: list[Errand] = []
        while errands and errands[0][0] <= now and len(taken) != most:
            taken.append(heapq.heappop(errands)[2])
        if taken and not errands:
            del self._by_source[source_id]
        return taken

    def take_all(self, source_id: UUID) -> list[Errand]:
        """Take out all of a source's errands, in the order of their slots."""
        return [errand for _, _, errand in sorted(self._by_source.pop(source_id, []))]

    def take(self, which: Callable[[Errand], bool]) -> list[Errand]:
        """Take out the errands that ``which`` says."""
        taken: list[Errand] = []
        for source_id, errands in list(self._by_source.items()):
            mine = [errand for _, _, errand in errands if which(errand)]
            if not mine:
                continue
            taken += mine
            left = [entry for entry in errands if not which(entry[2])]
            heapq.heapify(left)
            if left:
                self._by_source[source_id] = left
            else:
                del self._by_source[source_id]
        return taken
