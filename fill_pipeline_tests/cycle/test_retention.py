"""The archive keeps what the settings say; the rest goes with the first cycle of a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr

from fill_pipeline.crawl.archive import ArchiveWriter, files
from fill_pipeline.crawl.fetch import FetchRequest, FetchResponse
from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.cycle.perform import close
from fill_pipeline.cycle.retention import prune_archive
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db import cycles
from fill_pipeline.db.archive import ArchivedKind, PageRow, insert_pages
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings

NOW = datetime(2026, 3, 4, 0, 30, tzinfo=UTC)


@pytest.fixture
def world(settings: Settings, database_url: str, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"home": tmp_path, "database_url": SecretStr(database_url), "archive_days": 30})


def archived(conn: Connection, world: Settings, at: datetime) -> str:
    """A page of the source, archived then; the name of its file."""
    row = conn.execute(
        "INSERT INTO scrape_sources (name, base_url) VALUES ('cars', 'http://cars.example')"
        " ON CONFLICT (name) DO UPDATE SET base_url = excluded.base_url RETURNING id, slug"
    ).fetchone()
    assert row is not None
    source_id: UUID = row[0]
    url, cycle_id = f"http://cars.example/{at:%s}", window_at(at).key
    response = FetchResponse(request=FetchRequest(url=url), final_url=url, status=200, body_received=b"x" * 600_000)
    with ArchiveWriter(world.archive_root, row[1], cycle_id, "w") as writer:
        ref = writer.append(response, at)
    page = PageRow(
        source_id=source_id,
        cycle_id=cycle_id,
        kind=ArchivedKind.DETAIL,
        url=url,
        url_hash=url_hash(url),
        fetched_at=at,
        http_status=200,
        file=ref.file,
        offset=ref.offset,
        length=ref.length,
    )
    insert_pages(conn, [page])
    return ref.file


def closed(conn: Connection, world: Settings, now: datetime) -> list[str]:
    """Close that window's cycle; the files then left, in the archive and in its index alike."""
    window = window_at(now)
    cycles.open_cycle(conn, window.key, now=now, window_start=window.start, window_end=window.end, target=1)
    close(window.key, settings=world, now_fn=lambda: now)
    left = files(world.archive_root, "cars")
    assert [row[0] for row in conn.execute("SELECT DISTINCT file FROM archive_pages ORDER BY 1")] == left
    return left


def test_pages_too_old_go_with_the_first_cycle_of_a_day(conn: Connection, world: Settings) -> None:
    old, young = (archived(conn, world, NOW - timedelta(days=days)) for days in (31, 29))
    assert closed(conn, world, NOW) == [young]
    older = archived(conn, world, NOW - timedelta(days=40))
    assert closed(conn, world, NOW + timedelta(hours=2)) == sorted([older, young]), "once a day"
    assert closed(conn, world, NOW + timedelta(days=1)) == [young]
    assert old != older


def test_pages_that_take_too_much_room_go_oldest_first(conn: Connection, world: Settings) -> None:
    stored = [archived(conn, world, NOW - timedelta(days=days)) for days in (3, 2, 1)]
    assert closed(conn, world.model_copy(update={"archive_source_mb": 1}), NOW) == stored[2:]


def test_a_file_that_the_index_never_knew_goes_with_its_age_and_so_do_empty_folders(
    conn: Connection, world: Settings
) -> None:
    archived(conn, world, NOW - timedelta(days=31))
    known = archived(conn, world, NOW - timedelta(days=29))
    for days in (32, 28):  # killed before its first commit
        archived(conn, world, at := NOW - timedelta(days=days))
        conn.execute("DELETE FROM archive_pages WHERE fetched_at = %s", [at])
    other = Path(world.archive_root, "cars", "1999")
    other.mkdir()
    prune_archive(conn, world, now=NOW)
    left = sorted(path.name for path in other.parent.iterdir())
    assert left == ["1999", *(f"{window_at(NOW - timedelta(days=days)).start:%Y-%m-%d-%H}_00" for days in (29, 28))]
    assert known in files(world.archive_root, "cars")


def test_a_store_that_is_away_does_not_keep_a_cycle_from_closing(
    conn: Connection, world: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [archived(conn, world, NOW - timedelta(days=days)) for days in (34, 33, 32, 31)]
    with monkeypatch.context() as broken:
        broken.setattr("fill_pipeline.crawl.retention.remove", _refuse)
        assert closed(conn, world, NOW) == old
    assert caplog.text.count("could not be deleted: the store is away") == 3, "the fourth is not even tried"
    assert closed(conn, world, NOW + timedelta(days=1)) == []
    assert "could not be pruned: the store is away" in caplog.text


def _refuse(*_: object) -> None:
    raise OSError("the store is away")


def test_a_clock_that_leaps_ahead_does_not_cost_the_archive_until_a_day_has_passed_by_it(
    conn: Connection, world: Settings
) -> None:
    stored = archived(conn, world, NOW - timedelta(days=2))
    assert closed(conn, world, NOW) == [stored]
    ahead = NOW + timedelta(days=400)
    assert closed(conn, world, ahead) == [stored]
    assert closed(conn, world, ahead + timedelta(hours=2)) == [stored]
    assert closed(conn, world, ahead + timedelta(days=1)) == []


def test_a_file_that_cannot_be_deleted_stays_and_the_others_go(conn: Connection, world: Settings) -> None:
    stuck, *others = (archived(conn, world, NOW - timedelta(days=days)) for days in (40, 39, 38))
    path = Path(world.archive_root) / stuck
    path.rename(path.with_suffix(".away"))
    path.mkdir()  # a folder is not deleted as a file
    pruned = prune_archive(conn, world, now=NOW)
    assert pruned.files == len(others)
    assert conn.execute("SELECT file FROM archive_pages").fetchall() == [(stuck,)]
    path.rmdir()
    path.with_suffix(".away").rename(path)
    assert prune_archive(conn, world, now=NOW).files == 1
    assert files(world.archive_root, "cars") == []
