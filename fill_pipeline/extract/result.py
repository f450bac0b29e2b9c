"""What one page gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fill_pipeline.extract.evidence import FieldExplanation
from fill_pipeline.extract.listing import Listing

MAX_LISTINGS = 2_000  # of one page


class PageKind(StrEnum):
    """What a page is."""

    DETAIL = "detail"  # one vehicle
    SEARCH = "search"  # several vehicles, each with a link of its own
    EMPTY = "empty"  # a page that works but lists nothing
    OTHER = "other"  # no page of vehicles: an error, a login, a captcha, a blog


@dataclass(slots=True)
class PageResult:
    """What one page gives."""

    kind: PageKind
    listings: list[Listing] = field(default_factory=list)  # detail: at most one; search: one a card, in page order
    next_url: str | None = None
    links: list[str] = field(default_factory=list)  # absolute links to detail pages
    expected_count: int | None = None  # how many results the page says there are
    reason: str | None = None  # why it gives nothing
    explain: list[FieldExplanation] = field(default_factory=list)
