"""Which assets stand for the sources."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from fill_pipeline.assets import catalogue as catalogue_module
from fill_pipeline.assets.catalogue import UNLISTED, Catalogue
from fill_pipeline.db.registry import SourceRow

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def source(slug: str, *, group: str | None = None, status: str = "live", age: int = 0) -> SourceRow:
    created = BEGIN - timedelta(days=age)
    uid: UUID = uuid4()
    url = f"https://{slug}.example.com/"
    return SourceRow(uid, slug, slug, "dealer", url, {}, 1, True, status, None, None, group, None, None, None, created)


def test_each_source_is_an_asset_of_its_own_whether_it_is_paused_or_not() -> None:
    catalogue = Catalogue.of([source("b"), source("a"), source("c", status="quarantined")])
    assert [node.key.to_user_string() for node in catalogue.nodes] == ["sources/a", "sources/b", "sources/c"]


def test_sources_of_one_group_share_an_asset() -> None:
    members = [source("x", group="Dealer Platform 7"), source("y", group="Dealer Platform 7")]
    catalogue = Catalogue.of([*members, source("z")])
    assert catalogue.names == {"dealer_platform_7", "z"}
    assert [key.path[-1] for key in catalogue.keys_of(members)] == ["dealer_platform_7"]


def test_candidates_and_retired_sources_are_no_assets_and_stand_in_the_catch_all() -> None:
    gone = source("gone", status="retired")
    catalogue = Catalogue.of([source("here"), gone, source("perhaps", status="candidate")])
    assert catalogue.names == {"here"}
    assert catalogue.node_of(gone) == UNLISTED


def test_the_graph_stays_small_and_the_oldest_sources_keep_their_assets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_module, "MAX_NODES", 3)
    sources = [source(f"s{i}", age=i) for i in range(5)]
    catalogue = Catalogue.of(sources)
    assert catalogue.names == {"s4", "s3", "s2"}
    assert {catalogue.node_of(s) for s in sources} == {"s4", "s3", "s2", UNLISTED}


def test_what_is_pinned_gives_the_same_assets_again() -> None:
    catalogue = Catalogue.of([source("a"), source("b", group="g")])
    again = Catalogue.loads(catalogue.dumps())
    assert [node.key for node in again.nodes] == [node.key for node in catalogue.nodes]
    assert again.fingerprint == catalogue.fingerprint


def test_the_fingerprint_changes_with_the_assets_and_with_nothing_else() -> None:
    before = Catalogue.of([source("a"), source("b", group="g")]).fingerprint
    assert Catalogue.of([source("b", group="g"), source("a"), source("c", group="g")]).fingerprint == before
    assert Catalogue.of([source("a"), source("b", group="g"), source("c")]).fingerprint != before
