"""The archive's index in PostgreSQL: every page is found again, at the cost of its own rows."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from fill_pipeline.crawl.archive import ArchiveWriter, files
from fill_pipeline.crawl.fetch import FetchRequest, FetchResponse
from fill_pipeline.crawl.retention import prune
from fill_pipeline.crawl.urls import url_hash
from fill_pipeline.db.archive import (
    ArchivedKind,
    PageRow,
    find_page,
    insert_pages,
    known_pages,
    pages_of_cycle,
    pages_of_window,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def source_id(conn) -> uuid.UUID:
    return conn.execute(
        "INSERT INTO scrape_sources (name, base_url) VALUES ('cars', 'http://cars.example') RETURNING id"
    ).fetchone()[0]


def row(source_id, number: int, *, cycle="c1", at=START, **more) -> PageRow:
    url = f"http://cars.example/{number}"
    values = {
        "source_id": source_id,
        "cycle_id": cycle,
        "kind": ArchivedKind.DETAIL,
        "url": url,
        "url_hash": url_hash(url),
        "fetched_at": at,
        "http_status": 200,
        "file": f"cars/{cycle}/w.warc",
        "offset": number * 1000,
        "length": 1000,
    }
    return PageRow(**(values | more))


def test_pages_come_back_with_their_ids_in_the_order_given(conn, source_id):
    rows = [row(source_id, n, etag=f'"{n}"', body_hash=uuid.uuid4(), content_type="text/html") for n in range(20)]
    ids = insert_pages(conn, rows)
    assert ids == sorted(set(ids))
    (found,) = pages_of_cycle(conn, source_id, "c1")
    assert [page.id for page in found] == ids
    assert [page.url for page in found] == [page.url for page in rows]
    assert found[3].body_hash == rows[3].body_hash
    assert insert_pages(conn, []) == []


def test_ids_never_collide_with_other_writers(conn, source_id, database_url):
    from fill_pipeline.db.connect import connect

    with connect(database_url) as other:
        first = insert_pages(conn, [row(source_id, 1)])
        second = insert_pages(other, [row(source_id, 2)])
        third = insert_pages(conn, [row(source_id, 3)])
    assert len({*first, *second, *third}) == 3


def test_a_rolled_back_batch_leaves_no_page(conn, source_id):
    with conn.transaction(force_rollback=True):
        insert_pages(conn, [row(source_id, 1)])
    assert find_page(conn, source_id, url_hash("http://cars.example/1")) is None


def test_the_latest_page_of_a_url_is_found(conn, source_id):
    insert_pages(conn, [row(source_id, 1), row(source_id, 1, cycle="c2"), row(source_id, 1, kind=ArchivedKind.INDEX)])
    name = url_hash("http://cars.example/1#top")
    latest = find_page(conn, source_id, name)
    assert latest is not None
    assert latest.kind == "index"
    detail = find_page(conn, source_id, name, kind=ArchivedKind.DETAIL)
    assert detail is not None
    assert detail.cycle_id == "c2"
    assert find_page(conn, uuid.uuid4(), name) is None


def test_batches_cover_a_cycle_once(conn, source_id):
    insert_pages(conn, [row(source_id, n) for n in range(25)] + [row(source_id, 99, cycle="c2")])
    batches = list(pages_of_cycle(conn, source_id, "c1", batch=10))
    assert [len(batch) for batch in batches] == [10, 10, 5]
    assert [page.url for batch in batches for page in batch] == [f"http://cars.example/{n}" for n in range(25)]
    assert list(pages_of_cycle(conn, source_id, "c1", kind=ArchivedKind.INDEX)) == []


def test_a_window_gives_the_pages_of_its_cycles_only(conn, source_id):
    for number in range(3):
        opened = START + timedelta(hours=2 * number)
        conn.execute(
            "INSERT INTO fill_cycles (cycle_id, started_at, window_start, window_end, status) "
            "VALUES (%s, %s, %s, %s, 'closed')",
            (f"c{number}", opened, opened, opened + timedelta(hours=2)),
        )
        insert_pages(conn, [row(source_id, number, cycle=f"c{number}", at=opened)])
    window = START + timedelta(hours=2)
    pages = [
        page.cycle_id
        for batch in pages_of_window(conn, source_id, window, window + timedelta(hours=2))
        for page in batch
    ]
    assert pages == ["c1"]
    everything = pages_of_window(conn, source_id, START, START + timedelta(days=1))
    assert [page.cycle_id for batch in everything for page in batch] == ["c0", "c1", "c2"]


def test_a_known_page_is_the_last_whole_answer_with_a_validator(conn, source_id):
    conn.execute("UPDATE source_config_versions SET created_at = %s", (START,))
    ids = insert_pages(
        conn,
        [
            row(source_id, 1, etag='"old"'),
            row(source_id, 1, etag='"new"', last_modified="yesterday", listings=1),
            row(source_id, 1, http_status=404, etag='"no"'),
            row(source_id, 2),
        ],
    )
    one, two = url_hash("http://cars.example/1"), url_hash("http://cars.example/2")
    asked = [(source_id, one), (source_id, two), (source_id, uuid.uuid4())]
    found = known_pages(conn, asked, kind=ArchivedKind.DETAIL, since=START)
    assert set(found) == {(source_id, one)}
    page = found[source_id, one]
    assert (page.etag, page.last_modified, page.listings, page.archive_id) == ('"new"', "yesterday", 1, ids[1])
    assert known_pages(conn, asked, kind=ArchivedKind.INDEX, since=START) == {}
    assert known_pages(conn, asked, kind=ArchivedKind.DETAIL, since=START + timedelta(days=9)) == {}
    assert known_pages(conn, [], kind=ArchivedKind.DETAIL, since=START) == {}


def test_a_page_read_with_an_earlier_configuration_is_not_known(conn, source_id):
    conn.execute("UPDATE source_config_versions SET created_at = %s", (START + timedelta(days=1),))
    insert_pages(conn, [row(source_id, 1, etag='"e"')])
    asked = [(source_id, url_hash("http://cars.example/1"))]
    assert known_pages(conn, asked, kind=ArchivedKind.DETAIL, since=START) == {}


def test_old_files_go_from_index_and_store_and_young_ones_stay(conn, source_id, tmp_path):
    def write(number: int, cycle: str, at: datetime) -> PageRow:
        url = f"http://cars.example/{number}"
        response = FetchResponse(request=FetchRequest(url=url), final_url=url, status=200, body_received=b"x" * 1000)
        with ArchiveWriter(str(tmp_path), "cars", cycle, "w") as writer:
            ref = writer.append(response, at)
        return row(source_id, number, cycle=cycle, at=at, file=ref.file, offset=ref.offset, length=ref.length)

    rows = [write(n, f"c{n}", START - timedelta(days=10 * n)) for n in range(5)]
    insert_pages(conn, rows)

    def pruned(days: int, keep_bytes: int | None = None) -> tuple[int, int]:
        keep_for = timedelta(days=days)
        gone = prune(conn, str(tmp_path), now=START, keep_for=keep_for, first_kept="c5", keep_bytes=keep_bytes)
        return gone.files, gone.pages

    def indexed() -> list[str]:
        return [file for (file,) in conn.execute("SELECT file FROM archive_pages ORDER BY file").fetchall()]

    assert pruned(25) == (2, 2)
    assert files(str(tmp_path), "cars") == indexed() == sorted(page.file for page in rows[:3])
    assert pruned(25, rows[0].length * 2) == (1, 1)
    assert files(str(tmp_path), "cars") == indexed() == sorted(page.file for page in rows[:2]), "the oldest went"
    assert pruned(25, 0) == (1, 1)
    assert files(str(tmp_path), "cars") == indexed() == [rows[0].file], "the file still written to stays"
    assert pruned(25) == (0, 0)


@pytest.mark.parametrize("statement", ["find_page", "pages_of_cycle"])
def test_the_index_is_used(conn, source_id, statement):
    insert_pages(conn, [row(source_id, n, cycle=f"c{n % 50}") for n in range(6_000)])
    conn.execute("ANALYZE archive_pages")
    where = {
        "find_page": f"url_hash = '{url_hash('http://cars.example/77')}' ORDER BY id DESC LIMIT 1",
        "pages_of_cycle": "cycle_id = 'c7' AND id > 0 ORDER BY id LIMIT 100",
    }[statement]
    plan = conn.execute(f"EXPLAIN SELECT * FROM archive_pages WHERE source_id = '{source_id}' AND {where}").fetchall()  # noqa: S608
    text = "\n".join(line for (line,) in plan)
    assert "Index Scan" in text
    assert "Sort" not in text
