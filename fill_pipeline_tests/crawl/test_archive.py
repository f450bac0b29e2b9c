"""The archive keeps every page byte for byte, and other people's tools can read it."""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from fastwarc.warc import WarcRecordType
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from fill_pipeline.crawl.archive import ArchiveError, ArchiveRef, ArchiveWriter, files, iterate, read_record, remove
from fill_pipeline.crawl.decode import decode_bytes
from fill_pipeline.crawl.fetch import FailureCategory, FetchRequest, FetchResponse

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
HEAD = b'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nETag: "x"\r\n\r\n'


def page(body: bytes, *, head: bytes = HEAD, url: str = "https://cars.example/1", **more) -> FetchResponse:
    return FetchResponse(
        request=FetchRequest(url=url), final_url=url, status=200, head=head, body_received=body, **more
    )


def written(root, bodies, **options) -> list[ArchiveRef]:
    with ArchiveWriter(str(root), "cars", "2026-03-01T12:00", "w1") as writer:
        return [
            writer.append(page(body, url=f"https://cars.example/{i}", **options), NOW) for i, body in enumerate(bodies)
        ]


def test_a_page_comes_back_as_it_was_received(tmp_path):
    body = gzip.compress(b"<html>a car</html>")
    (ref,) = written(tmp_path, [body])
    found = read_record(str(tmp_path), ref)
    assert found.body_received == body
    assert found.head == HEAD
    assert (found.url, found.status, found.fetched_at) == ("https://cars.example/0", 200, NOW)
    assert found.headers == [("Content-Type", "text/html"), ("Content-Encoding", "gzip"), ("ETag", '"x"')]
    assert decode_bytes(found.body_received, found.content_encoding, 1000) == b"<html>a car</html>"


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=8))
def test_any_bodies_come_back_from_any_place(tmp_path_factory, bodies):
    root = tmp_path_factory.mktemp("archive")
    refs = written(root, bodies)
    for ref, body in reversed(list(zip(refs, bodies, strict=True))):
        assert read_record(str(root), ref).body_received == body
    assert [(found.ref, found.body_received) for found in iterate(str(root), refs[0].file)] == list(
        zip(refs, bodies, strict=True)
    )


def test_warcio_reads_it_byte_for_byte_with_its_digests(tmp_path):
    bodies = [gzip.compress(os.urandom(500)), b"", b"plain\r\n\r\nWARC/1.1\r\n", os.urandom(70_000)]
    refs = written(tmp_path, bodies)
    with open(tmp_path / refs[0].file, "rb") as stream:
        found = []
        for record in ArchiveIterator(stream, check_digests="raise"):
            if record.rec_type == "response":
                found.append(record.raw_stream.read())
                assert record.digest_checker.passed is True
                assert record.http_headers.get_statuscode() == "200"
    assert found == bodies


def test_fastwarc_reads_it_byte_for_byte_with_its_digests(tmp_path):
    bodies = [gzip.compress(os.urandom(500)), b"", b"plain\r\n\r\nWARC/1.1\r\n", os.urandom(70_000)]
    refs = written(tmp_path, bodies)
    with open(tmp_path / refs[0].file, "rb") as stream:
        found = []
        for record in FastIterator(stream, record_types=WarcRecordType.response, parse_http=False):
            assert record.verify_block_digest()
        stream.seek(0)
        for record in FastIterator(stream, record_types=WarcRecordType.response, parse_http=True):
            assert record.verify_payload_digest()
            found.append(record.reader.read())
            assert record.headers["WARC-Target-URI"].startswith("https://cars.example/")
    assert found == bodies


def test_a_body_that_came_in_chunks_is_read_whole_by_all(tmp_path):
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nContent-Type: text/html\r\n\r\n"
    body = b"5\r\nnot a chunk"
    (ref,) = written(tmp_path, [body], head=head)
    assert read_record(str(tmp_path), ref).body_received == body
    with open(tmp_path / ref.file, "rb") as stream:
        found = [record.content_stream().read() for record in ArchiveIterator(stream) if record.rec_type == "response"]
    assert found == [body]
    with open(tmp_path / ref.file, "rb") as stream:
        assert [record.reader.read() for record in FastIterator(stream, record_types=WarcRecordType.response)] == [body]


def test_http_2_heads_are_kept_and_read(tmp_path):
    (ref,) = written(tmp_path, [b"x"], head=b"HTTP/2 200 \r\ncontent-type: text/html\r\n\r\n")
    assert read_record(str(tmp_path), ref).status == 200
    with open(tmp_path / ref.file, "rb") as stream:
        for record in ArchiveIterator(stream):
            if record.rec_type == "response":
                assert record.http_headers.get_statuscode() == "200"
                assert record.content_stream().read() == b"x"


@pytest.mark.parametrize("head", [HEAD.replace(b"\r\n", b"\n"), HEAD[:-2] + b"\n"])
@pytest.mark.parametrize("body", [b"<html>\r\n\r\na car</html>", b"no blank line", b""])
def test_a_head_whose_lines_end_without_a_carriage_return_stays_apart_from_the_body(tmp_path, head, body):
    (ref,) = written(tmp_path, [body], head=head)
    for found in (read_record(str(tmp_path), ref), *iterate(str(tmp_path), ref.file)):
        assert (found.head, found.body_received) == (head, body)
        assert found.content_encoding == "gzip"


def test_a_torn_last_record_is_left_out_and_nothing_else(tmp_path):
    refs = written(tmp_path, [os.urandom(1000) for _ in range(10)])
    path = tmp_path / refs[0].file
    whole = path.read_bytes()
    for cut in (1, 3, 5, 500, 1100):
        path.write_bytes(whole[:-cut])
        assert [found.ref for found in iterate(str(tmp_path), refs[0].file)] == refs[:-1]
        with pytest.raises(ArchiveError):
            read_record(str(tmp_path), refs[-1])
        read_record(str(tmp_path), refs[-2])


@given(st.binary(max_size=300), st.integers(0, 5000))
def test_a_damaged_file_raises_nothing_but_its_own_error(tmp_path_factory, rubbish, place):
    root = tmp_path_factory.mktemp("archive")
    (ref,) = written(root, [b"x" * 2000])
    path = root / ref.file
    data = bytearray(path.read_bytes())
    data[place : place + len(rubbish)] = rubbish
    path.write_bytes(data)
    list(iterate(str(root), ref.file))
    with contextlib.suppress(ArchiveError):
        read_record(str(root), ref)


def test_a_place_that_is_none_is_told(tmp_path):
    (ref,) = written(tmp_path, [b"x"])
    with pytest.raises(ArchiveError):
        read_record(str(tmp_path), ArchiveRef(ref.file, ref.offset + 1, ref.length))
    with pytest.raises(ArchiveError):
        read_record(str(tmp_path), ArchiveRef(ref.file, 0, ref.offset))
    with pytest.raises(OSError, match="nowhere"):
        read_record(str(tmp_path), ArchiveRef("nowhere.warc", 0, 10))


def test_a_flushed_page_outlives_a_killed_writer(tmp_path):
    program = f"""
import os, signal
from datetime import UTC, datetime
from fill_pipeline.crawl.archive import ArchiveWriter
from fill_pipeline.crawl.fetch import FetchRequest, FetchResponse
writer = ArchiveWriter({str(tmp_path)!r}, "cars", "c", "w")
response = FetchResponse(request=FetchRequest(url="http://a/"), final_url="http://a/", status=200,
                         head=b"HTTP/1.1 200 OK\\r\\n\\r\\n", body_received=b"x" * 5000)
for _ in range(20):
    writer.append(response, datetime.now(UTC))
writer.flush()
writer.append(response, datetime.now(UTC))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    (file,) = files(str(tmp_path), "cars")
    assert len(list(iterate(str(tmp_path), file))) == 20


def test_two_workers_and_two_runs_never_share_a_file(tmp_path):
    names = set()
    for _ in range(3):
        (ref,) = written(tmp_path, [b"x"])
        names.add(ref.file)
    assert len(names) == 3
    assert files(str(tmp_path), "cars", "2026-03-01T12:00") == sorted(names)
    assert files(str(tmp_path), "other") == []


def test_a_full_disk_is_an_error_and_the_next_page_starts_another_file(tmp_path, monkeypatch):
    writer = ArchiveWriter(str(tmp_path), "cars", "c", "w")
    good = writer.append(page(b"first"), NOW)
    writer.flush()

    class Full:
        def write(self, _piece):
            raise OSError(28, "No space left on device")

        def close(self):
            raise OSError(28, "No space left on device")

    whole = writer._stream
    monkeypatch.setattr(writer, "_stream", Full())
    with pytest.raises(OSError, match="No space"):
        writer.append(page(b"lost"), NOW)
    whole.close()
    second = writer.append(page(b"second"), NOW)
    writer.close()
    assert second.file != good.file
    assert read_record(str(tmp_path), good).body_received == b"first"
    assert read_record(str(tmp_path), second).body_received == b"second"


def test_names_cannot_leave_the_archive(tmp_path):
    with ArchiveWriter(str(tmp_path / "root"), "../../etc", "../x", "w/../..") as writer:
        ref = writer.append(page(b"x"), NOW)
    assert ".." not in Path(ref.file).parts
    assert (tmp_path / "root" / ref.file).is_file()


def test_a_store_without_appending_gets_a_file_per_flush():
    import fsspec

    root = f"memory://archive-{os.getpid()}"
    with ArchiveWriter(root, "cars", "c", "w") as writer:
        first = writer.append(page(b"one"), NOW)
        writer.flush()
        assert read_record(root, first).body_received == b"one"
        second = writer.append(page(b"two"), NOW + timedelta(seconds=1))
    assert first.file != second.file
    assert read_record(root, second).body_received == b"two"
    assert len(files(root, "cars")) == 2
    remove(root, first.file)
    assert files(root, "cars") == [second.file]
    remove(root, first.file)
    fsspec.filesystem("memory").rm(root, recursive=True)


def test_a_failed_page_says_that_it_is_not_whole(tmp_path):
    (ref,) = written(tmp_path, [b"half"], failure=FailureCategory.TRUNCATED)
    with open(tmp_path / ref.file, "rb") as stream:
        (record,) = [record for record in ArchiveIterator(stream) if record.rec_type == "response"]
    assert record.rec_headers.get_header("WARC-Truncated") == "disconnect"
