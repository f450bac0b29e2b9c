"""Which assets stand for the sources: one each, one for a group that shares, one for all that have none yet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import orjson
from dagster import AssetKey

from fill_pipeline.db.registry import SourceRow

PREFIX = "sources"
UNLISTED = "_unlisted"
MAX_NODES = 1000  # 1,000 cost 0.7 CPU s to load, 10,000 9.5 s and a snapshot of 24 MB
LISTED = ("trial", "live", "quarantined")


@dataclass(frozen=True, slots=True)
class Node:
    """One asset: a source, or a group of them."""

    name: str
    kind: str
    description: str = ""
    metadata: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def key(self) -> AssetKey:
        """Its asset key."""
        return AssetKey([PREFIX, self.name])


@dataclass(frozen=True)
class Catalogue:
    """The sources as the code location knows them, fixed for the life of its process."""

    nodes: tuple[Node, ...]

    @classmethod
    def of(cls, sources: Iterable[SourceRow]) -> Catalogue:
        """Read from the registry; what exceeds ``MAX_NODES`` assets stays unlisted, the newest first."""
        shared: dict[str, list[SourceRow]] = {}
        for source in sorted(sources, key=lambda s: (s.created_at, s.slug)):
            if source.status in LISTED:
                shared.setdefault(_name(source), []).append(source)
        listed = list(shared.items())[:MAX_NODES]
        return cls(tuple(_node(name, members) for name, members in sorted(listed)))

    @classmethod
    def loads(cls, pinned: str) -> Catalogue:
        """Read back what :meth:`dumps` gave: the same assets, without their descriptions."""
        return cls(tuple(Node(name, kind) for name, kind in orjson.loads(pinned)))

    def dumps(self) -> str:
        """What a run needs to build the same assets again."""
        return orjson.dumps([(node.name, node.kind) for node in self.nodes]).decode()

    @property
    def fingerprint(self) -> str:
        """Equal for equal sets of assets."""
        return blake2b(self.dumps().encode(), digest_size=8).hexdigest()

    @property
    def names(self) -> frozenset[str]:
        """The names of the listed assets."""
        return frozenset(node.name for node in self.nodes)

    def node_of(self, source: SourceRow) -> str:
        """The name of the asset that stands for a source."""
        name = _name(source)
        return name if name in self.names else UNLISTED

    def keys_of(self, sources: Iterable[SourceRow]) -> list[AssetKey]:
        """The assets that stand for these sources, each once."""
        return [AssetKey([PREFIX, name]) for name in sorted({self.node_of(source) for source in sources})]


def _name(source: SourceRow) -> str:
    if not source.asset_group:
        return source.slug
    return re.sub(r"[^a-z0-9]+", "_", source.asset_group.lower()).strip("_") or source.slug


def _node(name: str, members: list[SourceRow]) -> Node:
    first = members[0]
    if len(members) == 1:
        facts: dict[str, str | int] = {"base_url": first.base_url, "source": first.name, "status": first.status}
        if first.expected_count is not None:
            facts["expected_count"] = first.expected_count
        return Node(name, first.kind, first.note or f"{first.name}, {first.base_url}", facts)
    return Node(name, first.kind, f"{len(members)} sources of {first.asset_group}", {"sources": len(members)})
