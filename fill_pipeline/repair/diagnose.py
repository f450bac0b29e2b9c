"""Diagnose: from what a source answers now and what is known of it, what is wrong with it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from fill_pipeline.crawl.response import FailureCategory
from fill_pipeline.crawl.urls import canonical_url, same_site
from fill_pipeline.db.ledger import FieldFall
from fill_pipeline.repair.ask import FreshPage
from fill_pipeline.repair.cause import Cause
from fill_pipeline.repair.trial_harvest import TrialHarvest
from fill_pipeline.repair.truth import TELLING, Score, Witness

GOOD_F1 = 0.97
POOR_F1 = 0.9
SAME_BODY_SHARE = 0.8
MIN_WITNESSES = 3
MISSING_SHARE = 0.25  # of the pages that state a field
CLEARLY_MORE = 1.1
UNAVAILABLE = 503  # it cannot answer; only 429 is about how often we ask (RFC 9110, RFC 6585)
THIN_F1 = 0.7
"""Fewer witnesses than ``MIN_WITNESSES`` must be read worse than this to prove anything: a price may have changed."""


_CAUSES = {
    FailureCategory.THROTTLED: Cause.THROTTLED,
    FailureCategory.GONE: Cause.GONE,
    FailureCategory.HTTP_4XX: Cause.GONE,
    FailureCategory.ROBOTS: Cause.ROBOTS,
    FailureCategory.BAD_URL: Cause.OURS,
    FailureCategory.BLOCKED_ADDRESS: Cause.OURS,
}
_LISTING_ENDED = (FailureCategory.GONE, FailureCategory.HTTP_4XX)  # may be said of one page of a site that works


@dataclass(slots=True)
class Checkup:
    """What a source answered: index and listings' pages, those whose content is known, and how they read today."""

    base_url: str
    index: list[FreshPage] = field(default_factory=list)
    details: list[FreshPage] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    score: Score = field(default_factory=Score)
    harvest: TrialHarvest | None = None
    relearned: TrialHarvest | None = None
    lost: list[FieldFall] = field(default_factory=list)
    """Fields that it stated while it was healthy and hardly states since."""
    lacking: list[str] = field(default_factory=list)
    """Those of them that its pages of today do not give either."""
    known_listings: int = 0
    ended: int = 0
    """How many of its listings ended lately, where none is active any more."""
    failures: dict[str, int] = field(default_factory=dict)
    """How its pages failed when last asked, by category; where nothing may be asked now that is all there is."""
    hold_reason: str = ""
    """Why nothing may be asked of it now, in the words of its pace."""

    @property
    def pages(self) -> list[FreshPage]:
        """All fresh pages."""
        return [*self.index, *self.details]


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause, the words for a person, and which part wants new rules."""

    cause: Cause
    reason: str
    details_broken: bool = False
    index_broken: bool = False
    lost: tuple[str, ...] = ()
    """Fields that pages state, as is known, and that are not read from them any more."""


def diagnose(seen: Checkup) -> Finding:
    """Name the trouble; when nothing proves a cause, say so rather than guess."""
    pages = seen.pages
    if not pages:
        return _by_account(seen.failures, seen.hold_reason)
    elsewhere = [page for page in pages if page.response is not None and not same_site(page.final_url, seen.base_url)]
    if len(elsewhere) * 2 > len(pages):
        return Finding(Cause.MOVED, f"its pages lead to {elsewhere[0].final_url[:200]}")
    failed = [page for page in pages if page.failure is not None]
    if len(failed) == len(pages) or (seen.index and all(page.failure is not None for page in seen.index)):
        return _failing(failed, len(pages))
    fresh = [page for page in pages if page.failure is None]
    details = [page for page in seen.details if page.failure is None]
    if len(details) >= MIN_WITNESSES and not seen.witnesses and _all_alike(details):
        return Finding(Cause.SOFT_404, f"{len(details)} different addresses give one and the same page")
    limit = GOOD_F1 if len(seen.witnesses) >= MIN_WITNESSES else THIN_F1
    # What one redesign took away went together: where one field is lost, those that matter most are looked at too.
    suspect = dict.fromkeys((*seen.lacking, *TELLING)) if seen.lacking else ()
    lost = tuple(name for name in suspect if _is_misread(seen, name))
    details_broken = bool(lost) or (seen.score.compared > 0 and seen.score.f1 < limit)
    index_broken = _index_broken(seen)
    if details_broken or index_broken:
        words = []
        if details_broken:
            words.append(
                f"{len(seen.witnesses)} pages state what we know of them, and are read with F1 {seen.score.f1:.2f}"
                + (f", without {', '.join(lost)}" if lost else "")
            )
        if index_broken and seen.relearned is not None and seen.harvest is not None:
            words.append(f"the index gives {seen.harvest.found} listings where {seen.relearned.found} can be found")
        return Finding(Cause.REDESIGNED, "; ".join(words), details_broken, index_broken, lost)
    refused = [page for page in failed if page.failure not in _LISTING_ENDED]
    if 2 * len(refused) > len(pages):
        return _failing(refused, len(pages))
    if seen.harvest is not None and seen.harvest.found == 0 and seen.harvest.says_empty:
        return Finding(Cause.EMPTY, "it says that it lists nothing now")
    if seen.details and not details:
        if (sold := _sold(seen)) is not None:
            return Finding(Cause.WELL, sold)
        return _failing([page for page in seen.details if page.failure is not None], len(seen.details))
    if seen.harvest is not None and seen.harvest.found == 0 and seen.ended and not seen.known_listings:
        return Finding(Cause.EMPTY, f"its index names no listing, and all {seen.ended} that we knew have ended")
    if seen.harvest is not None and seen.harvest.found == 0:
        return Finding(
            Cause.UNKNOWN, "its index pages come, nothing on them is recognised, and no known listing proves why"
        )
    if seen.known_listings and not seen.witnesses:
        return Finding(Cause.UNKNOWN, "no page states what we know of it")
    if unproven := [name for name in seen.lacking if _compared(seen, name) < MIN_WITNESSES]:
        reason = f"it used to state {', '.join(unproven)}; its pages give none now, and no known value proves why"
        return Finding(Cause.UNKNOWN, reason)
    return Finding(Cause.WELL, f"it works now: {len(fresh)} pages came and read well")


def _is_misread(seen: Checkup, name: str) -> bool:
    """Whether pages that state a field, as is known, are mostly not read so, or many of them without it."""
    right, _wrong, missing = seen.score.by_field.get(name, (0, 0, 0))
    if _compared(seen, name) < MIN_WITNESSES:
        return False
    return 2 * right < _compared(seen, name) or missing >= max(MIN_WITNESSES, MISSING_SHARE * _compared(seen, name))


def _compared(seen: Checkup, name: str) -> int:
    return sum(seen.score.by_field.get(name, ()))


def _by_account(failures: dict[str, int], hold_reason: str) -> Finding:
    """What the account says of a source that may not be asked now: it asked for silence, or its breaker is open."""
    worst = max(failures, key=lambda category: failures[category], default="")
    if worst not in set(FailureCategory):
        return Finding(Cause.UNKNOWN, "nothing could be asked of it now")
    words = f"nothing may be asked of it now; {failures[worst]} of its pages failed before: {hold_reason or worst}"
    category = FailureCategory(worst)
    if category is FailureCategory.THROTTLED and f"HTTP {UNAVAILABLE}" in hold_reason:
        return Finding(Cause.UNREACHABLE, words)
    if category is FailureCategory.BLOCKED:
        return Finding(Cause.BLOCKED, words)
    return Finding(_CAUSES.get(category, Cause.UNREACHABLE), words)


def _failing(failed: Sequence[FreshPage], asked: int) -> Finding:
    worst, times = Counter(page.failure for page in failed).most_common(1)[0]
    example = next(page for page in failed if page.failure is worst)
    words = f"{times} of {asked} pages: {example.error or worst}"[:300]
    if worst is FailureCategory.BLOCKED:
        lowered = example.error.lower()
        if "login" in lowered:
            return Finding(Cause.LOGIN, words)
        if "captcha" in lowered or "challenge" in lowered:
            return Finding(Cause.CAPTCHA, words)
        return Finding(Cause.BLOCKED, words)
    if worst is FailureCategory.THROTTLED and example.response is not None and example.response.status == UNAVAILABLE:
        return Finding(Cause.UNREACHABLE, words)
    return Finding(_CAUSES.get(worst, Cause.UNREACHABLE) if worst is not None else Cause.UNKNOWN, words)


def _all_alike(pages: Sequence[FreshPage]) -> bool:
    bodies = Counter(page.body for page in pages)
    return bodies.most_common(1)[0][1] >= SAME_BODY_SHARE * len(pages)


def _sold(seen: Checkup) -> str | None:
    """In words, that what is gone was sold: the index lists others, and none of these; None where that is not so."""
    if seen.harvest is None or any(page.failure is not FailureCategory.GONE for page in seen.details):
        return None
    listed = set(seen.harvest.urls)
    if not listed or any(canonical_url(page.url) in listed for page in seen.details):
        return None
    return f"its index lists {len(listed)} listings, and none of the {len(seen.details)} that are gone"


def _index_broken(seen: Checkup) -> bool:
    return (
        seen.harvest is not None
        and seen.relearned is not None
        and seen.relearned.found >= max(seen.harvest.found + 2, CLEARLY_MORE * seen.harvest.found)
    )
