"""The archive on a disk and on an S3 store: what was received is read again, and a torn record costs only itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from fill_pipeline.cli.cycle import replay
from fill_pipeline.crawl.archive import ArchiveFullError, ArchiveReader, ArchiveWriter, files, remove
from fill_pipeline.crawl.response import FetchRequest, FetchResponse
from fill_pipeline.cycle.clock import utc_now
from fill_pipeline.cycle.perform import Outcome, perform_by_hand
from fill_pipeline.cycle.retention import prune_archive
from fill_pipeline.cycle.window import window_at
from fill_pipeline.db.connect import Connection
from fill_pipeline.settings import Settings
from fill_pipeline.simweb import SimWeb
from fill_pipeline_tests.end_to_end.conftest import register

LISTINGS = "SELECT source, remote_id, title, price, mileage, vin, status FROM listings ORDER BY 1, 2"


@pytest.fixture
def server() -> Iterator[ThreadedMotoServer]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(server: ThreadedMotoServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an archive on a local S3 server."""
    import s3fs

    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # its connections go to the server of the test before
    s3fs.S3FileSystem().mkdir(bucket := f"pages-{port}")
    return f"s3://{bucket}/archive"


def fill(world: Settings, db: Connection, web: SimWeb) -> tuple[str, Callable[[], Outcome]]:
    """Fill from the biggest dealer in a past window; forget what its pages gave. Its slug, and the replay of it."""
    sites = [site for site in web.get("/sites") if site["open"] and site["kind"] == "dealer"]
    register(db, web, max(sites, key=lambda site: site["live_count"])["slug"])
    ((slug,),) = db.execute("SELECT slug FROM scrape_sources").fetchall()
    past = window_at(utc_now() - timedelta(hours=6))
    perform_by_hand([slug], window=past, settings=world, now_fn=lambda: past.start + timedelta(minutes=5))
    db.execute("UPDATE scrape_sources SET base_url = 'http://nowhere.localhost:1/'")
    return slug, lambda: perform_by_hand([slug], window=past, settings=world)


def forget(db: Connection) -> list[tuple[Any, ...]]:
    """What the listings say; all of it is then overwritten."""
    before = db.execute(LISTINGS).fetchall()
    db.execute("UPDATE listing_records SET mileage = 1, title = 'forgotten', content_hash = gen_random_uuid()")
    return before


def test_an_archive_on_s3_is_written_replayed_and_pruned(
    world: Settings, db: Connection, simweb: SimWeb, s3: str
) -> None:
    stored = world.model_copy(update={"archive_url": s3})
    slug, replay = fill(stored, db, simweb)
    before = forget(db)
    assert len(before) > 20
    assert files(s3, slug)
    assert replay().details["pages_failed"] == 0
    assert db.execute(LISTINGS).fetchall() == before
    db.execute("DELETE FROM archive_pages WHERE file = %s", [files(s3, slug)[0]])
    gone = prune_archive(db, stored, now=utc_now() + timedelta(days=stored.archive_days + 1))
    assert gone.files >= gone.unknown == 1
    assert files(s3, slug) == []


def test_replaying_by_command_needs_no_network_and_says_how_fast_it_was(
    world: Settings,
    db: Connection,
    simweb: SimWeb,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    slug, _ = fill(world, db, simweb)
    before = forget(db)
    assert world.database_url is not None
    monkeypatch.setenv("FILL_HOME", str(world.home))
    monkeypatch.setenv("FILL_DATABASE_URL", world.database_url.get_secret_value())
    replay(slug, window_at(utc_now() - timedelta(hours=6)).key)
    told = json.loads(capsys.readouterr().out)
    assert told["pages_fetched"] > 0
    assert told["pages_per_second"] == pytest.approx(told["pages_fetched"] / told["seconds"], rel=0.1)
    assert db.execute(LISTINGS).fetchall() == before


def test_a_torn_last_record_costs_only_itself(world: Settings, db: Connection, simweb: SimWeb) -> None:
    slug, replay = fill(world, db, simweb)
    root = Path(world.archive_root)
    torn = root / files(str(root), slug)[-1]
    torn.write_bytes(torn.read_bytes()[:-10])
    before = forget(db)
    assert replay().details["pages_failed"] == 1
    after = db.execute(LISTINGS).fetchall()
    assert len(after) == len(before) > 20
    assert sum(a != b for a, b in zip(after, before, strict=True)) <= 1


def test_a_store_that_is_away_is_told_as_a_full_disk_is_and_takes_pages_again_when_it_is_back(
    world: Settings, db: Connection, server: ThreadedMotoServer, s3: str
) -> None:
    url, now = "https://cars.example/1", utc_now()
    car = FetchResponse(request=FetchRequest(url=url), status=200, body_received=b"a car", final_url=url)
    with ArchiveWriter(s3, "cars", window_at(now).key, "w1") as writer, ArchiveReader(s3) as reader:
        first = writer.append(car, now)
        writer.flush()
        host, port = server.get_host_and_port()
        writer.append(car, now)
        server.stop()
        with pytest.raises(ArchiveFullError, match="takes no more pages"):
            writer.flush()
        with pytest.raises(OSError, match="connect"):
            reader.read(first)
        with pytest.raises(OSError, match="connect"):
            remove(s3, first.file)
        stored = world.model_copy(update={"archive_url": s3})
        assert prune_archive(db, stored, now=now + timedelta(days=stored.archive_days + 1)).files == 0
        again = ThreadedMotoServer(ip_address=host, port=port, verbose=False)
        again.start()
        try:
            second = writer.append(car, now)
            writer.flush()
            assert reader.read(first).body_received == reader.read(second).body_received == b"a car"
        finally:
            again.stop()
