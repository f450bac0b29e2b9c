"""Which rules objected to what in a batch, and which words no vocabulary knows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from uuid import UUID

from fill_pipeline.db.ledger import RuleHit
from fill_pipeline.vehicles.store import ListingToWrite
from fill_pipeline.vehicles.tally import WriteResult

UNKNOWN_TERM = "unknown_term"
QUARANTINED, MENDED = "quarantined", "mended"
_LONGEST = 60
_MOST_WORDS = 20
"""Different words of a field that one batch of a source may bring in."""
_NOT_SHOWN = str.maketrans({"<": "‹", ">": "›", "`": "'", "|": "/"})


def rule_hits(rows: Sequence[ListingToWrite], result: WriteResult) -> list[RuleHit]:
    """The batch's rule hits; their sums by source, field and rule are those of ``result.issues``.

    The words of an unknown term are the site's own: shortened, without what a terminal or a page might obey.
    """
    mended: set[tuple[UUID, str, str]] = set()
    terms: defaultdict[tuple[UUID, str], Counter[str]] = defaultdict(Counter)
    for row in rows:
        for name, rule in row.issues:
            if rule == UNKNOWN_TERM:
                if row.judged:
                    terms[row.source_id, name][shown(row.listing.raw.get(name, ""))] += 1
            elif name not in row.quarantine:
                mended.add((row.source_id, name, rule))
    hits = []
    for (source_id, name, rule), n in result.issues.items():
        if rule != UNKNOWN_TERM:
            words = MENDED if (source_id, name, rule) in mended else QUARANTINED
            hits.append(RuleHit(source_id, name, rule, words, n))
            continue
        for words, times in terms[source_id, name].most_common(_MOST_WORDS):
            if n and words:
                hits.append(RuleHit(source_id, name, rule, words, min(times, n)))
                n -= min(times, n)
        if n:
            hits.append(RuleHit(source_id, name, rule, "", n))
    return hits


def shown(text: str) -> str:
    """A site's words, fit to be shown."""
    printable = "".join(c if c.isprintable() else " " for c in text[: 2 * _LONGEST])
    return " ".join(printable.translate(_NOT_SHOWN).split())[:_LONGEST]
