"""A page on its way from the fetcher to whoever reads it, and how a source's pages are read.

Loads neither fetching nor reading: the process that fetches and those that read share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fill_pipeline.db.archive import ArchivedKind

if TYPE_CHECKING:
    from fill_pipeline.crawl.archive import ArchiveRef
    from fill_pipeline.crawl.response import FetchResponse
    from fill_pipeline.drain.work import Source
    from fill_pipeline.extract.rules import ExtractRules
    from fill_pipeline.settings import Settings
    from fill_pipeline.vehicles.source_rules import SourceRule

WRITTEN = "written"  # in a hint: its card is a listing already, which the page only completes
_NOBODY = UUID(int=0)


@dataclass(slots=True)
class RawPage:
    """A page as received, where it lies in the archive, and the queue row it answers (None for an index page)."""

    source_id: UUID
    url: str
    body: bytes
    content_encoding: str
    content_type: str
    http_status: int
    fetched_at: datetime
    kind: str
    file: str
    offset: int
    length: int
    etag: str | None = None
    last_modified: str | None = None
    queue_id: int | None = None
    hint: dict[str, Any] | None = None
    archive_id: int | None = None

    @classmethod
    def of(
        cls,
        response: FetchResponse,
        ref: ArchiveRef,
        *,
        source_id: UUID,
        kind: ArchivedKind,
        fetched_at: datetime,
        queue_id: int | None = None,
        hint: dict[str, Any] | None = None,
    ) -> RawPage:
        """A response that has just come and lies at ``ref`` in the archive."""
        return cls(
            source_id=source_id,
            url=response.final_url,
            body=response.body_received,
            content_encoding=response.content_encoding,
            content_type=response.content_type,
            http_status=response.status,
            fetched_at=fetched_at,
            kind=kind,
            file=ref.file,
            offset=ref.offset,
            length=ref.length,
            etag=response.etag,
            last_modified=response.last_modified,
            queue_id=queue_id,
            hint=hint,
        )

    @classmethod
    def unkept(
        cls, url: str, body: bytes, content_type: str, *, now: datetime, hint: dict[str, Any] | None = None
    ) -> RawPage:
        """A decoded listing page that is only read, never stored: of no source, nowhere in the archive."""
        return cls(
            source_id=_NOBODY,
            url=url,
            body=body,
            content_encoding="",
            content_type=content_type,
            http_status=200,
            fetched_at=now,
            kind=ArchivedKind.DETAIL,
            file="",
            offset=0,
            length=0,
            hint=hint,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """How pages of one source are read: where its fields stand (``rules``) and what its values are like (``own``)."""

    slug: str
    rules: ExtractRules | None
    min_confidence: float
    core_fields: tuple[str, ...]
    own: tuple[SourceRule, ...] = ()


def reading_of(source: Source, settings: Settings) -> Reading:
    """How this source's pages are read."""
    rules, own = source.config.extract_rules(), source.config.source_rules()
    return Reading(source.slug, rules, settings.min_confidence, settings.core_fields, own)
