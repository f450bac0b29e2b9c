"""The sources: one asset each, all made by one step, so that a cycle does not cost a process per source."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    MarkdownMetadataValue,
    MaterializeResult,
    MetadataValue,
    multi_asset,
)

from fill_pipeline.assets.action import ActionConfig, carry_out, progress_log
from fill_pipeline.assets.catalogue import PREFIX, UNLISTED, Catalogue, Node
from fill_pipeline.assets.windows import WINDOWS
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.state import ActionKind
from fill_pipeline.cycle.window import window_of_key
from fill_pipeline.db import cycles, ledger, pace, registry
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.ledger import HealthRow
from fill_pipeline.resources import Fill

if TYPE_CHECKING:
    from fill_pipeline.cycle.perform import Outcome, SourceOutcome

FIGURES = ("pages", "failed", "found", "new", "updated", "skipped", "queued", "vehicles_added")
MAX_ROWS = 200
OP = "sources"


def build_sources(catalogue: Catalogue) -> AssetsDefinition:
    """The step that harvests, drains and replays, with an asset for each source of the catalogue."""
    rest = Node(UNLISTED, "others", "Sources that came after the graph was loaded, or for which it has no room.")

    @multi_asset(
        name=OP,
        specs=[_spec(node) for node in (*catalogue.nodes, rest)],
        can_subset=True,
        partitions_def=WINDOWS,
    )
    def sources(context: AssetExecutionContext, config: ActionConfig, fill: Fill) -> Iterator[MaterializeResult[None]]:
        chosen = {key.path[-1] for key in context.selected_asset_keys}
        with fill.connect("sources") as conn:
            members = _members(catalogue, registry.sources(conn), chosen)
        if config.planned:
            outcome = carry_out(context, config, fill, ActionKind.HARVEST)
        else:
            outcome = _by_hand(context, fill, [slug for slugs in members.values() for slug in slugs])
        with fill.connect("sources") as conn:
            health = {row.slug: row for row in ledger.health(conn, _previous(conn) or "")}
            slugs = {row.id: row.slug for row in registry.sources(conn)}
            paces = {slugs[i]: one.in_words for i, one in pace.paces(conn, slugs, now=utc_now()).items()}
        for name in sorted(chosen):
            yield MaterializeResult(
                asset_key=[PREFIX, name], metadata=_metadata(outcome, members.get(name, ()), health, paces)
            )

    return sources


def _by_hand(context: AssetExecutionContext, fill: Fill, slugs: Sequence[str]) -> "Outcome":
    from fill_pipeline.cycle.perform import perform_by_hand

    return perform_by_hand(
        slugs,
        window=window_of_key(context.partition_key),
        settings=fill.settings,
        run_id=context.run.run_id,
        progress=progress_log(context),
    )


def _spec(node: Node) -> AssetSpec:
    kinds = {"web"} if node.name != UNLISTED else set()
    facts = {k: MetadataValue.url(str(v)) if k == "base_url" else v for k, v in node.metadata.items()}
    return AssetSpec(node.key, group_name=node.kind, description=node.description, metadata=facts, kinds=kinds)


def _members(catalogue: Catalogue, rows: Sequence[registry.SourceRow], chosen: set[str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for row in rows:
        name = catalogue.node_of(row)
        if name in chosen:
            members.setdefault(name, []).append(row.slug)
    return members


def _previous(conn: Connection) -> str | None:
    return next((c.cycle_id for c in cycles.last_ended(conn)), None)


def _metadata(
    outcome: "Outcome", slugs: Sequence[str], health: Mapping[str, HealthRow], paces: Mapping[str, str]
) -> dict[str, int | float | str | MarkdownMetadataValue]:
    """The sums over the sources an asset stands for; for several, a row of each."""
    parts = [outcome.sources[slug] for slug in slugs if slug in outcome.sources]
    facts: dict[str, int | float | str | MarkdownMetadataValue] = {"cycle": outcome.cycle_id}
    facts |= {name: sum(int(getattr(part, name)) for part in parts) for name in FIGURES}
    if len(slugs) == 1:
        judged = health.get(slugs[0])
        facts |= {"health": judged.status, "reason": judged.reason} if judged else {"health": "not judged yet"}
        known = {name: getattr(judged, name, None) for name in ("usually_listed", "reliability_7d", "reliability_30d")}
        facts |= {name: value for name, value in known.items() if value is not None}
        facts["pace"] = paces.get(slugs[0], "")
    elif parts:
        facts["sources"] = MetadataValue.md(_table(parts, health))
    notes = [note for part in parts for note in part.notes][:5]
    if notes:
        facts["notes"] = "\n".join(notes)
    return facts


def _table(parts: Sequence["SourceOutcome"], health: Mapping[str, HealthRow]) -> str:
    head = ("source", *FIGURES, "health")
    rows = [
        (part.slug, *(getattr(part, name) for name in FIGURES), health[part.slug].status if part.slug in health else "")
        for part in sorted(parts, key=lambda p: -p.vehicles_added)[:MAX_ROWS]
    ]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows))
