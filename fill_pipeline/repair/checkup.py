"""Look at a source: ask for index pages and for pages whose content is known, and read both as the drain would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fill_pipeline.crawl.config import ConfigError
from fill_pipeline.crawl.urls import canonical_url
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.improvement import KnownListing
from fill_pipeline.drain.work import Source, Work
from fill_pipeline.repair.ask import Asker
from fill_pipeline.repair.cards import card_witnesses, is_index_only, lacking_on_cards, score_cards
from fill_pipeline.repair.diagnose import GOOD_F1, Checkup
from fill_pipeline.repair.likes import FIELDS as TOLD_BY_LIKES
from fill_pipeline.repair.loss import ENOUGH, broken_witnesses, knows, lacking, lost_fields, told_witnesses
from fill_pipeline.repair.proposal import CANARY_PAGES, CANARY_SHARE, MIN_TRAIN_PAGES, reading_with
from fill_pipeline.repair.trial_harvest import TrialHarvest, try_config, variants
from fill_pipeline.repair.truth import TELLING, Witness, is_listing, score, witness

FRESH_DETAILS = 14
MAX_VARIANTS = 12


def check_up(conn: Connection, work: Work, source: Source, asker: Asker, known: Sequence[KnownListing]) -> Checkup:
    """Ask for index pages and for pages whose content we know, and read both as the drain would today."""
    seen = Checkup(source.row.base_url, known_listings=len(known), lost=lost_fields(conn, source))
    fell = [fall.name for fall in seen.lost]
    known = sorted(known, key=lambda one: -sum(knows(one, name) for name in fell))
    now = work.now_fn()
    known_urls = frozenset(_canonical(known))
    raw = source.row.config
    if not source.config.detail_urls or source.config.index.urls:
        seen.harvest = try_config(asker, source, raw, known_urls)
        seen.index = list(seen.harvest.pages)
    if seen.index and seen.index[0].failure is None:
        seen.relearned = _relearn(asker, source, raw, seen, known, known_urls)
    if is_index_only(source):
        _look_at_cards(work, source, seen, known)
        return seen
    standing = {url for trial in (seen.harvest, seen.relearned) if trial is not None for url in trial.urls}
    chosen = _spread([one for one, url in zip(known, _canonical(known), strict=True) if url in standing], FRESH_DETAILS)
    if len(chosen) < FRESH_DETAILS:  # the rest may be sold by now
        others = [one for one, url in zip(known, _canonical(known), strict=True) if url not in standing]
        chosen += _spread(others, FRESH_DETAILS - len(chosen))
    for listing in chosen:
        page = asker.page(listing.url)
        if page is None:
            break
        seen.details.append(page)
        if page.failure is None:
            found = witness(page.final_url, page.body, page.content_type, listing, now=now)
            if len(found.truth) >= MIN_TRAIN_PAGES:
                seen.witnesses.append(found)
        elif len(seen.details) >= 4 and not seen.witnesses and not any(p.failure is None for p in seen.pages):
            break  # it answers nothing: no need to insist
    reading = reading_with(work, raw, source.slug)
    came = [Witness(one.final_url, one.body, one.content_type) for one in seen.details if one.failure is None]
    seen.lacking = lacking(came, seen.lost, reading, now=now)
    if unproven := [name for name in seen.lacking if not _is_stated(seen, name)]:
        _add(seen, broken_witnesses(conn, work, source, unproven, reading, FRESH_DETAILS))
    seen.score = score(seen.witnesses, reading, now=now)
    if seen.lacking or seen.score.f1 < GOOD_F1:  # what a redesign took away went together, though not from every page
        unproven = [name for name in TOLD_BY_LIKES if seen.score.by_field.get(name, [0, 0, 0])[2] < ENOUGH]
        _add(seen, told_witnesses(conn, work, source, unproven, FRESH_DETAILS))
        seen.score = score(seen.witnesses, reading, now=now)
    return seen


def _look_at_cards(work: Work, source: Source, seen: Checkup, known: Sequence[KnownListing]) -> None:
    """Where an index is all that is read, its cards are what states what we know."""
    walked = seen.relearned or seen.harvest
    if walked is None:
        return
    now, today = work.now_fn(), reading_with(work, walked.config, source.slug)
    cards = card_witnesses(walked.pages, known, today, now=now)
    seen.witnesses = [card for card in cards if len(card.truth) >= MIN_TRAIN_PAGES]
    reading = reading_with(work, source.row.config, source.slug)
    seen.lacking = lacking_on_cards(walked.pages, seen.lost, reading, now=now)
    seen.score = score_cards(seen.witnesses, reading, now=now)


def _is_stated(seen: Checkup, name: str) -> bool:
    """Whether enough pages state what is known of a field."""
    return sum(name in page.truth for page in seen.witnesses) >= ENOUGH


def _add(seen: Checkup, witnesses: Sequence[Witness]) -> None:
    """Take in further witnesses, each page once: as it is in the archive, of which more is known."""
    pages = {canonical_url(page.url): page for page in (*seen.witnesses, *witnesses)}
    seen.witnesses = list(pages.values())


def _relearn(
    asker: Asker,
    source: Source,
    raw: dict[str, Any],
    seen: Checkup,
    known: Sequence[KnownListing],
    known_urls: frozenset[str],
) -> TrialHarvest | None:
    """The best other way to walk the index; None where the present one gives what can be expected."""
    harvest = seen.harvest
    assert harvest is not None
    if len(harvest.pages) >= 3 and harvest.found >= 3 * MIN_TRAIN_PAGES and _grows(harvest):
        return None
    best: TrialHarvest | None = None
    for count, changed in enumerate(variants(raw, seen.index[0], known, source.row.base_url)):
        if count >= MAX_VARIANTS:
            break
        if changed == raw:
            continue
        try:
            trial = try_config(asker, source, changed, known_urls)
        except ConfigError:
            continue
        worth = (trial.known > 0, trial.found)
        if trial.found > harvest.found and (best is None or worth > (best.known > 0, best.found)):
            best = trial
    return best if best is not None and _are_listings(asker, best, harvest) else None


def _are_listings(asker: Asker, better: TrialHarvest, harvest: TrialHarvest) -> bool:
    """Whether what only the other way finds are listings' pages: some of them are asked for and read."""
    had = set(harvest.urls)
    news = [url for url in better.urls if url not in had]
    pages = [page for url in news[:: max(1, len(news) // CANARY_PAGES)][:CANARY_PAGES] if (page := asker.page(url))]
    good = sum(is_listing(Witness(page.final_url, page.body, page.content_type)) for page in pages if page.body)
    # Where nothing found is known (all that was known is sold, say) every one of them must be a vehicle's page.
    return bool(pages) and good >= (CANARY_SHARE if better.known else 1.0) * len(pages)


def _grows(harvest: TrialHarvest) -> bool:
    """Whether the pages of the walk differ from one another."""
    return len({page.body for page in harvest.pages}) == len(harvest.pages)


def _spread(known: Sequence[KnownListing], n: int) -> list[KnownListing]:
    """Some of the recently seen listings, from all over the list: those of which we know, or knew, what varies most."""
    recent = sorted(known[: 8 * n], key=lambda one: -sum(knows(one, name) for name in TELLING))
    full = [one for one in recent if all(knows(one, name) for name in TELLING)]
    chosen = full if len(full) >= n else recent[:n]
    return chosen[:: max(1, len(chosen) // n)][:n]


def _canonical(known: Sequence[KnownListing]) -> list[str]:
    return [canonical_url(one.url) for one in known]
