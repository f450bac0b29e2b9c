"""Saved searches: the job that runs one. A search never delists: what it does not show may still be there."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from statistics import median
from typing import Any

from pydantic import ValidationError

from fill_pipeline.crawl.choices import DetailPolicy
from fill_pipeline.crawl.fetch import Fetcher, FetchResponse
from fill_pipeline.crawl.harvest import HarvestPage, SourceToCrawl, StopReason, harvest_many
from fill_pipeline.crawl.robots import RobotsCache
from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db import incidents, registry
from fill_pipeline.db import searches as db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.cycles import CycleClosedError
from fill_pipeline.db.incidents import Incident, IncidentKind
from fill_pipeline.db.searches import Search, SearchJob
from fill_pipeline.drain.harvest import SourceHarvest
from fill_pipeline.drain.manners import heed
from fill_pipeline.drain.robots import load_robots, obey_delay, save_robots
from fill_pipeline.drain.search_params import (
    Matcher,
    ParamError,
    SearchMapping,
    check_params,
    search_url,
    unused_params,
)
from fill_pipeline.drain.work import MAX_SLOT_WAIT, Source, Totals, Work, load_sources, reserve_slot

LEASE = MAX_SLOT_WAIT + timedelta(minutes=5)
"""Renewed with every page; a page may wait for its slot and be tried more than once."""
USUAL_JOBS = 10
"""So many finished jobs say how much a search usually finds."""
_CUT_SHORT = (StopReason.ROBOTS, StopReason.BUDGET, StopReason.HELD, StopReason.STOPPED)


@dataclass(slots=True)
class _Run:
    """What a job did so far."""

    pages: int = 0
    found: int = 0
    linked: int = 0
    filtered_out: int = 0
    failure: str | None = None
    out_of_time: bool = False
    too_late: bool = False
    leased: bool = True
    unused: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)


def run_next_job(work: Work, *, run_id: str | None = None) -> dict[str, Any] | None:
    """Run the job that is next (``run_now`` first); returns its result, None when none waits."""
    return _run(work, None, run_id)


def run_search_job(work: Work, job: SearchJob, *, run_id: str | None = None) -> dict[str, Any] | None:
    """Run one job: ask the source, store what matches; returns the result written, None where somebody else has it.

    The job is leased, so that a killed worker's job is taken up again, and ends in ``error`` when that
    happens three times; one that ``work`` has no time for, or whose cycle closes, is given back. Listings
    whose pages must be fetched are queued for the cycle's drain. Never raises for what a site does; an error of our
    own is written to the job and raised.
    """
    return _run(work, job, run_id)


def _run(work: Work, job: SearchJob | None, run_id: str | None) -> dict[str, Any] | None:
    with work.connect("search") as conn:
        now = work.now_fn()
        wanted = None if job is None else job.id
        claimed = db.claim_job(conn, wanted, owner=work.owner, now=now, lease_until=now + LEASE, run_id=run_id)
        if claimed is None:
            return None
        began = time.monotonic()
        run = _Run()
        own = replace(work, totals=Totals())
        error: str | None = None
        search = db.search(conn, claimed.search_id)
        assert search is not None
        try:
            error = _crawl(conn, own, search, claimed, run)
        except CycleClosedError as closed:
            error, run.too_late = str(closed), True
        except BaseException as problem:
            error = f"{type(problem).__name__}: {problem}"
            raise
        finally:
            result = _result(own, run, round((time.monotonic() - began) * 1000))
            if run.too_late or (error is not None and run.out_of_time and work.stopping()):
                db.release_job(conn, claimed.id, owner=work.owner)
            else:
                db.finish_job(
                    conn, claimed.id, owner=work.owner, now=work.now_fn(), result=result, error=error and error[:2000]
                )
        if error is None:
            _watch_for_silence(conn, work, search, claimed, result["listings_found"])
        return {"job_id": str(claimed.id), "search": search.name, "error": error, **result}


def _crawl(conn: Connection, work: Work, search: Search, job: SearchJob, run: _Run) -> str | None:
    """Fetch the search's pages and store what matches; returns what went wrong, if nothing came of it."""
    source = _source_of(conn, search)
    if isinstance(source, str):
        return source
    try:
        mapping = SearchMapping.model_validate(source.config.extra.get("search", {}))
    except ValidationError as error:
        first = error.errors()[0]
        return f"source {source.slug}: config.extra.search.{'.'.join(map(str, first['loc']))}: {first['msg']}"
    try:
        check_params(search.params)
    except ParamError as error:
        return f"search {search.name!r}: {error}"
    matcher = Matcher(search.params, mapping)
    run.unused = unused_params(search.params, mapping)
    if "search" in source.config.extra:  # a source that cannot be asked is read whole, and filtered here
        index = source.config.index.model_copy(update={"urls": [search_url(mapping, search.params)]})
        source = replace(source, config=source.config.model_copy(update={"index": index, "detail_urls": []}))

    def heard(response: FetchResponse) -> None:
        heed(conn, source.id, response, work.now_fn())

    store = SourceHarvest(work, source, conn)
    robots = RobotsCache(work.fetch_settings().product_token())
    load_robots(conn, robots, [source.row.base_url], now=work.now_fn())
    try:
        with Fetcher(work.fetch_settings()) as fetcher:
            for _, page in harvest_many(
                [SourceToCrawl(source.slug, source.row.base_url, source.config)],
                fetcher,
                robots=robots,
                now_fn=work.now_fn,
                should_stop=lambda _: not run.leased or work.stopping() or not registry.is_active(conn, source.id),
                reserve_slot=lambda _, n: reserve_slot(conn, work, source.id, n),
                on_robots=lambda _, rules: obey_delay(conn, source, rules),
                on_answer=lambda _, response: heard(response),
            ):
                _take(conn, page, source, store, matcher, run)
                save_robots(conn, robots, [source], now=work.now_fn())
                run.leased = db.extend_job(conn, job.id, owner=work.owner, lease_until=work.now_fn() + LEASE)
    finally:
        store.close()
    if run.pages == 0:
        return run.failure or "the source gave no page"
    return None


def _take(
    conn: Connection, page: HarvestPage, source: Source, store: SourceHarvest, matcher: Matcher, run: _Run
) -> None:
    """Store what matches of one page."""
    if page.failure is not None or page.stop_reason in _CUT_SHORT:
        run.failure = f"{page.url}: {page.error or page.failure or page.stop_reason}"
        run.out_of_time = page.stop_reason is StopReason.STOPPED
    elif page.response is not None:
        run.pages += 1
    shown = len(page.cards)
    carded = {card.url for card in page.cards}
    page.cards = [card for card in page.cards if matcher.accepts(card)]
    run.filtered_out += shown - len(page.cards)
    kept = {card.url for card in page.cards}
    page.detail_urls = [one for one in page.detail_urls if one[0] in kept or one[0] not in carded]
    keys = {card.url or card.remote_id or card.vin or f"{card.title} {card.price}" for card in page.cards}
    links = {url for url, _, _ in page.detail_urls if url not in carded}
    run.found += len((keys | links) - run.seen)
    run.seen |= keys | links
    if source.config.detail is DetailPolicy.ALWAYS:
        links |= {card.url for card in page.cards if card.url}
    known = db.known_urls(conn, source.id, [h for h in map(_hash, links) if h is not None])
    run.linked += len(links) - len(known)
    # Not the end of a harvest: what a search does not show is not absent.
    page.is_last, page.expected_count = False, None
    store.take(page)


def _result(work: Work, run: _Run, duration_ms: int) -> dict[str, Any]:
    stats = list(work.totals.by_source().values())
    new = min(sum(s.new for s in stats) + run.linked, run.found)
    updated = min(sum(s.updated for s in stats), run.found - new)
    return {
        "listings_found": run.found,
        "new_listings": new,
        "updated_listings": updated,
        "skipped_listings": run.found - new - updated,
        "pages_scraped": run.pages,
        "duration_ms": duration_ms,
        "filtered_out": run.filtered_out,
        "queued": sum(s.queued for s in stats),
        "unused_params": run.unused,
        "stopped_by": run.failure,
    }


def _watch_for_silence(conn: Connection, work: Work, search: Search, job: SearchJob, found: int) -> None:
    """Open an incident when a search that usually finds something finds nothing; close it when it does again."""
    subject = str(search.id)
    if found:
        incidents.close_incident(conn, IncidentKind.SEARCH_EMPTY, subject, now=work.now_fn())
        return
    usual = db.recent_found(conn, search.id, job.id, n=USUAL_JOBS)
    if usual and median(usual) >= 1:
        facts = {"search": search.name, "source": search.source, "found": 0, "usually found": round(median(usual))}
        message = f"search {search.name!r} on {search.source} found nothing; usually about {round(median(usual))}"
        empty = Incident(IncidentKind.SEARCH_EMPTY, subject, message, details={"facts": facts}, occasion=str(job.id))
        incidents.open_incident(conn, empty, now=work.now_fn(), cycle_id=work.cycle_id)


def _source_of(conn: Connection, search: Search) -> Source | str:
    row = registry.find_source(conn, search.source)
    if row is None:
        return f"search {search.name!r}: there is no source {search.source!r}; see `fill sources list`"
    if not row.active:
        return f"source {row.slug} is not active; `fill sources resume {row.slug}` lets it be searched"
    source = load_sources(conn).get(row.id)
    if source is None:
        return f"source {row.slug} cannot be crawled: {row.config_error or row.status_reason or row.status}"
    return source


def _hash(url: str) -> Any:
    try:
        return url_hash(url)
    except ValueError:
        return None
