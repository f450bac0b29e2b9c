"""What the system already did about something, in words, from what it recorded."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fill_pipeline.db.vitals import ActionSeen, Repair

MOST = 8


def deeds(actions: Sequence[ActionSeen], kinds: Collection[str] = ()) -> list[str]:
    """The last actions (newest first), one line each; drains, of which there are many, in one line at the end."""
    told = [a for a in actions if a.status != "requested" and (a.action in kinds if kinds else a.action != "close")]
    lines = [
        f"{a.action} in cycle {a.cycle_id}: {a.reason} ({a.status}; rows moved: {a.gained:,})"
        for a in told
        if a.action != "drain"
    ][:MOST]
    drains = [a for a in told if a.action == "drain"]
    if drains:
        failed = sum(a.status == "failed" for a in drains)
        lines.append(
            f"drain, {len(drains)} times since cycle {drains[-1].cycle_id}; "
            f"rows moved: {sum(a.gained for a in drains):,}{f', {failed} of them failed' if failed else ''}"
        )
    return lines


def repair_deeds(repairs: Sequence[Repair], slug: str) -> list[str]:
    """What was done about a source, newest first."""
    return [
        f"repair at {r.at:%Y-%m-%d %H:%M} UTC found it {r.diagnosis} ({r.status}): {r.reason}"
        for r in repairs
        if r.slug == slug
    ]
